//! stage1-init as dumb-init, by dumb-init's manual page and README.

use std::{thread, time::Duration};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    init::{self, As, BOTH},
    isolate,
    requirement::Requirement,
    sys,
    terminal::Terminal,
    tests,
};

tests![
    texts,
    wrong_options,
    exit_codes,
    programs_that_do_not_start,
    first_operand_ends_options,
    session,
    signals_as_first,
    signals_as_ordinary,
    stop_signals_in_a_session,
    stop_signals_suspend,
    stop_signals_of_a_single_child,
    rewriting,
    wrong_rewriting,
    to_the_session,
    single_child,
    the_rest_is_terminated,
    the_rest_is_spared,
    clean_signals,
    orphans,
    verbose,
    terminal,
    terminal_hand_off,
    as_the_real_one,
];

const NAME: &str = "dumb-init";

fn run(arguments: &[&str]) -> Run {
    init::run(NAME, As::Ordinary, arguments)
}

/// All that it says goes to standard error.
fn texts() -> TestResult {
    for option in ["-V", "--version", "--vers"] {
        let output = run(&[option, "x"]).output();
        output.code(0).printed("");
        assert_eq!(output.stderr, "dumb-init v1.2.5\n");
    }
    for option in ["-h", "--help", "--h"] {
        let output = run(&[option]).called(NAME).output();
        output.code(0).printed("");
        let head = "dumb-init v1.2.5\nUsage: dumb-init [option] command [[arg] ...]\n\n";
        assert!(output.stderr.starts_with(head), "{}", output.everything());
        assert!(
            output
                .stderr
                .ends_with("https://github.com/Yelp/dumb-init\n")
        );
    }
    for arguments in [&[][..], &["-c"], &["--"]] {
        let output = run(arguments).called(NAME).output();
        output.code(1).printed("");
        assert_eq!(
            output.stderr,
            "Usage: dumb-init [option] program [args]\nTry dumb-init --help for full usage.\n"
        );
    }
    Ok(())
}

fn wrong_options() -> TestResult {
    for (arguments, text) in [
        (&["-x", "true"][..], "invalid option -- 'x'"),
        (&["--yolo", "true"], "unrecognized option '--yolo'"),
        (&["-r"], "option requires an argument -- 'r'"),
        (&["--rewrite"], "option '--rewrite' requires an argument"),
        (&["--rew"], "option '--rewrite' requires an argument"),
        (&["--help=x"], "option '--help' doesn't allow an argument"),
        (
            &["--ver", "true"],
            "option '--ver' is ambiguous; possibilities: '--verbose' '--version'",
        ),
    ] {
        let output = run(arguments).called(NAME).output();
        output.code(1).printed("");
        assert_eq!(output.stderr, format!("dumb-init: {text}\n"));
    }
    Ok(())
}

fn exit_codes() -> TestResult {
    for process in BOTH {
        for options in [&[][..], &["-c"]] {
            for code in [0, 1, 2, 32, 64, 127, 254, 255] {
                init::probe(NAME, process, options, &["exit", &code.to_string()])
                    .output()
                    .code(code)
                    .quiet();
            }
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGKILL] {
                init::probe(NAME, process, options, &["raise", &signal.to_string()])
                    .output()
                    .code(128 + signal);
            }
        }
    }
    Ok(())
}

fn programs_that_do_not_start() -> TestResult {
    for (arguments, text) in [
        (
            &["/doesnotexist"][..],
            "/doesnotexist: No such file or directory",
        ),
        (
            &["--", "/doesnotexist"],
            "/doesnotexist: No such file or directory",
        ),
        (
            &["-c", "--", "no-such"],
            "no-such: No such file or directory",
        ),
        (&["/etc"], "/etc: Permission denied"),
    ] {
        let output = run(arguments).output();
        output.code(2).printed("");
        assert_eq!(output.stderr, format!("[dumb-init] {text}\n"));
    }
    Ok(())
}

