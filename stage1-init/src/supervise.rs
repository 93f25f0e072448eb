//! The loop of pid 1: collect what has ended, then sleep until the next signal
//! or deadline. No descriptor is involved, and nothing wakes it up in between.

use fly::{
    plan::MAX_APPS,
    sys::{
        signal, time,
        wait::{self, End},
    },
    timings::APP_ENDED,
};
use linux_raw_sys::general as raw;
use rustix::io::Errno;

use crate::{machine, stamps::Stamps};

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// One app, as pid 1 knows it.
#[derive(Clone, Copy, Debug)]
pub struct App {
    pid: u32,
    running: bool,
    stop_signal: u32,
    /// Milliseconds from the stop signal to SIGKILL.
    deadline: u64,
}

impl App {
    /// An app whose main process is `pid`; stopped by SIGTERM, killed after 10
    /// seconds.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self {
            pid,
            running: true,
            stop_signal: raw::SIGTERM,
            deadline: 10_000,
        }
    }

    /// Stops by `signal`, and SIGKILL `deadline` milliseconds later.
    pub fn stop(&mut self, signal: u32, deadline: u64) {
        self.stop_signal = signal;
        self.deadline = deadline;
    }

    /// To its main process only: what that starts is its own affair.
    fn send(&self, signal: u32) {
        if let (true, Ok(pid)) = (self.running, i32::try_from(self.pid)) {
            // It may have ended meanwhile; nobody collects it but us, so the
            // pid is still its own.
            let _ = signal::send(pid, signal);
        }
    }
}

/// The apps of a pod and how the pod is going to end.
#[derive(Debug)]
pub struct Pod {
    apps: [App; MAX_APPS],
    count: usize,
    /// The code of the first app that failed.
    failed: Option<i32>,
    /// When the apps that are left are killed, in nanoseconds of
    /// CLOCK_MONOTONIC.
    kill_at: Option<u64>,
    stopping: bool,
}

impl Default for Pod {
    fn default() -> Self {
        let none = App {
            running: false,
            ..App::new(0)
        };
        Self {
            apps: [none; MAX_APPS],
            count: 0,
            failed: None,
            kill_at: None,
            stopping: false,
        }
    }
}

impl Pod {
    /// Adds a running app.
    pub fn add(&mut self, app: App) {
        if let Some(place) = self.apps.get_mut(self.count) {
            *place = app;
            self.count += 1;
        }
    }

    /// Notes that the pod has failed with `code`, unless it already had.
    pub fn fail(&mut self, code: i32) {
        self.failed.get_or_insert(code);
    }

    fn running(&self) -> impl Iterator<Item = &App> {
        self.apps.iter().take(self.count).filter(|app| app.running)
    }

    /// Runs until no app is left; returns the pod's exit code: of the first app
    /// that failed, otherwise 0. When an app fails the others are stopped in
    /// order. What the apps have left behind ends with this process, the pid 1
    /// of their namespace.
    pub fn supervise(mut self, stamps: &Stamps) -> i32 {
        while self.running().next().is_some() {
            if self.failed.is_some() && !self.stopping {
                self.stop();
            }
            let left = self.kill_at.map(|at| at.saturating_sub(time::monotonic()));
            if left == Some(0) {
                self.kill();
                continue;
            }
            match signal::wait(signal::SUPERVISED, left) {
                None => {}
                Some(raw::SIGCHLD) => self.collect(stamps),
                Some(signal) if machine::is_order(signal) => self.stop_once(),
                Some(signal) => self.forward(signal),
            }
        }
        self.failed.unwrap_or(0)
    }

    /// Collects all that has ended, as one SIGCHLD may stand for many, or until no
    /// app is left.
    fn collect(&mut self, stamps: &Stamps) {
        while self.running().next().is_some() {
            match wait::any() {
                Ok(Some((pid, end))) => self.ended(pid, end, stamps),
                Ok(None) | Err(Errno::CHILD) => return,
                Err(_) => {}
            }
        }
    }

    fn ended(&mut self, pid: u32, end: End, stamps: &Stamps) {
        let stopping = self.stopping;
        let app = self
            .apps
            .iter_mut()
            .take(self.count)
            .find(|app| app.running && app.pid == pid);
        let Some(app) = app else { return };
        stamps.send(APP_ENDED, stamps.cycles());
        app.running = false;
        // An app that dies of the stop signal that we sent has done as told.
        let obeyed =
            stopping && matches!(end, End::Killed(signal) if u32::from(signal) == app.stop_signal);
        if end.code() != 0 && !obeyed {
            self.fail(end.code());
        }
    }

    fn stop_once(&mut self) {
        if !self.stopping {
            self.stop();
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        let longest = self.running().map(|app| app.deadline).max().unwrap_or(0);
        self.kill_at = Some(
            time::monotonic().saturating_add(longest.saturating_mul(NANOSECONDS_PER_MILLISECOND)),
        );
        for app in self.running() {
            app.send(app.stop_signal);
        }
    }

    /// The deadline is over: everybody in the pid namespace but us.
    fn kill(&mut self) {
        self.kill_at = None;
        let _ = signal::send(-1, raw::SIGKILL);
    }

    /// Passes a signal on. The terminal's stop signals would be ignored by a
    /// process whose session has no terminal, so it is stopped for good; a
    /// later SIGCONT goes on.
    fn forward(&self, signal: u32) {
        let signal = match signal {
            raw::SIGTSTP | raw::SIGTTIN | raw::SIGTTOU => raw::SIGSTOP,
            other => other,
        };
        for app in self.running() {
            app.send(signal);
        }
    }
}
