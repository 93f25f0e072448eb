//! noop: exits at once. The payload of the harness: what remains of a start is
//! the start.
#![no_std]
#![no_main]

use floor::sys;

floor::main!(main);

unsafe fn main(_: sys::Vector, _: sys::Vector) -> i32 {
    0
}
