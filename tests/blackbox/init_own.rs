//! stage1-init under its own name, without a plan: what all inits of containers
//! do, and more. docs/stage1-init.md says what.

use std::{fs, path::Path, thread, time::Duration};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, program},
    init::{self, As, BOTH},
    registered::wait_until,
    sys,
    terminal::Terminal,
    tests,
};

tests![
    texts,
    wrong_options,
    exit_codes,
    remapped,
    rewritten,
    programs_that_do_not_start,
    signals_as_first,
    signals_as_ordinary,
    to_the_group,
    to_all,
    session,
    place,
    parent_death,
    always_a_reaper,
    verbosity,
    waits_for_all,
    stops_the_rest,
    kills_the_rest,
    signals_to_the_rest,
    job_control,
    stopped_by_somebody,
    foreground,
    background_job,
    listen_pid,
];

const NAME: &str = "stage1-init";

fn run(arguments: &[&str]) -> Run {
    init::run(NAME, As::Ordinary, arguments)
}

fn texts() -> TestResult {
    for option in ["-h", "--help"] {
        let output = run(&[option, "x"]).output();
        output
            .code(0)
            .quiet()
            .has("stage1-init [OPTIONS] [--] PROGRAM [ARG...]\n");
    }
    for option in ["-V", "--version"] {
        run(&[option])
            .output()
            .code(0)
            .quiet()
            .has("stage1-init 0.");
    }
    for option in ["-l", "-L", "--license"] {
        run(&[option])
            .output()
            .code(0)
            .printed("Apache-2.0 OR MIT\n");
    }
    Ok(())
}

fn wrong_options() -> TestResult {
    for (arguments, words) in [
        (&[][..], "run: no program is named"),
        (&["-g"], "no program is named"),
        (&["--"], "no program is named"),
        (&["-x", "true"], "option -x: there is no such option"),
        (
            &["--yolo", "true"],
            "option --yolo: there is no such option",
        ),
        (&["--re", "true"], "option --re: there is no such option"),
        (&["--wait-all=1", "true"], "it takes no value"),
        (&["--deadline"], "its value is missing"),
        (&["-e"], "its value is missing"),
        (&["--deadline", "1s", "true"], "no number of milliseconds"),
        (&["--forward", "none", "true"], "it is child, group or all"),
        (&["--remap", "256", "true"], "no exit code"),
        (&["--remap", "1=256", "true"], "no exit code"),
        (&["--remap", "1=", "true"], "no exit code"),
        (&["--remap", "1=2x", "true"], "no exit code"),
        (&["--rewrite", "TERM", "true"], "no signal"),
        (&["--rewrite", "TERM=NONE", "true"], "no signal"),
        (&["--rewrite", "65=1", "true"], "no signal"),
        (&["--rewrite", "0=1", "true"], "no signal"),
        (&["-p", "0", "true"], "no signal"),
        (&["-p", "40", "true"], "no signal"),
        (&["-!", "true"], "there is no such option"),
        (&["-&", "true"], "there is no such option"),
    ] {
        run(arguments).output().refused(&[words, "(see --help)"]);
    }
    Ok(())
}

fn exit_codes() -> TestResult {
    for process in BOTH {
        for code in [0, 1, 77, 127, 254, 255] {
            init::probe(NAME, process, &[], &["exit", &code.to_string()])
                .output()
                .code(code)
                .quiet();
        }
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGSEGV, 64] {
            init::probe(NAME, process, &[], &["raise", &signal.to_string()])
                .output()
                .code(128 + signal)
                .quiet();
        }
    }
    Ok(())
}

fn remapped() -> TestResult {
    for (options, code, left) in [
        (&["-e", "143"][..], "143", 0),
        (&["--remap=143=7"], "143", 7),
        (&["-e3=4", "-e", "5", "--remap", "6=255"], "3", 4),
        (&["-e3=4", "-e", "5", "--remap", "6=255"], "5", 0),
        (&["-e3=4", "-e", "5", "--remap", "6=255"], "6", 255),
        (&["-e3=4", "-e", "5", "--remap", "6=255"], "4", 4),
        (&["-e0=9", "-e9=0"], "0", 9),
        (&["-e255=0", "-e0=255"], "255", 0),
    ] {
        init::probe(NAME, As::Ordinary, options, &["exit", code])
            .output()
            .code(left);
    }
    Ok(())
}

