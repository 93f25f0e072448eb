//! The control socket of a pod: apps that are added, started, stopped and removed
//! while it runs, and clients that do all they can to bring its pid 1 down.

use std::{
    fs,
    os::{
        fd::AsRawFd,
        unix::{fs::PermissionsExt, net::UnixDatagram},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, Running},
    message,
    pod::Pod,
    roots, sys, tests,
};

tests![
    the_directory,
    list_and_status,
    add,
    names,
    start_again,
    stop,
    a_stop_is_no_failure,
    the_deadline,
    kill,
    remove,
    a_pod_that_is_ending,
    the_end_of_the_pod,
    as_many_as_fit,
    command_lines,
    no_pod,
    clients_that_are_killed,
    plans_that_are_none,
    garbage,
    ten_thousand_apps,
];

/// A pod with a directory on the host, and how it is asked.
struct Controlled {
    directory: PathBuf,
    running: Running,
}

impl Controlled {
    /// With one app, `main`, that runs until it is told to stop.
    fn new() -> Self {
        Self::with(&["--exit-policy=never"], &["catch", "TERM"])
    }

    fn with(options: &[&str], probe: &[&str]) -> Self {
        let directory = roots::fresh("pod");
        let running = Pod::new(roots::probe())
            .options(["--pod-dir".as_ref(), directory.as_os_str()])
            .options(["--name=main"])
            .options(options)
            .probe_command(probe)
            .limit(Duration::from_secs(100))
            .start();
        let pod = Self { directory, running };
        wait_until("the pod is ready", || pod.path("ready").exists());
        wait_until("its pid is told", || pod.path("pid").exists());
        pod.running.wait_for("waiting");
        pod
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn app(&self, command: &str, words: &[&str]) -> Output {
        app(command, &self.directory, words)
    }

    fn add(&self, name: &str, words: &[&str]) {
        let words = [&["--name", name, "--", "/bin/probe"], words].concat();
        self.app("add", &words).code(0).quiet();
    }

    /// The line of an app: its name, state, readiness, pid, code and restarts.
    fn line(&self, name: &str) -> Vec<String> {
        let output = self.app("status", &[name]);
        output.code(0);
        let line = output.stdout.lines().nth(1).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn is(&self, name: &str, state: &str, code: &str) -> bool {
        let line = self.line(name);
        line.get(1).is_some_and(|is| is == state) && line.get(4).is_some_and(|is| is == code)
    }

    fn wait_for(&self, name: &str, state: &str, code: &str) {
        wait_until(&format!("{name} is {state} with {code}"), || {
            self.is(name, state, code)
        });
    }

    fn code(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("status").join(name)).ok()
    }

    /// Of pid 1, on the host.
    fn pid(&self) -> i32 {
        let text = fs::read_to_string(self.path("pid")).expect("a pid");
        text.trim_end().parse().expect("a number")
    }

    fn end(self) -> Output {
        sys::kill(self.pid(), libc::SIGTERM).expect("it runs");
        self.running.finish()
    }
}

fn app(command: &str, directory: &Path, words: &[&str]) -> Output {
    Run::ours("stage0")
        .args(["app", command])
        .arg(directory)
        .args(words)
        .output()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "not so: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// It is for its owner only, also the socket; nothing of it is seen in the pod; what
/// is true only of a pod that runs is gone with it.
fn the_directory() -> TestResult {
    let pod = Controlled::with(&["--exit-policy=never"], &["report", ",", "catch", "TERM"]);
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
    };
    assert_eq!(mode(&pod.directory) & 0o7777, 0o700);
    assert_eq!(mode(&pod.path("control")) & 0o7777, 0o600);
    let link = fs::read_link(format!("/proc/{}/exe", pod.pid())).expect("a program");
    assert!(link.to_string_lossy().contains("stage1-init"), "{link:?}");
    let sockets = fs::read_to_string("/proc/net/unix").expect("a list");
    assert!(!sockets.contains('@'), "an abstract socket: {sockets}");
    let directory = pod.directory.clone();
    let name = directory
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let output = pod.end();
    output.code(0).lacks(&name).lacks("control");
    let left: Vec<_> = fs::read_dir(&directory).expect("a directory").collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        fs::read_to_string(directory.join("status/main")).expect("a code"),
        "0\n"
    );
    // The next pod begins with an empty one.
    let next = Pod::new(roots::probe()).options(["--pod-dir".as_ref(), directory.as_os_str()]);
    next.options(["--name=other"]).probe(["exit", "3"]).code(3);
    assert!(!directory.join("status/main").exists());
    assert_eq!(
        fs::read_to_string(directory.join("status/other")).expect("a code"),
        "3\n"
    );
    Ok(())
}

