//! floor-limits-v1 ROOTFS PROGRAM [ARG...]: floor-default in cgroups of its own of version
//! 1, whose limits are written before they have a process, and which its first process joins
//! by itself. The directories above are the harness's.
#![no_std]
#![no_main]

use core::ffi::CStr;

use floor::{default, sys};

floor::main!(main);

/// A directory, a limit in it, its value, and the file by which a thread joins.
type Cgroup = [&'static CStr; 4];

const CGROUPS: [Cgroup; 3] = [
    [
        c"/sys/fs/cgroup/memory/kickstage-bench/floor",
        c"/sys/fs/cgroup/memory/kickstage-bench/floor/memory.limit_in_bytes",
        c"67108864",
        c"/sys/fs/cgroup/memory/kickstage-bench/floor/tasks",
    ],
    [
        c"/sys/fs/cgroup/cpu/kickstage-bench/floor",
        c"/sys/fs/cgroup/cpu/kickstage-bench/floor/cpu.cfs_quota_us",
        c"100000",
        c"/sys/fs/cgroup/cpu/kickstage-bench/floor/tasks",
    ],
    [
        c"/sys/fs/cgroup/pids/kickstage-bench/floor",
        c"/sys/fs/cgroup/pids/kickstage-bench/floor/pids.max",
        c"100",
        c"/sys/fs/cgroup/pids/kickstage-bench/floor/tasks",
    ],
];

unsafe fn main(arguments: sys::Vector, _: sys::Vector) -> i32 {
    sys::close_inherited();
    // SAFETY: the harness passes a root and a program.
    let code = unsafe { default::run(arguments, cgroups, Some(join)) };
    for [path, ..] in CGROUPS {
        // One that stays would be the next start's, which then has less to do.
        if !sys::remove_directory(path) {
            return 126;
        }
    }
    code
}

#[inline(always)]
fn cgroups() -> Option<sys::Fd> {
    for [path, limit, value, _] in CGROUPS {
        sys::directory(sys::HERE, path, 0o755);
        sys::write_into(sys::HERE, limit, value);
    }
    None
}

fn join() {
    for [.., tasks] in CGROUPS {
        sys::write_into(sys::HERE, tasks, c"0");
    }
}
