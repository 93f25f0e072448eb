//! probe: reports what a program sees, and does what it is told.
//!
//! The payload of the black-box tests and of `make run`: static, without libc,
//! so that it starts in any root, even one that holds nothing else.
//!
//! `probe COMMAND [ARG...] [, COMMAND [ARG...]]...` runs the commands in turn.
//! A command that fails prints `COMMAND ARG: ERRNO` (`open /etc/passwd: EROFS`)
//! and the rest still runs; the exit code is then 1, unless `exit` says
//! otherwise. `probe` alone lists the commands.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod files;
mod mounts;
mod names;
mod processes;
mod report;

use core::ffi::CStr;

use fly::{
    sys::{
        descriptor,
        entry::{Start, Strings, exit},
        signal, time,
    },
    text::{Line, decimal},
};
use rustix::{fd::BorrowedFd, io::Errno};

mod entry {
    //! The program's first instruction and the memory routines.
    #![allow(unsafe_code)]
    fly::entry!(super::main, bytes = 1 << 18, words = 1 << 13);
}

/// The state that commands share.
struct Probe {
    /// Standard output, written when it is full and before anything that
    /// could end or stop the program.
    out: Line,
    arguments: Strings,
    environment: Strings,
    /// Room for the contents of a file.
    room: &'static mut [u8],
    /// Room for the pointers of an exec.
    words: &'static mut [usize],
    /// The signals that `ignore` and `catch` have blocked.
    blocked: signal::Set,
    /// CLOCK_MONOTONIC at the first instruction, nearly.
    started: u64,
    failed: bool,
}

/// One command and its arguments.
#[derive(Clone, Copy)]
struct Command {
    arguments: Strings,
    first: usize,
    count: usize,
}

impl Command {
    /// Argument `index`; the command's name is 0.
    fn get(&self, index: usize) -> Option<&'static CStr> {
        if index >= self.count {
            return None;
        }
        self.arguments.get(self.first + index)
    }

    /// Argument `index`, which the table of commands says is there.
    fn argument(&self, index: usize) -> Result<&'static CStr, Errno> {
        self.get(index).ok_or(Errno::INVAL)
    }

    /// Argument `index` as a number.
    fn number(&self, index: usize) -> Result<u64, Errno> {
        decimal(self.argument(index)?.to_bytes()).ok_or(Errno::INVAL)
    }

    /// The arguments from `index` on.
    fn from(&self, index: usize) -> impl Iterator<Item = &'static CStr> + Clone + use<> {
        let command = *self;
        (index..command.count).filter_map(move |index| command.get(index))
    }
}

/// What a command does; the dispatcher prints the error.
type Action = fn(&mut Probe, &Command) -> Result<(), Errno>;

/// A row of the command table: name, how many arguments it needs at least,
/// what it does in words, and the function.
type Row = (&'static str, usize, &'static str, Action);

const COMMANDS: &[&[Row]] = &[
    &[
        (
            "report",
            0,
            "[KEY...]: what the program sees, key=value; KEY covers KEY and KEY.*",
            report::report,
        ),
        (
            "time",
            0,
            "CLOCK_MONOTONIC in ns when the program started",
            started,
        ),
        (
            "winsize",
            0,
            "size of the terminal on stdin, ROWSxCOLUMNS",
            report::winsize,
        ),
        (
            "zombies",
            0,
            "how many processes in /proc are zombies, and stay that for 5 s",
            report::zombies,
        ),
        (
            "processes",
            0,
            "pid, ppid, state and name of every process in /proc",
            report::processes,
        ),
        ("echo", 0, "TEXT...: to stdout", echo),
        ("error", 0, "TEXT...: to stderr", error),
        ("exit", 1, "CODE: ends the program", leave),
    ],
    files::COMMANDS,
    mounts::COMMANDS,
    processes::COMMANDS,
];

fn main(start: Start) -> i32 {
    let started = time::monotonic();
    let Start {
        arguments,
        environment,
        bytes: room,
        words,
        ..
    } = start;
    let mut probe = Probe {
        out: Line::new(1),
        arguments,
        environment,
        room,
        words,
        blocked: signal::Set::EMPTY,
        started,
        failed: false,
    };
    if arguments.len() < 2 {
        return probe.usage();
    }
    let mut first = 1;
    while first < probe.arguments.len() {
        let rest = probe.arguments.iter().skip(first);
        let count = rest.take_while(|argument| *argument != c",").count();
        let command = Command {
            arguments: probe.arguments,
            first,
            count,
        };
        probe.run(&command);
        first += count + 1;
    }
    probe.out.flush();
    i32::from(probe.failed)
}

impl Probe {
    fn usage(&mut self) -> i32 {
        self.out
            .text("probe COMMAND [ARG...] [, COMMAND [ARG...]]...\n");
        for (name, _, words, _) in COMMANDS.iter().copied().flatten() {
            self.out
                .text("  ")
                .text(name)
                .text(" ")
                .text(words)
                .text("\n");
        }
        self.out.flush();
        2
    }

    fn run(&mut self, command: &Command) {
        let name = command.get(0).unwrap_or_default().to_bytes();
        let row = COMMANDS
            .iter()
            .copied()
            .flatten()
            .find(|row| row.0.as_bytes() == name);
        let Some((_, needed, _, action)) = row else {
            self.out.bytes(name).text(": no such command\n");
            self.failed = true;
            return;
        };
        let done = if command.count > *needed {
            action(self, command)
        } else {
            Err(Errno::INVAL)
        };
        if let Err(errno) = done {
            self.subject(command);
            names::errno(&mut self.out, errno);
            self.out.text("\n");
            self.failed = true;
        }
    }

    /// `COMMAND ARG: `, the head of a command's result.
    fn subject(&mut self, command: &Command) {
        self.out
            .bytes(command.get(0).unwrap_or_default().to_bytes());
        if let Some(argument) = command.get(1) {
            self.out.text(" ").bytes(argument.to_bytes());
        }
        self.out.text(": ");
    }

    /// `COMMAND ARG: ok`, for commands that have nothing else to say.
    fn ok(&mut self, command: &Command) -> Result<(), Errno> {
        self.subject(command);
        self.out.text("ok\n");
        Ok(())
    }
}

/// One of the three standard descriptors; it may be closed.
fn standard(number: i32) -> Result<BorrowedFd<'static>, Errno> {
    descriptor::borrow(number).ok_or(Errno::BADF)
}

fn started(probe: &mut Probe, _: &Command) -> Result<(), Errno> {
    probe.out.text("time=").number(probe.started).text("\n");
    Ok(())
}

fn echo(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    join(&mut probe.out, command);
    Ok(())
}

fn error(_: &mut Probe, command: &Command) -> Result<(), Errno> {
    let mut line = Line::new(2);
    join(&mut line, command);
    line.flush();
    Ok(())
}

fn join(line: &mut Line, command: &Command) {
    for (index, text) in command.from(1).enumerate() {
        if index > 0 {
            line.text(" ");
        }
        line.bytes(text.to_bytes());
    }
    line.text("\n");
}

fn leave(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let code = i32::try_from(command.number(1)?).map_err(|_| Errno::RANGE)?;
    probe.out.flush();
    exit(code)
}
