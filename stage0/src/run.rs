//! The foreground: launches the pod, passes signals on, returns its code.

use core::{cell::Cell, ffi::CStr};

use fly::{
    error::{Error, FAILURE, What, Why},
    launch::{Fallbacks, KEPT, KEPT_COUNT, Launcher, Running},
    plan::{Kind, MAX_STRINGS, Plan},
    sys::{descriptor, map, message, wait::End},
    timings::{APP_ENDED, FIRST_INSTRUCTION, Format, Report, Scale, Times},
};
use rustix::fd::{AsRawFd, OwnedFd};

use crate::{
    NAME,
    background::{self, Background},
    cgroups::Cgroups,
    client,
    directory::{self, Directory},
    empty,
    lower::Features,
    options::{Lives, Options},
    parked,
    start::{Aim, Rest},
    state::Place,
    streams::{self, Streams},
    users::Users,
    wait::{self, TimeLimit},
};

/// The exit code when the time of `--timeout` was over, as timeout(1) has it.
pub const TIME_IS_OVER: i32 = 124;

/// Starts the pod, and runs it to its end.
pub struct Run<F>(pub F);

impl<F: Features> Aim for Run<F> {
    const STARTS: bool = true;
    type Features = F;

    #[inline]
    fn reach<'e, 'a: 'e, I>(
        &mut self,
        plan: Plan<'e>,
        options: &Options<'a, I>,
        rest: Rest<'e>,
    ) -> Result<i32, Error<'e>>
    where
        I: Iterator<Item = &'a CStr> + Clone,
    {
        let how = How {
            life: options.life,
            timings: options.timings,
            debug: options.debug,
            limited: options.limits.first().is_some(),
            memory: options.limits.memory(),
            is_prepared: false,
            hold: options.hold,
        };
        start::<F>(plan, &how, rest)
    }
}

/// How a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub struct How<'e> {
    /// Where the pod is registered, and for how long.
    pub life: Lives<'e>,
    /// `--timings`
    pub timings: Option<Format>,
    /// `--debug`
    pub debug: bool,
    /// The plan makes cgroups.
    pub limited: bool,
    /// The limit of memory, as it was given.
    pub memory: &'e CStr,
    /// The pod's directory is there, and locked.
    pub is_prepared: bool,
    /// It is parked, and nobody waits for it.
    pub hold: bool,
}

/// Starts the pod and waits for its end, or until it runs on its own. Returns the exit
/// code.
///
/// # Errors
/// The step that failed: what was made is unmade.
#[inline]
pub fn start<'e, F: Features>(
    plan: Plan<'e>,
    how: &How<'e>,
    rest: Rest<'e>,
) -> Result<i32, Error<'e>> {
    if rest.directory.is_some() && !how.is_prepared {
        directory::make_room();
    }
    if how.life.detach {
        return detached::<F>(plan, how, rest);
    }
    run::<F>(plan, how, rest, None)
}

#[cold]
#[inline(never)]
fn detached<'e, F: Features>(
    plan: Plan<'e>,
    how: &How<'e>,
    rest: Rest<'e>,
) -> Result<i32, Error<'e>> {
    let uuid = Place::of(rest.directory.unwrap_or_default()).uuid;
    let mut rest = Some(rest);
    let is_known = how.is_prepared || how.life.uuid_file.is_some();
    background::begin(uuid, is_known, &mut |background| {
        let Some(rest) = rest.take() else {
            return FAILURE;
        };
        run::<F>(plan, how, rest, Some(&background)).unwrap_or_else(|error| {
            background.give_up();
            crate::fail(error)
        })
    })
}

