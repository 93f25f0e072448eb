//! The loop of pid 1: do what is due, collect what has ended, then sleep until the
//! next signal or deadline. All that happens comes as a signal, also on a socket,
//! and nothing wakes it up in between.

use fly::{
    error::{Error, FAILURE, INIT_TEXTS},
    plan::{Kind, Plan, Step, pods},
    sys::{
        signal, time,
        wait::{self, End},
    },
    timings::APP_ENDED,
};
use linux_raw_sys::general as raw;
use rustix::io::Errno;

use crate::{
    NAME,
    apps::{App, State, text},
    logs::Logs,
    machine,
    pod::spawn,
    ready,
    report::Report,
    stamps::Stamps,
    stdio,
};

/// The apps of a pod and how the pod is going to end.
#[derive(Debug)]
pub struct Pod<'p, 's> {
    plan: &'s Plan<'p>,
    stamps: &'s Stamps,
    words: &'s mut [usize],
    apps: &'s mut [App],
    /// The pod's code, of the first app that failed or of the one that decides.
    code: Option<i32>,
    /// The apps are being stopped, in order.
    stopping: bool,
    /// Nothing is started any more.
    ending: bool,
    /// An app waits for another one.
    ordered: bool,
    /// Where the apps' ends are told.
    report: Option<Report>,
    logs: Logs,
}

impl<'p, 's> Pod<'p, 's> {
    /// The pod of this plan; `apps` has room for its apps. `words` is room for exec's
    /// pointers.
    pub fn new(
        apps: &'s mut [App],
        plan: &'s Plan<'p>,
        stamps: &'s Stamps,
        words: &'s mut [usize],
    ) -> Self {
        let mut count = 0;
        for place in &mut *apps {
            let Some(steps) = plan.app(count) else { break };
            *place = App::new(steps);
            count += 1;
        }
        Self {
            plan,
            stamps,
            words,
            apps: apps.get_mut(..count).unwrap_or_default(),
            code: None,
            stopping: false,
            ending: false,
            ordered: false,
            report: Report::new(plan),
            logs: Logs::new(),
        }
    }

    fn apps(&mut self) -> impl Iterator<Item = &mut App> {
        self.apps.iter_mut()
    }

    /// The apps for which this holds, a bit each.
    #[inline(never)]
    fn those(&self, which: &dyn Fn(&App) -> bool) -> u64 {
        let apps = self.apps.iter().enumerate();
        apps.fold(0, |bits, (index, app)| {
            bits | u64::from(which(app)).wrapping_shl(u32::try_from(index).unwrap_or(0))
        })
    }

    /// Runs until no app is left; returns the pod's exit code: of the first app
    /// that failed or of the one that decides, otherwise 0. What the apps have left
    /// behind ends with this process, the pid 1 of their namespace.
    pub fn supervise(&mut self) -> i32 {
        if self.apps.len() > 1 {
            self.read_order();
        }
        stdio::open_pipes(self.apps);
        self.ordered = self.those(&|app| app.after != 0) != 0;
        loop {
            while self.advance() {}
            self.tell_ready();
            stdio::close_pipes(self.apps);
            if self.those(&|app| app.state != State::Done) == 0 {
                self.hears();
                return self.code.unwrap_or(0);
            }
            let due = self.apps().flat_map(|app| [app.due, app.kill_at]);
            let due = due.filter(|due| *due != 0).min();
            let left = due.map(|due| due.saturating_sub(time::monotonic()));
            match signal::wait(signal::SUPERVISED, left) {
                None => {}
                Some(raw::SIGCHLD) => self.collect(),
                Some(raw::SIGIO) if self.hears() => {}
                Some(signal) if machine::is_order(signal) => self.stop(),
                Some(signal) => self.forward(signal),
            }
        }
    }

    #[inline(never)]
    fn read_order(&mut self) {
        if let Ok(order) = pods::order(self.plan) {
            for (app, after) in self.apps().zip(order) {
                app.after = after;
            }
        }
    }

