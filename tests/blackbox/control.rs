//! The control socket of a pod: apps that are added, started, stopped and removed
//! while it runs.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, Running},
    compare, init,
    json::Value,
    pod::Pod,
    registered::wait_until,
    roots, sys, tests,
};

tests![
    the_directory,
    list_and_status,
    add,
    add_what_fails,
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
];

/// A pod with a directory on the host, and how it is asked.
pub struct Controlled {
    pub directory: PathBuf,
    pub running: Running,
}

impl Controlled {
    /// With one app, `main`, that runs until it is told to stop.
    pub fn new() -> Self {
        Self::with(&["--exit-policy=never"], &["catch", "TERM"])
    }

    pub fn with(options: &[&str], probe: &[&str]) -> Self {
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub fn app(&self, command: &str, words: &[&str]) -> Output {
        app(command, &self.directory, words)
    }

    fn add(&self, name: &str, words: &[&str]) {
        let words = [&["--name", name, "--", "/bin/probe"], words].concat();
        self.app("add", &words).code(0).quiet();
    }

    /// An app `deaf` that ignores SIGTERM.
    pub fn add_deaf(&self, timeout: &str) {
        let words = "--name=deaf -- /bin/probe ignore TERM , echo deaf , sleep 60000";
        let words: Vec<&str> = [timeout].into_iter().chain(words.split(' ')).collect();
        self.app("add", &words).code(0);
        self.running.wait_for("deaf\n");
    }

    /// Somebody who stops it, and waits for its end: pid 1 has heard of that.
    pub fn stop_deaf(&self) -> Running {
        let files = || compare::names(format!("/proc/{}/fd", self.pid())).len();
        // It has let go of all who have asked before.
        init::wait_for_state(self.pid(), 'S');
        let before = files();
        let command = Run::ours("stage0").args(["app", "stop"]);
        let running = command.arg(&self.directory).arg("deaf").start();
        wait_until("pid 1 keeps its socket", || files() > before);
        running
    }

    /// The line of an app: its name, state, readiness, pid, code and restarts.
    pub fn line(&self, name: &str) -> Vec<String> {
        let output = self.app("status", &[name]);
        output.code(0);
        let line = output.stdout.lines().nth(1).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    }

    pub fn is(&self, name: &str, state: &str, code: &str) -> bool {
        let line = self.line(name);
        line.get(1).is_some_and(|is| is == state) && line.get(4).is_some_and(|is| is == code)
    }

    pub fn wait_for(&self, name: &str, state: &str, code: &str) {
        wait_until(&format!("{name} is {state} with {code}"), || {
            self.is(name, state, code)
        });
    }

    pub fn code(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("status").join(name)).ok()
    }

    /// Of pid 1, on the host.
    pub fn pid(&self) -> i32 {
        let text = fs::read_to_string(self.path("pid")).expect("a pid");
        text.trim_end().parse().expect("a number")
    }

    pub fn end(self) -> Output {
        sys::kill(self.pid(), libc::SIGTERM).expect("it runs");
        self.running.finish()
    }
}

