//! What is done about each event: a signal that has come, a process that has
//! ended.

use crate::events::{Event, Events};
use fly::{
    error::What,
    packed,
    sys::{descriptor, entry::Start, signal, wait::End},
};
use linux_raw_sys::general as raw;
use rustix::process::{self, Signal};

use super::{
    below,
    config::{Config, Flags, Place, Whom, is_stop},
    memory::{self, Memory},
    start,
    voice::{self, Event as Told},
};

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;
/// How long after SIGKILL those are killed that a dying process still started.
const AGAIN: u64 = 20 * NANOSECONDS_PER_MILLISECOND;

/// When the cgroup is asked how often it was short of memory so far: it costs 50
/// µs, which a program that ends sooner need not wait for.
const SOON: u64 = 2 * NANOSECONDS_PER_MILLISECOND;

/// Runs the program; returns the exit code.
#[inline(never)]
pub fn run(config: &Config, start: &mut Start) -> i32 {
    let (mut events, mask) = Events::begin(config.signals());
    if config.has(Flags::FOLLOWS) {
        events.tell_stops();
    }
    let is_first = process::getpid() == process::Pid::INIT;
    prepare(config, is_first);
    let mut init = Init {
        config,
        events,
        is_first,
        pid: 0,
        code: None,
        hand_off: 0,
        stop_sent: false,
        is_stopping: false,
        memory: None,
    };
    if !config.has(Flags::PAUSE) {
        if config.place == Place::Session && start::give_up_terminal(config) {
            init.hand_off = bit(raw::SIGHUP) | bit(raw::SIGCONT);
        }
        let mut failure = None;
        init.pid = start::start(config, start, mask, &mut failure);
        let what = if init.pid == 0 {
            What::Start
        } else {
            voice::tell(config, Told::Started, init.pid, 0);
            What::Exec
        };
        if let Some(errno) = failure {
            voice::tell_failure(config, what, errno);
        }
        if init.pid == 0 {
            return config.failures.other.into();
        }
    }
    if config.has(Flags::LETS_GO) {
        // Old kernels lack it: then they stay open.
        let _ = descriptor::close_range(3, u32::MAX);
    }
    if config.has(Flags::LEAVES_DIRECTORY) {
        let _ = process::chdir(c"/");
    }
    init.supervise()
}

#[inline(never)]
fn prepare(config: &Config, is_first: bool) {
    let death = i32::try_from(config.parent_death).ok();
    if let Some(signal) = death.and_then(Signal::from_named_raw) {
        let _ = process::set_parent_process_death_signal(Some(signal));
    }
    // pid 1 is the reaper of its namespace anyway.
    if config.has(Flags::SUBREAPER) && !is_first {
        let _ = process::set_child_subreaper(Some(process::getpid()));
    }
    if config.has(Flags::WARNS)
        && config.verbosity > 0
        && !is_first
        && matches!(process::child_subreaper(), Ok(None))
    {
        // The end is what tini's tests look for.
        voice::note(
            config,
            packed!("warning: no subreaper (-s makes it one): zombie reaping won't work"),
            0,
            0,
        );
    }
}

const fn bit(signal: u32) -> u64 {
    1_u64.wrapping_shl(signal)
}

/// What is known while it runs.
struct Init<'c> {
    config: &'c Config,
    events: Events,
    is_first: bool,
    /// The program's; 0 in a pause.
    pid: u32,
    /// Its exit code, once it has ended.
    code: Option<u32>,
    /// The signals whose first one comes of giving the terminal up.
    hand_off: u64,
    /// Whether a stop signal was passed on, and no SIGCONT since.
    stop_sent: bool,
    /// Whether all that is left was told to end, and is killed at the deadline.
    is_stopping: bool,
    /// What the cgroup told soon after the start.
    memory: Option<Memory>,
}

