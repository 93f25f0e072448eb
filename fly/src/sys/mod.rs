//! The raw layer: what rustix does not have, and all `unsafe` of Kickstage.
//!
//! One file per subject; what depends on the processor is in one file per
//! architecture. Every function is typed and safe to call unless it says
//! otherwise. Each `unsafe` block says what it relies on and why that holds.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(not(target_arch = "x86_64"), path = "unported.rs")]
pub mod arch;

pub mod bpf;
pub mod clone;
pub mod descriptor;
pub mod entry;
pub mod exec;
pub mod identity;
pub mod keyring;
pub mod landlock;
pub mod limits;
pub mod lock;
pub mod map;
pub mod memory;
pub mod message;
pub mod mount;
pub mod network;
pub mod path;
pub mod port;
pub mod probe;
pub mod reserved;
pub mod seccomp;
pub mod signal;
pub mod terminal;
pub mod thin;
pub mod time;
pub mod wait;
pub mod watchdog;

use rustix::io::Errno;

/// Turns the kernel's return value into a result.
///
/// The kernel answers `-4095..=-1` for an error (syscall(2)).
pub(crate) fn result(value: isize) -> Result<usize, Errno> {
    match value {
        -4095..=-1 => Err(Errno::from_raw_os_error(
            i32::try_from(-value).unwrap_or(i32::MAX),
        )),
        _ => Ok(value.cast_unsigned()),
    }
}
