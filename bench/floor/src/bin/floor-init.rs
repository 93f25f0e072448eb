//! floor-init PROGRAM [ARG...]: pid 1 of the bare floor: starts the program,
//! reaps, and exits with the program's code.
#![no_std]
#![no_main]

use core::ffi::c_void;

use floor::{init, process, sys};

floor::main!(main);

unsafe fn main(arguments: sys::Vector, environment: sys::Vector) -> i32 {
    // SAFETY: floor-pod passes a name for us and a program; `app` does not return and writes
    // nothing.
    unsafe {
        let mut program = init::Program::of(arguments, environment);
        process::reap_until(process::vfork(0, None, app, (&raw mut program).cast()))
    }
}

unsafe extern "C" fn app(program: *mut c_void) -> ! {
    // SAFETY: `main` passes a `Program` and waits meanwhile.
    unsafe { init::exec(program) }
}