/// Runs the pod to its end.
#[allow(clippy::too_many_lines, reason = "one start, in its order")]
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
fn run<'e, F: Features>(
    plan: Plan<'e>,
    how: &How<'e>,
    rest: Rest<'e>,
    background: Option<&Background<'_>>,
) -> Result<i32, Error<'e>> {
    let (words, stamps) = rest
        .words
        .split_at_mut_checked(MAX_STRINGS + 2)
        .unwrap_or_default();
    let timings = how.timings.filter(|_| F::ALL);
    let debug = F::ALL && how.debug;
    let times = timings.map(|format| {
        let caller = rest
            .environment
            .value("STAGE0_T0")
            .and_then(fly::text::decimal);
        Times::new(NAME, format, rest.cycles, caller)
    });
    // Nobody is there to tell it when the app is the process that was called.
    let told = Cell::new(false);
    let report = |stamps: &[usize], fallbacks: Fallbacks| {
        told.set(true);
        if debug {
            fallbacks.tell(NAME);
        }
        // Without all of its features the program does not hold the code for it.
        if let (true, Some(times)) = (F::ALL, &times) {
            times.report(&plan, stamps, &|_, _| {});
        }
    };
    // What does not fit does without.
    let mut place = [0; 1024];
    let link = empty::link(how.life.state_directory, &rest.environment, &mut place);
    let mut launcher = Launcher::new(plan, words, rest.room);
    for_pods::<F>(&mut launcher);
    launcher.copy_empty(link);
    if times.is_some() {
        launcher.stamp_into(stamps);
    }
    if times.is_some() || debug {
        launcher.before_exec(&report);
    }
    let mut directory = prepare::<F>(rest.directory, how, &plan, background, &mut launcher)?;
    let streams = if F::ALL {
        hold(&plan, &directory, &mut launcher)?
    } else {
        0
    };
    let cgroups = how.limited.then(|| Cgroups::look(plan));
    let running = launcher.launch();
    let is_held = F::ALL && how.hold;
    if is_held {
        parked::restore();
    }
    if running.is_err() {
        give_up(&directory, background);
    }
    if debug && !told.get() {
        launcher.fallbacks().tell(NAME);
    }
    let mut running = in_namespace::<F>(running, rest.users)?;
    directory.began(&running.child)?;
    if is_held {
        let parked = directory.park(&running.child)?;
        core::mem::forget(cgroups);
        return Ok(parked);
    }
    let mut limit = TimeLimit::new(how.life.timeout, &plan);
    // Of who has not been told yet.
    let waiting =
        background.filter(|background| !background.began(&running, directory.path(), &mut limit));
    let holds = background.is_some() && empty::hold(link, launcher.fallbacks(), &plan);
    if background.is_some() {
        // It may wait for long.
        map::give_back_stack();
    }
    let end = end::<F>(&running, &mut limit, streams, directory.path());
    let reaped = fly::sys::arch::cycles();
    if let (true, Some(times)) = (F::ALL, &times) {
        let pipe = running.stamps.take();
        tell_times(times, &plan, launcher.stamps(), pipe.as_ref(), reaped);
    }
    if let (Some(cgroups), false) = (cgroups, matches!(end, Some(End::Exited(0)))) {
        cgroups.tell(how.memory);
    }
    let (code, is_killed) = code_of(end, limit.is_over);
    if holds {
        empty::remove(link);
    }
    let done = if is_killed {
        Err(Error::new(What::Wait, c"pid 1 of the pod", Why::InitKilled))
    } else {
        Ok(code)
    };
    if let Some(background) = waiting {
        return Ok(background.ended(&mut directory, done));
    }
    directory.ended(code);
    done
}

/// Of the descriptors that are kept some may be the caller's: nobody else's but that of the
/// lock, unless this process has put something there, of a pod that is parked or detached.
#[cold]
#[inline(never)]
fn only_own(are_own: bool) {
    for index in 1..KEPT_COUNT {
        let _ = if are_own {
            descriptor::close_on_exec(KEPT + index)
        } else {
            descriptor::close(KEPT + index)
        };
    }
}

/// Holds the standard inputs that can be attached.
#[cold]
#[inline(never)]
fn hold<'e>(
    plan: &Plan<'_>,
    directory: &Directory<'e>,
    launcher: &mut Launcher<'e, '_>,
) -> Result<i32, Error<'e>> {
    let path = directory.path();
    let count = streams::hold(plan, path).map_err(|errno| {
        parked::restore();
        directory.undo();
        Error::new(What::Register, path, errno)
    })?;
    if count > 0 {
        launcher.keep(KEPT_COUNT + count);
    }
    Ok(count)
}

/// Waits for the end of the pod, which has so many of them.
#[inline]
fn end<F: Features>(
    running: &Running,
    limit: &mut TimeLimit,
    streams: i32,
    path: &CStr,
) -> Option<End> {
    if F::ALL
        && let Some(streams) = Streams::watch(streams, path)
    {
        return streams.end(running, limit);
    }
    wait::end::<F>(running, limit)
}

