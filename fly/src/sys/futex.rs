//! Waiting for a number in shared memory (futex(2)).

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use linux_raw_sys::general as raw;

use super::arch;

/// Waits until `number` is not `value` any more; false if that can't be waited for, or has
/// come to nothing too often.
#[cold]
#[inline(never)]
pub fn wait(number: &AtomicU32, value: u32) -> bool {
    for _ in 0..OFTEN {
        if number.load(Relaxed) != value {
            return true;
        }
        call(number, raw::FUTEX_WAIT, value);
    }
    false
}

/// A signal that is handled, and a change, end a call without more.
const OFTEN: u32 = 100;

/// Wakes who waits for it.
#[cold]
#[inline(never)]
pub fn wake(number: &AtomicU32) {
    call(number, raw::FUTEX_WAKE, 1);
}

fn call(number: &AtomicU32, operation: u32, value: u32) {
    let operation = (operation | raw::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the kernel reads the number, which outlives the call; there is no limit of
    // time.
    let _ = unsafe {
        arch::syscall(
            raw::__NR_futex,
            [
                number.as_ptr().expose_provenance(),
                operation,
                value as usize,
                0,
                0,
                0,
            ],
        )
    };
}
