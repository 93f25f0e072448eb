//! Pipes between the programs of a pod.

use std::time::Duration;

use kickstage_tests::{TestResult, pod::Pod, roots, tests};

tests![
    from_one_to_another,
    in_either_order,
    error_too,
    several_writers,
    a_chain,
    to_each_other,
    as_the_reader_restarts,
    as_the_writer_restarts,
    a_reader_that_is_gone,
    a_reader_that_never_runs,
    nobody_else_has_an_end,
    beside_a_log,
    with_hooks,
    pipes_that_are_none,
    in_the_plan,
];

/// A pod of several shells: the options and the script of each.
fn shells<'a>(shells: &[(&'a str, &'a str)]) -> Vec<&'a str> {
    let mut words = Vec::new();
    for (options, script) in shells {
        if !words.is_empty() {
            words.push("---");
            words.extend(options.split_whitespace());
        }
        words.extend(["/bin/sh", "-c", script]);
    }
    words
}

/// The first one's options stand among the pod's.
fn pod(first: &str) -> Result<Pod, kickstage_tests::Skip> {
    Ok(Pod::new(roots::busybox()?).options(first.split_whitespace()))
}

/// The end is seen: cat and wc end.
fn from_one_to_another() -> TestResult {
    let words = shells(&[("", "seq 30000"), ("--name=count", "wc -l")]);
    pod("--stdout=pipe:count")?
        .run(words)
        .code(0)
        .printed("30000\n");
    // Said by the reader, too.
    let words = shells(&[("", "echo a; sleep 0.2; echo b"), ("--stdin=pipe", "cat")]);
    pod("--stdout=pipe:app-1")?
        .run(words)
        .code(0)
        .printed("a\nb\n");
    Ok(())
}

/// The reader stands first, starts first, or starts when the writer has ended.
fn in_either_order() -> TestResult {
    let words = shells(&[("", "cat"), ("--stdout=pipe:app-0", "sleep 0.2; echo x")]);
    pod("")?.run(words).code(0).printed("x\n");
    let words = shells(&[("--name=w", "echo x"), ("--after=w", "cat")]);
    pod("--name=w --ready=exit --stdout=pipe:app-1")?
        .run(words)
        .code(0)
        .printed("x\n");
    let words = shells(&[("", "cat"), ("--after=r --stdout=pipe:r", "echo x")]);
    pod("--name=r")?.run(words).code(0).printed("x\n");
    Ok(())
}

fn error_too() -> TestResult {
    let words = shells(&[("", "echo out; echo err >&2"), ("", "cat >&2")]);
    let output = pod("--stderr=pipe:app-1")?.run(words);
    output.code(0).printed("out\n");
    assert_eq!(output.stderr, "err\n");
    let words = shells(&[("", "echo out; echo err >&2"), ("", "cat")]);
    pod("--stdout=pipe:app-1 --stderr=pipe:app-1")?
        .run(words)
        .code(0)
        .printed("out\nerr\n")
        .quiet();
    // Each of the two to somebody else.
    let script = "echo out; echo err >&2";
    let words = shells(&[("", script), ("", "sed s/^/o:/"), ("", "sed s/^/e:/ >&2")]);
    let output = pod("--stdout=pipe:app-1 --stderr=pipe:app-2")?.run(words);
    output.code(0).printed("o:out\n");
    assert_eq!(output.stderr, "e:err\n");
    Ok(())
}

/// The end comes when both have ended.
fn several_writers() -> TestResult {
    let words = shells(&[
        ("", "echo a"),
        ("--name=r", "sort; echo end"),
        ("--stdout=pipe:r", "sleep 0.3; echo b"),
    ]);
    pod("--stdout=pipe:r")?
        .run(words)
        .code(0)
        .printed("a\nb\nend\n");
    Ok(())
}

fn a_chain() -> TestResult {
    let words = shells(&[
        ("", "seq 5"),
        ("--stdout=pipe:app-2", "grep -v 3"),
        ("--stdout=pipe:app-3", "tac"),
        ("", "tr '\\n' ,"),
    ]);
    pod("--stdout=pipe:app-1")?
        .run(words)
        .code(0)
        .printed("5,4,2,1,");
    Ok(())
}

fn to_each_other() -> TestResult {
    let words = shells(&[
        ("", "echo ping; read line; echo got $line >&2"),
        ("--stdout=pipe:app-0", "read line; echo pong-$line"),
    ]);
    let output = pod("--stdout=pipe:app-1")?.run(words);
    output.code(0).printed("");
    assert_eq!(output.stderr, "got pong-ping\n");
    Ok(())
}

