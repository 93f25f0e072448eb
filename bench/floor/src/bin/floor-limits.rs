//! floor-limits ROOTFS PROGRAM [ARG...]: floor-default in a cgroup of its own of
//! version 2, whose limits are written before it has a process. The directory above is
//! the harness's, with the controllers enabled.
#![no_std]
#![no_main]

use floor::{default, sys};

floor::main!(main);

const CGROUP: &core::ffi::CStr = c"/sys/fs/cgroup/kickstage-bench/floor";

unsafe fn main(arguments: sys::Vector, _: sys::Vector) -> i32 {
    sys::close_inherited();
    // SAFETY: the harness passes a root and a program.
    let code = unsafe { default::run(arguments, || Some(cgroup()), None) };
    // One that stays would be the next start's, which then has less to do.
    if sys::remove_directory(CGROUP) {
        code
    } else {
        126
    }
}

#[inline(always)]
fn cgroup() -> sys::Fd {
    sys::directory(sys::HERE, CGROUP, 0o755);
    let cgroup = sys::open(sys::HERE, CGROUP, sys::raw::O_DIRECTORY);
    for (file, value) in [
        (c"memory.max", c"67108864"),
        (c"cpu.max", c"100000 100000"),
        (c"pids.max", c"100"),
    ] {
        sys::write_into(cgroup, file, value);
    }
    cgroup
}