fn rewritten() -> TestResult {
    for (option, sent, name) in [
        ("TERM=QUIT", libc::SIGTERM, "SIGQUIT"),
        ("SIGTERM=INT", libc::SIGTERM, "SIGINT"),
        ("15:3", libc::SIGTERM, "SIGQUIT"),
        ("USR1=40", libc::SIGUSR1, "SIG40"),
        ("40=USR2", 40, "SIGUSR2"),
    ] {
        let run = init::probe(NAME, As::Ordinary, &["-r", option], &["catch", "all"]);
        let (running, pid) = init::start(run, As::Ordinary);
        running.wait_for("waiting");
        sys::kill(pid, sent).expect("it runs");
        running.finish().code(0).has(&format!("catch: {name}\n"));
    }
    let run = init::probe(NAME, As::Ordinary, &["--rewrite=HUP=0"], &["catch", "all"]);
    let (running, pid) = init::start(run, As::Ordinary);
    running.wait_for("waiting");
    sys::kill(pid, libc::SIGHUP).expect("it runs");
    thread::sleep(Duration::from_millis(5));
    sys::kill(pid, libc::SIGTERM).expect("it runs");
    running.finish().code(0).has("catch: SIGTERM\n");
    Ok(())
}

fn programs_that_do_not_start() -> TestResult {
    for process in BOTH {
        for (path, words) in [
            ("/no/such", "exec /no/such: No such file"),
            ("no-such", "no such program in PATH"),
            ("/etc", "Permission denied"),
        ] {
            init::run(NAME, process, &["--", path])
                .output()
                .refused(&[words]);
        }
    }
    let script = kickstage_tests::isolate::folder().join("script");
    fs::write(&script, "#!/no/interpreter\n").expect("a file");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("a mode");
    run(&[script.to_str().expect("UTF-8")])
        .output()
        .refused(&["its interpreter /no/interpreter is missing"]);
    Ok(())
}

/// Every one, also those that a processor raises.
fn signals_as_first() -> TestResult {
    init::check_signals(NAME, As::First, &[], |_| true);
    Ok(())
}

/// But SIGCONT, which goes to a program that waits unstopped, as it does.
fn signals_as_ordinary() -> TestResult {
    init::check_signals(NAME, As::Ordinary, &[], |_| true);
    Ok(())
}

fn to_the_group() -> TestResult {
    let probe = program("probe");
    let script = format!(
        "trap '' USR1; {} catch USR1 & wait; exit 6",
        probe.display()
    );
    for option in ["-g", "--forward=group"] {
        for process in BOTH {
            let run = init::run(NAME, process, &[option, "--", "sh", "-c", &script]);
            let (running, pid) = init::start(run, process);
            running.wait_for("waiting");
            sys::kill(pid, libc::SIGUSR1).expect("it runs");
            running.finish().code(6).has("catch: SIGUSR1");
        }
    }
    Ok(())
}

/// In sessions of their own, and orphans.
fn to_all() -> TestResult {
    let probe = program("probe");
    let probe = probe.display();
    let script = format!(
        "trap '' USR1; ({probe} session , catch USR1 TERM &) ; {probe} session , catch USR1 TERM & wait; read line; exit 6"
    );
    for process in BOTH {
        let run = init::run(NAME, process, &["-f", "all", "--", "sh", "-c", &script]);
        let (mut running, pid) = init::start(run.open_input(), process);
        running.wait_for_times("catch: waiting", 2);
        sys::kill(pid, libc::SIGUSR1).expect("it runs");
        // Those that it leaves may be killed at its end.
        running.wait_for_times("catch: SIGUSR1", 2);
        running.send("\n");
        let output = running.finish();
        output.code(6);
        assert_eq!(
            output.stdout.matches("catch: SIGUSR1").count(),
            2,
            "{}",
            output.everything()
        );
    }
    Ok(())
}

fn session() -> TestResult {
    let commands = ["report", "pid", "sid", ",", "catch", "TERM"];
    let (running, pid) = init::start(
        init::probe(NAME, As::Ordinary, &["--session"], &commands),
        As::Ordinary,
    );
    running.wait_for("waiting");
    let child = init::child_of(pid);
    sys::kill(pid, libc::SIGTSTP).expect("it runs");
    init::wait_for_state(child, 'T');
    init::wait_for_state(pid, 'T');
    sys::kill(pid, libc::SIGCONT).expect("it runs");
    init::wait_for_state(child, 'S');
    sys::kill(pid, libc::SIGTERM).expect("it runs");
    running
        .finish()
        .code(0)
        .has(&format!("pid={child}\nsid={child}\n"));
    Ok(())
}

