//! The process that is ready to become the program of a parked pod.

use std::{
    fs,
    os::{
        fd::AsRawFd,
        unix::{fs::PermissionsExt, net::UnixDatagram},
    },
    path::Path,
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, Running},
    init::{self, wait_for_state},
    isolate, message,
    registered::{Registry, wait_until},
    requirement::Requirement,
    roots, sys, tests,
};

use crate::{
    control_attacks::{reply, request},
    seccomp::ALLOW_ALL,
};

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
    without_its_gate,
    something_else_at_its_gate,
    another_plan_at_its_gate,
    too_few_descriptors,
    killed_when_it_is_released,
    stopped_with_its_pod,
    a_program_that_ends_before_pid_1_looks,
    a_caller_that_is_killed_before_pid_1_looks,
    nothing_is_left_open,
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
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
        let text = ALLOW_ALL.replace(
            '}',
            &format!(r#","syscalls":[{{"names":["recvmsg"],"action":"{action}"}}]}}"#),
        );
        let file = roots::fresh("profile");
        fs::write(&file, text).expect("a file");
        let option = format!("--seccomp={}", file.display());
        let (uuid, pid) = park(&pods, &[&option], &["echo", "runs"]);
        wait_until("it has ended", || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            children.expect("it can be done").is_empty()
        });
        run(&pods, &uuid, &[]).code(0).quiet().printed("runs\n");
        // Also while it finds that out.
        for _ in 0..20 {
            let (uuid, _) = park(&pods, &[&option], &["echo", "runs"]);
            run(&pods, &uuid, &[]).code(0).quiet().printed("runs\n");
        }
        // Or from taking what has come.
        for name in ["dup3", "close"] {
            let text = ALLOW_ALL.replace(
                '}',
                &format!(r#","syscalls":[{{"names":["{name}"],"action":"{action}"}}]}}"#),
            );
            fs::write(&file, text).expect("a file");
            let (uuid, pid) = park(&pods, &[&option], &["echo", "runs"]);
            of(pid);
            run(&pods, &uuid, &[]).code(0).quiet().printed("runs\n");
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
        // More than fits.
        (&[], &["x"; 50]),
    ] {
        let probe = [&["echo", "runs"], more].concat();
        let (uuid, pid) = park(&pods, options, &probe);
        wait_until("there is none", || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            children.expect("it can be done").is_empty()
        });
        let output = run(&pods, &uuid, &[]);
        assert!(output.code(0).everything().contains("runs"));
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// As from a `stage0` that does not know of it: it is done without.
fn without_its_gate() -> TestResult {
    let pods = Registry::new();
    let (uuid, pid) = park(&pods, &[], &["report", "pid"]);
    of(pid);
    let gate = pods.place("prepared", &uuid).join("gate");
    let mode = fs::metadata(&gate).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    fs::remove_file(gate).expect("a socket");
    run(&pods, &uuid, &[]).code(0).quiet().printed("pid=3\n");
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// What is no release starts nothing, and keeps none from coming.
fn something_else_at_its_gate() -> TestResult {
    let pods = Registry::new();
    let file = fs::File::open("/dev/null").expect("a device");
    // A release without all of what belongs to it, and the same with something that can't
    // be told of the end, which is nothing to the program.
    let mut release = [0; 272];
    release[..8].copy_from_slice(b"kst1\x07\0\0\0");
    for (bytes, count) in [
        (&b"kst1"[..], 4),
        (b"", 0),
        (&[b'x'; 1000], 3),
        (&release[..8], 4),
        (&release, 0),
        (&release, 3),
    ] {
        let (uuid, pid) = park(&pods, &[], &["echo", "runs"]);
        let understudy = of(pid);
        let socket = UnixDatagram::unbound().expect("a socket");
        let gate = pods.place("prepared", &uuid).join("gate");
        let descriptors = vec![file.as_raw_fd(); count];
        message::send(&socket, &gate, bytes, &descriptors).expect("pid 1 reads");
        wait_until("it is gone", || !isolate::processes().contains(&understudy));
        assert_eq!(pods.state(&uuid), "parked");
        run(&pods, &uuid, &[]).code(0).quiet().printed("runs\n");
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// It does not know of that, and pid 1 does.
fn another_plan_at_its_gate() -> TestResult {
    let pods = Registry::new();
    let (uuid, pid) = park(&pods, &[], &["echo", "first"]);
    let understudy = of(pid);
    let place = roots::directory("place");
    let plan = place.join("plan");
    let run = Run::ours("stage0").args(["plan", "--rootfs=/", "--output"]);
    let words = ["--", "/bin/probe", "echo", "other"];
    run.arg(&plan).args(words).output().code(0);
    let plan = message::memory_file(&fs::read(&plan).expect("a plan"), true).expect("a file");
    let null = fs::File::open("/dev/null").expect("a device");
    let out = fs::File::create(place.join("out")).expect("a file");
    let (own, other) = UnixDatagram::pair().expect("a pair");
    let socket = UnixDatagram::unbound().expect("a socket");
    let gate = pods.place("prepared", &uuid).join("gate");
    let descriptors = [
        other.as_raw_fd(),
        null.as_raw_fd(),
        out.as_raw_fd(),
        null.as_raw_fd(),
        plan.as_raw_fd(),
    ];
    let request = request(7, 0, 0, "");
    // It is the first one to look.
    stop(pid);
    message::send(&socket, &gate, &request, &descriptors).expect("pid 1 reads");
    wait_for_state(understudy, 'Z');
    sys::kill(pid, libc::SIGCONT).expect("it is there");
    drop(other);
    let [_, errno, _, _, _, _, code, _] = reply(&own);
    assert_eq!((errno, code), (0, 0));
    let text = fs::read_to_string(place.join("out")).expect("a file");
    assert_eq!(text, "other\n");
    wait_until("it has ended", || !isolate::processes().contains(&pid));
    pods.collected();
    Ok(())
}

/// It can't take what comes, which pid 1 can.
fn too_few_descriptors() -> TestResult {
    let pods = Registry::new();
    let (uuid, pid) = park(&pods, &["--rlimit=nofile=6"], &["report", "pid"]);
    of(pid);
    run(&pods, &uuid, &[]).code(0).quiet().printed("pid=3\n");
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Stops a process; it surely does nothing more.
fn stop(pid: i32) {
    sys::kill(pid, libc::SIGSTOP).expect("it is there");
    wait_for_state(pid, 'T');
}

/// Whether the pod of this pid 1 was released: it has the caller's standard output.
fn is_released(pid: i32, output: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/fd/1")).is_ok_and(|path| path == output)
}

/// A run whose output is a file.
fn run_into(pods: &Registry, uuid: &str, output: &Path) -> Running {
    let file = fs::File::create(output).expect("a file");
    let run = pods.command("run-prepared").arg(uuid);
    run.hook(move || sys::duplicate_onto(&file, 1)).spawn()
}

/// Pid 1 has taken it for the program by then; another process becomes that.
fn killed_when_it_is_released() -> TestResult {
    let pods = Registry::new();
    let output = roots::fresh("output");
    for (signal, wanted) in [(libc::SIGKILL, "pid=3\n"), (libc::SIGCONT, "pid=2\n")] {
        let (uuid, pid) = park(&pods, &[], &["report", "pid"]);
        let understudy = of(pid);
        stop(understudy);
        let running = run_into(&pods, &uuid, &output);
        wait_until("it is released", || is_released(pid, &output));
        sys::kill(understudy, signal).expect("it is there");
        running.finish().code(0).quiet();
        assert_eq!(fs::read_to_string(&output).expect("a file"), wanted);
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Nothing takes its place then.
fn stopped_with_its_pod() -> TestResult {
    let pods = Registry::new();
    let output = roots::fresh("output");
    let (uuid, pid) = park(&pods, &[], &["report", "pid"]);
    let understudy = of(pid);
    stop(understudy);
    let running = run_into(&pods, &uuid, &output);
    wait_until("it is released", || is_released(pid, &output));
    running.signal(libc::SIGTERM);
    wait_until("it is told", || {
        let pending = init::status(understudy, "ShdPnd");
        u64::from_str_radix(&pending, 16).is_ok_and(|bits| bits >> (libc::SIGTERM - 1) & 1 != 0)
    });
    sys::kill(understudy, libc::SIGCONT).expect("it is there");
    running.finish().code(128 + libc::SIGTERM).quiet();
    assert_eq!(fs::read_to_string(&output).expect("a file"), "");
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// It runs once, and its end is not lost.
fn a_program_that_ends_before_pid_1_looks() -> TestResult {
    let pods = Registry::new();
    let volume = roots::directory("volume");
    let option = format!("--volume={}:/data", volume.display());
    for then in [None, Some(libc::SIGTERM)] {
        let probe = ["append", "/data/file", "x", ",", "exit", "9"];
        let (uuid, pid) = park(&pods, &[&option], &probe);
        let understudy = of(pid);
        stop(pid);
        let running = pods.command("run-prepared").arg(&uuid).start();
        wait_for_state(understudy, 'Z');
        // Neither is what comes meanwhile.
        if let Some(signal) = then {
            sys::kill(pid, signal).expect("it is there");
        }
        sys::kill(pid, libc::SIGCONT).expect("it is there");
        running.finish().code(9).quiet();
        let file = volume.join("file");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "x");
        fs::remove_file(file).expect("a file");
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// The program has begun without pid 1, and does not go on without it.
fn a_caller_that_is_killed_before_pid_1_looks() -> TestResult {
    let pods = Registry::new();
    let (uuid, pid) = park(&pods, &[], &["catch", "USR1"]);
    let understudy = of(pid);
    stop(pid);
    let running = pods.command("run-prepared").arg(&uuid).start();
    wait_until("it runs", || init::status(understudy, "Name") == "probe");
    running.signal(libc::SIGKILL);
    wait_for_state(running.pid(), 'Z');
    sys::kill(pid, libc::SIGCONT).expect("it is there");
    wait_until("nobody is left", || {
        let processes = isolate::processes();
        !processes.contains(&pid) && !processes.contains(&understudy)
    });
    running.finish().killed(libc::SIGKILL);
    pods.ask("gc", &["--grace-period=0"]).code(0);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Whoever looks first: not the gate, nor what has come by it.
fn nothing_is_left_open() -> TestResult {
    let pods = Registry::new();
    for is_stopped in [false, true] {
        let (uuid, pid) = park(&pods, &[], &["catch", "TERM"]);
        let open = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("it is there") {
                let path = entry.expect("a name").path();
                names.push(fs::read_link(path).unwrap_or_default());
            }
            names.sort();
            names
        };
        let understudy = of(pid);
        let before = open();
        if is_stopped {
            stop(understudy);
        }
        let file = fs::File::options().write(true).open("/dev/null");
        let file = file.expect("a device");
        let run = pods.command("run-prepared").arg(&uuid);
        let running = run.hook(move || sys::duplicate_onto(&file, 2)).start();
        if is_stopped {
            wait_until("it is released", || open().len() > before.len());
            sys::kill(understudy, libc::SIGCONT).expect("it is there");
        }
        running.wait_for("waiting");
        // The releaser's socket has come for it.
        wait_until("it is closed", || open().len() == before.len());
        running.signal(libc::SIGTERM);
        running.finish().code(0);
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}
