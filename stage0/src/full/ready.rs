//! Waiting for a pod: until it is ready, or has ended. The kernel says when; nothing looks
//! again and again.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    launch::path::Path,
    sys::{clone, descriptor},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{Access, AtFlags, accessat, inotify},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{
        Pid, Signal, WaitOptions, getpid, getppid, kill_process, set_parent_process_death_signal,
        waitpid,
    },
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
    match watcher.wait(pod, ready, limit) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(What::WaitForPod, name, Why::NeverReady)),
        Err(Errno::TIMEDOUT) => Err(Error::new(What::WaitForPod, name, Why::NotYet)),
        Err(errno) => Err(failed(errno)),
    }
}

/// The end of a pod as a descriptor. Who sleeps on a lock can't watch anything else: a
/// child does, whose end of a pipe is closed when the pod has ended.
pub struct Ending {
    child: i32,
    /// Can be read from then on.
    pub pipe: OwnedFd,
}

impl Ending {
    /// Of this pod.
    ///
    /// # Errors
    /// As pipe(2) and fork(2).
    pub fn of(pod: &Pod) -> Result<Self, Errno> {
        let (pipe, kept) = pipe_with(PipeFlags::CLOEXEC)?;
        let parent = getpid();
        let child = clone::fork(0, || {
            // Nobody is left to be told when the parent is killed.
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            if getppid() == Some(parent) {
                pod.wait();
            }
            0
        })?;
        drop(kept);
        Ok(Self { child, pipe })
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child) {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

/// Adds a watch on a directory that is open: its path may have changed.
///
/// # Errors
/// As inotify_add_watch(2).
pub fn watch(
    files: &OwnedFd,
    directory: &OwnedFd,
    events: inotify::WatchFlags,
) -> Result<(), Errno> {
    let path = Path::of_descriptor(b"/proc/self/fd/", directory.as_fd())?;
    inotify::add_watch(files, path.as_c_str(), events).map(drop)
}

struct Watcher {
    ending: Ending,
    /// Files that appear in the pod's directory.
    files: OwnedFd,
}

impl Watcher {
    fn new(pod: &Pod) -> Result<Self, Errno> {
        let files = inotify::init(inotify::CreateFlags::CLOEXEC)?;
        watch(&files, &pod.directory, inotify::WatchFlags::MOVED_TO)?;
        let ending = Ending::of(pod)?;
        Ok(Self { ending, files })
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
                PollFd::new(&self.ending.pipe, PollFlags::IN),
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
}
