//! The understudy of a parked pod's only program: a process that has done all of its steps
//! but the last one, so that a release has no more to do than to let it go on.
//!
//! It shares pid 1's memory until then, as what is about to be a program always does, and
//! its descriptors: the standard streams that come with the release are there by themselves.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use fly::{
    error::{FAILURE, INIT_TEXTS},
    plan::{Kind, Plan, Steps},
    sys::{
        clone::{self, Part, Stage},
        futex,
        reserved::Reserved,
        signal::{self, Set},
        wait,
    },
};
use linux_raw_sys::general as raw;

use crate::{NAME, apps::App, pod::Spawn, stamps::Stamps};

/// Its pid, or 0 if there is none.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// How far it is: [`WAITS`] when only the last step is left, [`GOES`] when that is due.
static GATE_NUMBER: AtomicU32 = AtomicU32::new(0);
const WAITS: u32 = 1;
const GOES: u32 = 2;

static STAGE: Reserved<Stage<Understudy>> = Reserved::new(Stage::new(Understudy(None, App::NONE)));

/// Its steps, and an app of which nothing is said.
struct Understudy(Option<Steps<'static>>, App);

/// Starts that of the plan's program, if it is the only one.
#[cold]
#[inline(never)]
pub(crate) fn start(plan: &Plan<'static>) {
    if let (Some(stage), None) = (STAGE.take(), plan.app(1)) {
        stage.part().0 = plan.app(0);
        NUMBER.store(clone::beside(stage), Relaxed);
    }
}

impl Part for Understudy {
    /// If it can't do something it ends: the release then does all anew, and tells why.
    #[cold]
    fn perform(&'static mut self) -> i32 {
        if let Some(steps) = self.0.take() {
            let mut spawn = Spawn {
                steps,
                program: Kind::Exec,
                apps: &[],
                app: &self.1,
                waits: true,
                passed: &[-1; 3],
                stamps: Stamps::NONE,
                first: 0,
                words: &mut [],
                failure: None,
            };
            if let (Err(error), GOES) = (spawn.become_program(), GATE_NUMBER.load(Relaxed)) {
                error.print(NAME, INIT_TEXTS);
            }
        }
        FAILURE
    }
}

/// Waits until it is to go on; false if its filter does not let it.
#[inline]
pub(crate) fn waits() -> bool {
    futex::wait(&GATE_NUMBER, WAITS)
}

/// Lets it go on, if it waits for that; returns its pid, or 0.
#[inline]
pub(crate) fn go() -> u32 {
    // Only read: most pods write nothing to this page.
    let pid = NUMBER.load(Relaxed);
    if pid == 0 {
        return 0;
    }
    // Its end may not be told yet.
    let is_there = matches!(wait::changed(false), Ok(None));
    if !is_there || GATE_NUMBER.load(Relaxed) != WAITS {
        dismiss();
        return 0;
    }
    NUMBER.store(0, Relaxed);
    GATE_NUMBER.store(GOES, Relaxed);
    futex::wake(&GATE_NUMBER);
    pid
}

/// Does without it: it is on its way still, or another plan is carried out than the one
/// that it knows. It is gone then, and counts in no limit.
#[cold]
#[inline(never)]
pub(crate) fn dismiss() {
    let pid = NUMBER.swap(0, Relaxed);
    if pid != 0 {
        let _ = signal::send(pid.cast_signed(), raw::SIGKILL);
        // Hardly anybody else is there: only who has come to the pod from outside.
        while let Ok(None) = wait::changed(false) {
            let _ = signal::wait(Set::only(raw::SIGCHLD), None);
        }
    }
}

/// A process has ended that is nobody's: maybe this one.
pub(crate) fn ended(pid: u32) {
    if NUMBER.load(Relaxed) == pid {
        NUMBER.store(0, Relaxed);
    }
}
