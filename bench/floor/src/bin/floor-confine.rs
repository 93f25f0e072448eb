//! floor-confine ROOTFS PROGRAM [ARG...]: what `fly --confine ROOTFS PROGRAM` does,
//! in system calls: a private mount namespace, a /dev of its own, the host's /proc
//! and a /sys, read-only and masked, pivot, 13 capabilities, a filter, exec.
#![no_std]
#![no_main]

use floor::{
    confine, mounts, process,
    sys::{self, raw},
};

floor::main!(main);

/// # Safety
/// The kernel's argument block.
unsafe fn main(arguments: sys::Vector, environment: sys::Vector) -> i32 {
    sys::close_inherited();
    sys::unshare(raw::CLONE_NEWNS);
    sys::make_private();
    process::umask(0);
    // SAFETY: the harness passes a root and a program.
    let (rootfs, program) = unsafe { (*arguments.add(1), *arguments.add(2)) };
    // SAFETY: as above.
    let root = unsafe { mounts::root(rootfs) };
    let dev = mounts::dev(root);
    mounts::kernel_of_host(root, dev);
    mounts::below_dev(dev);
    sys::fchdir(root);
    sys::pivot_here();
    process::umask(0o022);
    confine::limit_bounding_set();
    confine::limit_capabilities();
    confine::no_new_privileges();
    confine::load_filter();
    // SAFETY: what the kernel gave us.
    unsafe { process::exec(program, arguments.add(2), environment) };
    127
}
