//! `stage0 app exec`: programs that enter a pod that runs, confined as one of its apps.
#![allow(clippy::too_many_lines, reason = "one case after the other")]

use std::{
    fs::{self, File},
    path::Path,
    time::Duration,
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    init,
    pod::Pod,
    registered::wait_until,
    roots, sys, tests,
};

use crate::{
    control::Controlled,
    control_attacks::{open_files, resident},
};

tests![
    exit_codes,
    confinement,
    cgroup,
    environment,
    apps,
    streams,
    descriptors,
    closed_streams,
    signals,
    before_the_pod_is_there,
    a_pod_that_dies,
    the_end_of_the_pod,
    clients_that_are_killed,
    forgotten,
    a_thousand,
    cve_2016_9962,
];

/// `stage0 app exec DIR` with these words.
pub fn exec(directory: &Path, words: &[&str]) -> Run {
    Run::ours("stage0")
        .args(["app", "exec"])
        .arg(directory)
        .args(words)
        .limit(Duration::from_secs(20))
}

/// The same with the probe.
pub fn probe(directory: &Path, words: &[&str]) -> Run {
    exec(directory, &[&["--", "/bin/probe"], words].concat())
}

fn exit_codes() -> TestResult {
    let pod = Controlled::new();
    let run = |words: &[&str]| probe(&pod.directory, words).output();
    run(&["exit", "0"]).code(0).quiet();
    run(&["echo", "hi", ",", "exit", "7"])
        .code(7)
        .printed("hi\n");
    run(&["exit", "253"]).code(253);
    run(&["raise", "KILL"]).code(137);
    run(&["raise", "USR1"]).code(138);
    // What can't be started is told to who asked.
    let missing = exec(&pod.directory, &["--", "/bin/missing"]).output();
    missing.code(254);
    assert!(
        missing.stderr.contains("/bin/missing"),
        "{}",
        missing.everything()
    );
    exec(&pod.directory, &[]).output().code(254);
    let output = pod.end();
    output.code(0).lacks("missing");
    assert!(output.stderr.is_empty(), "{}", output.everything());
    Ok(())
}

/// What tells of confinement (CVE-2019-10144, 10145, 10147) and the like: as the app's.
fn confinement() -> TestResult {
    const FIELDS: [&str; 16] = [
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "Kthread",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
    ];
    const SEEN: &str = "read /proc/self/status , limits , report ns cwd root tty env , \
        read /proc/self/cgroup , read /proc/self/oom_score_adj";
    let variants: [&[&str]; 5] = [
        &[],
        &["--user=1000", "--group=1001", "--groups=5,6", "--umask=077"],
        &[
            "--cap-drop=CHOWN,KILL",
            "--rlimit=nofile=64:128",
            "--working-dir=/tmp",
        ],
        &[
            "--user=7",
            "--cap-add=NET_BIND_SERVICE",
            "--nice=5",
            "--cpu-affinity=0",
        ],
        &["--insecure-options=all"],
    ];
    for options in variants {
        let words: Vec<&str> = SEEN
            .split_whitespace()
            .chain([",", "catch", "TERM"])
            .collect();
        let options = [&["--exit-policy=never"], options].concat();
        let pod = Controlled::with(&options, &words);
        let words: Vec<&str> = SEEN.split_whitespace().collect();
        let entered = probe(&pod.directory, &words).output();
        entered.code(0);
        let app = pod.end();
        let lines = |output: &Output| -> Vec<String> {
            let lines = output
                .stdout
                .lines()
                .filter(|line| !line.starts_with("catch"));
            let wanted = lines.filter(|line| match line.split_once(":\t") {
                Some((field, _)) => FIELDS.contains(&field),
                None => true,
            });
            wanted.map(str::to_owned).collect()
        };
        assert_eq!(lines(&app), lines(&entered), "{options:?}");
        for set in ["CapAmb", "CapInh"] {
            let none = lines(&entered).contains(&format!("{set}:\t0000000000000000"));
            assert!(
                none || options.contains(&"--user=7"),
                "{set} of {options:?}"
            );
        }
        assert!(lines(&entered).len() > 20, "{}", entered.everything());
    }
    Ok(())
}

