//! `stage0 app release`: a parked pod goes on, with the caller's standard streams, and the
//! caller waits for its end. In `stage0` itself, since it is a start.

use core::{ffi::CStr, mem::ManuallyDrop};

use fly::{
    error::{Error, FAILURE, What, Why},
    launch,
    plan::Plan,
    supervise,
    sys::{descriptor, signal},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, OwnedFd},
    fs::{self, Mode, OFlags},
    io::Errno,
};
use stage1_init::{
    LOCK,
    control::protocol::{self, Reply, Request},
};

use crate::{
    cgroups::{self, Cgroups},
    client::Pod,
    directory::Directory,
    relay::each_signal,
    wait::TimeLimit,
};

/// How the end of a pod is waited for. A type, as few have more to look at meanwhile.
pub trait Watch {
    /// Waits until one of the two can be read, which is returned.
    ///
    /// # Errors
    /// As poll(2).
    fn wait(&self, both: [&OwnedFd; 2], left: Option<&Timespec>) -> Result<[bool; 2], Errno>;
}

/// Nothing else is looked at.
impl Watch for () {
    #[inline]
    fn wait(
        &self,
        [own, signals]: [&OwnedFd; 2],
        left: Option<&Timespec>,
    ) -> Result<[bool; 2], Errno> {
        let mut ready = [
            PollFd::new(own, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        poll(&mut ready, left)?;
        Ok(ready.map(|one| !one.revents().is_empty()))
    }
}

/// Releases the pod `pod`, with the apps of the sealed plan if there is one; returns its
/// exit code. In `room` there is place for its own plan. It has no streams to watch: what a
/// program can watch anyway is a type less.
///
/// # Errors
/// It is not parked, or none runs there.
#[cold]
#[inline(never)]
pub fn release<'a, W: Watch + Default>(
    pod: &Pod<'a>,
    plan: Option<&OwnedFd>,
    room: &mut [u8],
) -> Result<i32, Error<'a>> {
    let _lock = lock(pod)?;
    // What comes from here on is for the pod.
    launch::block_signals();
    let mut limit = TimeLimit::NONE;
    let (mut room, mut cgroups) = (Some(room), None);
    let mut meanwhile = || {
        let own = descriptor::read_file(c"plan", room.take().unwrap_or_default());
        cgroups = Plan::check(own).ok().and_then(Cgroups::of);
    };
    let done = run(pod, plan, 0, &mut limit, (&W::default(), &mut meanwhile));
    let (done, _) = ended(done, cgroups, None);
    if let Ok(code) = done {
        Directory::here().ended(code);
    }
    done
}

/// What is to be done with the cgroups of a pod when it was released, of which `done` tells;
/// of the one that is called `damaged` nobody knows them. Returns the code, and whether it was
/// released.
#[cold]
#[inline(never)]
pub fn ended<'a>(
    done: Result<(i32, OwnedFd), Error<'a>>,
    cgroups: Option<Cgroups<'_>>,
    damaged: Option<&[u8]>,
) -> (Result<i32, Error<'a>>, bool) {
    match done {
        Err(error) => {
            let was_released = error.cause() == Why::InitKilled.into();
            if !was_released {
                core::mem::forget(cgroups);
            }
            (Err(error), was_released)
        }
        Ok((code, end)) => {
            // With cgroups, which can't be removed before it, the end of pid 1 comes now,
            // otherwise with that of this process.
            match (&cgroups, damaged) {
                (_, Some(uuid)) => cgroups::remove_unplanned(end, uuid),
                (None, None) => core::mem::forget(end),
                (Some(_), None) => drop(end),
            }
            if let (Some(cgroups), true) = (&cgroups, code != 0) {
                cgroups.tell(c"");
            }
            (Ok(code), true)
        }
    }
}

