//! The end of a pod: it is told, and waited for. pid 1 keeps the deadlines of its programs;
//! one that is stopped or frozen keeps none, and is killed.

use core::time::Duration;

use fly::{error::Error, sys::signal};
use linux_raw_sys::general as raw;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    io::Errno,
    process::{Pid, PidfdFlags, fchdir, pidfd_open},
    time::Timespec,
};
use stage1_init::control::protocol::{self, Request};

use super::{pods::Pod, ready::Ending};
use crate::{client, wait};

/// Asks pid 1 to stop its apps, each by its signal and deadline; or kills it.
///
/// # Errors
/// AGAIN if its number is not known, and it can't be asked.
pub fn tell(pod: &Pod, force: bool) -> Result<(), Errno> {
    // It is being started: its number comes, unless who makes it was killed before.
    let pid = number(pod);
    if (!force || pid.is_none()) && ask(pod, protocol::STOP).is_ok() {
        return Ok(());
    }
    let Some(pid) = pid else {
        return if pod.is_locked() {
            Err(Errno::AGAIN)
        } else {
            Ok(())
        };
    };
    let process = pidfd_open(pid, PidfdFlags::empty());
    // Whose number it was then has ended.
    if !pod.is_locked() {
        return Ok(());
    }
    let signal = if force { raw::SIGKILL } else { raw::SIGTERM };
    match process.and_then(|process| signal::send_by_descriptor(process.as_raw_fd(), signal)) {
        // It has ended meanwhile, and its stage0 not yet.
        Err(Errno::SRCH) => Ok(()),
        done => done,
    }
}

/// Waits for the end of a pod that was told. When `grace` milliseconds are over pid 1 has to
/// have answered a question meanwhile, and has that time again; else, or with `force` at
/// once, it is killed.
///
/// # Errors
/// TIMEDOUT if it is there even so; AGAIN if its number is not known.
pub fn wait(pod: &Pod, mut force: bool, grace: u64) -> Result<(), Errno> {
    let grace = Timespec::try_from(Duration::from_millis(grace)).map_err(|_| Errno::INVAL)?;
    while pod.is_locked() {
        let Some(pid) = number(pod) else {
            // Who makes it was killed, or has not written it yet.
            let ending = Ending::of(pod)?;
            if is_over(ending.pipe.as_fd(), &grace) || number(pod).is_some() {
                continue;
            }
            return Err(Errno::AGAIN);
        };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            break;
        };
        if force {
            tell(pod, true)?;
        }
        let question = ask(pod, protocol::STATUS);
        if is_over(process.as_fd(), &grace) {
            break;
        }
        if force {
            return Err(Errno::TIMEDOUT);
        }
        // Who answers is none that does not go on.
        force = !question.is_ok_and(|own| is_over(own.as_fd(), &NOW));
    }
    // What its stage0 still does takes as long as it takes.
    pod.wait();
    Ok(())
}

/// The milliseconds that its programs have to end.
pub fn grace(pod: &Pod, room: &mut [u8]) -> u64 {
    pod.plan(room).map_or(GRACE, |plan| wait::grace(&plan))
}

/// If its plan can't be read.
const GRACE: u64 = 10_000;

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

fn number(pod: &Pod) -> Option<Pid> {
    let pid = pod.number(c"pid").and_then(|pid| i32::try_from(pid).ok());
    pid.and_then(Pid::from_raw)
}

/// Whether the descriptor can be read within that time.
fn is_over(descriptor: BorrowedFd<'_>, limit: &Timespec) -> bool {
    let mut ready = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    let mut done = poll(&mut ready, Some(limit));
    while done == Err(Errno::INTR) {
        done = poll(&mut ready, Some(limit));
    }
    done != Ok(0)
}

/// Asks pid 1; the answer comes to the socket that is returned. Waits for nothing.
fn ask(pod: &Pod, operation: u32) -> Result<OwnedFd, Error<'static>> {
    let request = Request {
        operation,
        flags: 0,
        number: 0,
        name: c"",
    };
    let path = c"the pod";
    fchdir(&pod.directory).map_err(|errno| Error::new(fly::error::What::Open, path, errno))?;
    let pod = client::Pod::here(path)?;
    pod.never_wait();
    pod.send(&request, &[])
}
