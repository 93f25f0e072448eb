//! One app of a pod: what its steps say of it, and how far it is.

use core::{ffi::CStr, mem::ManuallyDrop};

use fly::{
    plan::{Kind, List, Plan, Record, Step, Steps},
    sys::{map::Sealed, network, signal, time},
};
use linux_raw_sys::general as raw;

use crate::{
    control::{self, protocol::Reply},
    log_file::File,
    namespace, stdio,
};

/// Nanoseconds of a millisecond.
pub const MILLISECOND: u64 = 1_000_000;
/// The pause before an app is started again doubles from the first to the second,
/// and is the first one again when the app has run for as long as the second.
const PAUSES: (u64, u64) = (100 * MILLISECOND, 10_000 * MILLISECOND);
/// When a file or a port is looked for: as often, doubling.
const PROBES: (u64, u64) = (5 * MILLISECOND, 1_000 * MILLISECOND);

/// The signal that stops an app that has none of its own.
const SIGTERM: u8 = raw::SIGTERM.to_le_bytes()[0];

/// How far an app is; those from `Prepares` on have a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It won't run any more.
    Done,
    /// For others to be ready.
    Waits,
    /// Between two starts.
    Pauses,
    /// Its pre-start hook runs.
    Prepares,
    /// Its main process runs.
    Runs,
    /// Its post-stop hook runs.
    Cleans,
}

/// The plan of an app that was added later: then it is not in that of the pod. The exit
/// of pid 1 unmaps it anyway.
#[derive(Debug)]
pub struct Own(ManuallyDrop<Option<Sealed>>);

impl Own {
    const NONE: Self = Self(ManuallyDrop::new(None));

    pub fn of(map: Sealed) -> Self {
        Self(ManuallyDrop::new(Some(map)))
    }

    /// The steps of its app; without a plan of its own that is the app number `index` of
    /// `plan`.
    #[inline(never)]
    pub fn steps<'a>(&'a self, plan: &Plan<'a>, index: usize) -> Option<Steps<'a>> {
        match &*self.0 {
            // Only who controls the pod can have added it.
            Some(own) if control::socket() >= 0 => Plan::check_apps(own.bytes()).ok()?.app(0),
            _ => plan.app(index),
        }
    }

    /// The string of its app's step of this kind.
    #[inline(never)]
    pub fn text<'a>(&'a self, plan: &Plan<'a>, index: usize, kind: Kind) -> &'a CStr {
        self.list(plan, index, kind).first()
    }

    /// Whether the first app of a plan has a root of its own, and so all of them.
    #[cold]
    pub fn has_root(plan: &Plan<'_>) -> bool {
        !Self::NONE.text(plan, 0, Kind::AppRoot).is_empty()
    }

    /// All strings of its app's step of this kind.
    #[inline(never)]
    pub fn list<'a>(&'a self, plan: &Plan<'a>, index: usize, kind: Kind) -> List<'a> {
        if let Some(steps) = self.steps(plan, index) {
            for record in steps.records() {
                if record.is(kind) {
                    return record.list;
                }
            }
        }
        List::EMPTY
    }
}

/// One app, as pid 1 knows it. In this order: what is looked at from many places is in
/// the first 128 bytes, whose addresses are shorter.
#[derive(Debug)]
#[repr(C)]
pub struct App {
    pub state: State,
    pub ready: bool,
    /// It is to stop, by an order for it alone.
    pub stopped: bool,
    /// It was told to stop.
    pub told: bool,
    /// It has hooks: [`App::PRE_START`], [`App::POST_STOP`].
    hooks: u8,
    /// [`Step::DECIDES`] and its kin.
    pub ending: u16,
    /// [`Step::READY_EXIT`] and its kin.
    pub how: u16,
    /// Nanoseconds of CLOCK_MONOTONIC, 0 for never: when it is started again or looked
    /// at, when it is killed, and its last start.
    pub due: u64,
    pub kill_at: u64,
    started: u64,
    /// Nanoseconds to the next probe.
    pause: u64,
    /// The apps that it waits for, a bit each.
    pub after: u64,
    /// Of the process that runs.
    pub pid: u32,
    pub code: i32,
    /// How often it was started again, and how often at most.
    restarts: u32,
    most: u32,
    /// The socket by which it says that it is ready.
    pub socket: i32,
    /// Who waits for its end, by the control socket.
    pub waiter: i32,
    /// The two ends of the pipe of its log, and of the one that is its input.
    pub log: (i32, i32),
    pub input: (i32, i32),
    /// Whether it is started again: the step's flags.
    again: Option<u16>,
    /// Milliseconds from the stop signal to SIGKILL.
    deadline: u32,
    stop_signal: u8,
    /// Whether pid 1 writes its log.
    logs: bool,
    /// Whether its input is a pipe of other apps.
    pub reads: bool,
    /// The namespaces that are its own.
    pub namespaces: u32,
    /// There is an app in this place.
    pub is_there: bool,
    /// It was entered: it does not hold up the end of the pod, and is forgotten at its
    /// own.
    pub entered: bool,
    port: u16,
    /// How many descriptors it has from 3 on.
    pub listens: u16,
    pub plan: Own,
    pub file: File,
    /// The apps to whose pipes it writes, a bit each.
    pub outputs: u64,
}

