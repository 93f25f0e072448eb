//! The program `fly`: one program into one root, in the process that was
//! called.
#![no_std]
#![no_main]

use fly::{
    error::{Cause, Error, FAILURE, What},
    launch::Launcher,
    options::{self, Options, Request},
    plan::{self, Builder, MAX_BYTES, MAX_STEPS, MAX_STRINGS, Plan},
    sys::{
        descriptor,
        entry::Start,
    },
    text::Line,
    timings::{Moment, Report, Scale},
};

fly::entry!(main, bytes = MAX_BYTES, words = MAX_STRINGS + 2 + MAX_STEPS);

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
            let mut plan = Builder::new(bytes);
            match options.lower(&mut plan, environment.iter()) {
                Ok(()) => match plan.finish() {
                    Ok(plan) => run(plan, &options, words, cycles),
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
    cycles: u64,
) -> Result<i32, Error<'a>> {
    if options.plan_only {
        return Ok(if plan::print(&plan, 1) { 0 } else { FAILURE });
    }
    let (room, stamps) = words
        .split_at_mut_checked(MAX_STRINGS + 2)
        .unwrap_or_default();
    let report;
    let mut launcher = Launcher::new(plan, room);
    if let Some(format) = options.timings {
        let from = Moment::now();
        report = move |stamps: &[usize]| {
            let scale = Scale::new(from, Moment::now());
            let mut report = Report::new(format, "fly", scale.nanoseconds(cycles), None);
            report.steps(&plan, 0, stamps, &scale);
            report.end();
        };
        launcher.stamp_into(stamps);
        launcher.before_exec(&report);
    }
    let done = launcher.launch();
    if options.debug {
        for text in launcher.fallbacks().texts() {
            Line::new(2).text("fly: ").text(text).end();
        }
    }
    done.map(|_| FAILURE)
}

fn print(text: &str) -> i32 {
    if descriptor::write_all(1, text.as_bytes()) {
        0
    } else {
        FAILURE
    }
}

