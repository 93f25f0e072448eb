//! `stage0 stop`, `stage0 rm` and `stage0 gc`: the end of registered pods.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why, keep},
    plan::MAX_BYTES,
    sys::{entry::Start, lock, memory::c_str, time},
    text::copy,
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{self, Mode, OFlags},
    io::Errno,
};
use stage1_init::{LOCK, control::SOCKET};

use super::{
    end, networks,
    pods::{Pod, Pods, State},
    words,
};
use crate::{
    cgroups,
    directory::BYTES,
    empty, remove,
    state::{Folder, Place},
    uuid,
};

/// Milliseconds for which a pod that has ended can still be asked about: as rkt.
const GRACE: u64 = 30 * 60 * 1000;

/// Milliseconds for which a collector waits for the end of a pid 1 that is killed, or, if
/// its number is not known, was asked: the next collector comes.
const LEFT: u64 = 1000;

/// Carries out `stage0 stop`; returns the exit code.
///
/// # Errors
/// Names the pod that can't be stopped.
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
pub fn stop(start: Start) -> Result<i32, Error<'static>> {
    const ALLOWED: words::Flags = words::STATE_DIRECTORY | words::UUID_FILE | words::FORCE;
    let words = super::words_behind(&start, ALLOWED)?;
    let pods = Pods::new(&words, &start.environment)?;
    let force = words.has(words::FORCE);
    let (room, bytes) = start
        .bytes
        .split_at_mut_checked(MAX_BYTES)
        .unwrap_or_default();
    let (told, _) = bytes.as_chunks_mut::<{ uuid::LENGTH }>();
    let mut count = 0;
    // All are told before one is waited for.
    let mut code = pods.each_meant(&words, &mut |name, pod| {
        match pod.state() {
            // Who may only look can't tell it.
            State::Parked if pod.is_hidden() => {
                return Err(Error::new(What::StopPod, name, Errno::ACCESS));
            }
            State::Running | State::Parked => {}
            State::Abandoned if pod.is_left() => {}
            // That it has ended already is as good.
            State::Exited | State::Garbage => return Ok(()),
            state => return Err(is_not(What::StopPod, name, state)),
        }
        end::tell(&pod, force).map_err(|errno| Error::new(What::StopPod, name, errno))?;
        if let Some(place) = told.get_mut(count) {
            *place = pod.uuid;
            count += 1;
        }
        Ok(())
    })?;
    // By their uuids: what was meant by a name may be another one by now, or gone.
    for uuid in told.get(..count).unwrap_or_default() {
        if let Some(pod) = pods.find_whole(uuid) {
            let grace = end::grace(&pod, room);
            if let Err(errno) = end::wait(&pod, force, grace) {
                let name = zero_ended(uuid);
                let name = c_str(&name).unwrap_or_default();
                code = super::fail(not_ended(What::StopPod, name, errno));
            }
        }
    }
    Ok(code)
}

/// It could not be killed, or not in time.
fn not_ended(what: What, name: &CStr, errno: Errno) -> Error<'_> {
    match errno {
        Errno::TIMEDOUT | Errno::AGAIN => Error::new(what, name, Why::NotYet),
        errno => Error::new(what, name, errno),
    }
}

fn zero_ended(uuid: &[u8; uuid::LENGTH]) -> [u8; uuid::LENGTH + 1] {
    let mut name = [0; uuid::LENGTH + 1];
    copy(&mut name, uuid);
    name
}

/// The pod is in a state in which that can't be done.
pub fn is_not(what: What, name: &CStr, state: State) -> Error<'_> {
    keep(state.name().as_bytes());
    Error::new(what, name, Why::PodIsNot)
}

