//! fly in new namespaces: what is new, who is pid 1, who supervises.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::Duration,
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, Running, program},
    pod::Pod,
    registered::{lives, wait_until},
    report::Report,
    requirement::Requirement,
    roots, sys, tests,
};

tests![
    one_of_each_kind,
    all_of_them,
    the_program_is_pid_one,
    exit_codes,
    killed_from_outside,
    signals_are_passed_on,
    terminal_keys_come_once,
    host_name,
    loopback_is_up,
    init_is_pid_one,
    init_and_signals,
    cve_2019_5736_init,
    cve_2019_5736_supervisor,
    bad_inits,
    dies_with_the_launcher,
    dies_with_the_parent,
    lives_on_without,
    dies_as_another_user,
    unmade_when_it_fails,
    old_kernels,
];

/// The kinds of namespaces, as /proc/self/ns names them.
pub const ALL: [&str; 7] = ["mnt", "pid", "ipc", "uts", "net", "user", "cgroup"];
/// Debian's package tini: linked statically, and not.
const TINI: &str = "/usr/bin/tini-static";
const DYNAMIC_TINI: &str = "/usr/bin/tini";

/// Which namespaces are not the test's own.
fn differing(report: &Report) -> Vec<&'static str> {
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
    let differs = |name: &&str| report.get(&format!("ns.{name}")) != own(name).to_string_lossy();
    ALL.into_iter().filter(|name| differs(name)).collect()
}

fn one_of_each_kind() -> TestResult {
    let root = roots::probe();
    for (option, own) in [
        ("--unshare-user", &["mnt", "user"][..]),
        ("--unshare-pid", &["mnt", "pid"]),
        ("--unshare-ipc", &["mnt", "ipc"]),
        ("--unshare-net", &["mnt", "net"]),
        ("--unshare-uts", &["mnt", "uts"]),
        ("--unshare-cgroup", &["mnt", "cgroup"]),
    ] {
        let report = Pod::fly(&root)
            .flag(option)
            .probe(["report", "ns"])
            .report();
        assert_eq!(differing(&report), own, "{option}");
    }
    Ok(())
}

fn all_of_them() -> TestResult {
    let pod = Pod::fly(roots::probe()).flag("--unshare-all");
    let report = pod.probe(["report", "ns", "uid", "pid"]).report();
    assert_eq!(differing(&report), ALL);
    report.is("uid", "0").is("pid", "1");
    Ok(())
}

fn the_program_is_pid_one() -> TestResult {
    let pod = Pod::fly(roots::probe()).flag("--unshare-pid");
    let output = pod.probe(["report", "pid", "ppid", "SigBlk", ",", "processes"]);
    output
        .code(0)
        .quiet()
        .has("pid=1\nppid=0\n")
        .has("SigBlk=0000000000000000\n")
        .has("process=1 0 R ");
    // /proc is the namespace's own: nobody else is in it.
    assert_eq!(output.stdout.matches("process=").count(), 1);
    let same = Pod::fly(roots::probe()).probe(["report", "mount"]).report();
    let report = pod.probe(["report", "mount"]).report();
    for path in ["/dev", "/sys"] {
        assert_eq!(report.mount(path).kind, same.mount(path).kind);
    }
    let proc = report.mount("/proc");
    assert!(proc.has("nosuid") && proc.has("nodev") && proc.has("noexec"));
    Ok(())
}

fn exit_codes() -> TestResult {
    let pod = Pod::fly(roots::probe()).flag("--unshare-pid");
    for code in [0, 1, 7, 127, 255] {
        pod.probe(["exit", &code.to_string()]).code(code).quiet();
    }
    pod.run(["/no/such/program"])
        .refused(&["exec /no/such/program", "No such file"]);
    Ok(())
}

/// The only child of `parent`.
fn child_of(parent: i32) -> i32 {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(path).expect("a process");
    children.trim().parse().expect("one child")
}

fn killed_from_outside() -> TestResult {
    let pod = Pod::fly(roots::probe()).flag("--unshare-pid");
    let running = pod
        .probe_command(["echo", "ready", ",", "sleep", "60000"])
        .start();
    running.wait_for("ready");
    sys::kill(child_of(running.pid()), libc::SIGKILL).expect("the program runs");
    running.finish().code(137).quiet();
    Ok(())
}

