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

/// Collects one child that has ended, without waiting; `None` if none has.
///
/// # Errors
/// ECHILD when there is no child at all.
pub fn any() -> Result<Option<(u32, End)>, Errno> {
    let mut status: u32 = 0;
    // SAFETY: the kernel writes one int.
    let pid = result(unsafe {
        arch::syscall(
            raw::__NR_wait4,
            [
                usize::MAX,
                (&raw mut status).expose_provenance(),
                raw::WNOHANG as usize,
                0,
                0,
                0,
            ],
        )
    })?;
    let [low, high, ..] = status.to_le_bytes();
    let end = match low & 0x7f {
        0 => End::Exited(high),
        signal => End::Killed(signal),
    };
    match u32::try_from(pid) {
        Ok(0) | Err(_) => Ok(None),
        Ok(pid) => Ok(Some((pid, end))),
    }
}