impl App {
    /// Bits of `hooks`.
    const PRE_START: u8 = 1;
    const POST_STOP: u8 = 2;
    /// No app, in a place that nobody looks at yet: nothing but zeros, which take no
    /// place in the program.
    pub const NONE: Self = Self {
        started: 0,
        due: 0,
        kill_at: 0,
        pause: 0,
        after: 0,
        outputs: 0,
        plan: Own::NONE,
        file: File::UNUSED,
        again: None,
        most: 0,
        restarts: 0,
        pid: 0,
        deadline: 0,
        code: 0,
        log: (0, 0),
        input: (0, 0),
        socket: 0,
        waiter: 0,
        ending: 0,
        how: 0,
        port: 0,
        listens: 0,
        stop_signal: 0,
        hooks: 0,
        state: State::Done,
        ready: false,
        stopped: false,
        told: false,
        logs: false,
        reads: false,
        namespaces: 0,
        is_there: false,
        entered: false,
    };

    /// Makes a place one without an app, as which it is looked at.
    #[inline(never)]
    pub fn clear(&mut self) {
        *self = Self {
            file: File::NONE,
            ..Self::NONE
        };
        (self.log, self.input, self.socket, self.waiter) = ((-1, -1), (-1, -1), -1, -1);
    }

    /// Makes it what the steps say.
    #[inline(never)]
    pub fn begin_as(&mut self, steps: Steps<'_>) {
        self.clear();
        (self.is_there, self.state) = (true, State::Waits);
        // Without a step it is stopped by SIGTERM, and killed after 10 seconds.
        (self.stop_signal, self.deadline) = (SIGTERM, 10_000);
        // Behind its program follow the steps of the next app.
        let own = steps.records().take_while(|record| !record.is(Kind::Exec));
        own.for_each(|record| self.read(&record));
    }

    #[inline(never)]
    fn read(&mut self, record: &Record<'_>) {
        const STOP: u16 = Kind::Stop as u16;
        const EXIT: u16 = Kind::ExitPolicy as u16;
        const RESTART: u16 = Kind::Restart as u16;
        const READY: u16 = Kind::Ready as u16;
        const AFTER: u16 = Kind::After as u16;
        const LOG: u16 = Kind::Log as u16;
        const LOG_FILE: u16 = Kind::LogFile as u16;
        const LISTEN: u16 = Kind::Listen as u16;
        const PID_NAMESPACE: u16 = Kind::PidNamespace as u16;
        const ROOT: u16 = Kind::AppRoot as u16;
        const PIPE: u16 = Kind::Pipe as u16;
        const PRE_START: u16 = Kind::PreStart as u16;
        const POST_STOP: u16 = Kind::PostStop as u16;
        let number = u32::try_from(record.number).unwrap_or(u32::MAX);
        match record.kind {
            STOP => (self.stop_signal, self.deadline) = (low(record.flags), number),
            EXIT => self.ending = record.flags,
            RESTART => (self.again, self.most) = (Some(record.flags), number),
            READY => {
                self.how = record.flags;
                self.port = u16::try_from(record.number).unwrap_or(0);
            }
            AFTER => self.after |= record.number,
            LOG => self.logs = true,
            LOG_FILE => {
                self.logs = true;
                (self.file.size, self.file.keep) = (record.number, low(record.flags) % 10);
            }
            LISTEN => self.listens = record.flags,
            PID_NAMESPACE => self.namespaces |= namespace::NAMESPACES,
            ROOT => self.namespaces |= namespace::ROOT,
            PIPE if record.flags & 1 != 0 => self.reads = true,
            PIPE => self.outputs |= 1_u64.wrapping_shl(number),
            PRE_START => self.hooks |= Self::PRE_START,
            POST_STOP => self.hooks |= Self::POST_STOP,
            _ => {}
        }
    }

    /// Makes the pipe of its log, if it has one, and opens the file; false if that
    /// failed, which is told.
    pub fn open_log(&mut self, plan: &Plan<'_>, index: usize) -> bool {
        !self.logs || self.log.0 >= 0 || self.make_log(plan, index)
    }

    #[cold]
    #[inline(never)]
    fn make_log(&mut self, plan: &Plan<'_>, index: usize) -> bool {
        let names = self.plan.list(plan, index, Kind::LogFile);
        let opened = match self.file.size {
            0 => Ok(()),
            _ => self.file.open(names),
        };
        match opened.and_then(|()| network::announced_pipe()) {
            Ok(pipe) => self.log = pipe,
            Err(errno) => self.file.tell(names.first(), Err(errno)),
        }
        self.log.0 >= 0
    }

