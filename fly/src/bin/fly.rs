//! The program `fly`: one program into one root, in the process that was
//! called.
#![no_std]
#![no_main]

use core::{cell::Cell, ffi::CStr};

use fly::{
    error::{Advice, Error, FAILURE, FLY_TEXTS, What, Why},
    launch::{Fallbacks, Launcher, ROOM, Running, Status},
    options::{self, Options, Request, completion},
    packed,
    packed::Packed,
    plan::{self, Builder, MAX_BYTES, MAX_STEPS, MAX_STRINGS},
    seccomp::tool,
    sys::{arch, entry::Start},
    text::Line,
    timings::Times,
};

fly::entry!(
    main,
    bytes = MAX_BYTES + ROOM,
    words = MAX_STRINGS + 2 + MAX_STEPS
);

const NAME: &str = "fly";

const HELP: Packed = packed!(include_str!("fly.help"));

#[allow(clippy::needless_pass_by_value, reason = "`fly::entry!` hands it over")]
fn main(start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    // The program's own name.
    let _ = arguments.next();
    let mut rest = arguments.clone();
    if rest.next() == Some(c"seccomp") {
        let error = tool::run(&mut rest, &mut start.environment.iter(), start.words);
        error.print("fly", FLY_TEXTS);
        return FAILURE;
    }
    let done = match options::parse(arguments) {
        Ok(Request::Help) => return print(HELP),
        Ok(Request::Version) => {
            return print(packed!(concat!("fly ", env!("CARGO_PKG_VERSION"), "\n")));
        }
        Ok(Request::Completion(shell)) => {
            completion::complete(shell).map(|written| if written { 0 } else { FAILURE })
        }
        Ok(Request::Start(options)) => run(&options, start),
        Err(error) => Err(error),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            error.print_suggesting(NAME, FLY_TEXTS, options::NAMES);
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
    let mut plan = Builder::new(bytes);
    options.lower(&mut plan, start.environment.iter())?;
    let plan = plan
        .finish()
        .map_err(|problem| Error::new(What::CheckPlan, c"", problem.reason))?;
    if options.plan {
        return Ok(if plan::print::print(&plan, 1) {
            0
        } else {
            FAILURE
        });
    }
    let words = start.words.split_at_mut_checked(MAX_STRINGS + 2);
    let (words, stamps) = words.unwrap_or_default();
    let times = options
        .timings
        .map(|format| Times::new(NAME, format, start.cycles, None));
    let tells = times.is_some() || options.debug;
    let told = Cell::new(!tells);
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
    if tells {
        launcher.stamp_into(stamps);
        launcher.before_exec(&tell);
    }
    let done = launcher.launch();
    tell(launcher.stamps(), launcher.fallbacks());
    match done {
        Ok(running) => Ok(supervise(&running, &launcher.status())),
        Err(error) if error.cause() == Why::Complete.into() => Ok(0),
        Err(error) if error.advises(Advice::NeedsRoot) && options.needs_root() => {
            Err(error.advice(Advice::NeedsRootOrUser))
        }
        Err(error) => Err(error),
    }
}

/// Waits for the program; returns its exit code.
#[cold]
#[inline(never)]
fn supervise(running: &Running, status: &Status) -> i32 {
    status.started(running.child.pid);
    match running.wait() {
        Some(end) => {
            status.ended(end);
            end.code()
        }
        None => FAILURE,
    }
}

fn print(text: Packed) -> i32 {
    if Line::new(1).packed(text).flush() {
        0
    } else {
        FAILURE
    }
}
