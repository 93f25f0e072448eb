//! The program `fly`: one program into one root, in the process that was
//! called.
#![no_std]
#![no_main]

use core::ffi::CStr;

use fly::{
    beside, command,
    error::{Error, Why},
    launch::{Launcher, ROOM},
    options::{self, Options, Request},
    packed,
    plan::{MAX_BYTES, MAX_STRINGS},
    seccomp::tool,
    sys::entry::Start,
};

fly::entry!(main, bytes = MAX_BYTES + ROOM, words = MAX_STRINGS + 2);

#[allow(clippy::needless_pass_by_value, reason = "`fly::entry!` hands it over")]
fn main(start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    // The program's own name.
    let _ = arguments.next();
    let mut rest = arguments.clone();
    let done = if rest.next() == Some(c"seccomp") {
        let mut words = core::iter::once(tool::PROGRAM).chain(rest);
        let environment = &mut start.environment.iter();
        let error = beside::become_program(tool::PROGRAM, &mut words, environment, start.words);
        Err(error)
    } else {
        match options::parse(arguments) {
            Ok(Request::Help) => return command::print(packed!(include_str!("fly.help"))),
            Ok(Request::Version) => {
                return command::print(packed!(concat!("fly ", env!("CARGO_PKG_VERSION"), "\n")));
            }
            Ok(Request::Start(options)) if !options.is_for_full() => run(&options, start),
            Ok(_) => Err(full(start)),
            Err(error) => {
                let cause = error.cause();
                if cause == Why::NoSuchOption.into() || cause == Why::NotTextOrJson.into() {
                    // It knows what was probably meant.
                    let _ = full(start);
                }
                Err(error)
            }
        }
    };
    command::code(done)
}

/// Becomes the program that does the same and tells of it.
#[cold]
#[inline(never)]
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
fn full(start: Start) -> Error<'static> {
    beside::become_program(
        c"fly-full",
        &mut start.arguments.iter(),
        &mut start.environment.iter(),
        start.words,
    )
}

/// Returns if it failed, or when a program that is supervised has ended.
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
fn run<I>(options: &Options<'static, I>, start: Start) -> Result<i32, Error<'static>>
where
    I: Iterator<Item = &'static CStr> + Clone,
{
    let (room, bytes) = start.bytes.split_at_mut_checked(ROOM).unwrap_or_default();
    let plan = command::plan(options, bytes, start.environment.iter())?;
    let mut launcher = Launcher::new(plan, start.words, room);
    launcher.for_options();
    let done = launcher.launch();
    command::wait(done, &launcher.status(), options.needs_root())
}
