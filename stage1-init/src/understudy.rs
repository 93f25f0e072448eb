//! The understudy of a parked pod's only program: a process that has done all of its steps
//! but the last one, so that a release has no more to do than to let it go on.
//!
//! It shares pid 1's memory until then, as what is about to be a program always does, and
//! its descriptors. What it waits for is the release itself, at the gate: a second socket in
//! the pod's directory. It looks at the message there, and leaves it to pid 1, which hears of
//! it at the same time, and does the same as without it, but for the start.

use core::{
    ffi::CStr,
    sync::atomic::{AtomicI32, AtomicU32, Ordering::Relaxed},
};

use fly::{
    error::{FAILURE, INIT_TEXTS},
    plan::{Kind, Plan, Steps},
    sys::{
        clone::{self, Part, Stage},
        descriptor,
        message::{self, MOST},
        reserved::Reserved,
        signal::{self, Set},
        wait,
    },
};
use linux_raw_sys::general as raw;

use crate::{
    NAME,
    apps::App,
    control::{self, protocol},
    pod::Spawn,
    stamps::Stamps,
    stdio,
};

/// The name of the socket.
pub const GATE: &CStr = c"gate";

/// The socket, inverted: 0 if there is none.
static GATE_NUMBER: AtomicI32 = AtomicI32::new(0);

/// Its pid, or 0 if there is none; with [`TAKEN`] when it is the app's.
static NUMBER: AtomicU32 = AtomicU32::new(0);
const TAKEN: u32 = 1 << 31;

/// How far it is: [`WAITS`] when only the last step is left, [`GOES`] when that is due;
/// [`CLOSED`] when it comes too late.
static STATE: AtomicU32 = AtomicU32::new(0);
const CLOSED: u32 = 1;
const WAITS: u32 = 2;
const GOES: u32 = 3;

static STAGE: Reserved<Stage<Understudy>> = Reserved::new(Stage::new(Understudy(None, App::NONE)));

/// Its steps, and an app of which nothing is said.
struct Understudy(Option<Steps<'static>>, App);

/// Starts that of the plan's program, if it is the only one.
#[cold]
#[inline(never)]
pub(crate) fn start(plan: &Plan<'static>, directory: i32) {
    if let (Some(stage), None) = (STAGE.take(), plan.app(1))
        && let Ok(gate) = control::make(directory, GATE)
    {
        GATE_NUMBER.store(!gate, Relaxed);
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
            if let (Err(error), GOES) = (spawn.become_program(), STATE.load(Relaxed)) {
                error.print(NAME, INIT_TEXTS);
            }
        }
        FAILURE
    }
}

/// Waits until it is released, and takes the standard streams; false if it can't, or comes
/// too late.
#[inline]
pub(crate) fn waits() -> bool {
    if STATE.compare_exchange(0, WAITS, Relaxed, Relaxed).is_err() {
        return false;
    }
    let mut bytes = [0; 8];
    let mut descriptors = [-1; MOST];
    // What keeps it from waiting keeps it from being here: it ends.
    let _ = message::receive_by(gate(), &mut bytes, &mut descriptors, message::PEEK);
    let [_, streams @ .., plan] = &descriptors;
    // With a plan the program may be another one.
    let goes = *plan < 0 && bytes == protocol::PLAIN && stdio::take(streams).is_ok();
    stdio::close_all(&mut descriptors);
    // Its end is the program's from here on.
    if goes {
        STATE.store(GOES, Relaxed);
    }
    goes
}

/// Where it waits; or -1.
#[inline]
pub(crate) fn gate() -> i32 {
    !GATE_NUMBER.load(Relaxed)
}

/// Closes the gate, with what is left there, unless somebody still waits, or is about to
/// look: then it returns false.
#[cold]
#[inline(never)]
pub(crate) fn close_gate() -> bool {
    let gate = gate();
    if gate >= 0 {
        if STATE.load(Relaxed) == WAITS {
            return false;
        }
        let _ = descriptor::close(gate);
        GATE_NUMBER.store(0, Relaxed);
    }
    true
}

/// Takes the message that is left at the gate. While a socket is on its way, as the releaser's
/// is, each one that is closed on the machine makes the kernel look for circles of them
/// (unix_gc of net/unix/garbage.c), also those of the releaser itself.
#[cold]
pub(crate) fn empty_gate() {
    let gate = gate();
    if gate >= 0 {
        let _ = message::receive(gate, &mut []);
    }
}

/// Its pid, if it is about to go on by itself; or 0.
#[inline]
pub(crate) fn go() -> u32 {
    // Only read: most pods write nothing to this page.
    let pid = NUMBER.load(Relaxed);
    if pid == 0 || pid >= TAKEN {
        return 0;
    }
    if STATE.compare_exchange(0, CLOSED, Relaxed, Relaxed).is_ok() {
        dismiss();
        return 0;
    }
    NUMBER.store(pid | TAKEN, Relaxed);
    pid
}

/// Does without it: it is on its way still, or another plan is carried out than the one
/// that it knows. It is gone then, and counts in no limit.
#[cold]
#[inline(never)]
pub(crate) fn dismiss() {
    // Only read where there is none, as above.
    let pid = NUMBER.load(Relaxed).cast_signed();
    if pid != 0 {
        NUMBER.store(0, Relaxed);
    }
    if pid > 0 {
        STATE.store(CLOSED, Relaxed);
        let _ = signal::send(pid, raw::SIGKILL);
        // Hardly anybody else is there: only who has come to the pod from outside.
        while let Ok(None) = wait::changed(false) {
            let _ = signal::wait(Set::only(raw::SIGCHLD), None);
        }
    }
}

/// A process has ended: whether it was this one, before it could go.
pub(crate) fn ended(pid: u32) -> bool {
    if NUMBER.load(Relaxed) & !TAKEN != pid {
        return false;
    }
    NUMBER.store(0, Relaxed);
    STATE.swap(CLOSED, Relaxed) != GOES
}