    /// Does what is due for each app in turn; whether that has changed anything.
    fn advance(&mut self) -> bool {
        let mut changed = false;
        for index in 0..self.apps.len() {
            changed |= self.turn(index);
        }
        changed
    }

    fn turn(&mut self, index: usize) -> bool {
        let ready = self.those(&|app| app.ready);
        let lost = self.those(&|app| app.state == State::Done && !app.ready);
        let bit = 1_u64.wrapping_shl(u32::try_from(index).unwrap_or(0));
        let in_the_way = self.those(&|app| app.lives() && app.after & bit != 0);
        let (stopping, ending) = (self.stopping, self.ending);
        let Some(app) = self.apps.get_mut(index) else {
            return false;
        };
        match app.state {
            State::Done => false,
            State::Waits if ending || app.after & lost != 0 => {
                app.state = State::Done;
                true
            }
            State::Waits if app.after & !ready == 0 => {
                self.start(index);
                true
            }
            State::Waits => false,
            State::Pauses if ending => {
                self.end(index);
                true
            }
            State::Pauses if is_over(app.due) => {
                app.due = 0;
                self.start(index);
                true
            }
            State::Pauses => false,
            _ if stopping && !app.told && in_the_way == 0 => {
                app.stop();
                true
            }
            _ => self.watch(index),
        }
    }

    /// The deadlines of an app that runs.
    fn watch(&mut self, index: usize) -> bool {
        let plan = self.plan;
        let Some(app) = self.apps.get_mut(index) else {
            return false;
        };
        if is_over(app.kill_at) {
            app.kill();
        }
        if app.state == State::Runs && is_over(app.due) {
            app.probe(text(plan, index, Kind::Ready));
            return app.ready;
        }
        false
    }

    /// Starts an app, by its hook if it has one.
    fn start(&mut self, index: usize) {
        let Some(app) = self.apps.get_mut(index) else {
            return;
        };
        if app.how == Step::READY_NOTIFY && app.socket < 0 {
            app.socket = ready::socket(text(self.plan, index, Kind::Ready));
        }
        if !app.open_log(self.plan, index) {
            return self.fail(index);
        }
        let (state, kind) = app.first();
        self.spawn(index, state, kind);
    }

    /// An app that can't be started is the pod's end.
    #[cold]
    #[inline(never)]
    fn fail(&mut self, index: usize) {
        if let Some(app) = self.apps.get_mut(index) {
            app.state = State::Done;
        }
        self.code.get_or_insert(FAILURE);
        self.stop();
    }

    /// Starts a process of an app. One that can't be started is told, and is the
    /// pod's end.
    fn spawn(&mut self, index: usize, state: State, program: Kind) {
        let Some(steps) = self.plan.app(index) else {
            return;
        };
        let app = (&*self.apps, index);
        let started: Result<u32, Error<'_>> =
            spawn(&steps, program, app, self.plan, self.stamps, self.words);
        let Some(app) = self.apps.get_mut(index) else {
            return;
        };
        match started {
            Ok(pid) => {
                (app.pid, app.state) = (pid, state);
                if state == State::Runs {
                    app.begin();
                }
            }
            Err(error) => {
                error.print(NAME, INIT_TEXTS);
                self.fail(index);
            }
        }
    }

    /// Collects all that has ended, as one SIGCHLD may stand for many, or until no
    /// app is left.
    fn collect(&mut self) {
        while self.those(&|app| app.lives()) != 0 {
            match wait::any() {
                Ok(Some((pid, end))) => self.ended(pid, end),
                Ok(None) | Err(Errno::CHILD) => return,
                Err(_) => {}
            }
        }
    }

