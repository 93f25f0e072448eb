//! The app's code is the pod's code; 254 is ours.

use kickstage_tests::{TestResult, command::Run, pod::Pod, roots, tests};

tests![
    the_apps_own,
    under_fly,
    killed_by_a_signal,
    killed_by_a_signal_under_fly,
    of_a_shell,
    usage_is_254,
];

const CODES: [i32; 13] = [0, 1, 2, 7, 77, 125, 126, 127, 128, 137, 253, 254, 255];

fn the_apps_own() -> TestResult {
    let root = roots::probe();
    for code in CODES {
        Pod::new(&root)
            .probe(["exit", &code.to_string()])
            .code(code)
            .quiet();
    }
    Ok(())
}

fn under_fly() -> TestResult {
    let root = roots::probe();
    for code in CODES {
        Pod::fly(&root)
            .probe(["exit", &code.to_string()])
            .code(code)
            .quiet();
    }
    Ok(())
}

const SIGNALS: [(&str, i32); 8] = [
    ("HUP", 1),
    ("INT", 2),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("PIPE", 13),
    ("TERM", 15),
];

fn killed_by_a_signal() -> TestResult {
    let root = roots::probe();
    for (name, number) in SIGNALS {
        Pod::new(&root).probe(["raise", name]).code(128 + number);
    }
    Ok(())
}

/// There is no process left that could turn the signal into a code.
fn killed_by_a_signal_under_fly() -> TestResult {
    let root = roots::probe();
    for (name, number) in SIGNALS {
        Pod::fly(&root).probe(["raise", name]).killed(number);
    }
    Ok(())
}

fn of_a_shell() -> TestResult {
    let root = roots::busybox()?;
    Pod::new(&root).sh("exit 7").code(7).quiet();
    Pod::new(&root).sh("kill -TERM $$").code(143);
    Pod::new(&root).sh("true | false").code(1);
    Pod::fly(&root).sh("exit 7").code(7).quiet();
    Ok(())
}

fn usage_is_254() -> TestResult {
    Run::ours("stage0")
        .arg("run")
        .output()
        .refused(&["--rootfs"]);
    Run::ours("stage0")
        .args(["run", "--rootfs"])
        .output()
        .refused(&["--rootfs"]);
    Run::ours("stage0")
        .args(["run", "--no-such-option"])
        .output()
        .refused(&["--no-such-option"]);
    Run::ours("stage0")
        .args(["run", "--rootfs", "/", "--"])
        .output()
        .refused(&["program"]);
    Run::ours("stage0")
        .arg("no-such-command")
        .output()
        .refused(&["no-such-command"]);
    Run::ours("fly")
        .arg("--no-such-option")
        .output()
        .refused(&["--no-such-option"]);
    Run::ours("fly").arg("/").output().refused(&["program"]);
    Run::ours("fly").output().refused(&[]);
    Ok(())
}
