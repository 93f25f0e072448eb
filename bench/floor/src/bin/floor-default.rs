//! floor-default ROOTFS PROGRAM [ARG...]: the system calls of the default plan
//! of `stage0 run`, by hand: pid 1 and its plan in a sealed copy, masked and
//! read-only paths, a limited bounding set, and everything
//! that floor-pod does.
#![no_std]
#![no_main]

use core::ffi::c_void;

use floor::{
    confine, mounts, process, sealed, signals,
    sys::{self, raw},
};

floor::main!(main);

/// What the child needs.
struct Pod {
    arguments: sys::Vector,
    init: sys::Fd,
    /// The kernel writes 0 here when the launcher dies.
    launcher: u32,
}

const NAMESPACES: u32 =
    raw::CLONE_NEWNS | raw::CLONE_NEWPID | raw::CLONE_NEWIPC | raw::CLONE_NEWUTS;

unsafe fn main(arguments: sys::Vector, _: sys::Vector) -> i32 {
    sys::close_inherited();
    signals::supervise();
    let mut pod = Pod {
        arguments,
        // SAFETY: the program's own name is the first argument.
        init: unsafe { sealed::program(*arguments) },
        launcher: 1,
    };
    sys::no_terminal();
    confine::tell_death_to(&raw mut pod.launcher);
    let mut pidfd = -1;
    // SAFETY: `set_up` does not return and writes only to its own frames.
    unsafe { process::vfork(NAMESPACES, Some(&mut pidfd), set_up, (&raw mut pod).cast()) };
    confine::tell_death_to(core::ptr::null_mut());
    signals::wait_for_child();
    process::wait(pidfd)
}

unsafe extern "C" fn set_up(pod: *mut c_void) -> ! {
    // SAFETY: `main` passes a `Pod` and waits meanwhile; the harness passes a
    // root and a program.
    let (pod, rootfs, launcher) = unsafe {
        let launcher = &raw const (*pod.cast::<Pod>()).launcher;
        let pod: Pod = pod.cast::<Pod>().read();
        let rootfs = *pod.arguments.add(1);
        (pod, rootfs, launcher)
    };
    // SAFETY: as above.
    unsafe { confine::die_with(launcher) };
    sys::group();
    sys::make_private();
    process::umask(0);
    // SAFETY: the path is the program's argument.
    let root = unsafe { mounts::root(rootfs) };
    let dev = mounts::dev(root);
    mounts::kernel(root, dev);
    mounts::below_dev(dev);
    sys::hostname(c"pod-01234567");
    sys::fchdir(root);
    sys::pivot_here();
    confine::limit_bounding_set();
    sealed::keep(pod.init);
    let environment = process::environment();
    // SAFETY: the arguments from ROOTFS on (its place is pid 1's own name).
    unsafe { process::exec_descriptor(pod.init, pod.arguments.add(1), environment.as_ptr()) };
    sys::exit(127)
}