fn first_operand_ends_options() -> TestResult {
    run(&["echo", "-c", "--version"])
        .output()
        .code(0)
        .printed("-c --version\n");
    run(&["-c", "--", "echo", "--", "-v"])
        .output()
        .code(0)
        .printed("-- -v\n");
    // As the first line of a script has it.
    run(&["/bin/sh", "-c", "exit 3"]).output().code(3);
    run(&["--", "dumb-init", "-c", "sh", "-c", "exit 4"])
        .env(
            "PATH",
            format!(
                "{}:/bin",
                init::named(NAME).parent().expect("a folder").display()
            ),
        )
        .output()
        .code(4);
    Ok(())
}

fn session() -> TestResult {
    let commands = ["report", "pid", "sid", "pgid", "cwd"];
    let report = init::probe(NAME, As::Ordinary, &[], &commands)
        .directory("/usr")
        .output()
        .report();
    let pid = report.get("pid");
    report.is("sid", pid).is("pgid", pid).is("cwd", "/usr");
    for run in [
        init::probe(NAME, As::Ordinary, &["--single-child"], &commands),
        init::probe(NAME, As::Ordinary, &[], &commands).env("DUMB_INIT_SETSID", "0"),
    ] {
        let report = run.output().report();
        assert!(report.get("sid") != report.get("pid"), "{report:?}");
        assert!(report.get("pgid") != report.get("pid"), "{report:?}");
    }
    // Any other value is none.
    let run = init::probe(NAME, As::Ordinary, &[], &commands).env("DUMB_INIT_SETSID", "1");
    let report = run.output().report();
    report.is("sid", report.get("pid"));
    Ok(())
}

const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// All of them, also those that a processor raises; stop signals are tests of
/// their own.
fn signals_as_first() -> TestResult {
    init::check_signals(
        NAME,
        As::First,
        &["-r", "20:0", "-r21:0", "--rewrite=22:0"],
        |number| !STOPS.contains(&number),
    );
    Ok(())
}

fn signals_as_ordinary() -> TestResult {
    for options in [&[][..], &["-c"]] {
        init::check_signals(NAME, As::Ordinary, options, |number| {
            !STOPS.contains(&number)
        });
    }
    Ok(())
}

/// The program's group is orphaned: a stop signal would do nothing, so it is
/// SIGSTOP.
fn stop_signals_in_a_session() -> TestResult {
    for number in STOPS {
        let run = init::probe(NAME, As::First, &[], &["catch", "TERM"]);
        let (running, pid) = init::start(run, As::First);
        running.wait_for("waiting");
        let child = init::child_of(pid);
        sys::kill(pid, number).expect("it runs");
        init::wait_for_state(child, 'T');
        // pid 1 can't be stopped.
        assert_ne!(init::state(pid), 'T');
        sys::kill(pid, libc::SIGCONT).expect("it runs");
        init::wait_for_state(child, 'S');
        sys::kill(pid, libc::SIGTERM).expect("it runs");
        running.finish().code(0).has("catch: SIGTERM");
    }
    Ok(())
}

fn stop_signals_suspend() -> TestResult {
    for number in STOPS {
        // With and without a rewriting of the user's.
        for options in [&[][..], &["-r", "20:10", "-r", "21:10", "-r", "22:10"]] {
            let run = init::probe(NAME, As::Ordinary, options, &["catch", "USR1", "TERM"]);
            let (running, pid) = init::start(run, As::Ordinary);
            running.wait_for("waiting");
            let child = init::child_of(pid);
            sys::kill(pid, number).expect("it runs");
            init::wait_for_state(pid, 'T');
            if options.is_empty() {
                init::wait_for_state(child, 'T');
            }
            sys::kill(pid, libc::SIGCONT).expect("it runs");
            if options.is_empty() {
                init::wait_for_state(child, 'S');
                sys::kill(pid, libc::SIGTERM).expect("it runs");
                running.finish().code(0).has("catch: SIGTERM");
            } else {
                running.finish().code(0).has("catch: SIGUSR1");
            }
        }
    }
    Ok(())
}