fn list_and_status() -> TestResult {
    let pod = Controlled::new();
    pod.add("second", &["exit", "7"]);
    pod.wait_for("second", "exited", "7");
    let output = pod.app("list", &[]);
    output.code(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    let [head, main, second] = lines.as_slice() else {
        panic!("{}", output.everything());
    };
    assert!(head.starts_with("NAME "), "{head}");
    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(words(main), ["main", "running", "yes", "2", "0", "0"]);
    assert_eq!(words(second), ["second", "exited", "no", "-", "7", "0"]);
    assert_eq!(pod.line("main"), words(main));
    pod.app("status", &["nobody"])
        .refused(&["nobody", "no such app"]);
    pod.end().code(0);
    Ok(())
}

/// An added app has what one of the start has.
fn add() -> TestResult {
    let pod = Controlled::new();
    let words = [
        "--name=added",
        "--user=1000",
        "--set-env=NAME=value",
        "--working-dir=/tmp",
        "--",
        "/bin/probe",
    ];
    let seen = [
        "report",
        "uid",
        "euid",
        "gid",
        "groups",
        "env",
        "cwd",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "SigBlk",
        "SigIgn",
        "umask",
        "root",
        "fd",
        "tty",
        "ns",
    ];
    let words = [&words[..], &seen[..], &[",", "exit", "4"]].concat();
    pod.app("add", &words).code(0).quiet();
    pod.wait_for("added", "exited", "4");
    assert_eq!(pod.code("added").as_deref(), Some("4\n"));
    let words = [
        "--name=again",
        "--restart=on-failure:2",
        "--",
        "/bin/probe",
        "exit",
        "9",
    ];
    pod.app("add", &words).code(0).quiet();
    pod.wait_for("again", "exited", "9");
    assert_eq!(pod.line("again").last().map(String::as_str), Some("2"));
    let words = ["--name=missing", "--", "/bin/missing"];
    pod.app("add", &words).code(0);
    pod.wait_for("missing", "exited", "254");
    let output = pod.end();
    let alone = Pod::new(roots::probe()).options([
        "--user=1000",
        "--set-env=NAME=value",
        "--working-dir=/tmp",
    ]);
    let same = alone.probe(seen);
    // The namespaces are those of its pod.
    let lines = |text: &str| -> Vec<String> {
        let other = ["ns.", "fd.1", "fd.2", "catch"];
        let own = text
            .lines()
            .filter(|line| !other.iter().any(|start| line.starts_with(start)));
        own.map(str::to_owned).collect()
    };
    let added = lines(&output.stdout);
    assert_eq!(lines(&same.stdout), added, "{}", output.everything());
    let namespaces = |text: &str| text.lines().filter(|line| line.starts_with("ns.")).count();
    assert_eq!(namespaces(&same.stdout), namespaces(&output.stdout));
    output.code(0);
    assert!(
        output.stderr.contains("/bin/missing"),
        "{}",
        output.everything()
    );
    Ok(())
}

fn names() -> TestResult {
    let pod = Controlled::new();
    pod.app("add", &["--name=main", "--", "/bin/probe", "exit", "0"])
        .refused(&["main", "the pod has an app of that name"]);
    let long = "n".repeat(255);
    pod.add(&long, &["exit", "6"]);
    pod.wait_for(&long, "exited", "6");
    let longer = "n".repeat(256);
    pod.app("add", &["--name", &longer, "--", "/bin/probe", "exit", "0"])
        .refused(&["1 to 255 bytes"]);
    pod.app("status", &[&longer]).refused(&["1 to 255 bytes"]);
    pod.app("stop", &[""]).refused(&["1 to 255 bytes"]);
    pod.app("rm", &[&long]).code(0);
    assert!(pod.code(&long).is_none());
    pod.end().code(0);
    Ok(())
}

fn start_again() -> TestResult {
    let pod = Controlled::new();
    pod.add("job", &["echo", "once", ",", "exit", "5"]);
    pod.wait_for("job", "exited", "5");
    pod.app("start", &["job"]).code(0).quiet();
    wait_until("it has run twice", || pod.is("job", "exited", "5"));
    pod.app("start", &["main"])
        .refused(&["main", "it has not ended"]);
    pod.app("start", &["nobody"])
        .refused(&["nobody", "no such app"]);
    let output = pod.end();
    output.code(0);
    assert_eq!(
        output.stdout.matches("once\n").count(),
        2,
        "{}",
        output.everything()
    );
    Ok(())
}

/// The command returns when it has ended; a restart policy does not bring it back.
fn stop() -> TestResult {
    let pod = Controlled::new();
    let words = [
        "--name=always",
        "--restart=always",
        "--stop-signal=USR1",
        "--",
        "/bin/probe",
        "catch",
        "USR1",
        ",",
        "sleep",
        "300",
        ",",
        "exit",
        "3",
    ];
    pod.app("add", &words).code(0);
    pod.wait_for("always", "running", "0");
    std::thread::sleep(Duration::from_millis(100));
    pod.app("stop", &["always"]).code(0).quiet();
    assert!(pod.is("always", "exited", "3"), "{:?}", pod.line("always"));
    std::thread::sleep(Duration::from_millis(300));
    assert!(pod.is("always", "exited", "3"), "{:?}", pod.line("always"));
    // Nothing is to be done then; and it can be started again.
    pod.app("stop", &["always"]).code(0).quiet();
    pod.app("start", &["always"]).code(0).quiet();
    pod.wait_for("always", "running", "0");
    // Also one that pauses between two starts.
    let words = [
        "--name=failing",
        "--restart=always",
        "--",
        "/bin/probe",
        "exit",
        "2",
    ];
    pod.app("add", &words).code(0);
    pod.wait_for("failing", "pausing", "2");
    pod.app("stop", &["failing"]).code(0).quiet();
    assert!(
        pod.is("failing", "exited", "2"),
        "{:?}",
        pod.line("failing")
    );
    pod.end().code(0);
    Ok(())
}

/// Of an app that the pod is about, either.
fn a_stop_is_no_failure() -> TestResult {
    let directory = roots::fresh("pod");
    let words =
        crate::pods::programs(&["catch TERM , exit 9", "--name=second | catch TERM , exit 0"]);
    let running = Pod::new(roots::probe())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .flag("--name=first")
        .command(words)
        .start();
    wait_until("both are ready", || directory.join("ready").exists());
    std::thread::sleep(Duration::from_millis(100));
    app("stop", &directory, &["first"]).code(0);
    let status = app("status", &directory, &["first"]);
    status.code(0).has("exited").has(" 9 ");
    app("status", &directory, &["second"])
        .code(0)
        .has("running");
    app("stop", &directory, &["second"]).code(0);
    running.finish().code(0);
    Ok(())
}

fn the_deadline() -> TestResult {
    let pod = Controlled::new();
    let words = [
        "--name=deaf",
        "--stop-timeout=200ms",
        "--",
        "/bin/probe",
        "ignore",
        "TERM",
        ",",
        "sleep",
        "60000",
    ];
    pod.app("add", &words).code(0);
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    pod.app("stop", &["deaf"]).code(0);
    assert!(start.elapsed() >= Duration::from_millis(150));
    assert!(pod.is("deaf", "exited", "137"), "{:?}", pod.line("deaf"));
    pod.end().code(0);
    Ok(())
}

fn kill() -> TestResult {
    let pod = Controlled::new();
    pod.add("sleeper", &["catch", "USR1", ",", "sleep", "60000"]);
    std::thread::sleep(Duration::from_millis(100));
    pod.app("kill", &["sleeper", "SIGUSR1"]).code(0).quiet();
    pod.running.wait_for("catch: SIGUSR1");
    pod.app("kill", &["sleeper", "9"]).code(0).quiet();
    pod.wait_for("sleeper", "exited", "137");
    pod.app("kill", &["sleeper"])
        .refused(&["sleeper", "it does not run"]);
    pod.app("kill", &["main", "NONE"])
        .refused(&["NONE", "no signal"]);
    // The main app, by SIGTERM without a word.
    pod.app("kill", &["main"]).code(0).quiet();
    pod.wait_for("main", "exited", "0");
    pod.end().code(0);
    Ok(())
}

fn remove() -> TestResult {
    let pod = Controlled::new();
    pod.app("rm", &["main"])
        .refused(&["main", "it has not ended", "stop it first"]);
    pod.app("stop", &["main"]).code(0);
    pod.app("rm", &["main"]).code(0).quiet();
    assert!(pod.code("main").is_none());
    pod.app("rm", &["main"]).refused(&["main", "no such app"]);
    let list = pod.app("list", &[]);
    list.code(0);
    assert_eq!(list.stdout.lines().count(), 1, "{}", list.everything());
    // Its place and its name are free.
    pod.add("main", &["exit", "8"]);
    pod.wait_for("main", "exited", "8");
    pod.end().code(0);
    Ok(())
}

fn a_pod_that_is_ending() -> TestResult {
    let pod = Controlled::with(
        &["--exit-policy=never"],
        &["catch", "TERM", ",", "sleep", "1500", ",", "exit", "0"],
    );
    std::thread::sleep(Duration::from_millis(100));
    sys::kill(pod.pid(), libc::SIGTERM).expect("it runs");
    pod.running.wait_for("SIGTERM");
    pod.app("add", &["--name=late", "--", "/bin/probe", "exit", "0"])
        .refused(&["late", "the pod is ending"]);
    pod.running.finish().code(0);
    Ok(())
}

/// Who waits for an app is told that there is no pod any more.
fn the_end_of_the_pod() -> TestResult {
    let pod = Controlled::new();
    let words = [
        "--name=deaf",
        "--stop-timeout=60",
        "--",
        "/bin/probe",
        "ignore",
        "TERM",
        ",",
        "sleep",
        "60000",
    ];
    pod.app("add", &words).code(0);
    let waiting = Run::ours("stage0")
        .args(["app", "stop"])
        .arg(&pod.directory)
        .arg("deaf")
        .start();
    std::thread::sleep(Duration::from_millis(200));
    // A second one would have to wait for the first.
    pod.app("stop", &["deaf"])
        .refused(&["deaf", "somebody waits for its end already"]);
    sys::kill(pod.pid(), libc::SIGKILL).expect("it runs");
    waiting
        .finish()
        .refused(&["no pod with a control socket runs there"]);
    pod.running.finish().code(254);
    Ok(())
}

fn as_many_as_fit() -> TestResult {
    let pod = Controlled::new();
    for number in 1..64 {
        pod.add(&format!("app-{number}"), &["exit", "0"]);
    }
    pod.app("add", &["--name=more", "--", "/bin/probe", "exit", "0"])
        .refused(&["more", "too many apps"]);
    pod.wait_for("app-63", "exited", "0");
    pod.app("rm", &["app-30"]).code(0);
    pod.add("more", &["exit", "1"]);
    pod.wait_for("more", "exited", "1");
    assert_eq!(pod.app("list", &[]).stdout.lines().count(), 65);
    pod.end().code(0);
    Ok(())
}

fn command_lines() -> TestResult {
    let pod = Controlled::new();
    let run = |words: &[&str]| Run::ours("stage0").arg("app").args(words).output();
    let path = pod.directory.to_string_lossy().into_owned();
    let path = path.as_str();
    run(&[]).refused(&["no command for apps"]);
    run(&["remove", path]).refused(&["remove", "there is no such command"]);
    run(&["list"]).refused(&["no pod's directory is named"]);
    run(&["stop", path]).refused(&["no app is named"]);
    run(&["list", path, "more"]).refused(&["too many words"]);
    run(&["add", path]).refused(&["no program"]);
    run(&["add", path, "--net=none", "--", "/bin/probe"]).refused(&["--net=none"]);
    run(&["add", path, "--after=main", "--", "/bin/probe"]).refused(&["--after=main"]);
    run(&["add", path, "--", "/bin/probe", "---", "/bin/probe"]).refused(&["one app at a time"]);
    run(&["add", path, "--user=nobody-here", "--", "/bin/probe"]).refused(&["nobody-here"]);
    for option in ["--stage1=fly", "--output=/tmp/x"] {
        Pod::new(roots::probe())
            .flag("--pod-dir=/tmp/none")
            .flag(option)
            .probe(["exit", "0"])
            .refused(&["--pod-dir"]);
        assert!(!Path::new("/tmp/none").exists());
    }
    pod.end().code(0);
    Ok(())
}

/// Of a pod that could not be started nothing is left, either.
fn no_pod() -> TestResult {
    let directory = roots::fresh("pod");
    app("list", &directory, &[]).refused(&["pod", "No such file"]);
    Pod::new(roots::fresh("no-root"))
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .probe(["exit", "0"])
        .refused(&["no-root"]);
    assert!(!directory.exists());
    fs::create_dir(&directory).expect("a directory");
    app("list", &directory, &[]).refused(&["no pod with a control socket runs there"]);
    // A socket that nobody listens on any more.
    drop(UnixDatagram::bind(directory.join("control")).expect("a socket"));
    app("list", &directory, &[]).refused(&["no pod with a control socket runs there"]);
    // It is in no pod's way; a file in place of the directory is.
    let pod = Pod::new(roots::probe());
    pod.clone()
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .probe(["exit", "4"])
        .code(4);
    fs::write(directory.join("file"), "").expect("a file");
    pod.options(["--pod-dir".as_ref(), directory.join("file").as_os_str()])
        .probe(["exit", "4"])
        .refused(&["file", "Not a directory"]);
    Ok(())
}

/// At any moment of a request.
fn clients_that_are_killed() -> TestResult {
    let pod = Controlled::new();
    let words = [
        "--name=slow",
        "--stop-timeout=60",
        "--",
        "/bin/probe",
        "ignore",
        "TERM",
        ",",
        "sleep",
        "60000",
    ];
    pod.app("add", &words).code(0);
    let before = descriptors(pod.pid());
    for delay in 0..200 {
        let words: &[&str] = if delay % 2 == 0 {
            &["stop"]
        } else {
            &["status"]
        };
        let client = Run::ours("stage0")
            .args(["app"])
            .args(words)
            .arg(&pod.directory)
            .arg("slow")
            .start();
        std::thread::sleep(Duration::from_micros(delay * 20));
        client.signal(libc::SIGKILL);
        let _ = client.finish();
    }
    // The last one that waited may still be kept.
    assert!(descriptors(pod.pid()) <= before + 1);
    pod.app("kill", &["slow", "KILL"]).code(0);
    pod.wait_for("slow", "exited", "137");
    wait_until("all is closed", || descriptors(pod.pid()) == before);
    pod.end().code(0);
    Ok(())
}

fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("a process")
        .count()
}

