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

/// What is done or not: bits of [`Config::flags`]. The first are those of the options
/// in [`Flags::OPTIONS`].
#[derive(Clone, Copy, Debug)]
pub struct Flags;

impl Flags {
    /// The letters of options that set nothing but a flag.
    pub const OPTIONS: &'static [u8] = b"swP&!";
    pub const SUBREAPER: u16 = 1 << 0;
    /// Each orphan that is reaped is told.
    pub const TELLS_REAPED: u16 = 1 << 1;
    /// There is no program.
    pub const PAUSE: u16 = 1 << 2;
    /// The program gets a session of its own.
    pub const SESSION: u16 = 1 << 3;
    /// All others are waited for when the program has ended.
    pub const WAITS: u16 = 1 << 4;
    /// Speaks as dumb-init, whose messages its tests compare, and passes SIGTERM on
    /// when the program has ended, as if it had come.
    pub const DUMB_INIT: u16 = 1 << 5;
    /// A stop signal of the terminal stops this process too.
    pub const SUSPENDS: u16 = 1 << 6;
    /// Says that it is no reaper at all.
    pub const WARNS: u16 = 1 << 7;
    /// Signals that the caller ignores have their default action in the program.
    pub const RESETS: u16 = 1 << 8;
    /// LISTEN_PID, if it names this process, names the program instead.
    pub const LISTENS: u16 = 1 << 9;
    /// Descriptors above 2 are closed here: only the program uses them.
    pub const LETS_GO: u16 = 1 << 10;
    /// The working directory is left here: its file system may be unmounted then.
    pub const LEAVES_DIRECTORY: u16 = 1 << 11;
    /// A kill for want of memory is told.
    pub const TELLS_MEMORY: u16 = 1 << 12;
    /// This process stops when the terminal stops the program.
    pub const FOLLOWS: u16 = 1 << 13;
    /// Signals that the processor raises for the program's own fault stay as they are,
    /// with their default action; those are not passed on that stop a job of the
    /// background: it may write.
    pub const LEAVES_FAULTS: u16 = 1 << 14;
}

/// What each program does by nature: a row a role.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Manner {
    flags: u16,
    failures: Failures,
    place: Place,
}

const OTHERS: Set = Set::ALL
    .without(raw::SIGILL)
    .without(raw::SIGTRAP)
    .without(raw::SIGABRT)
    .without(raw::SIGBUS)
    .without(raw::SIGFPE)
    .without(raw::SIGSEGV)
    .without(raw::SIGSYS);

/// catatonit 0.1.7, which podman mounts as podman-init; and Kubernetes' pause,
/// which does nothing but reaping, whatever its arguments.
const CATATONIT: Manner = Manner {
    flags: Flags::LEAVES_FAULTS | Flags::SUBREAPER | Flags::LISTENS | Flags::LETS_GO,
    failures: Failures::all(1),
    place: Place::Terminal,
};

/// In the order of [`Role`].
static MANNERS: [Manner; 5] = [
    // tini 0.19, and docker-init.
    Manner {
        flags: Flags::LEAVES_FAULTS | Flags::WARNS,
        failures: Failures {
            missing: 127,
            refused: 126,
            other: 1,
        },
        place: Place::Input,
    },
    // dumb-init 1.2.5.
    Manner {
        flags: Flags::DUMB_INIT
            | Flags::SESSION
            | Flags::SUSPENDS
            | Flags::RESETS
            | Flags::LEAVES_DIRECTORY,
        failures: Failures::all(2),
        place: Place::Ours,
    },
    CATATONIT,
    Manner {
        flags: Flags::SUBREAPER
            | Flags::LISTENS
            | Flags::LETS_GO
            | Flags::LEAVES_DIRECTORY
            | Flags::TELLS_MEMORY,
        failures: Failures::all(FAILURE),
        place: Place::IfForeground,
    },
    Manner {
        flags: CATATONIT.flags | Flags::PAUSE,
        ..CATATONIT
    },
];

/// All of it.
#[derive(Debug)]
// In this order, as what is far from the beginning costs more bytes to reach.
#[repr(C)]
pub struct Config {
    /// See [`Flags`].
    pub flags: u16,
    pub failures: Failures,
    pub place: Place,
    pub whom: Whom,
    /// 1: warnings; 2: beginning and end; 3: every signal.
    pub verbosity: u8,
    /// What this process gets when its parent dies; 0: nothing.
    pub parent_death: u32,
    /// All that is left when the program has ended gets SIGTERM, and SIGKILL so many
    /// milliseconds later.
    pub deadline: Option<u64>,
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
        let Manner {
            flags,
            failures,
            place,
        } = MANNERS.get(role as usize).copied().unwrap_or(CATATONIT);
        Self {
            flags,
            failures,
            place,
            whom: Whom::Child,
            verbosity: 1,
            parent_death: 0,
            deadline: None,
            name,
            program,
            passed_as: [0; 65],
            codes: [0; 256],
        }
    }

    /// Whether one of `flags` is there.
    pub fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// The signals that are blocked, and waited for.
    pub fn signals(&self) -> Set {
        if self.has(Flags::LEAVES_FAULTS) {
            OTHERS
        } else {
            Set::ALL
        }
    }

    /// `signal` is passed on as `other`; 0: not at all.
    pub fn rewrite(&mut self, signal: u32, other: u8) {
        map(&mut self.passed_as, signal, other);
    }

    /// As what `signal` is passed on; 0: not at all.
    #[inline(never)]
    pub fn passed_as(&self, signal: u32) -> u32 {
        let is_stop = is_stop(signal);
        // tini passes SIGTSTP on, catatonit does not.
        if is_stop
            && self.has(Flags::LEAVES_FAULTS)
            && (signal != raw::SIGTSTP || self.place == Place::Terminal)
        {
            return 0;
        }
        let other = mapped(&self.passed_as, signal);
        // In a session of its own the program's process group is orphaned: there
        // the terminal's stop signals have no effect (setpgid(2)), but SIGSTOP has.
        if is_stop && other == signal && self.place == Place::Session {
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