impl Init<'_> {
    #[inline(never)]
    fn supervise(mut self) -> i32 {
        if self.config.has(Flags::TELLS_MEMORY) && !self.config.has(Flags::PAUSE) {
            self.events.wake_in(SOON);
        }
        loop {
            match self.events.next() {
                Event::Deadline if self.is_stopping => {
                    self.send(Whom::All, raw::SIGKILL);
                    self.events.wake_in(AGAIN);
                }
                Event::Deadline => self.memory = memory::look(),
                Event::Ended(pid, end) => self.ended(pid, end),
                Event::Stopped(pid, by) => self.stopped(pid, by),
                Event::Collected { alone } => {
                    if let Some(code) = self.collected(alone) {
                        return code.cast_signed();
                    }
                }
                Event::Signal(raw::SIGINT | raw::SIGTERM) if self.config.has(Flags::PAUSE) => {
                    return 0;
                }
                Event::Signal(number)
                    if !self.config.has(Flags::PAUSE) || number == raw::SIGCHLD =>
                {
                    self.receive(number);
                }
                Event::Signal(_) => {}
            }
        }
    }

    /// Nothing else has ended yet; returns the exit code when there is nothing left to
    /// do.
    #[inline(never)]
    fn collected(&mut self, alone: bool) -> Option<u32> {
        let code = self.code?;
        if !self.config.has(Flags::WAITS) {
            if self.config.has(Flags::DUMB_INIT) {
                self.pass(raw::SIGTERM);
                voice::tell(self.config, Told::Leaving, code, 0);
            }
            return Some(code);
        }
        if alone {
            return Some(code);
        }
        if let (Some(milliseconds), false) = (self.config.deadline, self.is_stopping) {
            self.is_stopping = true;
            let time = milliseconds.saturating_mul(NANOSECONDS_PER_MILLISECOND);
            self.events.wake_in(time);
            self.send(Whom::All, raw::SIGTERM);
            // Those that are stopped would not see it.
            self.send(Whom::All, raw::SIGCONT);
        }
        None
    }

    #[inline(never)]
    fn ended(&mut self, pid: u32, end: End) {
        let is_program = pid == self.pid && self.code.is_none();
        voice::tell_end(self.config, pid, end, is_program);
        if !is_program {
            if self.config.has(Flags::TELLS_REAPED) && self.config.verbosity > 0 {
                // The beginning is what tini's tests look for.
                voice::note(
                    self.config,
                    packed!("Reaped zombie process with pid={"),
                    pid,
                    0,
                );
            }
            return;
        }
        self.code = Some(self.config.leaves_as(end.code().unsigned_abs()));
        if end == End::Killed(9) {
            memory::tell(self.config, self.memory);
        }
    }

    /// The terminal has stopped the program: so that the shell gets its prompt,
    /// this process stops, too. One that kill(1) has stopped is its caller's affair,
    /// who will not know of us.
    #[inline(never)]
    fn stopped(&mut self, pid: u32, by: u8) {
        let by_terminal = is_stop(u32::from(by));
        if pid == self.pid
            && by_terminal
            && (self.stop_sent || start::hand_terminal(Place::IfForeground, 0, 0))
        {
            suspend();
        }
    }

    #[inline(never)]
    fn receive(&mut self, number: u32) {
        voice::tell(self.config, Told::Received, number, 0);
        if number == raw::SIGCHLD {
            return;
        }
        if self.hand_off & bit(number) != 0 {
            self.hand_off &= !bit(number);
            voice::tell(self.config, Told::HandOff, number, 0);
            return;
        }
        if self.config.has(Flags::FOLLOWS) && number == raw::SIGCONT {
            self.resume();
            return;
        }
        self.stop_sent |= is_stop(number);
        self.pass(number);
        if self.config.has(Flags::SUSPENDS) && is_stop(number) {
            voice::tell(self.config, Told::Suspending, 0, 0);
            // pid 1 can't be stopped from inside, but a SIGCONT that has already
            // come would be lost (SIGSTOP takes it back).
            if !self.is_first {
                suspend();
            }
        }
    }

    /// Passes a signal on, as the rules have it.
    fn pass(&mut self, number: u32) {
        let other = self.config.passed_as(number);
        if other != number {
            voice::tell(self.config, Told::Rewritten, number, other);
        }
        if other == 0 {
            voice::tell(self.config, Told::Dropped, number, 0);
            return;
        }
        // When the program has ended, all others are still waited for.
        let whom = if self.code.is_some() && self.config.has(Flags::WAITS) {
            Whom::All
        } else {
            self.config.whom
        };
        self.send(whom, other);
        voice::tell(self.config, Told::Passed, other, 0);
    }

    /// The shell has given us the terminal again: the program had it, and all of
    /// its group was stopped.
    fn resume(&mut self) {
        self.stop_sent = false;
        let pid = i32::try_from(self.pid).unwrap_or(0);
        start::hand_terminal(Place::IfForeground, start::group(), pid);
        self.send(Whom::Group, raw::SIGCONT);
    }

    #[inline(never)]
    fn send(&self, whom: Whom, number: u32) {
        let pid = i32::try_from(self.pid).unwrap_or(0);
        // 0 and -1 are more than they seem.
        if pid < 2 {
            return;
        }
        match whom {
            Whom::Child if self.code.is_none() => {
                let _ = signal::send(pid, number);
            }
            Whom::All if self.is_first => {
                let _ = signal::send(-1, number);
            }
            Whom::All if below::send(number) => {}
            Whom::Child => {}
            Whom::Group | Whom::All => {
                let _ = signal::send(-pid, number);
            }
        }
    }
}

/// Stops this process until SIGCONT.
fn suspend() {
    let _ = process::kill_process(process::getpid(), Signal::STOP);
}