/// The code of a pod that has ended so, and whether somebody has killed its pid 1.
fn code_of(end: Option<End>, is_over: bool) -> (i32, bool) {
    match end {
        _ if is_over => (TIME_IS_OVER, false),
        Some(End::Exited(code)) => (i32::from(code), false),
        Some(End::Killed(_)) => (FAILURE, true),
        None => (FAILURE, false),
    }
}

/// No pod was started.
#[cold]
fn give_up(directory: &Directory<'_>, background: Option<&Background<'_>>) {
    directory.undo();
    if let Some(background) = background {
        background.give_up();
    }
}

fn for_pods<F: Features>(launcher: &mut Launcher<'_, '_>) {
    if F::ALL {
        launcher.for_all_pods();
    } else {
        launcher.for_pods();
    }
}

/// The pod's directory, before the launch.
#[inline]
fn prepare<'e, F: Features>(
    path: Option<&'e CStr>,
    how: &How<'e>,
    plan: &Plan<'e>,
    background: Option<&Background<'_>>,
    launcher: &mut Launcher<'e, '_>,
) -> Result<Directory<'e>, Error<'e>> {
    let directory = match path {
        Some(path) if how.is_prepared => Directory::registered(path, how.life, true)?,
        path => Directory::prepare::<F>(path, how.life, plan)?,
    };
    if let Some(path) = path {
        launcher.keep(KEPT_COUNT);
        let is_held = F::ALL && how.hold;
        only_own(is_held || background.is_some());
        client::fill_streams();
        if is_held && let Err(errno) = parked::hold(&directory) {
            parked::restore();
            directory.undo();
            return Err(Error::new(What::Begin, path, errno));
        }
    }
    if let (Some(background), Some(path)) = (background, path)
        && let Err(errno) = background.redirect(path)
    {
        directory.undo();
        return Err(Error::new(What::Detach, path, errno));
    }
    Ok(directory)
}

/// What a start had to do with its user namespace, if it has one.
fn in_namespace<'e, F: Features>(
    running: Result<Running, Error<'e>>,
    users: Users,
) -> Result<Running, Error<'e>> {
    if !F::ALL {
        return running;
    }
    let mut running = running.map_err(|error| users.explain(error))?;
    if users.is_own() {
        running.terminal = running.terminal.and_then(|socket| receive(&socket));
    }
    Ok(running)
}

/// The terminal that the pod has sent before it became pid 1.
#[cold]
#[inline(never)]
fn receive(socket: &OwnedFd) -> Option<OwnedFd> {
    let received = message::receive(socket.as_raw_fd(), &mut [0; 16]).ok()?;
    let [master, other, ..] = received.descriptors;
    let _ = descriptor::own(other);
    descriptor::own(master)
}

/// Prints what the steps have cost; a pod that was prepared has no way to tell what its
/// own have.
fn tell_times(
    times: &Times,
    plan: &Plan<'_>,
    stamps: &[usize],
    pipe: Option<&OwnedFd>,
    reaped: u64,
) {
    times.report(plan, stamps, &|report, scale| {
        if let Some(pipe) = pipe {
            inside(report, plan, pipe, scale);
        }
        report.named("end of the pod", scale.nanoseconds(reaped));
    });
}

/// What pid 1 and the apps have reported: pairs of tag and counter.
fn inside(report: &mut Report, plan: &Plan<'_>, pipe: &OwnedFd, scale: &Scale) {
    let before = plan
        .steps()
        .records()
        .take_while(|step| !step.is(Kind::App))
        .count();
    let mut record = [0; 16];
    while matches!(descriptor::read(pipe.as_raw_fd(), &mut record), Ok(16)) {
        let number = |from: usize| {
            let bytes = record.get(from..).and_then(<[u8]>::first_chunk);
            bytes.copied().map_or(0, u64::from_ne_bytes)
        };
        let (tag, end) = (number(0), scale.nanoseconds(number(8)));
        match tag {
            FIRST_INSTRUCTION => report.named("exec of pid 1", end),
            APP_ENDED => report.named("run of the app", end),
            tag => {
                let index = usize::try_from(tag).unwrap_or(usize::MAX);
                if let Some(step) = plan.steps().records().nth(before.saturating_add(index)) {
                    report.step(&step, end);
                }
            }
        }
    }
}
