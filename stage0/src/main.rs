//! The program.
#![no_std]
#![no_main]

use fly::sys::entry::Start;

fly::entry!(main, bytes = 4096, words = 64);

fn main(_: Start) -> i32 {
    0
}
