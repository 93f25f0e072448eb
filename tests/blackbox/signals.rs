//! Signals to stage0 reach the app; the app's end is stage0's.

use std::{thread, time::Duration};

use kickstage_tests::{TestResult, isolate, pod::Pod, roots, sys, tests};

tests![
    forwarded,
    forwarded_more_than_once,
    default_actions,
    a_shell_is_interrupted,
    ignored_by_the_app,
    fly_is_the_app,
    killed_launcher_ends_the_pod,
    killed_launcher_early,
    killed_pid_one,
    stopped_and_continued,
    pid_one_is_out_of_reach,
    callers_blocked_and_ignored,
    caller_ignores_children,
];

const FORWARDED: [(&str, i32); 7] = [
    ("SIGHUP", libc::SIGHUP),
    ("SIGINT", libc::SIGINT),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGTERM", libc::SIGTERM),
    ("SIGALRM", libc::SIGALRM),
];

fn forwarded() -> TestResult {
    let root = roots::probe();
    for (name, number) in FORWARDED {
        let pod = Pod::new(&root).probe_command(["catch", "all"]).start();
        pod.wait_for("waiting");
        pod.signal(number);
        pod.finish()
            .code(0)
            .printed(&format!("catch: waiting\ncatch: {name}\n"));
    }
    Ok(())
}

fn forwarded_more_than_once() -> TestResult {
    let root = roots::probe();
    let script = [
        "catch", "USR1", ",", "catch", "USR1", ",", "catch", "USR2", "TERM", ",", "exit", "9",
    ];
    let pod = Pod::new(&root).probe_command(script).start();
    for (count, signal) in [libc::SIGUSR1, libc::SIGUSR1, libc::SIGTERM]
        .into_iter()
        .enumerate()
    {
        let waiting = "catch: waiting\n";
        let so_far = ["", "catch: SIGUSR1\n", "catch: SIGUSR1\n"];
        let expected: String = so_far[1..=count]
            .iter()
            .fold(waiting.to_owned(), |text, caught| text + caught + waiting);
        pod.wait_for(&expected);
        pod.signal(signal);
    }
    pod.finish().code(9);
    Ok(())
}

/// The app is no pid 1: what it does not catch has its default action.
fn default_actions() -> TestResult {
    let root = roots::probe();
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1] {
        let pod = Pod::new(&root)
            .probe_command(["echo", "ready", ",", "sleep", "60000"])
            .start();
        pod.wait_for("ready");
        pod.signal(signal);
        pod.finish().code(128 + signal);
    }
    Ok(())
}

fn a_shell_is_interrupted() -> TestResult {
    let root = roots::busybox()?;
    let script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.01; done";
    let pod = Pod::new(&root).command(["/bin/sh", "-c", script]).start();
    pod.wait_for("ready");
    pod.signal(libc::SIGINT);
    pod.finish().code(3).printed("ready\ncaught\n");
    Ok(())
}

fn ignored_by_the_app() -> TestResult {
    let root = roots::probe();
    let script = [
        "ignore", "TERM", "INT", ",", "echo", "ready", ",", "sleep", "300", ",", "exit", "5",
    ];
    let pod = Pod::new(&root).probe_command(script).start();
    pod.wait_for("ready");
    pod.signal(libc::SIGINT);
    pod.signal(libc::SIGTERM);
    pod.finish().code(5);
    Ok(())
}

fn fly_is_the_app() -> TestResult {
    let root = roots::probe();
    let app = Pod::fly(&root).probe_command(["catch", "TERM"]).start();
    app.wait_for("waiting");
    app.signal(libc::SIGTERM);
    app.finish().code(0).has("catch: SIGTERM");
    let app = Pod::fly(&root)
        .probe_command(["echo", "ready", ",", "sleep", "60000"])
        .start();
    app.wait_for("ready");
    app.signal(libc::SIGTERM);
    app.finish().killed(libc::SIGTERM);
    Ok(())
}

