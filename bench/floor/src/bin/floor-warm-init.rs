//! floor-warm-init PROGRAM [ARG...]: pid 1 of a parked floor: it makes the program's process,
//! which waits at the gate, all but its exec behind it; answers with its exit code.
#![no_std]
#![no_main]

use core::ffi::c_void;

use floor::{gate, init, process, signals, sys};

floor::main!(main);

/// The launcher's first two descriptors.
const GATE: sys::Fd = 3;
const PLAN: sys::Fd = 4;

unsafe fn main(arguments: sys::Vector, environment: sys::Vector) -> i32 {
    let mut stack = [0_u128; 256];
    // SAFETY: floor-warm passes a name for us and a program.
    let mut program = unsafe { init::Program::read(PLAN, arguments, environment) };
    // SAFETY: `app` does not return; this frame lives for longer.
    let child = unsafe { process::beside(&mut stack, app, (&raw mut program).cast()) };
    signals::wait_for_child();
    let code = process::reap_until(child);
    gate::answer(GATE, code);
    // The end of the pod must not keep the processor from who waits for the answer.
    process::no_hurry();
    0
}

unsafe extern "C" fn app(program: *mut c_void) -> ! {
    init::confine();
    let Some(streams) = gate::wait(GATE) else {
        sys::exit(127)
    };
    for (place, stream) in (0..).zip(streams) {
        sys::place(stream, place);
    }
    // SAFETY: `main` passes a `Program` and does not return before this has ended.
    unsafe { init::exec(program) }
}