/// It is in the cgroup of the pod, where its limits count.
fn cgroup() -> TestResult {
    let parent = crate::limits::Parent::new();
    let words = format!(
        "--exit-policy=never --pids=10 --cgroup-parent={}",
        parent.path()
    );
    let pod = Controlled::with(&words.split(' ').collect::<Vec<_>>(), &["catch", "TERM"]);
    let running = probe(&pod.directory, &["catch", "TERM", ",", "orphan", "30"]).start();
    running.wait_for("waiting");
    let first = pod.pid();
    let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
    let children = children.expect("a process");
    let groups = children.split_whitespace().map(|child| {
        let text = fs::read_to_string(format!("/proc/{child}/cgroup"));
        text.expect("a process")
    });
    let groups: Vec<String> = groups.collect();
    assert!(
        matches!(&groups[..], [one, other] if one == other && one.contains("pod-")),
        "{groups:?}"
    );
    running.signal(libc::SIGTERM);
    let forks = running.finish();
    assert!(forks.stdout.contains("EAGAIN"), "{}", forks.everything());
    pod.end().code(0);
    Ok(())
}

/// Nothing is inherited; the app's own variables count less than those of --set-env, of
/// which the last one counts.
fn environment() -> TestResult {
    let options = [
        "--exit-policy=never",
        "--set-env=ONE=app",
        "--set-env=TWO=app",
        "--set-env=EMPTY=",
    ];
    let pod = Controlled::with(&options, &["catch", "TERM"]);
    let base = [
        "AC_APP_NAME=main",
        "HOME=/root",
        "LOGNAME=root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SHELL=/bin/sh",
        "USER=root",
    ];
    let cases: [(&[&str], &[&str]); 8] = [
        (&[], &["EMPTY=", "ONE=app", "TWO=app"]),
        (&["--set-env=ONE=more"], &["EMPTY=", "ONE=more", "TWO=app"]),
        (
            &["--set-env", "NEW=a b"],
            &["EMPTY=", "NEW=a b", "ONE=app", "TWO=app"],
        ),
        (
            &["--set-env=ONE=1", "--set-env=ONE=2"],
            &["EMPTY=", "ONE=2", "TWO=app"],
        ),
        (
            &["--set-env=TWO=", "--set-env=ONE=x=y"],
            &["EMPTY=", "ONE=x=y", "TWO="],
        ),
        (
            &["--set-env=EMPTY=full"],
            &["EMPTY=full", "ONE=app", "TWO=app"],
        ),
        (
            &["--set-env=LINES=a\nb\n"],
            &["EMPTY=", "LINES=a", "ONE=app", "TWO=app"],
        ),
        (
            &["--set-env=ONEMORE=1"],
            &["EMPTY=", "ONE=app", "ONEMORE=1", "TWO=app"],
        ),
    ];
    for (options, expected) in cases {
        let words = [options, &["--", "/bin/probe", "report", "env"]].concat();
        let output = exec(&pod.directory, &words)
            .env("INHERITED", "yes")
            .env("ONE", "inherited")
            .output();
        output.code(0);
        let lines = output
            .stdout
            .lines()
            .filter_map(|line| line.strip_prefix("env."));
        let mut lines: Vec<&str> = lines.collect();
        lines.sort_unstable();
        let mut wanted: Vec<&str> = base.iter().chain(expected).copied().collect();
        wanted.sort_unstable();
        assert_eq!(lines, wanted, "{options:?}");
    }
    for bad in ["--set-env=NONE", "--set-env==x"] {
        exec(&pod.directory, &[bad, "--", "/bin/probe"])
            .output()
            .refused(&["NAME=VALUE"]);
    }
    pod.end().code(0);
    Ok(())
}

