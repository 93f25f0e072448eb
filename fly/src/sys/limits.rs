//! What the kernel lets a process use.

use super::{arch, result};
use linux_raw_sys::general as raw;
use rustix::io::Errno;

/// Which limit is set, what its number is, and what the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// prlimit(2): the resource; soft and hard (struct rlimit64).
    Resource,
    /// setpriority(2): the nice value, as two's complement; none.
    Nice,
    /// sched_setaffinity(2): none; a bit a processor.
    Processors,
    /// sched_setscheduler(2): the policy; the priority (struct sched_param).
    Policy,
}

/// Whether this process has the policy of all that asks for no other one
/// (sched_getscheduler(2)).
#[cold]
#[must_use]
pub fn is_ordinary() -> bool {
    const SCHED_NORMAL: usize = raw::SCHED_NORMAL as usize;
    // SAFETY: the call takes no pointer.
    let policy = result(unsafe { arch::syscall(raw::__NR_sched_getscheduler, [0; 6]) });
    policy == Ok(SCHED_NORMAL)
}

/// Sets a limit of this process.
///
/// # Errors
/// As the call: EPERM, EACCES without the privilege; EINVAL.
pub fn set(limit: Limit, number: u64, data: &[u8]) -> Result<(), Errno> {
    let value = usize::try_from(number).unwrap_or(0);
    let (at, length) = (data.as_ptr().expose_provenance(), data.len());
    let (needed, number, [a, b]) = match limit {
        Limit::Resource => (16, raw::__NR_prlimit64, [value, at]),
        // PRIO_PROCESS is 0.
        Limit::Nice => (0, raw::__NR_setpriority, [0, value]),
        Limit::Processors => (0, raw::__NR_sched_setaffinity, [length, at]),
        Limit::Policy => (4, raw::__NR_sched_setscheduler, [value, at]),
    };
    if length < needed {
        return Err(Errno::INVAL);
    }
    // SAFETY: the kernel reads as many of the bytes as the call needs, which are there,
    // or as it is told; it writes nothing, since the old limits are not asked for.
    result(unsafe { arch::syscall(number, [0, a, b, 0, 0, 0]) }).map(drop)
}
