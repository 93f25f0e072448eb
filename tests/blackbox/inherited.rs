//! Descriptors that a caller has left open, as many as there may be: what stage0 keeps open
//! for a registered pod has a number that one of them may have.

use std::{fs, fs::File, io};

use kickstage_tests::{
    TestResult,
    command::Run,
    fault::failing,
    pod::Pod,
    registered::{Registry, one_line},
    roots, sys, tests,
};

tests![
    of_registered_pods,
    without_close_range,
    of_a_pod_directory,
    a_low_limit
];

/// The last number of those that are inherited.
const LAST: [i32; 9] = [66, 67, 87, 88, 89, 90, 91, 93, 200];

/// With all descriptors from 3 to `last`.
fn with_all(run: Run, last: i32) -> Run {
    let null = File::open("/dev/null").expect("a device");
    run.hook(move || -> io::Result<()> {
        // That of the hook may have such a number, and so may one that tells of errors.
        (3..=last)
            .filter(|number| !sys::is_open(*number))
            .try_for_each(|number| sys::duplicate_onto(&null, number))
    })
}

fn of_registered_pods() -> TestResult {
    let pods = Registry::new();
    for last in LAST {
        let run = |command: &str, options: &[&str]| {
            with_all(pods.pod(command, options, &["report", "fd"]), last).output()
        };
        let output = run("run", &["--keep"]);
        let report = output.report();
        assert!(
            report
                .below("fd")
                .iter()
                .all(|(number, _)| number.len() == 1)
        );
        run("run", &["--detach"]).code(0).quiet();
        for options in [&[][..], &["--warm"]] {
            let uuid = one_line(&run("prepare", options));
            let released = pods.command("run-prepared").arg(&uuid);
            with_all(released, last).output().code(0).quiet();
        }
    }
    pods.collected();
    Ok(())
}

/// Nor are they the pod's where the kernel does not close all of them at once.
fn without_close_range() -> TestResult {
    let pods = Registry::new();
    for last in LAST {
        let run = with_all(pods.pod("run", &["--keep"], &["report", "fd"]), last);
        let run = run.hook(failing(&[libc::SYS_close_range], libc::ENOSYS));
        let report = run.output().report();
        let all = report.below("fd");
        assert!(all.iter().all(|(number, _)| number.len() == 1), "{last}");
    }
    pods.collected();
    Ok(())
}

/// The lock keeps a second one away, whatever number it got first.
fn of_a_pod_directory() -> TestResult {
    let root = roots::probe();
    for last in LAST {
        let directory = roots::fresh("pod");
        let pod = || {
            let option = format!("--pod-dir={}", directory.display());
            let pod = Pod::new(&root).flag(&option);
            with_all(pod.probe_command(["catch", "TERM"]), last)
        };
        let first = pod().start();
        first.wait_for("catch: waiting");
        pod().output().refused(&["a pod runs with that directory"]);
        first.signal(15);
        first.finish().code(0);
    }
    Ok(())
}

/// Where no descriptor of that number may be there is no pod, and no directory.
fn a_low_limit() -> TestResult {
    let directory = roots::fresh("pod");
    let pods = Registry::new();
    let low = |run: Run| run.hook(|| sys::limit(libc::RLIMIT_NOFILE, 64)).output();
    let option = format!("--pod-dir={}", directory.display());
    let words = ["Too many open files", "raise the limit"];
    low(pods.pod("run", &[&option], &["exit", "0"])).refused(&words);
    assert!(!fs::exists(&directory).expect("an answer"));
    low(pods.pod("run", &["--keep"], &["exit", "0"])).refused(&words[..1]);
    assert_eq!(pods.left(), Vec::<String>::new());
    // Without a directory nothing of that is needed.
    low(Pod::new(roots::probe()).probe_command(["exit", "3"])).code(3);
    Ok(())
}
