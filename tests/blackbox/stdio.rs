//! Plain pipes, files and ends of file, without a flag.

use std::fs::{self, File};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    pod::Pod,
    roots, sys, tests,
};

tests![
    pipe_through_a_pod,
    pipe_in_a_shell,
    a_mebibyte_both_ways,
    end_of_file_arrives,
    dev_null,
    files,
    stderr_is_its_own,
    reader_gone,
    closed_descriptors,
    no_terminal_by_default,
    conversation,
];

fn pipe_through_a_pod() -> TestResult {
    let root = roots::probe();
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        pod.probe_command(["cat"])
            .input("hi\n")
            .output()
            .code(0)
            .printed("hi\n")
            .quiet();
        pod.probe_command(["cat"])
            .input("")
            .output()
            .code(0)
            .printed("")
            .quiet();
    }
    Ok(())
}

fn pipe_in_a_shell() -> TestResult {
    let root = roots::busybox()?;
    let script = format!(
        "echo hi | {} run --rootfs {} -- /bin/cat | wc -c",
        program("stage0").display(),
        root.display()
    );
    Run::new("sh")
        .args(["-c", &script])
        .output()
        .code(0)
        .printed("3\n")
        .quiet();
    Ok(())
}

fn a_mebibyte_both_ways() -> TestResult {
    let root = roots::probe();
    let data: Vec<u8> = (0..1_048_576_u32)
        .map(|n| (n * 7 % 251).to_le_bytes()[0])
        .collect();
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        let output = pod.probe_command(["cat"]).input(data.clone()).output();
        assert!(
            output.bytes == data,
            "the bytes differ ({} arrived)",
            output.bytes.len()
        );
    }
    Ok(())
}

fn end_of_file_arrives() -> TestResult {
    let root = roots::probe();
    let mut pod = Pod::new(&root)
        .probe_command(["line", ",", "line", ",", "exit", "3"])
        .open_input()
        .start();
    pod.send("one\n");
    pod.wait_for("one");
    pod.close_input();
    pod.finish().code(3).printed("one\n(end of file)\n");
    Ok(())
}

fn dev_null() -> TestResult {
    let root = roots::probe();
    // A run without input has /dev/null.
    Pod::new(&root)
        .probe(["cat", ",", "line"])
        .code(0)
        .printed("(end of file)\n");
    Ok(())
}

fn files() -> TestResult {
    let root = roots::probe();
    let (input, output) = (roots::fresh("in"), roots::fresh("out"));
    fs::write(&input, "from a file").expect("a file");
    Pod::new(&root)
        .probe_command(["cat"])
        .stdin(File::open(&input).expect("a file"))
        .hook({
            let file = File::create(&output).expect("a file");
            move || sys::duplicate_onto(&file, 1)
        })
        .output()
        .code(0)
        .printed("");
    assert_eq!(fs::read_to_string(&output).expect("a file"), "from a file");
    Ok(())
}

fn stderr_is_its_own() -> TestResult {
    let root = roots::probe();
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        let output = pod.probe(["echo", "out", ",", "error", "err"]);
        output.code(0).printed("out\n");
        assert_eq!(output.stderr, "err\n");
    }
    Ok(())
}

/// As in any pipeline: the writer dies of SIGPIPE, even if the caller of
/// stage0 ignores that signal.
fn reader_gone() -> TestResult {
    let root = roots::probe();
    let pod = format!(
        "{} run --rootfs {} -- /bin/probe flood 1000000",
        program("stage0").display(),
        root.display()
    );
    let script = format!("{{ {pod}; echo $? >&2; }} | head -c 1");
    let output = Run::new("sh").args(["-c", &script]).output();
    output.code(0).printed("x");
    assert_eq!(output.stderr, "141\n");
    Ok(())
}

/// A caller may have closed any of the three. Whatever is opened first then
/// gets such a number; it must not be the app's.
fn closed_descriptors() -> TestResult {
    let root = roots::probe();
    let result = roots::directory("result");
    for closed in [vec![0], vec![1], vec![2], vec![0, 1], vec![0, 1, 2]] {
        let numbers = closed.clone();
        let report = result.join("report");
        fs::write(&report, "").expect("a file");
        let script = [
            "readlink",
            "/proc/self/fd/0",
            ",",
            "list",
            "/proc/self/fd",
            ",",
            "write",
            "/result/report",
            "done",
        ];
        let output = Pod::new(&root)
            .volume(&result, "/result")
            .probe_command(script)
            .hook(move || numbers.iter().try_for_each(|number| sys::close(*number)))
            .output();
        let text = fs::read_to_string(&report).expect("a file");
        assert!(
            text == "done",
            "with {closed:?} closed\n{}",
            output.everything()
        );
    }
    // 0 is nothing, or /dev/null; nothing above 2 but the directory itself.
    let output = Pod::new(&root)
        .probe_command(["report", "fd"])
        .hook(|| sys::close(0))
        .output();
    let report = output.report();
    let fds = report.below("fd");
    assert!(
        fds.iter().all(|(number, target)| match *number {
            "0" => *target == "/dev/null",
            "1" | "2" => target.starts_with("pipe:"),
            _ => false,
        }),
        "{fds:?}"
    );
    Ok(())
}

fn no_terminal_by_default() -> TestResult {
    let output = Pod::new(roots::probe()).probe(["report", "tty", "fd", ",", "winsize"]);
    output
        .code(1)
        .has("tty.0=no\n")
        .has("tty.1=no\n")
        .has("tty.2=no\n")
        .has("winsize: ENOTTY");
    Ok(())
}

fn conversation() -> TestResult {
    let root = roots::probe();
    let mut pod = Pod::new(&root).probe_command(["cat"]).open_input().start();
    for word in ["one", "two", "three"] {
        pod.send(&format!("{word}\n"));
        pod.wait_for(&format!("{word}\n"));
    }
    pod.finish().code(0).printed("one\ntwo\nthree\n");
    Ok(())
}
