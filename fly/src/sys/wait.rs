//! Collecting children of any pid (wait4(2)).

use super::{arch, result};
use linux_raw_sys::general as raw;
use rustix::io::Errno;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It called exit with this code.
    Exited(u8),
    /// This signal killed it.
    Killed(u8),
}

impl End {
    /// The exit code that a shell would show: the code, or 128 + signal.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => i32::from(code),
            Self::Killed(signal) => 128 + i32::from(signal),
        }
    }
}

/// What has happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has ended, and was collected.
    Ended(End),
    /// This signal has stopped it.
    Stopped(u8),
}

/// Collects one child that has ended, without waiting; `None` if none has.
///
/// # Errors
/// ECHILD when there is no child at all.
pub fn any() -> Result<Option<(u32, End)>, Errno> {
    Ok(match changed(false)? {
        Some((pid, Change::Ended(end))) => Some((pid, end)),
        _ => None,
    })
}

/// As [`any`]; with `stops` also tells a child that was stopped, once for each
/// time.
///
/// # Errors
/// ECHILD when there is no child at all.
#[inline(never)]
pub fn changed(stops: bool) -> Result<Option<(u32, Change)>, Errno> {
    let mut status: u32 = 0;
    let options = raw::WNOHANG | if stops { raw::WUNTRACED } else { 0 };
    // SAFETY: the kernel writes one int.
    let pid = result(unsafe {
        arch::syscall(
            raw::__NR_wait4,
            [
                usize::MAX,
                (&raw mut status).expose_provenance(),
                options as usize,
                0,
                0,
                0,
            ],
        )
    })?;
    // As the macros of wait(2) have it: 0x7f is a stop, otherwise the low bits
    // are the signal that has killed it, bit 7 tells of a core dump.
    let [low, high, ..] = status.to_le_bytes();
    let change = match low & 0x7f {
        0 => Change::Ended(End::Exited(high)),
        0x7f => Change::Stopped(high),
        signal => Change::Ended(End::Killed(signal)),
    };
    match u32::try_from(pid) {
        Ok(0) | Err(_) => Ok(None),
        Ok(pid) => Ok(Some((pid, change))),
    }
}
