//! Descriptors by their numbers, as a caller may leave them.

use std::{
    io,
    os::fd::{AsRawFd, RawFd},
};

use crate::sys::check;

/// Opens `file` under exactly this descriptor number, to be inherited.
///
/// # Errors
/// As dup2(2).
pub fn duplicate_onto(file: &impl AsRawFd, number: RawFd) -> io::Result<()> {
    // SAFETY: takes no pointer; the number is not owned by anybody in the
    // child, where this runs before exec.
    check(unsafe { libc::dup2(file.as_raw_fd(), number) }).map(drop)
}

/// Makes calls fail with EAGAIN that would wait (O_NONBLOCK, fcntl(2)).
///
/// # Errors
/// As fcntl(2).
pub fn never_wait(file: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: takes no pointer.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).map(drop)
}

/// Whether there is such a descriptor; in the child, before exec.
#[must_use]
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: takes no pointer.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) }).is_ok()
}

/// Closes a descriptor by number; in the child, before exec.
///
/// # Errors
/// As close(2).
pub fn close(number: RawFd) -> io::Result<()> {
    // SAFETY: as `duplicate_onto`.
    check(unsafe { libc::close(number) }).map(drop)
}
