//! The standard streams of each program of a pod.

use std::{
    fs::{self, File, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    thread,
    time::Duration,
};

use kickstage_tests::{TestResult, command::Run, pod::Pod, roots, sys, tests};

use crate::pods::programs;

tests![
    output_to_a_file,
    output_is_appended,
    null,
    input_from_a_file,
    a_file_waits_for_what_comes,
    of_each_program,
    of_hooks_too,
    as_a_user,
    magic_links_are_refused,
    values_that_are_none,
    lines_behind_names,
    a_line_that_does_not_end,
    many_lines,
    who_writes_without_end,
    standard_error_that_does_not_block,
    standard_error_that_nobody_reads,
];

fn output_to_a_file() -> TestResult {
    let root = roots::probe();
    let pod = Pod::new(&root).options(["--stdout=file:/tmp/out", "--stderr", "file:/tmp/err"]);
    pod.probe(["echo", "hello"]).code(0).printed("").quiet();
    assert_eq!(
        fs::read_to_string(root.join("tmp/out")).expect("a file"),
        "hello\n"
    );
    assert_eq!(
        fs::read_to_string(root.join("tmp/err")).expect("a file"),
        ""
    );
    Ok(())
}

fn output_is_appended() -> TestResult {
    let root = roots::probe();
    for _ in 0..2 {
        Pod::new(&root)
            .flag("--stdout=file:/tmp/out")
            .probe(["echo", "hello"])
            .code(0);
    }
    assert_eq!(
        fs::read_to_string(root.join("tmp/out")).expect("a file"),
        "hello\nhello\n"
    );
    Ok(())
}

fn null() -> TestResult {
    Pod::new(roots::probe())
        .flag("--stdout=null")
        .probe(["echo", "hello"])
        .code(0)
        .printed("");
    Ok(())
}

fn input_from_a_file() -> TestResult {
    let root = roots::busybox()?;
    fs::write(root.join("tmp/in"), "from a file\n").expect("a file");
    for (input, text) in [
        ("file:/tmp/in", "from a file\n"),
        ("null", ""),
        ("inherit", "in\n"),
    ] {
        Pod::new(&root)
            .options(["--stdin", input])
            .command(["/bin/busybox", "cat"])
            .input("in\n")
            .output()
            .code(0)
            .printed(text);
    }
    Pod::new(&root)
        .flag("--stdin=file:/none")
        .probe(["exit", "0"])
        .refused(&["open /none", "No such file or directory"]);
    Ok(())
}

fn of_each_program() -> TestResult {
    let root = roots::probe();
    let words = programs(&[
        "echo one",
        "--stdout=file:/tmp/two | echo two",
        "echo three",
    ]);
    Pod::new(&root)
        .run(words)
        .code(0)
        .has("one\n")
        .lacks("two")
        .has("three\n");
    assert_eq!(
        fs::read_to_string(root.join("tmp/two")).expect("a file"),
        "two\n"
    );
    Ok(())
}

fn of_hooks_too() -> TestResult {
    let root = roots::probe();
    Pod::new(&root)
        .options([
            "--stdout=file:/tmp/out",
            "--pre-start=/bin/probe echo before",
        ])
        .probe(["echo", "main"])
        .code(0)
        .printed("");
    assert_eq!(
        fs::read_to_string(root.join("tmp/out")).expect("a file"),
        "before\nmain\n"
    );
    Ok(())
}

/// Opened before the program gives up root.
fn as_a_user() -> TestResult {
    let root = roots::probe();
    Pod::new(&root)
        .options(["--user=1000", "--stdout=file:/etc/log"])
        .probe(["echo", "hello"])
        .code(0);
    assert_eq!(
        fs::read_to_string(root.join("etc/log")).expect("a file"),
        "hello\n"
    );
    Ok(())
}

/// They would lead to what pid 1 has open (CVE-2024-21626).
fn magic_links_are_refused() -> TestResult {
    let root = roots::probe();
    std::os::unix::fs::symlink("/proc/self/fd/1", root.join("tmp/link")).expect("a link");
    for path in [
        "/proc/self/fd/2",
        "/proc/1/cwd/x",
        "/tmp/link",
        "/dev/stdout",
    ] {
        Pod::new(&root)
            .flag(&format!("--stdout=file:{path}"))
            .probe(["exit", "0"])
            .refused(&[path]);
    }
    Ok(())
}

fn values_that_are_none() -> TestResult {
    for value in ["", "file:", "file:x", "nul", "pipe"] {
        Pod::new(roots::probe())
            .options(["--stdout", value])
            .probe(["exit", "0"])
            .refused(&["inherit, null or file:PATH"]);
    }
    Ok(())
}

fn lines_behind_names() -> TestResult {
    let words = programs(&[
        "echo one , line",
        "--name=other --log=prefix | echo three",
        "echo four",
    ]);
    let pod = Pod::new(roots::probe()).flag("--log=prefix");
    let mut running = pod.command(words).open_input().start();
    running.wait_for_error("one\n");
    running.wait_for_error("three\n");
    running.send("two\n");
    let output = running.finish();
    output.code(0).printed("four\n");
    let mut lines: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(lines.pop(), Some("app-0: two"));
    lines.sort_unstable();
    assert_eq!(lines, ["app-0: one", "other: three"]);
    // One of the two streams elsewhere.
    let pod = Pod::new(roots::probe()).options(["--log=prefix", "--stdout=null"]);
    pod.probe(["echo", "x"]).code(0).printed("").quiet();
    let pod = Pod::new(roots::probe()).flag("--log=file");
    pod.probe(["exit", "0"])
        .refused(&["file", "none, prefix or file:PATH"]);
    Ok(())
}

fn a_line_that_does_not_end() -> TestResult {
    let root = roots::busybox()?;
    let script = "printf a; until test -e /tmp/go; do sleep 0.01; done; printf b";
    let mut running = Pod::new(&root)
        .flag("--log=prefix")
        .command([
            "/bin/sh",
            "-c",
            script,
            "---",
            "--log=prefix",
            "/bin/probe",
            "line",
        ])
        .open_input()
        .start();
    running.wait_for_error("app-0: a");
    running.send("x\n");
    running.wait_for_error("app-1: x");
    fs::write(root.join("tmp/go"), "").expect("a file");
    let output = running.finish();
    output.code(0);
    assert_eq!(output.stderr, "app-0: a\napp-1: x\napp-0: b");
    Ok(())
}

/// More than a pipe holds, to the last line.
fn many_lines() -> TestResult {
    let root = roots::busybox()?;
    let output = Pod::new(root).flag("--log=prefix").sh("seq 100000");
    output.code(0);
    assert_eq!(output.stderr.lines().count(), 100_000);
    assert!(output.stderr.ends_with("app-0: 100000\n"));
    Ok(())
}

/// The pod ends all the same.
fn who_writes_without_end() -> TestResult {
    let root = roots::busybox()?;
    let output = Pod::new(root)
        .options(["--log=prefix", "--stop-timeout=1"])
        .run([
            "/bin/sh",
            "-c",
            "while :; do echo x; done",
            "---",
            "/bin/probe",
            "sleep",
            "200",
            ",",
            "exit",
            "5",
        ]);
    output.code(5);
    assert!(output.elapsed.as_secs() < 5, "{:?}", output.elapsed);
    Ok(())
}

/// A standard error that is O_NONBLOCK, and its reader.
fn not_blocking() -> (File, File) {
    let fifo = roots::fresh("pipe");
    Run::new("mkfifo").arg(&fifo).output().code(0);
    let open = |options: &mut OpenOptions| {
        options.custom_flags(libc::O_NONBLOCK);
        options.open(&fifo).expect("a pipe")
    };
    let first = open(OpenOptions::new().read(true));
    let write = open(OpenOptions::new().write(true));
    let read = File::open(&fifo).expect("a reader");
    drop(first);
    (write, read)
}

/// It belongs to others, too, who may have made it so; nothing is lost.
fn standard_error_that_does_not_block() -> TestResult {
    let root = roots::busybox()?;
    let (write, mut read) = not_blocking();
    let running = Pod::new(root)
        .flag("--log=prefix")
        .command(["/bin/sh", "-c", "seq 50000"])
        .hook(move || sys::duplicate_onto(&write, 2))
        .start();
    // The pipe is full before that.
    let mut text = vec![0; 9];
    read.read_exact(&mut text).expect("a line");
    thread::sleep(Duration::from_millis(200));
    read.read_to_end(&mut text).expect("all lines");
    running.finish().code(0);
    let expected: String = (1..=50_000)
        .map(|number| format!("app-0: {number}\n"))
        .collect();
    assert!(
        text == expected.as_bytes(),
        "{} bytes of {}",
        text.len(),
        expected.len()
    );
    Ok(())
}

/// pid 1 gets SIGPIPE for that, which is not for the programs.
fn standard_error_that_nobody_reads() -> TestResult {
    let (write, read) = not_blocking();
    drop(read);
    let words = programs(&["echo one", "sleep 500 , echo two"]);
    Pod::new(roots::probe())
        .flag("--log=prefix")
        .command(words)
        .hook(move || sys::duplicate_onto(&write, 2))
        .output()
        .code(0)
        .printed("two\n");
    Ok(())
}

/// Only pid 1 does not: a program could not know that.
fn a_file_waits_for_what_comes() -> TestResult {
    const O_NONBLOCK: u32 = 0o4000;
    for (option, number) in [
        ("--stdin=file:/etc/passwd", 0),
        ("--stderr=file:/tmp/err", 2),
    ] {
        let file = format!("/proc/self/fdinfo/{number}");
        let output = Pod::new(roots::probe()).flag(option).probe(["read", &file]);
        output.code(0);
        let flags = output
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.expect("flags").trim(), 8).expect("a number");
        assert_eq!(flags & O_NONBLOCK, 0, "{option}");
    }
    Ok(())
}
