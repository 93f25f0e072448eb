//! `--tty`: a terminal of the pod's own, relayed; and how it is left behind.

use kickstage_tests::{
    TestResult,
    command::{Output, Run, Running},
    pod::Pod,
    roots,
    terminal::Terminal,
    tests,
};

tests![
    default_at_a_terminal,
    console,
    size,
    resized,
    interrupt_key,
    end_of_file_key,
    job_control,
    all_output_arrives,
    without_a_terminal_outside,
    switched_off,
    only_stdin_is_a_terminal,
    settings_are_restored,
    settings_are_restored_after_a_signal,
    environment,
    hang_up,
    exit_code,
    bad_values,
    fly_passes_it_through,
];

/// Waits for the program; what it printed is on the terminal.
fn end(pod: Running) -> Output {
    pod.finish()
}

fn default_at_a_terminal() -> TestResult {
    let root = roots::probe();
    for flags in [&[][..], &["--tty"], &["--tty=true"]] {
        let terminal = Terminal::new(24, 80);
        let script = [
            "report", "tty", "fd", "pid", "sid", "pgid", ",", "open", "/dev/tty", "rw", ",",
            "echo", "end",
        ];
        let pod = terminal.start(Pod::new(&root).options(flags).probe_command(script));
        terminal.wait_for("end");
        end(pod).code(0);
        let shown = terminal.shown();
        for line in [
            "tty.0=yes",
            "tty.1=yes",
            "tty.2=yes",
            "sid=2",
            "pgid=2",
            "open /dev/tty: ok",
        ] {
            assert!(
                shown.contains(&format!("{line}\r\n")),
                "{line} in {shown:?}"
            );
        }
        // A terminal of the pod's own devpts, under a name that exists there.
        assert!(
            shown.contains("fd.0=/dev/pts/0\r\n") || shown.contains("fd.0=/dev/console\r\n"),
            "{shown:?}"
        );
    }
    Ok(())
}

fn console() -> TestResult {
    let terminal = Terminal::new(24, 80);
    let script = [
        "stat",
        "/dev/console",
        ",",
        "write",
        "/dev/console",
        "to the console",
        ",",
        "list",
        "/dev/pts",
        ",",
        "echo",
        "end",
    ];
    let pod = terminal.start(Pod::new(roots::probe()).probe_command(script));
    terminal.wait_for("end");
    end(pod).code(0);
    let shown = terminal.shown();
    assert!(
        shown.contains("type=char") && shown.contains("to the console"),
        "{shown:?}"
    );
    Ok(())
}

fn size() -> TestResult {
    let terminal = Terminal::new(33, 101);
    let pod =
        terminal.start(Pod::new(roots::probe()).probe_command(["winsize", ",", "echo", "end"]));
    terminal.wait_for("end");
    end(pod).code(0);
    assert!(
        terminal.shown().contains("winsize=33x101\r\n"),
        "{:?}",
        terminal.shown()
    );
    Ok(())
}

fn resized() -> TestResult {
    let terminal = Terminal::new(33, 101);
    let script = ["catch", "WINCH", ",", "winsize", ",", "echo", "end"];
    let pod = terminal.start(Pod::new(roots::probe()).probe_command(script));
    terminal.wait_for("waiting");
    terminal.resize(10, 40);
    terminal.wait_for("end");
    end(pod).code(0);
    assert!(
        terminal.shown().contains("winsize=10x40\r\n"),
        "{:?}",
        terminal.shown()
    );
    Ok(())
}

/// ^C reaches the app through the pod's terminal, not stage0.
fn interrupt_key() -> TestResult {
    let root = roots::probe();
    let mut terminal = Terminal::new(24, 80);
    let pod = terminal.start(Pod::new(&root).probe_command(["catch", "INT", ",", "exit", "6"]));
    terminal.wait_for("waiting");
    terminal.send("\x03");
    terminal.wait_for("catch: SIGINT");
    end(pod).code(6);
    let mut terminal = Terminal::new(24, 80);
    let pod =
        terminal.start(Pod::new(&root).probe_command(["echo", "ready", ",", "sleep", "60000"]));
    terminal.wait_for("ready");
    terminal.send("\x03");
    end(pod).code(130);
    Ok(())
}

