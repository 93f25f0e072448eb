//! Signals of a process that supervises.

use crate::sys::{self, raw};

/// All but SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV: bit number is
/// the signal's less one.
const SUPERVISED: u64 = !((1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 10));

#[inline(always)]
fn set_mask(mask: u64) {
    // SAFETY: the set lives across the call and has the kernel's size.
    unsafe {
        sys::call(
            raw::__NR_rt_sigprocmask,
            [raw::SIG_SETMASK as usize, (&raw const mask).addr(), 0, 8],
        )
    };
}

/// Blocks what can be waited for, and gives SIGCHLD its default action.
#[inline(always)]
pub fn supervise() {
    set_mask(SUPERVISED);
    let action = [0_usize; 4];
    // SAFETY: handler, flags, restorer and mask, all zero: SIG_DFL.
    unsafe {
        sys::call(
            raw::__NR_rt_sigaction,
            [raw::SIGCHLD as usize, action.as_ptr().addr(), 0, 8],
        )
    };
}

/// Unblocks all signals.
#[inline(always)]
pub fn unblock() {
    set_mask(0);
}

/// Sleeps until a signal is there: SIGCHLD, since nobody sends another.
#[inline(always)]
pub fn wait_for_child() {
    let set = SUPERVISED;
    // SAFETY: the set lives across the call; no information, no deadline.
    unsafe {
        sys::call(
            raw::__NR_rt_sigtimedwait,
            [(&raw const set).addr(), 0, 0, 8],
        )
    };
}
