//! `stage0 app exec` at a terminal: one of the pod's own.

use std::fs;

use kickstage_tests::{TestResult, command::Run, roots, terminal::Terminal, tests};

use crate::{
    control::Controlled,
    enter::{exec, probe},
};

tests![terminal, interrupt_key, no_terminal, command_lines];

/// A terminal of the pod's own devpts, with the caller's size.
fn terminal() -> TestResult {
    let pod = Controlled::new();
    for flags in [&[][..], &["--tty"]] {
        let screen = Terminal::new(33, 101);
        let words = "-- /bin/probe report tty fd env.TERM , winsize , open /dev/tty rw , \
            catch WINCH , winsize , exit 9";
        let words: Vec<&str> = flags
            .iter()
            .copied()
            .chain(words.split_whitespace())
            .collect();
        let running = screen.start(exec(&pod.directory, &words).env("TERM", "vt100"));
        screen.wait_for("waiting");
        screen.resize(10, 40);
        running.finish().code(9);
        for line in [
            "tty.0=yes",
            "tty.2=yes",
            "fd.0=/dev/pts/0",
            "env.TERM=vt100",
            "winsize=33x101",
            "open /dev/tty: ok",
            "winsize=10x40",
        ] {
            screen.wait_for(&format!("{line}\r\n"));
        }
    }
    let screen = Terminal::new(24, 80);
    let words = ["--tty=false", "--", "/bin/probe", "open", "/dev/tty", "rw"];
    let running = screen.start(exec(&pod.directory, &words));
    running.finish().code(1);
    screen.wait_for("open /dev/tty");
    // The caller's, which can't be typed into: it is not that of its session.
    assert!(
        screen.shown().contains("open /dev/tty: ENXIO"),
        "{}",
        screen.shown()
    );
    pod.end().code(0);
    Ok(())
}

/// It reaches the program by its terminal; what was typed before the end arrives.
fn interrupt_key() -> TestResult {
    let pod = Controlled::new();
    let mut screen = Terminal::new(24, 80);
    let script = ["echo", "up", ",", "line", ",", "sleep", "60000"];
    let running = screen.start(probe(&pod.directory, &script));
    // Before, the caller's own terminal would echo, too.
    screen.wait_for("up\r\n");
    screen.send("typed\n");
    screen.wait_for("typed\r\ntyped\r\n");
    screen.send("\x03");
    running.finish().code(130);
    assert!(pod.is("main", "running", "0"));
    pod.end().code(0);
    Ok(())
}

/// Where the pod has no devpts of its own there is none, and nothing of the host is used.
fn no_terminal() -> TestResult {
    let root = roots::fresh("root");
    fs::create_dir_all(root.join("pts")).expect("it can be done");
    fs::write(root.join("pts/ptmx"), "").expect("it can be done");
    let options = [
        "--exit-policy=never".into(),
        format!("--volume={}:/dev/pts", root.join("pts").display()),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let pod = Controlled::with(&options, &["catch", "TERM"]);
    let words = ["--tty", "--", "/bin/probe", "echo", "hi"];
    exec(&pod.directory, &words).output().refused(&["terminal"]);
    // If it was not asked for, without one.
    let screen = Terminal::new(24, 80);
    let running = screen.start(probe(&pod.directory, &["echo", "there"]));
    running.finish().code(0);
    screen.wait_for("there");
    pod.end().code(0);
    Ok(())
}

fn command_lines() -> TestResult {
    let pod = Controlled::new();
    Run::ours("stage0")
        .args(["app", "exec"])
        .output()
        .refused(&["no pod's directory is named"]);
    for option in ["--user=1", "--net=none", "--rootfs=/", "--name=x"] {
        exec(&pod.directory, &[option, "--", "/bin/probe"])
            .output()
            .refused(&["only --set-env and --tty"]);
    }
    exec(&pod.directory, &["--ttyx", "--", "/bin/probe"])
        .output()
        .refused(&["--ttyx"]);
    exec(&roots::fresh("none"), &["--", "/bin/probe"])
        .output()
        .refused(&["none"]);
    // Without a --, too, and by the other name.
    exec(
        &pod.directory,
        &["main", "--set-env=A=b", "/bin/probe", "exit", "3"],
    )
    .output()
    .code(3);
    pod.app("enter", &["--", "/bin/probe", "exit", "3"]).code(3);
    pod.end().code(0);
    Ok(())
}
