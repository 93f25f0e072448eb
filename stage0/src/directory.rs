//! The directory of a pod on the host: `pid`, which only this side knows, beside what
//! pid 1 writes into it. It is where `--pod-dir` says, or, of a registered pod, where its
//! uuid says.

use core::{ffi::CStr, mem::MaybeUninit};

use fly::{
    error::{Advice, Error, FAILURE, What, Why},
    launch::{KEPT, path::Path},
    plan::{Kind, MAX_LISTENING, Plan},
    supervise,
    sys::{clone::Child, descriptor, lock},
    text::{Digits, copy},
};
use linux_raw_sys::general as raw;
use rustix::{
    event::{Timespec, poll},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, Mode, OFlags},
    io::Errno,
    process::WaitIdOptions,
};
use stage1_init::{GATE, LOCK};

use crate::{
    lower::Features,
    options::Lives,
    remove,
    state::{Folder, Place},
    streams, uuid,
};

/// What is there only as long as the pod runs.
const TRANSIENT: [&CStr; 7] = [c"plan", c"pid", c"ready", GATE, c"control", NEW, c".new"];
/// Where the plans of apps are that were added.
pub const ADDED: &CStr = c"added";
/// The name under which a file is written; pid 1 has another one, at the same time.
const NEW: &CStr = c".pid";

/// The bytes of the lock that somebody may hold: `stage0` or who has released the pod, pid 1,
/// and in its place what becomes pid 1 of a parked one.
pub const BYTES: u8 = 3;
/// The last one of them.
pub const HELD: u8 = 2;

/// The directory of a pod, if it has one.
pub struct Directory<'a> {
    path: Option<&'a CStr>,
    /// Of a registered pod.
    life: Option<Lives<'a>>,
    /// Whether it was made here.
    made: bool,
}