fn resident(pid: i32) -> u64 {
    let text = kickstage_tests::init::status(pid, "VmRSS");
    text.trim_end_matches(" kB").parse().expect("a size")
}

/// A request as the protocol has it.
fn request(operation: u32, flags: u32, number: u32, name: &str) -> Vec<u8> {
    let mut bytes = b"kst1".to_vec();
    for number in [operation, flags, number] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend(name.bytes());
    bytes.resize(16 + 256, 0);
    bytes
}

const STATUS: u32 = 1;
const ADD: u32 = 2;

/// What the pod answers: the first numbers of the reply.
fn ask(pod: &Controlled, bytes: &[u8], file: Option<&fs::File>) -> [u32; 8] {
    let (own, other) = UnixDatagram::pair().expect("a pair");
    own.set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    let socket = UnixDatagram::unbound().expect("a socket");
    let mut descriptors = vec![other.as_raw_fd()];
    descriptors.extend(file.map(AsRawFd::as_raw_fd));
    message::send(&socket, &pod.path("control"), bytes, &descriptors).expect("sent");
    let mut reply = [0; 512];
    assert_eq!(own.recv(&mut reply).expect("a reply"), 32 + 256);
    assert_eq!(&reply[..4], b"kst1");
    let mut numbers = [0; 8];
    for (place, chunk) in numbers.iter_mut().zip(reply.chunks(4)) {
        *place = u32::from_ne_bytes(chunk.try_into().expect("four bytes"));
    }
    numbers
}

