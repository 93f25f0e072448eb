//! stage1-init: the static pid 1 of a pod, a container or a machine.
//!
//! It starts the apps of a plan, collects every process that ends, passes
//! signals on, stops what is left when an app fails, and exits with the pod's
//! code. No heap, no panic machinery, no idle wake-ups: between events it
//! sleeps in one system call.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod apps;
pub mod container;
pub mod control;
pub mod events;
mod log_file;
mod logs;
pub mod machine;
mod namespace;
pub mod pod;
mod ready;
mod report;
pub use report::LOCK;
mod role;
mod stamps;
mod stdio;
pub mod supervise;
mod understudy;
pub use understudy::GATE;

use fly::{
    error::{Advice, Error, FAILURE, INIT_TEXTS, MACHINE_TEXTS, What, Why},
    launch::{self, PLAN_DESCRIPTOR},
    sys::{
        descriptor::close_on_exec,
        entry::{Start, Strings},
    },
    text::decimal,
};
use rustix::{fs, io::Errno};

/// The program's name in messages.
pub const NAME: &str = "stage1-init";

/// Bytes of scratch memory that [`run`] needs: the largest plan.
pub const BYTES: usize = fly::plan::MAX_BYTES;
/// Words of scratch memory that [`run`] needs: exec's pointers.
pub const WORDS: usize = fly::plan::MAX_STRINGS + 2;

/// What the program does: finds out which role it was given, and plays it.
/// Returns the exit code.
#[allow(clippy::needless_pass_by_value, reason = "`fly::entry!` hands it over")]
pub fn run(start: Start) -> i32 {
    let called = start.arguments.get(0).unwrap_or_default();
    let role = role::role(called);
    let plan = number(&start.environment, "STAGE1_PLAN_FD");
    let (None, Some(descriptor)) = (role, plan) else {
        if is_pods() {
            let error = Error::new(What::Exec, called, Errno::LOOP);
            error.advice(Advice::MagicProgram).print(NAME, INIT_TEXTS);
            return FAILURE;
        }
        return container::run(role, start);
    };
    run_pod(descriptor, start)
}

/// Whether this is the sealed copy that is pid 1 of a pod, which a program of the pod
/// has named as its interpreter, by a magic link of /proc: it would start the program
/// again, and that it.
fn is_pods() -> bool {
    let mut name = [0; 19];
    let length = fs::readlinkat_raw(fs::CWD, c"/proc/self/exe", &mut name[..]);
    length.is_ok() && name == *b"/memfd:stage1-init "
}

/// What `stage1-machine` does, the init of a machine: a program of its own, since
/// neither a pod nor a container is to hold it. Returns only if it is not called
/// as that.
#[allow(clippy::needless_pass_by_value, reason = "see `run`")]
pub fn run_machine(start: Start) -> i32 {
    let called = start.arguments.get(0).unwrap_or_default();
    if role::base(called) == b"init" && machine::is_first() {
        let stamps = stamps::Stamps::new(&start.environment, start.cycles);
        return machine::run(stamps, start);
    }
    Error::new(What::Start, c"a machine", Why::NotFirst).print(NAME, MACHINE_TEXTS);
    FAILURE
}

/// By itself, as it has much on the stack: the init of a container would have a
/// page of it to fault in for nothing.
#[inline(never)]
#[allow(clippy::needless_pass_by_value, reason = "see `run`")]
fn run_pod(descriptor: i32, start: Start) -> i32 {
    let stamps = stamps::Stamps::new(&start.environment, start.cycles);
    launch::block_signals();
    let offset = start
        .environment
        .value("STAGE1_PLAN_OFFSET")
        .and_then(decimal)
        .unwrap_or(0);
    let source = pod::Source {
        plan: descriptor,
        offset: usize::try_from(offset).unwrap_or(usize::MAX),
        directory: inherited(&start.environment, "STAGE1_POD_FD"),
        held: start.environment.value("STAGE1_HOLD").is_some(),
    };
    pod::run(source, stamps, start.bytes, start.words)
}

/// The descriptor that an environment variable names, which no app may inherit; or -1.
#[inline(never)]
fn inherited(environment: &Strings, name: &str) -> i32 {
    match number(environment, name) {
        Some(number) if close_on_exec(number).is_ok() => number,
        _ => -1,
    }
}

/// The descriptor that an environment variable names.
fn number(environment: &Strings, name: &str) -> Option<i32> {
    let number = decimal(environment.value(name)?)?;
    i32::try_from(number)
        .ok()
        .filter(|number| *number >= PLAN_DESCRIPTOR)
}
