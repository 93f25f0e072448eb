//! Faults: system calls that fail as on an older kernel or under a filter.

use std::{io, sync::Arc};

use crate::sys;

/// open_tree_attr(2), Linux 6.15; not in libc.
pub const SYS_OPEN_TREE_ATTR: i64 = 467;

/// The calls that a start can do without, each with its name.
pub const MODERN: &[(&str, i64)] = &[
    ("open_tree_attr", SYS_OPEN_TREE_ATTR),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("close_range", libc::SYS_close_range),
    ("openat2", libc::SYS_openat2),
    ("clone3", libc::SYS_clone3),
];

/// A hook that makes each of `calls` fail with `errno` in the program that is
/// started and in all of its children.
pub fn failing(
    calls: &[i64],
    errno: i32,
) -> impl FnMut() -> io::Result<()> + Send + Sync + 'static {
    let program: Arc<[libc::sock_filter]> = filter(calls, errno).into();
    move || sys::load_filter(&program)
}

/// Loads the call's number, compares it with each, returns the verdict
/// (seccomp(2)). The architecture is ours: nothing here runs 32-bit programs.
fn filter(calls: &[i64], errno: i32) -> Vec<libc::sock_filter> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let code = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![code(LOAD, 0, 0, 0)];
    for call in calls {
        let call = u32::try_from(*call).expect("a system call's number");
        program.push(code(EQUAL, call, 0, 1));
        let errno = u32::try_from(errno).expect("an errno") & libc::SECCOMP_RET_DATA;
        program.push(code(RETURN, libc::SECCOMP_RET_ERRNO | errno, 0, 0));
    }
    program.push(code(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    program
}
