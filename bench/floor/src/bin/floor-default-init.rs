//! floor-default-init PROGRAM [ARG...]: pid 1 of the default floor: reads its
//! plan, confines and starts the program, reaps, and exits with its code.
#![no_std]
#![no_main]

use core::ffi::c_void;

use floor::{confine, process, sealed, signals, sys};

floor::main!(main);

/// The launcher's first descriptor.
const PLAN: sys::Fd = 3;

/// What the child becomes.
struct Program {
    arguments: sys::Vector,
    environment: sys::Vector,
}

unsafe fn main(arguments: sys::Vector, environment: sys::Vector) -> i32 {
    signals::supervise();
    confine::hide_memory();
    sealed::read_plan(PLAN);
    let mut program = Program {
        // SAFETY: floor-default passes a name for us and a program.
        arguments: unsafe { arguments.add(1) },
        environment,
    };
    // SAFETY: `app` does not return and writes only to its own frames.
    let child = unsafe { process::vfork(0, None, app, (&raw mut program).cast()) };
    signals::wait_for_child();
    process::reap_until(child)
}

unsafe extern "C" fn app(program: *mut c_void) -> ! {
    sys::group();
    process::umask(0o022);
    confine::limit_capabilities();
    confine::no_new_privileges();
    signals::unblock();
    confine::load_filter();
    // SAFETY: `main` passes a `Program` and waits meanwhile.
    unsafe {
        let Program {
            arguments,
            environment,
        } = program.cast::<Program>().read();
        process::exec(*arguments, arguments, environment);
    }
    sys::exit(127)
}
