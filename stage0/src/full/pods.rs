//! The registered pods: how each is, and which one is meant.

use core::{cell::Cell, ffi::CStr};

use fly::{
    error::{Advice, Error, What, Why, keep},
    launch::path::Path,
    plan::{Kind, MAX_BYTES, Plan},
    sys::{descriptor, entry::Strings, lock, memory::c_str, reserved::Reserved},
    text::{copy, decimal, split},
};
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{self, Mode, OFlags},
    io::Errno,
    process::{chdir, fchdir},
};
use stage1_init::{LOCK, control::SOCKET};

use super::words::Words;
use crate::{
    directory::{BYTES, HELD},
    state::{self, Folder, Place},
    uuid,
};

/// How a pod is: its folder, and whether its lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being made.
    Preparing,
    /// Who made it was killed.
    Abandoned,
    /// It can be started.
    Prepared,
    /// It waits in its namespaces to be released.
    Parked,
    /// It runs.
    Running,
    /// It has ended, or was killed.
    Exited,
    /// It is being removed.
    Garbage,
}

impl State {
    fn of(folder: Folder, is_locked: bool) -> Self {
        match (folder, is_locked) {
            (Folder::Embryo | Folder::Prepare, true) => Self::Preparing,
            (Folder::Embryo | Folder::Prepare, false) => Self::Abandoned,
            (Folder::Prepared, false) => Self::Prepared,
            (Folder::Prepared, true) => Self::Parked,
            (Folder::Run, true) => Self::Running,
            (Folder::Run | Folder::ExitedGarbage, _) => Self::Exited,
            (Folder::Garbage, _) => Self::Garbage,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Abandoned => "abandoned",
            Self::Prepared => "prepared",
            Self::Parked => "parked",
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Garbage => "garbage",
        }
    }
}

/// Where all of them are.
pub struct Pods {
    root: Path,
    /// The working directory is that of the pods that run.
    is_beside: bool,
    /// For the plan of each that may be called so: its first program may stand anywhere in it.
    room: Cell<&'static mut [u8]>,
}

static ROOM: Reserved<[u8; MAX_BYTES]> = Reserved::new([0; MAX_BYTES]);

/// How a file of a pod is opened, which may be another one by now, or none.
const READ: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// One of them.
#[derive(Debug)]
pub struct Pod {
    /// Its name.
    pub uuid: [u8; uuid::LENGTH],
    /// Where it was found.
    pub folder: Folder,
    /// Its directory.
    pub directory: OwnedFd,
    /// Its lock, if it has one yet, open for reading.
    lock: Option<OwnedFd>,
}

