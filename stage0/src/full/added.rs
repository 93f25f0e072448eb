//! The plans of apps that were added to a pod that runs. pid 1 tells nobody what it was sent:
//! they are kept in the pod's directory, so that these apps can be entered, too, and are seen
//! by who reads logs.

use core::{ffi::CStr, mem::MaybeUninit};

use fly::{
    error::{Error, What},
    launch::path::Path,
    plan::Plan,
    sys::descriptor,
};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{
        self, Access, AtFlags, FlockOperation, Mode, OFlags,
        inotify::{self, ReadFlags, WatchFlags},
    },
    io::Errno,
};

use super::ready;
use crate::directory::ADDED;

/// What is not whole yet, beside them: an app may have any name.
const NEW: &CStr = c".added";

/// Where they are, of the pod in the working directory, as long as nobody else changes them.
pub struct Added {
    folder: OwnedFd,
}

impl Added {
    /// Makes the place where it is missing.
    ///
    /// # Errors
    /// As mkdir(2), open(2) and flock(2).
    pub fn make() -> Result<Self, Errno> {
        match fs::mkdir(ADDED, Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => {}
            done => done?,
        }
        Self::open()?.ok_or(Errno::NOENT)
    }

    /// `None` if nothing was added to the pod.
    ///
    /// # Errors
    /// As open(2) and flock(2).
    pub fn open() -> Result<Option<Self>, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match fs::open(ADDED, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            folder => folder?,
        };
        while let Err(errno) = fs::flock(&folder, FlockOperation::LockExclusive) {
            if errno != Errno::INTR {
                return Err(errno);
            }
        }
        Ok(Some(Self { folder }))
    }

    /// Writes a plan, which counts when it is [`Added::keep`]t.
    ///
    /// # Errors
    /// As open(2) and write(2).
    pub fn write(&self, plan: &[u8]) -> Result<(), Errno> {
        // The variables of the program are in it.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let file = fs::open(NEW, flags | OFlags::NOFOLLOW, Mode::from_raw_mode(0o600))?;
        if descriptor::write_all(file.as_raw_fd(), plan) {
            return Ok(());
        }
        self.drop_new();
        Err(Errno::NOSPC)
    }

    /// The app `name` is there.
    pub fn keep(&self, name: &CStr) {
        let _ = fs::renameat(fs::CWD, NEW, &self.folder, name);
    }

    /// It was not added.
    pub fn drop_new(&self) {
        let _ = fs::unlink(NEW);
    }

    /// The app `name` is no more.
    pub fn forget(&self, name: &CStr) {
        let _ = fs::unlinkat(&self.folder, name, AtFlags::empty());
    }
}

/// The path of the plan of the app `name`, of the pod in the working directory.
fn path(name: &CStr) -> Result<Path, Errno> {
    match name.to_bytes() {
        b"" | b"." | b".." => Err(Errno::NOENT),
        bytes if bytes.contains(&b'/') => Err(Errno::NOENT),
        bytes => Path::of(&[ADDED.to_bytes(), b"/", bytes]),
    }
}

/// Whether it was added.
pub fn is_there(name: &CStr) -> bool {
    path(name).is_ok_and(|path| fs::access(path.as_c_str(), Access::EXISTS).is_ok())
}

/// The plan of the app `name` that was added to the pod in the working directory.
///
/// # Errors
/// It can't be read.
pub fn plan<'b, 'e>(name: &CStr, room: &'b mut [u8]) -> Result<Plan<'b>, Error<'e>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut read = || {
        let file = fs::open(path(name)?.as_c_str(), flags, Mode::empty())?;
        Ok(descriptor::read_all(file.as_raw_fd(), room)?.len())
    };
    let length =
        read().map_err(|errno: Errno| Error::new(What::Read, c"the plan of the app", errno))?;
    let bytes = room.get(..length).unwrap_or_default();
    Plan::check(bytes).map_err(crate::start::refused)
}

/// Calls `each` for the names of those that were added to the pod in `directory`.
pub fn each(directory: BorrowedFd<'_>, each: &mut dyn FnMut(&[u8])) {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(folder) = fs::openat(directory, ADDED, flags, Mode::empty()) else {
        return;
    };
    if let Ok(path) = Path::of_descriptor(b"/proc/self/fd/", folder.as_fd()) {
        descriptor::each_name(path.as_c_str(), &mut |name| {
            if !matches!(name, b"." | b"..") {
                each(name);
            }
        });
    }
}

/// Adds a watch for what is added to the pod in `directory` from now on; none where nothing was,
/// or who asks may not know it: for the former the place is made first.
///
/// # Errors
/// As inotify_add_watch(2).
pub fn watch(directory: &OwnedFd, watches: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(directory, ADDED, flags, Mode::empty()) {
        Ok(folder) => ready::watch(watches, &folder, WatchFlags::MOVED_TO),
        Err(_) => Ok(()),
    }
}

/// Calls `each` for the names of those that were added since.
pub fn each_new(watches: &OwnedFd, each: &mut dyn FnMut(&[u8])) {
    let mut room = [const { MaybeUninit::uninit() }; 2048];
    let mut events = inotify::Reader::new(watches, &mut room);
    while let Ok(event) = events.next() {
        if let (true, Some(name)) = (
            event.events().contains(ReadFlags::MOVED_TO),
            event.file_name(),
        ) {
            each(name.to_bytes());
        }
    }
}