impl<'a> Directory<'a> {
    /// Makes the directory `path` if it is missing, for its owner only, and takes away
    /// what a pod before has left in it; or registers the pod of `life`. It is locked as
    /// long as this process lives, by the descriptor [`KEPT`].
    ///
    /// # Errors
    /// What keeps it from being made or opened.
    pub fn prepare<F: Features>(
        path: Option<&'a CStr>,
        life: Lives<'a>,
        plan: &Plan<'_>,
    ) -> Result<Self, Error<'a>> {
        let Some(path) = path else {
            return Ok(Self {
                path,
                life: None,
                made: false,
            });
        };
        if life.registers().is_some() {
            return Self::register::<F>(path, life, plan);
        }
        Self::make(path, plan)
    }

    /// The working directory, of a pod that was released.
    #[must_use]
    pub fn here() -> Self {
        Self {
            path: Some(c"."),
            life: None,
            made: false,
        }
    }

    #[cold]
    #[inline(never)]
    fn make(path: &'a CStr, plan: &Plan<'_>) -> Result<Self, Error<'a>> {
        let mut directory = Self {
            path: Some(path),
            life: None,
            made: false,
        };
        let failed = |errno: Errno| match errno {
            Errno::AGAIN => Error::new(What::Begin, path, Why::PodRuns),
            Errno::MFILE => Error::new(What::Begin, path, errno).advice(Advice::RaiseOpenFiles),
            errno => Error::new(What::Begin, path, errno),
        };
        match fs::mkdir(path, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => {}
            done => {
                done.map_err(failed)?;
                directory.made = true;
            }
        }
        match directory.take(plan) {
            Ok(()) => Ok(directory),
            Err(errno) => {
                // Of another pod nothing was made here, but the directory is that one's.
                if errno != Errno::AGAIN {
                    directory.undo();
                }
                Err(failed(errno))
            }
        }
    }

    /// Locks it, and takes away what a pod before has left.
    fn take(&self, plan: &Plan<'_>) -> Result<(), Errno> {
        let folder = self.open()?;
        // pid 1 of a pod that has the directory holds another byte than the first one.
        let file = lock_in(&folder, BYTES)?;
        lock::give_back(file.as_fd(), 1, BYTES - 1)?;
        empty(&folder, c"status");
        empty(&folder, ADDED);
        clear(folder.as_fd());
        keep(&file)?;
        write_plan(&folder, plan)
    }

    /// Nobody sees it before it is whole, and locked.
    #[cold]
    #[inline(never)]
    fn register<F: Features>(
        path: &'a CStr,
        life: Lives<'a>,
        plan: &Plan<'_>,
    ) -> Result<Self, Error<'a>> {
        let failed = |errno| Error::new(What::Register, path, errno);
        make::<F>(&Place::of(path), Folder::Embryo, Folder::Run, plan).map_err(failed)?;
        Self::registered(path, life, false)
    }

    /// The pod in the directory `path` is registered, and locked.
    ///
    /// # Errors
    /// What keeps its uuid from being saved: it is removed.
    #[cold]
    #[inline(never)]
    pub fn registered(
        path: &'a CStr,
        life: Lives<'a>,
        is_prepared: bool,
    ) -> Result<Self, Error<'a>> {
        let directory = Self {
            path: Some(path),
            life: Some(life),
            made: !is_prepared,
        };
        if let Some(file) = life.uuid_file
            && let Err(errno) = save(file, Place::of(path).uuid)
        {
            directory.undo();
            return Err(Error::new(What::WriteFile, file, errno));
        }
        Ok(directory)
    }

    /// The pod runs, `child` is its first process. The directory is opened again: what was
    /// open before the launch is closed by it.
    ///
    /// # Errors
    /// As for write(2): the pod is ended, and if it was made here all that was made is unmade.
    pub fn began(&self, child: &Child) -> Result<(), Error<'a>> {
        let Some(path) = self.path else {
            return Ok(());
        };
        let written = self
            .open()
            .and_then(|folder| write(folder.as_fd(), c"pid", child.pid.into()));
        written.map_err(|errno| {
            kill(child);
            if self.made {
                self.undo();
            } else {
                self.ended(FAILURE);
            }
            Error::new(What::WriteFile, path, errno)
        })
    }

    /// Nothing of it is to stay when it has ended.
    pub fn forget(&mut self) {
        if let Some(life) = &mut self.life {
            life.forget();
        }
    }

    /// The pod has ended: the exit codes stay, or all is gone.
    #[inline(never)]
    pub fn ended(&self, code: i32) {
        if let Ok(folder) = self.open() {
            self.ended_in(folder.as_fd(), code);
        }
    }

    /// The same; `folder` is its directory, of a pod that was released the working directory.
    #[inline(never)]
    pub fn ended_in(&self, folder: BorrowedFd<'_>, code: i32) {
        let (Some(path), Some(life)) = (self.path, self.life) else {
            return clear(folder);
        };
        let place = Place::of(path);
        if !life.keeps() {
            discard(&place, folder);
            return;
        }
        let _ = write(folder, c"code", code.unsigned_abs().into());
        for name in [c"ready", c"control"] {
            let _ = fs::unlinkat(folder, name, AtFlags::empty());
        }
        let _ = place.shift(Folder::Run, Folder::ExitedGarbage);
    }

    /// No pod was started: what was made is unmade.
    #[inline(never)]
    pub fn undo(&self) {
        let (Some(path), Ok(folder)) = (self.path, self.open()) else {
            return;
        };
        if let Some(life) = self.life {
            let place = Place::of(path);
            if !self.made {
                let _ = hide(descriptor::get(KEPT));
                let _ = place.shift(Folder::Run, Folder::Prepared);
                return;
            }
            discard(&place, folder.as_fd());
            if let Some(file) = life.uuid_file {
                forget(file, place.uuid);
            }
            return;
        }
        if !self.made {
            return;
        }
        clear(folder.as_fd());
        let _ = fs::unlinkat(&folder, LOCK, AtFlags::empty());
        let _ = fs::unlinkat(&folder, c"status", AtFlags::REMOVEDIR);
        let _ = fs::rmdir(path);
    }

    /// Where it is.
    pub fn path(&self) -> &'a CStr {
        self.path.unwrap_or_default()
    }

    pub(crate) fn open(&self) -> Result<OwnedFd, Errno> {
        let path = self.path.ok_or(Errno::NOENT)?;
        open(fs::CWD, path, OFlags::empty())
    }
}

