//! The foreground: launches the pod, passes signals on, returns its code.

use fly::{
    error::{Error, FAILURE, What, Why},
    launch::{Fallbacks, Launcher, Running},
    plan::{Kind, MAX_STRINGS, Plan},
    supervise,
    sys::{descriptor, wait::End},
    text::Line,
    timings::{APP_ENDED, FIRST_INSTRUCTION, Format, Moment, Report, Scale},
};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};

use crate::{NAME, options::Options, relay::Terminal};

/// Runs the pod to its end. `words` is room for exec's pointers and a stamp a
/// step; `cycles` is the counter at the first instruction; `caller` the
/// caller's stamp, if it passed one.
pub fn run<'a, I>(
    plan: Plan<'a>,
    options: &Options<'_, I>,
    words: &mut [usize],
    room: &mut [u8],
    cycles: u64,
    caller: Option<u64>,
) -> Result<i32, Error<'a>> {
    let (words, stamps) = words
        .split_at_mut_checked(MAX_STRINGS + 2)
        .unwrap_or_default();
    let times = options.timings.map(|format| Times {
        format,
        from: Moment::now(),
        cycles,
        caller,
    });
    let report = |stamps: &[usize]| {
        if let Some(times) = &times {
            times.report(&plan, stamps, None);
        }
    };
    let mut launcher = Launcher::new(plan, words, room);
    launcher.for_pods();
    if times.is_some() {
        launcher.stamp_into(stamps);
        launcher.before_exec(&report);
    }
    let running = launcher.launch();
    if options.debug {
        tell_fallbacks(launcher.fallbacks());
    }
    let Running {
        child,
        terminal,
        stamps: pipe,
    } = running?;
    let end = match &terminal {
        Some(master) => Terminal::relay(master.as_fd(), child.pidfd.as_fd()),
        None => supervise::wait(child.pidfd.as_fd(), child.pid),
    };
    let reaped = fly::sys::arch::cycles();
    if let (Some(times), Some(pipe)) = (&times, pipe) {
        times.report(&plan, launcher.stamps(), Some((&pipe, reaped)));
    }
    match end {
        Some(End::Exited(code)) => Ok(i32::from(code)),
        Some(End::Killed(_)) => Err(Error::new(What::Wait, c"pid 1 of the pod", Why::InitKilled)),
        None => Ok(FAILURE),
    }
}

#[cold]
#[inline(never)]
fn tell_fallbacks(fallbacks: Fallbacks) {
    for text in fallbacks.texts() {
        Line::new(2).text(NAME).text(": ").text(text).end();
    }
}

/// What `--timings` needs to know.
struct Times {
    format: Format,
    from: Moment,
    cycles: u64,
    caller: Option<u64>,
}

impl Times {
    /// Writes the report; `pod` is the pipe of pid 1 and the counter when it was
    /// reaped. Apart, as the line's buffer would cost a page fault on each start.
    #[cold]
    #[inline(never)]
    fn report(&self, plan: &Plan<'_>, stamps: &[usize], pod: Option<(&OwnedFd, u64)>) {
        let scale = Scale::new(self.from, Moment::now());
        let start = scale.nanoseconds(self.cycles);
        let mut report = Report::new(self.format, NAME, start, self.caller);
        report.steps(plan, stamps, &scale);
        if let Some((pipe, reaped)) = pod {
            inside(&mut report, plan, pipe, &scale);
            report.named("end of the pod", scale.nanoseconds(reaped));
        }
        report.end();
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
