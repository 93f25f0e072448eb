//! Pid 1 of the pod: it reaps, and the pod ends with its app.

use std::time::Duration;

use kickstage_tests::{
    TestResult, command::program, isolate, pod::Pod, registered::wait_until, roots, tests,
};

tests![
    the_app_is_pid_2,
    orphans_are_reaped,
    many_children,
    the_pod_ends_with_the_app,
    a_child_that_holds_the_output,
    parallel_pods_do_not_wait_for_each_other,
    nested,
    nothing_waits,
];

fn the_app_is_pid_2() -> TestResult {
    let output =
        Pod::new(roots::probe()).probe(["report", "pid", "ppid", "pid1", ",", "processes"]);
    let report = output.report();
    report.is("pid", "2").is("ppid", "1");
    // Not that of the memory file that it runs from, nor of its descriptor.
    report.is("pid1.comm", "stage1-init");
    // Pid 1 and the app; no helper that stays.
    assert_eq!(report.all("process").len(), 2, "{}", output.stdout);
    Ok(())
}

fn orphans_are_reaped() -> TestResult {
    let script = [
        "orphan",
        "20",
        ",",
        "sleep",
        "1000",
        ",",
        "zombies",
        ",",
        "processes",
    ];
    let output = Pod::new(roots::probe()).probe(script);
    let report = output.report();
    report.is("zombies", "0");
    assert_eq!(report.all("process").len(), 2, "{}", output.stdout);
    Ok(())
}

fn many_children() -> TestResult {
    Pod::new(roots::probe())
        .probe(["fork", "1000", ",", "zombies", ",", "exit", "3"])
        .code(3)
        .has("zombies=0");
    Ok(())
}

fn the_pod_ends_with_the_app() -> TestResult {
    let script = [
        "background",
        "sleep",
        "60000",
        ",",
        "background",
        "ignore",
        "all",
        ",",
        "background",
        "session",
        ",",
        "exit",
        "4",
    ];
    let output = Pod::new(roots::probe()).probe(script);
    output.code(4);
    assert!(
        output.elapsed < Duration::from_secs(10),
        "{:?}",
        output.elapsed
    );
    Ok(())
}

/// `finish` also checks that the output's pipe is closed.
fn a_child_that_holds_the_output() -> TestResult {
    let script = [
        "background",
        "session",
        ",",
        "background",
        "ignore",
        "all",
        ",",
        "background",
        "sleep",
        "60000",
    ];
    Pod::new(roots::probe()).probe(script).code(0).quiet();
    Ok(())
}

fn parallel_pods_do_not_wait_for_each_other() -> TestResult {
    let root = roots::probe();
    let long = Pod::new(&root)
        .probe_command(["echo", "ready", ",", "sleep", "60000"])
        .start();
    long.wait_for("ready");
    for code in 0..10 {
        let output = Pod::new(&root).probe(["exit", &code.to_string()]);
        output.code(code);
        assert!(
            output.elapsed < Duration::from_secs(10),
            "{:?}",
            output.elapsed
        );
    }
    long.signal(libc::SIGTERM);
    long.finish().code(143);
    Ok(())
}

/// As in a CI job: a launcher inside a pod that keeps its privileges; in one
/// that does not, one line says so.
fn nested() -> TestResult {
    let (outer, inner) = (roots::probe(), roots::probe());
    for name in ["stage0", "stage0-full", "stage1-init"] {
        std::fs::copy(program(name), outer.join("bin").join(name)).expect("a copy");
    }
    let words = [
        "/bin/stage0",
        "run",
        "--rootfs",
        "/inner",
        "--",
        "/bin/probe",
        "report",
        "pid",
        ",",
        "exit",
        "5",
    ];
    let pod = Pod::new(&outer).volume(&inner, "/inner");
    let privileged = pod.clone().flag("--insecure-options=all");
    privileged.run(words).code(5).printed("pid=2\n").quiet();
    pod.run(words).refused(&[
        "make new namespaces",
        "Operation not permitted",
        "a container needs",
    ]);
    Ok(())
}

/// The processes of a pod, and how often each of them has gone to sleep.
fn sleeps() -> Vec<(i32, u64)> {
    let of = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
        status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
            .and_then(|value| value.trim().parse().ok())
            .expect("a number")
    };
    let pods = isolate::processes().into_iter().filter(|pid| *pid > 2);
    pods.map(|pid| (pid, of(pid))).collect()
}

/// Waits until stage0, pid 1 and the programs of a pod stay asleep: they may still be on
/// their way into the wait.
#[track_caller]
pub fn nobody_wakes_up() {
    wait_until("nobody wakes up", || {
        let before = sleeps();
        assert!(before.len() > 2, "no pod runs: {before:?}");
        // pid 1 looks at what is not ready once a second, if it has looked often.
        std::thread::sleep(Duration::from_millis(1200));
        sleeps() == before
    });
}

/// An idle pod uses no processor time: pid 1 and stage0 sleep in a call.
fn nothing_waits() -> TestResult {
    let root = roots::probe();
    let pod = Pod::new(&root)
        .probe_command(["echo", "ready", ",", "sleep", "60000"])
        .start();
    pod.wait_for("ready");
    nobody_wakes_up();
    pod.signal(libc::SIGKILL);
    pod.finish().killed(libc::SIGKILL);
    Ok(())
}
