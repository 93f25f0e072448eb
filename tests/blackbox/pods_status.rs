//! What pid 1 tells of a pod: `ready`, and `status/NAME`.

use std::{fs, path::Path};

use kickstage_tests::{TestResult, pod::Pod, registered::wait_until, roots, sys, tests};

use crate::pods::programs;

tests![
    codes,
    ready_when_all_are,
    never_ready_behind_a_failure,
    never_ready_while_it_ends,
    what_never_ran_has_no_code,
    a_restart_has_the_last_code,
    no_link_is_followed,
    a_directory_that_is_a_link,
    what_a_pod_before_has_left,
    a_directory_that_is_missing,
    a_directory_that_is_full,
    a_path_that_is_none,
];

/// A pod that tells in the directory `told` of the host.
fn pod(told: &Path) -> Pod {
    Pod::new(roots::probe())
        .volume(told, "/told")
        .flag("--status-dir=/told")
}

fn code(told: &Path, name: &str) -> Option<String> {
    fs::read_to_string(told.join("status").join(name)).ok()
}

/// The third one dies of the stop signal that it was sent.
fn codes() -> TestResult {
    let told = roots::directory("told");
    let words = programs(&[
        "sleep 1000 , exit 0",
        "--name=five | sleep 1000 , exit 5",
        "sleep 2000 , exit 6",
    ]);
    pod(&told).run(words).code(5).quiet();
    assert_eq!(code(&told, "app-0").as_deref(), Some("0\n"));
    assert_eq!(code(&told, "five").as_deref(), Some("5\n"));
    assert_eq!(code(&told, "app-2").as_deref(), Some("0\n"));
    assert_eq!(fs::read(told.join("ready")).expect("ready"), b"");
    // Nothing else, and nothing half done.
    assert_eq!(fs::read_dir(&told).expect("a directory").count(), 2);
    assert_eq!(
        fs::read_dir(told.join("status")).expect("status").count(),
        3
    );
    Ok(())
}

fn ready_when_all_are() -> TestResult {
    let told = roots::directory("told");
    let words = programs(&[
        "echo up , catch USR1 , write /tmp/up x , sleep 60000",
        "--after=app-0 | echo second , sleep 60000",
    ]);
    let run = pod(&told)
        .flag("--ready=file:/tmp/up")
        .command(words)
        .start();
    run.wait_for("up");
    assert!(!told.join("ready").exists());
    run.signal(libc::SIGUSR1);
    run.wait_for("second");
    wait_until("it is ready", || told.join("ready").exists());
    run.signal(libc::SIGTERM);
    run.finish().code(0);
    Ok(())
}

/// All that are left are ready, and not all of the pod.
fn never_ready_behind_a_failure() -> TestResult {
    let told = roots::directory("told");
    let words = programs(&[
        "sleep 100 , write /tmp/up x , sleep 60000",
        "exit 3",
        "--after=app-0 | exit 0",
    ]);
    let run = pod(&told).options(["--ready=file:/tmp/up", "--exit-policy=all"]);
    let run = run.command(words).start();
    wait_until("the third has ended", || code(&told, "app-2").is_some());
    run.signal(libc::SIGTERM);
    run.finish().code(3);
    assert!(!told.join("ready").exists());
    Ok(())
}

fn never_ready_while_it_ends() -> TestResult {
    let told = roots::directory("told");
    let words = programs(&[
        "catch TERM",
        "catch TERM , sleep 200",
        "--after=app-0 | exit 0",
    ]);
    let run = pod(&told).flag("--ready=file:/never").command(words);
    let run = run.start();
    run.wait_for("waiting\ncatch: waiting");
    run.signal(libc::SIGTERM);
    run.finish().code(0);
    assert!(!told.join("ready").exists());
    Ok(())
}

fn what_never_ran_has_no_code() -> TestResult {
    let told = roots::directory("told");
    let words = programs(&["exit 3", "--after=app-0 | exit 0"]);
    pod(&told).flag("--ready=exit").run(words).code(3);
    assert_eq!(code(&told, "app-0").as_deref(), Some("3\n"));
    assert_eq!(code(&told, "app-1"), None);
    assert!(!told.join("ready").exists());
    Ok(())
}

