//! stage1-init as tini and docker-init, by tini's usage and README.

use std::{fs, os::unix::fs::symlink, time::Duration};

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
    versions,
    help_and_license,
    wrong_options,
    names,
    exit_codes,
    remapped,
    programs_that_do_not_start,
    scripts_and_paths,
    first_operand_ends_options,
    signals_as_first,
    signals_as_ordinary,
    to_the_group,
    callers_signals,
    subreaper,
    orphans_of_the_first,
    verbosity,
    parent_death,
    terminal,
    as_the_real_one,
];

const NAME: &str = "tini";

fn versions() -> TestResult {
    for (name, text) in [
        ("tini", "tini version 0.19.0\n"),
        ("tini-static", "tini version 0.19.0\n"),
        // Docker wants `tini version V`, and compares what is behind `git.`.
        ("docker-init", "tini version 0.19.0 - git.de40ad0\n"),
    ] {
        init::run(name, As::Ordinary, &["--version"])
            .output()
            .code(0)
            .printed(text)
            .quiet();
    }
    Ok(())
}

fn help_and_license() -> TestResult {
    for (name, head) in [
        ("tini", "tini (tini version 0.19.0)\nUsage: tini [OPTIONS]"),
        (
            "docker-init",
            "docker-init (tini version 0.19.0 - git.de40ad0)\nUsage: docker-init [OPTIONS]",
        ),
    ] {
        let output = init::run(name, As::Ordinary, &["-h"]).output();
        output.code(0).quiet().has("-e EXIT_CODE: Remap");
        assert!(output.stdout.starts_with(head), "{}", output.everything());
    }
    let output = init::run(NAME, As::Ordinary, &["-l", "-x"]).output();
    output.code(0).quiet().printed("Apache-2.0 OR MIT\n");
    Ok(())
}

fn wrong_options() -> TestResult {
    for (arguments, text) in [
        (&["-x"][..], "invalid option -- 'x'\n"),
        (&["-sx", "true"], "invalid option -- 'x'\n"),
        (&["--help"], "invalid option -- '-'\n"),
        (&["--version", "true"], "invalid option -- '-'\n"),
        (&["-p"], "option requires an argument -- 'p'\n"),
        (&["-se"], "option requires an argument -- 'e'\n"),
        (&[], ""),
        (&["-s"], ""),
        (&["--"], ""),
    ] {
        let output = init::run(NAME, As::Ordinary, arguments).output();
        output.code(1).printed("");
        let usage = output.stderr.contains("Usage: tini [OPTIONS]");
        assert!(
            usage && output.stderr.contains(text),
            "{}",
            output.everything()
        );
    }
    for value in ["", "x", "256", "-1", "3x", "99999999999999999999"] {
        let output = init::run(NAME, As::Ordinary, &["-e", value, "true"]).output();
        output.code(1).printed("");
        assert!(
            output.stderr.starts_with("tini: read value"),
            "{}",
            output.stderr
        );
    }
    for value in [
        "KILL", "9", "SIGNONE", "SIGRTMIN", "SIGIO", "SIGPWR", "sigterm", "",
    ] {
        init::run(NAME, As::Ordinary, &["-p", value, "true"])
            .output()
            .code(1);
    }
    Ok(())
}

/// Hard links, copies and symbolic links: the name it is called by decides.
fn names() -> TestResult {
    let folder = isolate::folder();
    let own = program("stage1-init");
    fs::copy(&own, folder.join("tini-amd64")).expect("a copy");
    symlink(&own, folder.join("tini")).expect("a link");
    for name in ["tini", "tini-amd64"] {
        Run::new(folder.join(name))
            .arg("--version")
            .output()
            .code(0)
            .printed("tini version 0.19.0\n");
    }
    // Whatever the file is called.
    Run::new(&own)
        .called("/usr/bin/tini-static")
        .arg("--version")
        .output()
        .code(0)
        .printed("tini version 0.19.0\n");
    // Not every name that begins so.
    Run::new(&own)
        .called("tinier")
        .arg("--version")
        .output()
        .code(0)
        .has("stage1-init");
    // A pod's variable is nothing to it.
    Run::new(&own)
        .called("tini")
        .env("STAGE1_PLAN_FD", "3")
        .args(["-s", "--", "/bin/sh", "-c", "exit 3"])
        .output()
        .code(3);
    Ok(())
}

