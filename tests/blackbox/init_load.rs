//! stage1-init with many children, none, odd ones, and too little memory.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    init::{self, As},
    isolate,
    requirement::{CGROUP_V1, Requirement},
    sys, tests,
};

use crate::cgroup::Cgroup;

tests![
    storm_of_children,
    many_orphans,
    idle,
    out_of_memory,
    a_deadline_is_not_put_off,
    who_is_stopped_hears_of_the_end,
    a_misleading_name,
    the_search_goes_on,
];

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
    // A kill of somebody else's, later, in the same cgroup, when its own count is known.
    let script = "sleep 0.1; kill -9 $$";
    in_it(init::run(NAME, As::Ordinary, &["sh", "-c", script]))
        .code(137)
        .quiet();
    // Nor is it told of a program that goes on behind such a kill.
    let script = "sleep 0.1; tail /dev/zero; exit 3";
    let output = in_it(init::run(NAME, As::Ordinary, &["sh", "-c", script]));
    output.code(3);
    assert!(!output.stderr.contains("stage1-init"), "{}", output.stderr);
    Ok(())
}

/// A shell leaves another one behind, which does this.
fn leaving(process: As, options: &[&str], left: &str) -> Run {
    let script = format!("sh -c \"{}\" & sleep 0.2; exit 5", left.replace('$', "\\$"));
    let words = ["--", "sh", "-c", &script];
    init::run(NAME, process, options).args(words)
}

/// By none of those that end meanwhile.
fn a_deadline_is_not_put_off() -> TestResult {
    let left = "trap '' TERM; for i in $(seq 40); do (sleep 0.05 &); sleep 0.05; done; echo over";
    for process in init::BOTH {
        let output = leaving(process, &["--deadline=500"], left).output();
        output.code(5).lacks("over");
    }
    Ok(())
}

fn who_is_stopped_hears_of_the_end() -> TestResult {
    let left = "trap 'echo hears; exit' TERM; kill -STOP $$; sleep 60";
    for process in init::BOTH {
        let output = leaving(process, &["--deadline=5000"], left).output();
        output.code(5).has("hears");
    }
    Ok(())
}

/// What /proc says of a process has its name in it, which it chooses itself.
fn a_misleading_name() -> TestResult {
    let probe = isolate::folder().join("x) S 1 1 (y");
    fs::copy(program("probe"), &probe).expect("a copy");
    let script = format!(
        "trap '' TERM; '{}' session , catch TERM & wait; exit 6",
        probe.display()
    );
    let options = ["--forward=all", "--", "sh", "-c", &script];
    let run = init::run(NAME, As::Ordinary, &options);
    let (running, pid) = init::start(run, As::Ordinary);
    running.wait_for("waiting");
    sys::kill(pid, libc::SIGTERM).expect("it runs");
    running.finish().code(6).has("catch: SIGTERM");
    Ok(())
}

/// Behind a program that may not be executed.
fn the_search_goes_on() -> TestResult {
    let folder = isolate::folder();
    for (name, mode) in [("first", 0o644), ("second", 0o755)] {
        fs::create_dir(folder.join(name)).expect("a directory");
        let file = folder.join(name).join("named");
        fs::write(&file, "#!/bin/sh\nexit 7\n").expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let path = |names: &[&str]| {
        let paths: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
        std::env::join_paths(paths).expect("no colon")
    };
    let run = |names| {
        init::run(NAME, As::Ordinary, &["named"])
            .env("PATH", path(names))
            .output()
    };
    run(&["first", "second"]).code(7).quiet();
    run(&["first", "none"]).refused(&["named", "Permission denied"]);
    Ok(())
}
