//! Waiting for a pod: until it can be asked, is ready, or has ended. The kernel says when;
//! nothing looks again and again.

use core::{ffi::CStr, mem::MaybeUninit, time::Duration};

use fly::{
    error::{Error, What, Why},
    launch::path::Path,
    sys::{clone, lock},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, OwnedFd},
    fs::{Access, AtFlags, Mode, OFlags, access, accessat, inotify, open},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{
        Pid, Signal, WaitOptions, getpid, getppid, kill_process, set_parent_process_death_signal,
        waitpid,
    },
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use stage1_init::{LOCK, control::SOCKET};

use super::pods::{self, Pod, Pods, State};
use crate::{
    client,
    directory::BYTES,
    files::{Come, Files},
    state::Folder,
};

/// Waits until all programs of the pod are ready if that is what is wanted, or else until
/// it has ended; at most `limit` milliseconds, unless that is 0. One that is not started yet
/// has not ended.
///
/// # Errors
/// The time is over, or the pod has ended without having been ready, or was removed before it
/// was started.
pub fn wait<'n>(
    name: &'n CStr,
    pods: &Pods,
    pod: &mut Pod,
    ready: bool,
    limit: u64,
) -> Result<(), Error<'n>> {
    let failed = |errno| match errno {
        Errno::TIMEDOUT => Error::new(What::WaitForPod, name, Why::NotYet),
        errno => Error::new(What::WaitForPod, name, errno),
    };
    let clock = clock(limit).map_err(failed)?;
    loop {
        if !until_started(pods, pod, &clock).map_err(failed)? {
            return Err(pods::no_match(name, &pod.uuid));
        }
        let done = if ready || limit != 0 {
            until_done(pod, ready, &clock)
        } else {
            pod.wait();
            Ok(())
        };
        // Who prepares it holds the lock as well, and who starts it in vain; then somebody else
        // may have started it already.
        let again = |found: &Pod| match found.state() {
            State::Prepared => true,
            State::Running => !ready && done.is_ok(),
            _ => false,
        };
        match pods.find_whole(&pod.uuid).filter(again) {
            Some(found) => *pod = found,
            None => {
                return done.map_err(|why| match why {
                    Ok(why) => Error::new(What::WaitForPod, name, why),
                    Err(errno) => failed(errno),
                });
            }
        }
    }
}

fn until_done(pod: &Pod, ready: bool, clock: &OwnedFd) -> Result<(), Result<Why, Errno>> {
    let is_ready = || accessat(&pod.directory, c"ready", Access::EXISTS, AtFlags::empty()).is_ok();
    let is_there = || ready && is_ready();
    match until_in(pod, &is_there, clock) {
        // Who was stopped meanwhile may see both: that the time is over, and what was in time.
        Err(Errno::TIMEDOUT) if is_there() => Ok(()),
        Err(Errno::TIMEDOUT) if pod.is_locked() => Err(Ok(Why::NotYet)),
        Err(Errno::TIMEDOUT) if !ready => Ok(()),
        // What was there in time may have been seen too late.
        Ok(is_there) if is_there || !ready || is_ready() => Ok(()),
        Ok(_) | Err(Errno::TIMEDOUT) => Err(Ok(Why::NeverReady)),
        Err(errno) => Err(Err(errno)),
    }
}

/// Whether the pod can be started, and nobody does.
fn is_to_start(pods: &Pods, pod: &Pod) -> bool {
    let prepared = pods.open(Folder::Prepared, &pod.uuid);
    // Who can't see whether it is parked sees when it is moved.
    prepared.is_ok_and(|pod| pod.state() == State::Prepared || pod.is_hidden())
}

