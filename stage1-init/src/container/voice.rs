//! What an init says: templates, a line for each event, in which `0` and `1` are
//! numbers, `2` is the meaning of an error number and `3` the program's name.
//! Digits are never packed.

use fly::{
    error::{Advice, Cause, Error, INIT_TEXTS, What, words},
    packed,
    packed::Packed,
    sys::wait::End,
    text::{Line, holds, split},
};
use rustix::{fs, io::Errno};

use super::config::Config;

/// What happens, by its line in the templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Started,
    Exited,
    Killed,
    Passed,
    Dropped,
    /// From here on dumb-init alone tells.
    Received,
    Rewritten,
    HandOff,
    Suspending,
    Leaving,
    GaveUp,
    GaveUpNothing,
    NotGivenUp,
    NotTaken,
    Session,
}

/// As dumb-init has them: its tests compare them.
const DUMB_INIT: Packed = packed!(
    "[dumb-init] Child spawned with PID 0.
[dumb-init] A child with PID 0 exited with exit status 1.
[dumb-init] A child with PID 0 was terminated by signal 1.
[dumb-init] Forwarded signal 0 to children.
[dumb-init] Not forwarding signal 0 to children (ignored).
[dumb-init] Received signal 0.
[dumb-init] Translating signal 0 to 1.
[dumb-init] Ignoring tty hand-off signal 0.
[dumb-init] Suspending self due to TTY signal.
[dumb-init] Child exited with status 0. Goodbye.
[dumb-init] Detached from controlling tty, ignoring the first SIGHUP and SIGCONT we receive.
[dumb-init] Detached from controlling tty, but was not session leader.
[dumb-init] Unable to detach from controlling tty (errno=0 2).
[dumb-init] Unable to attach to controlling tty (errno=0 2).
[dumb-init] setsid complete."
);

/// Our own, behind the program's name; who calls the others compares nothing.
const OWN: Packed = packed!(
    "3 is process 0
process 0 exited with code 1
process 0 was killed by signal 1
signal 0 was passed on
signal 0 was kept back"
);

/// The verbosity that tells about a single event, and about beginning and end.
const ALL: u8 = 3;
const ENDS: u8 = 2;

/// Tells `event` to those who have asked for it.
#[inline]
pub fn tell(config: &Config, event: Event, a: u32, b: u32) {
    let level = if event == Event::Started { ENDS } else { ALL };
    if config.verbosity >= level {
        say(config, event, a, b);
    }
}

#[cold]
#[inline(never)]
fn say(config: &Config, event: Event, a: u32, b: u32) {
    let texts = if config.is_dumb_init { DUMB_INIT } else { OWN };
    if let Some(text) = split(texts.0, b'\n').nth(event as usize) {
        let mut line = Line::new(2);
        if !config.is_dumb_init {
            line.text(config.name).text(": ");
        }
        fill(&mut line, config, text, a, b);
        line.end();
    }
}

fn fill(line: &mut Line, config: &Config, text: &'static [u8], a: u32, b: u32) {
    for byte in text.chunks(1) {
        match byte {
            b"0" => line.number(a.into()),
            b"1" => line.number(b.into()),
            b"2" => line.packed(words(Errno::from_raw_os_error(a.cast_signed()))),
            b"3" => line.quoted(config.program.get(0).unwrap_or_default().to_bytes()),
            other => line.packed(Packed(other)),
        };
    }
}

/// Says one line of our own.
#[cold]
#[inline(never)]
pub fn note(config: &Config, text: Packed, a: u32) {
    if config.verbosity > 0 {
        let mut line = Line::new(2);
        line.text(config.name).text(": ");
        fill(&mut line, config, text.0, a, 0);
        line.end();
    }
}

/// The end of a child.
pub fn tell_end(config: &Config, pid: u32, end: End, is_program: bool) {
    let (event, number) = match end {
        End::Exited(code) => (Event::Exited, code),
        End::Killed(signal) => (Event::Killed, signal),
    };
    let is_asked = is_program && config.verbosity >= ENDS;
    if is_asked || config.verbosity >= ALL {
        say(config, event, pid, number.into());
    }
}

/// The program was not started.
#[cold]
#[inline(never)]
pub fn tell_failure(config: &Config, what: What, errno: Errno) {
    let object = config.program.get(0).unwrap_or_default();
    if config.is_dumb_init {
        Line::new(2)
            .text("[dumb-init] ")
            .bytes(object.to_bytes())
            .text(": ")
            .packed(words(errno))
            .end();
        return;
    }
    let mut error = Error::new(what, object, errno);
    if errno == Errno::NOENT {
        if !holds(object.to_bytes(), b'/') {
            error = error.advice(Advice::NotInPath);
        } else if fs::stat(object).is_ok() {
            error = Error::new(what, object, Cause::INTERPRETER);
        }
    }
    error.print(config.name, INIT_TEXTS);
}
