//! Keys that the kernel keeps (keyrings(7)).

use linux_raw_sys::general as raw;
use rustix::io::Errno;

use super::{arch, result};

/// Makes a new session keyring without a name this process's, in place of its parent's.
///
/// # Errors
/// As keyctl(2) with KEYCTL_JOIN_SESSION_KEYRING: EDQUOT where the user has too many keys,
/// ENOSYS of a kernel without them.
pub fn join_new() -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;
    // SAFETY: no pointer but null, which is no name.
    result(unsafe {
        arch::syscall(
            raw::__NR_keyctl,
            [KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0, 0],
        )
    })
    .map(drop)
}
