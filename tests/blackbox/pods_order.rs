//! Programs of a pod that wait for others to be ready.

use std::time::Duration;

use kickstage_tests::{TestResult, command::Output, pod::Pod, roots, tests};

use crate::{pods::programs, processes::nobody_wakes_up};

tests![
    after_the_start,
    after_an_exit,
    an_exit_that_fails,
    several_init_programs,
    after_a_file,
    after_a_port,
    after_a_notification,
    a_notification_by_a_user,
    who_never_is_ready,
    who_ends_before_it_is_ready,
    terminated_in_order,
    terminated_while_others_wait,
    a_hook_that_does_not_end,
    names_that_are_none,
    circles,
    nothing_looks_when_all_are_ready,
];

/// The first of these programs has these options.
fn run(options: &[&str], words: &[&str]) -> Output {
    Pod::new(roots::probe())
        .options(options)
        .run(programs(words))
}

#[track_caller]
fn in_order(output: &Output, texts: &[&str]) {
    let mut rest = output.stdout.as_str();
    for text in texts {
        match rest.split_once(text) {
            Some((_, behind)) => rest = behind,
            None => panic!("{text} is not where it should be: {}", output.stdout),
        }
    }
}

fn after_the_start() -> TestResult {
    let words = ["--after=b | echo a", "--name=b | sleep 100 , echo b"];
    let words = programs(&words);
    Pod::new(roots::probe())
        .flag("--after=b")
        .run(words.get(1..).expect("words"))
        .code(0)
        .has("a\n")
        .has("b\n");
    Ok(())
}

fn after_an_exit() -> TestResult {
    let output = run(
        &["--name=first", "--ready=exit"],
        &["sleep 200 , echo first", "--after=first | echo second"],
    );
    output.code(0).printed("first\nsecond\n").quiet();
    Ok(())
}

/// Who waits for it never runs, whatever the policy.
fn an_exit_that_fails() -> TestResult {
    for policy in ["first-failure", "all"] {
        let output = run(
            &["--ready=exit", &format!("--exit-policy={policy}")],
            &[
                "exit 3",
                "--after=app-0 | echo second",
                "--after=app-1 | echo third",
            ],
        );
        output.code(3).printed("");
    }
    Ok(())
}

fn several_init_programs() -> TestResult {
    let output = run(
        &["--ready=exit"],
        &[
            "sleep 100 , echo one",
            "--ready=exit --after=app-0 | sleep 50 , echo two",
            "--ready=exit | sleep 200 , echo three",
            "--after=app-0,app-1,app-2 | echo main",
        ],
    );
    output.code(0);
    in_order(&output, &["one\n", "two\n", "main\n"]);
    in_order(&output, &["three\n", "main\n"]);
    Ok(())
}

fn after_a_file() -> TestResult {
    let output = run(
        &["--ready=file:/tmp/up"],
        &[
            "sleep 150 , echo first , sleep 1 , write /tmp/up x , sleep 200",
            "--after=app-0 | echo second",
        ],
    );
    output.code(0);
    in_order(&output, &["first\n", "second\n"]);
    Ok(())
}

fn after_a_port() -> TestResult {
    let output = run(
        &["--ready=port:4711", "--net=none", "--exit-policy=app-1"],
        &[
            "sleep 150 , echo first , listen 4711 , sleep 60000",
            "--after=app-0 | echo second",
        ],
    );
    output.code(0);
    in_order(&output, &["first\n", "second\n"]);
    Ok(())
}

fn after_a_notification() -> TestResult {
    let output = run(
        &["--ready=notify", "--exit-policy=app-1"],
        &[
            "notify STATUS=soon , sleep 150 , echo first , notify READY=1 , sleep 60000",
            "--after=app-0 | echo second",
        ],
    );
    output.code(0);
    in_order(&output, &["first\n", "second\n"]);
    Ok(())
}

