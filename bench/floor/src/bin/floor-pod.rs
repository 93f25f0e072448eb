//! floor-pod ROOTFS PROGRAM [ARG...]: an isolated start and nothing else: new
//! pid, mount, ipc and uts namespaces, a root with /proc, /sys (read-only) and
//! a /dev of its own, pivot, a pid 1, the program, its exit code.
#![no_std]
#![no_main]

use core::ffi::c_void;

use floor::{
    mounts, process,
    sys::{self, raw},
};

floor::main!(main);

/// What the child needs.
struct Pod {
    arguments: sys::Vector,
    init: sys::Fd,
}

const NAMESPACES: u32 =
    raw::CLONE_NEWNS | raw::CLONE_NEWPID | raw::CLONE_NEWIPC | raw::CLONE_NEWUTS;

unsafe fn main(arguments: sys::Vector, _: sys::Vector) -> i32 {
    sys::close_inherited();
    let mut pod = Pod {
        arguments,
        // SAFETY: the program's own name is the first argument.
        init: unsafe { sys::open_beside(*arguments, c"floor-init") },
    };
    let mut pidfd = -1;
    // SAFETY: `set_up` does not return and writes only to its own frames.
    unsafe { process::vfork(NAMESPACES, Some(&mut pidfd), set_up, (&raw mut pod).cast()) };
    process::wait(pidfd)
}

unsafe extern "C" fn set_up(pod: *mut c_void) -> ! {
    // SAFETY: `main` passes a `Pod` and waits meanwhile; the harness passes a
    // root and a program.
    let (Pod { arguments, init }, rootfs) = unsafe {
        let pod: Pod = pod.cast::<Pod>().read();
        let rootfs = *pod.arguments.add(1);
        (pod, rootfs)
    };
    sys::group();
    process::umask(0);
    sys::make_private();
    // SAFETY: the path is the program's argument.
    unsafe { sys::bind_and_enter(rootfs) };
    let quiet = raw::MS_NOSUID | raw::MS_NODEV | raw::MS_NOEXEC;
    sys::mount(c"proc", c"proc", c"proc", quiet, None);
    sys::mount(c"sysfs", c"sys", c"sysfs", quiet | raw::MS_RDONLY, None);
    dev();
    sys::pivot_here();
    sys::hostname(c"pod");
    process::umask(0o022);
    let environment = process::environment();
    // SAFETY: the arguments from ROOTFS on (its place is pid 1's own name).
    unsafe { process::exec_descriptor(init, arguments.add(1), environment.as_ptr()) };
    sys::exit(127)
}

/// /dev from scratch, with the root as working directory.
#[inline(always)]
fn dev() {
    let careful = raw::MS_NOSUID | raw::MS_NOEXEC;
    sys::mount(c"tmpfs", c"dev", c"tmpfs", careful, Some(c"mode=755"));
    let dev = sys::open(sys::HERE, c"dev", raw::O_PATH | raw::O_DIRECTORY);
    mounts::nodes(dev);
    sys::mount(
        c"devpts",
        c"dev/pts",
        c"devpts",
        careful,
        Some(c"mode=620,gid=5,ptmxmode=666"),
    );
    // A directory of the same tmpfs, mounted by itself: a second file system
    // would cost more than both calls, and again at the end.
    let quiet = raw::MOUNT_ATTR_NOSUID | raw::MOUNT_ATTR_NODEV | raw::MOUNT_ATTR_NOEXEC;
    sys::attach(sys::open_tree_attr(dev, c"shm", 0, quiet), dev, c"shm");
}
