//! stage1-init as catatonit and podman-init, by catatonit's usage, change log and
//! what podman does with it.

use std::{fs::File, thread, time::Duration};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    init::{self, As, BOTH},
    isolate,
    registered::wait_until,
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
    as_podman_calls_it,
    signals_as_first,
    signals_as_ordinary,
    to_the_group,
    listen_pid,
    descriptors_are_closed,
    always_a_reaper,
    callers_signals,
    pause,
    pause_reaps,
    kubernetes_pause,
    terminal,
    as_the_real_one,
];

const NAME: &str = "catatonit";
const USAGE: &str = "usage: catatonit [-ghLPV] [--] <progname> [<arguments>...]\n";

fn run(arguments: &[&str]) -> Run {
    init::run(NAME, As::Ordinary, arguments)
}

fn texts() -> TestResult {
    for option in ["-V", "--version", "-gV"] {
        run(&[option])
            .output()
            .code(0)
            .printed("tini version 0.1.7_catatonit\n")
            .quiet();
    }
    let output = run(&["-h"]).output();
    output.code(0).printed("");
    assert!(
        output.stderr.starts_with(USAGE) && output.stderr.contains("-P  "),
        "{}",
        output.stderr
    );
    run(&["-L"])
        .output()
        .code(0)
        .quiet()
        .printed("Apache-2.0 OR MIT\n");
    Ok(())
}

fn wrong_options() -> TestResult {
    for (arguments, text) in [
        (&["-x", "true"][..], "catatonit: invalid option -- 'x'\n"),
        (&["-?"], "catatonit: invalid option -- '?'\n"),
        (&["--help"], "catatonit: unrecognized option '--help'\n"),
        (
            &["--license=x"],
            "catatonit: unrecognized option '--license=x'\n",
        ),
        (&[], "catatonit: run: no program is named\n"),
        (&["-g"], "catatonit: run: no program is named\n"),
        (&["--"], "catatonit: run: no program is named\n"),
    ] {
        let output = run(arguments).called(NAME).output();
        output.code(1).printed("");
        assert_eq!(output.stderr, format!("{text}{USAGE}"));
    }
    Ok(())
}

fn exit_codes() -> TestResult {
    for process in BOTH {
        for code in [0, 1, 2, 77, 126, 127, 255] {
            init::probe(NAME, process, &[], &["exit", &code.to_string()])
                .output()
                .code(code)
                .quiet();
        }
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGSEGV, 40] {
            init::probe(NAME, process, &[], &["raise", &signal.to_string()])
                .output()
                .code(128 + signal);
        }
    }
    Ok(())
}

fn programs_that_do_not_start() -> TestResult {
    for (path, words) in [
        ("/no/such", "No such file"),
        ("no-such", "no such program in PATH"),
        ("/etc", "Permission denied"),
    ] {
        let output = run(&["--", path]).output();
        output.code(1).printed("");
        assert!(
            output.stderr.starts_with("catatonit: exec ") && output.stderr.contains(words),
            "{}",
            output.everything()
        );
    }
    Ok(())
}

/// `/run/podman-init -- PROGRAM`, pid 1.
fn as_podman_calls_it() -> TestResult {
    init::run("podman-init", As::First, &["--", "echo", "-x", "--"])
        .output()
        .code(0)
        .printed("-x --\n");
    init::run("catatonit.x86_64", As::First, &["echo", "-V"])
        .output()
        .code(0)
        .printed("-V\n");
    Ok(())
}

fn is_passed(number: i32) -> bool {
    ![
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGSEGV,
        libc::SIGSYS,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ]
    .contains(&number)
}

fn signals_as_first() -> TestResult {
    init::check_signals(NAME, As::First, &[], is_passed);
    Ok(())
}

fn signals_as_ordinary() -> TestResult {
    init::check_signals(NAME, As::Ordinary, &[], is_passed);
    Ok(())
}

fn to_the_group() -> TestResult {
    let probe = program("probe");
    let script = format!(
        "trap '' USR1; {} catch USR1 & wait; exit 6",
        probe.display()
    );
    for process in BOTH {
        let run = init::run(NAME, process, &["-g", "--", "sh", "-c", &script]);
        let (running, pid) = init::start(run, process);
        running.wait_for("waiting");
        sys::kill(pid, libc::SIGUSR1).expect("it runs");
        running.finish().code(6).has("catch: SIGUSR1");
    }
    Ok(())
}

/// Sockets that were passed to pid 1 are the program's.
fn listen_pid() -> TestResult {
    let commands = ["report", "env.LISTEN_PID", "env.LISTEN_FDS", "pid"];
    let first = |value: &str| {
        let run = init::probe(NAME, As::First, &[], &commands).env("LISTEN_FDS", "1");
        run.env("LISTEN_PID", value).output().report()
    };
    let report = first("1");
    report
        .is("pid", "2")
        .is("env.LISTEN_PID", "2")
        .is("env.LISTEN_FDS", "1");
    first("5").is("env.LISTEN_PID", "5");
    first("").is("env.LISTEN_PID", "");
    first("x").is("env.LISTEN_PID", "x");
    let report = init::probe(NAME, As::First, &[], &commands)
        .output()
        .report();
    assert!(report.find("env.LISTEN_PID").is_none());
    let catatonit = init::named(NAME);
    let probe = program("probe");
    let script = format!(
        "LISTEN_PID=$$ exec {} -- {} report env.LISTEN_PID pid",
        catatonit.display(),
        probe.display()
    );
    let report = Run::new("sh").args(["-c", &script]).output().report();
    report.is("env.LISTEN_PID", report.get("pid"));
    Ok(())
}