/// Its own group, the caller's session and directory; the init lets go of all.
fn place() -> TestResult {
    let file = fs::File::open("/etc/passwd").expect("a file");
    let commands = [
        "report", "pid", "pgid", "sid", "cwd", "fd", ",", "catch", "TERM",
    ];
    let run = init::probe(NAME, As::Ordinary, &[], &commands)
        .directory("/usr")
        .hook(move || sys::duplicate_onto(&file, 7));
    let (running, pid) = init::start(run, As::Ordinary);
    running.wait_for("waiting");
    let child = init::child_of(pid);
    // The program runs before its init goes on.
    wait_until("it is in the root", || {
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|own| own == Path::new("/"))
    });
    wait_until("it lets go of all", || {
        kickstage_tests::compare::names(format!("/proc/{pid}/fd")) == ["0", "1", "2"]
    });
    assert_eq!(
        kickstage_tests::compare::names(format!("/proc/{pid}/fd")),
        ["0", "1", "2"]
    );
    sys::kill(pid, libc::SIGTERM).expect("it runs");
    let output = running.finish();
    output.code(0).has("cwd=/usr\n").has("fd.7=/etc/passwd");
    output
        .has(&format!("pgid={child}\n"))
        .lacks(&format!("sid={child}\n"));
    Ok(())
}

fn parent_death() -> TestResult {
    let own = init::named(NAME);
    let probe = program("probe");
    let script = format!(
        "{} --parent-death=USR1 -- {} catch USR1 & read line; exit 0",
        own.display(),
        probe.display()
    );
    let run = Run::new("sh").args(["-c", &script]);
    let mut running = run.open_input().start();
    running.wait_for("catch: waiting");
    running.send("\n");
    running.wait_for("catch: SIGUSR1");
    running.finish().code(0);
    Ok(())
}

fn always_a_reaper() -> TestResult {
    let commands = [
        "orphan", "20", ",", "zombie", "50", ",", "sleep", "150", ",", "zombies",
    ];
    for process in BOTH {
        for options in [&[][..], &["-s"], &["--session"]] {
            init::probe(NAME, process, options, &commands)
                .output()
                .code(0)
                .quiet()
                .has("zombies=0");
        }
    }
    let output = init::probe(NAME, As::First, &["-w"], &["zombie", "5", ",", "zombies"]).output();
    assert_eq!(
        output.stderr.matches("Reaped zombie process").count(),
        5,
        "{}",
        output.everything()
    );
    Ok(())
}

fn verbosity() -> TestResult {
    let output = init::probe(NAME, As::First, &["-v"], &["exit", "3"]).output();
    output.code(3);
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert!(lines[0].ends_with("/probe is process 2"), "{lines:?}");
    assert_eq!(lines[1..], ["stage1-init: process 2 exited with code 3"]);
    let output = init::probe(NAME, As::First, &["-v"], &["raise", "TERM"]).output();
    output.code(143);
    assert!(
        output.stderr.contains("process 2 was killed by signal 15"),
        "{}",
        output.stderr
    );
    let (running, pid) = init::start(
        init::probe(NAME, As::Ordinary, &["-vv"], &["catch", "TERM"]),
        As::Ordinary,
    );
    running.wait_for("waiting");
    sys::kill(pid, libc::SIGTERM).expect("it runs");
    let output = running.finish();
    assert!(
        output.stderr.contains("signal 15 was passed on"),
        "{}",
        output.stderr
    );
    Ok(())
}

/// A program that leaves two behind, one of them in a session of its own, when it has read
/// a line.
fn leaving(process: As, options: &[&str], left: &str) -> Run {
    let probe = program("probe");
    let probe = probe.display();
    let script = format!("{probe} session , {left} & {probe} {left} & read line; exit 5");
    let run = init::run(NAME, process, options).args(["--", "sh", "-c", &script]);
    run.open_input()
}

/// Runs it to its end, which comes when both have said `said`.
fn left(run: Run, said: &str) -> Output {
    let mut running = run.start();
    running.wait_for_times(said, 2);
    running.send("\n");
    running.finish()
}

fn waits_for_all() -> TestResult {
    for process in BOTH {
        let run = leaving(
            process,
            &["--wait-all"],
            "echo begun , sleep 300 , echo done",
        );
        let output = left(run, "begun");
        output.code(5);
        assert_eq!(
            output.stdout.matches("done").count(),
            2,
            "{}",
            output.everything()
        );
    }
    Ok(())
}

fn stops_the_rest() -> TestResult {
    for process in BOTH {
        for options in [
            &["--deadline", "10000"][..],
            &["--wait-all", "--deadline=10000"],
        ] {
            let run = leaving(process, options, "catch TERM , echo done");
            let output = left(run, "catch: waiting");
            output.code(5);
            assert_eq!(
                (
                    output.stdout.matches("SIGTERM").count(),
                    output.stdout.matches("done").count()
                ),
                (2, 2),
                "{}",
                output.everything()
            );
            assert!(
                output.elapsed < Duration::from_secs(5),
                "{:?}",
                output.elapsed
            );
        }
    }
    Ok(())
}

