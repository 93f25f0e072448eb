//! floor-default ROOTFS PROGRAM [ARG...]: the system calls of the default plan
//! of `stage0 run`, by hand: pid 1 and its plan in a sealed copy, masked and
//! read-only paths, a limited bounding set, and everything
//! that floor-pod does.
#![no_std]
#![no_main]

use floor::{default, sys};

floor::main!(main);

unsafe fn main(arguments: sys::Vector, _: sys::Vector) -> i32 {
    sys::close_inherited();
    // SAFETY: the harness passes a root and a program.
    unsafe { default::run(arguments, || None, None) }
}
