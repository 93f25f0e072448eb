//! The loop of pid 1: do what is due, collect what has ended, then sleep until the
//! next signal or deadline. All that happens comes as a signal, also on a socket,
//! and nothing wakes it up in between.

mod look;
mod parked;

use core::ffi::CStr;

use fly::{
    error::FAILURE,
    plan::{Kind, Plan, Step, Steps},
    sys::{
        descriptor,
        limits::{self, Limit},
        map::Forever,
        message, signal, time,
        wait::{self, Change, End},
    },
    timings::APP_ENDED,
};
use linux_raw_sys::general as raw;
use rustix::io::Errno;

use crate::{
    apps::{App, State},
    control,
    logs::Logs,
    machine::{self, Heard},
    pod::Spawn,
    ready,
    report::Report,
    stamps::Stamps,
    stdio, understudy,
};
pub(crate) use look::bit;
use look::{Look, is_over};

/// Nanoseconds that pid 1 waits at most for who was told of the end, or is to look at what
/// has come by the gate.
const PATIENCE: u64 = 100_000_000;

/// The apps of a pod and how the pod is going to end.
#[derive(Debug)]
pub struct Pod<'p, 's> {
    plan: Plan<'p>,
    /// The plan's memory, if it can be given back for the time being.
    map: Option<Forever>,
    stamps: Stamps,
    words: &'s mut [usize],
    /// Places, of which the first `count` may have an app.
    places: &'s mut [App],
    count: usize,
    /// The pod's code, of the first app that failed or of the one that decides; or -1.
    code: i32,
    /// The apps are being stopped, in order.
    stopping: bool,
    /// Nothing is started any more.
    ending: bool,
    /// An app waits for another one.
    ordered: bool,
    /// It does not end with its last app.
    stays: bool,
    /// No app is started yet.
    held: bool,
    /// Who has released it, and is told of its end; or -1.
    releaser: i32,
    /// The last code is for the releaser alone.
    unseen: bool,
    /// What becomes the standard streams of who is entering just now; or -1.
    passed: [i32; 3],
    /// Where the apps' ends are told.
    report: Report,
    logs: Logs,
}

impl<'p, 's> Pod<'p, 's> {
    /// The pod of this plan, still without apps. `words` is room for exec's pointers.
    #[inline]
    pub(crate) fn new(
        plan: &Plan<'p>,
        report: Report,
        map: Option<Forever>,
        stamps: Stamps,
        words: &'s mut [usize],
        held: bool,
    ) -> Self {
        Self {
            plan: *plan,
            map,
            stamps,
            words,
            places: &mut [],
            count: 0,
            code: -1,
            stopping: false,
            ending: false,
            ordered: false,
            stays: false,
            held,
            releaser: -1,
            unseen: false,
            passed: [-1; 3],
            report,
            logs: Logs::new(),
        }
    }

    /// All places.
    pub(crate) fn apps(&self) -> &[App] {
        self.places
    }

    pub(crate) fn app(&mut self, index: usize) -> Option<&mut App> {
        self.places.get_mut(index)
    }

    pub(crate) fn at(&self, index: usize) -> Option<&App> {
        self.places.get(index)
    }

