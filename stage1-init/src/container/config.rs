//! What an init does, whatever it is called: all four programs and our own
//! options come down to this.

use fly::sys::{entry::Strings, signal::Set};
use linux_raw_sys::general as raw;

/// Who gets the signals that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The program.
    Child,
    /// Its process group.
    Group,
    /// All that there is below this process.
    All,
}

/// Where the program is put, and who gets the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In our process group.
    Ours,
    /// In a session of its own, with standard input as its terminal if it was
    /// ours.
    Session,
    /// In the foreground of standard input.
    Input,
    /// In the foreground of the session's terminal.
    Terminal,
    /// The same, if we are there: a job of the background stays one.
    IfForeground,
}

/// What happens when the program has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Nothing: as pid 1 that ends all others.
    Leave,
    /// SIGTERM is passed on, as if it had come.
    Terminate,
    /// All others are waited for.
    Wait,
    /// All others get SIGTERM, SIGKILL so many milliseconds later.
    Stop(u64),
}

/// The exit codes for a program that can't be started.
#[derive(Clone, Copy, Debug)]
pub struct Failures {
    pub missing: i32,
    pub refused: i32,
    pub other: i32,
}

impl Failures {
    /// The same for all.
    pub fn all(code: i32) -> Self {
        Self {
            missing: code,
            refused: code,
            other: code,
        }
    }
}

/// All of it.
#[derive(Debug)]
pub struct Config {
    /// In messages.
    pub name: &'static str,
    /// Whether it speaks as dumb-init, whose messages its tests compare.
    pub is_dumb_init: bool,
    /// 1: warnings; 2: beginning and end; 3: every signal.
    pub verbosity: u8,
    /// Whether each orphan that is reaped is told.
    pub tells_reaped: bool,
    /// The program and its arguments; nothing for a pause.
    pub program: Strings,
    pub pause: bool,
    /// The signals that are blocked, and waited for.
    pub signals: Set,
    /// As what each signal is passed on, by number: the difference, so that nothing
    /// needs to be written where there is none.
    passed_as: [u8; 65],
    pub whom: Whom,
    pub place: Place,
    /// Whether a stop signal of the terminal stops this process too.
    pub suspends: bool,
    /// Whether this process stops when the terminal stops the program.
    pub follows: bool,
    /// As what each exit code of the program leaves: the difference.
    codes: [u8; 256],
    pub failures: Failures,
    pub last: Last,
    pub subreaper: bool,
    /// Whether it says that it is no reaper at all.
    pub warns: bool,
    /// What this process gets when its parent dies; 0: nothing.
    pub parent_death: u32,
    /// Whether signals that the caller ignores have their default action in the
    /// program.
    pub resets: bool,
    /// Whether LISTEN_PID, if it names this process, names the program instead.
    pub listens: bool,
    /// Whether descriptors above 2 are closed here: only the program uses them.
    pub lets_go: bool,
    /// Whether the working directory is left here: its file system may be
    /// unmounted then.
    pub leaves_directory: bool,
    /// Whether a kill for want of memory is told.
    pub tells_memory: bool,
}

impl Config {
    /// What all have in common: every signal goes to the program as it came.
    #[inline(never)]
    pub fn new(name: &'static str, program: Strings) -> Self {
        Self {
            name,
            is_dumb_init: false,
            verbosity: 1,
            tells_reaped: false,
            program,
            pause: false,
            signals: Set::ALL,
            passed_as: [0; 65],
            whom: Whom::Child,
            place: Place::Ours,
            suspends: false,
            follows: false,
            codes: [0; 256],
            failures: Failures::all(1),
            last: Last::Leave,
            subreaper: false,
            warns: false,
            parent_death: 0,
            resets: false,
            listens: false,
            lets_go: false,
            leaves_directory: false,
            tells_memory: false,
        }
    }

    /// `signal` is passed on as `other`; 0: not at all.
    pub fn rewrite(&mut self, signal: u32, other: u8) {
        map(&mut self.passed_as, signal, other);
    }

    /// As what `signal` is passed on; 0: not at all.
    pub fn passed_as(&self, signal: u32) -> u32 {
        mapped(&self.passed_as, signal)
    }

    /// The program's `code` leaves as `other`; false if there is no such code.
    pub fn remap(&mut self, code: u32, other: u8) -> bool {
        map(&mut self.codes, code, other)
    }

    /// As what the program's `code` leaves.
    pub fn leaves_as(&self, code: u32) -> u32 {
        mapped(&self.codes, code)
    }

    /// Signals that the processor raises for the program's own fault stay as they
    /// are: with their default action.
    pub fn leave_faults(&mut self) {
        const OTHERS: Set = Set::ALL
            .without(raw::SIGILL)
            .without(raw::SIGTRAP)
            .without(raw::SIGABRT)
            .without(raw::SIGBUS)
            .without(raw::SIGFPE)
            .without(raw::SIGSEGV)
            .without(raw::SIGSYS);
        self.signals = OTHERS;
    }

    /// In a session of its own the program's process group is orphaned: there the
    /// terminal's stop signals have no effect (setpgid(2)), but SIGSTOP has.
    pub fn stop_for_good(&mut self) {
        for signal in STOPS {
            if self.passed_as(signal) == signal {
                self.rewrite(signal, raw::SIGSTOP.to_le_bytes()[0]);
            }
        }
    }
}

/// The stop signals of a terminal.
pub const STOPS: [u32; 3] = [raw::SIGTSTP, raw::SIGTTIN, raw::SIGTTOU];

#[inline(never)]
fn map(table: &mut [u8], from: u32, to: u8) -> bool {
    let place = usize::try_from(from)
        .ok()
        .and_then(|from| table.get_mut(from));
    let is_there = place.is_some();
    if let Some(place) = place {
        *place = to.wrapping_sub(from.to_le_bytes()[0]);
    }
    is_there
}

#[inline(never)]
fn mapped(table: &[u8], from: u32) -> u32 {
    let place = usize::try_from(from).ok().and_then(|from| table.get(from));
    let low = from.to_le_bytes()[0];
    place.map_or(from, |difference| low.wrapping_add(*difference).into())
}