fn error(errno: i32) -> u32 {
    errno.unsigned_abs()
}

/// The client's files are read as what they are: an unsealed one might change, and one
/// that is no plan of one app of that name is none.
fn plans_that_are_none() -> TestResult {
    let pod = Controlled::new();
    let plan = roots::directory("plans").join("plan");
    let write = |programs: &[&str]| {
        let written = Run::ours("stage0")
            .args(["plan", "--output"])
            .arg(&plan)
            .args([
                "--exit-policy=never",
                "--rootfs",
                "/",
                "--name",
                "one",
                "--",
            ])
            .args(programs)
            .output();
        written.code(0);
        fs::read(&plan).expect("a plan")
    };
    let one = write(&["/bin/probe", "exit", "6"]);
    let two = write(&["/bin/probe", "---", "/bin/probe"]);
    let add = |bytes: &[u8], sealed: bool, name: &str| {
        let file = message::memory_file(bytes, sealed).expect("a file");
        let [_, errno, ..] = ask(&pod, &request(ADD, 2, 0, name), Some(&file));
        errno
    };
    assert_eq!(add(&one, false, "one"), error(libc::EPERM));
    assert_eq!(add(&two, true, "one"), error(libc::EINVAL));
    assert_eq!(add(&one, true, "other"), error(libc::EINVAL));
    assert_eq!(add(&one, true, ""), error(libc::EEXIST));
    assert_eq!(add(b"", true, "one"), error(libc::EINVAL));
    assert_eq!(add(&one[..one.len() - 8], true, "one"), error(libc::EINVAL));
    assert_eq!(add(&[7; 100_000], true, "one"), error(libc::EINVAL));
    let file = fs::File::open(&plan).expect("a plan");
    let [_, errno, ..] = ask(&pod, &request(ADD, 2, 0, "one"), Some(&file));
    assert_eq!(errno, error(libc::EINVAL));
    let [_, errno, ..] = ask(&pod, &request(ADD, 2, 0, "one"), None);
    assert_eq!(errno, error(libc::EBADF));
    assert_eq!(pod.app("list", &[]).stdout.lines().count(), 2);
    // And this is one.
    assert_eq!(add(&one, true, "one"), 0);
    pod.wait_for("one", "exited", "6");
    pod.end().code(0);
    Ok(())
}

