//! The program `stage0-full`: what is no start of a pod. `stage0` becomes it, and holds
//! nothing of it.

mod app;
pub mod json;
mod plan;

use fly::{
    error::{ALL_TEXTS, Advice, Error, FAILURE, What, Why},
    packed,
    packed::Packed,
    sys::entry::Start,
    text::Line,
};

use crate::{NAME, options, run, start};

const HELP: Packed = packed!(include_str!("help.txt"));

/// What the program does. Returns the exit code.
pub fn main(mut start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    // The program's own name.
    let _ = arguments.next();
    let command = arguments.next().unwrap_or(c"help");
    match command.to_bytes() {
        b"plan" => match options::parse(arguments) {
            Ok(Some(options)) => start::pod(&options, start, plan::Show),
            Ok(None) => print(HELP),
            Err(error) => fail(error),
        },
        b"run" => match options::parse(arguments) {
            Ok(Some(options)) => start::pod(&options, start, run::Run),
            Ok(None) => print(HELP),
            Err(error) => fail(error),
        },
        b"app" => app::run(arguments, &mut start).unwrap_or_else(fail),
        b"help" | b"--help" | b"-h" => print(HELP),
        b"version" | b"--version" | b"-V" => {
            print(packed!(concat!("stage0 ", env!("CARGO_PKG_VERSION"), "\n")))
        }
        _ => {
            fail(Error::new(What::ReadCommand, command, Why::NoSuchCommand).advice(Advice::SeeHelp))
        }
    }
}

fn fail(error: Error<'_>) -> i32 {
    error.print_suggesting(NAME, ALL_TEXTS, options::NAMES);
    FAILURE
}

fn print(text: Packed) -> i32 {
    if Line::new(1).packed(text).flush() {
        0
    } else {
        FAILURE
    }
}
