//! Pods that are parked (`--hold`): complete, but for their programs, which start when
//! `stage0 app release` lets them go.

use std::{
    fs::{self, File},
    os::{fd::AsRawFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    init, lock, message,
    pod::Pod,
    registered::wait_until,
    roots, sys, tests,
};

use crate::control::app;

tests![
    nothing_before,
    exit_codes,
    streams,
    variables_and_arguments,
    several_programs,
    orders,
    once,
    signals,
    a_releaser_that_dies,
    deaf_and_alone,
    told_to_end,
    nothing_is_left,
    one_after_the_other,
    no_wake_ups,
    a_start_that_comes_to_nothing,
    plans_that_are_none,
    command_lines,
    without_standard_input,
];

/// A parked pod with this program.
fn park(options: &[&str], program: &[&str]) -> PathBuf {
    let directory = roots::fresh("pod");
    park_in(&directory, options, program).code(0).quiet();
    directory
}

fn park_in(directory: &Path, options: &[&str], program: &[&str]) -> Output {
    Pod::new(roots::probe())
        .flag("--hold")
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .options(["--name=main"])
        .options(options)
        .probe(program)
}

fn release(directory: &Path, words: &[&str]) -> Run {
    Run::ours("stage0")
        .args(["app", "release"])
        .arg(directory)
        .args(words)
}

fn pid(directory: &Path) -> i32 {
    let text = fs::read_to_string(directory.join("pid")).expect("a pid");
    text.trim_end().parse().expect("a number")
}

fn is_gone(pid: i32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists() || init::state(pid) == 'Z'
}

/// Until it is released nothing of its program runs.
fn nothing_before() -> TestResult {
    let directory = park(
        &[],
        &[
            "write",
            "/tmp/parked",
            "x",
            ",",
            "report",
            "ns",
            "pid",
            "ppid",
        ],
    );
    app("status", &directory, &["main"]).code(0).has("waiting");
    assert!(!directory.join("ready").exists() && directory.join("plan").exists());
    let number = pid(&directory);
    // It has a process that is to become the program, and has not done so.
    let understudy = init::child_of(number);
    init::wait_for_state(understudy, 'S');
    assert_eq!(
        init::status(understudy, "Name"),
        init::status(number, "Name")
    );
    // The first one is its lock, until it is released.
    let lock = fs::canonicalize(directory.join("lock")).expect("a lock");
    for (stream, wanted) in [
        lock.as_path(),
        Path::new("/dev/null"),
        Path::new("/dev/null"),
    ]
    .iter()
    .enumerate()
    {
        let file = fs::read_link(format!("/proc/{number}/fd/{stream}")).expect("it can be done");
        assert_eq!(file, *wanted);
    }
    let output = release(&directory, &[]).output();
    output.code(0);
    output.report().is("pid", "2").is("ppid", "1");
    // As of others, only what tells of the programs stays.
    assert_eq!(
        fs::read_to_string(directory.join("status/main")).expect("it can be done"),
        "0\n"
    );
    for name in ["pid", "ready", "control", "plan"] {
        assert!(!directory.join(name).exists(), "{name}");
    }
    assert!(is_gone(number) || init::state(number) != 'S');
    Ok(())
}

fn exit_codes() -> TestResult {
    for (program, code) in [
        (&["exit", "0"][..], 0),
        (&["exit", "9"], 9),
        (&["raise", "KILL"], 137),
    ] {
        release(&park(&[], program), &[])
            .output()
            .code(code)
            .quiet();
    }
    let directory = roots::fresh("pod");
    Pod::new(roots::probe())
        .flag("--hold")
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .run(["/bin/missing"])
        .code(0);
    let output = release(&directory, &[]).output();
    output.code(254);
    assert!(
        output.stderr.contains("/bin/missing"),
        "{}",
        output.everything()
    );
    // pid 1 that is killed is no program's end.
    let directory = park(&[], &["echo", "on", ",", "sleep", "60000"]);
    let running = release(&directory, &[]).start();
    running.wait_for("on");
    sys::kill(pid(&directory), libc::SIGKILL).expect("it can be done");
    let output = running.finish();
    output.code(254);
    assert!(
        output.stderr.contains("it was killed"),
        "{}",
        output.everything()
    );
    Ok(())
}

/// Those of who releases it; who has parked it has gone, and nothing of that one is held.
fn streams() -> TestResult {
    let directory = park(&[], &["report", "fd", ",", "cat"]);
    let output = release(&directory, &[]).input("some text").output();
    output.code(0).has("some text");
    let report = output.report();
    let numbers: Vec<&str> = report
        .below("fd")
        .iter()
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(numbers, ["0", "1", "2"]);
    let path = roots::fresh("file");
    fs::write(&path, "of a file").expect("it can be done");
    let output = release(&park(&[], &["cat", ",", "error", "e"]), &[])
        .stdin(File::open(&path).expect("it can be done"))
        .output();
    output.code(0).printed("of a file");
    assert_eq!(output.stderr, "e\n");
    release(&park(&[], &["exit", "3"]), &[])
        .hook(|| (0..3).try_for_each(sys::close))
        .output()
        .code(3);
    Ok(())
}

/// At the last moment.
fn variables_and_arguments() -> TestResult {
    let options = ["--set-env=ONE=plan", "--set-env=TWO=plan"];
    let output = release(
        &park(&options, &["report", "env"]),
        &["--set-env=ONE=late", "--set-env", "NEW=late"],
    )
    .env("INHERITED", "yes")
    .output();
    output.code(0).lacks("INHERITED");
    let report = output.report();
    report
        .is("env.ONE", "late")
        .is("env.TWO", "plan")
        .is("env.NEW", "late");
    let words = [
        "--set-env=ONE=late",
        "--",
        "report",
        "env.ONE",
        ",",
        "exit",
        "6",
    ];
    let output = release(&park(&options, &["exit", "1"]), &words).output();
    output.code(6).printed("env.ONE=late\n");
    // What it may do stays as it was.
    let words = ["--", "report", "uid", "CapEff", "NoNewPrivs"];
    let output = release(&park(&["--user=1000"], &["exit", "1"]), &words).output();
    output.code(0);
    let report = output.report();
    report
        .is("uid", "1000")
        .is("CapEff", "0000000000000000")
        .is("NoNewPrivs", "1");
    Ok(())
}

fn several_programs() -> TestResult {
    let directory = roots::fresh("pod");
    let words = crate::pods::programs(&[
        "echo first , exit 0",
        "--name=second --after=main --ready=exit | echo second , exit 0",
        "--name=third --after=second | report env.A",
    ]);
    let pod = Pod::new(roots::probe())
        .flag("--hold")
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .options(["--name=main", "--ready=exit"]);
    pod.run(&words).code(0);
    release(&directory, &["--", "exit", "3"])
        .output()
        .refused(&["one app at a time"]);
    let output = release(&directory, &["--set-env=A=b"]).output();
    output.code(0).printed("first\nsecond\nenv.A=b\n");
    pod.run(&words).code(0);
    release(&directory, &[])
        .output()
        .code(0)
        .printed("first\nsecond\n");
    Ok(())
}

/// What needs its programs has to wait; it can be asked, and told to end.
fn orders() -> TestResult {
    let directory = park(&[], &["exit", "0"]);
    for (command, words) in [
        ("add", &["--name=new", "--", "/bin/probe", "exit", "0"][..]),
        ("start", &["main"]),
        ("stop", &["main"]),
        ("rm", &["main"]),
        ("kill", &["main"]),
        ("exec", &["--", "/bin/probe", "exit", "0"]),
    ] {
        app(command, &directory, words).refused(&["the pod is parked"]);
    }
    app("list", &directory, &[])
        .code(0)
        .has("main")
        .has("waiting");
    release(&directory, &[]).output().code(0);
    Ok(())
}

/// A pod that runs is not parked, also if it was.
fn once() -> TestResult {
    let directory = park(&[], &["catch", "TERM", ",", "exit", "2"]);
    let running = release(&directory, &[]).start();
    running.wait_for("waiting");
    // Behind the message: the program may be faster.
    wait_until("it lets nobody in", || !directory.join("gate").exists());
    for words in [&[][..], &["--set-env=A=b"]] {
        release(&directory, words).output().refused(&["not parked"]);
    }
    // Also by who does not look at the lock.
    assert_eq!(
        ask(&directory, 7, &[0, 1, 2], None),
        libc::EALREADY.unsigned_abs()
    );
    app("exec", &directory, &["--", "/bin/probe", "exit", "7"]).code(7);
    running.signal(libc::SIGTERM);
    running.finish().code(2);
    release(&directory, &[])
        .output()
        .refused(&["no pod with a control socket runs there"]);
    let pod = crate::control::Controlled::new();
    release(&pod.directory, &[])
        .output()
        .refused(&["not parked"]);
    pod.end().code(0);
    Ok(())
}

/// They are passed on as `stage0 run` does it.
fn signals() -> TestResult {
    for (number, name) in [
        (libc::SIGTERM, "TERM"),
        (libc::SIGINT, "INT"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGHUP, "HUP"),
    ] {
        let running = release(&park(&[], &["catch", name, ",", "exit", "5"]), &[]).start();
        running.wait_for("waiting");
        running.signal(number);
        running.finish().code(5).has(&format!("catch: SIG{name}"));
    }
    Ok(())
}

/// Its pod is stopped in order.
fn a_releaser_that_dies() -> TestResult {
    let path = roots::fresh("told");
    let volume = format!(
        "--volume={}:/told",
        path.parent().expect("a folder").display()
    );
    let name = path
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let target = format!("/told/{name}");
    let directory = park(
        &[&volume],
        &["catch", "TERM", ",", "write", &target, "in order"],
    );
    let number = pid(&directory);
    let running = release(&directory, &[]).start();
    running.wait_for("waiting");
    running.signal(libc::SIGKILL);
    running.finish().killed(libc::SIGKILL);
    wait_until("the pod has ended", || is_gone(number));
    assert_eq!(
        fs::read_to_string(&path).expect("it can be done"),
        "in order"
    );
    // At any moment.
    for delay in 0..40 {
        let directory = park(&[], &["sleep", "60000"]);
        let number = pid(&directory);
        let running = release(&directory, &[]).start();
        thread::sleep(Duration::from_micros(delay * 100));
        running.signal(libc::SIGKILL);
        let _ = running.finish();
        if app("status", &directory, &["main"])
            .stdout
            .contains("waiting")
        {
            // It had not come so far.
            sys::kill(number, libc::SIGTERM).expect("it can be done");
        }
        wait_until("the pod has ended", || is_gone(number));
    }
    Ok(())
}

/// The deadline holds for who does not listen.
fn deaf_and_alone() -> TestResult {
    let directory = park(
        &["--stop-timeout=100ms"],
        &["ignore", "all", ",", "echo", "on", ",", "sleep", "60000"],
    );
    let number = pid(&directory);
    let running = release(&directory, &[]).start();
    running.wait_for("on");
    running.signal(libc::SIGKILL);
    let _ = running.finish();
    wait_until("the pod has ended", || is_gone(number));
    assert_eq!(
        fs::read_to_string(directory.join("status/main")).expect("it can be done"),
        "137\n"
    );
    Ok(())
}

/// A parked pod that is told to end never starts a program.
fn told_to_end() -> TestResult {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGKILL] {
        let directory = park(&[], &["write", "/tmp/started", "x"]);
        let number = pid(&directory);
        sys::kill(number, signal).expect("it can be done");
        wait_until("it has ended", || is_gone(number));
        release(&directory, &[])
            .output()
            .refused(&["no pod with a control socket runs there"]);
        assert!(!directory.join("ready").exists());
        // Its directory can be used again.
        park_in(&directory, &[], &["exit", "4"]).code(0);
        release(&directory, &[]).output().code(4);
    }
    Ok(())
}