/// Removes a pod that runs no more.
#[inline(never)]
fn discard(place: &Place<'_>, directory: BorrowedFd<'_>) {
    let folder = remove::set_aside(place, Folder::Run);
    let _ = remove::opened(place, folder, directory);
}

/// Makes the directory of a pod in the folder `first`, with its lock, which is held, its
/// plan, room for what pid 1 writes, and the inputs that can be attached; then moves it to
/// `then`.
///
/// # Errors
/// As mkdir(2), open(2), write(2) and rename(2).
#[cold]
#[inline(never)]
pub fn make<F: Features>(
    place: &Place<'_>,
    first: Folder,
    then: Folder,
    plan: &Plan<'_>,
) -> Result<(), Errno> {
    let mut tries = 0;
    loop {
        place.make(first)?;
        let done = fill::<F>(place, first, then, plan).and_then(|()| place.shift(first, then));
        let Err(errno) = done else { return Ok(()) };
        let _ = remove::pod(place, first);
        // A collector of garbage has seen it before its lock was held.
        if !matches!(errno, Errno::NOENT | Errno::AGAIN) || tries == RETRIES {
            return Err(errno);
        }
        tries += 1;
    }
}

/// How often a directory is made again that was taken away.
const RETRIES: u8 = 8;

fn fill<F: Features>(
    place: &Place<'_>,
    folder: Folder,
    then: Folder,
    plan: &Plan<'_>,
) -> Result<(), Errno> {
    let mut path = Path::new();
    place.path(folder, &mut path)?;
    let folder = open(fs::CWD, path.as_c_str(), OFlags::empty())?;
    let lock = lock_in(&folder, 1)?;
    keep(&lock)?;
    if then == Folder::Run {
        show(&lock)?;
    }
    fs::mkdirat(&folder, c"status", Mode::from_raw_mode(0o755))?;
    if plan.steps().records().any(|step| step.is(Kind::LogFile)) {
        fs::mkdirat(&folder, c"logs", crate::state::PRIVATE)?;
    }
    if F::ALL {
        streams::make(plan, &folder)?;
    }
    write_plan(&folder, plan)
}

/// Writes the plan, for who enters the pod or releases it.
fn write_plan(folder: &OwnedFd, plan: &Plan<'_>) -> Result<(), Errno> {
    // The variables of the programs are in it: nobody else's business.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = fs::openat(folder, c"plan", flags, Mode::from_raw_mode(0o600))?;
    if descriptor::write_all(file.as_raw_fd(), plan.as_bytes()) {
        Ok(())
    } else {
        Err(Errno::NOSPC)
    }
}

/// Opens the lock, and takes the first `count` bytes.
///
/// # Errors
/// EAGAIN if somebody else has one of them.
#[cold]
#[inline(never)]
pub fn lock_in(folder: &OwnedFd, count: u8) -> Result<OwnedFd, Errno> {
    let file = open_lock(folder)?;
    let mut tries = 0;
    loop {
        match lock::take(file.as_fd(), 0, count) {
            // Only who reads has it: who has waited for the end of the pod before, for a
            // moment.
            Err(Errno::AGAIN)
                if tries != READERS && lock::is_taken(file.as_fd(), count) == Ok(false) =>
            {
                tries += 1;
                let _ = poll(&mut [], Some(&MOMENT));
            }
            done => return done.map(|()| file),
        }
    }
}

/// How often that is tried.
const READERS: u8 = 200;

/// A millisecond.
const MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// Opens the lock, or makes it.
///
/// # Errors
/// As open(2).
pub fn open_lock(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(folder, LOCK, flags, Mode::from_raw_mode(0o600))
}

