//! What this process, or what it starts, does with signals.

use std::{io, mem::MaybeUninit, ptr};

use crate::sys::check;

/// Ignores or defaults a signal, as a caller may have.
///
/// # Errors
/// As signal(2).
pub fn ignore(signal: i32) -> io::Result<()> {
    // SAFETY: SIG_IGN is no function of ours.
    let old = unsafe { libc::signal(signal, libc::SIG_IGN) };
    if old == libc::SIG_ERR {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Nothing that this program's caller ignores is ignored by what it starts: a shell starts
/// what runs in the background with SIGINT ignored. SIGPIPE is the standard library's.
pub fn default_signals() {
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| *signal != libc::SIGPIPE) {
        // SAFETY: SIG_DFL is no function of ours. Those that can't be set stay as they are.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Blocks a signal, as a caller may have.
///
/// # Errors
/// As sigprocmask(2).
pub fn block(signal: i32) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set, which the others then use.
    check(unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut())
    })
    .map(drop)
}
