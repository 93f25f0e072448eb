//! The start of the program: its place, its signals, its environment, exec.

use core::{ffi::CStr, iter};

use fly::{
    launch::{app::each_candidate, path::Path},
    sys::{
        clone, descriptor,
        entry::{Start, Strings},
        exec::{self, Pointers},
        signal::{self, Set},
        terminal,
    },
    text::{Digits, decimal, holds},
};
use linux_raw_sys::general as raw;
use rustix::{io::Errno, process};

use super::{
    config::{Config, Flags, Place},
    voice::{self, Event},
};

/// Starts the program; returns its pid, 0 if there is no process, and why that or exec
/// has failed: then the process has ended with the exit code for that.
///
/// `mask` is the mask of signals that we were called with.
#[inline(never)]
pub fn start(config: &Config, start: &mut Start, mask: Set, failure: &mut Option<Errno>) -> u32 {
    let own = own_pid();
    let pid = clone::vfork_by_pid(|_| {
        take_place(config);
        let mut mask = mask;
        if config.has(Flags::RESETS) {
            for number in 1..=31 {
                signal::set_default(number);
            }
            // And none stays blocked that its caller had blocked.
            mask = Set::EMPTY;
        }
        signal::set_mask(mask);
        let errno = become_program(config, start, own);
        *failure = Some(errno);
        let failures = config.failures;
        i32::from(match errno {
            Errno::NOENT => failures.missing,
            Errno::ACCESS => failures.refused,
            _ => failures.other,
        })
    });
    pid.unwrap_or_else(|errno| {
        *failure = Some(errno);
        0
    })
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
    match config.place {
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

/// Replaces the child; returns why it could not.
fn become_program(config: &Config, start: &mut Start, own: u64) -> Errno {
    let environment = start.environment;
    let call = Call {
        program: config.program,
        variables: environment.pointers(),
        path: environment.value("PATH"),
    };
    let listens = environment.value("LISTEN_PID").and_then(decimal);
    if config.has(Flags::LISTENS) && listens == Some(own) {
        return call.listen(environment, start.words);
    }
    call.search(start.words)
}

/// The pid of this process.
pub fn own_pid() -> u64 {
    process::getpid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs()
        .into()
}

/// What exec gets.
struct Call<'a> {
    program: Strings,
    variables: Pointers<'a>,
    path: Option<&'static [u8]>,
}

impl Call<'_> {
    /// What the caller passes on to us (sd_listen_fds(3)) is the program's. By itself, as
    /// a path takes a page of the stack.
    #[cold]
    #[inline(never)]
    fn listen(self, environment: Strings, words: &mut [usize]) -> Errno {
        const NAME: &[u8] = b"LISTEN_PID=";
        let mut pid = Path::new();
        let _ = pid.append(&[NAME, Digits::new(own_pid(), 10).as_bytes()]);
        let mut variables = environment.iter();
        let mut list = iter::from_fn(|| {
            let variable = variables.next()?;
            let is_it = variable.to_bytes().starts_with(NAME);
            Some(if is_it { pid.as_c_str() } else { variable })
        });
        match Pointers::write(words, &mut list) {
            Some((variables, words)) => Call { variables, ..self }.search(words),
            None => Errno::TOOBIG,
        }
    }

    /// As execvp(3): a program that may not be executed is remembered, the search
    /// goes on.
    #[inline(never)]
    fn search(&self, words: &mut [usize]) -> Errno {
        let name = self.program.get(0).unwrap_or_default();
        if holds(name.to_bytes(), b'/') {
            return self.execute(name, words);
        }
        let mut answer = Errno::NOENT;
        if name.is_empty() {
            return answer;
        }
        let path = self.path.unwrap_or(b"/bin:/usr/bin");
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
    #[inline(never)]
    fn execute(&self, file: &CStr, words: &mut [usize]) -> Errno {
        let errno = exec::execve(file, self.program.pointers(), self.variables);
        if errno != Errno::NOEXEC {
            return errno;
        }
        let mut at = 0;
        let mut list = iter::from_fn(|| {
            at += 1;
            match at {
                1 => Some(c"/bin/sh"),
                2 => Some(file),
                _ => self.program.get(at - 2),
            }
        });
        match Pointers::write(words, &mut list) {
            Some((list, _)) => exec::execve(c"/bin/sh", list, self.variables),
            None => Errno::TOOBIG,
        }
    }
}
