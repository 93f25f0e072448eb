//! `stage1-init` under its own name: what all of them do, and more.

use fly::{
    error::{Advice, Error, FAILURE, INIT_TEXTS, What, Why},
    packed,
    sys::entry::StringsIter,
    text::{decimal, holds, split},
};
use rustix::process;

use super::{
    config::{Config, Failures, Last, Place, Whom, print},
    options::{Parser, Wrong, number},
};
use crate::NAME;

/// Letters that are none stand for options that have only a name.
const TABLE: &str = "c single-child\ne:remap\nf:forward\ng \nh help\nl license\nL \np:parent-death\n\
P pause\nr:rewrite\ns subreaper\nv verbose\nV version\nw warn-reaped\n!wait-all\n%:deadline\n#session";

const HELP: fly::packed::Packed = packed!(include_str!("own.help"));

/// Reads options; an error is the exit code.
pub fn configure(arguments: StringsIter, config: &mut Config) -> Result<(), i32> {
    parse(arguments, config).map_err(|stop| match stop {
        Stop::Done => 0,
        Stop::Failed(error) => {
            error.advice(Advice::LookAtHelp).print(NAME, INIT_TEXTS);
            FAILURE
        }
    })
}

/// Why there is nothing to run.
enum Stop {
    Done,
    Failed(Error<'static>),
}

fn parse(arguments: StringsIter, config: &mut Config) -> Result<(), Stop> {
    let mut session = false;
    let mut options = Parser::new(arguments, TABLE);
    while let Some(option) = options.next() {
        let (letter, value) = option.map_err(|problem| {
            let why = match problem.wrong {
                Wrong::NoValue => Why::ValueMissing,
                Wrong::Value => Why::ValueNotTaken,
                Wrong::Unknown | Wrong::Ambiguous => Why::UnknownArgument,
            };
            Stop::Failed(Error::new(What::ReadArgument, problem.argument, why))
        })?;
        let text = value.to_bytes();
        let bad = |why: Why| Stop::Failed(Error::new(What::ReadValue, value, why));
        match letter {
            b'c' => config.whom = Whom::Child,
            b'g' => config.whom = Whom::Group,
            b'f' => {
                config.whom = match text {
                    b"child" => Whom::Child,
                    b"group" => Whom::Group,
                    b"all" => Whom::All,
                    _ => return Err(bad(Why::NotWhom)),
                }
            }
            b'e' => {
                if !remap(text, config) {
                    return Err(bad(Why::NoExitCode));
                }
            }
            b'r' => {
                let Some((from, to)) = rewriting(text) else {
                    return Err(bad(Why::NoSignal));
                };
                config.rewrite(from, to);
            }
            b'p' => {
                config.parent_death = super::signal(text).ok_or_else(|| bad(Why::NoSignal))?;
            }
            b'P' => config.pause = true,
            // It always is one.
            b's' => {}
            b'v' => config.verbosity = config.verbosity.saturating_add(1),
            b'w' => config.tells_reaped = true,
            b'!' => {
                if config.last == Last::Leave {
                    config.last = Last::Wait;
                }
            }
            b'%' => {
                config.last = Last::Stop(decimal(text).ok_or_else(|| bad(Why::NotMilliseconds))?);
            }
            b'#' => session = true,
            letter => {
                print(
                    1,
                    match letter {
                        b'h' => HELP,
                        b'V' => packed!(concat!("stage1-init ", env!("CARGO_PKG_VERSION"), "\n")),
                        _ => packed!(concat!(env!("CARGO_PKG_LICENSE"), "\n")),
                    },
                );
                return Err(Stop::Done);
            }
        }
    }
    config.program = options.operands();
    if config.program.is_empty() && !config.pause {
        return Err(Stop::Failed(Error::new(What::Begin, c"", Why::NoProgram)));
    }
    finish(config, session);
    Ok(())
}

fn finish(config: &mut Config, session: bool) {
    let is_first = process::getpid() == process::Pid::INIT;
    config.place = Place::IfForeground;
    if session {
        config.place = Place::Session;
        config.stop_for_good();
    }
    config.suspends = session;
    config.follows = !session && !is_first;
    config.subreaper = !is_first;
    config.listens = true;
    config.lets_go = true;
    config.leaves_directory = true;
    config.tells_memory = true;
    config.failures = Failures {
        missing: FAILURE,
        refused: FAILURE,
        other: FAILURE,
    };
}

/// `CODE=CODE`, or `CODE` alone, as tini has it.
fn remap(text: &[u8], config: &mut Config) -> bool {
    let (to, rest) = match number(text) {
        Some((_, b"")) => (0, &b""[..]),
        Some((_, [b'=' | b':', to @ ..])) => number(to).unwrap_or((u32::MAX, b"")),
        _ => return false,
    };
    match (number(text), u8::try_from(to)) {
        (Some((from, _)), Ok(to)) if rest.is_empty() => config.remap(from, to),
        _ => false,
    }
}

/// `SIGNAL=SIGNAL`, or with `:`, as dumb-init has it.
fn rewriting(text: &[u8]) -> Option<(u32, u8)> {
    let separator = if holds(text, b'=') { b'=' } else { b':' };
    let mut parts = split(text, separator);
    let from = super::signal(parts.next()?)?;
    let to = match parts.rest() {
        b"0" => 0,
        other => super::signal(other)?,
    };
    Some((from, to.to_le_bytes()[0]))
}
