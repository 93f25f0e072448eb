//! Warm pods that end otherwise than by themselves, or are never there.

use std::fs;

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    isolate,
    registered::{Parent, Registry, wait_until},
    requirement::Requirement,
    tests,
};

tests![
    killed_when_the_time_is_over,
    that_can_not_be_moved,
    without_dev_null,
    of_a_directory_that_is_removed,
];

/// The code is that of the time, also where a program does not end by itself.
fn killed_when_the_time_is_over() -> TestResult {
    let pods = Registry::new();
    for warm in [true, false] {
        let options: &[&str] = if warm { &["--warm"] } else { &[] };
        let options = [options, &["--stop-timeout=100ms"]].concat();
        let uuid = pods.prepare(&options, &["ignore", "TERM", ",", "sleep", "60000"]);
        let words = ["--keep", "--timeout=50ms", &uuid];
        pods.ask("run-prepared", &words).code(124);
        let status = pods.ask("status", &[&uuid]);
        status.code(0).has("state=exited").has("code=124");
    }
    pods.collected();
    Ok(())
}

/// Nobody could find it: it does not live on.
fn that_can_not_be_moved() -> TestResult {
    let pods = Registry::new();
    let parent = Requirement::Controllers
        .require()
        .ok()
        .map(|()| Parent::new());
    let limits = parent.iter().flat_map(|parent| {
        [
            "--memory=64M".to_owned(),
            format!("--cgroup-parent={}", parent.path),
        ]
    });
    let limits: Vec<String> = limits.collect();
    let options: Vec<&str> = ["--warm"]
        .into_iter()
        .chain(limits.iter().map(String::as_str))
        .collect();
    fs::create_dir(pods.path().join("pods")).expect("a directory");
    let folder = pods.path().join("pods/prepared");
    fs::write(&folder, "").expect("a file");
    pods.pod("prepare", &options, &["exit", "0"])
        .output()
        .refused(&["register", "Not a directory"]);
    fs::remove_file(&folder).expect("a file");
    assert_eq!(pods.left(), Vec::<String>::new());
    wait_until("no process is left", || isolate::processes().len() <= 2);
    if let Some(parent) = &parent {
        assert!(parent.pods().is_empty(), "{:?}", parent.pods());
    }
    Ok(())
}

/// It would hold the caller's streams as long as it is parked.
fn without_dev_null() -> TestResult {
    let pods = Registry::new();
    Run::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg("mount -t tmpfs none /dev && exec \"$@\"")
        .arg("sh")
        .arg(program("stage0"))
        .args(["prepare", "--warm", "--state-dir"])
        .arg(pods.path())
        .arg("--rootfs")
        .arg(&pods.root)
        .args(["--", "/bin/true"])
        .output()
        .refused(&["No such file"]);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Who waits for what comes into it does not wait for ever.
fn of_a_directory_that_is_removed() -> TestResult {
    let pods = Registry::new();
    let options = ["--detach", "--ready=file:/no/such/file"];
    let running = pods.pod("run", &options, &["catch", "TERM"]).start();
    wait_until("it runs", || {
        let runs = pods.in_folder("run");
        let mut places = runs
            .iter()
            .map(|uuid| pods.place("run", uuid).join("control"));
        places.any(|path| path.exists())
    });
    let uuid = pods.in_folder("run").remove(0);
    wait_until("it is gone", || {
        fs::remove_dir_all(pods.place("run", &uuid)).is_ok() && pods.in_folder("run").is_empty()
    });
    running.finish().code(254);
    wait_until("no process is left", || isolate::processes().len() <= 2);
    Ok(())
}
