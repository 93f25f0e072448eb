//! What an init does, whatever it is called: all four programs and our own
//! options come down to this.

use fly::sys::{entry::Strings, signal::Set};
use linux_raw_sys::general as raw;

use super::Role;

/// Exit code for failures of our own, as a byte.
const FAILURE: u8 = fly::error::FAILURE.to_le_bytes()[0];

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
    pub missing: u8,
    pub refused: u8,
    pub other: u8,
}

impl Failures {
    /// The same for all.
    const fn all(code: u8) -> Self {
        Self {
            missing: code,
            refused: code,
            other: code,
        }
    }
}

/// What each program does by nature: a row a role.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Manner {
    /// The signals that are blocked, and waited for.
    pub signals: Set,
    /// Those of them that are not passed on.
    kept_back: Set,
    pub failures: Failures,
    pub place: Place,
    /// Whether a stop signal of the terminal stops this process too.
    pub suspends: bool,
    pub subreaper: bool,
    /// Whether it says that it is no reaper at all.
    pub warns: bool,
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

/// Signals that the processor raises for the program's own fault stay as they
/// are: with their default action.
const OTHERS: Set = Set::ALL
    .without(raw::SIGILL)
    .without(raw::SIGTRAP)
    .without(raw::SIGABRT)
    .without(raw::SIGBUS)
    .without(raw::SIGFPE)
    .without(raw::SIGSEGV)
    .without(raw::SIGSYS);

const PLAIN: Manner = Manner {
    signals: Set::ALL,
    kept_back: Set::EMPTY,
    failures: Failures::all(1),
    place: Place::Ours,
    suspends: false,
    subreaper: false,
    warns: false,
    resets: false,
    listens: false,
    lets_go: false,
    leaves_directory: false,
    tells_memory: false,
};

/// catatonit 0.1.7, which podman mounts as podman-init; and Kubernetes' pause,
/// which does nothing but reaping, whatever its arguments.
const CATATONIT: Manner = Manner {
    signals: OTHERS,
    kept_back: Set::only(raw::SIGTSTP).and(raw::SIGTTIN).and(raw::SIGTTOU),
    place: Place::Terminal,
    subreaper: true,
    listens: true,
    lets_go: true,
    ..PLAIN
};

/// In the order of [`Role`].
static MANNERS: [Manner; 5] = [
    // tini 0.19, and docker-init.
    Manner {
        signals: OTHERS,
        // It ignores those that stop a job of the background: it may write.
        kept_back: Set::only(raw::SIGTTIN).and(raw::SIGTTOU),
        failures: Failures {
            missing: 127,
            refused: 126,
            other: 1,
        },
        place: Place::Input,
        warns: true,
        ..PLAIN
    },
    // dumb-init 1.2.5.
    Manner {
        failures: Failures::all(2),
        suspends: true,
        resets: true,
        leaves_directory: true,
        ..PLAIN
    },
    CATATONIT,
    Manner {
        failures: Failures::all(FAILURE),
        place: Place::IfForeground,
        subreaper: true,
        listens: true,
        lets_go: true,
        leaves_directory: true,
        tells_memory: true,
        ..PLAIN
    },
    CATATONIT,
];

/// All of it.
#[derive(Debug)]
// In this order, as what is far from the beginning costs more bytes to reach.
#[repr(C)]
pub struct Config {
    pub manner: Manner,
    pub whom: Whom,
    /// Whether it speaks as dumb-init, whose messages its tests compare.
    pub is_dumb_init: bool,
    /// 1: warnings; 2: beginning and end; 3: every signal.
    pub verbosity: u8,
    /// Whether each orphan that is reaped is told.
    pub tells_reaped: bool,
    pub pause: bool,
    /// Whether this process stops when the terminal stops the program.
    pub follows: bool,
    /// What this process gets when its parent dies; 0: nothing.
    pub parent_death: u32,
    pub last: Last,
    /// In messages.
    pub name: &'static str,
    /// The program and its arguments; nothing for a pause.
    pub program: Strings,
    /// As what each signal is passed on, by number: the difference, so that nothing
    /// needs to be written where there is none.
    passed_as: [u8; 65],
    /// As what each exit code of the program leaves: the difference.
    codes: [u8; 256],
}

impl Config {
    /// What a program does without options.
    #[inline(never)]
    pub fn new(name: &'static str, role: Role, program: Strings) -> Self {
        let manner = MANNERS.get(role as usize);
        Self {
            manner: *manner.unwrap_or(&PLAIN),
            whom: Whom::Child,
            is_dumb_init: role == Role::DumbInit,
            verbosity: 1,
            tells_reaped: false,
            pause: false,
            follows: false,
            parent_death: 0,
            last: Last::Leave,
            name,
            program,
            passed_as: [0; 65],
            codes: [0; 256],
        }
    }

    /// `signal` is passed on as `other`; 0: not at all.
    pub fn rewrite(&mut self, signal: u32, other: u8) {
        map(&mut self.passed_as, signal, other);
    }

    /// As what `signal` is passed on; 0: not at all.
    #[inline(never)]
    pub fn passed_as(&self, signal: u32) -> u32 {
        if self.manner.kept_back.holds(signal) {
            return 0;
        }
        let other = mapped(&self.passed_as, signal);
        // In a session of its own the program's process group is orphaned: there
        // the terminal's stop signals have no effect (setpgid(2)), but SIGSTOP has.
        if other == signal && self.manner.place == Place::Session && is_stop(signal) {
            return raw::SIGSTOP;
        }
        other
    }

    /// The program's `code` leaves as `other`; false if there is no such code.
    pub fn remap(&mut self, code: u32, other: u8) -> bool {
        map(&mut self.codes, code, other)
    }

    /// As what the program's `code` leaves.
    pub fn leaves_as(&self, code: u32) -> u32 {
        mapped(&self.codes, code)
    }
}

/// Whether it is a stop signal of a terminal.
#[inline(never)]
pub fn is_stop(signal: u32) -> bool {
    matches!(signal, raw::SIGTSTP | raw::SIGTTIN | raw::SIGTTOU)
}

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
