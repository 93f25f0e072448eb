//! The program `fly-full`: `fly`, and what can be asked about a start. `fly`
//! becomes it where that is asked for, so that it need not hold it.
#![no_std]
#![no_main]

use core::{cell::Cell, ffi::CStr};

use fly::{
    command::{self, NAME},
    error::{Error, FAILURE, FULL_TEXTS, Why},
    launch::{Fallbacks, Launcher, ROOM},
    options::{self, Options, Request, completion},
    packed,
    plan::{self, MAX_BYTES, MAX_STEPS, MAX_STRINGS},
    sys::{arch, entry::Start},
    timings::Times,
};

fly::entry!(
    main,
    bytes = MAX_BYTES + ROOM,
    words = MAX_STRINGS + 2 + MAX_STEPS
);

#[allow(clippy::needless_pass_by_value, reason = "`fly::entry!` hands it over")]
fn main(start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    // The program's own name.
    let _ = arguments.next();
    let done = match options::parse(arguments) {
        Ok(Request::Help) => return command::print(packed!(include_str!("fly.help"))),
        Ok(Request::Version) => {
            return command::print(packed!(concat!("fly ", env!("CARGO_PKG_VERSION"), "\n")));
        }
        Ok(Request::Completion(shell)) => {
            completion::complete(shell).and_then(|written| Error::said(written, 0))
        }
        Ok(Request::Start(options)) => run(&options, start),
        Err(error) => Err(error),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            error.print_suggesting(NAME, FULL_TEXTS, options::NAMES);
            FAILURE
        }
    }
}

/// Returns if it failed, or when a program that is supervised has ended.
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
fn run<I>(options: &Options<'static, I>, start: Start) -> Result<i32, Error<'static>>
where
    I: Iterator<Item = &'static CStr> + Clone,
{
    let (room, bytes) = start.bytes.split_at_mut_checked(ROOM).unwrap_or_default();
    let plan = command::plan(options, bytes, start.environment.iter())?;
    if options.plan {
        return Error::said(plan::print::print(&plan, 1), 0);
    }
    let words = start.words.split_at_mut_checked(MAX_STRINGS + 2);
    let (words, stamps) = words.unwrap_or_default();
    let times = options
        .timings
        .map(|format| Times::new(NAME, format, start.cycles, None));
    let told = Cell::new(false);
    // Before the exec; or, where this process waits for the program, behind it.
    let tell = |stamps: &[usize], fallbacks: Fallbacks| {
        if !told.replace(true) {
            let now = arch::cycles();
            if options.debug {
                fallbacks.tell(NAME);
            }
            if let Some(times) = &times {
                times.report(&plan, stamps, &|report, scale| {
                    report.named("exec", scale.nanoseconds(now));
                });
            }
        }
    };
    let mut launcher = Launcher::new(plan, words, room);
    launcher.for_options();
    launcher.for_checks();
    launcher.stamp_into(stamps);
    launcher.before_exec(&tell);
    let done = launcher.launch();
    tell(launcher.stamps(), launcher.fallbacks());
    match done {
        Err(error) if error.cause() == Why::Complete.into() => Ok(0),
        done => command::wait(done, &launcher.status(), options.needs_root()),
    }
}