    fn ended(&mut self, pid: u32, end: End) {
        let found = self.apps().position(|app| app.lives() && app.pid == pid);
        let Some(index) = found else { return };
        self.stamps.send(APP_ENDED, self.stamps.cycles());
        let stopping = self.stopping;
        let Some(app) = self.apps.get_mut(index) else {
            return;
        };
        let before = app.state;
        app.kill_at = 0;
        if before == State::Cleans {
            return self.settle(index);
        }
        app.due = 0;
        app.code = match end {
            End::Killed(signal) if app.obeys(signal) => 0,
            end => end.code(),
        };
        if before == State::Prepares && app.code == 0 && !stopping {
            return self.spawn(index, State::Runs, Kind::Exec);
        }
        app.ready |= before == State::Runs && app.how == Step::READY_EXIT && app.code == 0;
        if app.cleans() {
            app.told = false;
            self.spawn(index, State::Cleans, Kind::PostStop);
        } else {
            self.settle(index);
        }
    }

    /// Behind the end of an app and its hook: again, or never.
    fn settle(&mut self, index: usize) {
        let ending = self.ending;
        let Some(app) = self.apps.get_mut(index) else {
            return;
        };
        app.state = State::Done;
        if ending || !app.pauses() {
            self.end(index);
        }
    }

    /// An app has ended for good: what that means to the pod.
    fn end(&mut self, index: usize) {
        let Some(app) = self.apps.get_mut(index) else {
            return;
        };
        (app.state, app.due) = (State::Done, 0);
        let (code, rules) = (app.code, app.ending);
        let first = self
            .plan
            .app(index)
            .and_then(|steps| steps.records().next());
        if let (Some(report), Some(first)) = (&self.report, first) {
            report.ended(first.list.first(), code);
        }
        let decides = rules & Step::DECIDES != 0;
        if decides || (code != 0 && rules & Step::UNCOUNTED == 0) {
            self.code.get_or_insert(code);
        }
        if decides || (code != 0 && rules & Step::QUIET == 0) {
            self.stop();
        }
    }

    /// Tells once that all apps are ready.
    fn tell_ready(&mut self) {
        let left = self.those(&|app| app.state != State::Done && !app.ready);
        if let Some(report) = &mut self.report
            && left == 0
            && self.code.is_none()
        {
            report.ready();
        }
    }

    /// Stops the apps: each when nobody runs that waited for it.
    fn stop(&mut self) {
        (self.stopping, self.ending) = (true, true);
    }

    /// Whether the signal was for a socket or a log; all that has come is read.
    fn hears(&mut self) -> bool {
        let mut heard = false;
        for index in 0..self.apps.len() {
            let Some(app) = self.apps.get_mut(index) else {
                break;
            };
            if app.socket >= 0 {
                heard = true;
                let says = ready::says_ready(app.socket);
                app.ready |= says && app.state == State::Runs;
            }
            let log = app.log.0;
            if log >= 0 {
                heard = true;
                let kind = if app.file.size == 0 {
                    Kind::App
                } else {
                    Kind::LogFile
                };
                let name = text(self.plan, index, kind);
                self.logs.write(index, name, log, &mut app.file);
            }
        }
        heard
    }

    /// Passes a signal on. The terminal's stop signals would be ignored by a
    /// process whose session has no terminal, so it is stopped for good; a
    /// later SIGCONT goes on. Behind one that asks for the end nothing is started,
    /// and SIGTERM stops apps that have an order in that order.
    fn forward(&mut self, signal: u32) {
        let signal = match signal {
            raw::SIGTSTP | raw::SIGTTIN | raw::SIGTTOU => raw::SIGSTOP,
            other => other,
        };
        if signal == raw::SIGTERM && self.ordered {
            return self.stop();
        }
        self.ending |= matches!(signal, raw::SIGTERM | raw::SIGINT | raw::SIGQUIT);
        for app in self.apps() {
            app.send(signal);
        }
    }
}

/// Whether this moment, unless it is none, has come.
fn is_over(moment: u64) -> bool {
    moment != 0 && moment <= time::monotonic()
}