    pub(crate) fn plan(&self) -> &Plan<'p> {
        &self.plan
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending
    }

    /// The name of the app number `index`.
    pub(crate) fn name(&self, index: usize) -> &CStr {
        match self.places.get(index) {
            Some(app) if app.is_there => app.plan.text(&self.plan, index, Kind::App),
            _ => c"",
        }
    }

    /// Makes an app of these steps, if there is a place without one, which is returned.
    #[cold]
    #[inline]
    pub(crate) fn put(&mut self, steps: Steps<'_>) -> Option<(usize, &mut App)> {
        let index = self.places.iter().position(|app| !app.is_there)?;
        self.count = self.count.max(index + 1);
        let app = self.places.get_mut(index)?;
        app.begin_as(steps);
        Some((index, app))
    }

    /// Forgets an app that has ended.
    #[cold]
    pub(crate) fn remove(&mut self, index: usize) {
        if self.report.is_wanted() {
            self.report.forget(self.name(index));
        }
        for app in &mut *self.places {
            app.after &= !bit(index);
        }
        if let Some(app) = self.places.get_mut(index) {
            app.close();
            app.clear();
        }
    }

    /// Stops one app only; it is not restarted.
    #[cold]
    pub(crate) fn stop_one(&mut self, index: usize) {
        let Some(app) = self.places.get_mut(index) else {
            return;
        };
        app.stopped = true;
        if app.lives() {
            return app.stop();
        }
        self.end(index);
    }

    /// Runs until no app is left; returns the pod's exit code: of the first app
    /// that failed or of the one that decides, otherwise 0. What the apps have left
    /// behind ends with this process, the pid 1 of their namespace. `places` has room
    /// for its apps and for those that come.
    #[inline(never)]
    pub(crate) fn supervise(mut self, places: &'s mut [App]) -> i32 {
        self.places = places;
        self.fill();
        loop {
            while (!self.held || self.ending) && self.advance() {}
            let look = self.look();
            self.tell_ready(&look);
            stdio::close_pipes(self.places.get_mut(..self.count).unwrap_or_default());
            let is_over = self.ending || !self.stays;
            if is_over && look.left == 0 {
                // Orders that come now come too late, also for who would go by itself.
                self.ending = true;
                understudy::dismiss();
                self.hears();
                let code = self.code.max(0);
                if self.releaser >= 0 {
                    self.clear_away();
                    understudy::empty_gate();
                    self.tell_end(code);
                    // Its end wakes us: as any other we'd take the processor from it then, before
                    // its parent knows (sched(7)).
                    if limits::is_ordinary() {
                        let _ = limits::set(Limit::Policy, raw::SCHED_BATCH.into(), &[0; 4]);
                    }
                    // The end of the namespaces disturbs all processors: it comes when who
                    // was told is done, which its socket tells, or takes too long. What has
                    // come before, as by the gate, may be told first.
                    while message::is_quiet(self.releaser)
                        && signal::wait(signal::SUPERVISED, Some(PATIENCE)).is_some()
                    {
                    }
                }
                return code;
            }
            // What many apps need to start, they don't while they run.
            if let Some(map) = &self.map {
                map.rest();
            }
            let left = match look.due {
                u64::MAX if self.held || understudy::close_gate() => None,
                u64::MAX => Some(PATIENCE),
                due => Some(due.saturating_sub(time::monotonic())),
            };
            let signal = signal::wait(signal::SUPERVISED, left);
            // A program that was let go may have ended, and its end is told before that.
            if self.held {
                self.hears();
            }
            match signal {
                None => {}
                Some(raw::SIGCHLD) => self.collect(),
                Some(raw::SIGIO) if self.hears() => {}
                Some(signal) => match machine::hear(signal) {
                    Heard::Order => self.stop(),
                    Heard::Own => {}
                    Heard::Other => self.forward(signal),
                },
            }
        }
    }

    /// Its places become the apps of its plan.
    #[inline(never)]
    fn fill(&mut self) {
        (self.count, self.ordered, self.stays) = (0, false, false);
        while let Some(steps) = self.plan.app(self.count)
            && let Some(app) = self.places.get_mut(self.count)
        {
            app.begin_as(steps);
            self.ordered |= app.after != 0;
            self.stays |= app.ending & Step::STAYS != 0;
            self.count += 1;
        }
        // Those behind them have none, and take no memory if nobody looks at them.
        stdio::open_pipes(self.places.get_mut(..self.count).unwrap_or_default());
    }

    /// Does what is due for each app in turn; whether that has changed anything.
    fn advance(&mut self) -> bool {
        let mut changed = false;
        for index in 0..self.count {
            changed |= self.turn(index);
        }
        changed
    }

    fn turn(&mut self, index: usize) -> bool {
        let Look {
            left,
            ready,
            awaited,
            ..
        } = self.look();
        let (stopping, ending) = (self.stopping, self.ending);
        let Some(app) = self.places.get_mut(index) else {
            return false;
        };
        match app.state {
            State::Done => false,
            State::Waits if ending || app.after & !left & !ready != 0 => {
                app.state = State::Done;
                self.answer(index);
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
            _ if stopping && !app.told && awaited & bit(index) == 0 => {
                app.stop();
                true
            }
            _ => self.watch(index),
        }
    }

    /// The deadlines of an app that runs.
    fn watch(&mut self, index: usize) -> bool {
        let Some(app) = self.places.get_mut(index) else {
            return false;
        };
        if is_over(app.kill_at) {
            app.kill();
        }
        if app.state == State::Runs && is_over(app.due) {
            let ready = app.probe(app.plan.text(&self.plan, index, Kind::Ready));
            app.probed(ready);
            return ready;
        }
        false
    }

    /// Starts an app, by its hook if it has one.
    fn start(&mut self, index: usize) {
        let Some(app) = self.places.get_mut(index) else {
            return;
        };
        if app.how == Step::READY_NOTIFY && app.socket < 0 {
            app.socket = ready::socket(app.plan.text(&self.plan, index, Kind::Ready));
        }
        if !app.open_log(&self.plan, index) {
            return self.fail(index);
        }
        let (state, kind) = app.first();
        self.spawn(index, state, kind);
    }

    /// An app that can't be started is the pod's end.
    #[cold]
    #[inline(never)]
    fn fail(&mut self, index: usize) {
        let Some(app) = self.places.get_mut(index) else {
            return;
        };
        app.code = FAILURE;
        let stays = app.ending & Step::STAYS != 0;
        self.end(index);
        if !stays {
            self.decide(FAILURE);
            self.stop();
        }
    }

    /// Starts a process of an app. One that can't be started is told, and is the
    /// pod's end.
    fn spawn(&mut self, index: usize, state: State, program: Kind) {
        let apps = &*self.places;
        let Some(app) = apps.get(index) else {
            return;
        };
        let Some(steps) = app.plan.steps(&self.plan, index) else {
            return;
        };
        // Where the app's steps begin in the plan: before them are those of the apps
        // before it. Only time stamps are told by number.
        let first = if self.stamps.are_wanted() {
            self.plan
                .steps()
                .count()
                .wrapping_sub(steps.clone().count())
        } else {
            0
        };
        let pid = Spawn {
            steps,
            program,
            apps,
            app,
            waits: false,
            passed: &self.passed,
            stamps: self.stamps,
            first,
            words: self.words,
            failure: None,
        }
        .start();
        match self.places.get_mut(index) {
            Some(app) if pid != 0 => {
                (app.pid, app.state) = (pid, state);
                if state == State::Runs {
                    app.begin();
                }
            }
            _ => self.fail(index),
        }
    }

    /// Collects all that has ended, as one SIGCHLD may stand for many, or until no
    /// app is left.
    fn collect(&mut self) {
        while self.stays || self.look().left != 0 {
            match wait::changed(false) {
                Ok(Some((pid, Change::Ended(end)))) => self.ended(pid, end),
                Ok(_) | Err(Errno::CHILD) => return,
                Err(_) => {}
            }
        }
    }

    fn ended(&mut self, pid: u32, end: End) {
        let ending = self.ending;
        let was_none = understudy::ended(pid);
        let mut apps = self.places.iter_mut().enumerate();
        let Some((index, app)) = apps.find(|(_, app)| app.lives() && app.pid == pid) else {
            return;
        };
        if was_none && !ending && !app.stopped {
            // It was killed before it could go: another one takes its place.
            return self.spawn(index, State::Runs, Kind::Exec);
        }
        self.stamps.tell(APP_ENDED);
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
        if before == State::Prepares && app.code == 0 && !ending && !app.stopped {
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
        let Some(app) = self.places.get_mut(index) else {
            return;
        };
        app.state = State::Done;
        if ending || app.stopped || !app.pauses() {
            self.end(index);
        }
    }

    /// An app has ended for good: what that means to the pod. The end of one that was
    /// to stop by itself means nothing.
    fn end(&mut self, index: usize) {
        // With this end the pod ends, and who has released it waits for that.
        let unseen =
            self.unseen && self.releaser >= 0 && !self.stays && self.look().left & !bit(index) == 0;
        let Some(app) = self.places.get_mut(index) else {
            return;
        };
        (app.state, app.due) = (State::Done, 0);
        if app.entered {
            self.answer(index);
            return self.remove(index);
        }
        let (code, rules) = (app.code, app.ending);
        let alone = app.stopped && !self.stopping;
        if self.report.is_wanted() && !unseen {
            let name = app.plan.text(&self.plan, index, Kind::App);
            self.report.ended(name, code);
        }
        self.answer(index);
        let decides = rules & Step::DECIDES != 0;
        let failed = code != 0 && !alone;
        if decides || (failed && rules & Step::UNCOUNTED == 0) {
            self.decide(code);
        }
        if decides || (failed && rules & Step::QUIET == 0) {
            self.stop();
        }
    }

    /// An app is done: who waits for that is told so.
    fn answer(&mut self, index: usize) {
        let Some(app) = self.places.get_mut(index) else {
            return;
        };
        let waiter = app.waiter;
        if waiter >= 0 && control::socket() >= 0 {
            app.waiter = -1;
            self.reply(Ok(()), index, waiter);
            let _ = descriptor::close(waiter);
        }
    }

    /// The code is the pod's if there was none before it.
    fn decide(&mut self, code: i32) {
        if self.code < 0 {
            self.code = code;
        }
    }

    /// Tells once that all apps are ready.
    fn tell_ready(&mut self, look: &Look) {
        // With the last one it ends, ready or not.
        let goes_on = (look.left != 0 || self.stays) && !self.stopping;
        if goes_on && self.report.is_wanted() && look.left & !look.ready == 0 && self.code < 0 {
            self.report.ready();
        }
    }

    /// Stops the apps: each when nobody runs that waited for it.
    pub(crate) fn stop(&mut self) {
        (self.stopping, self.ending) = (true, true);
    }

    /// Whether the signal was for a socket or a log; all that has come is read.
    fn hears(&mut self) -> bool {
        let mut heard = false;
        for index in 0..self.count {
            let Some(app) = self.places.get_mut(index) else {
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
                let name = app.plan.text(&self.plan, index, kind);
                self.logs.write(index, name, log, &mut app.file);
            }
        }
        // Behind the logs: an order may take the app away.
        let control = control::socket();
        if control >= 0 {
            heard = true;
            if self.held {
                self.serve(understudy::gate(), message::PEEK);
            }
            self.serve(control, 0);
            self.watch_releaser();
        }
        heard
    }

    /// Passes a signal on. The terminal's stop signals would be ignored by a
    /// process whose session has no terminal, so it is stopped for good; a
    /// later SIGCONT goes on. Behind one that asks for the end nothing is started,
    /// and SIGTERM stops apps that have an order in that order, and those of a pod that
    /// would stay.
    fn forward(&mut self, signal: u32) {
        let signal = match signal {
            raw::SIGTSTP | raw::SIGTTIN | raw::SIGTTOU => raw::SIGSTOP,
            other => other,
        };
        if signal == raw::SIGTERM && (self.ordered || self.stays) {
            return self.stop();
        }
        self.ending |= matches!(signal, raw::SIGTERM | raw::SIGINT | raw::SIGQUIT);
        for app in &mut *self.places {
            app.send(signal);
        }
    }
}
