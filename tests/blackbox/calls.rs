//! Each system call of a start fails in turn, whatever it is.

use std::fs;

use kickstage_tests::{
    TestResult,
    fault::{SYS_OPEN_TREE_ATTR, failing},
    roots, tests,
};

use crate::faults::pods;

tests![every_call_refused, every_call_out_of_memory];

/// The calls of a start that may fail. Not in the list: execve, by which the
/// launcher itself is started; write, by which it complains; and those that
/// can't fail, such as rt_sigprocmask and umask.
const CALLS: &[(&str, i64)] = &[
    ("access", libc::SYS_access),
    ("arch_prctl", libc::SYS_arch_prctl),
    ("capset", libc::SYS_capset),
    ("chdir", libc::SYS_chdir),
    ("chroot", libc::SYS_chroot),
    ("clone", libc::SYS_clone),
    ("clone3", libc::SYS_clone3),
    ("close_range", libc::SYS_close_range),
    ("dup2", libc::SYS_dup2),
    ("dup3", libc::SYS_dup3),
    ("execveat", libc::SYS_execveat),
    ("faccessat", libc::SYS_faccessat),
    ("fchdir", libc::SYS_fchdir),
    ("fchmod", libc::SYS_fchmod),
    ("fchmodat", libc::SYS_fchmodat),
    ("fcntl", libc::SYS_fcntl),
    ("flock", libc::SYS_flock),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fsopen", libc::SYS_fsopen),
    ("fstat", libc::SYS_fstat),
    ("ftruncate", libc::SYS_ftruncate),
    ("ioctl", libc::SYS_ioctl),
    ("kill", libc::SYS_kill),
    ("memfd_create", libc::SYS_memfd_create),
    ("mkdirat", libc::SYS_mkdirat),
    ("mknodat", libc::SYS_mknodat),
    ("mmap", libc::SYS_mmap),
    ("mount", libc::SYS_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("move_mount", libc::SYS_move_mount),
    ("mprotect", libc::SYS_mprotect),
    ("newfstatat", libc::SYS_newfstatat),
    ("open", libc::SYS_open),
    ("open_tree", libc::SYS_open_tree),
    ("open_tree_attr", SYS_OPEN_TREE_ATTR),
    ("openat", libc::SYS_openat),
    ("openat2", libc::SYS_openat2),
    ("pipe2", libc::SYS_pipe2),
    ("pivot_root", libc::SYS_pivot_root),
    ("poll", libc::SYS_poll),
    ("ppoll", libc::SYS_ppoll),
    ("prctl", libc::SYS_prctl),
    ("read", libc::SYS_read),
    ("readlink", libc::SYS_readlink),
    ("readlinkat", libc::SYS_readlinkat),
    ("seccomp", libc::SYS_seccomp),
    ("sendfile", libc::SYS_sendfile),
    ("setgroups", libc::SYS_setgroups),
    ("sethostname", libc::SYS_sethostname),
    ("setpgid", libc::SYS_setpgid),
    ("setresgid", libc::SYS_setresgid),
    ("setresuid", libc::SYS_setresuid),
    ("set_tid_address", libc::SYS_set_tid_address),
    ("setsid", libc::SYS_setsid),
    ("socket", libc::SYS_socket),
    ("statfs", libc::SYS_statfs),
    ("statx", libc::SYS_statx),
    ("symlinkat", libc::SYS_symlinkat),
    ("umount2", libc::SYS_umount2),
    ("unlinkat", libc::SYS_unlinkat),
    ("unshare", libc::SYS_unshare),
];

/// With any one call failing, a start works or ends in 254 with one line; it
/// never hangs, never runs the program less confined than asked.
#[track_caller]
fn each_call_fails_with(errno: i32) {
    let (root, source) = (roots::probe(), roots::directory("source"));
    fs::write(source.join("mark"), "").expect("a file");
    fs::create_dir_all(root.join("data")).expect("a directory");
    for pod in pods(&root, &source) {
        let normal = pod.probe([
            "echo", "started", ",", "report", "uid", "gid", "groups", "cwd",
        ]);
        let confined = pod.probe(CAPS);
        for (name, call) in CALLS {
            // The probe itself needs some of them: it only says that it runs.
            let command = pod
                .probe_command(["echo", "started"])
                .hook(failing(&[*call], errno));
            let output = command.limit(std::time::Duration::from_secs(10)).output();
            assert!(
                !output.late && output.closed,
                "{name}: {}",
                output.everything()
            );
            if output.code == Some(0) {
                output.printed("started\n");
                let again = pod
                    .probe_command(CAPS)
                    .hook(failing(&[*call], errno))
                    .output();
                let readable = !["open", "read"].contains(name);
                assert!(
                    !readable || again.stdout == confined.stdout,
                    "{name}: {}\nnot {}",
                    again.everything(),
                    confined.stdout
                );
            } else {
                output.refused(&[]);
            }
        }
        normal.code(0);
    }
}

const CAPS: [&str; 8] = [
    "report",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "uid",
];

fn every_call_refused() -> TestResult {
    each_call_fails_with(libc::EPERM);
    Ok(())
}

fn every_call_out_of_memory() -> TestResult {
    each_call_fails_with(libc::ENOMEM);
    Ok(())
}
