//! floor-release PREPARED RUN GARBAGE: lets a pod go that `floor-warm` has parked, with what
//! the states of a pod ask for: its directory is locked and moved from PREPARED to RUN; a
//! message with three streams, and the answer; moved to GARBAGE, and removed.
#![no_std]
#![no_main]

use floor::{gate, sys};

floor::main!(main);

/// What the directory of a parked pod has beside the gate.
const FILES: [&core::ffi::CStr; 4] = [c"control", c"pid", c"plan", c"lock"];

unsafe fn main(arguments: sys::Vector, _: sys::Vector) -> i32 {
    // SAFETY: the harness passes three paths of one file system.
    unsafe {
        let [prepared, run, garbage] = [1, 2, 3].map(|index| *arguments.add(index));
        sys::chdir(prepared);
        sys::lock(sys::open(sys::HERE, c"lock", sys::raw::O_RDWR));
        sys::rename(prepared, run);
        let answer = gate::release();
        sys::unlink(gate::GATE);
        let code = gate::code(answer);
        sys::rename(run, garbage);
        for file in FILES {
            sys::unlink(file);
        }
        if sys::remove_directory(c"status") && sys::remove_directory_at(garbage) {
            code
        } else {
            126
        }
    }
}
