//! The default pod: what floor-default makes, and floor-limits in a cgroup.

use core::ffi::{CStr, c_void};

use crate::{
    confine, mounts, process, sealed, signals,
    sys::{self, Fd, raw},
};

/// What the child needs.
struct Pod {
    arguments: sys::Vector,
    init: sys::Fd,
    /// The kernel writes 0 here when the launcher dies.
    launcher: u32,
    /// Joins cgroups of version 1.
    join: Option<fn()>,
}

const NAMESPACES: u32 = raw::CLONE_NEWNS
    | raw::CLONE_NEWPID
    | raw::CLONE_NEWIPC
    | raw::CLONE_NEWUTS
    | raw::CLONE_NEWCGROUP;

/// Starts the pod that `arguments` name, if `cgroup` makes one in that cgroup (of version
/// 2), and waits for its end; returns its exit code. With `join` its first process does
/// that before all else, and its cgroup namespace comes behind that.
///
/// # Safety
/// The arguments of a floor: its name, a root, a program and its arguments.
#[inline(always)]
pub unsafe fn run(
    arguments: sys::Vector,
    cgroup: impl FnOnce() -> Option<Fd>,
    join: Option<fn()>,
) -> i32 {
    signals::supervise();
    let mut pod = Pod {
        arguments,
        // SAFETY: the program's own name is the first argument.
        init: unsafe { sealed::program(*arguments, c"floor-default-init") },
        launcher: 1,
        join,
    };
    confine::tell_death_to(&raw mut pod.launcher);
    // SAFETY: the caller's promise.
    let pidfd = unsafe { start(&mut pod, cgroup, set_up::<false>) };
    confine::tell_death_to(core::ptr::null_mut());
    signals::wait_for_child();
    process::wait(pidfd)
}

/// Starts the pod that `arguments` name with `init` as its pid 1, and leaves it alone.
///
/// # Safety
/// As [`run`].
#[inline(always)]
pub unsafe fn park(arguments: sys::Vector, own: *const u8, init: &CStr) {
    let mut pod = Pod {
        arguments,
        // SAFETY: the program's own name, as the caller promises.
        init: unsafe { sealed::program(own, init) },
        launcher: 1,
        join: None,
    };
    // SAFETY: the caller's promise.
    unsafe { start(&mut pod, || None, set_up::<true>) };
}

/// The pidfd of the pod's first process, which `set_up` makes of it.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn start(
    pod: &mut Pod,
    cgroup: impl FnOnce() -> Option<Fd>,
    set_up: unsafe extern "C" fn(*mut c_void) -> !,
) -> Fd {
    let namespaces = match pod.join {
        Some(_) => NAMESPACES & !raw::CLONE_NEWCGROUP,
        None => NAMESPACES,
    };
    sys::no_terminal();
    let mut pidfd = -1;
    // SAFETY: `set_up` does not return and writes only to its own frames.
    unsafe {
        process::vfork_into(
            namespaces,
            Some(&mut pidfd),
            cgroup(),
            set_up,
            core::ptr::from_mut(pod).cast(),
        )
    };
    pidfd
}

/// The first process of a pod; with `STAYS` it outlives its launcher.
unsafe extern "C" fn set_up<const STAYS: bool>(pod: *mut c_void) -> ! {
    // SAFETY: `main` passes a `Pod` and waits meanwhile; the harness passes a
    // root and a program.
    let (pod, rootfs, launcher) = unsafe {
        let launcher = &raw const (*pod.cast::<Pod>()).launcher;
        let pod: Pod = pod.cast::<Pod>().read();
        let rootfs = *pod.arguments.add(1);
        (pod, rootfs, launcher)
    };
    if let Some(join) = pod.join {
        join();
        sys::unshare(raw::CLONE_NEWCGROUP);
    }
    if !STAYS {
        // SAFETY: as above.
        unsafe { confine::die_with(launcher) };
    }
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
