//! The program `fly`: one program into one root, in the process that was
//! called.
#![no_std]
#![no_main]

use fly::{
    error::{Cause, Error, FAILURE, What},
    launch::{Fallbacks, Launcher, ROOM},
    options::{self, Options, Request},
    plan::{self, Builder, MAX_BYTES, MAX_STEPS, MAX_STRINGS, Plan},
    sys::{descriptor, entry::Start},
    text::Line,
    timings::{Format, Moment, Report, Scale},
};

fly::entry!(
    main,
    bytes = MAX_BYTES + ROOM,
    words = MAX_STRINGS + 2 + MAX_STEPS
);

const HELP: &str = include_str!("fly.help");

fn main(start: Start) -> i32 {
    let Start {
        arguments,
        environment,
        bytes,
        words,
        cycles,
        ..
    } = start;
    let error = match options::parse(arguments.iter().skip(1)) {
        Ok(Request::Help) => return print(HELP),
        Ok(Request::Version) => return print(concat!("fly ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Request::Start(options)) => {
            let (room, bytes) = bytes.split_at_mut_checked(ROOM).unwrap_or_default();
            let mut plan = Builder::new(bytes);
            match options.lower(&mut plan, environment.iter()) {
                Ok(()) => match plan.finish() {
                    Ok(plan) => run(plan, &options, words, room, cycles),
                    Err(problem) => Err(Error::new(
                        What::CheckPlan,
                        c"",
                        Cause::Plan(problem.reason),
                    )),
                },
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    };
    match error {
        Ok(code) => code,
        Err(error) => {
            error.print("fly");
            FAILURE
        }
    }
}

fn run<'a, I>(
    plan: Plan<'a>,
    options: &Options<'a, I>,
    words: &'static mut [usize],
    room: &'static mut [u8],
    cycles: u64,
) -> Result<i32, Error<'a>> {
    if options.plan_only {
        return Ok(if plan::print(&plan, 1) { 0 } else { FAILURE });
    }
    let (words, stamps) = words
        .split_at_mut_checked(MAX_STRINGS + 2)
        .unwrap_or_default();
    let report;
    let mut launcher = Launcher::<false>::new(plan, words, room);
    if let Some(format) = options.timings {
        let from = Moment::now();
        report = move |stamps: &[usize]| {
            report_steps(format, from, cycles, &plan, stamps);
        };
        launcher.stamp_into(stamps);
        launcher.before_exec(&report);
    }
    let done = launcher.launch();
    if options.debug {
        tell_fallbacks(launcher.fallbacks());
    }
    done.map(|_| FAILURE)
}

/// Apart, as its buffer would cost a page fault on each start.
#[cold]
#[inline(never)]
fn report_steps(format: Format, from: Moment, cycles: u64, plan: &Plan<'_>, stamps: &[usize]) {
    let scale = Scale::new(from, Moment::now());
    let mut report = Report::new(format, "fly", scale.nanoseconds(cycles), None);
    report.steps(plan, 0, stamps, &scale);
    report.end();
}

#[cold]
#[inline(never)]
fn tell_fallbacks(fallbacks: Fallbacks) {
    for text in fallbacks.texts() {
        Line::new(2).text("fly: ").text(text).end();
    }
}

fn print(text: &str) -> i32 {
    if descriptor::write_all(1, text.as_bytes()) {
        0
    } else {
        FAILURE
    }
}
