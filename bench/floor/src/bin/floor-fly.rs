//! floor-fly ROOTFS PROGRAM [ARG...]: what `fly ROOTFS PROGRAM` does, in system
//! calls: a private mount namespace, the host's /dev, /proc and /sys, chroot,
//! exec.
#![no_std]
#![no_main]

use floor::{
    process,
    sys::{self, raw},
};

floor::main!(main);

/// # Safety
/// The kernel's argument block.
unsafe fn main(arguments: sys::Vector, environment: sys::Vector) -> i32 {
    sys::close_inherited();
    sys::unshare(raw::CLONE_NEWNS);
    sys::make_private();
    // SAFETY: the harness passes a root and a program.
    let (rootfs, program) = unsafe { (*arguments.add(1), *arguments.add(2)) };
    sys::chdir(rootfs);
    for (source, target) in [(c"/dev", c"dev"), (c"/proc", c"proc"), (c"/sys", c"sys")] {
        sys::mount(source, target, c"", raw::MS_BIND | raw::MS_REC, None);
    }
    // The working directory is the new root then: no chdir is needed.
    sys::chroot_here();
    // SAFETY: what the kernel gave us.
    unsafe { process::exec(program, arguments.add(2), environment) };
    127
}
