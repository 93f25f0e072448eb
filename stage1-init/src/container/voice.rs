//! What an init says while it runs.

use fly::{
    error::{Advice, Error, INIT_TEXTS, What},
    launch, packed,
    packed::Packed,
    sys::wait::End,
    text::{holds, split},
};
use rustix::io::Errno;

use super::{
    config::{Config, Flags},
    text::{Gaps, write},
};

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

/// As dumb-init has them, behind its name: its tests compare them.
const DUMB_INIT: Packed = packed!(
    "Child spawned with PID {.
A child with PID { exited with exit status }.
A child with PID { was terminated by signal }.
Forwarded signal { to children.
Not forwarding signal { to children (ignored).
Received signal {.
Translating signal { to }.
Ignoring tty hand-off signal {.
Suspending self due to TTY signal.
Child exited with status {. Goodbye.
Detached from controlling tty, ignoring the first SIGHUP and SIGCONT we receive.
Detached from controlling tty, but was not session leader.
Unable to detach from controlling tty (errno={ #).
Unable to attach to controlling tty (errno={ #).
setsid complete."
);

/// Our own, behind the program's name; nobody compares what tini and catatonit
/// say here.
const OWN: Packed = packed!(
    "^ is process {
process { exited with code }
process { was killed by signal }
signal { was passed on
signal { was kept back"
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
    let texts = if config.has(Flags::DUMB_INIT) {
        DUMB_INIT
    } else {
        OWN
    };
    if let Some(text) = split(texts.0, b'\n').nth(event as usize) {
        note(config, Packed(text), a, b);
    }
}

/// Says one line.
#[cold]
#[inline(never)]
pub fn note(config: &Config, text: Packed, a: u32, b: u32) {
    let gaps = Gaps {
        name: config.name.as_bytes(),
        object: config.program.get(0).unwrap_or_default().to_bytes(),
        first: a,
        second: b,
        inner: text,
        ..Gaps::NONE
    };
    let line = if config.has(Flags::DUMB_INIT) {
        packed!("[~] `\n")
    } else {
        packed!("~: `\n")
    };
    write(2, line, &gaps);
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
    if config.has(Flags::DUMB_INIT) {
        note(
            config,
            packed!("^: #"),
            errno.raw_os_error().unsigned_abs(),
            0,
        );
        return;
    }
    let is_name = !holds(object.to_bytes(), b'/');
    match (what, errno) {
        (What::Exec, Errno::NOENT) if is_name => {
            Error::new(what, object, errno).advice(Advice::NotInPath)
        }
        (What::Exec, _) => launch::explain_exec(object, object, errno),
        _ => Error::new(what, object, errno),
    }
    .print(config.name, INIT_TEXTS);
}
