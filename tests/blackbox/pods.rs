//! Pods of several programs: whose end is the pod's, how they are stopped, their
//! hooks.

use std::{fs, time::Duration};

use kickstage_tests::{TestResult, pod::Pod, roots, tests};

tests![
    the_first_failure_decides,
    all_have_to_end,
    one_program_decides,
    policies_that_are_none,
    a_stop_signal_of_its_own,
    the_deadline_of_the_stop,
    stopped_in_reverse_order,
    hooks,
    hooks_have_a_clean_environment,
    hooks_are_roots,
    a_pre_start_hook_that_fails,
    a_hook_that_is_missing,
    options_of_one_program,
    not_with_fly,
];

/// The words of several programs, each the probe with these words.
pub fn programs<'a>(programs: &[&'a str]) -> Vec<&'a str> {
    let mut words = Vec::new();
    for program in programs {
        if !words.is_empty() {
            words.push("---");
        }
        let (options, program) = program.split_once(" | ").unwrap_or(("", program));
        words.extend(options.split_whitespace());
        words.push("/bin/probe");
        words.extend(program.split_whitespace());
    }
    words
}

/// 0 after a while, 5 after a while; the third is stopped in order.
fn the_first_failure_decides() -> TestResult {
    let words = programs(&[
        "sleep 1000 , exit 0",
        "sleep 1000 , exit 5",
        "sleep 20000 , exit 6",
    ]);
    let output = Pod::new(roots::probe()).run(words);
    output.code(5).quiet();
    assert!(
        output.elapsed < Duration::from_secs(10),
        "{:?}",
        output.elapsed
    );
    Ok(())
}

fn all_have_to_end() -> TestResult {
    let words = programs(&["exit 0", "exit 5", "sleep 300 , echo last , exit 6"]);
    let pod = Pod::new(roots::probe()).flag("--exit-policy=all");
    pod.run(words).code(5).has("last\n");
    pod.run(programs(&["exit 0", "exit 0"])).code(0).quiet();
    Ok(())
}

fn one_program_decides() -> TestResult {
    let root = roots::probe();
    let words = programs(&["exit 5", "--name=main | sleep 200 , exit 7", "sleep 60000"]);
    let output = Pod::new(&root).flag("--exit-policy=main").run(words);
    output.code(7);
    assert!(
        output.elapsed < Duration::from_secs(10),
        "{:?}",
        output.elapsed
    );
    // Its success ends the pod, too.
    let words = programs(&["sleep 100", "sleep 60000"]);
    Pod::new(&root)
        .flag("--exit-policy=app-0")
        .run(words)
        .code(0);
    Ok(())
}

fn policies_that_are_none() -> TestResult {
    let pod = Pod::new(roots::probe());
    pod.clone()
        .flag("--exit-policy=nobody")
        .run(programs(&["exit 0", "exit 0"]))
        .refused(&["nobody", "names no program"]);
    for (option, words) in [
        ("--stop-signal=NONE", "no signal"),
        ("--stop-signal=65", "no signal"),
        ("--stop-timeout=soon", "no number of seconds"),
        (
            "--timeout=1m",
            "option --timeout=1m: it is no number of seconds",
        ),
        (
            "--timeout=",
            "option --timeout=: it is no number of seconds",
        ),
        ("--pre-start=", "it is empty"),
        ("--name=a/b", "no slash"),
    ] {
        pod.clone()
            .flag(option)
            .probe(["exit", "0"])
            .refused(&[words]);
    }
    Ok(())
}

/// A death by the stop signal that was sent counts as 0; by another one it does
/// not.
fn a_stop_signal_of_its_own() -> TestResult {
    let words = programs(&[
        "line , exit 0",
        "--stop-signal=SIGUSR1 | catch USR1 , exit 0",
        "--stop-signal=2 | catch INT , exit 0",
    ]);
    let pod = Pod::new(roots::probe()).flag("--exit-policy=app-0");
    let mut running = pod.command(words).open_input().start();
    running.wait_for(&"catch: waiting\n".repeat(2));
    running.close_input();
    running
        .finish()
        .code(0)
        .has("catch: SIGUSR1")
        .has("catch: SIGINT");
    Ok(())
}

fn the_deadline_of_the_stop() -> TestResult {
    let words = programs(&[
        "exit 3",
        "--ready=file:/tmp/a --stop-timeout=300ms | ignore TERM , background ignore TERM , write /tmp/a x , sleep 60000",
        "--ready=file:/tmp/b --stop-timeout=1 | ignore TERM , write /tmp/b x , sleep 60000",
    ]);
    let output = Pod::new(roots::probe())
        .flag("--after=app-1,app-2")
        .run(words);
    output.code(3);
    assert!(
        (1.0..10.0).contains(&output.elapsed.as_secs_f64()),
        "{:?}",
        output.elapsed
    );
    Ok(())
}