fn descriptors_are_closed() -> TestResult {
    let file = File::open("/etc/passwd").expect("a file");
    let run = init::probe(
        NAME,
        As::Ordinary,
        &[],
        &["report", "fd", ",", "catch", "TERM"],
    )
    .hook(move || sys::duplicate_onto(&file, 7));
    let (running, pid) = init::start(run, As::Ordinary);
    running.wait_for("waiting");
    // It does so beside the program.
    let own = || kickstage_tests::compare::names(format!("/proc/{pid}/fd"));
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while own() != ["0", "1", "2"] && std::time::Instant::now() < patience {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(own(), ["0", "1", "2"]);
    sys::kill(pid, libc::SIGTERM).expect("it runs");
    running.finish().code(0).has("fd.7=/etc/passwd");
    Ok(())
}

fn always_a_reaper() -> TestResult {
    let commands = [
        "orphan", "20", ",", "zombie", "50", ",", "sleep", "150", ",", "zombies",
    ];
    for process in BOTH {
        init::probe(NAME, process, &[], &commands)
            .output()
            .code(0)
            .quiet()
            .has("zombies=0");
    }
    Ok(())
}

fn callers_signals() -> TestResult {
    let report = init::probe(NAME, As::Ordinary, &[], &["report", "SigBlk", "SigIgn"])
        .hook(|| sys::ignore(libc::SIGUSR2))
        .hook(|| sys::block(libc::SIGTERM))
        .output()
        .report();
    assert!(report.get("SigBlk").ends_with("00004000"), "{report:?}");
    let ignored = u64::from_str_radix(report.get("SigIgn"), 16).expect("a mask");
    assert_eq!(ignored & 0x7fff_ffff, 0x800, "{ignored:x}");
    Ok(())
}

/// No program: SIGINT or SIGTERM end it, nothing else does.
fn pause() -> TestResult {
    for process in BOTH {
        for (signal, options) in [
            (libc::SIGINT, &["-P"][..]),
            (libc::SIGTERM, &["-gP", "true"]),
        ] {
            let (mut running, pid) = init::start(init::run(NAME, process, options), process);
            init::wait_for_state(pid, 'S');
            thread::sleep(Duration::from_millis(20));
            for other in init::signals().filter(|number| is_passed(*number)) {
                if other != libc::SIGINT && other != libc::SIGTERM {
                    sys::kill(pid, other).expect("it runs");
                }
            }
            thread::sleep(Duration::from_millis(20));
            assert!(running.runs());
            sys::kill(pid, signal).expect("it runs");
            running.finish().code(0).printed("").quiet();
        }
    }
    Ok(())
}

fn pause_reaps() -> TestResult {
    let probe = program("probe");
    let catatonit = init::named(NAME);
    let script = format!(
        "{} orphan 10 & exec {} -P",
        probe.display(),
        catatonit.display()
    );
    let running = Run::new("sh").args(["-c", &script]).start();
    running.wait_for("orphan 10: ok");
    // But for pid 1 of the test, the test, and catatonit.
    wait_until("all are reaped", || isolate::processes().len() == 3);
    running.signal(libc::SIGTERM);
    running.finish().code(0);
    Ok(())
}

fn kubernetes_pause() -> TestResult {
    let (mut running, pid) = init::start(init::run("pause", As::First, &[]), As::First);
    init::wait_for_state(pid, 'S');
    thread::sleep(Duration::from_millis(20));
    assert!(running.runs());
    sys::kill(pid, libc::SIGTERM).expect("it runs");
    running.finish().code(0);
    Ok(())
}

fn terminal() -> TestResult {
    let mut terminal = Terminal::new(24, 80);
    let commands = ["catch", "INT", ",", "exit", "6"];
    // Standard input may be something else: the session's terminal counts.
    let running = terminal.start(init::probe(NAME, As::Ordinary, &[], &commands));
    terminal.wait_for("waiting");
    terminal.send("\x03");
    terminal.wait_for("catch: SIGINT");
    running.finish().code(6);
    Ok(())
}

fn as_the_real_one() -> TestResult {
    Requirement::Catatonit.require()?;
    for arguments in [
        &["-h"][..],
        &["-V"],
        &["--version"],
        &["--v"],
        &["-x"],
        &["--help"],
        &["--bogus"],
        &["-gV"],
        &["-?"],
        &["--", "true"],
        &["-g", "--", "sh", "-c", "exit 3"],
        &["--", "sh", "-c", "kill -9 $$"],
        &["--", "echo", "--", "-x"],
    ] {
        init::compare_all("catatonit", arguments, &[]);
    }
    for arguments in [&[][..], &["-g"], &["nosuch"], &["/etc"], &["/etc/passwd"]] {
        init::compare("catatonit", arguments, &[]);
    }
    Ok(())
}