/// What one has not read the next one reads.
fn as_the_reader_restarts() -> TestResult {
    let words = shells(&[
        ("", "echo 1; echo 2; sleep 1"),
        (
            "--restart=on-failure",
            "read line; echo got $line; test $line = 2",
        ),
    ]);
    pod("--stdout=pipe:app-1")?
        .run(words)
        .code(0)
        .printed("got 1\ngot 2\n");
    Ok(())
}

fn as_the_writer_restarts() -> TestResult {
    let script = "test -e /tmp/x && { echo b; exit 0; }; touch /tmp/x; echo a; exit 1";
    let words = shells(&[("", script), ("", "cat; echo end")]);
    pod("--ephemeral --restart=on-failure --stdout=pipe:app-1")?
        .run(words)
        .code(0)
        .printed("a\nb\nend\n");
    Ok(())
}

/// It can't be written to any more: yes dies of SIGPIPE.
fn a_reader_that_is_gone() -> TestResult {
    let words = shells(&[("", "exec yes"), ("", "head -n 1")]);
    let output = pod("--stdout=pipe:app-1")?.run(words);
    output.code(128 + 13).printed("y\n");
    assert!(
        output.elapsed < Duration::from_secs(5),
        "{:?}",
        output.elapsed
    );
    Ok(())
}

fn a_reader_that_never_runs() -> TestResult {
    let words = shells(&[
        ("", "exec yes"),
        ("--after=no", "head -n 1"),
        ("--name=no --ready=exit", "exit 3"),
    ]);
    pod("--stdout=pipe:app-1 --exit-policy=app-0")?
        .run(words)
        .code(128 + 13)
        .printed("");
    Ok(())
}

/// What is open in each: no end of the pipe but its own.
fn nobody_else_has_an_end() -> TestResult {
    let words = shells(&[
        (
            "",
            "ls /proc/self/fd >&2; ls -l /proc/self/fd | grep -c pipe: >&2",
        ),
        ("--after=app-0 --ready=exit", "cat"),
        (
            "--after=app-1 --stdin=null",
            "ls /proc/self/fd; ls -l /proc/self/fd | grep -c pipe:",
        ),
    ]);
    let output = pod("--ready=exit --stderr=null --stdout=pipe:app-1")?.run(words);
    output.code(0);
    // 0, 1, 2 and the directory; of pipes only what grep reads and the test gave.
    assert_eq!(output.stdout, "0\n1\n2\n3\n2\n");
    Ok(())
}

fn beside_a_log() -> TestResult {
    let words = shells(&[("", "echo out; echo err >&2"), ("--log=prefix", "cat")]);
    let output = pod("--log=prefix --stdout=pipe:app-1")?.run(words);
    output.code(0).printed("");
    let mut lines: Vec<&str> = output.stderr.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["app-0: err", "app-1: out"]);
    Ok(())
}

fn with_hooks() -> TestResult {
    let words = shells(&[("", "echo main"), ("", "cat")]);
    pod("--stdout=pipe:app-1")?
        .options([
            "--pre-start=/bin/busybox echo before",
            "--post-stop=/bin/busybox echo behind",
        ])
        .run(words)
        .code(0)
        .printed("before\nmain\nbehind\n");
    Ok(())
}

fn pipes_that_are_none() -> TestResult {
    for (first, second, words) in [
        (
            "--stdout=pipe:none",
            "",
            ["pipe:none", "no program of this pod"],
        ),
        ("--stdout=pipe:", "", ["pipe:", "no program of this pod"]),
        (
            "--stdout=pipe:app-0",
            "",
            ["pipe:app-0", "the program itself"],
        ),
        (
            "--stderr=pipe:app-1",
            "--stdin=null",
            ["pipe:app-1", "is something else"],
        ),
        (
            "--stderr=pipe:app-1",
            "--stdin=file:/etc/x",
            ["pipe:app-1", "is something else"],
        ),
        ("", "--stdin=pipe", ["--stdin=pipe", "no program's output"]),
        ("--stdin=pipe:app-1", "", ["pipe:app-1", "of an input pipe"]),
        ("", "--stdout=pipe", ["pipe", "pipe:NAME"]),
    ] {
        let program = shells(&[("", "exit 0"), (second, "exit 0")]);
        pod(first)?.run(program).refused(&words);
    }
    Ok(())
}

fn in_the_plan() -> TestResult {
    let root = roots::probe();
    kickstage_tests::command::Run::ours("stage0")
        .args(["plan", "--stdout=pipe:r", "--stderr=pipe:r", "--rootfs"])
        .arg(&root)
        .args(["/bin/probe", "---", "--name=r", "/bin/probe"])
        .output()
        .code(0)
        .has("pipe          output to r\n")
        .has("pipe          error to r\n")
        .has("pipe          input of r\n");
    Ok(())
}