/// Waits as long as it is so; false if the pod was removed then. One that was started is opened
/// again: before that not everybody could see its lock.
fn until_started(pods: &Pods, pod: &mut Pod, clock: &OwnedFd) -> Result<bool, Errno> {
    use inotify::{CreateFlags, ReadFlags, Reader, WatchFlags};
    if !is_to_start(pods, pod) {
        return Ok(true);
    }
    let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // It is moved both when it is started and when it is removed, and its pid is moved into it;
    // what is only made there may be of a start that has failed.
    let watched = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF | WatchFlags::MOVED_TO;
    watch(&events, &pod.directory, watched)?;
    let mut was_started = false;
    while is_to_start(pods, pod) {
        let mut ready = [&events, clock].map(|one| PollFd::new(one, PollFlags::IN));
        match poll(&mut ready, None) {
            Err(Errno::INTR) => {}
            done => _ = done?,
        }
        let [_, is_over] = ready.map(|one| !one.revents().is_empty());
        if is_over && is_to_start(pods, pod) {
            return Err(Errno::TIMEDOUT);
        }
        let mut room = [const { MaybeUninit::uninit() }; 1024];
        let mut told = Reader::new(&events, &mut room);
        while let Ok(event) = told.next() {
            was_started |= event.events().contains(ReadFlags::MOVED_TO);
        }
    }
    match pods.find_whole(&pod.uuid) {
        Some(found) if found.folder != Folder::Garbage => *pod = found,
        // It was removed when it had ended.
        _ => return Ok(was_started),
    }
    Ok(true)
}

/// Waits until pid 1 of the pod whose directory is the working directory can be asked.
///
/// # Errors
/// No pod is there, or none is started.
pub fn wait_for_start<'a>(pod: &client::Pod<'a>) -> Result<(), Error<'a>> {
    let begun = || {
        let is_there = |name| access(name, Access::EXISTS).is_ok();
        is_there(SOCKET) && is_there(c"pid")
    };
    if begun() {
        return Ok(());
    }
    match until_begun(&begun) {
        Ok(true) => Ok(()),
        Ok(false) | Err(Errno::NOENT) => Err(pod.gone()),
        Err(errno) => Err(Error::new(What::Ask, pod.path, errno)),
    }
}

fn until_begun(begun: &dyn Fn() -> bool) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    // Its stage0 or its pid 1 holds the lock: else there will be no pod.
    let lock = open(LOCK, flags, Mode::empty())?;
    if !lock::is_taken(lock.as_fd(), BYTES)? {
        return Ok(false);
    }
    let ended = || while lock::wait(lock.as_fd(), BYTES) == Err(Errno::INTR) {};
    until(c".", begun, &ended, &clock(0)?)
}

/// Waits until the number of the pod's pid 1 is known, or until it has ended, which is false;
/// at most `limit` milliseconds.
///
/// # Errors
/// TIMEDOUT, and as inotify(7), pipe(2), fork(2) and timerfd_create(2).
pub fn until_known(pod: &Pod, limit: u64) -> Result<bool, Errno> {
    until_in(pod, &|| pod.number(c"pid").is_some(), &clock(limit)?)
}

/// As [`until`], in the directory of the pod: its path may have changed.
fn until_in(pod: &Pod, is_there: &dyn Fn() -> bool, clock: &OwnedFd) -> Result<bool, Errno> {
    let path = Path::of_descriptor(b"/proc/self/fd/", pod.directory.as_fd())?;
    until(path.as_c_str(), is_there, &|| pod.wait(), clock)
}

/// Waits until a file appears in the directory `path` with which `is_there` holds, or until `ended`
/// returns, which is false; or until the time of `clock` is over: TIMEDOUT.
fn until(
    path: &CStr,
    is_there: &dyn Fn() -> bool,
    ended: &dyn Fn(),
    clock: &OwnedFd,
) -> Result<bool, Errno> {
    let files = Files::of(path)?;
    let ending = Ending::when(ended)?;
    let others = [
        PollFd::new(&ending.pipe, PollFlags::IN),
        PollFd::new(clock, PollFlags::IN),
    ];
    match files.wait(is_there, others)? {
        Come::There => Ok(true),
        Come::First => Ok(false),
        Come::Second => Err(Errno::TIMEDOUT),
    }
}

/// Can be read in `limit` milliseconds, and never if that is 0.
fn clock(limit: u64) -> Result<OwnedFd, Errno> {
    let clock = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let time = Itimerspec {
        it_interval: Timespec::default(),
        it_value: Timespec::try_from(Duration::from_millis(limit)).map_err(|_| Errno::INVAL)?,
    };
    timerfd_settime(&clock, TimerfdTimerFlags::empty(), &time)?;
    Ok(clock)
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
        Self::when(&|| pod.wait())
    }

    /// Of the one that has ended when `wait` returns.
    fn when(wait: &dyn Fn()) -> Result<Self, Errno> {
        let (pipe, kept) = pipe_with(PipeFlags::CLOEXEC)?;
        let parent = getpid();
        let child = clone::fork(0, || {
            // Nobody is left to be told when the parent is killed.
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            if getppid() == Some(parent) {
                wait();
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
