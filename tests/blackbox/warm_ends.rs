//! Warm pods that end otherwise than by themselves, or are never there.

use std::{
    fs::{self, File},
    os::{
        fd::AsRawFd,
        unix::{
            fs::{PermissionsExt, symlink},
            net::UnixDatagram,
        },
    },
    time::Duration,
};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    fault::failing,
    init, isolate, lock, message,
    pod::Pod,
    registered::{Parent, Registry, wait_until},
    requirement::Requirement,
    roots, tests,
};

use crate::control_attacks::{reply, request};

tests![
    killed_when_the_time_is_over,
    held_with_limits,
    that_can_not_be_moved,
    released_in_vain,
    released_behind_links,
    without_dev_null,
    of_a_directory_that_is_removed,
    nothing_runs_when_the_end_is_told,
    that_can_not_be_watched,
    told_by_a_signal,
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

/// Who releases a pod takes its cgroups away, and tells what memory it wanted.
fn held_with_limits() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    for (words, code) in [
        (&[][..], 137),
        (&["--", "-c", "1", "/dev/null"], 0),
        (&["--set-env=A=1"], 137),
    ] {
        let directory = roots::fresh("pod");
        Pod::new(roots::busybox()?)
            .flag("--hold")
            .options(["--pod-dir".as_ref(), directory.as_os_str()])
            .options(["--memory=16M", "--cgroup-parent", &parent.path])
            .command(["/bin/tail", "-c", "200000000", "/dev/zero"])
            .output()
            .code(0);
        assert!(!parent.pods().is_empty(), "it has limits");
        let release = Run::ours("stage0").args(["app", "release"]).arg(&directory);
        let output = release.args(words).output();
        output.code(code);
        let killed = "stage0: run with --memory 16777216: out of memory";
        assert_eq!(output.stderr.starts_with(killed), code == 137, "{words:?}");
        assert!(parent.pods().is_empty(), "{:?}", parent.pods());
    }
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

/// Its name is in no file, nothing that was in the file is lost, and it can be released later.
fn released_in_vain() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&["--warm"], &["exit", "3"]);
    let folder = pods.path().join("pods/run");
    fs::write(&folder, "").expect("a file");
    let elsewhere = pods.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    let kept = elsewhere.join("kept");
    fs::write(&kept, "as it was").expect("a file");
    for file in ["relative", "kept", kept.to_str().expect("a path")] {
        pods.command("run-prepared")
            .args(["--uuid-file-save", file, &uuid])
            .directory(&elsewhere)
            .output()
            .refused(&["Not a directory"]);
        assert_eq!(fs::read_to_string(&kept).expect("a file"), "as it was");
        assert_eq!(fs::read_dir(&elsewhere).expect("a directory").count(), 1);
        // Nobody who only looks can hold its lock.
        let lock = fs::metadata(pods.place("prepared", &uuid).join("lock"));
        assert_eq!(lock.expect("a lock").permissions().mode() & 0o777, 0o600);
        assert_eq!(pods.state(&uuid), "parked");
    }
    fs::remove_file(&folder).expect("a file");
    pods.command("run-prepared")
        .args(["--uuid-file-save", "relative", &uuid])
        .directory(&elsewhere)
        .output()
        .code(3)
        .quiet();
    let saved = fs::read_to_string(elsewhere.join("relative"));
    assert_eq!(saved.expect("a file").trim_end(), uuid);
    fs::remove_dir_all(&elsewhere).expect("a directory");
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// The folders of the states may be elsewhere, each where it likes.
fn released_behind_links() -> TestResult {
    let pods = Registry::new();
    let elsewhere = pods.path().join("elsewhere");
    // What is beside them there is none of ours.
    for (folder, place) in [
        ("prepared", "a/prepared"),
        ("run", "b/c/live"),
        ("garbage", "d/garbage"),
        ("exited-garbage", "d/exited"),
    ] {
        let place = elsewhere.join(place);
        fs::create_dir_all(&place).expect("a directory");
        fs::create_dir_all(pods.path().join("pods")).expect("a directory");
        symlink(&place, pods.path().join("pods").join(folder)).expect("a link");
    }
    for folder in ["a/run", "a/garbage", "b/c/garbage"] {
        fs::create_dir(elsewhere.join(folder)).expect("a directory");
    }
    let first = pods.prepare(&["--warm"], &["exit", "3"]);
    let second = pods.prepare(&["--warm"], &["exit", "4"]);
    let running = pods.detach(&[]);
    let mut list = pods.list();
    list.sort();
    let mut wanted = [
        (&first, "parked"),
        (&second, "parked"),
        (&running, "running"),
    ]
    .map(|(uuid, state)| (uuid.clone(), state.to_owned()));
    wanted.sort();
    assert_eq!(list, wanted);
    pods.ask("run-prepared", &[&first]).code(3).quiet();
    pods.ask("run-prepared", &["--keep", &second])
        .code(4)
        .quiet();
    assert_eq!(pods.state(&second), "exited");
    for folder in [
        "a/run",
        "a/garbage",
        "b/c/garbage",
        "b/c/live/..",
        "a/prepared",
        "d/garbage",
    ] {
        let names = fs::read_dir(elsewhere.join(folder)).expect("a directory");
        let names: Vec<_> = names
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        let uuids = names.iter().filter(|name| name.len() == first.len());
        assert_eq!(uuids.count(), 0, "{folder}: {names:?}");
    }
    pods.ask("stop", &[&running]).code(0).quiet();
    pods.ask("rm", &[&running, &second]).code(0).quiet();
    fs::remove_dir_all(&elsewhere).expect("a directory");
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
        let mut places = runs.iter().map(|uuid| pods.place("run", uuid).join("pid"));
        places.any(|path| path.exists())
    });
    let uuid = pods.in_folder("run").remove(0);
    let pid = fs::read_to_string(pods.place("run", &uuid).join("pid")).expect("its pid");
    let launcher = init::status(pid.trim_end().parse().expect("a number"), "PPid");
    let launcher = launcher.parse().expect("a number");
    wait_until("it waits", || {
        init::descriptors(launcher).contains("inotify wd:")
    });
    wait_until("it is gone", || {
        fs::remove_dir_all(pods.place("run", &uuid)).is_ok() && pods.in_folder("run").is_empty()
    });
    running.finish().code(254);
    wait_until("no process is left", || isolate::processes().len() <= 2);
    Ok(())
}

