//! `stage0 logs` and `stage0 attach`: what the apps of registered pods have written.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    pod::Pod,
    registered::wait_until,
    roots, tests,
};

tests![
    of_one_app,
    of_several_apps,
    rotated,
    followed_over_rotation,
    followed_to_the_end,
    a_line_that_goes_on,
    the_last_lines,
    attached,
    messages,
    hostile_files,
    names_of_others,
    what_is_refused,
];

/// Pods that are registered in a directory of the test.
pub struct Pods {
    state: PathBuf,
    pub root: PathBuf,
}

impl Pods {
    pub fn new(root: PathBuf) -> Self {
        let state = roots::fresh("state");
        Self { state, root }
    }

    /// Runs a pod in the background; its uuid.
    pub fn start(&self, options: &[&str], words: &[&str]) -> String {
        let output = Pod::new(&self.root)
            .flag("--detach")
            .options(options)
            .command(words)
            .env("KICKSTAGE_STATE_DIR", &self.state)
            .output();
        output.code(0).quiet();
        output.stdout.trim_end().to_owned()
    }

    pub fn command(&self, words: &[&str]) -> Run {
        Run::ours("stage0")
            .args(words)
            .env("KICKSTAGE_STATE_DIR", &self.state)
    }

    pub fn stage0(&self, words: &[&str]) -> Output {
        self.command(words).output()
    }

    /// Runs a pod to its end; its uuid.
    pub fn ended(&self, options: &[&str], words: &[&str]) -> String {
        let uuid = self.start(options, words);
        self.stage0(&["status", "--wait", &uuid]).code(0);
        uuid
    }

    /// Where a pod's files are when it has ended.
    pub fn directory(&self, uuid: &str) -> PathBuf {
        self.state.join("pods/exited-garbage").join(uuid)
    }
}

fn of_one_app() -> TestResult {
    let pods = Pods::new(roots::probe());
    let words = ["/bin/probe", "error", "one", ",", "echo", "two"];
    let uuid = pods.ended(&["--log=pod"], &words);
    pods.stage0(&["logs", &uuid])
        .code(0)
        .printed("one\ntwo\n")
        .quiet();
    pods.stage0(&["logs", "--app=app-0", &uuid[..8]])
        .code(0)
        .printed("one\ntwo\n");
    Ok(())
}

fn of_several_apps() -> TestResult {
    let pods = Pods::new(roots::probe());
    let words = "/bin/probe echo one --- --name=b --log=pod -- /bin/probe echo two , echo three";
    let words: Vec<&str> = words.split(' ').collect();
    let uuid = pods.ended(&["--name=a", "--log=pod"], &words);
    pods.stage0(&["logs", &uuid])
        .code(0)
        .printed("a | one\nb | two\nb | three\n");
    pods.stage0(&["logs", &uuid, "--app", "b"])
        .code(0)
        .printed("two\nthree\n");
    Ok(())
}

fn fifo_at(path: &Path) {
    Run::new("mkfifo").arg(path).output().code(0);
}

fn numbers(count: u32) -> String {
    (1..=count).map(|number| format!("{number}\n")).collect()
}

fn rotated() -> TestResult {
    let pods = Pods::new(roots::busybox()?);
    let words = ["/bin/sh", "-c", "seq 5000"];
    let uuid = pods.ended(&["--log=pod,size=4K,keep=9"], &words);
    assert!(pods.directory(&uuid).join("logs/app-0.5").exists());
    pods.stage0(&["logs", &uuid])
        .code(0)
        .printed(&numbers(5000));
    Ok(())
}

/// The reader is there from the first line on, and slower or faster than the writer.
fn followed_over_rotation() -> TestResult {
    let pods = Pods::new(roots::busybox()?);
    let script = "read line < /tmp/first; seq 3000; read line < /tmp/second; seq 3001 6000";
    // One for each, see `attached`.
    let [first, second] = ["tmp/first", "tmp/second"].map(|name| pods.root.join(name));
    fifo_at(&first);
    fifo_at(&second);
    let uuid = pods.start(&["--log=pod,size=16K,keep=9"], &["/bin/sh", "-c", script]);
    let reader = pods.command(&["logs", "--follow", &uuid]).start();
    fs::write(&first, "\n").expect("a reader");
    reader.wait_for("\n3000\n");
    fs::write(&second, "\n").expect("a reader");
    reader.finish().code(0).printed(&numbers(6000)).quiet();
    Ok(())
}

fn followed_to_the_end() -> TestResult {
    let pods = Pods::new(roots::probe());
    let words = ["/bin/probe", "echo", "one", ",", "catch", "TERM"];
    let uuid = pods.start(&["--log=pod"], &words);
    let reader = pods.command(&["logs", "-f", &uuid]).start();
    reader.wait_for("waiting");
    pods.stage0(&["stop", &uuid]).code(0);
    let output = reader.finish();
    output.code(0).quiet();
    output.has("one\n").has("waiting\n");
    // Of one that has ended nothing comes any more.
    let again = pods.stage0(&["logs", "-f", &uuid]);
    again.code(0).printed(&output.stdout);
    Ok(())
}