/// 2,000 that ignore SIGTERM, started by a program that is gone.
fn kills_the_rest() -> TestResult {
    let deadline = ["--deadline", "200"];
    let run = leaving(As::Ordinary, &deadline, "ignore all , sleep 60000");
    let output = left(run, "ignore all: ok");
    output.code(5);
    assert!(
        output.elapsed > Duration::from_millis(200),
        "{:?}",
        output.elapsed
    );
    assert!(
        output.elapsed < Duration::from_secs(5),
        "{:?}",
        output.elapsed
    );
    let probe = program("probe");
    let probe = probe.display();
    let script = format!(
        "i=0; while [ $i -lt 2000 ]; do {probe} ignore all , sleep 60000 >/dev/null & i=$((i+1)); done; exit 5"
    );
    let output = init::run(
        NAME,
        As::First,
        &["--deadline", "100", "--", "sh", "-c", &script],
    )
    .limit(Duration::from_secs(60))
    .output();
    output.code(5);
    Ok(())
}

/// The program is gone: signals go to all that are waited for.
fn signals_to_the_rest() -> TestResult {
    for process in BOTH {
        let run = leaving(process, &["--wait-all"], "catch USR1");
        let (mut running, pid) = init::start(run, process);
        running.wait_for_times("catch: waiting", 2);
        let shell = init::child_of(pid);
        running.send("\n");
        init::wait_for_state(shell, ' ');
        sys::kill(pid, libc::SIGUSR1).expect("it runs");
        let output = running.finish();
        output.code(5);
        assert_eq!(
            output.stdout.matches("SIGUSR1").count(),
            2,
            "{}",
            output.everything()
        );
    }
    Ok(())
}

/// A shell with job control, in which $INIT and $PROBE are ours.
fn shell() -> Run {
    Run::new("bash")
        .args(["--norc", "--noprofile", "-i"])
        .env("PS1", "prompt> ")
        .env("INIT", init::named(NAME))
        .env("PROBE", program("probe"))
        .env("TERM", "dumb")
}

/// In a shell: ^Z gives the prompt back, fg the terminal, ^C ends the program.
fn job_control() -> TestResult {
    let mut terminal = Terminal::new(24, 200);
    let running = terminal.start(shell());
    terminal.wait_for("prompt> ");
    terminal.send("$INIT $PROBE echo begun , sleep 400 , catch INT , exit 6\n");
    // Not the command that was typed.
    terminal.wait_for("\r\nbegun");
    terminal.send("\x1a");
    terminal.wait_for("Stopped");
    terminal.send("fg\n");
    terminal.wait_for("waiting");
    terminal.send("\x03");
    terminal.wait_for("catch: SIGINT");
    terminal.send("echo code=$?\n");
    terminal.wait_for("code=6");
    terminal.send("exit 3\n");
    running.finish().code(3);
    Ok(())
}

/// Who has stopped the program by kill(1) knows nothing of the init.
fn stopped_by_somebody() -> TestResult {
    let terminal = Terminal::new(24, 80);
    let run = init::probe(
        NAME,
        As::Ordinary,
        &[],
        &["catch", "TERM", ",", "exit", "6"],
    );
    let running = terminal.start(run);
    terminal.wait_for("waiting");
    let program = init::child_of(running.pid());
    sys::kill(program, libc::SIGSTOP).expect("it runs");
    init::wait_for_state(program, 'T');
    thread::sleep(Duration::from_millis(100));
    running.signal(libc::SIGTERM);
    sys::kill(program, libc::SIGCONT).expect("it is there");
    terminal.wait_for("catch: SIGTERM");
    running.finish().code(6);
    Ok(())
}

fn foreground() -> TestResult {
    let mut terminal = Terminal::new(24, 80);
    let commands = ["catch", "INT", ",", "exit", "6"];
    let running = terminal.start(init::probe(NAME, As::Ordinary, &[], &commands));
    terminal.wait_for("waiting");
    terminal.send("\x03");
    terminal.wait_for("catch: SIGINT");
    running.finish().code(6);
    Ok(())
}

/// A job of the background takes the terminal from nobody.
fn background_job() -> TestResult {
    let mut terminal = Terminal::new(24, 200);
    let running = terminal.start(shell());
    terminal.wait_for("prompt> ");
    terminal.send("$INIT $PROBE catch USR1 , exit 6 &\n");
    terminal.wait_for("catch: waiting");
    terminal.send("kill -USR1 $!; wait $!; echo code=$?\n");
    terminal.wait_for("code=6");
    terminal.send("exit 3\n");
    running.finish().code(3);
    Ok(())
}

fn listen_pid() -> TestResult {
    let commands = ["report", "env.LISTEN_PID"];
    init::probe(NAME, As::First, &[], &commands)
        .env("LISTEN_PID", "1")
        .output()
        .report()
        .is("env.LISTEN_PID", "2");
    Ok(())
}
