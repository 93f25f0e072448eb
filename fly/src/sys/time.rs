//! Clocks.

use super::arch;
use linux_raw_sys::general as raw;

/// CLOCK_MONOTONIC in nanoseconds (clock_gettime(2)).
#[must_use]
pub fn monotonic() -> u64 {
    clock(raw::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME in nanoseconds: what times of files are told by.
#[must_use]
#[cold]
pub fn realtime() -> u64 {
    clock(raw::CLOCK_REALTIME)
}

#[inline]
fn clock(number: u32) -> u64 {
    let mut time = raw::__kernel_timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec; both clocks always exist.
    unsafe {
        arch::syscall(
            raw::__NR_clock_gettime,
            [number as usize, (&raw mut time).expose_provenance(), 0],
        )
    };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Sends SIGALRM to this process again and again, `nanoseconds` apart (setitimer(2)).
#[cold]
pub fn alarm_every(nanoseconds: u64) {
    let seconds = nanoseconds / 1_000_000_000;
    let micros = nanoseconds % 1_000_000_000 / 1000;
    // struct itimerval: the time between two, and that to the first one.
    let times = [seconds, micros, seconds, micros];
    // SAFETY: the kernel reads four longs. It can't fail with these arguments.
    let _ = unsafe {
        arch::syscall(
            raw::__NR_setitimer,
            [
                raw::ITIMER_REAL as usize,
                times.as_ptr().expose_provenance(),
                0,
                0,
                0,
                0,
            ],
        )
    };
}