pub fn app(command: &str, directory: &Path, words: &[&str]) -> Output {
    Run::ours("stage0")
        .args(["app", command])
        .arg(directory)
        .args(words)
        .output()
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
    no_abstract_sockets(&pod);
    let directory = pod.directory.clone();
    let name = directory
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let output = pod.end();
    output.code(0).lacks(&name).lacks("control");
    let left: Vec<_> = fs::read_dir(&directory).expect("a directory").collect();
    // Codes, and a lock that nobody holds.
    assert_eq!(left.len(), 2, "{left:?}");
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

/// Neither stage0 nor pid 1 has one; others on the machine may.
fn no_abstract_sockets(pod: &Controlled) {
    let list = fs::read_to_string("/proc/net/unix").expect("a list");
    let held = [pod.running.pid(), pod.pid()].map(|pid| {
        let folder = format!("/proc/{pid}/fd");
        let links = compare::names(&folder).into_iter();
        let links = links.filter_map(move |name| fs::read_link(format!("{folder}/{name}")).ok());
        links.map(|link| link.display().to_string())
    });
    let held: Vec<String> = held.into_iter().flatten().collect();
    let is_own = |line: &&str| {
        let number = line.split_whitespace().nth(6).unwrap_or_default();
        held.contains(&format!("socket:[{number}]"))
    };
    let own: Vec<&str> = list.lines().filter(is_own).collect();
    assert!(own.iter().any(|line| line.ends_with("control")), "{own:?}");
    assert!(!own.iter().any(|line| line.contains('@')), "{own:?}");
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
    // The same for programs.
    let output = pod.app("list", &["--format=json"]);
    let list = Value::read(&output.code(0).stdout);
    let [main, second] = list.list() else {
        panic!("{}", output.everything());
    };
    assert_eq!(main.get("name").text(), Some("main"));
    assert_eq!(main.get("pid").number(), Some(2));
    assert_eq!(second.get("state").text(), Some("exited"));
    assert_eq!(second.get("code").number(), Some(7));
    assert_eq!(second.get("pid").number(), None);
    let output = pod.app("status", &["second", "--format", "json"]);
    let one = Value::read(&output.code(0).stdout);
    assert_eq!(one.get("name").text(), Some("second"));
    for words in [
        &["--format=json", "second"][..],
        &["second", "--format=xml"],
        &["second", "--format"],
    ] {
        let output = pod.app("status", words);
        output.code(if words[0] == "second" { 254 } else { 0 });
    }
    pod.end().code(0);
    Ok(())
}

/// An added app has what one of the start has.
fn add() -> TestResult {
    const OPTIONS: &str = "--user=1000 --set-env=NAME=value --working-dir=/tmp";
    const SEEN: &str = "report uid euid gid groups env cwd CapEff CapBnd CapAmb NoNewPrivs Seccomp \
        SigBlk SigIgn umask root fd.0 tty ns";
    let pod = Controlled::new();
    let words: Vec<&str> = words_of(&[OPTIONS, "--name=added -- /bin/probe", SEEN, ", exit 4"]);
    pod.app("add", &words).code(0).quiet();
    pod.wait_for("added", "exited", "4");
    assert_eq!(pod.code("added").as_deref(), Some("4\n"));
    let output = pod.end();
    let alone = Pod::new(roots::probe()).options(OPTIONS.split(' '));
    let alone = alone.flag("--name=added");
    let same = alone.probe(SEEN.split_whitespace());
    // The namespaces are those of its pod.
    let lines = |text: &str, namespaces: bool| -> Vec<String> {
        let own = text.lines().filter(|line| !line.starts_with("catch"));
        let own = own.filter(|line| line.starts_with("ns.") == namespaces);
        own.map(str::to_owned).collect()
    };
    assert_eq!(
        lines(&same.stdout, false),
        lines(&output.stdout, false),
        "{}",
        output.everything()
    );
    assert_eq!(
        lines(&same.stdout, true).len(),
        lines(&output.stdout, true).len()
    );
    output.code(0).quiet();
    Ok(())
}

/// All words of these texts.
fn words_of<'a>(texts: &[&'a str]) -> Vec<&'a str> {
    let words = texts.iter().flat_map(|text| text.split_whitespace());
    words.collect()
}

/// Restarts, and one that can't be started: that is not the end of the pod.
fn add_what_fails() -> TestResult {
    let pod = Controlled::new();
    let words = words_of(&["--name=again --restart=on-failure:2 -- /bin/probe exit 9"]);
    pod.app("add", &words).code(0).quiet();
    pod.wait_for("again", "exited", "9");
    wait_until("it was started three times", || {
        pod.is("again", "exited", "9") && pod.line("again").last().is_some_and(|last| last == "2")
    });
    let words = words_of(&["--name=missing -- /bin/missing"]);
    pod.app("add", &words).code(0);
    pod.wait_for("missing", "exited", "254");
    let output = pod.end();
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
    pod.running.wait_for("waiting\ncatch: waiting");
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
    // The first pauses may be over when they are seen.
    wait_until("it pauses for long", || {
        let line = pod.line("failing");
        let starts = line.last().and_then(|last| last.parse::<u32>().ok());
        line.get(1).is_some_and(|state| state == "pausing") && starts >= Some(4)
    });
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
    running.wait_for("waiting\ncatch: waiting");
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
    pod.add_deaf("--stop-timeout=200ms");
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
    pod.running.wait_for("waiting\ncatch: waiting");
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
        &["catch", "TERM", ",", "catch", "USR1", ",", "exit", "0"],
    );
    sys::kill(pod.pid(), libc::SIGTERM).expect("it runs");
    pod.running.wait_for("SIGTERM");
    pod.app("add", &["--name=late", "--", "/bin/probe", "exit", "0"])
        .refused(&["late", "the pod is ending"]);
    pod.app("kill", &["main", "USR1"]).code(0);
    pod.running.finish().code(0);
    Ok(())
}

/// Who waits for an app is told that there is no pod any more.
fn the_end_of_the_pod() -> TestResult {
    let pod = Controlled::new();
    pod.add_deaf("--stop-timeout=60");
    let waiting = pod.stop_deaf();
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
    for name in ["app-30", "app-63"] {
        pod.wait_for(name, "exited", "0");
    }
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
