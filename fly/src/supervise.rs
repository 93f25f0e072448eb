//! A process that was launched, from outside: waits for its end, passes signals
//! on.

use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsRawFd, BorrowedFd},
    process::{self, Pid, Signal, WaitId, WaitIdOptions},
};

use crate::sys::{signal, wait::End};

/// Waits for the end of `process`, whose pid is `pid`, by signals, which
/// [`crate::launch::supervise`] has blocked: nothing wakes up in between. All
/// that come meanwhile are passed on. `None` if the end can't be told.
#[must_use]
pub fn wait(process: BorrowedFd<'_>, pid: u32) -> Option<End> {
    loop {
        let told = signal::wait_told(signal::SUPERVISED, None);
        if let Some(end) = told.and_then(|told| take(process, pid, told)) {
            return Some(end);
        }
    }
}

/// Deals with a signal that has come, and whether the kernel has sent it: tells how
/// `process`, whose pid is `pid`, has ended, if it has, or passes the signal on.
#[inline]
pub fn take(process: BorrowedFd<'_>, pid: u32, (number, by_kernel): (u32, bool)) -> Option<End> {
    if number == raw::SIGCHLD {
        return ended(process, WaitIdOptions::NOHANG);
    }
    if by_kernel && reaches(number, pid) {
        stop(number);
    } else {
        forward(process, number);
    }
    None
}

/// Whether the terminal, which has sent the signal `number` to this process, has
/// sent it to `pid` too: keys go to a whole process group. A hang-up does not.
fn reaches(number: u32, pid: u32) -> bool {
    let from_a_key = matches!(
        number,
        raw::SIGINT | raw::SIGQUIT | raw::SIGTSTP | raw::SIGTTIN | raw::SIGTTOU | raw::SIGWINCH
    );
    let other = i32::try_from(pid).ok().and_then(Pid::from_raw);
    from_a_key && process::getpgid(other) == Ok(process::getpgrp())
}

/// How `process` has ended, if it has.
#[must_use]
pub fn ended(process: BorrowedFd<'_>, options: WaitIdOptions) -> Option<End> {
    let status =
        process::waitid(WaitId::PidFd(process), WaitIdOptions::EXITED | options).ok()??;
    let number = |value: Option<i32>| value.and_then(|value| u8::try_from(value).ok());
    match number(status.exit_status()) {
        Some(code) => Some(End::Exited(code)),
        None => number(status.terminating_signal()).map(End::Killed),
    }
}

/// Passes the signal `number` on to `process`. A stop signal of the terminal
/// stops this process too, so that the shell gets its prompt.
pub fn forward(process: BorrowedFd<'_>, number: u32) {
    let _ = signal::send_by_descriptor(process.as_raw_fd(), number);
    stop(number);
}

fn stop(number: u32) {
    if matches!(number, raw::SIGTSTP | raw::SIGTTIN | raw::SIGTTOU) {
        let _ = process::kill_process(process::getpid(), Signal::STOP);
    }
}
