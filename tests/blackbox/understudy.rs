//! The process that is ready to become the program of a parked pod.

use std::fs;

use kickstage_tests::{
    TestResult,
    command::Output,
    init::{self, wait_for_state},
    isolate,
    registered::{Registry, wait_until},
    requirement::Requirement,
    roots, sys, tests,
};

use crate::seccomp::ALLOW_ALL;

tests![
    becomes_the_program,
    as_of_a_run,
    killed_before,
    a_filter_that_keeps_it_from_waiting,
    other_arguments,
    within_limits,
    on_its_way,
    what_comes_later,
    errors,
    pods_without_one,
];

/// A parked pod of the probe: its uuid, and the pid of its pid 1.
fn park(pods: &Registry, options: &[&str], probe: &[&str]) -> (String, i32) {
    let uuid = pods.prepare(&[&["--warm"], options].concat(), probe);
    let pid = fs::read_to_string(pods.place("prepared", &uuid).join("pid")).expect("its pid");
    let pid = pid.trim_end().parse().expect("a number");
    (uuid, pid)
}

/// The understudy, which waits.
fn of(pid: i32) -> i32 {
    let understudy = init::child_of(pid);
    wait_for_state(understudy, 'S');
    understudy
}

fn run(pods: &Registry, uuid: &str, words: &[&str]) -> Output {
    let words = [words, &[uuid][..]].concat();
    pods.command("run-prepared").args(words).output()
}

