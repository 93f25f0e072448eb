//! A pod that runs on its own (`--detach`): stage0 is there twice, and the one that was
//! called returns when the pod is ready, or has failed before.

use core::ffi::CStr;

use fly::{
    error::{Error, FAILURE, What},
    launch::{KEPT, Running},
    sys::{clone, descriptor, map},
    text::Line,
};
use linux_raw_sys::general as raw;
use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{self, Access, AtFlags, Mode, OFlags},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitOptions, setsid, waitpid},
};

use crate::files::{Come, Files};

/// Where it tells how the start went, and the caller's standard error.
const TOLD: i32 = KEPT + 1;
const ERRORS: i32 = KEPT + 2;

/// What it tells: that the pod is ready, or its exit code behind [`ENDED`].
const READY: u8 = b'r';
const ENDED: u8 = b'e';

/// The file in the pod's directory with what stage0 and pid 1 themselves say.
const MESSAGES: &CStr = c"log";

/// The one that stays.
#[derive(Debug)]
pub struct Background(());

/// Runs `body` in a process of its own, and waits until its pod runs; then prints the
/// pod's `uuid`. Returns the exit code.
///
/// # Errors
/// As pipe(2) and fork(2).
pub fn begin<'e>(uuid: &[u8], body: &mut dyn FnMut(Background) -> i32) -> Result<i32, Error<'e>> {
    let failed = |errno| Error::new(What::Detach, c"", errno);
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    let child = clone::fork(0, || match settle(&write) {
        Ok(()) => body(Background(())),
        Err(errno) => crate::fail(failed(errno)),
    })
    .map_err(failed)?;
    drop(write);
    let mut told = [0; 2];
    let mut count = descriptor::read(read.as_raw_fd(), &mut told);
    while count == Err(Errno::INTR) {
        count = descriptor::read(read.as_raw_fd(), &mut told);
    }
    let code = match told {
        [READY, _] => 0,
        [ENDED, code] => i32::from(code),
        _ => {
            let status = Pid::from_raw(child).and_then(|pid| {
                let status = waitpid(Some(pid), WaitOptions::empty()).ok()??;
                status.1.exit_status()
            });
            return Ok(status.unwrap_or(FAILURE));
        }
    };
    tell(uuid, code)
}

/// By itself: its line would be on the stack of who stays with the pod.
#[inline(never)]
fn tell<'e>(uuid: &[u8], code: i32) -> Result<i32, Error<'e>> {
    Error::said(Line::new(1).bytes(uuid).end(), code)
}

/// Not in the caller's session, and what it needs later has its number.
fn settle(pipe: &OwnedFd) -> Result<(), Errno> {
    setsid()?;
    let errors = descriptor::borrow(2).ok_or(Errno::BADF)?;
    for (from, to) in [(pipe.as_fd(), TOLD), (errors, ERRORS)] {
        match descriptor::duplicate_onto(from, to) {
            // There is no standard error.
            Err(Errno::BADF) if to == ERRORS => {}
            done => done.and_then(|()| descriptor::close_on_exec(to))?,
        }
    }
    Ok(())
}

impl Background {
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

    /// The pod was started: tells that when all of its programs are ready. If it ends
    /// before, [`Background::ended`] tells that; if the caller does, the pod is stopped.
    #[cold]
    #[inline(never)]
    pub fn began(&self, running: &Running, directory: &CStr) {
        let pod = running.child.pidfd.as_fd();
        let caller = descriptor::borrow(TOLD).unwrap_or(descriptor::NONE);
        match wait_for(c"ready", pod, directory, caller) {
            Ok(true) => {
                descriptor::write_all(TOLD, &[READY]);
                release();
                map::give_back_stack();
            }
            Ok(false) => {}
            // Else the caller would wait for the end of a pod that may have none.
            Err(errno) => {
                crate::fail(Error::new(What::Wait, c"pid 1 of the pod", errno));
                fly::supervise::forward(pod, raw::SIGKILL);
            }
        }
    }

    /// The pod has ended with this code; if nothing was told yet, that is, with what was
    /// said if it has failed.
    #[cold]
    #[inline(never)]
    pub fn ended(&self, code: i32) {
        let [code, ..] = code.to_le_bytes();
        if code != 0 {
            // Also where the directory has gone: it is open.
            self.show();
        }
        descriptor::write_all(TOLD, &[ENDED, code]);
        release();
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

/// Lets go of what is the caller's.
fn release() {
    for number in [TOLD, ERRORS] {
        let _ = descriptor::close(number);
    }
}

/// Waits until the file `name` is in the pod's directory; false if the pod has ended before,
/// or the caller.
///
/// # Errors
/// As inotify(7).
#[cold]
#[inline(never)]
pub fn wait_for(
    name: &CStr,
    pod: BorrowedFd<'_>,
    directory: &CStr,
    caller: BorrowedFd<'_>,
) -> Result<bool, Errno> {
    let files = Files::of(directory)?;
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let folder = fs::open(directory, flags, Mode::empty())?;
    let is_there = || fs::accessat(&folder, name, Access::EXISTS, AtFlags::empty()).is_ok();
    let others = [
        PollFd::from_borrowed_fd(pod, PollFlags::IN),
        PollFd::from_borrowed_fd(caller, PollFlags::empty()),
    ];
    let come = files.wait(is_there, others)?;
    if come == Come::Second {
        fly::supervise::forward(pod, raw::SIGTERM);
    }
    Ok(come == Come::There)
}
