//! The program `fly`: one program into one root, in the process that was
//! called.
#![no_std]
#![no_main]

use core::ffi::CStr;

use fly::{
    error::{ALL_TEXTS, Error, FAILURE, What},
    launch::{Launcher, ROOM},
    options::{self, Options, Request},
    plan::{Builder, MAX_BYTES, MAX_STRINGS},
    sys::{
        descriptor,
        entry::{Start, Strings},
    },
};

fly::entry!(main, bytes = MAX_BYTES + ROOM, words = MAX_STRINGS + 2);

const HELP: &str = include_str!("fly.help");

#[allow(clippy::needless_pass_by_value, reason = "`fly::entry!` hands it over")]
fn main(start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    // The program's own name.
    let _ = arguments.next();
    let done = match options::parse(arguments) {
        Ok(Request::Help) => return print(HELP),
        Ok(Request::Version) => return print(concat!("fly ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Request::Start(options)) => run(&options, start.environment, start.bytes, start.words),
        Err(error) => Err(error),
    };
    if let Err(error) = done {
        error.print("fly", ALL_TEXTS);
    }
    FAILURE
}

/// Returns only if it failed.
fn run<I>(
    options: &Options<'static, I>,
    environment: Strings,
    bytes: &'static mut [u8],
    words: &mut [usize],
) -> Result<(), Error<'static>>
where
    I: Iterator<Item = &'static CStr> + Clone,
{
    let (room, bytes) = bytes.split_at_mut_checked(ROOM).unwrap_or_default();
    let mut plan = Builder::new(bytes);
    options.lower(&mut plan, environment.iter())?;
    let plan = plan
        .finish()
        .map_err(|problem| Error::new(What::CheckPlan, c"", problem.reason))?;
    Launcher::new(plan, words, room).launch().map(drop)
}

fn print(text: &str) -> i32 {
    if descriptor::write_all(1, text.as_bytes()) {
        0
    } else {
        FAILURE
    }
}
