//! The init of a container: one program, whose signals are passed on, whose end
//! is ours, and every orphan is reaped meanwhile.
//!
//! Called by the name of another init it has that one's options, variables, exit
//! codes, compared texts and signal rules; each comes down to a `Config`,
//! and all run by the same loop.

mod below;
mod config;
mod memory;
mod modes;
mod options;
mod run;
mod start;
mod text;
mod voice;

use fly::sys::entry::Start;

use crate::NAME;
pub use crate::role::{Role, role};
use config::Config;
use modes::Reader;

/// Runs the program that the arguments name; returns the exit code.
#[inline(never)]
pub fn run(role: Option<(&'static str, Role)>, mut start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    let called = arguments.next().unwrap_or_default();
    let (name, role) = role.unwrap_or((NAME, Role::Own));
    let mut config = Config::new(name, role, arguments.rest());
    let mut reader = Reader {
        role,
        called,
        config: &mut config,
        room: &mut *start.bytes,
    };
    match reader.read(arguments, &start.environment) {
        Ok(()) => run::run(&config, &mut start),
        Err(code) => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_strtol_reads_them() {
        for (text, expected) in [
            (&b"0"[..], Some((0, &b""[..]))),
            (b"12:3", Some((12, b":3"))),
            (b" +007x", Some((7, b"x"))),
            (b"4294967296", Some((u32::MAX, b""))),
            (b"", None),
            (b"-1", None),
            (b"+", None),
            (b"x1", None),
        ] {
            let mut rest = text;
            let number = options::number(&mut rest).map(|number| (number, rest));
            assert_eq!(number, expected, "{text:?}");
        }
    }
}
