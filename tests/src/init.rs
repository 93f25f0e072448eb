//! stage1-init as the init of a container, under any name, beside the programs
//! whose names they are.

use std::{ffi::OsStr, fs, path::PathBuf, thread, time::Duration};

use crate::{
    command::{Output, Run, Running, program},
    isolate,
};

/// stage1-init under another name, in a directory of this test.
#[must_use]
pub fn named(name: &str) -> PathBuf {
    let path = isolate::folder().join(name);
    if !path.exists() {
        let own = program("stage1-init");
        if fs::hard_link(&own, &path).is_err() {
            fs::copy(&own, &path).expect("a copy");
        }
    }
    path
}

/// Which process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// pid 1 of a pid namespace of its own.
    First,
    /// One like any other.
    Ordinary,
}

/// Both.
pub const BOTH: [As; 2] = [As::First, As::Ordinary];

/// `name` as init, with `arguments`.
#[must_use]
pub fn run(name: &str, process: As, arguments: &[&str]) -> Run {
    let path = named(name);
    match process {
        As::Ordinary => Run::new(path),
        As::First => Run::new("unshare")
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(path),
    }
    .args(arguments)
}

/// The same with the probe as program.
#[must_use]
pub fn probe(name: &str, process: As, options: &[&str], commands: &[&str]) -> Run {
    run(name, process, options)
        .arg("--")
        .arg(program("probe"))
        .args(commands)
}

/// Starts it; returns the init's pid, too.
#[must_use]
pub fn start(run: Run, process: As) -> (Running, i32) {
    let running = run.start();
    let pid = match process {
        As::Ordinary => running.pid(),
        As::First => child_of(running.pid()),
    };
    (running, pid)
}

/// The one child of a process, once it has one.
#[must_use]
pub fn child_of(pid: i32) -> i32 {
    for _ in 0..5000 {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let text = text.unwrap_or_default();
        if let Some(child) = text.split_whitespace().next() {
            return child.parse().expect("a pid");
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("process {pid} has no child");
}

/// A letter of /proc/PID/stat: R, S, T, Z; a blank for nobody.
#[must_use]
pub fn state(pid: i32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or(" ", |(_, rest)| rest);
    rest.chars().next().unwrap_or(' ')
}

/// Waits until the process is in this state.
#[track_caller]
pub fn wait_for_state(pid: i32, wanted: char) {
    for _ in 0..5000 {
        if state(pid) == wanted {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("process {pid} is {:?}, not {wanted:?}", state(pid));
}

/// What /proc tells of the descriptors of a process.
#[must_use]
pub fn descriptors(pid: i32) -> String {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let infos = folder.into_iter().flatten().flatten();
    let texts = infos.map(|info| fs::read_to_string(info.path()).unwrap_or_default());
    texts.collect()
}

/// Whether a process waits for a pod: for its end, a file in its directory, and a time.
#[must_use]
pub fn waits_for_a_pod(pid: i32) -> bool {
    let all = descriptors(pid);
    all.contains("inotify wd:") && all.contains("it_value:") && state(pid) == 'S'
}

/// A field of /proc/PID/status.
#[must_use]
pub fn status(pid: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.strip_prefix(':'))
        .unwrap_or("")
        .trim()
        .to_owned()
}

/// The name that the probe prints.
#[must_use]
pub fn signal_name(number: i32) -> String {
    let names = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT \
                 CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";
    let index = usize::try_from(number - 1).expect("a signal");
    match names.split_whitespace().nth(index) {
        Some(name) => format!("SIG{name}"),
        None => format!("SIG{number}"),
    }
}

/// All signals that a process can be told: neither KILL nor STOP, nor CHLD, which
/// is the init's own.
pub fn signals() -> impl Iterator<Item = i32> {
    (1..=64).filter(|number| ![libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD].contains(number))
}

/// Sends every signal that is `passed` to an init, each to a new one, and checks
/// that the program gets it; of the others, that it does not.
pub fn check_signals(name: &str, process: As, options: &[&str], passed: impl Fn(i32) -> bool) {
    for number in signals() {
        let is_passed = passed(number);
        if process == As::Ordinary && !is_passed {
            // Some would end the init itself, and leave the program.
            continue;
        }
        let text = number.to_string();
        let run = probe(name, process, options, &["catch", &text, "TERM"]);
        let (running, pid) = start(run, process);
        running.wait_for("waiting");
        crate::sys::kill(pid, number).expect("the init runs");
        let expected = if is_passed {
            signal_name(number)
        } else {
            thread::sleep(Duration::from_millis(2));
            crate::sys::kill(pid, libc::SIGTERM).expect("the init runs");
            "SIGTERM".to_owned()
        };
        running
            .finish()
            .code(0)
            .printed(&format!("catch: waiting\ncatch: {expected}\n"));
    }
}

/// Runs the real program and ours on the same arguments, called by the same name;
/// returns both outputs, whose exit codes and standard outputs are the same.
#[track_caller]
pub fn compare(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (Output, Output) {
    let run = |path: &OsStr| {
        let run = Run::new(path).called(name).args(arguments);
        variables
            .iter()
            .fold(run, |run, (name, value)| run.env(name, value))
            .output()
    };
    let real = run(OsStr::new(name));
    let ours = run(named(name).as_os_str());
    assert!(
        real.code == ours.code && real.signal == ours.signal && real.stdout == ours.stdout,
        "the real one\n{}\nours\n{}",
        real.everything(),
        ours.everything()
    );
    (real, ours)
}

/// As [`compare`]; standard error is the same, too.
#[track_caller]
pub fn compare_all(name: &str, arguments: &[&str], variables: &[(&str, &str)]) {
    let (real, ours) = compare(name, arguments, variables);
    assert_eq!(real.stderr, ours.stderr, "{name} {arguments:?}");
}