fn end_of_file_key() -> TestResult {
    let mut terminal = Terminal::new(24, 80);
    let pod = terminal
        .start(Pod::new(roots::probe()).probe_command(["line", ",", "line", ",", "exit", "4"]));
    terminal.send("typed\n");
    terminal.wait_for("typed\r\ntyped\r\n");
    terminal.send("\x04");
    terminal.wait_for("(end of file)");
    end(pod).code(4);
    Ok(())
}

/// A shell in the pod stops and continues its jobs.
fn job_control() -> TestResult {
    let root = roots::busybox()?;
    let mut terminal = Terminal::new(24, 80);
    let pod = terminal.start(
        Pod::new(&root)
            .options(["--set-env", "PS1=> "])
            .command(["/bin/sh", "-i"]),
    );
    terminal.wait_for("> ");
    // Quotes keep the echo of what is typed apart from the answer. The job is
    // stopped and continued; what is typed then is for it.
    terminal.send("sh -c 'echo ru\"\"n; read x; echo ov\"\"er; exit 4'\n");
    terminal.wait_for("run\r\n");
    terminal.send("\x1a");
    terminal.wait_for("Stopped");
    terminal.send("fg\n\n");
    terminal.wait_for("over\r\n");
    terminal.send("echo code $?\n");
    terminal.wait_for("code 4\r\n");
    terminal.send("exit 3\n");
    let output = end(pod);
    assert_eq!(output.code, Some(3), "{:?}", terminal.shown());
    assert!(
        !terminal.shown().contains("job control turned off"),
        "{:?}",
        terminal.shown()
    );
    Ok(())
}

/// The last bytes too, although the pod's end of the terminal closes with it.
fn all_output_arrives() -> TestResult {
    let root = roots::probe();
    for _ in 0..5 {
        let terminal = Terminal::new(24, 80);
        let pod =
            terminal.start(Pod::new(&root).probe_command(["flood", "200000", ",", "echo", "end"]));
        end(pod).code(0);
        terminal.wait_for("end\r\n");
        assert_eq!(terminal.shown().matches('x').count(), 200_000);
    }
    Ok(())
}

/// A terminal inside, pipes outside: for programs that insist on one.
fn without_a_terminal_outside() -> TestResult {
    let root = roots::probe();
    let output = Pod::new(&root)
        .flag("--tty")
        .probe(["report", "tty", ",", "exit", "5"]);
    output
        .code(5)
        .printed("tty.0=yes\r\ntty.1=yes\r\ntty.2=yes\r\n");
    let output = Pod::new(&root)
        .flag("--tty")
        .probe_command(["line"])
        .input("typed\n")
        .output();
    output.code(0).has("typed");
    Ok(())
}

/// The caller's own terminal passes straight through.
fn switched_off() -> TestResult {
    let terminal = Terminal::new(33, 101);
    let script = [
        "report", "tty", "fd", ",", "winsize", ",", "list", "/dev/pts", ",", "list", "/dev", ",",
        "echo", "end",
    ];
    let pod = terminal.start(
        Pod::new(roots::probe())
            .flag("--tty=false")
            .probe_command(script),
    );
    terminal.wait_for("end");
    end(pod).code(0);
    let shown = terminal.shown();
    assert!(
        shown.contains("tty.0=yes") && shown.contains("winsize=33x101"),
        "{shown:?}"
    );
    assert!(
        !shown.contains("console") && shown.contains("ptmx\r\n"),
        "{shown:?}"
    );
    Ok(())
}

