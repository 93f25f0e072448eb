//! floor-binds [--ro-bind SRC DST]... ROOTFS PROGRAM [ARG...]: what `fly` with these
//! options does, in system calls: the same as floor-fly, and for each bind a
//! clone, a walk inside the root, a look, and a move.
#![no_std]
#![no_main]

use core::ffi::CStr;

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
    let mut rest = arguments;
    // SAFETY: the harness passes three words an option, then a root and a program;
    // an option begins with a dash, and the root does not.
    let (rootfs, program) = unsafe {
        rest = rest.add(1);
        while **rest == b'-' {
            rest = rest.add(3);
        }
        (*rest, *rest.add(1))
    };
    // SAFETY: C strings of the argument block.
    let root = unsafe { sys::open(sys::HERE, CStr::from_ptr(rootfs.cast()), raw::O_PATH) };
    for (source, target) in [(c"/dev", c"dev"), (c"/proc", c"proc"), (c"/sys", c"sys")] {
        let tree = sys::open_tree_attr(sys::HERE, source, raw::AT_RECURSIVE, 0);
        sys::attach(tree, root, target);
        sys::close(tree);
    }
    let mut options = arguments;
    // SAFETY: as above; `rest` is where they end.
    unsafe {
        options = options.add(1);
        while options != rest {
            let (source, target) = (*options.add(1), *options.add(2));
            bind(root, source, CStr::from_ptr(target.cast()));
            options = options.add(3);
        }
    }
    sys::fchdir(root);
    sys::chroot_here();
    // SAFETY: what the kernel gave us.
    unsafe { process::exec(program, rest.add(1), environment) };
    127
}

/// # Safety
/// `source` is a C string.
#[inline(always)]
unsafe fn bind(root: sys::Fd, source: *const u8, target: &CStr) {
    const ATTRIBUTES: u32 = raw::MOUNT_ATTR_RDONLY | raw::MOUNT_ATTR_NOSUID | raw::MOUNT_ATTR_NODEV;
    // SAFETY: the caller's promise.
    let tree = unsafe { sys::open_root(source, ATTRIBUTES) };
    let place = sys::open_inside(root, target);
    let _ = sys::size_of_file(place);
    sys::attach_at(tree, place);
    sys::close(place);
    sys::close(tree);
}