fn signals_are_passed_on() -> TestResult {
    let pod = Pod::fly(roots::probe()).flag("--unshare-pid");
    for (signal, name) in [
        (libc::SIGTERM, "TERM"),
        (libc::SIGINT, "INT"),
        (libc::SIGHUP, "HUP"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGWINCH, "WINCH"),
        (libc::SIGRTMAX(), "64"),
    ] {
        let running = pod.probe_command(["catch", name, ",", "exit", "9"]).start();
        running.wait_for("catch: waiting");
        running.signal(signal);
        running.finish().code(9).quiet();
    }
    Ok(())
}

/// A key of the terminal reaches the whole process group: the program has it
/// already, and would see a second one.
fn terminal_keys_come_once() -> TestResult {
    let (master, peer) = sys::terminal(24, 80).expect("a terminal");
    let output = roots::fresh("output");
    let file = File::create(&output).expect("a file");
    // What came is blocked until the second command looks for it.
    let script = [
        "ignore", "INT", "USR1", ",", "catch", "INT", ",", "catch", "INT", "USR1",
    ];
    let pod = Pod::fly(roots::probe()).flag("--unshare-pid");
    let command = pod
        .probe_command(script)
        .terminal(&peer)
        .expect("descriptors");
    let running = command.hook(move || sys::duplicate_onto(&file, 1)).spawn();
    wait_until("it is told", || {
        fs::read_to_string(&output).is_ok_and(|text| text.contains("catch: waiting"))
    });
    File::from(master.try_clone().expect("a descriptor"))
        .write_all(b"\x03")
        .expect("a reader");
    wait_until("it is told", || {
        fs::read_to_string(&output).is_ok_and(|text| text.matches("catch: waiting").count() == 2)
    });
    // Behind what fly may still have passed on.
    std::thread::sleep(Duration::from_millis(50));
    running.signal(libc::SIGUSR1);
    running.finish().code(0);
    let text = fs::read_to_string(&output).expect("a file");
    assert_eq!(text.matches("catch: SIGINT").count(), 1, "{text}");
    assert!(text.contains("catch: SIGUSR1"), "{text}");
    Ok(())
}

fn host_name() -> TestResult {
    let root = roots::probe();
    let pod = Pod::fly(&root).options(["--unshare-uts", "--hostname", "named"]);
    pod.probe(["report", "hostname"])
        .code(0)
        .printed("hostname=named\n");
    let own = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    assert_ne!(own.trim(), "named");
    Pod::fly(&root)
        .options(["--hostname", "named"])
        .probe(["exit", "0"])
        .refused(&["--hostname", "--unshare-uts"]);
    for bad in ["", &"x".repeat(65)] {
        Pod::fly(&root)
            .options(["--unshare-uts", "--hostname", bad])
            .probe(["exit", "0"])
            .refused(&["--hostname", "1 to 64"]);
    }
    Ok(())
}

/// IFF_UP and IFF_LOOPBACK; the kernel's own sysfs of that network says so.
fn loopback_is_up() -> TestResult {
    let pod = Pod::fly(roots::probe()).options(["--confine", "--unshare-net"]);
    pod.probe([
        "list",
        "/sys/class/net",
        ",",
        "read",
        "/sys/class/net/lo/flags",
    ])
    .code(0)
    .printed("lo\n0x9\n");
    Ok(())
}

fn init_is_pid_one() -> TestResult {
    Requirement::Tini.require()?;
    let pod = Pod::fly(roots::probe()).options(["--unshare-pid", "--init", TINI]);
    let output = pod.probe(["report", "pid", "ppid", ",", "processes", ",", "exit", "7"]);
    output
        .code(7)
        .quiet()
        .has("pid=2\nppid=1\n")
        .has("process=1 0 ");
    // Its own name, `--`, the program and its arguments.
    let output = pod.probe(["read", "/proc/1/cmdline"]);
    output
        .code(0)
        .printed(&format!("{TINI}\0--\0/bin/probe\0read\0/proc/1/cmdline\0"));
    Ok(())
}