/// That of the first app, or of the one that is named.
fn apps() -> TestResult {
    let directory = roots::fresh("pod");
    let words = crate::pods::programs(&[
        "catch TERM , exit 0",
        "--name=second --user=33 --set-env=WHO=second | catch TERM , exit 0",
    ]);
    let running = Pod::new(roots::probe())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .flag("--name=first")
        .command(words)
        .start();
    wait_until("both are ready", || directory.join("ready").exists());
    running.wait_for("waiting\ncatch: waiting");
    let report = ["--", "/bin/probe", "report", "uid", "env"];
    exec(&directory, &report)
        .output()
        .code(0)
        .has("uid=0\n")
        .lacks("WHO");
    exec(&directory, &[&["first"], &report[..]].concat())
        .output()
        .code(0)
        .has("uid=0\n");
    let second = exec(&directory, &[&["second"], &report[..]].concat()).output();
    second.code(0).has("uid=33\n").has("env.WHO=second\n");
    exec(&directory, &["third", "--", "/bin/probe"])
        .output()
        .refused(&["third", "no such app", "first, second"]);
    sys::kill(pid(&directory), libc::SIGTERM).expect("it can be done");
    running.finish().code(0);
    Ok(())
}

fn pid(directory: &Path) -> i32 {
    let text = fs::read_to_string(directory.join("pid")).expect("a pid");
    text.trim_end().parse().expect("a number")
}

/// Pipes, files and /dev/null pass straight through, and their ends arrive.
fn streams() -> TestResult {
    let pod = Controlled::new();
    let output = probe(&pod.directory, &["cat"]).input("one\ntwo").output();
    output.code(0).printed("one\ntwo");
    probe(&pod.directory, &["cat"]).output().code(0).printed("");
    let big = probe(&pod.directory, &["flood", "1000000"]).output();
    assert_eq!(big.code(0).bytes.len(), 1_000_000);
    let output = probe(&pod.directory, &["error", "wrong", ",", "echo", "right"]).output();
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("right\n", "wrong\n")
    );
    let path = roots::fresh("file");
    fs::write(&path, "from a file").expect("it can be done");
    let output = probe(&pod.directory, &["cat"])
        .stdin(File::open(&path).expect("it can be done"))
        .output();
    output.code(0).printed("from a file");
    // It reads what comes while it runs, and its end.
    let mut running = probe(&pod.directory, &["line", ",", "line", ",", "exit", "3"])
        .open_input()
        .start();
    running.send("first\n");
    running.wait_for("first");
    running.close_input();
    running.finish().code(3);
    pod.end().code(0).lacks("wrong");
    Ok(())
}

/// Nothing but the three, whatever the caller has open.
fn descriptors() -> TestResult {
    let pod = Controlled::new();
    let folder = File::open("/").expect("it can be done");
    let output = probe(&pod.directory, &["report", "fd"])
        .hook(move || (3..20).try_for_each(|number| sys::duplicate_onto(&folder, number)))
        .output();
    output.code(0);
    let report = output.report();
    let numbers: Vec<&str> = report
        .below("fd")
        .iter()
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(numbers, ["0", "1", "2"], "{}", output.everything());
    pod.end().code(0);
    Ok(())
}

/// One that is closed is /dev/null there, not something else of ours.
fn closed_streams() -> TestResult {
    let pod = Controlled::new();
    let output = probe(&pod.directory, &["report", "fd", ",", "exit", "6"])
        .hook(|| sys::close(0))
        .output();
    output.code(6);
    output.has("fd.0=/dev/null\n");
    probe(&pod.directory, &["exit", "5"])
        .hook(|| (0..3).try_for_each(sys::close))
        .output()
        .code(5);
    // Also of who has started the pod.
    let directory = roots::fresh("pod");
    let running = Pod::new(roots::probe())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .probe_command(["catch", "TERM", ",", "exit", "0"])
        .hook(|| sys::close(0))
        .start();
    running.wait_for("waiting");
    let output = probe(&directory, &["cat", ",", "exit", "4"])
        .input("text")
        .output();
    output.code(4).printed("text");
    sys::kill(pid(&directory), libc::SIGTERM).expect("it can be done");
    running.finish().code(0);
    pod.end().code(0);
    Ok(())
}

