//! The terminal of a session (ioctl_tty(2)), by descriptor number: one that is
//! no terminal, or not open, is an answer like any other.

use super::{arch, result};
use linux_raw_sys::{general as raw, ioctl};
use rustix::io::Errno;

/// Gives up the terminal `number` (TIOCNOTTY). If the caller leads its session,
/// SIGHUP and SIGCONT go to the foreground process group.
///
/// # Errors
/// ENOTTY if it is no terminal, or not the caller's.
pub fn give_up(number: i32) -> Result<(), Errno> {
    control(number, ioctl::TIOCNOTTY, 0)
}

/// Takes the terminal `number` for the session that the caller leads (TIOCSCTTY).
///
/// # Errors
/// ENOTTY if it is no terminal; EPERM if it is another session's.
pub fn take(number: i32) -> Result<(), Errno> {
    control(number, ioctl::TIOCSCTTY, 0)
}

/// The process group in the foreground of `number` (TIOCGPGRP).
///
/// # Errors
/// ENOTTY if it is not the caller's terminal.
pub fn foreground(number: i32) -> Result<i32, Errno> {
    let mut group = 0_i32;
    control(
        number,
        ioctl::TIOCGPGRP,
        (&raw mut group).expose_provenance(),
    )?;
    Ok(group)
}

/// Puts a process group into the foreground of `number` (TIOCSPGRP).
///
/// # Errors
/// ENOTTY if it is not the caller's terminal; EPERM for a group of another
/// session.
pub fn set_foreground(number: i32, group: i32) -> Result<(), Errno> {
    control(
        number,
        ioctl::TIOCSPGRP,
        (&raw const group).expose_provenance(),
    )
}

#[inline(never)]
fn control(number: i32, request: u32, argument: usize) -> Result<(), Errno> {
    // SAFETY: private; the callers above pass a request that takes no pointer, or
    // the address of the one int that it reads or writes.
    result(unsafe {
        arch::syscall(
            raw::__NR_ioctl,
            [number.cast_unsigned() as usize, request as usize, argument],
        )
    })
    .map(drop)
}