/// In the same process.
fn becomes_the_program() -> TestResult {
    let pods = Registry::new();
    let (uuid, pid) = park(&pods, &[], &["report", "pid", "ppid", ",", "catch", "TERM"]);
    let understudy = of(pid);
    assert_eq!(init::status(understudy, "NoNewPrivs"), "1");
    assert_eq!(init::status(understudy, "Seccomp"), "2");
    let running = pods.command("run-prepared").arg(&uuid).start();
    running.wait_for("waiting");
    assert_eq!(init::child_of(pid), understudy);
    assert_eq!(init::status(understudy, "Name"), "probe");
    sys::kill(understudy, libc::SIGTERM).expect("it is there");
    let output = running.finish();
    output.code(0).quiet().has("pid=2\nppid=1\n");
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Nothing of it is otherwise.
fn as_of_a_run() -> TestResult {
    const SEEN: &str = "read /proc/self/status , limits , report ns cwd root tty env fd umask , \
        read /proc/self/oom_score_adj , read /proc/self/cgroup";
    let probe: Vec<&str> = SEEN.split_whitespace().collect();
    let pods = Registry::new();
    for options in [
        &[][..],
        &["--user=1000", "--group=1001", "--groups=5,6", "--umask=077"],
        &["--cap-drop=CHOWN,KILL"],
        &["--rlimit=nofile=64:128", "--nice=5", "--cpu-affinity=0"],
        &["--user=7", "--cap-add=NET_BIND_SERVICE", "--set-env=A=b"],
        &["--insecure-options=all"],
    ] {
        let options = [&["--name=main", "--hostname=same"], options].concat();
        let (uuid, pid) = park(&pods, &options, &probe);
        of(pid);
        let parked = run(&pods, &uuid, &[]);
        let started = pods.pod("run", &options, &probe).output();
        let lines = |output: &Output| -> Vec<String> {
            output.code(0).quiet();
            // What counts, the numbers of what is each one's own, and the session: a parked
            // pod is in one of its own.
            const OTHERS: [&str; 9] = [
                "ns.",
                "fd.1",
                "fd.2",
                "NSsid",
                "SigQ",
                "voluntary",
                "nonvoluntary",
                "Vm",
                "Rss",
            ];
            let is_other = |line: &str| OTHERS.iter().any(|other| line.starts_with(other));
            let lines = output.stdout.lines().filter(|line| !is_other(line));
            lines.map(str::to_owned).collect()
        };
        let lines = [lines(&parked), lines(&started)];
        assert!(lines[0].len() > 50, "{lines:?}");
        assert_eq!(lines[0], lines[1], "{options:?}");
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// All of its steps are done by another one.
fn killed_before() -> TestResult {
    let pods = Registry::new();
    for (signal, options) in [
        (libc::SIGKILL, &[][..]),
        (libc::SIGTERM, &[]),
        (libc::SIGSEGV, &[]),
        (libc::SIGQUIT, &["--user=1000", "--group=1000"]),
    ] {
        let (uuid, pid) = park(&pods, options, &["report", "ppid", ",", "exit", "6"]);
        let understudy = of(pid);
        sys::kill(understudy, signal).expect("it is there");
        wait_until("it is gone", || !isolate::processes().contains(&understudy));
        assert_eq!(pods.state(&uuid), "parked");
        run(&pods, &uuid, &[]).code(6).quiet().printed("ppid=1\n");
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// It ends, and the release does without it.
fn a_filter_that_keeps_it_from_waiting() -> TestResult {
    let pods = Registry::new();
    for (action, code) in [("SCMP_ACT_ERRNO", 0), ("SCMP_ACT_KILL_PROCESS", 0)] {
        let text = ALLOW_ALL.replace(
            '}',
            &format!(r#","syscalls":[{{"names":["futex"],"action":"{action}"}}]}}"#),
        );
        let file = roots::fresh("profile");
        fs::write(&file, text).expect("a file");
        let option = format!("--seccomp={}", file.display());
        let (uuid, pid) = park(&pods, &[&option], &["echo", "runs"]);
        wait_until("it has ended", || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            children.expect("it can be done").is_empty()
        });
        run(&pods, &uuid, &[]).code(code).quiet().printed("runs\n");
        // Also while it finds that out.
        for _ in 0..20 {
            let (uuid, _) = park(&pods, &[&option], &["echo", "runs"]);
            run(&pods, &uuid, &[]).code(code).quiet().printed("runs\n");
        }
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// It knows the old ones, and does not stay.
fn other_arguments() -> TestResult {
    let pods = Registry::new();
    for (options, words, wanted) in [
        (&[][..], &["--", "report", "pid"][..], "pid=3\n"),
        (&["--set-env=A=b"], &[], "env.A=b\n"),
    ] {
        let (uuid, pid) = park(&pods, &[], &["report", "env.A"]);
        let understudy = of(pid);
        let words = [options, &[uuid.as_str()], words].concat();
        let output = pods.ask("run-prepared", &words);
        output.code(0).quiet().printed(wanted);
        assert!(!isolate::processes().contains(&understudy));
    }
    // Nor beside a program that runs on.
    let (uuid, pid) = park(&pods, &[], &["exit", "0"]);
    let understudy = of(pid);
    let words = [uuid.as_str(), "--", "catch", "TERM"];
    let running = pods.command("run-prepared").args(words).start();
    running.wait_for("waiting");
    wait_until("it is gone", || !isolate::processes().contains(&understudy));
    running.signal(libc::SIGTERM);
    running.finish().code(0);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// It counts as the program does, and not beside it.
fn within_limits() -> TestResult {
    Requirement::Controllers.require()?;
    let pods = Registry::new();
    for words in [&[][..], &["--set-env=A=b"]] {
        let (uuid, pid) = park(&pods, &["--pids=2"], &["report", "ppid"]);
        of(pid);
        run(&pods, &uuid, words).code(0).quiet().printed("ppid=1\n");
    }
    // Of one that may have none it is the release that fails, as a run does.
    let (uuid, _) = park(&pods, &["--pids=1"], &["report", "ppid"]);
    let output = run(&pods, &uuid, &[]);
    output.refused(&["start an app", "Resource temporarily unavailable"]);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// One that is released at once may not be so far yet: whatever it is at, the program
/// starts once.
fn on_its_way() -> TestResult {
    let pods = Registry::new();
    let volume = roots::directory("volume");
    let option = format!("--volume={}:/data", volume.display());
    for (round, more) in [&[][..], &["--log=prefix"]]
        .iter()
        .cycle()
        .take(100)
        .enumerate()
    {
        let file = format!("/data/{round}");
        let options = [&["--warm", option.as_str()], *more].concat();
        let prepare = pods.pod("prepare", &options, &["append", &file, "x"]);
        let output = prepare.output();
        let uuid = output.code(0).quiet().stdout.trim_end().to_owned();
        run(&pods, &uuid, &[]).code(0);
        assert_eq!(
            fs::read_to_string(volume.join(round.to_string())).expect("a file"),
            "x"
        );
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// It can't enter a directory that is not there yet, and the release can.
fn what_comes_later() -> TestResult {
    let pods = Registry::new();
    let volume = roots::directory("volume");
    let options = [
        &format!("--volume={}:/data", volume.display()),
        "--working-dir=/data/later",
    ];
    let (uuid, pid) = park(&pods, &options, &["report", "cwd"]);
    wait_until("it has ended", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children.expect("it can be done").is_empty()
    });
    fs::create_dir(volume.join("later")).expect("a directory");
    let output = run(&pods, &uuid, &[]);
    output.code(0).quiet().printed("cwd=/data/later\n");
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// They are told once, as those of a run.
fn errors() -> TestResult {
    let pods = Registry::new();
    for (options, program) in [
        (&[][..], "/nope"),
        (&["--working-dir=/nope"], "/bin/probe"),
        (&["--user=1000"], "/tmp"),
    ] {
        let root = pods.root.display().to_string();
        let words = [options, &["--rootfs", &root, "--", program]].concat();
        let told = pods.ask("run", &words);
        told.refused(&[]);
        let parked = pods.ask("prepare", &[&["--warm"], &words[..]].concat());
        parked.code(0).quiet();
        let output = pods.ask("run-prepared", &[parked.stdout.trim_end()]);
        output.code(254).printed("");
        assert_eq!(output.stderr, told.stderr);
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Of several programs, or one whose streams are not who releases it, there is none.
fn pods_without_one() -> TestResult {
    let pods = Registry::new();
    for (options, more) in [
        (
            &[][..],
            &["---", "--name=other", "--", "/bin/probe", "exit", "0"][..],
        ),
        (&["--log=prefix"], &[]),
        (&["--restart=on-failure"], &[]),
        (&["--working-dir=/tmp"], &[]),
    ] {
        let probe = [&["echo", "runs"], more].concat();
        let (uuid, pid) = park(&pods, options, &probe);
        wait_until("there is none", || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            children.expect("it can be done").is_empty()
        });
        let output = run(&pods, &uuid, &[]);
        assert!(output.code(0).everything().contains("runs\n"));
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}