/// Nothing is rewritten there.
fn stop_signals_of_a_single_child() -> TestResult {
    for number in STOPS {
        let run = init::probe(NAME, As::Ordinary, &["-c"], &["catch", &number.to_string()]);
        let (running, pid) = init::start(run, As::Ordinary);
        running.wait_for("waiting");
        sys::kill(pid, number).expect("it runs");
        running.wait_for(&init::signal_name(number));
        init::wait_for_state(pid, 'T');
        sys::kill(pid, libc::SIGCONT).expect("it runs");
        running.finish().code(0);
    }
    Ok(())
}

fn rewriting() -> TestResult {
    for (options, sent, name) in [
        (&["-r", "15:3"][..], libc::SIGTERM, "SIGQUIT"),
        (&["--rewrite", "15:2"], libc::SIGTERM, "SIGINT"),
        (&["-r1:31"], libc::SIGHUP, "SIGSYS"),
        // The last one counts; what follows the numbers does not.
        (&["-r", "15:3", "-r", "15:10x"], libc::SIGTERM, "SIGUSR1"),
        (&["-r", "+15:+012"], libc::SIGTERM, "SIGUSR2"),
        // Both ways at once.
        (&["-r", "10:12", "-r", "12:10"], libc::SIGUSR1, "SIGUSR2"),
    ] {
        for process in BOTH {
            let run = init::probe(NAME, process, options, &["catch", "all", "31"]);
            let (running, pid) = init::start(run, process);
            running.wait_for("waiting");
            sys::kill(pid, sent).expect("it runs");
            running.finish().code(0).has(&format!("catch: {name}\n"));
        }
    }
    // 0: not at all.
    let run = init::probe(NAME, As::Ordinary, &["-r", "1:0"], &["catch", "all"]);
    let (running, pid) = init::start(run, As::Ordinary);
    running.wait_for("waiting");
    sys::kill(pid, libc::SIGHUP).expect("it runs");
    thread::sleep(Duration::from_millis(5));
    sys::kill(pid, libc::SIGUSR2).expect("it runs");
    running.finish().code(0).has("catch: SIGUSR2\n");
    Ok(())
}

fn wrong_rewriting() -> TestResult {
    for value in [
        "", "x", "1", "1:", ":1", "0:1", "32:1", "1:32", "1:-1", "-1:1", "a:b", "1 :2",
    ] {
        let output = run(&["-r", value, "true"]).output();
        output.code(1).printed("");
        assert_eq!(
            output.stderr,
            "Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.\n\
             This option can be specified multiple times.\nUse --help for full usage.\n"
        );
    }
    Ok(())
}

/// Two children of a shell, and the shell, which does `last` at SIGTERM.
fn with_children(
    options: &[&str],
    process: As,
    last: &str,
) -> (kickstage_tests::command::Running, i32) {
    let probe = program("probe");
    let probe = probe.display();
    let script = format!(
        "trap '{last}' TERM; {probe} catch TERM USR2 & {probe} catch TERM USR2 & wait; wait; exit 9"
    );
    let (running, pid) = init::start(
        init::run(NAME, process, options).args(["--", "sh", "-c", &script]),
        process,
    );
    running.wait_for("waiting\ncatch: waiting");
    (running, pid)
}

fn to_the_session() -> TestResult {
    for process in BOTH {
        let (running, pid) = with_children(&[], process, "wait; exit 7");
        sys::kill(pid, libc::SIGTERM).expect("it runs");
        let output = running.finish();
        output.code(7);
        assert_eq!(
            output.stdout.matches("catch: SIGTERM").count(),
            2,
            "{}",
            output.everything()
        );
    }
    Ok(())
}

