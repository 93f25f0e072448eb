//! `stage0 run --timeout`: a pod that has no more time is stopped, and then killed.

use std::time::Duration;

use kickstage_tests::{
    TestResult, pod::Pod, registered::Registry, roots, sys, terminal::Terminal, tests,
};

tests![
    ends_in_time,
    stopped,
    with_a_terminal,
    ignoring_the_signal,
    several_apps,
    told_to_stop_meanwhile,
    when_it_has_ended_just_then,
    bad_times,
    with_time_to_stop,
];

fn pod(options: &[&str]) -> Pod {
    Pod::new(roots::probe()).options(options)
}

fn ends_in_time() -> TestResult {
    for (option, code) in [("--timeout=100", "0"), ("--timeout=100000ms", "7")] {
        let output = pod(&[option]).probe(["exit", code]);
        output.code(code.parse().expect("a number")).quiet();
    }
    Ok(())
}

/// By SIGTERM: 124, whatever the code of the app is.
fn stopped() -> TestResult {
    pod(&["--timeout=50ms"])
        .probe(["sleep", "60000"])
        .code(124)
        .quiet();
    // Time enough to begin to listen.
    let output = pod(&["--timeout=1"]).probe(["catch", "TERM", ",", "exit", "3"]);
    output.code(124).has("SIGTERM");
    let pods = Registry::new();
    let output = pods
        .pod("run", &["--keep", "--timeout=50ms"], &["sleep", "60000"])
        .output();
    output.code(124).quiet();
    let [(uuid, state)] = pods.list().try_into().expect("one pod");
    assert_eq!(state, "exited");
    assert_eq!(pods.status(&uuid).get("code").number(), Some(124));
    Ok(())
}

fn with_a_terminal() -> TestResult {
    for probe in [["catch", "TERM"], ["sleep", "60000"]] {
        let terminal = Terminal::new(24, 80);
        let run = pod(&["--timeout=100ms", "--tty"]).probe_command(probe);
        let running = terminal.start(run);
        running.finish().code(124);
    }
    Ok(())
}

/// `--stop-timeout` is its grace.
fn ignoring_the_signal() -> TestResult {
    let output = pod(&["--timeout=1", "--stop-timeout=100ms"])
        .probe(["ignore", "TERM", ",", "sleep", "60000"]);
    output.code(124);
    assert!(output.elapsed >= Duration::from_millis(1100));
    Ok(())
}

fn several_apps() -> TestResult {
    let output = pod(&[
        "--timeout=100ms",
        "--stop-timeout=50ms",
        "--exit-policy=all",
    ])
    .probe_command(["catch", "TERM"])
    .args("--- --stop-timeout=50ms -- /bin/probe ignore TERM , sleep 60000".split(' '))
    .args("--- --stop-timeout=100ms -- /bin/probe ignore TERM , sleep 60000".split(' '))
    .args("--- --stop-timeout=50ms -- /bin/probe exit 0".split(' '))
    .output();
    output.code(124);
    Ok(())
}

/// Who stops it by itself before the time is over gets the code of that.
fn told_to_stop_meanwhile() -> TestResult {
    let running = pod(&["--timeout=100"])
        .probe_command(["catch", "TERM"])
        .start();
    running.wait_for("waiting");
    running.signal(libc::SIGTERM);
    running.finish().code(0);
    // Told twice: the second time comes while the first one is obeyed.
    let running = pod(&["--timeout=1", "--stop-timeout=1500ms"])
        .probe_command([
            "ignore", "TERM", ",", "echo", "waiting", ",", "sleep", "60000",
        ])
        .start();
    running.wait_for("waiting");
    for _ in 0..5 {
        let _ = sys::kill(running.pid(), libc::SIGTERM);
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = running.finish();
    assert!(
        matches!(output.code, Some(124 | 137)),
        "{}",
        output.everything()
    );
    Ok(())
}

/// Either code is right; nothing else is.
fn when_it_has_ended_just_then() -> TestResult {
    for _ in 0..60 {
        let output = pod(&["--timeout=20ms"]).probe(["sleep", "18", ",", "exit", "9"]);
        assert!(
            matches!(output.code, Some(9 | 124)),
            "{}",
            output.everything()
        );
        assert_eq!(output.stderr, "");
    }
    Ok(())
}

fn bad_times() -> TestResult {
    for time in [
        "0",
        "",
        "-1",
        "abc",
        "1.5",
        "99999999999999999999",
        "0ms",
        "ms",
        "1h1",
    ] {
        pod(&["--timeout", time])
            .probe(["exit", "0"])
            .refused(&["seconds"]);
    }
    Ok(())
}

/// As long as its programs may take, nobody kills it.
fn with_time_to_stop() -> TestResult {
    let words = "catch TERM , sleep 1200 , echo done , exit 3";
    let output = pod(&["--timeout=100ms", "--stop-timeout=100"]).probe(words.split(' '));
    output.code(124).has("done");
    Ok(())
}