/// Nothing of the pod runs when it is released and its end is told.
fn nothing_is_left() -> TestResult {
    for _ in 0..10 {
        let mark = "61234";
        let program = [
            "background",
            "sleep",
            mark,
            ",",
            "orphan",
            "3",
            ",",
            "exit",
            "2",
        ];
        release(&park(&[], &program), &[]).output().code(2);
        let left = fs::read_dir("/proc")
            .expect("it can be done")
            .filter_map(|entry| {
                let text = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
                let text = String::from_utf8_lossy(&text).into_owned();
                (text.contains("probe") && text.contains(mark)).then_some(text)
            });
        let left: Vec<String> = left.collect();
        assert!(left.is_empty(), "{left:?}");
    }
    Ok(())
}

/// In one directory.
fn one_after_the_other() -> TestResult {
    let directory = roots::fresh("pod");
    for number in 0..50 {
        let code = number.to_string();
        park_in(&directory, &[], &["exit", &code]).code(0);
        release(&directory, &[]).output().code(number);
    }
    Ok(())
}

fn no_wake_ups() -> TestResult {
    let directory = park(&[], &["exit", "0"]);
    let number = pid(&directory);
    init::wait_for_state(number, 'S');
    let switches = || init::status(number, "voluntary_ctxt_switches");
    let before = switches();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(switches(), before);
    release(&directory, &[]).output().code(0);
    Ok(())
}

