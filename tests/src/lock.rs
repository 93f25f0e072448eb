//! Locks of open files, as those that say whether a pod lives (fcntl(2), F_OFD_SETLK).

use std::{fs::File, io, os::fd::AsRawFd};

/// Takes a lock that anybody may have who may read the file, on all of it.
///
/// # Errors
/// EAGAIN if somebody has one for writing.
pub fn for_reading(file: &File) -> io::Result<()> {
    take(file, libc::F_RDLCK, 0)
}

/// Takes the lock of who lives, on all of it.
///
/// # Errors
/// EAGAIN if somebody has another one.
pub fn for_writing(file: &File) -> io::Result<()> {
    take(file, libc::F_WRLCK, 0)
}

/// Takes the lock of a stage0: the first byte of it.
///
/// # Errors
/// EAGAIN if somebody has another one.
pub fn as_stage0(file: &File) -> io::Result<()> {
    take(file, libc::F_WRLCK, 1)
}

/// Gives all of it back.
///
/// # Errors
/// EBADF.
pub fn give_back(file: &File) -> io::Result<()> {
    take(file, libc::F_UNLCK, 0)
}

/// `count` bytes, or all.
fn take(file: &File, kind: i32, count: i64) -> io::Result<()> {
    let lock = libc::flock {
        l_type: i16::try_from(kind).expect("a small number"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("a small number"),
        l_start: 0,
        l_len: count,
        l_pid: 0,
    };
    // SAFETY: the kernel reads one structure.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