/// `stage0 run ... | less` at a terminal: the output is a pipe, so there is
/// no terminal.
fn only_stdin_is_a_terminal() -> TestResult {
    let terminal = Terminal::new(24, 80);
    let slave = terminal.slave().try_clone().expect("a descriptor");
    let output = Pod::new(roots::probe())
        .probe_command(["report", "tty"])
        .stdin(slave)
        .output();
    output.code(0).printed("tty.0=yes\ntty.1=no\ntty.2=no\n");
    Ok(())
}

/// The terminal's settings, in words.
fn settings(terminal: &Terminal) -> String {
    let slave = terminal.slave().try_clone().expect("a descriptor");
    Run::new("stty")
        .arg("-a")
        .stdin(slave)
        .output()
        .code(0)
        .stdout
        .clone()
}

fn settings_are_restored() -> TestResult {
    let root = roots::probe();
    let mut terminal = Terminal::new(24, 80);
    let before = settings(&terminal);
    let pod = terminal.start(Pod::new(&root).probe_command(["echo", "ready", ",", "line"]));
    terminal.wait_for("ready");
    assert_ne!(
        settings(&terminal),
        before,
        "meanwhile keys go through as they are"
    );
    terminal.send("\n");
    end(pod).code(0);
    assert_eq!(settings(&terminal), before);
    // A start that fails must not leave them changed either.
    let pod = terminal.start(Pod::new(&root).command(["/nope"]));
    end(pod).code(254);
    assert_eq!(settings(&terminal), before);
    Ok(())
}

fn settings_are_restored_after_a_signal() -> TestResult {
    let root = roots::probe();
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        let terminal = Terminal::new(24, 80);
        let before = settings(&terminal);
        let pod =
            terminal.start(Pod::new(&root).probe_command(["echo", "ready", ",", "sleep", "60000"]));
        terminal.wait_for("ready");
        pod.signal(signal);
        end(pod).code(128 + signal);
        assert_eq!(settings(&terminal), before);
    }
    Ok(())
}

fn environment() -> TestResult {
    let root = roots::probe();
    let terminal = Terminal::new(24, 80);
    let command = Pod::new(&root)
        .probe_command(["report", "env", ",", "echo", "end"])
        .env("TERM", "vt220");
    let pod = terminal.start(command);
    terminal.wait_for("end");
    end(pod).code(0);
    assert!(
        terminal.shown().contains("env.TERM=vt220\r\n"),
        "{:?}",
        terminal.shown()
    );
    Ok(())
}

/// The terminal window is closed: nothing stays behind (the runner checks).
fn hang_up() -> TestResult {
    let root = roots::probe();
    let pod = {
        let terminal = Terminal::new(24, 80);
        let pod =
            terminal.start(Pod::new(&root).probe_command(["echo", "ready", ",", "sleep", "60000"]));
        terminal.wait_for("ready");
        pod
    };
    pod.signal(libc::SIGHUP);
    end(pod).code(129);
    Ok(())
}

fn exit_code() -> TestResult {
    let root = roots::probe();
    for (script, code) in [
        (["exit", "7"], 7),
        (["raise", "KILL"], 137),
        (["raise", "TERM"], 143),
    ] {
        let terminal = Terminal::new(24, 80);
        end(terminal.start(Pod::new(&root).probe_command(script))).code(code);
    }
    Ok(())
}

fn bad_values() -> TestResult {
    let root = roots::probe();
    for bad in ["--tty=", "--tty=yes", "--tty=1"] {
        Pod::new(&root)
            .flag(bad)
            .probe(["exit", "0"])
            .refused(&["--tty"]);
    }
    Ok(())
}

fn fly_passes_it_through() -> TestResult {
    let root = roots::probe();
    let terminal = Terminal::new(33, 101);
    let pod = terminal.start(
        Pod::fly(&root).probe_command(["report", "tty", ",", "winsize", ",", "echo", "end"]),
    );
    terminal.wait_for("end");
    end(pod).code(0);
    assert!(
        terminal.shown().contains("tty.0=yes\r\n") && terminal.shown().contains("winsize=33x101")
    );
    Ok(())
}