impl Pods {
    /// Those that `--state-dir` or the environment names.
    ///
    /// # Errors
    /// As [`state::root`].
    pub fn new(words: &Words, environment: &Strings) -> Result<Self, Error<'static>> {
        Self::below(words.state_directory, environment)
    }

    /// The same, as `given` names them.
    ///
    /// # Errors
    /// As [`state::root`].
    pub fn below<'e>(given: Option<&'e CStr>, environment: &Strings) -> Result<Self, Error<'e>> {
        let mut root = Path::new();
        state::root(given, environment, &mut root)?;
        let room = ROOM.take().map_or(&mut [][..], |room| room);
        let room = Cell::new(room);
        Ok(Self {
            root,
            is_beside: false,
            room,
        })
    }

    /// Makes the folder of all states the working directory: the kernel then looks up a pod's
    /// own name and folder only, each time.
    pub fn enter(&mut self) {
        if let (Ok(here), Ok(())) = (Path::of(&[b"."]), chdir(self.root.as_c_str())) {
            self.root = here;
        }
    }

    /// The same with the folder of those that run, if there is one, for [`Self::running`].
    pub fn enter_running(&mut self) {
        self.enter();
        // Behind a link it would not be beside the others.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let (Ok(above), true) = (Path::of(&[b".."]), self.root() == b".")
            && let Ok(name) = Path::of(&[Folder::Run.name().as_bytes()])
            && let Ok(folder) = fs::open(name.as_c_str(), flags, Mode::empty())
            && fchdir(folder).is_ok()
        {
            (self.root, self.is_beside) = (above, true);
        }
    }

    /// Those again, for who looks at them at the same time; and the room for a plan.
    #[must_use]
    pub fn again(&self) -> (Self, &'static mut [u8]) {
        let mut root = Path::new();
        let _ = root.append(&[self.root()]);
        let pods = Self {
            root,
            is_beside: self.is_beside,
            room: Cell::default(),
        };
        (pods, self.room.take())
    }

    /// The folder of all states.
    #[must_use]
    pub fn root(&self) -> &[u8] {
        self.root.as_bytes()
    }

    /// What is said of the pod `uuid`.
    #[must_use]
    pub fn place<'p>(&'p self, uuid: &'p [u8]) -> Place<'p> {
        Place {
            root: self.root.as_bytes(),
            uuid,
        }
    }

    /// Calls `each` for the uuid of all pods in `folder`. That there is no such folder is
    /// no error: there was no pod yet.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn each(
        &self,
        folder: Folder,
        each: &mut dyn FnMut(&[u8; uuid::LENGTH]),
    ) -> Result<(), Error<'static>> {
        let failed = |errno| Error::new(What::Read, c"the directory of the pods", errno);
        let path = Path::of(&[self.root(), b"/", folder.name().as_bytes()]).map_err(failed)?;
        let read = descriptor::each_name(path.as_c_str(), &mut |name| {
            if let (true, Ok(uuid)) = (uuid::is_one(name), name.try_into()) {
                each(uuid);
            }
        });
        if read {
            return Ok(());
        }
        match fs::open(path.as_c_str(), OFlags::RDONLY, Mode::empty()) {
            Err(Errno::NOENT) | Ok(_) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// The pod that `name` means: its uuid, the beginning of it, or the name of its first
    /// program.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find<'n>(&self, name: &'n CStr) -> Result<Pod, Error<'n>> {
        let wanted = name.to_bytes();
        let failed = |why: Why| Error::new(What::FindPod, name, why).advice(Advice::SeeList);
        if wanted.is_empty() {
            return Err(Error::new(What::FindPod, name, Why::EmptyUuid));
        }
        if uuid::is_one(wanted) {
            if let Some(pod) = self.find_whole(wanted) {
                return Ok(pod);
            }
            // Who may not look can't know.
            self.each(Folder::Run, &mut |_| {})?;
            return Err(no_match(name, wanted));
        }
        // A pod may move while it is looked for, always onwards.
        for _ in 0..3 {
            let mut found: Option<(Folder, [u8; uuid::LENGTH])> = None;
            let mut count = 0;
            // A name that happens to be the beginning of another one's uuid is a name.
            for by_name in [true, false] {
                for folder in Folder::ALL {
                    self.each(folder, &mut |uuid| {
                        let is_it = if by_name {
                            self.is_called(folder, uuid, wanted)
                        } else {
                            uuid.starts_with(wanted)
                        };
                        // The same one, which has moved.
                        if is_it && found.is_none_or(|(_, other)| other != *uuid) {
                            count += 1;
                        }
                        if is_it {
                            found = Some((folder, *uuid));
                        }
                    })?;
                }
                if count > 0 {
                    break;
                }
            }
            match (found, count) {
                (Some((folder, uuid)), 1) => {
                    if let Ok(pod) = self.open(folder, &uuid) {
                        return Ok(pod);
                    }
                }
                (None, _) => {
                    return Err(no_match(name, wanted));
                }
                _ => return Err(failed(Why::MoreMatches)),
            }
        }
        Err(no_match(name, wanted))
    }

    /// The pod `uuid`, without a look at any other one.
    #[must_use]
    pub fn find_whole(&self, uuid: &[u8]) -> Option<Pod> {
        let mut found = None;
        // It may move while it is looked for; one whose start has failed even back.
        for _ in 0..3 {
            let mut folders = Folder::ALL.into_iter();
            found = folders.find_map(|folder| self.open(folder, uuid).ok());
            if found.is_some() {
                break;
            }
        }
        found
    }

    fn is_called(&self, folder: Folder, uuid: &[u8], wanted: &[u8]) -> bool {
        let mut is_it = false;
        if let Ok(pod) = self.open(folder, uuid) {
            let room = self.room.take();
            let plan = pod.beginning(c"plan", room);
            is_it = first_app(plan).is_some_and(|name| name == wanted);
            self.room.set(room);
        }
        is_it
    }

    /// Opens the pod `uuid` in `folder`.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(&self, folder: Folder, uuid: &[u8]) -> Result<Pod, Errno> {
        let path = state::path(self.root(), folder, uuid)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = fs::open(path.as_c_str(), flags, Mode::empty())?;
        let lock = fs::openat(&directory, LOCK, READ, Mode::empty()).ok();
        Ok(Pod {
            uuid: uuid.try_into().map_err(|_| Errno::INVAL)?,
            folder,
            directory,
            lock,
        })
    }

    /// When the pod `uuid` was made and started, and its plan, read into `bytes`; `None`
    /// unless it runs, and stays where it is meanwhile. The directory is not opened for that,
    /// and looked up by its name only, below [`Self::enter_running`]: a list of many takes two
    /// thirds of the time.
    #[must_use]
    pub fn running<'b>(
        &self,
        uuid: &[u8; uuid::LENGTH],
        bytes: &'b mut [u8],
    ) -> Option<([i64; 2], &'b [u8])> {
        if !self.is_beside {
            return None;
        }
        let lock = fs::open(c_str(&beside(uuid, b"/lock"))?, READ, Mode::empty()).ok()?;
        // Of one that was left the first byte is free.
        if lock::is_taken(lock.as_fd(), 1) != Ok(true) {
            return None;
        }
        let created = time(fs::fstat(&lock))?;
        let started = time(fs::lstat(c_str(&beside(uuid, b"/pid"))?))?;
        let plan = fs::open(c_str(&beside(uuid, b"/plan"))?, READ, Mode::empty()).ok()?;
        Some(([created, started], filled(&plan, bytes)))
    }

    /// Calls `each` for the pods that the operands or `--uuid-file` mean; all of them are
    /// tried.
    ///
    /// # Errors
    /// None is named. What else fails is told, and makes the exit code that is returned.
    pub fn each_meant(
        &self,
        words: &Words,
        each: &mut dyn for<'n> FnMut(&'n CStr, Pod) -> Result<(), Error<'n>>,
    ) -> Result<i32, Error<'static>> {
        // Before a pod's directory becomes the working directory, to ask its pid 1.
        let of_file = words.uuid_file.map(super::uuid_of).transpose()?;
        let mut code = 0;
        let mut any = false;
        let mut one = |name: &CStr| {
            any = true;
            if let Err(error) = self.find(name).and_then(|pod| each(name, pod)) {
                code = super::fail(error);
            }
        };
        words.each_operand(&mut |name| {
            one(name);
            Ok(())
        })?;
        if let Some(uuid) = of_file {
            let mut line = [0; uuid::LENGTH + 1];
            copy(&mut line, &uuid);
            one(c_str(&line).unwrap_or_default());
        }
        if any {
            return Ok(code);
        }
        let error = Error::new(What::Read, c"the command line", Why::NoPodNamed);
        Err(error.advice(Advice::SeeHelp))
    }
}

