//! Waiting for a pod: until it is ready, or has ended. The kernel says when; nothing looks
//! again and again.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    sys::{clone, descriptor},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{Access, AtFlags, accessat, inotify},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, WaitOptions, kill_process, waitpid},
    time::Timespec,
};

use super::pods::Pod;

/// Waits until all programs of the pod are ready if that is what is wanted, or else until
/// it has ended; at most `limit` milliseconds, unless that is 0.
///
/// # Errors
/// The time is over, or the pod has ended without having been ready.
pub fn wait<'n>(name: &'n CStr, pod: &Pod, ready: bool, limit: u64) -> Result<(), Error<'n>> {
    if !ready && limit == 0 {
        pod.wait();
        return Ok(());
    }
    let failed = |errno| Error::new(What::WaitForPod, name, errno);
    let watcher = Watcher::new(pod).map_err(failed)?;
    let done = watcher.wait(pod, ready, limit);
    watcher.end();
    match done {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(What::WaitForPod, name, Why::NeverReady)),
        Err(Errno::TIMEDOUT) => Err(Error::new(What::WaitForPod, name, Why::NotYet)),
        Err(errno) => Err(failed(errno)),
    }
}

/// Who sleeps on a lock can't watch anything else: a child does, whose end of a pipe is
/// closed when the pod has ended.
struct Watcher {
    child: i32,
    ended: OwnedFd,
    /// Files that appear in the pod's directory.
    files: OwnedFd,
}

impl Watcher {
    fn new(pod: &Pod) -> Result<Self, Errno> {
        let files = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        // A path that leads to what is open: it may have been moved.
        let path =
            fly::launch::path::Path::of_descriptor(b"/proc/self/fd/", pod.directory.as_fd())?;
        let events = inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&files, path.as_c_str(), events)?;
        let (ended, kept) = pipe_with(PipeFlags::CLOEXEC)?;
        let child = clone::fork(0, || {
            pod.wait();
            0
        })?;
        drop(kept);
        Ok(Self {
            child,
            ended,
            files,
        })
    }

    /// False if it has ended before; TIMEDOUT.
    fn wait(&self, pod: &Pod, ready: bool, limit: u64) -> Result<bool, Errno> {
        let until = fly::sys::time::monotonic().saturating_add(limit.saturating_mul(1_000_000));
        loop {
            let is_ready =
                || accessat(&pod.directory, c"ready", Access::EXISTS, AtFlags::empty()).is_ok();
            if ready && is_ready() {
                return Ok(true);
            }
            let left = until.saturating_sub(fly::sys::time::monotonic());
            let left = Timespec::try_from(core::time::Duration::from_nanos(left))
                .map_err(|_| Errno::INVAL)?;
            let mut watched = [
                PollFd::new(&self.ended, PollFlags::IN),
                PollFd::new(&self.files, PollFlags::IN),
            ];
            let known = if ready { 2 } else { 1 };
            let (watched, _) = watched.split_at_mut_checked(known).unwrap_or_default();
            match poll(watched, (limit != 0).then_some(&left)) {
                Err(Errno::INTR) => continue,
                Ok(0) => return Err(Errno::TIMEDOUT),
                done => done?,
            };
            if watched
                .first()
                .is_some_and(|ended| !ended.revents().is_empty())
            {
                return Ok(!ready || is_ready());
            }
            let mut buffer = [0; 1024];
            let _ = descriptor::read(self.files.as_raw_fd(), &mut buffer);
        }
    }

    fn end(self) {
        if let Some(pid) = Pid::from_raw(self.child) {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}