    /// Closes all that pid 1 holds of it.
    #[cold]
    pub fn close(&mut self) {
        stdio::close(&mut self.socket);
        stdio::close(&mut self.log.0);
        stdio::close(&mut self.log.1);
        stdio::close(&mut self.input.0);
        stdio::close(&mut self.input.1);
        self.file.close();
        drop(self.plan.0.take());
    }

    /// What is started first: the pre-start hook, if it has one.
    pub fn first(&self) -> (State, Kind) {
        if self.hooks & Self::PRE_START == 0 {
            (State::Runs, Kind::Exec)
        } else {
            (State::Prepares, Kind::PreStart)
        }
    }

    /// Whether it has a post-stop hook.
    pub fn cleans(&self) -> bool {
        self.hooks & Self::POST_STOP != 0
    }

    /// Whether a process of it runs.
    pub fn lives(&self) -> bool {
        self.state >= State::Prepares
    }

    /// Notes that its main process was started.
    pub fn begin(&mut self) {
        self.ready |= self.how == 0;
        if self.again.is_some() {
            self.started = time::monotonic();
        }
        if self.is_probed() {
            self.pause = PROBES.0;
            self.due = behind(PROBES.0);
        }
    }

    /// Whether it has to be looked at to see whether it is ready.
    fn is_probed(&self) -> bool {
        !self.ready && self.how & (Step::READY_FILE | Step::READY_PORT) != 0
    }

    /// Looks whether it is ready.
    #[cold]
    pub fn probe(&self, path: &CStr) -> bool {
        match self.how {
            Step::READY_FILE => crate::ready::exists(path),
            _ => network::listens(self.port),
        }
    }

    /// Notes that, and when to look again.
    #[cold]
    pub fn probed(&mut self, ready: bool) {
        self.ready = ready;
        self.due = 0;
        if !ready {
            self.pause = (self.pause * 2).min(PROBES.1);
            self.due = behind(self.pause);
        }
    }

    /// Whether it starts again behind this end; then it pauses.
    pub fn pauses(&mut self) -> bool {
        let Some(flags) = self.again else {
            return false;
        };
        // Not behind a pre-start hook that has failed: the program has not run.
        let started = core::mem::take(&mut self.started);
        if started != 0 && time::monotonic().saturating_sub(started) >= PAUSES.1 {
            self.restarts = 0;
        }
        let done = self.code == 0 && (flags & Step::ALWAYS == 0 || self.how == Step::READY_EXIT);
        if done || (self.most != 0 && self.restarts >= self.most) {
            return false;
        }
        self.due = behind((PAUSES.0 << self.restarts.min(7)).min(PAUSES.1));
        self.restarts += 1;
        self.state = State::Pauses;
        self.ready = false;
        true
    }

    /// Whether it has ended by the signal that tells it to stop, and was told.
    pub fn obeys(&self, killed_by: u8) -> bool {
        self.told && killed_by == self.stop_signal
    }

    /// Tells it to stop; a hook may come to its end. After the deadline it is killed.
    pub fn stop(&mut self) {
        // A deadline that has begun stays as it is.
        if self.told && self.kill_at != 0 {
            return;
        }
        self.told = true;
        self.kill_at = behind(u64::from(self.deadline) * MILLISECOND);
        if self.state != State::Cleans {
            self.send(self.stop_signal.into());
        }
    }

    /// The deadline is over: the process and its group.
    #[cold]
    pub fn kill(&mut self) {
        self.kill_at = 0;
        if let Ok(pid) = i32::try_from(self.pid) {
            let _ = signal::send(-pid, raw::SIGKILL);
        }
        self.send(raw::SIGKILL);
    }

    /// Its input is a pipe that is closed.
    pub fn is_cut_off(&self) -> bool {
        self.reads && self.input.0 < 0
    }

    /// It starts anew.
    #[cold]
    pub fn again(&mut self) {
        (self.state, self.told, self.ready) = (State::Waits, false, false);
        self.stopped = false;
        (self.code, self.restarts) = (0, 0);
    }

    /// How it is, for who asks.
    #[cold]
    pub fn describe(&self, reply: &mut Reply) {
        // One that won't run any more is the last one there.
        reply.state = (self.state as u32).checked_sub(1).unwrap_or(5);
        let lives = self.lives();
        reply.flags = u32::from(self.ready && lives) * Reply::READY;
        reply.pid = u32::from(lives) * self.pid;
        reply.code = self.code.cast_unsigned();
        reply.restarts = self.restarts;
    }

    /// To its main process only: what that starts is its own affair.
    pub fn send(&self, signal: u32) {
        if let (true, Ok(pid)) = (self.lives(), i32::try_from(self.pid)) {
            // It may have ended meanwhile; nobody collects it but us, so the
            // pid is still its own.
            let _ = signal::send(pid, signal);
        }
    }
}

/// The moment in so many nanoseconds.
#[inline(never)]
fn behind(nanoseconds: u64) -> u64 {
    time::monotonic().saturating_add(nanoseconds)
}

/// The low byte of a step's flags.
fn low(flags: u16) -> u8 {
    flags.to_le_bytes()[0]
}