/// Who waits for a pod that is being started sleeps until something happens; the death of
/// who starts it, of which no file tells, is that, too.
fn a_start_that_comes_to_nothing() -> TestResult {
    for command in [&["exec"][..], &["release"]] {
        let directory = roots::directory("pod");
        let held = File::create(directory.join("lock")).expect("a lock");
        lock::for_writing(&held).expect("nobody has it");
        let waits = Run::ours("stage0")
            .arg("app")
            .args(command)
            .arg(&directory)
            .args(["--set-env", "A=1"])
            .start();
        wait_until("it waits", || init::waits_for_a_pod(waits.pid()));
        let switches = || init::status(waits.pid(), "voluntary_ctxt_switches");
        let before = switches();
        thread::sleep(Duration::from_millis(1200));
        assert_eq!(switches(), before);
        drop(held);
        waits
            .finish()
            .refused(&["no pod with a control socket runs there"]);
    }
    Ok(())
}

/// What pid 1 answers to a request with these streams and this file: an errno.
fn ask(directory: &Path, operation: u32, streams: &[i32], file: Option<&File>) -> u32 {
    let (own, other) = UnixDatagram::pair().expect("a pair");
    own.set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    let mut bytes = b"kst1".to_vec();
    bytes.extend(operation.to_ne_bytes());
    bytes.resize(272, 0);
    let mut descriptors = vec![other.as_raw_fd()];
    descriptors.extend(streams);
    descriptors.extend(file.map(AsRawFd::as_raw_fd));
    let socket = UnixDatagram::unbound().expect("a socket");
    message::send(&socket, &directory.join("control"), &bytes, &descriptors).expect("sent");
    let mut reply = [0; 288];
    let count = own.recv(&mut reply).expect("a reply");
    assert_eq!(count, 288);
    u32::from_ne_bytes(*reply[4..].first_chunk().expect("a number"))
}