impl Pod {
    /// Whether somebody holds its lock.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        let lock = self.lock.as_ref();
        lock.is_some_and(|file| lock::is_taken(file.as_fd(), BYTES) == Ok(true))
    }

    /// Whether its pid 1 holds its lock, or what becomes that of a parked one: it lives then.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let lock = self.lock.as_ref();
        lock.is_some_and(|file| lock::is_taken_from(file.as_fd(), 1, BYTES - 1) == Ok(true))
    }

    /// Whether this path leads to its lock.
    #[must_use]
    pub fn is_lock(&self, path: &CStr) -> bool {
        let lock = self.lock.as_ref().and_then(|lock| fs::fstat(lock).ok());
        lock.zip(fs::stat(path).ok())
            .is_some_and(|(own, other)| (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
    }

    /// How it is now.
    #[must_use]
    pub fn state(&self) -> State {
        match State::of(self.folder, self.is_locked()) {
            State::Preparing | State::Running if self.is_left() => State::Abandoned,
            State::Abandoned if self.is_hidden() => State::Preparing,
            State::Prepared if self.time(SOCKET).is_some() => {
                if self.is_hidden() {
                    State::Parked
                } else {
                    // It was parked, and its pid 1 is no more: nobody can start it.
                    State::Exited
                }
            }
            state => state,
        }
    }

    /// Whether it has a lock that this process may not open: before the pod is started that is
    /// for its owner only.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.lock.is_none() && self.time(LOCK).is_some()
    }

    /// Whether only its pid 1 holds its lock, of a pod that is being made, or released: who
    /// did that was killed, and it is parked for ever.
    #[must_use]
    pub fn is_left(&self) -> bool {
        let Some(lock) = &self.lock else {
            return false;
        };
        let lock = lock.as_fd();
        let is_parked = match self.folder {
            Folder::Embryo | Folder::Prepare => self.is_locked(),
            // One that was released has this byte no more.
            Folder::Run => lock::is_taken_from(lock, HELD, 1) == Ok(true),
            _ => false,
        };
        is_parked && lock::is_taken(lock, 1) == Ok(false)
    }

    /// Waits until nobody holds its lock.
    pub fn wait(&self) {
        // Who waits has the lock at last, for a moment: not of one that is to be started.
        if let (Some(file), true) = (&self.lock, self.is_locked()) {
            while lock::wait(file.as_fd(), BYTES) == Err(Errno::INTR) {}
        }
    }

    /// The beginning of a file in its directory; empty if there is none.
    pub fn beginning<'b>(&self, name: &CStr, buffer: &'b mut [u8]) -> &'b [u8] {
        self.read(name, buffer).unwrap_or_default()
    }

    /// The same.
    ///
    /// # Errors
    /// As open(2).
    #[inline(never)]
    pub fn read<'b>(&self, name: &CStr, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
        let file = fs::openat(&self.directory, name, READ, Mode::empty())?;
        Ok(filled(&file, buffer))
    }

    /// Its plan, which says whose its logs and inputs are; empty if there is none.
    ///
    /// # Errors
    /// EACCES: the logs may be of a group, but the plan is its owner's.
    pub fn names<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
        match self.read(c"plan", buffer) {
            Err(errno @ Errno::ACCESS) => Err(errno),
            done => Ok(done.unwrap_or_default()),
        }
    }

    /// The number in a file in its directory.
    #[must_use]
    pub fn number(&self, name: &CStr) -> Option<u64> {
        let mut buffer = [0; 24];
        let text = self.beginning(name, &mut buffer);
        decimal(split(text, b'\n').next()?)
    }

    /// Its plan, read into `bytes`, which hold [`MAX_BYTES`].
    ///
    /// # Errors
    /// It can't be read, or is none.
    pub fn plan<'b>(&self, bytes: &'b mut [u8]) -> Result<Plan<'b>, Error<'static>> {
        let object = c"the plan of the pod";
        let read = self.read(c"plan", bytes);
        let read = read.map_err(|errno| Error::new(What::Read, object, errno))?;
        Plan::check(read).map_err(|problem| Error::new(What::Read, object, problem.reason))
    }

    /// When it was made, in nanoseconds since 1970: its lock is the first thing that it has.
    #[must_use]
    pub fn created(&self) -> Option<i64> {
        // Who may look may not always read it.
        match &self.lock {
            Some(lock) => time(fs::fstat(lock)),
            None => self.time(LOCK),
        }
    }

    /// When the file `name` was changed last, in nanoseconds since 1970.
    #[must_use]
    pub fn time(&self, name: &CStr) -> Option<i64> {
        time(fs::statat(
            &self.directory,
            name,
            fs::AtFlags::SYMLINK_NOFOLLOW,
        ))
    }
}