/// Waits until only this test and its pid 1 are left.
fn alone() {
    for _ in 0..10_000 {
        if isolate::processes().len() <= 2 {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let left: Vec<String> = isolate::processes()
        .into_iter()
        .map(isolate::describe)
        .collect();
    panic!("still there 10 seconds later: {left:#?}");
}

fn killed_launcher_ends_the_pod() -> TestResult {
    let root = roots::probe();
    let script = [
        "ignore",
        "TERM",
        "HUP",
        "INT",
        ",",
        "background",
        "sleep",
        "60000",
        ",",
        "background",
        "ignore",
        "all",
        ",",
        "echo",
        "ready",
        ",",
        "sleep",
        "60000",
    ];
    let pod = Pod::new(&root).probe_command(script).start();
    pod.wait_for("ready");
    pod.signal(libc::SIGKILL);
    pod.finish().killed(libc::SIGKILL);
    alone();
    Ok(())
}

fn killed_launcher_early() -> TestResult {
    let root = roots::probe();
    for wait in 0..40 {
        let pod = Pod::new(&root).probe_command(["sleep", "60000"]).start();
        thread::sleep(Duration::from_micros(wait * 50));
        pod.signal(libc::SIGKILL);
        pod.finish().killed(libc::SIGKILL);
        alone();
    }
    Ok(())
}

/// The pid of the process whose parent is `parent`.
fn child_of(parent: i32) -> i32 {
    let is_child = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.split(' ').nth(1) == Some(&parent.to_string())
    };
    let found: Vec<i32> = isolate::processes().into_iter().filter(is_child).collect();
    assert_eq!(found.len(), 1, "stage0 has one child, pid 1 of the pod");
    found[0]
}

fn killed_pid_one() -> TestResult {
    let root = roots::probe();
    let pod = Pod::new(&root)
        .probe_command([
            "error", "ready", ",", "echo", "ready", ",", "sleep", "60000",
        ])
        .start();
    pod.wait_for("ready");
    sys::kill(child_of(pod.pid()), libc::SIGKILL).expect("pid 1 runs");
    let output = pod.finish();
    output.code(254);
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert!(
        lines.len() == 2 && lines[1].starts_with("stage0: "),
        "{}",
        output.everything()
    );
    alone();
    Ok(())
}

fn stopped_and_continued() -> TestResult {
    let root = roots::probe();
    let pod = Pod::new(&root).probe_command(["catch", "TERM"]).start();
    pod.wait_for("waiting");
    pod.signal(libc::SIGSTOP);
    pod.signal(libc::SIGTERM);
    pod.signal(libc::SIGCONT);
    pod.finish().code(0).has("catch: SIGTERM");
    Ok(())
}

/// Not even as root of the pod.
fn pid_one_is_out_of_reach() -> TestResult {
    let root = roots::probe();
    let script = [
        "kill", "1", "KILL", ",", "kill", "1", "STOP", ",", "sleep", "20", ",", "echo", "alive",
    ];
    Pod::new(&root).probe(script).code(0).has("alive");
    Ok(())
}

/// What a caller has blocked or ignored is its own affair: an app that starts
/// with SIGTERM blocked or SIGPIPE ignored behaves differently than asked.
fn callers_blocked_and_ignored() -> TestResult {
    let root = roots::probe();
    let report = Pod::new(&root)
        .probe_command(["report", "SigBlk", "SigIgn"])
        .hook(|| sys::ignore(libc::SIGPIPE))
        .hook(|| sys::ignore(libc::SIGHUP))
        .hook(|| sys::block(libc::SIGTERM))
        .hook(|| sys::block(libc::SIGUSR1))
        .output()
        .report();
    report
        .is("SigBlk", "0000000000000000")
        .is("SigIgn", "0000000000000000");
    Ok(())
}

fn caller_ignores_children() -> TestResult {
    let root = roots::probe();
    Pod::new(&root)
        .probe_command(["fork", "3", ",", "exit", "6"])
        .hook(|| sys::ignore(libc::SIGCHLD))
        .output()
        .code(6);
    Ok(())
}