fn single_child() -> TestResult {
    let (running, pid) = with_children(&["-c"], As::Ordinary, "exit 7");
    let shell = init::child_of(pid);
    let text = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
    let children: Vec<i32> = text
        .expect("a shell")
        .split_whitespace()
        .map(|pid| pid.parse().expect("a pid"))
        .collect();
    assert_eq!(children.len(), 2);
    sys::kill(pid, libc::SIGTERM).expect("it runs");
    init::wait_for_state(shell, ' ');
    thread::sleep(Duration::from_millis(5));
    for child in children {
        init::wait_for_state(child, 'S');
        sys::kill(child, libc::SIGUSR2).expect("it runs");
    }
    let output = running.finish();
    output.code(7).lacks("catch: SIGTERM");
    Ok(())
}

/// When the program ends, what it leaves in its session gets SIGTERM, as if that
/// had come: rewritten.
fn the_rest_is_terminated() -> TestResult {
    let probe = program("probe");
    let wait = format!("{} catch TERM QUIT & read line; exit 5", probe.display());
    for (options, name) in [(&[][..], "SIGTERM"), (&["-r", "15:3"], "SIGQUIT")] {
        let run = run(options).args(["--", "sh", "-c", &wait]);
        let mut running = run.open_input().start();
        running.wait_for("catch: waiting");
        running.send("\n");
        running.finish().code(5).has(&format!("catch: {name}\n"));
    }
    Ok(())
}

fn the_rest_is_spared() -> TestResult {
    let probe = program("probe");
    let script = format!("{} catch TERM USR1 & read line; exit 5", probe.display());
    let run = run(&["-c", "--", "sh", "-c", &script]);
    let (mut running, pid) = init::start(run.open_input(), As::Ordinary);
    running.wait_for("waiting\n");
    let shell = init::child_of(pid);
    running.send("\n");
    init::wait_for_state(shell, ' ');
    thread::sleep(Duration::from_millis(20));
    let left = isolate::processes()
        .into_iter()
        .filter(|pid| init::status(*pid, "Name") == "probe");
    for pid in left {
        sys::kill(pid, libc::SIGUSR1).expect("it runs");
    }
    running.finish().code(5).has("catch: SIGUSR1");
    Ok(())
}

/// What the caller ignores or blocks is not the program's.
fn clean_signals() -> TestResult {
    let report = init::probe(NAME, As::Ordinary, &[], &["report", "SigBlk", "SigIgn"])
        .hook(|| sys::ignore(libc::SIGUSR2))
        .hook(|| sys::ignore(libc::SIGHUP))
        .hook(|| sys::ignore(libc::SIGCHLD))
        .hook(|| sys::block(libc::SIGTERM))
        .output()
        .report();
    report.is("SigBlk", "0000000000000000");
    // Without signal 32, which GNU make leaves ignored.
    let ignored = u64::from_str_radix(report.get("SigIgn"), 16).expect("a mask");
    assert_eq!(ignored & 0x7fff_ffff, 0, "{ignored:x}");
    Ok(())
}

fn orphans() -> TestResult {
    let commands = [
        "orphan", "20", ",", "zombie", "50", ",", "sleep", "150", ",", "zombies",
    ];
    init::probe(NAME, As::First, &[], &commands)
        .output()
        .code(0)
        .quiet()
        .has("zombies=0");
    Ok(())
}

/// dumb-init's own tests compare these lines.
fn verbose() -> TestResult {
    let wordings = |run: Run| {
        let output = run.output();
        output.code(0).printed("oh, hi\n");
        let digits = |line: &str| {
            let number = line
                .split("PID ")
                .nth(1)
                .and_then(|rest| rest.split([' ', '.']).next());
            number.map_or(line.to_owned(), |number| {
                line.replace(&format!("PID {number}"), "PID N")
            })
        };
        output.stderr.lines().map(digits).collect::<Vec<String>>()
    };
    let single = [
        "[dumb-init] Child spawned with PID N.",
        "[dumb-init] Received signal 17.",
        "[dumb-init] A child with PID N exited with exit status 0.",
        "[dumb-init] Forwarded signal 15 to children.",
        "[dumb-init] Child exited with status 0. Goodbye.",
    ];
    for options in [&["-v", "-c"][..], &["--verbose", "--single-child"]] {
        assert_eq!(wordings(run(options).args(["echo", "oh,", "hi"])), single);
    }
    let lines = wordings(run(&["echo", "oh,", "hi"]).env("DUMB_INIT_DEBUG", "1"));
    let no_terminal = "controlling tty (errno=25 Inappropriate ioctl for device).";
    assert_eq!(
        lines[0],
        format!("[dumb-init] Unable to detach from {no_terminal}")
    );
    assert!(
        lines.contains(&"[dumb-init] setsid complete.".to_owned()),
        "{lines:?}"
    );
    assert_eq!(&lines[lines.len() - 4..], &single[1..]);
    assert!(wordings(run(&["echo", "oh,", "hi"]).env("DUMB_INIT_DEBUG", "0")).is_empty());
    Ok(())
}