/// Carries out `stage0 rm`; returns the exit code.
///
/// # Errors
/// Names the pod that runs, or can't be removed.
pub fn remove(start: Start) -> Result<i32, Error<'static>> {
    const ALLOWED: words::Flags = words::STATE_DIRECTORY | words::UUID_FILE | words::FORCE;
    let words = super::words_behind(&start, ALLOWED)?;
    let pods = Pods::new(&words, &start.environment)?;
    let force = words.has(words::FORCE);
    let bytes = start.bytes;
    pods.each_meant(&words, &mut |name, pod| {
        let failed = |errno| Error::new(What::RemovePod, name, errno);
        if matches!(pod.state(), State::Running | State::Parked) || pod.is_left() {
            if !force && pod.state() == State::Running {
                let error = Error::new(What::RemovePod, name, Why::PodIsRunning);
                return Err(error.advice(Advice::StopFirst));
            }
            end::tell(&pod, true).map_err(failed)?;
            let grace = end::grace(&pod, bytes);
            end::wait(&pod, true, grace)
                .map_err(|errno| not_ended(What::RemovePod, name, errno))?;
        }
        // The end may have moved it; or nobody does.
        let place = pods.place(&pod.uuid);
        for folder in Folder::ALL {
            if let Ok(pod) = pods.open(folder, &pod.uuid) {
                // Its stage0 has moved it, and is about to end.
                if folder == Folder::ExitedGarbage {
                    end::wait_for_stage0(&pod)
                        .map_err(|errno| not_ended(What::RemovePod, name, errno))?;
                }
                dispose(&place, &pod, bytes).map_err(failed)?;
            }
        }
        Ok(())
    })
}

/// Removes a pod that does not live: first it is garbage, which nobody can start, then its
/// cgroups and its directory go.
fn dispose(place: &Place<'_>, pod: &Pod, bytes: &mut [u8]) -> Result<(), Errno> {
    let claimed = claim(pod)?;
    let mut folder = Folder::Garbage;
    if pod.folder != folder {
        match place.shift(pod.folder, Folder::Garbage) {
            // One of the same name, which was made again when it had been taken away.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                remove::pod(place, Folder::Garbage)?;
                place.shift(pod.folder, Folder::Garbage)?;
            }
            // There is no such folder yet, and no room for it: what is to make room goes
            // where it is.
            Err(Errno::NOSPC | Errno::DQUOT) => folder = pod.folder,
            done => done?,
        }
    }
    match pod.plan(bytes) {
        Ok(plan) => cgroups::remove_all(&plan),
        Err(_) => cgroups::remove_usual(place.uuid),
    }
    drop(claimed);
    match remove::pod(place, folder) {
        // Somebody else is removing it.
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

/// Holds the lock of a pod, so that nobody starts it meanwhile.
///
/// # Errors
/// EAGAIN if somebody else holds it.
fn claim(pod: &Pod) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match fs::openat(&pod.directory, LOCK, flags, Mode::empty()) {
        // Who makes it was killed before that; or sees it vanish, and tries again.
        Err(Errno::NOENT) => return Ok(None),
        done => done?,
    };
    match lock::take(file.as_fd(), 0, BYTES) {
        // Only who reads has locked it: nobody who lives.
        Err(Errno::AGAIN) if !pod.is_locked() => Ok(None),
        done => done.map(|()| Some(file)),
    }
}

