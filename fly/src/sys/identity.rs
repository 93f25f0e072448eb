//! Who the process is.

use super::{arch, result};
use linux_raw_sys::general as raw;

/// How many supplementary groups the process has (getgroups(2)).
#[must_use]
pub fn group_count() -> usize {
    // SAFETY: with a size of 0 nothing is written.
    result(unsafe { arch::syscall(raw::__NR_getgroups, [0; 6]) }).unwrap_or(usize::MAX)
}