/// The program's session has the terminal that was ours.
fn terminal() -> TestResult {
    let mut terminal = Terminal::new(24, 80);
    let commands = [
        "report", "pid", "sid", "tty.0", ",", "catch", "INT", ",", "exit", "6",
    ];
    let running = terminal.start(init::probe(NAME, As::Ordinary, &[], &commands));
    terminal.wait_for("waiting");
    let shown = terminal.shown();
    let value = |key: &str| {
        let rest = shown.split(key).nth(1).expect("a line").to_owned();
        rest.lines().next().expect("a value").trim().to_owned()
    };
    assert_eq!(value("pid="), value("sid="));
    terminal.send("\x03");
    terminal.wait_for("catch: SIGINT");
    running.finish().code(6);
    // A shell in it has job control.
    let terminal = Terminal::new(24, 80);
    let shell = [
        "bash",
        "--norc",
        "-mc",
        "sleep 0.01 & wait %1; echo flags=$-",
    ];
    let running = terminal.start(run(&shell));
    terminal.wait_for("flags=");
    running.finish().code(0);
    assert!(
        !terminal.shown().contains("no job control"),
        "{}",
        terminal.shown()
    );
    Ok(())
}

/// Giving the terminal up sends SIGHUP and SIGCONT to the session's leader, once:
/// they are not the program's.
fn terminal_hand_off() -> TestResult {
    let terminal = Terminal::new(24, 80);
    let commands = ["catch", "HUP", "CONT", "USR1"];
    let running = terminal.start(init::probe(NAME, As::Ordinary, &["-v"], &commands));
    terminal.wait_for("Ignoring tty hand-off signal 1.");
    terminal.wait_for("Ignoring tty hand-off signal 18.");
    terminal.wait_for("waiting");
    running.signal(libc::SIGHUP);
    terminal.wait_for("[dumb-init] Forwarded signal 1 to children.");
    terminal.wait_for("catch: SIGHUP");
    running.finish().code(0);
    assert!(
        !terminal.shown().contains("Forwarded signal 18"),
        "{}",
        terminal.shown()
    );
    Ok(())
}

fn as_the_real_one() -> TestResult {
    Requirement::DumbInit.require()?;
    for arguments in [
        &[][..],
        &["-h"],
        &["--help"],
        &["-V"],
        &["--version", "x"],
        &["-x"],
        &["--bogus"],
        &["--v", "true"],
        &["--help=x"],
        &["-r"],
        &["--rewrite"],
        &["-r", "x", "true"],
        &["-r", "32:1", "true"],
        &["-r", "1:2x", "true"],
        &["-r", "1:2", "true"],
        &["nosuch"],
        &["/etc"],
        &["/etc/passwd"],
        &["-c", "nosuch"],
        &["true"],
        &["-c", "--", "echo", "--", "-c"],
        &["sh", "-c", "exit 3"],
        &["sh", "-c", "kill -9 $$"],
        &["sh", "-c", "kill -15 $$"],
    ] {
        init::compare_all("dumb-init", arguments, &[]);
        init::compare("dumb-init", arguments, &[("DUMB_INIT_DEBUG", "1")]);
        init::compare_all("dumb-init", arguments, &[("DUMB_INIT_SETSID", "0")]);
    }
    Ok(())
}