/// Small and repeatable (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 16).expect("64 bits") % limit
    }
}

/// A million of messages that are no requests, or ask for what there is not; some with
/// descriptors. pid 1 stays as it is.
fn garbage() -> TestResult {
    let pod = Controlled::new();
    let socket = UnixDatagram::unbound().expect("a socket");
    let path = pod.path("control");
    let null = fs::File::open("/dev/null").expect("a device");
    let file = message::memory_file(&[1; 5000], true).expect("a file");
    let (before, memory) = (descriptors(pod.pid()), resident(pod.pid()));
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut sent = 0;
    while sent < 1_000_000 {
        // Not SIGNAL and STOP of the app that is there.
        let operation = [STATUS, ADD, 3, 5, 7, 0, u32::MAX][random.below(7)];
        let name = ["", "main", "nobody", "one", "\u{7f}\n"][random.below(5)];
        let flags = u32::try_from(random.below(5)).expect("small");
        let mut bytes = request(
            operation,
            flags,
            u32::try_from(random.below(70)).expect("small"),
            name,
        );
        match random.below(4) {
            0 => bytes.truncate(random.below(272)),
            1 => {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
                // Neither stops the app that is there.
                if bytes[4] == 4 || bytes[4] == 6 {
                    continue;
                }
            }
            2 => bytes.resize(272 + random.below(5000), 1),
            _ => {}
        }
        let descriptors: &[_] = match random.below(50) {
            0 => &[null.as_raw_fd()],
            1 => &[null.as_raw_fd(), file.as_raw_fd()],
            2 => &[file.as_raw_fd(); 7],
            _ => &[],
        };
        message::send(&socket, &path, &bytes, descriptors).expect("pid 1 takes them");
        sent += 1;
    }
    assert!(pod.is("main", "running", "0"), "{:?}", pod.line("main"));
    wait_until("all is closed", || descriptors(pod.pid()) == before);
    assert!(
        resident(pod.pid()) <= memory + 16,
        "{} KB, then {}",
        memory,
        resident(pod.pid())
    );
    assert_eq!(pod.app("list", &[]).stdout.lines().count(), 2);
    pod.end().code(0).quiet();
    Ok(())
}

