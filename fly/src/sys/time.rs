//! Clocks.

use super::arch;
use linux_raw_sys::general as raw;

/// CLOCK_MONOTONIC in nanoseconds (clock_gettime(2)).
#[must_use]
pub fn monotonic() -> u64 {
    let mut time = raw::__kernel_timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec; the clock always exists.
    unsafe {
        arch::syscall(
            raw::__NR_clock_gettime,
            [
                raw::CLOCK_MONOTONIC as usize,
                (&raw mut time).expose_provenance(),
                0,
                0,
                0,
                0,
            ],
        )
    };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
