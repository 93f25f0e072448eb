//! A pod that runs on its own (`--detach`): stage0 is there twice, and the one that was
//! called returns when the pod is ready, or has failed before.

use core::ffi::CStr;

use fly::{
    error::{Error, FAILURE, What},
    launch::{KEPT, Running},
    supervise,
    sys::{
        clone, descriptor,
        signal::{self, SUPERVISED, Set},
    },
    text::Line,
};
use linux_raw_sys::general as raw;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{self, Access, AtFlags, Mode, OFlags},
    io::{Errno, fcntl_getfd},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitOptions, setsid, waitpid},
};

use stage1_init::LOCK;

use crate::{directory::Directory, files::Files, relay::each_signal, wait::TimeLimit};

/// Where it tells how the start went: whether the pod's uuid was printed, and the exit code.
const TOLD: i32 = KEPT + 1;
/// The caller's standard error and output. The latter is closed when nobody is to hear of
/// the pod any more.
const ERRORS: i32 = KEPT + 2;
const OUTPUT: i32 = KEPT + 3;

/// The file in the pod's directory with what stage0 and pid 1 themselves say.
const MESSAGES: &CStr = c"log";

/// The one that stays.
#[derive(Clone, Copy, Debug)]
pub struct Background<'u> {
    uuid: &'u [u8],
    /// The caller has it already, or it was saved in a file.
    is_known: bool,
}

/// Runs `body` in a process of its own, and waits until its pod runs, and its `uuid` is
/// printed: by that process, which has the pod, and ends it if that fails and it is not known
/// otherwise (`is_known`): nobody could name it. Returns the exit code.
///
/// # Errors
/// As pipe(2) and fork(2); and that the uuid could not be printed.
pub fn begin<'e>(
    uuid: &[u8],
    is_known: bool,
    body: &mut dyn FnMut(Background<'_>) -> i32,
) -> Result<i32, Error<'e>> {
    let failed = |errno| Error::new(What::Detach, c"", errno);
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let child = clone::fork(0, || match settle(&write) {
        Ok(()) => body(Background { uuid, is_known }),
        Err(errno) => crate::fail(failed(errno)),
    })
    .map_err(failed)?;
    drop(write);
    let mut told = [0; 2];
    let mut count = descriptor::read(read.as_raw_fd(), &mut told);
    while count == Err(Errno::INTR) {
        count = descriptor::read(read.as_raw_fd(), &mut told);
    }
    if let (Ok(2), [said, code]) = (count, told) {
        return Error::said(said != 0, code.into());
    }
    let status = Pid::from_raw(child).and_then(|pid| {
        let status = waitpid(Some(pid), WaitOptions::empty()).ok()??;
        status.1.exit_status()
    });
    Ok(status.unwrap_or(FAILURE))
}

/// Not in the caller's session, and what it needs later has its number.
fn settle(pipe: &OwnedFd) -> Result<(), Errno> {
    setsid()?;
    let pipe = pipe.as_raw_fd();
    for (from, to) in [(pipe, TOLD), (1, OUTPUT), (2, ERRORS)] {
        // A standard stream that is closed, even if the pipe has its number now.
        let _ = descriptor::close(to);
        if to != TOLD && from == pipe {
            continue;
        }
        let from = descriptor::get(from);
        if to == TOLD || fcntl_getfd(from).is_ok() {
            descriptor::keep_as(from, to)?;
        }
    }
    Ok(())
}

