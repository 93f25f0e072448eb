//! The program `stage0-full`: what is no start of a pod. `stage0` becomes it, and holds
//! nothing of it.

mod added;
mod app;
mod attach;
mod before;
mod change;
mod clock;
mod completion;
mod config;
mod describe;
mod end;
mod enter;
mod export;
mod holder;
pub mod json;
mod list;
mod logs;
pub mod manifest;
mod networks;
mod plan;
mod pods;
mod pool;
mod prepare;
mod ready;
mod release;
mod show;
mod statistics;
mod stop;
mod words;

use core::ffi::CStr;

use fly::{
    error::{ALL_TEXTS, Advice, Error, FAILURE, What, Why},
    packed,
    packed::Packed,
    sys::{
        descriptor,
        entry::{Start, Strings, StringsIter},
    },
    text::{Line, split},
};

use rustix::{
    fd::AsRawFd,
    fs::{self, Mode, OFlags},
    process::fchdir,
};

use crate::{
    BYTES, NAME, client,
    lower::All,
    options, run,
    start::{self, Aim},
    state, uuid,
};
use words::{Flags, Words};

/// Bytes of scratch memory that [`main`] needs: a manifest, too.
pub const ROOM: usize = BYTES + state::NAME + manifest::ROOM;

const HELP: Packed = packed!(include_str!("help.txt"));

/// What the program does. Returns the exit code.
pub fn main(mut start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    // The program's own name.
    let _ = arguments.next();
    let command = arguments.next().unwrap_or(c"help");
    if let b"enter" | b"exec" | b"app" | b"run-prepared" | b"attach" = command.to_bytes() {
        // The pod gets them: what is opened here must be none of them.
        client::fill_streams();
    }
    if before::asks_for_help(command, start.arguments.without_first().without_first()) {
        return print(HELP);
    }
    let done = match command.to_bytes() {
        b"plan" => Ok(pod(arguments, start, plan::Show)),
        b"run" => Ok(pod(arguments, start, run::Run(All))),
        b"prepare" => Ok(prepare::prepare(arguments, start)),
        b"run-prepared" => prepare::run(start),
        b"pool" => pool::pool(start),
        b"list" | b"ps" => list::list(start),
        b"status" => show::status(start),
        b"stop" => stop::stop(start),
        b"rm" => stop::remove(start),
        b"gc" => stop::collect(start),
        b"enter" | b"exec" => enter::by_name(&mut start),
        b"app" => app::run(manifest::Words::Given(arguments), &mut start),
        b"completion" => completion::complete(&start),
        b"config" => config::config(&start),
        b"cat-manifest" => describe::manifest(start),
        b"export" => export::export(start),
        b"logs" => logs::logs(start),
        b"attach" => attach::attach(start),
        b"help" | b"--help" | b"-h" => Ok(print(HELP)),
        b"version" | b"--version" | b"-V" => Ok(print(packed!(concat!(
            "stage0 ",
            env!("CARGO_PKG_VERSION"),
            "\n"
        )))),
        _ => {
            let error = Error::new(What::ReadCommand, command, Why::NoSuchCommand);
            Err(error.advice(Advice::SeeHelp))
        }
    };
    done.unwrap_or_else(fail)
}

/// The words behind the command.
fn words_behind(start: &Start, allowed: Flags) -> Result<Words, Error<'static>> {
    let words: Strings = start.arguments.without_first().without_first();
    Words::read(words, allowed)
}

/// An operand where there can be none.
fn too_many(_: &'static CStr) -> Error<'static> {
    let error = Error::new(What::Read, c"the command line", Why::TooManyWords);
    error.advice(Advice::SeeHelp)
}

/// The pod that a word means: its directory, if there is a slash in it, or a registered
/// pod, where `given` says. From here on this process is in its directory.
fn pod_of<'a>(
    word: &'a CStr,
    given: Option<&'a CStr>,
    environment: &Strings,
) -> Result<client::Pod<'a>, Error<'a>> {
    if word.to_bytes().contains(&b'/') {
        return client::Pod::open(word);
    }
    let pod = pods::Pods::below(given, environment)?.find(word)?;
    fchdir(&pod.directory).map_err(|errno| Error::new(What::Open, word, errno))?;
    client::Pod::here(word)
}

/// The uuid in a file, as `--uuid-file-save` has written it.
fn uuid_of(path: &'static CStr) -> Result<[u8; uuid::LENGTH], Error<'static>> {
    let mut buffer = [0; 64];
    let mut read = || {
        // A FIFO need not have a writer; what one that is there writes is waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = fs::open(path, flags, Mode::empty())?;
        fs::fcntl_setfl(&file, OFlags::empty())?;
        descriptor::read(file.as_raw_fd(), &mut buffer)
    };
    let length = read().map_err(|errno| Error::new(What::ReadUuid, path, errno))?;
    let read = buffer.get(..length).unwrap_or_default();
    let line = split(read, b'\n').next().unwrap_or_default();
    match line.try_into() {
        Ok(uuid) if uuid::is_one(line) => Ok(uuid),
        _ => Err(Error::new(What::ReadUuid, path, Why::NoUuid)),
    }
}

/// Makes the plan of a pod that the words describe, and does with it what is wanted.
fn pod<A: Aim>(words: StringsIter, mut start: Start, aim: A) -> i32 {
    let words = match manifest::expand(manifest::Words::Given(words), &mut start) {
        Ok(words) => words,
        Err(error) => return fail(error),
    };
    match options::parse(words) {
        Ok(Some(options)) => match options.life.is_of_a_preparation() {
            Some((option, why)) => {
                fail(Error::new(What::ReadOption, option, why).advice(Advice::SeeHelp))
            }
            None => start::pod(&options, start, aim),
        },
        Ok(None) => print(HELP),
        Err(error) => fail(error),
    }
}

fn fail(error: Error<'_>) -> i32 {
    fail_near(error, options::NAMES)
}

/// The same; what may have been meant is one of `names`.
#[allow(clippy::needless_pass_by_value, reason = "as of the other one")]
fn fail_near(error: Error<'_>, names: &str) -> i32 {
    error.print_suggesting(NAME, ALL_TEXTS, names);
    FAILURE
}

fn print(text: Packed) -> i32 {
    Error::said(Line::new(1).packed(text).flush(), 0).unwrap_or_else(fail)
}