fn a_line_that_goes_on() -> TestResult {
    let pods = Pods::new(roots::busybox()?);
    let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf end";
    let words = [
        "/bin/sh",
        "-c",
        script,
        "---",
        "--name=b",
        "--",
        "/bin/probe",
        "echo",
        "two",
    ];
    let uuid = pods.ended(&["--name=a", "--log=pod,size=1K,keep=9"], &words);
    let output = pods.stage0(&["logs", &uuid]);
    output.code(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(output.stdout.ends_with('\n'));
    assert!(lines.contains(&"a | end"), "{lines:?}");
    Ok(())
}

fn the_last_lines() -> TestResult {
    let pods = Pods::new(roots::busybox()?);
    let uuid = pods.ended(
        &["--log=pod,size=4K,keep=9"],
        &["/bin/sh", "-c", "seq 5000; printf x"],
    );
    let all = numbers(5000) + "x";
    for tail in [0, 1, 2, 1000, 5000, 5001, 9999] {
        let output = pods.stage0(&["logs", "--tail", &tail.to_string(), &uuid]);
        let from = 5001_usize.saturating_sub(tail);
        let expected: String = all.split_inclusive('\n').skip(from).collect();
        output.code(0).printed(&expected);
    }
    Ok(())
}

fn attached() -> TestResult {
    let pods = Pods::new(roots::busybox()?);
    // One for each: who opens it anew may find the writer of before, who closes it.
    let [first, second] = ["tmp/first", "tmp/second"].map(|name| pods.root.join(name));
    fifo_at(&first);
    fifo_at(&second);
    let script = "echo before; read line < /tmp/first; echo one; read line < /tmp/second; echo two";
    let uuid = pods.start(&["--log=pod"], &["/bin/sh", "-c", script]);
    fs::write(&first, "\n").expect("a reader");
    let reader = pods.command(&["logs", "-f", &uuid]).start();
    reader.wait_for("one");
    let attached = pods.command(&["attach", &uuid]).start();
    wait_until("it watches", || watches(attached.pid()));
    fs::write(&second, "\n").expect("a reader");
    attached.finish().code(0).printed("two\n").quiet();
    reader.finish().code(0).printed("before\none\ntwo\n");
    pods.stage0(&["attach", &uuid])
        .refused(&["attach to pod", "it is exited"]);
    Ok(())
}

/// Whether a process sleeps, and has a watch on files.
pub fn watches(pid: i32) -> bool {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let infos = folder.into_iter().flatten().flatten();
    let mut texts = infos.map(|info| fs::read_to_string(info.path()).unwrap_or_default());
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    texts.any(|text| text.contains("inotify wd:")) && stat.contains(") S ")
}

/// What pid 1 says, and apps without a log of their own.
fn messages() -> TestResult {
    let pods = Pods::new(roots::probe());
    let words = "/bin/probe echo one --- --name=b --log=pod -- /bin/probe echo two";
    let words: Vec<&str> = words.split(' ').collect();
    let uuid = pods.ended(&["--name=a", "--log=prefix"], &words);
    let output = pods.stage0(&["logs", &uuid]);
    output.code(0).printed("b | two\n");
    assert_eq!(output.stderr, "a: one\n");
    pods.stage0(&["logs", "--app=b", &uuid]).code(0).quiet();
    Ok(())
}

fn hostile_files() -> TestResult {
    let pods = Pods::new(roots::probe());
    let uuid = pods.ended(&["--name=a", "--log=pod"], &["/bin/probe", "echo", "one"]);
    let logs = pods.directory(&uuid).join("logs");
    symlink("/etc/passwd", logs.join("a.1")).expect("a link");
    fs::create_dir(logs.join("a.2")).expect("a directory");
    fifo_at(&logs.join("a.3"));
    pods.stage0(&["logs", &uuid])
        .code(0)
        .printed("one\n")
        .quiet();
    fs::remove_file(logs.join("a")).expect("the log");
    symlink("/etc/passwd", logs.join("a")).expect("a link");
    pods.stage0(&["logs", &uuid]).code(0).printed("").quiet();
    fs::remove_dir_all(&logs).expect("the logs");
    symlink("/etc", &logs).expect("a link");
    pods.stage0(&["logs", &uuid]).code(0).printed("").quiet();
    Ok(())
}

/// Names with all that moves a terminal's cursor, and such as old files have.
fn names_of_others() -> TestResult {
    let pods = Pods::new(roots::probe());
    let hostile = "--name=\u{1b}[2J\n|";
    let words = [
        "/bin/probe",
        "echo",
        "one",
        "---",
        hostile,
        "--",
        "/bin/probe",
        "echo",
        "two",
    ];
    let uuid = pods.ended(&["--name=..a", "--log=pod"], &words);
    let output = pods.stage0(&["logs", &uuid]);
    output.code(0).printed("..a | one\n\\x1b[2J\\x0a| | two\n");
    let words = [
        "/bin/probe",
        "echo",
        "one",
        "---",
        "--name=a.1",
        "--",
        "/bin/probe",
        "echo",
        "two",
    ];
    let uuid = pods.ended(&["--name=a", "--log=pod"], &words);
    let output = pods.stage0(&["logs", "--app=a.1", &uuid]);
    output.code(0).printed("two\n");
    Ok(())
}

fn what_is_refused() -> TestResult {
    let pods = Pods::new(roots::probe());
    let uuid = pods.ended(&["--log=pod"], &["/bin/probe", "echo", "one"]);
    let uuid = uuid.as_str();
    for (words, told) in [
        (&["logs"][..], "no pod is named"),
        (&["logs", "nobody"], "no matches found for \"nobody\""),
        (&["logs", uuid, "--app=x"], "the pod has no such app"),
        (&["logs", uuid, "--tail=-1"], "it is no number of lines"),
        (&["logs", uuid, "--tail"], "its value is missing"),
        (&["logs", uuid, "--force"], "there is no such option"),
        (&["attach", uuid, "--tail=1"], "there is no such option"),
    ] {
        pods.stage0(words).refused(&[told]);
    }
    Ok(())
}