fn exit_codes() -> TestResult {
    for process in BOTH {
        for code in [0, 1, 2, 77, 126, 127, 128, 254, 255] {
            let text = code.to_string();
            init::probe(NAME, process, &[], &["exit", &text])
                .output()
                .code(code);
        }
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGSEGV, 40] {
            let text = signal.to_string();
            init::probe(NAME, process, &[], &["raise", &text])
                .output()
                .code(128 + signal);
        }
    }
    Ok(())
}

fn remapped() -> TestResult {
    let run = |options: &[&str], code: &str| {
        init::probe(NAME, As::Ordinary, options, &["exit", code]).output()
    };
    for code in ["0", "1", "77", "143", "255"] {
        run(&["-e", code], code).code(0);
    }
    run(&["-e3", "-e", "143"], "3").code(0);
    run(&["-e3", "-e", "143"], "143").code(0);
    run(&["-e3", "-e", "+0143"], "4").code(4);
    init::probe(NAME, As::Ordinary, &["-e", "143"], &["raise", "TERM"])
        .output()
        .code(0);
    // Also what is its own.
    init::run(NAME, As::Ordinary, &["-e", "127", "/no/such"])
        .output()
        .code(0);
    Ok(())
}

fn programs_that_do_not_start() -> TestResult {
    for process in BOTH {
        for (path, code, words) in [
            ("/no/such", 127, "exec /no/such: No such file"),
            ("no-such", 127, "no such program in PATH"),
            ("", 127, "No such file"),
            ("/etc/passwd", 126, "Permission denied"),
            ("/etc", 126, "Permission denied"),
            ("/etc/passwd/x", 1, "Not a directory"),
        ] {
            let output = init::run(NAME, process, &["-s", "--", path]).output();
            output.code(code).printed("");
            assert!(
                output.stderr.starts_with("tini: exec") && output.stderr.contains(words),
                "{}",
                output.everything()
            );
        }
    }
    Ok(())
}

/// As execvp(3): PATH, its default, and scripts without a first line.
fn scripts_and_paths() -> TestResult {
    let folder = isolate::folder();
    let script = folder.join("script");
    fs::write(&script, "echo \"$0 $#\"\nexit 9\n").expect("a file");
    sys::mask(0);
    let mut permissions = fs::metadata(&script).expect("a file").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(&script, permissions).expect("a mode");
    let folder = folder.to_str().expect("UTF-8");
    let expected = format!("{folder}/script 2\n");
    init::run(NAME, As::Ordinary, &["-s", "--", "script", "a", "b"])
        .env("PATH", format!("/nowhere:/etc/passwd:{folder}"))
        .output()
        .code(9)
        .printed(&expected)
        .quiet();
    let mut here = init::run(NAME, As::Ordinary, &["-s", "--", "script", "a", "b"]);
    here = here.env("PATH", ":/bin").directory(folder);
    here.output().code(9).printed("./script 2\n");
    // A name that is longer than any path.
    let long = format!("/{}:/bin", "x".repeat(5000));
    init::run(NAME, As::Ordinary, &["-s", "--", "sh", "-c", "exit 4"])
        .env("PATH", long)
        .output()
        .code(4);
    init::run(NAME, As::Ordinary, &["-s", "--", "env"])
        .env("PATH", "/usr/bin")
        .env("A", "b")
        .output()
        .code(0)
        .printed("A=b\nPATH=/usr/bin\n");
    Ok(())
}