/// The path of a file of the pod `uuid` from the folder where that is; `name` has a slash
/// before it, and room for it there are six bytes.
fn beside(uuid: &[u8; uuid::LENGTH], name: &[u8]) -> [u8; uuid::LENGTH + 6] {
    let mut path = [0; uuid::LENGTH + 6];
    let (first, rest) = path.split_at_mut(uuid::LENGTH);
    copy(first, uuid);
    copy(rest, name);
    path
}

/// Reads `file` until `buffer` is full.
fn filled<'b>(file: &OwnedFd, buffer: &'b mut [u8]) -> &'b [u8] {
    let mut used = 0;
    while let Some(rest @ [_, ..]) = buffer.get_mut(used..) {
        let asked = rest.len();
        let count = descriptor::read(file.as_raw_fd(), rest).unwrap_or(0);
        used += count;
        // A file gives all that is asked for but at its end.
        if count < asked {
            break;
        }
    }
    buffer.get(..used).unwrap_or_default()
}

/// There is no pod that is `wanted`, or none any more; `name` is what was asked for.
pub fn no_match<'n>(name: &'n CStr, wanted: &[u8]) -> Error<'n> {
    keep(wanted);
    Error::new(What::FindPod, name, Why::NoMatch).advice(Advice::SeeList)
}

/// When a file of this status was changed last.
fn time(status: Result<fs::Stat, Errno>) -> Option<i64> {
    let status = status.ok()?;
    let seconds = status.st_mtime.checked_mul(1_000_000_000)?;
    seconds.checked_add(i64::try_from(status.st_mtime_nsec).ok()?)
}

/// The name of the first app of a plan, of which this is the beginning.
#[must_use]
pub fn first_app(beginning: &[u8]) -> Option<&[u8]> {
    let mut name = None;
    each_app(beginning, &mut |app| {
        name.get_or_insert(app);
    });
    name
}

/// Calls `each` for the names of the apps of a plan, of which this is the beginning.
pub fn each_app<'b>(beginning: &'b [u8], each: &mut dyn FnMut(&'b [u8])) {
    for record in Plan::unchecked_records(beginning).filter(|record| record.is(Kind::App)) {
        each(record.list.first().to_bytes());
    }
}