/// They are refused, and it stays parked.
fn plans_that_are_none() -> TestResult {
    let directory = park(&[], &["exit", "6"]);
    let number = pid(&directory);
    init::wait_for_state(number, 'S');
    let open = || fs::read_dir(format!("/proc/{number}/fd")).map_or(0, Iterator::count);
    let before = open();
    let plan = fs::read(directory.join("plan")).expect("it can be done");
    let refused = libc::EINVAL.unsigned_abs();
    for bytes in [&b""[..], b"KICKPLAN", &plan, &plan[..plan.len() - 8]] {
        let file = message::memory_file(bytes, true).expect("it can be done");
        assert_eq!(ask(&directory, 7, &[0, 1, 2], Some(&file)), refused);
    }
    let file = message::memory_file(&plan, false).expect("it can be done");
    let unsealed = ask(&directory, 7, &[0, 1, 2], Some(&file));
    assert_eq!(unsealed, libc::EPERM.unsigned_abs());
    for streams in [&[][..], &[0], &[0, 1]] {
        assert_eq!(
            ask(&directory, 7, streams, None),
            libc::EBADF.unsigned_abs()
        );
    }
    for _ in 0..100 {
        assert_eq!(
            ask(&directory, 7, &[0, 1], None),
            libc::EBADF.unsigned_abs()
        );
    }
    // The answer comes before what came with the request is closed.
    wait_until("all is closed", || open() == before);
    release(&directory, &[]).output().code(6);
    Ok(())
}

fn command_lines() -> TestResult {
    let pod = Pod::new(roots::probe()).flag("--hold");
    pod.probe(["exit", "0"])
        .refused(&["--hold", "no pod's directory is named"]);
    let directory = roots::fresh("pod");
    let pod = pod.options(["--pod-dir".as_ref(), directory.as_os_str()]);
    for option in ["--tty", "--timings", "--timeout=5"] {
        let run = pod.clone().flag(option).probe(["exit", "0"]);
        let name = option.split('=').next().unwrap_or_default();
        run.refused(&[name, "--hold"]);
    }
    pod.clone()
        .flag("--stage1=/bin/other")
        .probe(["exit", "0"])
        .refused(&["--hold", "only with --stage1=init"]);
    assert!(!directory.exists());
    // A start that fails leaves nothing.
    Pod::new(roots::fresh("no-root"))
        .flag("--hold")
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .probe(["exit", "0"])
        .refused(&["no-root"]);
    assert!(!directory.exists());
    Run::ours("stage0")
        .args(["app", "release"])
        .output()
        .refused(&["no pod's directory is named"]);
    release(&roots::fresh("none"), &[])
        .output()
        .refused(&["none"]);
    let directory = park(&[], &["exit", "3"]);
    release(&directory, &["--user=1"])
        .output()
        .refused(&["only --set-env and arguments"]);
    release(&directory, &["--set-env=A"])
        .output()
        .refused(&["NAME=VALUE"]);
    release(&directory, &["--ttyx"])
        .output()
        .refused(&["--ttyx"]);
    release(&directory, &[]).output().code(3);
    // It is what it was called as: --hold=false parks nothing.
    park_in(&roots::fresh("pod"), &["--hold=false"], &["exit", "8"]).code(8);
    Ok(())
}

/// Nothing that who releases it has opened is one of the program's streams.
fn without_standard_input() -> TestResult {
    let directory = park(&[], &["report", "fd"]);
    let output = release(&directory, &[]).hook(|| sys::close(0)).output();
    output.code(0).quiet().has("fd.0=/dev/null\n");
    Ok(())
}