/// Those that come to the client are passed on.
fn signals() -> TestResult {
    let pod = Controlled::new();
    let signals = [
        (libc::SIGHUP, "HUP"),
        (libc::SIGINT, "INT"),
        (libc::SIGQUIT, "QUIT"),
        (libc::SIGTERM, "TERM"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGUSR2, "USR2"),
    ];
    for (number, name) in signals {
        let running = probe(&pod.directory, &["catch", name, ",", "exit", "3"]).start();
        running.wait_for("waiting");
        running.signal(number);
        running.finish().code(3).has(&format!("catch: SIG{name}"));
        let running = probe(&pod.directory, &["echo", "on", ",", "sleep", "60000"]).start();
        running.wait_for("on");
        running.signal(number);
        running.finish().code(128 + number);
    }
    assert!(pod.is("main", "running", "0"));
    pod.end().code(0);
    Ok(())
}

/// It waits until there is somebody to ask.
fn before_the_pod_is_there() -> TestResult {
    for _ in 0..30 {
        let directory = roots::fresh("pod");
        let running = Pod::new(roots::probe())
            .options(["--pod-dir".as_ref(), directory.as_os_str()])
            .flag("--exit-policy=never")
            .probe_command(["exit", "0"])
            .start();
        // Its plan is written before it has a process.
        while !directory.join("plan").exists() {
            std::hint::spin_loop();
        }
        probe(&directory, &["exit", "5"]).output().code(5);
        sys::kill(pid(&directory), libc::SIGTERM).expect("it can be done");
        running.finish().code(0);
        probe(&directory, &["exit", "5"])
            .output()
            .refused(&["no pod with a control socket runs there"]);
    }
    // A plan that was left behind is no pod that comes.
    let directory = roots::directory("pod");
    fs::write(directory.join("plan"), "").expect("it can be done");
    fs::write(directory.join("lock"), "").expect("it can be done");
    probe(&directory, &["exit", "5"])
        .output()
        .refused(&["no pod with a control socket runs there"]);
    Ok(())
}

/// Who has entered it is told at once.
fn a_pod_that_dies() -> TestResult {
    for _ in 0..10 {
        let pod = Controlled::new();
        let running = probe(&pod.directory, &["echo", "on", ",", "sleep", "60000"]).start();
        running.wait_for("on");
        sys::kill(pod.pid(), libc::SIGKILL).expect("it can be done");
        let output = running.finish();
        output.code(254);
        assert!(
            output.closed && output.stderr.contains("no pod"),
            "{}",
            output.everything()
        );
        pod.running.finish().code(254);
    }
    Ok(())
}

/// A pod does not wait for who has entered it, and is not stopped by its failure.
fn the_end_of_the_pod() -> TestResult {
    let pod = Controlled::with(&[], &["catch", "TERM", ",", "exit", "4"]);
    probe(&pod.directory, &["exit", "9"]).output().code(9);
    exec(&pod.directory, &["--", "/bin/missing"])
        .output()
        .code(254);
    let words = ["ignore", "all", ",", "echo", "on", ",", "sleep", "60000"];
    let running = probe(&pod.directory, &words).start();
    running.wait_for("on");
    let entered = exec(&pod.directory, &["--", "/bin/probe", "sleep", "60000"]).start();
    pod.app("kill", &["main"]).code(0);
    pod.running.finish().code(4);
    running.finish().code(254);
    entered.finish().code(254);
    Ok(())
}