fn first_operand_ends_options() -> TestResult {
    let run = |arguments: &[&str]| init::run(NAME, As::Ordinary, arguments).output();
    run(&["-s", "echo", "-h", "--version"])
        .code(0)
        .printed("-h --version\n");
    run(&["-s", "--", "echo", "--", "-x"])
        .code(0)
        .printed("-- -x\n");
    // PROGRAM -- [ARGS], as the usage has it.
    run(&["-s", "echo", "--", "-x", "--"])
        .code(0)
        .printed("-x --\n");
    run(&["-sg", "sh", "--", "-c", "exit 5"]).code(5);
    run(&["-s", "-", "x"]).code(127);
    Ok(())
}

/// Those of the program's own fault, and what would stop a job of the background.
fn is_passed(number: i32) -> bool {
    ![
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGSEGV,
        libc::SIGSYS,
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
    init::check_signals(NAME, As::Ordinary, &["-s"], is_passed);
    Ok(())
}

/// The program ignores the signal, the child that it waits for does not.
fn to_the_group() -> TestResult {
    let probe = program("probe");
    let script = format!(
        "trap '' USR1; {} catch USR1 & wait; exit 6",
        probe.display()
    );
    // The background probe has USR1 ignored by the shell: catch blocks and waits,
    // and an ignored signal that is blocked is queued all the same.
    for (options, variable) in [(&["-g"][..], None), (&[], Some("TINI_KILL_PROCESS_GROUP"))] {
        for process in BOTH {
            let run = init::run(NAME, process, options).args(["--", "sh", "-c", &script]);
            let run = match variable {
                Some(name) => run.env(name, ""),
                None => run,
            };
            let (running, pid) = init::start(run, process);
            running.wait_for("waiting");
            sys::kill(pid, libc::SIGUSR1).expect("it runs");
            running.finish().code(6).has("catch: SIGUSR1");
        }
    }
    Ok(())
}

/// The mask and what is ignored are the caller's, as tini leaves them.
fn callers_signals() -> TestResult {
    let report = init::probe(NAME, As::Ordinary, &["-s"], &["report", "SigBlk", "SigIgn"])
        .hook(|| sys::ignore(libc::SIGUSR2))
        .hook(|| sys::ignore(libc::SIGTTOU))
        .hook(|| sys::block(libc::SIGTTIN))
        .hook(|| sys::block(libc::SIGTERM))
        .output()
        .report();
    // Without signal 32, which GNU make leaves ignored.
    assert!(report.get("SigBlk").ends_with("00104000"), "{report:?}");
    let ignored = u64::from_str_radix(report.get("SigIgn"), 16).expect("a mask");
    assert_eq!(ignored & 0x7fff_ffff, 0x20_0800, "{ignored:x}");
    init::probe(NAME, As::First, &[], &["fork", "3", ",", "exit", "6"])
        .hook(|| sys::ignore(libc::SIGCHLD))
        .output()
        .code(6);
    Ok(())
}

const WARNING: &str = "zombie reaping won't work";

fn subreaper() -> TestResult {
    let orphans = ["orphan", "5", ",", "sleep", "150", ",", "zombies"];
    for run in [
        init::probe(NAME, As::Ordinary, &["-s"], &orphans),
        init::probe(NAME, As::Ordinary, &[], &orphans).env("TINI_SUBREAPER", ""),
    ] {
        run.output().code(0).quiet().has("zombies=0");
    }
    // Those that are zombies already: all of them are reaped before the probe ends.
    let zombies = ["zombie", "5", ",", "zombies"];
    let output = init::probe(NAME, As::Ordinary, &["-sw"], &zombies).output();
    output.code(0);
    let told = output
        .stderr
        .matches("Reaped zombie process with pid=")
        .count();
    assert_eq!(told, 5, "{}", output.everything());
    let output = init::probe(NAME, As::Ordinary, &["-w"], &["exit", "0"]).output();
    output.code(0);
    assert!(output.stderr.contains(WARNING), "{}", output.everything());
    // A subreaper's attribute outlives exec: then there is nothing to warn of.
    init::probe(NAME, As::Ordinary, &["-s"], &["exit", "3"])
        .output()
        .code(3)
        .quiet();
    Ok(())
}

fn orphans_of_the_first() -> TestResult {
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

fn verbosity() -> TestResult {
    let lines = |run: Run| {
        let output = run.output();
        output.code(3);
        output.stderr.lines().count()
    };
    let run = |options: &[&str]| init::probe(NAME, As::Ordinary, options, &["exit", "3"]);
    assert_eq!(lines(run(&[])), 1, "the warning");
    assert_eq!(lines(run(&[]).env("TINI_VERBOSITY", "0")), 0);
    assert_eq!(lines(run(&["-vvv"]).env("TINI_VERBOSITY", "0")), 0);
    assert_eq!(lines(run(&[]).env("TINI_VERBOSITY", "x")), 0);
    assert_eq!(lines(run(&["-s"])), 0);
    assert_eq!(lines(run(&["-sv"])), 2, "start and end");
    assert_eq!(lines(run(&["-s"]).env("TINI_VERBOSITY", "3")), 2);
    Ok(())
}

/// The parent of tini dies: tini gets the signal, and passes it on.
fn parent_death() -> TestResult {
    let tini = init::named(NAME);
    let probe = program("probe");
    let script = format!(
        "{} -s -p SIGUSR1 -- {} catch USR1 & read line; exit 0",
        tini.display(),
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

fn terminal() -> TestResult {
    let mut terminal = Terminal::new(24, 80);
    let run = init::probe(
        NAME,
        As::Ordinary,
        &["-s"],
        &["catch", "INT", ",", "exit", "6"],
    );
    let running = terminal.start(run);
    terminal.wait_for("waiting");
    terminal.send("\x03");
    terminal.wait_for("catch: SIGINT");
    running.finish().code(6);
    // It reads, too: it is in the foreground.
    let running = terminal.start(init::run(
        NAME,
        As::Ordinary,
        &["-s", "--", "sh", "-c", "read x; exit $x"],
    ));
    std::thread::sleep(Duration::from_millis(20));
    terminal.send("7\n");
    running.finish().code(7);
    Ok(())
}

fn as_the_real_one() -> TestResult {
    Requirement::Tini.require()?;
    for arguments in [
        &["--version"][..],
        &["-h"],
        &["-x"],
        &["--help"],
        &["-V"],
        &[],
        &["-s"],
        &["--"],
        &["-p"],
        &["-e"],
        &["-h", "-x"],
        &["-s", "--", "true"],
        &["-s", "--", "sh", "-c", "exit 3"],
        &["-s", "-e", "3", "--", "sh", "-c", "exit 3"],
        &["-s", "sh", "--", "-c", "exit 4"],
        &["-sg", "--", "sh", "-c", "kill -9 $$"],
        &["-s", "-e", "137", "--", "sh", "-c", "kill -9 $$"],
        &["-s", "-p", "SIGTERM", "--", "echo", "--", "a"],
    ] {
        init::compare_all("tini", arguments, &[]);
        init::compare_all("tini-static", arguments, &[]);
    }
    for arguments in [
        &["true"][..],
        &["-w", "true"],
        &["nosuch"],
        &["/etc"],
        &["/etc/passwd"],
        &["-e", "x", "true"],
        &["-e", "256", "true"],
        &["-e", "-1", "true"],
        &["-p", "KILL", "true"],
        &["-p", "SIGIO", "true"],
        &["-p", "SIGWINCH", "true"],
    ] {
        init::compare("tini", arguments, &[]);
        init::compare(
            "tini",
            arguments,
            &[("TINI_VERBOSITY", "0"), ("TINI_SUBREAPER", "")],
        );
    }
    Ok(())
}
