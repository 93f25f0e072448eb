//! What the kernel lets a process use.

use super::{arch, result};
use linux_raw_sys::general as raw;
use rustix::io::Errno;

/// Which limit is set, and what of the numbers it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// prlimit(2): the number of the resource, soft, hard.
    Resource,
    /// setpriority(2): the nice value, as two's complement.
    Nice,
    /// sched_setaffinity(2): a bit a processor.
    Processors,
    /// sched_setscheduler(2): the policy, the priority.
    Policy,
}

/// Sets a limit of this process.
///
/// # Errors
/// As the call: EPERM, EACCES without the privilege; EINVAL.
pub fn set(limit: Limit, numbers: &[u64; 16]) -> Result<(), Errno> {
    let [first, second, ..] = numbers;
    let value = usize::try_from(*first).unwrap_or(0);
    let behind = (&raw const *second).expose_provenance();
    let all = numbers.as_ptr().expose_provenance();
    let (number, [a, b, c]) = match limit {
        Limit::Resource => (raw::__NR_prlimit64, [0, value, behind]),
        Limit::Nice => (
            raw::__NR_setpriority,
            [raw::PRIO_PROCESS as usize, 0, value],
        ),
        Limit::Processors => (raw::__NR_sched_setaffinity, [0, size_of_val(numbers), all]),
        Limit::Policy => (raw::__NR_sched_setscheduler, [0, value, behind]),
    };
    // SAFETY: the kernel reads 16 bytes from the second number on (struct rlimit64),
    // 4 (struct sched_param), or all 128; it writes nothing, since the old limits
    // are not asked for.
    result(unsafe { arch::syscall(number, [a, b, c, 0, 0, 0]) }).map(drop)
}
