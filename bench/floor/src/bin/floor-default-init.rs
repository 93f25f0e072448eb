//! floor-default-init PROGRAM [ARG...]: pid 1 of the default floor: reads its
//! plan, confines and starts the program, reaps, and exits with its code.
#![no_std]
#![no_main]

use core::ffi::c_void;

use floor::{init, process, signals, sys};

floor::main!(main);

/// The launcher's first descriptor.
const PLAN: sys::Fd = 3;

unsafe fn main(arguments: sys::Vector, environment: sys::Vector) -> i32 {
    // SAFETY: floor-default passes a name for us and a program; `app` does not return and
    // writes only to its own frames.
    let child = unsafe {
        let mut program = init::Program::read(PLAN, arguments, environment);
        process::vfork(0, None, app, (&raw mut program).cast())
    };
    signals::wait_for_child();
    process::reap_until(child)
}

unsafe extern "C" fn app(program: *mut c_void) -> ! {
    init::confine();
    // SAFETY: `main` passes a `Program` and waits meanwhile.
    unsafe { init::exec(program) }
}