/// Who waited for another one is stopped before it.
fn stopped_in_reverse_order() -> TestResult {
    let words = programs(&[
        "--name=base | catch TERM , echo base-ends",
        "--name=middle --after=base | catch TERM , sleep 150 , echo middle-ends",
        "--name=top --after=middle | catch TERM , sleep 150 , echo top-ends",
        "--after=top | line , exit 4",
    ]);
    let words = words.get(1..).expect("words");
    let pod = Pod::new(roots::probe()).flag("--name=base");
    let mut running = pod.command(words).open_input().start();
    running.wait_for(&"catch: waiting\n".repeat(3));
    running.close_input();
    let output = running.finish();
    output.code(4);
    let at = |text: &str| output.stdout.find(text).expect(text);
    assert!(at("top-ends") < at("middle-ends"), "{}", output.stdout);
    assert!(at("middle-ends") < at("base-ends"), "{}", output.stdout);
    Ok(())
}

fn hooks() -> TestResult {
    let output = Pod::new(roots::probe())
        .options([
            "--pre-start=/bin/probe echo before",
            "--post-stop",
            "probe echo behind",
        ])
        .probe(["echo", "main", ",", "exit", "3"]);
    output.code(3).printed("before\nmain\nbehind\n");
    Ok(())
}

/// CVE-2025-23266: what an image sets, LD_PRELOAD for one, reaches no hook.
fn hooks_have_a_clean_environment() -> TestResult {
    let output = Pod::new(roots::probe())
        .options(["--set-env=LD_PRELOAD=/evil.so", "--user=1000"])
        .flag("--pre-start=/bin/probe report env uid , echo end")
        .probe(["exit", "0"]);
    output.code(0).lacks("evil").has("env.PATH=").has("end\n");
    Ok(())
}

/// As rkt has it: what an app may not do, its hooks may prepare. Their confinement is the
/// app's: the bounding set, and no new privileges.
fn hooks_are_roots() -> TestResult {
    let words = ["report", "uid", "gid", "CapBnd", "NoNewPrivs"];
    let hook = format!("/bin/probe {}", words.join(" "));
    let output = Pod::new(roots::probe())
        .options([
            "--user=1000",
            "--group=1000",
            "--groups=5,6",
            "--cap-keep=CHOWN",
        ])
        .options(["--pre-start", &hook, "--post-stop", &hook])
        .probe(words);
    output.code(0);
    for (line, count) in [
        ("uid=0\n", 2),
        ("gid=0\n", 2),
        ("uid=1000\n", 1),
        ("gid=1000\n", 1),
        ("CapBnd=0000000000000001\n", 3),
        ("NoNewPrivs=1\n", 3),
    ] {
        assert_eq!(
            output.stdout.matches(line).count(),
            count,
            "{line}{}",
            output.stdout
        );
    }
    Ok(())
}

fn a_pre_start_hook_that_fails() -> TestResult {
    Pod::new(roots::probe())
        .options([
            "--pre-start=/bin/probe exit 9",
            "--post-stop=/bin/probe echo behind",
        ])
        .probe(["echo", "main"])
        .code(9)
        .printed("behind\n");
    Ok(())
}

fn a_hook_that_is_missing() -> TestResult {
    for hook in ["--pre-start=/no/hook", "--post-stop=/no/hook"] {
        Pod::new(roots::probe())
            .flag(hook)
            .probe(["exit", "0"])
            .refused(&["/no/hook", "No such file or directory"]);
    }
    Ok(())
}

/// Behind `---` stand options of the program; those of the pod are refused there.
fn options_of_one_program() -> TestResult {
    let root = roots::probe();
    let pod = Pod::new(&root);
    let words = programs(&["exit 0", "--hostname=x | exit 0"]);
    pod.run(words)
        .refused(&["--hostname=x", "before the first program"]);
    let words = programs(&["exit 0", "--no-such | exit 0"]);
    pod.run(words).refused(&["--no-such", "no such option"]);
    let words = [
        "/bin/probe",
        "exit",
        "0",
        "---",
        "--name=b",
        "--",
        "/bin/probe",
        "exit",
        "4",
    ];
    pod.run(words).code(4);
    let words = programs(&["exit 0", "--name=app-0 | exit 0"]);
    pod.run(words).refused(&["--name", "the same name"]);
    assert!(!fs::exists(root.join("x")).expect("a root"));
    Ok(())
}

fn not_with_fly() -> TestResult {
    for option in [
        "--restart=always",
        "--exit-policy=all",
        "--pre-start=/bin/probe",
    ] {
        Pod::new(roots::probe())
            .options(["--stage1=fly", option])
            .probe(["exit", "0"])
            .refused(&["--stage1=fly"]);
    }
    Ok(())
}