fn a_notification_by_a_user() -> TestResult {
    let output = run(
        &["--ready=notify", "--exit-policy=app-1", "--user=1000"],
        &["notify READY=1 , sleep 60000", "--after=app-0 | report env"],
    );
    // The variable is that of who has to notify.
    output.code(0).lacks("NOTIFY_SOCKET");
    Ok(())
}

fn who_never_is_ready() -> TestResult {
    let pod = Pod::new(roots::probe()).flag("--ready=file:/never");
    let mut pod = pod
        .command(programs(&[
            "echo up , sleep 60000",
            "--after=app-0 | echo second",
        ]))
        .start();
    pod.wait_for("up");
    std::thread::sleep(Duration::from_millis(200));
    assert!(pod.runs());
    pod.signal(libc::SIGTERM);
    pod.finish().lacks("second");
    Ok(())
}

fn who_ends_before_it_is_ready() -> TestResult {
    for ready in ["file:/never", "port:4712", "notify"] {
        let output = run(
            &[&format!("--ready={ready}"), "--net=none"],
            &["sleep 50 , exit 0", "--after=app-0 | echo second"],
        );
        output.code(0).printed("");
    }
    Ok(())
}

/// SIGTERM stops a pod that has an order in the reverse one; who dies of the stop
/// signal has done as told.
fn terminated_in_order() -> TestResult {
    let words = programs(&[
        "catch TERM , echo first-ends",
        "--after=app-0 | catch TERM , sleep 150 , echo second-ends",
    ]);
    let pod = Pod::new(roots::probe()).command(words).start();
    pod.wait_for("catch: waiting\ncatch: waiting\n");
    pod.signal(libc::SIGTERM);
    let output = pod.finish();
    output.code(0);
    in_order(&output, &["second-ends", "first-ends"]);
    Ok(())
}

fn terminated_while_others_wait() -> TestResult {
    let pod = Pod::new(roots::probe()).flag("--ready=exit");
    let words = programs(&["echo up , sleep 60000", "--after=app-0 | echo second"]);
    let pod = pod.command(words).start();
    pod.wait_for("up");
    pod.signal(libc::SIGTERM);
    pod.finish().code(0).lacks("second");
    Ok(())
}

/// In a pod that is stopped it has the time that its program has.
fn a_hook_that_does_not_end() -> TestResult {
    let hook = "--post-stop=/bin/probe sleep 5000 , echo cleaned";
    let output = run(
        &["--stop-timeout=100ms", hook],
        &["catch TERM", "sleep 100 , exit 3"],
    );
    output.code(3).lacks("cleaned");
    Ok(())
}

fn names_that_are_none() -> TestResult {
    for after in ["nobody", "app-1", "", "app-0,", ","] {
        run(&[&format!("--after={after}")], &["exit 0"]).refused(&["--after"]);
    }
    for ready in [
        "",
        "soon",
        "file:",
        "file:x",
        "port:0",
        "port:65536",
        "port:",
    ] {
        run(&[&format!("--ready={ready}")], &["exit 0"]).refused(&["start, exit, file:PATH"]);
    }
    Ok(())
}

fn circles() -> TestResult {
    run(&["--after=app-0"], &["exit 0"]).refused(&["wait for each other"]);
    run(
        &["--after=app-2"],
        &["exit 0", "--after=app-0 | exit 0", "--after=app-1 | exit 0"],
    )
    .refused(&["--after", "wait for each other"]);
    Ok(())
}

/// What was probed is left alone afterwards.
fn nothing_looks_when_all_are_ready() -> TestResult {
    let pod = Pod::new(roots::probe()).flag("--ready=file:/tmp/up");
    let words = programs(&[
        "write /tmp/up x , sleep 60000",
        "--after=app-0 | echo up , sleep 60000",
    ]);
    let pod = pod.command(words).start();
    pod.wait_for("up");
    nobody_wakes_up();
    pod.signal(libc::SIGKILL);
    pod.finish().killed(libc::SIGKILL);
    Ok(())
}
