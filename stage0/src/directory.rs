//! The directory of a pod on the host: `pid`, which only this side knows, beside what
//! pid 1 writes into it.

use core::{ffi::CStr, mem::MaybeUninit};

use fly::{
    error::{Error, What, Why},
    sys::descriptor,
    text::{Digits, copy},
};
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{self, AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};

/// What is there only as long as the pod runs.
const TRANSIENT: [&CStr; 5] = [c"pid", c"ready", c"control", NEW, c".new"];
/// The name under which `pid` is written; pid 1 has another one, at the same time.
const NEW: &CStr = c".pid";

/// The directory of a pod, if it has one.
pub struct Directory<'a> {
    path: Option<&'a CStr>,
    /// Whether it was made here.
    made: bool,
}

impl<'a> Directory<'a> {
    /// Makes the directory `path` if it is missing, for its owner only, and takes away
    /// what a pod before has left in it.
    ///
    /// # Errors
    /// What keeps it from being made or opened.
    pub fn prepare(path: Option<&'a CStr>) -> Result<Self, Error<'a>> {
        match path {
            Some(path) => Self::make(path),
            None => Ok(Self { path, made: false }),
        }
    }

    #[cold]
    #[inline(never)]
    fn make(path: &'a CStr) -> Result<Self, Error<'a>> {
        let mut directory = Self {
            path: Some(path),
            made: false,
        };
        let failed = |errno: Errno| Error::new(What::Begin, path, errno);
        match fs::mkdir(path, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => {}
            done => {
                done.map_err(failed)?;
                directory.made = true;
            }
        }
        let folder = directory.open().map_err(failed)?;
        let status = open(&folder, c"status", OFlags::NOFOLLOW);
        if let Ok(status) = &status {
            // pid 1 of a pod that has the directory holds this lock.
            match fs::flock(status, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => {
                    return Err(Error::new(What::Begin, path, Why::PodRuns));
                }
                done => done.map_err(failed)?,
            }
            let mut room = [const { MaybeUninit::uninit() }; 2048];
            let mut names = fs::RawDir::new(status, &mut room);
            while let Some(Ok(entry)) = names.next() {
                let _ = fs::unlinkat(status, entry.file_name(), AtFlags::empty());
            }
        }
        clear(&folder);
        Ok(directory)
    }

    /// The pod runs; `pid` is that of its first process. The directory is opened again:
    /// what was open before the launch is closed by it.
    ///
    /// # Errors
    /// As for write(2).
    pub fn began(&self, pid: u32) -> Result<(), Error<'a>> {
        let Some(path) = self.path else {
            return Ok(());
        };
        let written = self.open().and_then(|folder| write(&folder, pid));
        written.map_err(|errno| {
            self.ended();
            Error::new(What::WriteFile, path, errno)
        })
    }

    /// The pod has ended: the exit codes stay.
    #[inline(never)]
    pub fn ended(&self) {
        if let Ok(folder) = self.open() {
            clear(&folder);
        }
    }

    /// No pod was started: what was made is unmade.
    #[inline(never)]
    pub fn undo(&self) {
        if let (true, Some(path), Ok(folder)) = (self.made, self.path, self.open()) {
            clear(&folder);
            let _ = fs::unlinkat(&folder, c"status", AtFlags::REMOVEDIR);
            let _ = fs::rmdir(path);
        }
    }

    fn open(&self) -> Result<OwnedFd, Errno> {
        let path = self.path.ok_or(Errno::NOENT)?;
        open(fs::CWD, path, OFlags::empty())
    }
}

/// Written under another name and moved: who sees it sees all of it.
fn write(folder: &OwnedFd, pid: u32) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let new = fs::openat(folder, NEW, flags, Mode::from_raw_mode(0o644))?;
    let mut line = [b'\n'; 12];
    let digits = Digits::new(pid.into(), 10);
    copy(&mut line, digits.as_bytes());
    let line = line.get(..=digits.as_bytes().len()).unwrap_or_default();
    if !descriptor::write_all(new.as_raw_fd(), line) {
        return Err(Errno::IO);
    }
    fs::renameat(folder, NEW, folder, c"pid")
}

fn clear(folder: &OwnedFd) {
    for name in TRANSIENT {
        let _ = fs::unlinkat(folder, name, AtFlags::empty());
    }
}

fn open(folder: impl AsFd, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat(folder, path, flags, Mode::empty())
}
