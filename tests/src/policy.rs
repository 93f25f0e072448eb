//! Scheduling policies.

use std::io;

/// Gives this thread a real-time policy, as `chrt --fifo 10` does.
///
/// # Errors
/// As sched_setscheduler(2).
pub fn real_time() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 10 };
    // SAFETY: the structure is read.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
