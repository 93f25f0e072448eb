//! System call filters.

use super::{arch, result};
use linux_raw_sys::general as raw;
use rustix::io::Errno;

/// SECCOMP_SET_MODE_FILTER (linux/seccomp.h).
const SET_MODE_FILTER: usize = 1;

/// struct sock_fprog (linux/filter.h).
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const u8,
}

/// Loads the filter for this process, and what it becomes by exec: the
/// instructions as struct sock_filter has them, of 8 bytes each.
///
/// # Errors
/// As seccomp(2): EACCES without no_new_privs and the capability sys_admin, EINVAL
/// for what is no filter.
#[inline(never)]
pub fn load(filter: &[u8]) -> Result<(), Errno> {
    let program = Program {
        length: u16::try_from(filter.len() / 8).map_err(|_| Errno::INVAL)?,
        instructions: filter.as_ptr(),
    };
    // SAFETY: the kernel reads the structure and as many instructions as it says,
    // which are within `filter`; it copies them, from an address of any alignment.
    // A filter may make later calls fail or end the process: that is what it is
    // for, and no memory depends on it.
    result(unsafe {
        arch::syscall(
            raw::__NR_seccomp,
            [SET_MODE_FILTER, 0, (&raw const program).expose_provenance()],
        )
    })
    .map(drop)
}
