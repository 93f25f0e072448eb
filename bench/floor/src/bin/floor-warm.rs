//! floor-warm DIR ROOTFS PROGRAM [ARG...]: floor-default, parked: its pid 1 has made the
//! program's process, which waits at the socket DIR/gate before its exec.
#![no_std]
#![no_main]

use floor::{default, gate, sys};

floor::main!(main);

unsafe fn main(arguments: sys::Vector, _: sys::Vector) -> i32 {
    sys::close_inherited();
    // SAFETY: the harness passes absolute paths and a program; pid 1 finds the socket as the
    // first descriptor.
    unsafe {
        sys::chdir(*arguments.add(1));
        if !gate::make() {
            return 126;
        }
        default::park(arguments.add(1), *arguments, c"floor-warm-init");
    }
    0
}
