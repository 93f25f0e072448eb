//! Watchdog devices (Documentation/watchdog/watchdog-api.rst).

use super::{arch, result};
use linux_raw_sys::{general as raw, ioctl};
use rustix::{fd::RawFd, io::Errno};

/// Sets the time after which the open device `number` starts the machine again
/// (WDIOC_SETTIMEOUT); returns the time that the device has made of it.
///
/// # Errors
/// EOPNOTSUPP of a device whose time is fixed, EINVAL where it is too long.
#[cold]
pub fn set_timeout(number: RawFd, seconds: u32) -> Result<u32, Errno> {
    let mut time = seconds;
    // SAFETY: the kernel reads an int and writes one.
    result(unsafe {
        arch::syscall(
            raw::__NR_ioctl,
            [
                number.cast_unsigned() as usize,
                ioctl::WDIOC_SETTIMEOUT as usize,
                (&raw mut time).expose_provenance(),
            ],
        )
    })?;
    Ok(time)
}
