//! dumb-init 1.2.5.

use core::ffi::CStr;

use fly::{
    packed,
    sys::entry::{Strings, StringsIter},
    text::Line,
};

use super::{
    config::{Config, Failures, Last, Place, Whom, print},
    options::{Parser, number},
};

const TABLE: &str = "h help\nv verbose\nV version\nc single-child\nr:rewrite";

/// Reads options and environment; an error is the exit code.
pub fn configure(
    called: &CStr,
    arguments: StringsIter,
    environment: &Strings,
    config: &mut Config,
) -> Result<(), i32> {
    let mut session = environment.value("DUMB_INIT_SETSID") != Some(b"0");
    let mut debug = environment.value("DUMB_INIT_DEBUG") == Some(b"1");
    let mut options = Parser::new(arguments, TABLE);
    while let Some(option) = options.next() {
        let (letter, value) = option.map_err(|problem| {
            problem.print(called);
            1
        })?;
        match letter {
            b'h' => {
                Line::new(2)
                    .packed(packed!("dumb-init v1.2.5\nUsage: "))
                    .bytes(called.to_bytes())
                    .packed(packed!(" [option] command [[arg] ...]\n"))
                    .packed(packed!(include_str!("dumb-init.help")))
                    .flush();
                return Err(0);
            }
            b'V' => {
                print(2, packed!("dumb-init v1.2.5\n"));
                return Err(0);
            }
            b'v' => debug = true,
            b'c' => session = false,
            _ => {
                let Some((signal, other)) = rewriting(value.to_bytes()) else {
                    print(2, packed!(include_str!("dumb-init.rewrite")));
                    return Err(1);
                };
                config.rewrite(signal, other);
            }
        }
    }
    config.program = options.operands();
    if config.program.is_empty() {
        Line::new(2)
            .text("Usage: ")
            .bytes(called.to_bytes())
            .packed(packed!(" [option] program [args]\nTry "))
            .bytes(called.to_bytes())
            .packed(packed!(" --help for full usage.\n"))
            .flush();
        return Err(1);
    }
    config.is_dumb_init = true;
    config.verbosity = if debug { 3 } else { 1 };
    if session {
        config.whom = Whom::Group;
        config.place = Place::Session;
        config.stop_for_good();
    }
    config.suspends = true;
    config.last = Last::Terminate;
    config.failures = Failures {
        missing: 2,
        refused: 2,
        other: 2,
    };
    config.resets = true;
    config.leaves_directory = true;
    Ok(())
}

/// `SIGNAL:REPLACEMENT`, as sscanf(3) reads two numbers: from 1 and from 0 to 31,
/// whatever follows them.
fn rewriting(text: &[u8]) -> Option<(u32, u8)> {
    let (signal, rest) = number(text)?;
    let (other, _) = number(rest.strip_prefix(b":")?)?;
    let is_in_range = (1..=31).contains(&signal) && other <= 31;
    is_in_range.then_some((signal, other.to_le_bytes()[0]))
}
