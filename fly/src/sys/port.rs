//! The ports of a PC, for the exit device of a virtual machine.

use super::{arch, result};
use linux_raw_sys::general as raw;
use rustix::io::Errno;

/// Writes `value` to the port `port`, to which this process gets access before
/// (iopl(2)).
///
/// # Errors
/// EPERM without CAP_SYS_RAWIO, or in a locked-down kernel; ENOSYS without
/// CONFIG_X86_IOPL_IOPERM.
#[cold]
pub fn write(port: u16, value: u8) -> Result<(), Errno> {
    // SAFETY: iopl takes no pointer; level 3 lets this process use ports.
    result(unsafe { arch::syscall(raw::__NR_iopl, [3, 0, 0]) })?;
    // SAFETY: iopl has succeeded.
    unsafe { arch::out(port, value) };
    Ok(())
}
