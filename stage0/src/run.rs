//! The foreground: launches the pod, passes signals on, returns its code.

use core::{cell::Cell, ffi::CStr};

use fly::{
    error::{Error, FAILURE, What, Why},
    launch::{Fallbacks, Launcher, Running},
    plan::{Kind, MAX_STRINGS, Plan},
    supervise,
    sys::{descriptor, wait::End},
    timings::{APP_ENDED, FIRST_INSTRUCTION, Report, Scale, Times},
};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};

use crate::{
    NAME,
    cgroups::Cgroups,
    directory::Directory,
    options::Options,
    relay::Terminal,
    start::{Aim, Rest},
};

/// Starts the pod, and runs it to its end.
pub struct Run;

impl Aim for Run {
    const STARTS: bool = true;

    #[inline]
    fn reach<'e, 'a: 'e, I>(
        &mut self,
        plan: Plan<'e>,
        options: &Options<'a, I>,
        rest: Rest<'_>,
    ) -> Result<i32, Error<'e>>
    where
        I: Iterator<Item = &'a CStr> + Clone,
    {
        let caller = options
            .timings
            .and_then(|_| rest.environment.value("STAGE0_T0"))
            .and_then(fly::text::decimal);
        run(plan, options, rest, caller)
    }
}

/// Runs the pod to its end. `caller` is the caller's stamp, if it passed one.
fn run<'e, 'a: 'e, I>(
    plan: Plan<'e>,
    options: &Options<'a, I>,
    rest: Rest<'_>,
    caller: Option<u64>,
) -> Result<i32, Error<'e>> {
    let Rest {
        words,
        room,
        cycles,
        ..
    } = rest;
    let (words, stamps) = words
        .split_at_mut_checked(MAX_STRINGS + 2)
        .unwrap_or_default();
    let times = options
        .timings
        .map(|format| Times::new(NAME, format, cycles, caller));
    // Nobody is there to tell it when the app is the process that was called.
    let told = Cell::new(false);
    let report = |stamps: &[usize], fallbacks: Fallbacks| {
        told.set(true);
        if options.debug {
            fallbacks.tell(NAME);
        }
        if let Some(times) = &times {
            times.report(&plan, stamps, &|_, _| {});
        }
    };
    let mut launcher = Launcher::new(plan, words, room);
    launcher.for_pods();
    if times.is_some() {
        launcher.stamp_into(stamps);
    }
    if times.is_some() || options.debug {
        launcher.before_exec(&report);
    }
    let directory = Directory::prepare(options.pod_directory)?;
    let cgroups = options.limits.first().map(|_| Cgroups::look(plan));
    let running = launcher.launch();
    if running.is_err() {
        directory.undo();
    }
    if options.debug && !told.get() {
        launcher.fallbacks().tell(NAME);
    }
    let Running {
        child,
        terminal,
        stamps: pipe,
    } = running?;
    directory.began(child.pid)?;
    let end = match &terminal {
        Some(master) => Terminal::relay(master.as_fd(), child.pidfd.as_fd()),
        None => supervise::wait(child.pidfd.as_fd(), child.pid),
    };
    directory.ended();
    let reaped = fly::sys::arch::cycles();
    if let (Some(times), Some(pipe)) = (&times, pipe) {
        times.report(&plan, launcher.stamps(), &|report, scale| {
            inside(report, &plan, &pipe, scale);
            report.named("end of the pod", scale.nanoseconds(reaped));
        });
    }
    if let (Some(cgroups), false) = (cgroups, matches!(end, Some(End::Exited(0)))) {
        cgroups.tell(options.limits.memory());
    }
    match end {
        Some(End::Exited(code)) => Ok(i32::from(code)),
        Some(End::Killed(_)) => Err(Error::new(What::Wait, c"pid 1 of the pod", Why::InitKilled)),
        None => Ok(FAILURE),
    }
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
