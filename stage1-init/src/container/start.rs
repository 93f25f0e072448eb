//! The start of the program: its place, its signals, its environment, exec.

use core::ffi::CStr;

use fly::sys::{
    clone, descriptor,
    entry::Strings,
    exec::{self, Pointers},
    signal::{self, Set},
    terminal,
};
use fly::{
    launch::app::each_candidate,
    text::{decimal, holds},
};
use linux_raw_sys::general as raw;
use rustix::{
    io::Errno,
    process::{self, Pid},
};

use super::{
    config::{Config, Place},
    memory::Text,
    voice::{self, Event},
};

/// Starts the program; returns its pid, and the kernel's answer if exec has
/// failed: then the process has ended with the exit code for that.
///
/// `mask` is the mask of signals that we were called with.
#[inline(never)]
pub fn start(
    config: &Config,
    environment: &Strings,
    mask: Set,
    words: &mut [usize],
) -> Result<(u32, Option<Errno>), Errno> {
    let own = process::getpid();
    let mut failure = None;
    let pid = clone::vfork_by_pid(|_| {
        take_place(config);
        if config.manner.resets {
            for number in 1..=31 {
                signal::set_default(number);
            }
        }
        // And none stays blocked that its caller had blocked.
        signal::set_mask(if config.manner.resets {
            Set::EMPTY
        } else {
            mask
        });
        let errno = become_program(config, environment, own, words);
        failure = Some(errno);
        let failures = config.manner.failures;
        i32::from(match errno {
            Errno::NOENT => failures.missing,
            Errno::ACCESS => failures.refused,
            _ => failures.other,
        })
    })?;
    Ok((pid, failure))
}

/// Gives the terminal up, so that the program's session can have it; tells
/// whether that sends SIGHUP and SIGCONT here.
#[inline(never)]
pub fn give_up_terminal(config: &Config) -> bool {
    let leads = process::getsid(None) == Ok(process::getpid());
    let event = match terminal::give_up(0) {
        Ok(()) if leads => Event::GaveUp,
        Ok(()) => Event::GaveUpNothing,
        Err(errno) => {
            voice::tell(config, Event::NotGivenUp, code(errno), 0);
            return false;
        }
    };
    voice::tell(config, event, 0, 0);
    leads
}

fn code(errno: Errno) -> u32 {
    errno.raw_os_error().unsigned_abs()
}

/// In the child: its session or group, and the terminal. What fails is no reason
/// not to run the program.
#[inline(never)]
fn take_place(config: &Config) {
    match config.manner.place {
        Place::Ours => {}
        Place::Session => {
            let _ = process::setsid();
            if let Err(errno) = terminal::take(0) {
                voice::tell(config, Event::NotTaken, code(errno), 0);
            }
            voice::tell(config, Event::Session, 0, 0);
        }
        place => {
            let ours = group();
            let _ = process::setpgid(None, None);
            // Still blocked, SIGTTOU does not stop a process that takes the
            // terminal from the background.
            hand_terminal(place, ours, group());
        }
    }
}

/// The own process group.
pub fn group() -> i32 {
    process::getpgrp().as_raw_nonzero().get()
}

/// Puts the process group `to` into the foreground of standard input or of the
/// session's terminal; catatonit looks at that first, since input may come from
/// elsewhere. [`Place::IfForeground`] does so only if `from` is there. Returns
/// whether there is a terminal.
#[inline(never)]
pub fn hand_terminal(place: Place, from: i32, to: i32) -> bool {
    let mut number = 0;
    if place == Place::Terminal || (place != Place::Input && terminal::foreground(0).is_err()) {
        number = match descriptor::open(c"/dev/tty", raw::O_RDWR) {
            Ok(number) => number,
            // Most often there is none, and then nothing else is asked.
            Err(_) if place == Place::IfForeground => return false,
            Err(_) => 0,
        };
    }
    let before = terminal::foreground(number);
    if before.is_ok() && (place != Place::IfForeground || before == Ok(from)) {
        let _ = terminal::set_foreground(number, to);
    }
    if number > 0 {
        let _ = descriptor::close(number);
    }
    before.is_ok()
}

/// The pid of the caller, if its LISTEN_PID is `own` (sd_listen_fds(3)).
fn listens(config: &Config, environment: &Strings, own: Pid) -> bool {
    let own = u64::from(own.as_raw_nonzero().get().unsigned_abs());
    config.manner.listens && environment.value("LISTEN_PID").and_then(decimal) == Some(own)
}

/// Replaces the child; returns why it could not.
#[inline(never)]
fn become_program(config: &Config, environment: &Strings, own: Pid, words: &mut [usize]) -> Errno {
    let mut listen = Text::<32>::new();
    let listens = listens(config, environment, own);
    if listens {
        let pid = process::getpid().as_raw_nonzero().get().unsigned_abs();
        listen.add(b"LISTEN_PID=").number(pid.into());
    }
    let listen = listen.as_c_str();
    let mut words = words;
    let mut variables = environment.pointers();
    if listens {
        let mut list = environment.iter().map(|variable| {
            if variable.to_bytes().starts_with(b"LISTEN_PID=") {
                listen
            } else {
                variable
            }
        });
        match Pointers::write(words, &mut list) {
            Some(written) => (variables, words) = written,
            None => return Errno::TOOBIG,
        }
    }
    let call = Call {
        program: config.program,
        variables,
    };
    call.search(environment, words)
}

/// The same, for an array that lives shorter.
fn shorter<'a>(text: &'static CStr) -> &'a CStr {
    text
}

/// What exec gets.
struct Call<'a> {
    program: Strings,
    variables: Pointers<'a>,
}

impl Call<'_> {
    /// As execvp(3): a program that may not be executed is remembered, the search
    /// goes on.
    #[inline(never)]
    fn search(&self, environment: &Strings, words: &mut [usize]) -> Errno {
        let name = self.program.get(0).unwrap_or_default();
        if name.is_empty() {
            return Errno::NOENT;
        }
        if holds(name.to_bytes(), b'/') {
            return self.execute(name, words);
        }
        let path = environment.value("PATH").unwrap_or(b"/bin:/usr/bin");
        let mut answer = Errno::NOENT;
        each_candidate(name, path, &mut |candidate| {
            match self.execute(candidate, words) {
                Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::NODEV | Errno::TIMEDOUT => {
                    return false;
                }
                Errno::ACCESS => {
                    answer = Errno::ACCESS;
                    return false;
                }
                errno => answer = errno,
            }
            true
        });
        answer
    }

    /// A file that is no program is a script for the shell, as execvp(3) has it.
    fn execute(&self, file: &CStr, words: &mut [usize]) -> Errno {
        let errno = exec::execve(file, self.program.pointers(), self.variables);
        if errno != Errno::NOEXEC {
            return errno;
        }
        let rest = self.program.iter().skip(1);
        let mut list = [c"/bin/sh", file].into_iter().chain(rest.map(shorter));
        match Pointers::write(words, &mut list) {
            Some((list, _)) => exec::execve(c"/bin/sh", list, self.variables),
            None => Errno::TOOBIG,
        }
    }
}