/// Carries out `stage0 gc`; returns the exit code.
///
/// # Errors
/// The folders can't be read, or the command line.
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
pub fn collect(start: Start) -> Result<i32, Error<'static>> {
    const ALLOWED: words::Flags = words::STATE_DIRECTORY | words::MARK_ONLY | words::GRACE_PERIOD;
    let words = super::words_behind(&start, ALLOWED)?;
    if let Some(word) = words.operand()? {
        return Err(super::too_many(word));
    }
    let pods = Pods::new(&words, &start.environment)?;
    let (names, bytes) = start
        .bytes
        .split_at_mut_checked(start.bytes.len() / 4)
        .unwrap_or_default();
    let mut collector = Collector {
        pods: &pods,
        oldest: 0,
        names,
        bytes,
        code: 0,
    };
    // First those whose stage0 was killed: their grace period begins now.
    collector.each(Folder::Run, &mut |_, place, pod| {
        end_left(pod)?;
        let _claimed = claim(pod)?;
        place.shift(Folder::Run, Folder::ExitedGarbage)
    })?;
    if words.has(words::MARK_ONLY) {
        return Ok(collector.code);
    }
    // Without a grace period they are taken with the others.
    collector.oldest = now().saturating_sub(nanoseconds(words.grace.unwrap_or(GRACE)));
    for folder in [
        Folder::ExitedGarbage,
        Folder::Embryo,
        Folder::Prepare,
        Folder::Prepared,
        Folder::Garbage,
    ] {
        collector.each(folder, &mut |collector, place, pod| {
            end_left(pod)?;
            let is_ended = folder == Folder::ExitedGarbage;
            // One that was parked, whose pid 1 was killed, is none that can be started.
            let is_good = folder == Folder::Prepared && pod.time(SOCKET).is_none();
            if is_good || pod.is_locked() || (is_ended && ended(pod) > collector.oldest) {
                return Ok(());
            }
            dispose(place, pod, collector.bytes)
        })?;
    }
    empty::collect(pods.root());
    if let Err(errno) = networks::collect(pods.root()) {
        collector.code = super::fail(Error::new(What::FillThePool, c"--networks", errno));
    }
    Ok(collector.code)
}

/// Ends a pod that nobody makes any more, or releases.
fn end_left(pod: &Pod) -> Result<(), Errno> {
    if pod.is_left() {
        end::tell(pod, true)?;
        end::wait(pod, true, LEFT)?;
    }
    Ok(())
}

/// When it has ended, in nanoseconds since 1970; of one whose stage0 was killed when it was
/// marked.
fn ended(pod: &Pod) -> i64 {
    let changed = || {
        let status = fs::fstat(&pod.directory).ok()?;
        let seconds = status.st_ctime.checked_mul(1_000_000_000)?;
        seconds.checked_add(i64::try_from(status.st_ctime_nsec).ok()?)
    };
    pod.time(c"code").or_else(changed).unwrap_or(i64::MAX)
}

fn now() -> i64 {
    i64::try_from(time::realtime()).unwrap_or(i64::MAX)
}

fn nanoseconds(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}

struct Collector<'c> {
    pods: &'c Pods,
    /// What has ended before may go.
    oldest: i64,
    /// Room for the names of a folder, which changes while it is walked.
    names: &'c mut [u8],
    bytes: &'c mut [u8],
    code: i32,
}

type Dispose<'d, 'c> = &'d mut dyn FnMut(&mut Collector<'c>, &Place<'_>, &Pod) -> Result<(), Errno>;

impl<'c> Collector<'c> {
    /// Does `each` with the pods of `folder`, and tells what fails.
    fn each(&mut self, folder: Folder, each: Dispose<'_, 'c>) -> Result<(), Error<'static>> {
        let mut count = 0;
        {
            let (names, _) = self.names.as_chunks_mut::<{ uuid::LENGTH }>();
            self.pods.each(folder, &mut |name| {
                if let Some(place) = names.get_mut(count) {
                    *place = *name;
                    count += 1;
                }
            })?;
        }
        for index in 0..count {
            let (names, _) = self.names.as_chunks::<{ uuid::LENGTH }>();
            let Some(uuid) = names.get(index).copied() else {
                break;
            };
            let pods = self.pods;
            let Ok(pod) = pods.open(folder, &uuid) else {
                continue;
            };
            match each(self, &pods.place(&uuid), &pod) {
                // It lives, or somebody else collects it.
                Ok(()) | Err(Errno::AGAIN | Errno::NOENT) => {}
                Err(errno) => {
                    let name = zero_ended(&uuid);
                    let name = c_str(&name).unwrap_or_default();
                    self.code = super::fail(not_ended(What::RemovePod, name, errno));
                }
            }
        }
        Ok(())
    }
}
