//! A test's own pid and mount namespace.
//!
//! Three processes: the outer one, which the runner waits for and kills; the
//! namespace's pid 1, which reaps what the test leaves; and the test. When the
//! outer one dies, pid 1 dies with it and takes everything along, whatever the
//! test has started: the machine's own pid 1 may be late in reaping.
//!
//! The mounts are made shared first, as on a machine that runs systemd: a
//! mount that a program under test makes outside of a private namespace shows
//! up here, and fails the test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use crate::{
    Test, compare,
    runner::{SKIP_NOTE, TEMPORARY},
    sys::{self, Forked},
};

/// First argument of a test's process.
pub const ARGUMENT: &str = "--isolated";

/// Exit code of a test that passed.
pub const PASSED: i32 = 0;
/// Of one that failed; a panic's 101 counts too.
pub const FAILED: i32 = 1;
/// Of one that skipped; the reason is a file in its directory.
pub const SKIPPED: i32 = 77;

/// How long processes that are already dying may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The directory of the running test; the runner removes it.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(env::var_os(TEMPORARY).expect("the runner sets it"))
}

/// The outer process: returns the test's exit code.
#[must_use]
pub fn run(test: &Test) -> i32 {
    sys::unshare(libc::CLONE_NEWPID).expect("a pid namespace");
    match sys::fork() {
        Forked::Child => process::exit(first(test)),
        Forked::Parent(pid) => sys::wait_for(pid),
    }
}

/// The namespace's pid 1.
fn first(test: &Test) -> i32 {
    sys::die_with_parent().expect("prctl");
    sys::unshare(libc::CLONE_NEWNS).expect("a mount namespace");
    sys::make_mounts("/", libc::MS_PRIVATE).expect("private mounts");
    sys::mount("proc", "/proc", "proc", "").expect("a /proc of the namespace");
    sys::make_mounts("/", libc::MS_SHARED).expect("shared mounts");
    let mounts = compare::mounts();
    let pid = match sys::fork() {
        Forked::Child => process::exit(body(test)),
        Forked::Parent(pid) => pid,
    };
    let code = sys::reap_until(pid);
    let left = leftovers();
    for process in &left {
        println!("left behind: process {process}");
    }
    let after = compare::mounts();
    let changed = mounts != after;
    if changed {
        println!(
            "the mounts of the host have changed:\n{}",
            compare::difference(&mounts, &after)
        );
    }
    if code == PASSED && (changed || !left.is_empty()) {
        return FAILED;
    }
    code
}

fn body(test: &Test) -> i32 {
    match (test.run)() {
        Ok(()) => PASSED,
        Err(skip) => {
            fs::write(folder().join(SKIP_NOTE), format!("{:?}", skip.0)).expect("a note");
            SKIPPED
        }
    }
}

/// The processes that are still there, reaping those that end in time.
fn leftovers() -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        sys::reap();
        let left: Vec<String> = processes()
            .into_iter()
            .filter(|pid| *pid != 1)
            .map(describe)
            .collect();
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// All pids of the namespace.
#[must_use]
pub fn processes() -> Vec<i32> {
    let mut pids: Vec<i32> = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids
}

/// A process in words.
#[must_use]
pub fn describe(pid: i32) -> String {
    let folder = Path::new("/proc").join(pid.to_string());
    let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or("?").trim().to_owned()
    };
    let line = fs::read(folder.join("cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    format!("{pid} {} {} {line}", field("Name:"), field("State:"))
}
