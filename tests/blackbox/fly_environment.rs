//! `fly --env-file`.

use std::{fs, path::PathBuf};

use kickstage_tests::{TestResult, pod::Pod, report::Report, roots, tests};

tests![
    variables,
    the_callers_value,
    in_the_order_given,
    bad_lines,
    hostile_files,
    bounds,
    from_a_pipe,
];

fn file(text: impl AsRef<[u8]>) -> PathBuf {
    let path = roots::fresh("variables");
    fs::write(&path, text).expect("a file");
    path
}

/// The variables of a program that was started with these options and ONE=1.
#[track_caller]
fn run(options: &[&str]) -> Vec<(String, String)> {
    let command = Pod::fly(roots::probe())
        .options(options)
        .probe_command(["report", "env"]);
    let report: Report = command.env("ONE", "1").output().report();
    let mut found: Vec<_> = report
        .below("env")
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    found.retain(|(name, _)| name != "PATH");
    found.sort_unstable();
    found
}

#[track_caller]
fn check(options: &[&str], expected: &[(&str, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(run(options), expected, "{options:?}");
}

fn variables() -> TestResult {
    let path = file(
        "# a comment\n\n  \nA=1\n  B=two words \n\t# another\nC=x=y#z\nD=\n\u{fc}=\u{f6}\nQ=\"quoted\"\nLAST=end",
    );
    check(
        &["--env-file", path.to_str().expect("UTF-8")],
        &[
            ("A", "1"),
            ("B", "two words "),
            ("C", "x=y#z"),
            ("D", ""),
            ("LAST", "end"),
            ("ONE", "1"),
            ("Q", "\"quoted\""),
            ("\u{fc}", "\u{f6}"),
        ],
    );
    let empty = file("");
    check(
        &["--env-file", empty.to_str().expect("UTF-8")],
        &[("ONE", "1")],
    );
    Ok(())
}

/// A name alone, which docker has, too: the caller's, also behind --clearenv.
fn the_callers_value() -> TestResult {
    let path = file("ONE\nNOBODY_HAS_IT\n");
    let path = path.to_str().expect("UTF-8");
    check(&["--clearenv", "--env-file", path], &[("ONE", "1")]);
    check(
        &["--setenv", "ONE", "2", "--env-file", path],
        &[("ONE", "1")],
    );
    check(
        &["--env-file", path, "--setenv", "ONE", "2"],
        &[("ONE", "2")],
    );
    Ok(())
}

fn in_the_order_given() -> TestResult {
    let (first, second) = (file("A=1\nB=1\nA=2\n"), file("B=2\nC=2\n"));
    let (first, second) = (
        first.to_str().expect("UTF-8"),
        second.to_str().expect("UTF-8"),
    );
    let one = ("ONE", "1");
    check(
        &["--env-file", first, "--env-file", second],
        &[("A", "2"), ("B", "2"), ("C", "2"), one],
    );
    check(
        &["--env-file", second, "--env-file", first],
        &[("A", "2"), ("B", "1"), ("C", "2"), one],
    );
    check(
        &["--setenv", "A", "0", "--env-file", first],
        &[("A", "2"), ("B", "1"), one],
    );
    check(
        &["--env-file", first, "--setenv", "A", "0"],
        &[("A", "0"), ("B", "1"), one],
    );
    check(
        &["--env-file", first, "--unsetenv", "A"],
        &[("B", "1"), one],
    );
    check(
        &["--unsetenv", "A", "--env-file", first],
        &[("A", "2"), ("B", "1"), one],
    );
    check(&["--env-file", first, "--clearenv"], &[]);
    check(
        &["--clearenv", "--env-file", second],
        &[("B", "2"), ("C", "2")],
    );
    Ok(())
}

fn bad_lines() -> TestResult {
    for (text, line) in [
        (&b"=x\n"[..], "line 1"),
        (b"A=1\n\nB C=1\n", "line 3"),
        (b"A=1\nexport B=1\n", "line 2"),
        (b"A =1\n", "line 1"),
        (b"A\t=1\n", "line 1"),
        (b"A=\0\n", "line 1"),
        (b"A\0B\n", "line 1"),
        (b"\0", "line 1"),
        (b"A=1\r\n", "line 1"),
        (b"# c\r\nA\r\n", "line 2"),
        (b"A B", "line 1"),
        (b"=", "line 1"),
    ] {
        let path = file(text);
        let path = path.to_str().expect("UTF-8");
        Pod::fly(roots::probe())
            .options(["--env-file", path])
            .probe(["exit", "0"])
            .refused(&["--env-file", path, line, "NAME=VALUE"]);
    }
    Ok(())
}

fn hostile_files() -> TestResult {
    let root = roots::probe();
    let directory = roots::directory("directory");
    for (path, cause) in [
        ("/nothing/here", "No such file"),
        (directory.to_str().expect("UTF-8"), "Is a directory"),
        ("", "No such file"),
        ("/dev/zero", "64 KB"),
    ] {
        Pod::fly(&root)
            .options(["--env-file", path])
            .probe(["exit", "0"])
            .refused(&["--env-file", cause]);
    }
    // Any bytes end in an error or in a start, and in nothing else.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..50 {
        let bytes: Vec<u8> = (0..500)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                [
                    b'A',
                    b'=',
                    b'\n',
                    b' ',
                    b'#',
                    0xff,
                    b'\r',
                    state.to_le_bytes()[0],
                ][usize::from(state.to_le_bytes()[3] & 7)]
            })
            .collect();
        let path = file(bytes);
        let output = Pod::fly(&root)
            .options(["--env-file", path.to_str().expect("UTF-8")])
            .probe(["exit", "0"]);
        if output.code != Some(0) {
            output.refused(&["--env-file", "line "]);
        }
    }
    Ok(())
}

fn bounds() -> TestResult {
    let root = roots::probe();
    let run = |text: String| {
        let path = file(text);
        let pod =
            Pod::fly(&root).options(["--clearenv", "--env-file", path.to_str().expect("UTF-8")]);
        pod.probe(["report", "env"])
    };
    let value = "x".repeat(65_536 - 2);
    let output = run(format!("A={value}"));
    output.code(0).has(&format!("env.A={value}\n"));
    run(format!("A={value}y")).refused(&["64 KB"]);
    run("\n".repeat(32_766)).code(0);
    run("\n".repeat(40_000)).refused(&["32767 lines"]);
    // Many variables, and one of them over and over.
    let many: String = (0..5000).map(|index| format!("V{index}=1\n")).collect();
    let output = run(many);
    output.code(0);
    assert_eq!(output.stdout.lines().count(), 5000);
    run("A=1\n".repeat(16_000)).code(0).printed("env.A=1\n");
    Ok(())
}

fn from_a_pipe() -> TestResult {
    let output = Pod::fly(roots::probe())
        .options(["--env-file", "/proc/self/fd/0"])
        .probe_command(["report", "env.PIPED"])
        .input("PIPED=yes\n")
        .output();
    output.code(0).has("env.PIPED=yes\n");
    Ok(())
}