fn init_and_signals() -> TestResult {
    Requirement::Tini.require()?;
    let pod = Pod::fly(roots::probe()).options(["--unshare-pid", "--init", TINI]);
    pod.probe(["raise", "TERM"]).code(143).quiet();
    // A program without handlers ends, as it would not as pid 1.
    let running = pod
        .probe_command(["echo", "ready", ",", "sleep", "60000"])
        .start();
    running.wait_for("ready");
    running.signal(libc::SIGTERM);
    running.finish().code(143).quiet();
    // Orphans are reaped.
    pod.probe(["orphan", "3", ",", "sleep", "200", ",", "zombies"])
        .code(0)
        .has("zombies=0\n");
    Ok(())
}

/// A program's bytes and its times.
fn fingerprint(path: &Path) -> (Vec<u8>, String) {
    let status = fs::metadata(path).expect("a program");
    let bytes = fs::read(path).expect("a program");
    (bytes, format!("{:?} {}", status.modified(), status.len()))
}

const OVERWRITE: [&str; 15] = [
    "open",
    "/proc/1/exe",
    "w",
    ",",
    "write",
    "/proc/1/exe",
    "owned",
    ",",
    "append",
    "/proc/1/exe",
    "owned",
    ",",
    "chmod",
    "/proc/1/exe",
    "777",
];

/// As root of the host, with all capabilities: pid 1 is no file of the host's.
fn cve_2019_5736_init() -> TestResult {
    Requirement::Tini.require()?;
    let copy = roots::fresh("tini");
    fs::copy(TINI, &copy).expect("a copy");
    let (root, before) = (roots::probe(), fingerprint(&copy));
    let init = copy.to_str().expect("UTF-8");
    for confine in [&[][..], &["--confine"]] {
        let pod = Pod::fly(&root)
            .options(["--unshare-pid", "--init", init])
            .options(confine);
        let output = pod.probe(&OVERWRITE[..11]);
        output.code(1).lacks(": ok");
        pod.run([
            "/proc/1/exe",
            "--",
            "/bin/probe",
            "write",
            "/proc/self/exe",
            "x",
        ])
        .code(1)
        .has("ETXTBSY");
    }
    assert!(
        fingerprint(&copy) == before,
        "the init of the host was changed"
    );
    Ok(())
}

/// fly itself is outside of the pid namespace; what it has become is the program.
fn cve_2019_5736_supervisor() -> TestResult {
    let (root, fly) = (roots::probe(), program("fly"));
    let before = fingerprint(&fly);
    for options in [
        &["--unshare-pid"][..],
        &["--unshare-pid", "--confine"],
        &["--unshare-all"],
        &["--unshare-all", "--confine"],
    ] {
        let pod = Pod::fly(&root).options(options);
        pod.probe(["report", "exe", ",", "processes"])
            .code(0)
            .has("exe=/bin/probe\n")
            .lacks("process=2");
        // The root's own probe, which is busy.
        pod.probe(&OVERWRITE[..11])
            .code(1)
            .has("ETXTBSY")
            .lacks(": ok");
        let output = pod.run([
            "/proc/self/exe",
            "/",
            "/bin/probe",
            "write",
            "/proc/1/exe",
            "x",
        ]);
        output.code(254).lacks("write");
    }
    assert!(fingerprint(&fly) == before, "fly was changed");
    Ok(())
}

fn bad_inits() -> TestResult {
    Requirement::Tini.require()?;
    let root = roots::probe();
    let init = |options: &[&str]| Pod::fly(&root).options(options).probe(["exit", "0"]);
    init(&["--init", TINI]).refused(&["--init", "--unshare-pid"]);
    init(&["--unshare-pid", "--init", "/no/such"]).refused(&["/no/such", "No such file"]);
    init(&["--unshare-pid", "--init", "/etc/passwd"]).refused(&["/etc/passwd", "not a program"]);
    init(&["--unshare-pid", "--init", DYNAMIC_TINI]).refused(&["exec", DYNAMIC_TINI, "static"]);
    // Ours is an init like any other.
    let own = program("stage1-init");
    init(&["--unshare-pid", "--init", own.to_str().expect("UTF-8")]).code(0);
    Ok(())
}

