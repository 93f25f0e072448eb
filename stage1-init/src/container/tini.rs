//! tini 0.19 and docker-init, which is the same program.

use core::ffi::CStr;

use fly::{
    error::Why,
    packed,
    sys::entry::{Strings, StringsIter},
    text::Line,
};
use linux_raw_sys::general as raw;

use super::{
    config::{Config, Failures, Place, STOPS, Whom},
    options::{Parser, number},
};

/// getopt's: no names.
const TABLE: &str = "h \np:\ns \nv \nw \ng \ne:\nl ";

/// Docker reads the version and, behind ` - git.`, the commit; it knows the one
/// that it builds docker-init from.
const VERSION: &str = "tini version 0.19.0";
const DOCKER: &str = "docker-init";

/// Reads options and environment; an error is the exit code.
pub fn configure(
    name: &'static str,
    called: &CStr,
    arguments: StringsIter,
    environment: &Strings,
    config: &mut Config,
) -> Result<(), i32> {
    let alone = arguments.rest();
    if alone.len() == 1 && alone.get(0) == Some(c"--version") {
        version(&mut Line::new(1), name).end();
        return Err(0);
    }
    let mut options = Parser::new(arguments, TABLE);
    while let Some(option) = options.next() {
        let (letter, value) = option.map_err(|problem| {
            problem.print(called);
            usage(2, called, name);
            1
        })?;
        match letter {
            b'h' => {
                usage(1, called, name);
                return Err(0);
            }
            b'l' => {
                super::config::print(1, packed!(include_str!("tini.license")));
                return Err(0);
            }
            b'p' => {
                config.parent_death =
                    signal(value).ok_or_else(|| super::bad_value(name, value, Why::NoSignal))?
            }
            b'e' => {
                let is_code = match number(value.to_bytes()) {
                    Some((code, b"")) => config.remap(code, 0),
                    _ => false,
                };
                if !is_code {
                    return Err(super::bad_value(name, value, Why::NoExitCode));
                }
            }
            b's' => config.subreaper = true,
            b'v' => config.verbosity = config.verbosity.saturating_add(1),
            b'w' => config.tells_reaped = true,
            _ => config.whom = Whom::Group,
        }
    }
    config.program = options.operands();
    if is_usage_form(&alone, &config.program) {
        config.program = config.program.without_second();
    }
    if config.program.is_empty() {
        usage(2, called, name);
        return Err(1);
    }
    if environment.value("TINI_SUBREAPER").is_some() {
        config.subreaper = true;
    }
    if environment.value("TINI_KILL_PROCESS_GROUP").is_some() {
        config.whom = Whom::Group;
    }
    if let Some(text) = environment.value("TINI_VERBOSITY") {
        // As atoi(3): what is no number is 0.
        let level = number(text).map_or(0, |(level, _)| level);
        config.verbosity = u8::try_from(level).unwrap_or(u8::MAX);
    }
    config.leave_faults();
    for signal in STOPS {
        // It ignores those that stop a job of the background: it may write.
        if signal != raw::SIGTSTP {
            config.rewrite(signal, 0);
        }
    }
    config.place = Place::Input;
    config.failures = Failures {
        missing: 127,
        refused: 126,
        other: 1,
    };
    config.warns = true;
    Ok(())
}

/// Whether it is `PROGRAM -- [ARGS]`, as tini's usage has it, without `--` before.
fn is_usage_form(all: &Strings, operands: &Strings) -> bool {
    let before = all.len().checked_sub(operands.len() + 1);
    let ended = before.and_then(|last| all.get(last)) == Some(c"--");
    !ended && operands.get(1) == Some(c"--")
}

fn version<'l>(line: &'l mut Line, name: &str) -> &'l mut Line {
    line.text(VERSION);
    if name == DOCKER {
        line.text(" - git.de40ad0");
    }
    line
}

#[cold]
fn usage(to: i32, called: &CStr, name: &'static str) {
    let base = super::base(called);
    let mut line = Line::new(to);
    line.bytes(base).text(" (");
    version(&mut line, name)
        .packed(packed!(")\nUsage: "))
        .bytes(base)
        .packed(packed!(include_str!("tini.usage")))
        .bytes(base)
        .packed(packed!(include_str!("tini.help")))
        .flush();
}

/// The names that `-p` takes: all of the system but three.
fn signal(name: &CStr) -> Option<u32> {
    let number = fly::signal::number(name.to_bytes().strip_prefix(b"SIG")?)?;
    (!matches!(number, raw::SIGSTKFLT | raw::SIGIO | raw::SIGPWR)).then_some(number)
}
