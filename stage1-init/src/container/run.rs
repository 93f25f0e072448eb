//! The loop: collect what has ended, then sleep until the next signal. No
//! descriptor is involved, and nothing wakes it up in between.

use fly::{
    error::What,
    packed,
    sys::{
        descriptor,
        entry::Start,
        signal, time,
        wait::{self, Change, End},
    },
};
use linux_raw_sys::general as raw;
use rustix::{
    io::Errno,
    process::{self, Signal},
};

use super::{
    below,
    config::{Config, Last, Place, Whom, is_stop},
    memory::{self, Memory},
    start,
    voice::{self, Event},
};

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;
/// How long after SIGKILL those are killed that a dying process still started.
const AGAIN: u64 = 20 * NANOSECONDS_PER_MILLISECOND;

/// When the cgroup is asked how often it was short of memory so far: it costs 50
/// µs, which a program that ends sooner need not wait for.
const SOON: u64 = 2 * NANOSECONDS_PER_MILLISECOND;

/// Runs the program; returns the exit code.
#[allow(clippy::needless_pass_by_value, reason = "`fly::entry!` hands it over")]
#[inline(never)]
pub fn run(config: &Config, start: Start) -> i32 {
    let mask = signal::replace_mask(config.manner.signals);
    // A caller may have left it ignored, and then there is nothing to collect.
    signal::set_default(raw::SIGCHLD);
    let is_first = process::getpid() == process::Pid::INIT;
    prepare(config, is_first);
    let mut init = Init {
        config,
        is_first,
        pid: 0,
        code: None,
        hand_off: 0,
        stop_sent: false,
        kill_at: None,
        memory: None,
        looks_at_memory: config.manner.tells_memory && !config.pause,
    };
    if !config.pause {
        if config.manner.place == Place::Session && start::give_up_terminal(config) {
            init.hand_off = bit(raw::SIGHUP) | bit(raw::SIGCONT);
        }
        match start::start(config, &start.environment, mask, start.words) {
            Ok((pid, failure)) => {
                init.pid = pid;
                voice::tell(config, Event::Started, pid, 0);
                if let Some(errno) = failure {
                    voice::tell_failure(config, What::Exec, errno);
                }
            }
            Err(errno) => {
                voice::tell_failure(config, What::Start, errno);
                return config.manner.failures.other.into();
            }
        }
    }
    if config.manner.lets_go {
        // Old kernels lack it: then they stay open.
        let _ = descriptor::close_range(3, u32::MAX);
    }
    if config.manner.leaves_directory {
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
    if config.manner.subreaper && !is_first {
        let _ = process::set_child_subreaper(Some(process::getpid()));
    }
    if config.manner.warns
        && config.verbosity > 0
        && !is_first
        && process::child_subreaper() == Ok(None)
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
    is_first: bool,
    /// The program's; 0 in a pause.
    pid: u32,
    /// Its exit code, once it has ended.
    code: Option<u32>,
    /// The signals whose first one comes of giving the terminal up.
    hand_off: u64,
    /// Whether a stop signal was passed on, and no SIGCONT since.
    stop_sent: bool,
    /// When all that is left is killed, in nanoseconds of CLOCK_MONOTONIC.
    kill_at: Option<u64>,
    /// What the cgroup told soon after the start.
    memory: Option<Memory>,
    /// Whether it still has to be asked.
    looks_at_memory: bool,
}

impl Init<'_> {
    #[inline(never)]
    fn supervise(mut self) -> i32 {
        loop {
            let left = self.kill_at.map(|at| at.saturating_sub(time::monotonic()));
            if left == Some(0) {
                self.send(Whom::All, raw::SIGKILL);
                self.kill_at = Some(time::monotonic().saturating_add(AGAIN));
                continue;
            }
            let soon = self.looks_at_memory.then_some(SOON);
            match signal::wait(self.config.manner.signals, left.or(soon)) {
                None if self.looks_at_memory => {
                    self.looks_at_memory = false;
                    self.memory = memory::look();
                }
                None => {}
                Some(raw::SIGCHLD) => {
                    if let Some(code) = self.collect() {
                        return code.cast_signed();
                    }
                }
                Some(raw::SIGINT | raw::SIGTERM) if self.config.pause => return 0,
                Some(_) if self.config.pause => {}
                Some(number) => self.receive(number),
            }
        }
    }

    /// Collects all that has ended, as one SIGCHLD may stand for many; returns the
    /// exit code when there is nothing left to do.
    #[inline(never)]
    fn collect(&mut self) -> Option<u32> {
        voice::tell(self.config, Event::Received, raw::SIGCHLD, 0);
        let alone = loop {
            match wait::changed(self.config.follows) {
                Ok(Some((pid, Change::Ended(end)))) => self.ended(pid, end),
                Ok(Some((pid, Change::Stopped(by)))) => self.stopped(pid, by),
                Ok(None) => break false,
                Err(errno) => break errno == Errno::CHILD,
            }
        };
        let code = self.code?;
        match self.config.last {
            Last::Leave => return Some(code),
            Last::Terminate => {
                self.pass(raw::SIGTERM);
                voice::tell(self.config, Event::Leaving, code, 0);
                return Some(code);
            }
            _ if alone => return Some(code),
            Last::Stop(milliseconds) if self.kill_at.is_none() => {
                let time = milliseconds.saturating_mul(NANOSECONDS_PER_MILLISECOND);
                self.kill_at = Some(time::monotonic().saturating_add(time));
                self.send(Whom::All, raw::SIGTERM);
                // Those that are stopped would not see it.
                self.send(Whom::All, raw::SIGCONT);
            }
            _ => {}
        }
        None
    }

    #[inline(never)]
    fn ended(&mut self, pid: u32, end: End) {
        let is_program = pid == self.pid && self.code.is_none();
        voice::tell_end(self.config, pid, end, is_program);
        if !is_program {
            if self.config.tells_reaped && self.config.verbosity > 0 {
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
        voice::tell(self.config, Event::Received, number, 0);
        if self.hand_off & bit(number) != 0 {
            self.hand_off &= !bit(number);
            voice::tell(self.config, Event::HandOff, number, 0);
            return;
        }
        if self.config.follows && number == raw::SIGCONT {
            self.resume();
            return;
        }
        self.stop_sent |= is_stop(number);
        self.pass(number);
        if self.config.manner.suspends && is_stop(number) {
            voice::tell(self.config, Event::Suspending, 0, 0);
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
            voice::tell(self.config, Event::Rewritten, number, other);
        }
        if other == 0 {
            voice::tell(self.config, Event::Dropped, number, 0);
            return;
        }
        // When the program has ended, all others are still waited for.
        let whom = match (self.code, self.config.last) {
            (Some(_), Last::Wait | Last::Stop(_)) => Whom::All,
            _ => self.config.whom,
        };
        self.send(whom, other);
        voice::tell(self.config, Event::Passed, other, 0);
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