/// Starts a program that prints and stays.
fn staying(pod: &Pod) -> Running {
    let running = pod
        .probe_command(["echo", "ready", ",", "sleep", "60000"])
        .start();
    running.wait_for("ready");
    running
}

/// Its output is closed: the program is gone, too.
#[track_caller]
fn gone(output: &Output) {
    output.killed(libc::SIGKILL);
    assert!(output.closed, "{}", output.everything());
}

fn dies_with_the_launcher() -> TestResult {
    let root = roots::probe();
    for options in [&["--unshare-pid"][..], &["--unshare-all", "--confine"]] {
        let running = staying(&Pod::fly(&root).flag("--die-with-parent").options(options));
        running.signal(libc::SIGKILL);
        gone(&running.finish());
    }
    Ok(())
}

/// Without a child it is the caller of fly that counts: a shell here.
fn dies_with_the_parent() -> TestResult {
    let root = roots::busybox()?;
    let fly = program("fly");
    for options in ["--die-with-parent", "--die-with-parent --confine --user 5"] {
        let script = format!(
            "{} {options} {} /bin/probe echo ready , sleep 60000; true",
            fly.display(),
            root.display()
        );
        let running = Run::new(roots::BUSYBOX).args(["sh", "-c", &script]).start();
        running.wait_for("ready");
        running.signal(libc::SIGKILL);
        gone(&running.finish());
    }
    Ok(())
}

/// What the tests before would not see if it were so by itself.
fn lives_on_without() -> TestResult {
    let mut running = Pod::fly(roots::probe())
        .flag("--unshare-pid")
        .probe_command(["echo", "ready", ",", "line"])
        .open_input()
        .start();
    running.wait_for("ready");
    running.signal(libc::SIGKILL);
    // What dies with it has got its signal before its own end can be seen.
    wait_until("it has ended", || !lives(running.pid().to_string()));
    running.send("it lives\n");
    running.wait_for("it lives");
    running.finish().killed(libc::SIGKILL);
    Ok(())
}

/// A change of credentials takes the signal of the parent's death back.
fn dies_as_another_user() -> TestResult {
    let pod = Pod::fly(roots::probe()).options([
        "--unshare-pid",
        "--die-with-parent",
        "--user",
        "1000:1000",
    ]);
    let running = staying(&pod);
    running.signal(libc::SIGKILL);
    gone(&running.finish());
    Ok(())
}

/// Mount points that were made for a start that fails are removed again, also by
/// a child.
fn unmade_when_it_fails() -> TestResult {
    let root = roots::bare();
    for options in [
        &["--unshare-pid"][..],
        &["--unshare-all"],
        &["--unshare-all", "--confine"],
        &["--confine"],
    ] {
        Pod::fly(&root)
            .options(options)
            .options(["--tmpfs", "/a/b", "--chdir", "/no/such"])
            .probe(["exit", "0"])
            .refused(&["/no/such"]);
        let left: Vec<_> = fs::read_dir(&root)
            .expect("a directory")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left, ["bin"], "{options:?}");
    }
    Ok(())
}

/// What newer calls do is done by older ones.
fn old_kernels() -> TestResult {
    let root = roots::probe();
    for (name, call) in kickstage_tests::fault::MODERN {
        for options in [
            &["--unshare-pid", "--confine"][..],
            &["--unshare-all", "--confine", "--ro"],
        ] {
            let (path, number) = (roots::fresh("status"), *call);
            let file = File::create(&path).expect("a file");
            let output = Pod::fly(&root)
                .options(options)
                .options(["--json-status-fd", "9"])
                .probe_command(["report", "fd", ",", "exit", "5"])
                .hook(move || sys::duplicate_onto(&file, 9))
                .hook(kickstage_tests::fault::failing(&[number], libc::ENOSYS))
                .output();
            assert_eq!(output.code, Some(5), "{name}: {}", output.everything());
            output.lacks("fd.9=");
            let text = fs::read_to_string(&path).expect("a file");
            assert!(text.ends_with("{ \"exit-code\": 5 }\n"), "{name}: {text}");
        }
    }
    Ok(())
}