/// The same of a pod whose lock is held, and of which nothing is taken away; until the time
/// of `limit` is over. `flags` are the request's: [`protocol::REMOVES`]. As long as what is
/// returned beside the code is open pid 1 stays: what the kernel does at its end would hold
/// up all that is still to be done. `meanwhile` is called when pid 1 has work to do. Signals
/// are blocked before, see [`launch::block_signals`].
///
/// # Errors
/// As [`release`].
#[cold]
#[inline(never)]
pub fn run<'a, W: Watch>(
    pod: &Pod<'a>,
    plan: Option<&OwnedFd>,
    flags: u32,
    limit: &mut TimeLimit,
    (watch, meanwhile): (&W, &mut dyn FnMut()),
) -> Result<(i32, OwnedFd), Error<'a>> {
    let request = Request {
        operation: protocol::RELEASE,
        flags,
        number: 0,
        name: c"",
    };
    let [input, output, error] = [0, 1, 2].map(descriptor::get);
    let sent = [input, output, error, plan.map_or(input, AsFd::as_fd)];
    let sent = sent
        .get(..3 + usize::from(plan.is_some()))
        .unwrap_or_default();
    // Whatever can fail does before the pod goes on.
    let signals = signal::descriptor(signal::SUPERVISED)
        .map_err(|errno| Error::new(What::Wait, pod.path, errno))?;
    // Closed by the end of this process: by then the kernel has nothing to look for.
    let signals = ManuallyDrop::new(signals);
    let own = pod.send(&request, sent)?;
    meanwhile();
    let told = wait(pod, &own, &signals, limit, watch)?;
    if told.errno != 0 {
        return Err(refused(pod.path, told.errno));
    }
    Ok((i32::try_from(told.code).unwrap_or(FAILURE), own))
}

/// Who releases a pod is what stage0 is to other pods: it holds their lock with pid 1, and
/// takes away what they leave.
fn lock<'a>(pod: &Pod<'a>) -> Result<OwnedFd, Error<'a>> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::open(LOCK, flags, Mode::empty()).map_err(|_| pod.gone())?;
    match fly::sys::lock::take(file.as_fd(), 0, 1) {
        Ok(()) => Ok(file),
        Err(Errno::AGAIN) => Err(Error::new(What::Ask, pod.path, Why::NotParked)),
        Err(errno) => Err(Error::new(What::Ask, pod.path, errno)),
    }
}

/// Waits for the reply; signals are passed on to the pod.
fn wait<'a, W: Watch>(
    pod: &Pod<'a>,
    own: &OwnedFd,
    signals: &OwnedFd,
    limit: &mut TimeLimit,
    watch: &W,
) -> Result<Reply, Error<'a>> {
    let failed = |errno| Error::new(What::Wait, pod.path, errno);
    // Few have a use for it, and it costs as much as all the rest here.
    let mut process = None;
    if limit.is_set() {
        process = living(pod, own);
    }
    loop {
        let left = process.as_ref().and_then(|process| limit.left(process));
        let [reply, signal] = match watch.wait([own, signals], left.as_ref()) {
            Err(Errno::INTR) => continue,
            done => done.map_err(failed)?,
        };
        if reply {
            let reply = pod.reply(own).map_err(|error| {
                if error.cause() == Why::NoPodRuns.into() {
                    return Error::new(What::Wait, c"pid 1 of the pod", Why::InitKilled);
                }
                error
            })?;
            return Ok(Reply::read(&reply).map_or(Reply::default(), |(reply, _)| reply));
        }
        if signal {
            process = process.or_else(|| living(pod, own));
            each_signal(signals, &mut |number| {
                if let Some(process) = &process {
                    supervise::forward(process.as_fd(), number);
                }
            });
        }
    }
}

/// Its pid 1, unless that has ended: then its number is perhaps another's, and there is a
/// reply, or the other end of the socket is closed.
#[cold]
#[inline(never)]
fn living(pod: &Pod<'_>, own: &OwnedFd) -> Option<OwnedFd> {
    const NOW: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let process = pod.process().ok()?;
    let mut ready = [PollFd::new(own, PollFlags::IN)];
    let has_ended = poll(&mut ready, Some(&NOW)) != Ok(0);
    (!has_ended).then_some(process)
}

#[cold]
fn refused(path: &CStr, errno: u32) -> Error<'_> {
    let errno = Errno::from_raw_os_error(i32::try_from(errno).unwrap_or(0));
    match errno {
        Errno::ALREADY => Error::new(What::Ask, path, Why::NotParked),
        Errno::SHUTDOWN => Error::new(What::Ask, path, Why::PodEnds),
        Errno::PROTONOSUPPORT => Error::new(What::Ask, path, Why::OtherVersion),
        errno => Error::new(What::Ask, path, errno),
    }
}