/// Each with a code of its own, 60 at once; none is lost, and nothing grows.
fn ten_thousand_apps() -> TestResult {
    let pod = Controlled::new();
    let plan = roots::directory("plans").join("plan");
    let plans: Vec<Vec<u8>> = (0..250)
        .map(|code: u32| {
            let code = code.to_string();
            let written = Run::ours("stage0")
                .args(["plan", "--output"])
                .arg(&plan)
                .args([
                    "--exit-policy=never",
                    "--rootfs",
                    "/",
                    "--name",
                    "nnnnn",
                    "--",
                    "/bin/probe",
                    "exit",
                    &code,
                ])
                .output();
            written.code(0);
            fs::read(&plan).expect("a plan")
        })
        .collect();
    let place = |plan: &[u8]| {
        plan.windows(5)
            .position(|name| name == b"nnnnn")
            .expect("a name")
    };
    std::thread::sleep(Duration::from_millis(20));
    let mut first = None;
    for batch in 0..200_usize {
        let names: Vec<(usize, String)> = (0..50)
            .map(|number| {
                (
                    (batch * 50 + number) % 250,
                    format!("{:05}", batch * 50 + number),
                )
            })
            .collect();
        for (code, name) in &names {
            let mut plan = plans[*code].clone();
            let at = place(&plan);
            plan[at..at + 5].copy_from_slice(name.as_bytes());
            let file = message::memory_file(&plan, true).expect("a file");
            let [_, errno, ..] = ask(&pod, &request(ADD, 2, 0, name), Some(&file));
            assert_eq!(errno, 0, "{name}");
        }
        for (code, name) in &names {
            wait_until(name, || {
                pod.code(name)
                    .is_some_and(|told| told == format!("{code}\n"))
            });
            let [_, errno, _, state, _, _, told, _] = ask(&pod, &request(STATUS, 0, 0, name), None);
            assert_eq!((errno, state, told as usize), (0, 5, *code), "{name}");
            let [_, errno, ..] = ask(&pod, &request(5, 0, 0, name), None);
            assert_eq!(errno, 0, "{name}");
        }
        // The socket of the last reply is closed behind it.
        let (numbers, memory) =
            *first.get_or_insert_with(|| (descriptors(pod.pid()), resident(pod.pid())));
        wait_until("all is closed", || descriptors(pod.pid()) <= numbers);
        let now = resident(pod.pid());
        assert!(now <= memory + 16, "{memory} KB, then {now}, batch {batch}");
    }
    pod.end().code(0).quiet();
    Ok(())
}
