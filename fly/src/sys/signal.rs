//! Signals without handlers: blocked sets and waiting.

use super::{arch, result};
use linux_raw_sys::general as raw;
use rustix::{
    fd::{FromRawFd, OwnedFd, RawFd},
    io::Errno,
};

/// A set of signals; bit `n - 1` is signal `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// All signals.
    pub const ALL: Self = Self(!0);

    /// `signal` alone.
    #[must_use]
    pub const fn only(signal: u32) -> Self {
        Self(bit(signal))
    }

    /// The set with `signal`.
    #[must_use]
    pub const fn and(self, signal: u32) -> Self {
        Self(self.0 | bit(signal))
    }

    /// Whether `signal` is in it.
    #[must_use]
    pub const fn holds(self, signal: u32) -> bool {
        self.0 & bit(signal) != 0
    }

    /// The set without `signal`.
    #[must_use]
    pub const fn without(self, signal: u32) -> Self {
        Self(self.0 & !bit(signal))
    }
}

const fn bit(signal: u32) -> u64 {
    1_u64.wrapping_shl(signal.wrapping_sub(1))
}

/// Signals that the processor raises for the program's own fault; blocking
/// them would turn a crash into a loop.
const FAULTS: u64 = bit(raw::SIGSEGV)
    | bit(raw::SIGBUS)
    | bit(raw::SIGFPE)
    | bit(raw::SIGILL)
    | bit(raw::SIGTRAP)
    | bit(raw::SIGSYS);

/// All signals but the fault signals: what a supervisor blocks and waits for.
pub const SUPERVISED: Set = Set(!FAULTS);

const SET_SIZE: usize = size_of::<u64>();

/// Sets the mask of blocked signals (rt_sigprocmask(2), SIG_SETMASK).
pub fn set_mask(set: Set) {
    // SAFETY: the kernel reads one 8-byte set. It can't fail with these
    // arguments.
    let _ = unsafe {
        arch::syscall(
            raw::__NR_rt_sigprocmask,
            [
                raw::SIG_SETMASK as usize,
                (&raw const set.0).expose_provenance(),
                0,
                SET_SIZE,
                0,
                0,
            ],
        )
    };
}

/// As [`set_mask`]; returns the mask before.
#[must_use]
pub fn replace_mask(set: Set) -> Set {
    let mut old = 0_u64;
    // SAFETY: the kernel reads one 8-byte set and writes another. It can't fail
    // with these arguments.
    let _ = unsafe {
        arch::syscall(
            raw::__NR_rt_sigprocmask,
            [
                raw::SIG_SETMASK as usize,
                (&raw const set.0).expose_provenance(),
                (&raw mut old).expose_provenance(),
                SET_SIZE,
                0,
                0,
            ],
        )
    };
    Set(old)
}

/// Gives `signal` its default action (rt_sigaction(2)): a caller may have left
/// SIGCHLD ignored, and then no exit code could be collected.
pub fn set_default(signal: u32) {
    // The kernel's struct sigaction: handler, flags, restorer, mask.
    let action = [0_u64; 4];
    // SAFETY: the kernel reads one structure of 32 bytes; SIG_DFL is 0.
    let _ = unsafe {
        arch::syscall(
            raw::__NR_rt_sigaction,
            [
                signal as usize,
                action.as_ptr().expose_provenance(),
                0,
                SET_SIZE,
                0,
                0,
            ],
        )
    };
}

/// So many nanoseconds.
fn timespec(nanoseconds: u64) -> raw::__kernel_timespec {
    raw::__kernel_timespec {
        tv_sec: i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanoseconds % 1_000_000_000).unwrap_or(0),
    }
}

/// Waits for a blocked signal of `set` (rt_sigtimedwait(2)); `timeout` is in
/// nanoseconds, `None` waits for ever. Returns the signal, or `None` when the
/// time is over or the wait was interrupted.
#[must_use]
pub fn wait(set: Set, timeout: Option<u64>) -> Option<u32> {
    let time = timespec(timeout.unwrap_or(0));
    let time = match timeout {
        Some(_) => (&raw const time).expose_provenance(),
        None => 0,
    };
    // SAFETY: the kernel reads the set and, if given, the time.
    let signal = result(unsafe {
        arch::syscall(
            raw::__NR_rt_sigtimedwait,
            [
                (&raw const set.0).expose_provenance(),
                0,
                time,
                SET_SIZE,
                0,
                0,
            ],
        )
    });
    signal.ok().and_then(|signal| u32::try_from(signal).ok())
}

/// Waits as [`wait`]; returns the signal, and whether the kernel has sent it by itself,
/// as for a key of the terminal. `None` when the time is over or the wait was
/// interrupted.
#[must_use]
pub fn wait_told(set: Set, timeout: Option<u64>) -> Option<(u32, bool)> {
    /// SI_KERNEL (sigaction(2)).
    const SI_KERNEL: u32 = 0x80;
    // siginfo_t has 128 bytes; its third number is si_code.
    let mut info = [0_u32; 32];
    let time = timespec(timeout.unwrap_or(0));
    let time = match timeout {
        Some(_) => (&raw const time).expose_provenance(),
        None => 0,
    };
    // SAFETY: the kernel reads the set and, if given, the time, and writes one siginfo_t.
    let signal = result(unsafe {
        arch::syscall(
            raw::__NR_rt_sigtimedwait,
            [
                (&raw const set.0).expose_provenance(),
                info.as_mut_ptr().expose_provenance(),
                time,
                SET_SIZE,
                0,
                0,
            ],
        )
    });
    let [_, _, code, ..] = info;
    let signal = signal.ok().and_then(|signal| u32::try_from(signal).ok())?;
    Some((signal, code == SI_KERNEL))
}

/// A descriptor from which the blocked signals of `set` can be read
/// (signalfd4(2)), for loops that wait for descriptors too.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn descriptor(set: Set) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel reads one 8-byte set.
    let fd = result(unsafe {
        arch::syscall(
            raw::__NR_signalfd4,
            [
                usize::MAX,
                (&raw const set.0).expose_provenance(),
                SET_SIZE,
                (raw::O_CLOEXEC | raw::O_NONBLOCK) as usize,
                0,
                0,
            ],
        )
    })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends `signal` to process `pid` (kill(2)); a negative pid is a process
/// group, -1 everybody in the caller's pid namespace but pid 1 itself.
///
/// # Errors
/// ESRCH where nobody is left, EPERM, EINVAL.
pub fn send(pid: i32, signal: u32) -> Result<(), Errno> {
    // SAFETY: kill takes no pointer.
    result(unsafe {
        arch::syscall(
            raw::__NR_kill,
            [(pid as isize).cast_unsigned(), signal as usize, 0],
        )
    })
    .map(drop)
}

/// Sends `signal` to the process that the pidfd `process` refers to
/// (pidfd_send_signal(2)); any signal, real-time ones too.
///
/// # Errors
/// As pidfd_send_signal(2).
pub fn send_by_descriptor(process: RawFd, signal: u32) -> Result<(), Errno> {
    // SAFETY: without a siginfo the call takes no pointer.
    result(unsafe {
        arch::syscall(
            raw::__NR_pidfd_send_signal,
            [
                process.cast_unsigned() as usize,
                signal as usize,
                0,
                0,
                0,
                0,
            ],
        )
    })
    .map(drop)
}
