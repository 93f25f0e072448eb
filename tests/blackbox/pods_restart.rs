//! Programs of a pod that are started again.

use std::time::Duration;

use kickstage_tests::{TestResult, command::Output, pod::Pod, roots, tests};

use crate::pods::programs;

tests![
    no,
    on_failure,
    on_failure_until_success,
    always,
    ready_by_its_end,
    pauses_double,
    a_pre_start_hook_that_fails,
    a_failure_that_is_made_good,
    hooks_run_each_time,
    a_signal_ends_it,
    a_stop_ends_it,
    a_signal_ends_a_pause,
    policies_that_are_none,
    sixty_four_programs,
];

fn run(options: &[&str], words: &[&str]) -> Output {
    Pod::new(roots::probe())
        .options(options)
        .run(programs(words))
}

#[track_caller]
fn times(output: &Output, text: &str, count: usize) {
    assert_eq!(
        output.stdout.matches(text).count(),
        count,
        "{}",
        output.stdout
    );
}

fn no() -> TestResult {
    times(
        run(&["--restart=no"], &["echo run , exit 3"]).code(3),
        "run",
        1,
    );
    Ok(())
}

fn on_failure() -> TestResult {
    let output = run(&["--restart=on-failure:2"], &["echo run , exit 3"]);
    times(output.code(3), "run", 3);
    times(
        run(&["--restart=on-failure"], &["echo run"]).code(0),
        "run",
        1,
    );
    Ok(())
}

/// The file that the first run leaves makes the second one succeed.
fn on_failure_until_success() -> TestResult {
    let root = roots::busybox()?;
    let script = "echo run; test -e /tmp/done && exit 0; >/tmp/done; exit 1";
    let output = Pod::new(root).flag("--restart=on-failure").sh(script);
    times(output.code(0), "run", 2);
    Ok(())
}

fn always() -> TestResult {
    let output = run(&["--restart=always:2"], &["echo run , exit 0"]);
    times(output.code(0), "run", 3);
    Ok(())
}

/// What is done is not done again.
fn ready_by_its_end() -> TestResult {
    let output = run(
        &["--restart=always:2", "--ready=exit"],
        &["echo run , exit 0"],
    );
    times(output.code(0), "run", 1);
    Ok(())
}

/// 100, 200 and 400 ms, also if it is looked for whether the program is ready.
fn pauses_double() -> TestResult {
    for ready in ["start", "file:/never", "port:1"] {
        let ready = format!("--ready={ready}");
        let output = run(&["--restart=on-failure:3", &ready], &["exit 3"]);
        output.code(3);
        let took = output.elapsed.as_millis();
        assert!(took >= 700, "{ready}: {took} ms");
    }
    Ok(())
}

/// A program that has never run has not run for long.
fn a_pre_start_hook_that_fails() -> TestResult {
    let options = [
        "--restart=on-failure:2",
        "--pre-start=/bin/probe echo before , exit 3",
    ];
    let output = run(&options, &["exit 0"]);
    times(output.code(3), "before", 3);
    Ok(())
}

/// A failure behind which the program starts again stops nobody.
fn a_failure_that_is_made_good() -> TestResult {
    let root = roots::busybox()?;
    let script = "test -e /tmp/done && exit 0; >/tmp/done; exit 1";
    Pod::new(root)
        .flag("--restart=on-failure")
        .run([
            "/bin/sh",
            "-c",
            script,
            "---",
            "/bin/probe",
            "sleep",
            "300",
            ",",
            "echo",
            "other",
        ])
        .code(0)
        .has("other\n");
    Ok(())
}

fn hooks_run_each_time() -> TestResult {
    let output = run(
        &[
            "--restart=on-failure:1",
            "--pre-start=/bin/probe echo before",
            "--post-stop=/bin/probe echo behind",
        ],
        &["echo main , exit 3"],
    );
    output
        .code(3)
        .printed("before\nmain\nbehind\nbefore\nmain\nbehind\n");
    Ok(())
}

fn a_signal_ends_it() -> TestResult {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        let pod = Pod::new(roots::probe()).flag("--restart=always");
        let pod = pod
            .probe_command(["echo", "up", ",", "sleep", "60000"])
            .start();
        pod.wait_for("up");
        pod.signal(signal);
        let output = pod.finish();
        times(output.code(128 + signal), "up", 1);
        assert!(
            output.elapsed < Duration::from_secs(5),
            "{:?}",
            output.elapsed
        );
    }
    Ok(())
}

fn a_stop_ends_it() -> TestResult {
    let output = run(
        &["--restart=always"],
        &["echo run , exit 0", "sleep 150 , exit 4"],
    );
    output.code(4);
    assert!(
        output.elapsed < Duration::from_secs(10),
        "{:?}",
        output.elapsed
    );
    Ok(())
}

/// The fifth pause is 1.6 s long: nobody waits for it, or is started behind it.
fn a_signal_ends_a_pause() -> TestResult {
    let pod = Pod::new(roots::probe()).flag("--restart=on-failure");
    let pod = pod.probe_command(["echo", "run", ",", "exit", "3"]).start();
    pod.wait_for_times("run", 5);
    std::thread::sleep(Duration::from_millis(200));
    pod.signal(libc::SIGTERM);
    times(pod.finish().code(3), "run", 5);
    Ok(())
}

fn policies_that_are_none() -> TestResult {
    for policy in [
        "",
        "yes",
        "no:1",
        "always:",
        "always:0",
        "always:x",
        "on-failure:1:2",
    ] {
        run(&[&format!("--restart={policy}")], &["exit 0"]).refused(&["no, on-failure"]);
    }
    Ok(())
}

/// As many as a pod may have, that end at once: each code counts.
fn sixty_four_programs() -> TestResult {
    let root = roots::probe();
    for round in 0..20_usize {
        let failing = round * 3;
        let words: Vec<String> = (0..64)
            .map(|index| format!("exit {}", if index == failing { 7 } else { 0 }))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Pod::new(&root)
            .flag("--exit-policy=all")
            .run(programs(&words))
            .code(7)
            .quiet();
    }
    Ok(())
}
