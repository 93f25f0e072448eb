//! stage1-init with many children, none, and too little memory.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use kickstage_tests::{
    TestResult,
    command::Run,
    init::{self, As},
    requirement::{CGROUP_V1, Requirement},
    sys, tests,
};

use crate::cgroup::Cgroup;

tests![storm_of_children, many_orphans, idle, out_of_memory];

const NAME: &str = "stage1-init";

/// One SIGCHLD stands for many: the program's code is among them.
fn storm_of_children() -> TestResult {
    for code in 0..100 {
        let code = code.to_string();
        init::probe(NAME, As::First, &[], &["zombie", "200", ",", "exit", &code])
            .output()
            .code(code.parse().expect("a number"));
    }
    Ok(())
}

/// 100,000 in a few seconds: no zombie is left, and the init's memory stays.
fn many_orphans() -> TestResult {
    let commands = [
        "catch", "USR1", ",", "zombie", "100000", ",", "sleep", "100", ",", "zombies", ",",
        "catch", "TERM",
    ];
    let run = init::probe(NAME, As::First, &[], &commands).limit(Duration::from_secs(100));
    let (running, pid) = init::start(run, As::First);
    running.wait_for("waiting");
    let before = init::status(pid, "VmRSS");
    sys::kill(pid, libc::SIGUSR1).expect("it runs");
    running.wait_for("zombies=0\ncatch: waiting");
    let kilobytes = |text: &str| text.trim_end_matches(" kB").parse::<u64>().expect("a size");
    let after = init::status(pid, "VmRSS");
    assert!(
        kilobytes(&after) <= kilobytes(&before) + 8,
        "{before}, then {after}"
    );
    assert!(kilobytes(&after) <= 64, "{after}");
    sys::kill(pid, libc::SIGTERM).expect("it runs");
    running.finish().code(0);
    Ok(())
}

/// Nothing wakes it up.
fn idle() -> TestResult {
    let (running, pid) = init::start(
        init::probe(NAME, As::First, &[], &["catch", "TERM"]),
        As::First,
    );
    running.wait_for("waiting");
    init::wait_for_state(pid, 'S');
    thread::sleep(Duration::from_millis(50));
    let switches = || init::status(pid, "voluntary_ctxt_switches");
    let before = switches();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(before, switches());
    sys::kill(pid, libc::SIGTERM).expect("it runs");
    running.finish().code(0);
    Ok(())
}

fn out_of_memory() -> TestResult {
    Requirement::CgroupV1.require()?;
    let cgroup = Cgroup::new(CGROUP_V1.as_ref());
    let folder = cgroup.path().to_owned();
    fs::write(format!("{folder}/memory.limit_in_bytes"), "16M").expect("a limit");
    let in_it = |run: Run| {
        let tasks = format!("{folder}/tasks");
        run.hook(move || fs::write(&tasks, "0")).output()
    };
    let begin = Instant::now();
    let output = in_it(init::run(NAME, As::Ordinary, &["tail", "/dev/zero"]));
    output.code(137);
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(
        output.stderr,
        "stage1-init: run tail: out of memory (raise the limit of its cgroup, 16 MiB)\n"
    );
    // A kill of somebody else's, later, in the same cgroup.
    in_it(init::run(NAME, As::Ordinary, &["sh", "-c", "kill -9 $$"]))
        .code(137)
        .quiet();
    Ok(())
}