impl Background<'_> {
    /// Nothing that the pod has is the caller's: its input is empty, what is said goes
    /// into the pod's directory.
    ///
    /// # Errors
    /// As open(2).
    #[cold]
    #[inline(never)]
    pub fn redirect(&self, directory: &CStr) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let nothing = fs::open(c"/dev/null", flags, Mode::empty())?;
        let folder = fs::open(directory, flags | OFlags::DIRECTORY, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
        let log = fs::openat(&folder, MESSAGES, flags, Mode::from_raw_mode(0o640))?;
        descriptor::duplicate_onto(nothing.as_fd(), 0)?;
        descriptor::duplicate_onto(log.as_fd(), 1)?;
        descriptor::duplicate_onto(log.as_fd(), 2)
    }

    /// The pod was not started: the caller sees why.
    #[cold]
    #[inline(never)]
    pub fn give_up(&self) {
        if let Some(errors) = descriptor::borrow(ERRORS) {
            let _ = descriptor::duplicate_onto(errors, 2);
        }
    }

    /// The pod was started: tells that when all of its programs are ready; until then it has
    /// what is sent to this process, and the time of `limit`. Returns whether it was told; if
    /// the pod ends before, [`Background::ended`] tells that. If the caller has ended, or
    /// nobody can be told what pod it is, it is stopped.
    #[cold]
    #[inline(never)]
    pub fn began(&self, running: &Running, directory: &CStr, limit: &mut TimeLimit) -> bool {
        let pod = running.child.pidfd.as_fd();
        let caller = descriptor::get(TOLD);
        match wait_for(c"ready", pod, directory, caller, limit) {
            Ok(Some(true)) => {
                let said = self.say();
                if said || self.is_known {
                    tell(said, 0);
                    return true;
                }
            }
            Ok(Some(false)) => return false,
            Ok(None) => {}
            // Else the caller would wait for the end of a pod that may have none.
            Err(errno) => {
                crate::fail(Error::new(What::Wait, c"pid 1 of the pod", errno));
                supervise::forward(pod, raw::SIGKILL);
                return false;
            }
        }
        let _ = descriptor::close(OUTPUT);
        supervise::forward(pod, raw::SIGTERM);
        false
    }

    /// The pod has ended so before its caller was told of it: that is told now, with what was
    /// said if it has failed. Of one that nobody can name nothing stays. Returns the exit code.
    #[cold]
    #[inline(never)]
    pub fn ended(&self, directory: &mut Directory<'_>, done: Result<i32, Error<'_>>) -> i32 {
        // Into the log.
        let code = done.unwrap_or_else(crate::fail);
        let said = self.say();
        if !said && !self.is_known {
            directory.forget();
        }
        directory.ended(code);
        if code != 0 {
            // Also where the directory has gone: it is open.
            self.show();
        }
        tell(said, code);
        code
    }

    /// Prints the pod's uuid; false if that failed. By itself: the line would be on the stack
    /// of who stays with the pod.
    #[inline(never)]
    fn say(&self) -> bool {
        let said = Line::new(OUTPUT).bytes(self.uuid).end();
        forget_pipe();
        said
    }

    /// Shows the caller what was written into the log, if it is still there.
    fn show(&self) {
        let path = *b"/proc/self/fd/1\0";
        let Some(path) = fly::sys::memory::c_str(&path) else {
            return;
        };
        let Ok(log) = fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else {
            return;
        };
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = descriptor::read(log.as_raw_fd(), &mut buffer) {
            descriptor::write_all(ERRORS, buffer.get(..count).unwrap_or_default());
        }
    }
}

/// Tells the caller, and lets go of what is the caller's.
fn tell(said: bool, code: i32) {
    let [code, ..] = code.to_le_bytes();
    descriptor::write_all(TOLD, &[said.into(), code]);
    forget_pipe();
    for number in [TOLD, ERRORS, OUTPUT] {
        let _ = descriptor::close(number);
    }
}

/// That the caller's end of a pipe is closed is no signal for the pod.
#[cold]
#[inline(never)]
fn forget_pipe() {
    let _ = signal::wait_told(Set::only(raw::SIGPIPE), Some(0));
}

/// What is passed on to a pod that is waited for. That a child has ended is for who waits for
/// it later.
const PASSED: Set = SUPERVISED.without(raw::SIGCHLD);

/// Waits until the file `name` is in the pod's directory; false if the pod has ended before,
/// `None` if the caller has. The pod is told of signals, and when the time of `limit` is over.
///
/// # Errors
/// As inotify(7) and signalfd(2); that somebody has removed the directory.
#[cold]
#[inline(never)]
pub fn wait_for(
    name: &CStr,
    pod: BorrowedFd<'_>,
    directory: &CStr,
    caller: BorrowedFd<'_>,
    limit: &mut TimeLimit,
) -> Result<Option<bool>, Errno> {
    let files = Files::of(directory)?;
    let signals = signal::descriptor(PASSED)?;
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let folder = fs::open(directory, flags, Mode::empty())?;
    let mut ready = [
        PollFd::from_borrowed_fd(files.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(pod, PollFlags::IN),
        PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(caller, PollFlags::empty()),
    ];
    let is_there = |name| fs::accessat(&folder, name, Access::EXISTS, AtFlags::empty());
    while is_there(name).is_err() {
        // All of it was removed by somebody.
        is_there(LOCK)?;
        let left = limit.left(pod);
        match poll(&mut ready, left.as_ref()) {
            Err(Errno::INTR) => continue,
            done => done?,
        };
        let [_, end, signal, caller] = ready.each_ref().map(|one| !one.revents().is_empty());
        if caller {
            return Ok(None);
        }
        if end {
            return Ok(Some(false));
        }
        if signal {
            each_signal(&signals, &mut |number| supervise::forward(pod, number));
        }
        files.drain();
    }
    Ok(Some(true))
}
