//! Waiting for a number in shared memory (futex(2)).

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use linux_raw_sys::{errno, general as raw};

use super::arch;

/// Makes `number`, which is another one, `value`, and waits until it is not that any more;
/// false, and does nothing, if that can't be waited for here.
#[cold]
#[inline(never)]
pub fn wait(number: &AtomicU32, value: u32) -> bool {
    if call(number, raw::FUTEX_WAIT, value) != AGAIN {
        return false;
    }
    number.store(value, Relaxed);
    while number.load(Relaxed) == value {
        call(number, raw::FUTEX_WAIT, value);
    }
    true
}

/// The answer where the number is another one.
const AGAIN: isize = -(errno::EAGAIN.cast_signed() as isize);

/// Wakes who waits for it.
#[cold]
#[inline(never)]
pub fn wake(number: &AtomicU32) {
    call(number, raw::FUTEX_WAKE, 1);
}

fn call(number: &AtomicU32, operation: u32, value: u32) -> isize {
    let operation = (operation | raw::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: the kernel reads the number, which outlives the call; there is no limit of
    // time.
    unsafe {
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
    }
}