/// What was entered goes on, and is forgotten when it has ended.
fn clients_that_are_killed() -> TestResult {
    let pod = Controlled::new();
    let before = open_files(pod.pid());
    for delay in 0..60 {
        let running = probe(&pod.directory, &["sleep", "20"]).start();
        std::thread::sleep(Duration::from_micros(delay * 50));
        running.signal(libc::SIGKILL);
        let _ = running.finish();
    }
    wait_until("all are forgotten", || {
        pod.app("list", &[]).stdout.lines().count() == 2 && open_files(pod.pid()) == before
    });
    let running = probe(
        &pod.directory,
        &[
            "echo",
            "on",
            ",",
            "catch",
            "USR1",
            ",",
            "write",
            "/tmp/entered",
            "went on",
        ],
    );
    let running = running.start();
    running.wait_for("waiting");
    running.signal(libc::SIGKILL);
    init::wait_for_state(running.pid(), 'Z');
    let name = entered(&pod).expect("it goes on");
    pod.app("kill", &[&name, "USR1"]).code(0);
    wait_until("it is forgotten", || entered(&pod).is_none());
    probe(&pod.directory, &["read", "/tmp/entered"])
        .output()
        .code(0)
        .has("went on");
    pod.end().code(0);
    Ok(())
}

/// The name of one that has entered.
fn entered(pod: &Controlled) -> Option<String> {
    let list = pod.app("list", &[]);
    let mut names = list
        .stdout
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names
        .find(|name| name.starts_with("exec-"))
        .map(str::to_owned)
}

/// Nothing of it is left: no name, no place, no file.
fn forgotten() -> TestResult {
    let pod = Controlled::new();
    let running = probe(&pod.directory, &["catch", "TERM", ",", "exit", "8"]).start();
    running.wait_for("waiting");
    let name = entered(&pod).expect("it runs");
    assert_eq!(&pod.line(&name)[1..3], ["running", "yes"]);
    pod.app("rm", &[&name]).refused(&["it has not ended"]);
    // It can be stopped as others can.
    pod.app("stop", &[&name])
        .refused(&["somebody waits for its end already"]);
    pod.app("kill", &[&name]).code(0);
    running.finish().code(8);
    pod.app("status", &[&name]).refused(&["no such app"]);
    assert!(pod.code(&name).is_none());
    let left: Vec<_> = fs::read_dir(pod.path("status"))
        .expect("it can be done")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    pod.end().code(0);
    Ok(())
}

/// pid 1 keeps nothing of them.
fn a_thousand() -> TestResult {
    let pod = Controlled::new();
    let mut first = None;
    for number in 0..1000 {
        probe(&pod.directory, &["exit", "1"]).output().code(1);
        if number % 100 == 99 {
            // It lets go of the last one when that has been told.
            init::wait_for_state(pod.pid(), 'S');
            let now = (open_files(pod.pid()), resident(pod.pid()));
            let (files, memory) = *first.get_or_insert(now);
            assert_eq!(now.0, files);
            assert!(now.1 <= memory + 8, "{memory} KB, then {} KB", now.1);
        }
    }
    pod.end().code(0).quiet();
    Ok(())
}

/// A process of the pod that looks at all that come sees no descriptor of the host: the
/// one that enters can't be traced before it is the program, and has none.
fn cve_2016_9962() -> TestResult {
    let directory = roots::fresh("pod");
    let running = Pod::new(roots::busybox()?)
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .flag("--exit-policy=never")
        .command([
            "/bin/sh",
            "-c",
            "echo ready; while :; do ls -l /proc/[0-9]*/fd /proc/[0-9]*/cwd /proc/[0-9]*/root \
                2>/dev/null; done >/tmp/seen",
        ])
        .limit(Duration::from_secs(60))
        .start();
    running.wait_for("ready");
    for _ in 0..100 {
        exec(&directory, &["--", "/bin/true"]).output().code(0);
    }
    let seen = exec(&directory, &["--", "/bin/cat", "/tmp/seen"]).output();
    seen.code(0);
    let folder = directory
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    for secret in [&*folder, "memfd:", "control", "/plan", "/lock", "socket:"] {
        seen.lacks(secret);
    }
    seen.has("-> /\n").has("pipe:");
    sys::kill(pid(&directory), libc::SIGTERM).expect("it can be done");
    running.finish().code(0);
    Ok(())
}
