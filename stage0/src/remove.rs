//! Removal of a registered pod: in time proportional to what it has, and it has little.

use core::{ffi::CStr, mem::MaybeUninit};

use fly::launch::path::Path;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, Mode, OFlags},
    io::Errno,
};

use stage1_init::LOCK;

use crate::state::{self, Folder, Place};

/// As deep as directories are in one another in that of a pod, and one more.
const DEPTH: u8 = 3;

/// Moves a pod away that is not to be any more: first it is garbage, which nobody can start.
/// Returns where it is now: what has no room there, as where the last file is taken, is to
/// make room where it is.
#[cold]
#[inline(never)]
pub fn set_aside(place: &Place<'_>, from: Folder) -> Folder {
    let moved = place.shift(from, Folder::Garbage);
    moved.map_or(from, |()| Folder::Garbage)
}

/// Removes the directory of a pod that does not live. Nothing is ever mounted in it.
///
/// # Errors
/// As unlink(2); ENOTEMPTY where somebody else has put too much into it.
#[cold]
#[inline(never)]
pub fn pod(place: &Place<'_>, folder: Folder) -> Result<(), Errno> {
    let mut path = Path::new();
    place.path(folder, &mut path)?;
    let directory = open(fs::CWD, path.as_c_str())?;
    remove(path.as_c_str(), directory.as_fd())
}

/// The same of one that is open, or the working directory.
///
/// # Errors
/// As [`pod`].
#[cold]
#[inline(never)]
pub fn opened(place: &Place<'_>, folder: Folder, directory: BorrowedFd<'_>) -> Result<(), Errno> {
    match place.short(folder, &mut [0; state::SHORT]) {
        Some(path) => remove(path, directory),
        None => far(place, folder, directory),
    }
}

/// The same of one whose path is long.
#[cold]
#[inline(never)]
fn far(place: &Place<'_>, folder: Folder, directory: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut path = Path::new();
    place.path(folder, &mut path)?;
    remove(path.as_c_str(), directory)
}

#[inline(never)]
fn remove(path: &CStr, directory: BorrowedFd<'_>) -> Result<(), Errno> {
    if expected(directory) && fs::rmdir(path).is_ok() {
        return Ok(());
    }
    let mut tries = 0;
    loop {
        // The working directory, as which it may have come, can't be read.
        empty(&open(directory, c".")?, DEPTH)?;
        match fs::rmdir(path) {
            // Who makes a pod may have opened its directory before that was moved away.
            Err(Errno::NOTEMPTY) if tries < MOST_TRIES => tries += 1,
            done => return done,
        }
    }
}

/// Takes away what most pods have, without looking: what else there is keeps the directory.
fn expected(directory: BorrowedFd<'_>) -> bool {
    for name in [c"ready", c"control", c"pid", c"plan"] {
        let _ = fs::unlinkat(directory, name, AtFlags::empty());
    }
    let status = c"status";
    if fs::unlinkat(directory, status, AtFlags::REMOVEDIR) == Err(Errno::NOTEMPTY) {
        if let Ok(status) = open(directory, status) {
            let _ = empty(&status, 0);
        }
        let _ = fs::unlinkat(directory, status, AtFlags::REMOVEDIR);
    }
    fs::unlinkat(directory, LOCK, AtFlags::empty()).is_ok()
}

fn open(folder: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(folder, name, flags, Mode::empty())
}

/// More than what somebody puts into the directory one after the other.
const MOST_TRIES: u8 = 16;

fn empty(directory: &OwnedFd, depth: u8) -> Result<(), Errno> {
    let mut room = [const { MaybeUninit::uninit() }; 1024];
    let mut names = fs::RawDir::new(directory, &mut room);
    while let Some(entry) = names.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match fs::unlinkat(directory, name, AtFlags::empty()) {
            Err(refused @ (Errno::ISDIR | Errno::PERM)) if depth > 0 => {
                // What is no directory was refused for another reason.
                let below = match open(directory.as_fd(), name) {
                    Err(Errno::NOTDIR) => return Err(refused),
                    below => below?,
                };
                empty(&below, depth - 1)?;
                fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?;
            }
            // Somebody else removes it, too.
            Err(Errno::NOENT) => {}
            done => done?,
        }
    }
    Ok(())
}
