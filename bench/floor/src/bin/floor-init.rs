//! floor-init PROGRAM [ARG...]: pid 1 of the bare floor: starts the program,
//! reaps, and exits with the program's code.
#![no_std]
#![no_main]

use core::ffi::c_void;

use floor::{process, sys};

floor::main!(main);

/// What the child becomes.
struct Program {
    arguments: sys::Vector,
    environment: sys::Vector,
}

unsafe fn main(arguments: sys::Vector, environment: sys::Vector) -> i32 {
    let mut program = Program {
        // SAFETY: floor-pod passes a name for us and a program.
        arguments: unsafe { arguments.add(1) },
        environment,
    };
    // SAFETY: `app` does not return and writes nothing.
    process::reap_until(unsafe { process::vfork(0, None, app, (&raw mut program).cast()) })
}

unsafe extern "C" fn app(program: *mut c_void) -> ! {
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
