//! stage0: pods. The command line becomes a plan, the plan a running pod.
//!
//! No daemon, no allocator, no libc: the process that was called launches the
//! pod, waits for it, and returns its exit code.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod app;
mod cgroups;
mod directory;
pub mod lower;
pub mod options;
mod relay;
mod run;
mod stage1;
pub mod volume;

use core::ffi::CStr;

use fly::{
    error::{ALL_TEXTS, Advice, Error, FAILURE, What, Why},
    launch::ROOM,
    packed,
    packed::Packed,
    plan::{self, Builder, Kind, MAX_BYTES, MAX_STEPS, MAX_STRINGS, Problem, Reason},
    sys::{descriptor, entry::Start},
    text::Line,
};

use rustix::{
    fd::AsRawFd,
    fs::{self, Mode, OFlags},
    io::Errno,
    process::getpid,
};

use options::{Options, Stage1};

/// The program's name in messages.
pub const NAME: &str = "stage0";

/// Bytes of scratch memory that [`main`] needs: the names of mount points, and the
/// plan.
pub const BYTES: usize = MAX_BYTES + ROOM;
/// Words of scratch memory that [`main`] needs: exec's pointers, and a time
/// stamp a step.
pub const WORDS: usize = MAX_STRINGS + 2 + MAX_STEPS;

const HELP: Packed = packed!(include_str!("help.txt"));

/// What the program does. Returns the exit code.
pub fn main(mut start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    // The program's own name.
    let _ = arguments.next();
    let command = arguments.next().unwrap_or(c"help");
    match command.to_bytes() {
        b"run" | b"plan" => match options::parse(arguments) {
            Ok(Some(options)) if options.output.is_some() && command != c"plan" => fail(
                Error::new(What::ReadOption, c"--output", Why::OnlyForPlan).advice(Advice::SeeHelp),
            ),
            Ok(Some(options)) => pod(&options, command == c"plan", start),
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

/// Starts the pod, or prints its plan.
fn pod<'a, I>(options: &Options<'a, I>, print_only: bool, mut start: Start) -> i32
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    // On the stack, which is there already: no page fault.
    let mut path = [0; stage1::MAX_NAME];
    let called = start.path.filter(|_| !print_only);
    // Twice at most: stage1-init is not where stage0 was called if that was a
    // link, or a descriptor.
    for executed in [called, None] {
        let mut stage1 = stage1::Name::new(&mut path);
        let done = match stage1.find(options, executed) {
            Ok(path) => attempt(options, print_only, &mut start, path),
            Err(error) => Err(error),
        };
        match done {
            Ok(code) => return code,
            Err(error) if executed.is_some() && is_elsewhere(options, &error) => {}
            Err(error) => return fail(error),
        }
    }
    FAILURE
}

/// Whether `error` says that stage1-init is not where it was looked for first.
fn is_elsewhere<I>(options: &Options<'_, I>, error: &Error<'_>) -> bool {
    matches!(options.stage1, Stage1::Init(None))
        && matches!(error.errno(), Some(Errno::NOENT | Errno::NOTDIR))
        && error.advises(Advice::NameStage1)
}

fn attempt<'e, 'a: 'e, I>(
    options: &Options<'a, I>,
    print_only: bool,
    start: &'e mut Start,
    stage1_init: &'e CStr,
) -> Result<i32, Error<'e>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let (room, bytes) = start.bytes.split_at_mut_checked(ROOM).unwrap_or_default();
    let terminal = relay::Terminal::wanted(options.terminal);
    let wants = lower::wants(options)?;
    let variable = |name, wanted: bool| wanted.then(|| start.environment.value(name)).flatten();
    let own = u64::from(getpid().as_raw_nonzero().get().unsigned_abs());
    let is_own = |pid| fly::text::decimal(pid) == Some(own);
    let listens = variable("LISTEN_PID", wants.listening).is_some_and(is_own);
    let host = lower::Host {
        wants,
        listening: variable("LISTEN_FDS", listens),
        names: variable("LISTEN_FDNAMES", listens),
        notify: variable("NOTIFY_SOCKET", wants.notify),
        random: start.random,
        pid: own,
        terminal,
        session: terminal || relay::has_terminal(),
        stage1_init,
        // The environment may be long: it is read for what is needed only.
        term: terminal.then(|| start.environment.value("TERM")).flatten(),
        groups: fly::sys::identity::group_count() != 0,
        known: 0,
        inheritable: rustix::thread::capabilities(None)
            .map_or(true, |held| !held.inheritable.is_empty()),
    };
    let mut builder = Builder::new(bytes);
    lower::lower(options, &host, &mut builder)?;
    let plan = builder.finish().map_err(refused)?;
    if let Some(path) = options.output {
        return write(path, plan.as_bytes())
            .map_err(|errno| Error::new(What::WriteFile, path, errno));
    }
    if print_only {
        return Ok(if plan::print::print(&plan, 1) {
            0
        } else {
            FAILURE
        });
    }
    let caller = options
        .timings
        .and_then(|_| start.environment.value("STAGE0_T0"))
        .and_then(fly::text::decimal);
    run::run(plan, options, start.words, room, start.cycles, caller)
}

/// What is wrong with a plan, in the words of the command line where only that
/// could know it.
#[cold]
fn refused(problem: Problem) -> Error<'static> {
    let (option, why) = match (problem.kind, problem.reason) {
        (Some(Kind::App), Reason::Name) => (c"--name", Why::NameTwice),
        (Some(Kind::App), Reason::Path) => (c"--name", Why::NoAppName),
        (Some(Kind::After), Reason::Order) => (c"--after", Why::WaitInCircle),
        (Some(Kind::After), Reason::Name | Reason::Path) => (c"--after", Why::NoSuchApp),
        (_, reason) => return Error::new(What::CheckPlan, c"", reason),
    };
    Error::new(What::ReadOption, option, why)
}

/// Writes the plan of a machine, which its init reads.
fn write(path: &CStr, plan: &[u8]) -> Result<i32, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = fs::open(path, flags, Mode::from_raw_mode(0o644))?;
    if descriptor::write_all(file.as_raw_fd(), plan) {
        Ok(0)
    } else {
        Err(Errno::IO)
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