fn a_restart_has_the_last_code() -> TestResult {
    let told = roots::directory("told");
    let run = pod(&told).flag("--restart=on-failure:1");
    run.probe(["exit", "9"]).code(9);
    assert_eq!(code(&told, "app-0").as_deref(), Some("9\n"));
    Ok(())
}

/// A program that can write there leads pid 1 nowhere.
fn no_link_is_followed() -> TestResult {
    let (told, secret) = (roots::directory("told"), roots::fresh("secret"));
    fs::write(&secret, "secret").expect("a file");
    fs::create_dir(told.join("status")).expect("a directory");
    for name in ["ready", ".new", "status/app-0", "status/.new"] {
        std::os::unix::fs::symlink(&secret, told.join(name)).expect("a link");
    }
    pod(&told).probe(["exit", "4"]).code(4).quiet();
    assert_eq!(fs::read_to_string(&secret).expect("a file"), "secret");
    assert_eq!(code(&told, "app-0").as_deref(), Some("4\n"));
    Ok(())
}

/// Nor by the directories themselves.
fn a_directory_that_is_a_link() -> TestResult {
    let (root, told) = (roots::probe(), roots::directory("told"));
    fs::create_dir(root.join("elsewhere")).expect("a directory");
    std::os::unix::fs::symlink("elsewhere", root.join("linked")).expect("a link");
    std::os::unix::fs::symlink("/elsewhere", told.join("status")).expect("a link");
    for path in ["/linked", "/told"] {
        let output = Pod::new(&root)
            .volume(&told, "/told")
            .options(["--status-dir", path])
            .probe(["exit", "4"]);
        output.code(4);
        let expected = format!("open {path}: Not a directory");
        assert!(output.stderr.contains(&expected), "{}", output.stderr);
    }
    let mut left = fs::read_dir(root.join("elsewhere")).expect("a directory");
    assert!(left.next().is_none());
    Ok(())
}

/// Whoever waits for `ready` hears of this pod.
fn what_a_pod_before_has_left() -> TestResult {
    let told = roots::directory("told");
    let ready = told.join("ready");
    for link in [false, true] {
        if link {
            fs::remove_file(&ready).expect("a file");
            std::os::unix::fs::symlink("/nowhere", &ready).expect("a link");
        } else {
            fs::write(&ready, "old").expect("a file");
        }
        let run = pod(&told)
            .flag("--ready=file:/tmp/up")
            .probe_command([
                "echo", "up", ",", "catch", "USR1", ",", "write", "/tmp/up", "x", ",", "sleep",
                "60000",
            ])
            .start();
        run.wait_for("up");
        assert!(fs::symlink_metadata(&ready).is_err());
        run.signal(libc::SIGUSR1);
        let is_new = || fs::symlink_metadata(&ready).is_ok_and(|ready| ready.is_file());
        wait_until("it is ready", is_new);
        run.signal(libc::SIGTERM);
        run.finish().code(143);
    }
    Ok(())
}

/// It is told, and the pod runs.
fn a_directory_that_is_missing() -> TestResult {
    let output = Pod::new(roots::probe())
        .flag("--status-dir=/none")
        .probe(["exit", "4"]);
    output.code(4);
    assert!(
        output.stderr.contains("open /none: No such file"),
        "{}",
        output.stderr
    );
    Ok(())
}

/// Who waits for one of these files would wait for ever.
fn a_directory_that_is_full() -> TestResult {
    let told = roots::directory("told");
    let path = told.to_str().expect("a path");
    // For itself, and `status` in it.
    sys::mount_tmpfs(path, "nr_inodes=2").expect("a tmpfs");
    let output = pod(&told).probe(["sleep", "100", ",", "exit", "4"]);
    sys::unmount(path).expect("unmounted");
    output.code(4);
    let expected = ["ready", "app-0"]
        .map(|name| format!("stage1-init: report {name}: No space left on device\n"));
    assert_eq!(output.stderr, expected.concat());
    Ok(())
}

fn a_path_that_is_none() -> TestResult {
    let pod = Pod::new(roots::probe()).flag("--status-dir=told");
    pod.probe(["exit", "0"]).refused(&["told", "not absolute"]);
    let pod = Pod::new(roots::probe()).options(["--stage1=fly", "--status-dir=/told"]);
    pod.probe(["exit", "0"])
        .refused(&["--status-dir", "--stage1=fly"]);
    Ok(())
}
