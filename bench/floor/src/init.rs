//! Pid 1 of a floor, and the process that it makes the program of.

use core::ffi::c_void;

use crate::{
    confine, process, sealed, signals,
    sys::{self, Fd, Vector},
};

/// What the child becomes.
pub struct Program {
    arguments: Vector,
    environment: Vector,
}

impl Program {
    /// What stands behind pid 1's own name.
    ///
    /// # Safety
    /// The arguments and the environment that the kernel has laid out, a program among them.
    #[inline(always)]
    #[must_use]
    pub unsafe fn of(arguments: Vector, environment: Vector) -> Self {
        Self {
            // SAFETY: the caller's promise.
            arguments: unsafe { arguments.add(1) },
            environment,
        }
    }

    /// The same, behind what pid 1 does first: it reads its plan, which its launcher has opened
    /// as `plan`.
    ///
    /// # Safety
    /// As [`Self::of`].
    #[inline(always)]
    #[must_use]
    pub unsafe fn read(plan: Fd, arguments: Vector, environment: Vector) -> Self {
        signals::supervise();
        confine::hide_memory();
        sealed::read_plan(plan);
        // SAFETY: the caller's promise.
        unsafe { Self::of(arguments, environment) }
    }
}

/// What the child does to itself.
#[inline(always)]
pub fn confine() {
    sys::group();
    process::umask(0o022);
    confine::limit_capabilities();
    confine::no_new_privileges();
    signals::unblock();
    confine::load_filter();
}

/// Becomes the program.
///
/// # Safety
/// A [`Program`], which nobody changes meanwhile.
#[inline(always)]
pub unsafe fn exec(program: *mut c_void) -> ! {
    // SAFETY: the caller's promise.
    unsafe {
        let Program {
            arguments,
            environment,
        } = program.cast::<Program>().read();
        process::exec(*arguments, arguments, environment);
    }
    sys::exit(127)
}