/// Lets others see whether it is taken. Before it is they could lock it for reading, and
/// so keep it from being taken.
///
/// # Errors
/// As fchmod(2).
pub fn show(lock: impl AsFd) -> Result<(), Errno> {
    fs::fchmod(lock, Mode::from_raw_mode(0o640))
}

/// Takes that back, of a pod that may be started again.
///
/// # Errors
/// As fchmod(2).
#[cold]
#[inline(never)]
pub fn hide(lock: BorrowedFd<'_>) -> Result<(), Errno> {
    fs::fchmod(lock, Mode::from_raw_mode(0o600))
}

/// Closes what was inherited but the sockets of LISTEN_FDS, before anything is opened: all
/// that has a number from [`KEPT`] on is then what was put there. Before Linux 5.9 nothing
/// is closed.
#[cold]
#[inline(never)]
pub fn make_room() {
    const FIRST: u32 = 3 + MAX_LISTENING.unsigned_abs();
    let _ = descriptor::close_range(FIRST, u32::MAX);
}

/// Gives it the number under which the launch leaves it open.
///
/// # Errors
/// EMFILE if this process may not have that many.
pub fn keep(file: &OwnedFd) -> Result<(), Errno> {
    descriptor::keep_as(file.as_fd(), KEPT)
}

/// Writes the pod's name, and a line's end, to `file`.
///
/// # Errors
/// As open(2) and write(2).
pub fn save(file: &CStr, uuid: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = fs::open(file, flags, Mode::from_raw_mode(0o644))?;
    let number = file.as_raw_fd();
    if descriptor::write_all(number, uuid) && descriptor::write_all(number, b"\n") {
        Ok(())
    } else {
        Err(Errno::NOSPC)
    }
}

/// Takes back what [`save`] has written: a file that says this, and nothing else that may
/// have the name, as a device, a link, or a file that could not be written.
#[cold]
#[inline(never)]
pub fn forget(file: &CStr, uuid: &[u8]) {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut text = [0; uuid::LENGTH];
    if let Ok(opened) = fs::open(file, flags, Mode::empty())
        && descriptor::read(opened.as_raw_fd(), &mut text).is_ok()
        && text == uuid
    {
        let _ = fs::unlink(file);
    }
}

/// Written under another name and moved: who sees it sees all of it.
fn write(folder: BorrowedFd<'_>, name: &CStr, number: u64) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let new = fs::openat(folder, NEW, flags, Mode::from_raw_mode(0o644))?;
    let mut line = [b'\n'; 24];
    let digits = Digits::new(number, 10);
    copy(&mut line, digits.as_bytes());
    let line = line.get(..=digits.as_bytes().len()).unwrap_or_default();
    if !descriptor::write_all(new.as_raw_fd(), line) {
        let _ = fs::unlinkat(folder, NEW, AtFlags::empty());
        return Err(Errno::NOSPC);
    }
    fs::renameat(folder, NEW, folder, name)
}

/// Ends a pod that was not to be started, or not so.
#[cold]
#[inline(never)]
pub fn kill(child: &Child) {
    let pod = child.pidfd.as_fd();
    supervise::forward(pod, raw::SIGKILL);
    let _ = supervise::ended(pod, WaitIdOptions::empty());
}

/// Takes away what a pod before has left in the directory `name`.
#[cold]
#[inline(never)]
fn empty(folder: &OwnedFd, name: &CStr) {
    if let Ok(folder) = open(folder, name, OFlags::NOFOLLOW) {
        let mut room = [const { MaybeUninit::uninit() }; 2048];
        let mut names = fs::RawDir::new(&folder, &mut room);
        while let Some(Ok(entry)) = names.next() {
            let _ = fs::unlinkat(&folder, entry.file_name(), AtFlags::empty());
        }
    }
}

fn clear(folder: BorrowedFd<'_>) {
    for name in TRANSIENT {
        let _ = fs::unlinkat(folder, name, AtFlags::empty());
    }
}

fn open(folder: impl AsFd, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat(folder, path, flags, Mode::empty())
}
