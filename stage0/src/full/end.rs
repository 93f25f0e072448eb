//! The end of a pod: it is told, and waited for. pid 1 keeps the deadlines of its programs;
//! one that is stopped or frozen keeps none, and is killed.

use core::time::Duration;

use fly::{
    error::{Error, What, Why},
    launch::path::Path,
    sys::{descriptor, signal},
    text::Digits,
};
use linux_raw_sys::general as raw;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    io::Errno,
    process::{Pid, PidfdFlags, fchdir, pidfd_open},
    time::Timespec,
};
use stage1_init::control::{
    SOCKET,
    protocol::{self, Request},
};

use super::{
    pods::Pod,
    ready::{self, Ending},
};
use crate::{client, wait};

/// Asks pid 1 to stop its apps, each by its signal and deadline; or kills it. One that can't
/// be told yet is by who waits for its end.
///
/// # Errors
/// As pidfd_open(2) and pidfd_send_signal(2).
pub fn tell(pod: &Pod, force: bool) -> Result<(), Errno> {
    if (!force || number(pod).is_none()) && ask(pod, protocol::STOP).is_ok() {
        return Ok(());
    }
    let signal = if force { raw::SIGKILL } else { raw::SIGTERM };
    match Init::of(pod)? {
        Init::Lives(process) => send(&process, signal),
        Init::Ended | Init::Unknown => Ok(()),
    }
}

/// Waits for the end of a pod that was told. When `grace` milliseconds are over pid 1 has to
/// have answered meanwhile, and has that time again; else, or `by_force` at once, it is
/// killed.
///
/// # Errors
/// TIMEDOUT if it is there even so, or its stage0; AGAIN if its number is not known.
pub fn wait(pod: &Pod, by_force: bool, grace: u64) -> Result<(), Errno> {
    let mut force = by_force;
    let limit = Timespec::try_from(Duration::from_millis(grace)).map_err(|_| Errno::INVAL)?;
    while pod.is_locked() {
        let process = match Init::of(pod)? {
            Init::Lives(process) => process,
            Init::Ended => break,
            Init::Unknown => match ready::until_known(pod, grace) {
                // Who makes it was killed.
                Err(Errno::TIMEDOUT) => return Err(Errno::AGAIN),
                Ok(true) => {
                    tell(pod, force)?;
                    continue;
                }
                Ok(false) => return Ok(()),
                Err(errno) => return Err(errno),
            },
        };
        if force {
            send(&process, raw::SIGKILL)?;
            if is_over(process.as_fd(), &limit) {
                break;
            }
            return Err(Errno::TIMEDOUT);
        }
        // To be told twice is as good, and once may have been too early.
        let question = ask(pod, protocol::STOP);
        if is_over(process.as_fd(), &limit) {
            break;
        }
        // Who answers is none that does not go on.
        force = !match question {
            Ok(own) => is_over(own.as_fd(), &NOW),
            // It had too much to read, or no socket yet, perhaps for a moment only.
            Err(_) => ask(pod, protocol::STOP).is_ok_and(|own| is_over(own.as_fd(), &MOMENT)),
        };
    }
    wait_for_stage0(pod)
}

/// Waits until nobody holds the lock of a pod whose pid 1 has ended: what its stage0 still
/// does takes a moment, unless that is stopped or frozen.
///
/// # Errors
/// TIMEDOUT then.
pub fn wait_for_stage0(pod: &Pod) -> Result<(), Errno> {
    if !pod.is_locked() {
        return Ok(());
    }
    let ending = Ending::of(pod)?;
    if is_over(ending.pipe.as_fd(), &CLEANING) {
        Ok(())
    } else {
        Err(Errno::TIMEDOUT)
    }
}

/// The milliseconds that its programs have to end.
pub fn grace(pod: &Pod, room: &mut [u8]) -> u64 {
    pod.plan(room).map_or(GRACE, |plan| wait::grace(&plan))
}

/// If its plan can't be read.
const GRACE: u64 = 10_000;

/// For what a stage0 does behind the end of pid 1.
const CLEANING: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// For an answer of who lives.
pub const MOMENT: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// pid 1 of a pod.
enum Init {
    /// It is being started, and its number comes, unless who makes it was killed before; or
    /// its directory is being removed.
    Unknown,
    Ended,
    /// By a descriptor that is that of no other process.
    Lives(OwnedFd),
}

impl Init {
    fn of(pod: &Pod) -> Result<Self, Errno> {
        let Some(pid) = number(pod) else {
            return Ok(Self::Unknown);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => Ok(Self::Ended),
            Err(errno) => Err(errno),
            // Whose number it was then has not ended before.
            Ok(process) if is_there(pod) && !is_another(pod, pid) => Ok(Self::Lives(process)),
            Ok(_) => Ok(Self::Ended),
        }
    }
}

/// Whether pid 1 has not ended. That its stage0 is there says nothing, nor who has released
/// the pod: they hold the lock a moment longer, in which the number may be given to another
/// process.
fn is_there(pod: &Pod) -> bool {
    // It holds none yet, or somebody who reads has kept it from that: then its socket tells.
    pod.is_held() || (pod.is_locked() && !(pod.time(SOCKET).is_some() && is_refused(pod)))
}

/// Whether pid 1 holds the lock, and this process has no descriptor of it: the number in the file
/// is wrong. It is none if that can't be seen.
fn is_another(pod: &Pod, pid: Pid) -> bool {
    let digits = Digits::new(u64::from(pid.as_raw_nonzero().get().unsigned_abs()), 10);
    let Ok(folder) = Path::of(&[b"/proc/", digits.as_bytes(), b"/fd/"]) else {
        return false;
    };
    let mut has_it = false;
    let seen = descriptor::each_name(folder.as_c_str(), &mut |number| {
        let path = Path::of(&[folder.as_bytes(), number]);
        has_it = has_it || path.is_ok_and(|path| pod.is_lock(path.as_c_str()));
    });
    // It may have let go of it meanwhile.
    seen && !has_it && pod.is_held()
}

/// Whether nobody has the other end of its socket.
fn is_refused(pod: &Pod) -> bool {
    ask(pod, protocol::STATUS).is_err_and(|error| error.cause() == Why::NoPodRuns.into())
}

fn number(pod: &Pod) -> Option<Pid> {
    let pid = pod.number(c"pid").and_then(|pid| i32::try_from(pid).ok());
    pid.and_then(Pid::from_raw)
}

fn send(process: &OwnedFd, signal: u32) -> Result<(), Errno> {
    match signal::send_by_descriptor(process.as_raw_fd(), signal) {
        // It has ended meanwhile, and its stage0 not yet.
        Err(Errno::SRCH) => Ok(()),
        done => done,
    }
}

/// Whether the descriptor can be read within that time.
pub fn is_over(descriptor: BorrowedFd<'_>, limit: &Timespec) -> bool {
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
    fchdir(&pod.directory).map_err(|errno| Error::new(What::Open, path, errno))?;
    let pod = client::Pod::here(path)?;
    pod.never_wait();
    pod.send(&request, &[])
}