/// Somebody else may have the directory then. pid 1 itself waits for who is told.
fn nothing_runs_when_the_end_is_told() -> TestResult {
    let directory = roots::fresh("pod");
    let mark = "61235";
    Pod::new(roots::probe())
        .flag("--hold")
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .probe(["background", "sleep", mark, ",", "exit", "2"])
        .code(0);
    let (own, other) = UnixDatagram::pair().expect("a pair");
    own.set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    let null = File::open("/dev/null").expect("a device");
    let numbers = [
        other.as_raw_fd(),
        null.as_raw_fd(),
        null.as_raw_fd(),
        null.as_raw_fd(),
    ];
    let socket = UnixDatagram::unbound().expect("a socket");
    let path = directory.join("control");
    message::send(&socket, &path, &request(7, 0, 0, ""), &numbers).expect("sent");
    drop(other);
    let [_, errno, _, _, _, _, code, _] = reply(&own);
    let lock = File::options()
        .read(true)
        .write(true)
        .open(directory.join("lock"));
    lock::for_writing(&lock.expect("a lock")).expect("nobody holds it");
    let words: Vec<String> = isolate::processes()
        .into_iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).ok())
        .collect();
    assert!(!words.iter().any(|words| words.contains(mark)), "{words:?}");
    assert_eq!((errno, code), (0, 2));
    Ok(())
}

/// Nobody would know when it can be released, or is ready: it does not live on.
fn that_can_not_be_watched() -> TestResult {
    let pods = Registry::new();
    for words in [["prepare", "--warm"], ["run", "--detach"]] {
        let run = pods.pod(words[0], &words[1..], &["catch", "TERM"]);
        let run = run.hook(failing(&[libc::SYS_inotify_init1], libc::EMFILE));
        let output = run.output();
        output.code(254);
        assert!(output.stderr.contains("Too many open files"));
        wait_until("no process is left", || isolate::processes().len() <= 2);
        pods.collected();
    }
    Ok(())
}

/// It is for the pod, as of any other.
fn told_by_a_signal() -> TestResult {
    let pods = Registry::new();
    for words in [&[][..], &["--set-env=A=b"], &["--keep"]] {
        let uuid = pods.prepare(&["--warm"], &["catch", "TERM", ",", "exit", "5"]);
        let run = pods.command("run-prepared").args(words).arg(&uuid).start();
        run.wait_for("waiting");
        run.signal(libc::SIGTERM);
        run.finish().code(5);
    }
    pods.collected();
    Ok(())
}
