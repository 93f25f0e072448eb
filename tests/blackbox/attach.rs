//! `stage0 attach` of programs with `--stdin=stream`: an input that comes later, from one
//! caller or another.

use std::{fs, io::Read, path::PathBuf};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, Running},
    registered::{Registry, one_line, wait_until},
    roots, sys, tests,
};

tests![
    there_and_back,
    a_big_input,
    the_end_of_the_input,
    an_end_without_input,
    two_at_once,
    a_program_that_never_reads,
    a_program_that_has_ended,
    a_program_that_starts_again,
    one_of_several,
    without_a_stream,
    codes,
    callers_that_are_killed,
];

/// Pods whose programs are scripts.
pub struct Pods {
    pub registry: Registry,
    pub root: PathBuf,
}

impl Pods {
    pub fn new() -> Result<Self, kickstage_tests::Skip> {
        Ok(Self {
            registry: Registry::new(),
            root: roots::busybox()?,
        })
    }

    /// `run` or `prepare` of a script.
    pub fn command(&self, command: &[&str], options: &[&str], script: &str) -> Run {
        self.registry
            .command(command[0])
            .args(&command[1..])
            .args(options)
            .arg("--rootfs")
            .arg(&self.root)
            .args(["--", "/bin/sh", "-c", script])
    }

    /// A script in the background with an input that can be attached: its uuid.
    pub fn start(&self, options: &[&str], script: &str) -> String {
        let options = [&["--stdin=stream"], options].concat();
        let output = self
            .command(&["run", "--detach"], &options, script)
            .output();
        output.code(0).quiet();
        one_line(&output)
    }

    pub fn attach(&self, words: &[&str]) -> Run {
        self.registry.command("attach").args(words)
    }

    /// One that stays, and shows what comes from now on.
    pub fn attached(&self, words: &[&str]) -> Running {
        let running = self.attach(words).open_input().start();
        wait_until("it is attached", || watches(running.pid()));
        running
    }

    /// Ends what is left.
    pub fn end(&self, uuid: &str) {
        self.registry.ask("stop", &["--force", uuid]).code(0);
        self.registry.collected();
    }

    /// Attached until the pod has ended, with an input that ends.
    pub fn fed(&self, words: &[&str], input: impl Into<Vec<u8>>) -> Output {
        self.attach(words).input(input).output()
    }
}

/// Whether a process sleeps, and has a watch on files.
fn watches(pid: i32) -> bool {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let infos = folder.into_iter().flatten().flatten();
    let mut texts = infos.map(|info| fs::read_to_string(info.path()).unwrap_or_default());
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    texts.any(|text| text.contains("inotify wd:")) && stat.contains(") S ")
}

/// Says what it reads, and its end.
pub const ECHO: &str = "while read line; do echo \"got $line\"; done; echo end; exit 7";

/// SIGINT ends who is attached, not the pod, whose input goes on.
fn there_and_back() -> TestResult {
    let pods = Pods::new()?;
    let uuid = pods.start(&["--name=echo"], ECHO);
    let mut first = pods.attached(&[&uuid]);
    first.send("one\n");
    first.wait_for("got one\n");
    first.send("two\nthr");
    first.wait_for("got two\n");
    first.signal(libc::SIGINT);
    first.finish().killed(libc::SIGINT);
    assert_eq!(pods.registry.state(&uuid), "running");
    let mut second = pods.attached(&["--close", "echo"]);
    second.send("ee\n");
    second.wait_for("got three\n");
    let output = second.finish();
    output.code(7).quiet().printed("got three\nend\n");
    let logs = pods.registry.ask("logs", &[&uuid]);
    logs.code(0).printed("got one\ngot two\ngot three\nend\n");
    pods.registry.collected();
    Ok(())
}

fn a_big_input() -> TestResult {
    let pods = Pods::new()?;
    let bytes: Vec<u8> = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    for script in [
        "cat > /tmp/out",
        // A slow one: it takes what fits, again and again.
        "while dd bs=65536 count=1 iflag=fullblock 2> /tmp/said >> /tmp/out; do \
            grep -q '^0+0' /tmp/said && exit 0; sleep 0.01; done",
    ] {
        let uuid = pods.start(&[], script);
        pods.fed(&["--close", &uuid], bytes.clone()).code(0).quiet();
        let arrived = fs::read(pods.root.join("tmp/out")).expect("a file");
        assert_eq!(arrived.len(), bytes.len());
        assert!(arrived == bytes, "other bytes");
        fs::remove_file(pods.root.join("tmp/out")).expect("a file");
    }
    pods.registry.collected();
    Ok(())
}

/// The program sees the end only if it is told to, and when nobody else is attached.
fn the_end_of_the_input() -> TestResult {
    let pods = Pods::new()?;
    let uuid = pods.start(&[], ECHO);
    for text in ["one", "two"] {
        let mut attached = pods.attached(&[&uuid]);
        attached.send(&format!("{text}\n"));
        attached.close_input();
        attached.wait_for(&format!("got {text}\n"));
        wait_until("it waits", || watches(attached.pid()));
        attached.signal(libc::SIGTERM);
        attached.finish().killed(libc::SIGTERM);
    }
    let mut other = pods.attached(&[&uuid]);
    other.send("three\n");
    other.wait_for("got three\n");
    let mut last = pods.attached(&["--close", &uuid]);
    last.send("four\n");
    last.wait_for("got four\n");
    last.close_input();
    let input = pods.registry.place("run", &uuid).join("streams/app-0");
    wait_until("it is closed", || mode(&input) == 0o400);
    // Who was there before may go on, who comes later may look.
    other.send("five\n");
    other.wait_for("got five\n");
    let mut late = pods.attached(&[&uuid]);
    late.send("six\n");
    assert_eq!(pods.registry.state(&uuid), "running");
    other.close_input();
    for (attached, text) in [
        (other, "got three\ngot four\ngot five\nend\n"),
        (last, "got four\ngot five\nend\n"),
        (late, "end\n"),
    ] {
        attached.finish().code(7).quiet().printed(text);
    }
    pods.registry.collected();
    Ok(())
}

fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).map_or(0, |data| data.mode() & 0o7777)
}

fn an_end_without_input() -> TestResult {
    let pods = Pods::new()?;
    let uuid = pods.start(&[], "sleep 0.1; read line || echo none");
    pods.attach(&["--close", &uuid]).output().code(0).quiet();
    pods.registry.ask("logs", &[&uuid]).printed("none\n");
    // A closed standard input is an empty one.
    let uuid = pods.start(&[], "read line || echo none");
    let attach = pods.attach(&["--close", &uuid]).hook(|| sys::close(0));
    attach.output().code(0).quiet();
    pods.registry.collected();
    Ok(())
}

/// Lines of both arrive whole, and each sees what becomes of all.
fn two_at_once() -> TestResult {
    let pods = Pods::new()?;
    let uuid = pods.start(&[], ECHO);
    let mut both = [pods.attached(&[&uuid]), pods.attached(&[&uuid])];
    let line = |letter: &str, number: u32| format!("{}{number}\n", letter.repeat(1000));
    for number in 0..50 {
        for (attached, letter) in both.iter_mut().zip(["a", "b"]) {
            attached.send(&line(letter, number));
        }
        for (attached, letter) in both.iter().zip(["b", "a"]) {
            attached.wait_for(&format!("got {}", line(letter, number)));
        }
    }
    let [mut first, second] = both;
    first.close_input();
    first.signal(libc::SIGINT);
    first.finish().killed(libc::SIGINT);
    second.signal(libc::SIGINT);
    second.finish().killed(libc::SIGINT);
    pods.fed(&["--close", &uuid], "").code(7);
    let logs = pods.registry.ask("logs", &[&uuid]).stdout;
    for letter in ["a", "b"] {
        let prefix = format!("got {letter}");
        let own = logs.lines().filter(|line| line.starts_with(&prefix));
        let expected = (0..50).map(|number| format!("got {}", line(letter, number)));
        assert!(own.map(|line| format!("{line}\n")).eq(expected), "{letter}");
    }
    pods.registry.collected();
    Ok(())
}

fn a_program_that_never_reads() -> TestResult {
    let pods = Pods::new()?;
    let uuid = pods.start(&[], "echo begins; sleep 1000");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let feeder = std::thread::spawn(move || {
        let text = vec![b'x'; 1 << 20];
        std::io::Write::write_all(&mut writer, &text).is_err()
    });
    let attached = pods.attach(&[&uuid]).stdin(reader).start();
    wait_until("the FIFO is full", || watches(attached.pid()));
    attached.signal(libc::SIGINT);
    attached.finish().killed(libc::SIGINT);
    assert!(feeder.join().expect("no panic"), "all of it was read");
    assert_eq!(pods.registry.state(&uuid), "running");
    // Nor does it keep the pod from its end, or who is attached from that.
    let attached = pods.attached(&[&uuid]);
    pods.registry.ask("stop", &[&uuid]).code(0);
    attached.finish().code(0).quiet();
    pods.registry.collected();
    Ok(())
}

/// The others go on, and so does who is attached; to a pod that has ended nobody can be.
fn a_program_that_has_ended() -> TestResult {
    let pods = Pods::new()?;
    let script = "read line; echo \"got $line\"";
    let gate = pods.root.join("tmp/go");
    Run::new("mkfifo").arg(&gate).output().code(0);
    let words = [
        "run",
        "--detach",
        "--exit-policy=all",
        "--name=reader",
        "--stdin=stream",
    ];
    let output = pods
        .command(&words, &[], script)
        .args("--- --name=other -- /bin/sh -c".split(' '))
        .arg("read line < /tmp/go; echo other; exit 3")
        .output();
    output.code(0).quiet();
    let uuid = one_line(&output);
    let mut attached = pods.attached(&[&uuid]);
    attached.send("one\n");
    attached.wait_for("reader | got one\n");
    let code = pods.registry.place("run", &uuid).join("status/reader");
    wait_until("it has ended", || code.exists());
    attached.send("two\n");
    attached.send("three\n");
    let mut late = pods.attached(&["--app=reader", &uuid]);
    late.send("four\n");
    fs::write(&gate, "\n").expect("a reader");
    attached
        .finish()
        .code(3)
        .quiet()
        .has("other | other\n")
        .lacks("two");
    late.finish().code(3).quiet().printed("");
    pods.attach(&[&uuid]).output().refused(&["it is exited"]);
    pods.registry.collected();
    Ok(())
}

/// What nobody has read yet is there for the next one.
fn a_program_that_starts_again() -> TestResult {
    let pods = Pods::new()?;
    let options = ["--restart=always", "--exit-policy=never"];
    let uuid = pods.start(&options, "read line && echo \"got $line\"; sleep 0.1");
    let mut attached = pods.attached(&[&uuid]);
    for number in 0..5 {
        attached.send(&format!("{number}\n"));
        attached.wait_for(&format!("got {number}\n"));
    }
    attached.signal(libc::SIGINT);
    attached.finish().killed(libc::SIGINT);
    pods.end(&uuid);
    Ok(())
}

fn one_of_several() -> TestResult {
    let pods = Pods::new()?;
    let words = ["run", "--detach", "--name=a", "--stdin=stream"];
    let output = pods
        .command(&words, &[], "read line; echo \"a $line\"")
        .args("--- --name=b --stdin=stream -- /bin/sh -c".split(' '))
        .arg("read line; echo \"b $line\"")
        .args("--- --name=c --stdin=null -- /bin/sh -c".split(' '))
        .arg("read line || echo none")
        .output();
    output.code(0).quiet();
    let uuid = one_line(&output);
    pods.attach(&[&uuid])
        .output()
        .refused(&["attach to pod", "several", "--app"]);
    pods.attach(&["--app=c", "--close", &uuid])
        .output()
        .refused(&["--stdin=stream"]);
    let mut second = pods.attached(&["--app=b", &uuid]);
    second.send("two\n");
    second.wait_for("b two\n");
    pods.fed(&["--app=a", &uuid], "one\n")
        .code(0)
        .printed("a one\n");
    second.finish().code(0).printed("b two\n");
    pods.registry.collected();
    Ok(())
}

/// Output only: nothing is taken from standard input.
fn without_a_stream() -> TestResult {
    let pods = Pods::new()?;
    let script = "read line < /tmp/go; echo one";
    let gate = pods.root.join("tmp/go");
    Run::new("mkfifo").arg(&gate).output().code(0);
    let output = pods.command(&["run", "--detach"], &[], script).output();
    output.code(0).quiet();
    let uuid = one_line(&output);
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut writer, b"unread").expect("room");
    let copy = reader.try_clone().expect("a descriptor");
    let attached = pods.attach(&[&uuid]).stdin(copy).start();
    wait_until("it is attached", || watches(attached.pid()));
    pods.attach(&["--close", &uuid])
        .output()
        .refused(&["attach to pod", "no --stdin=stream"]);
    fs::write(&gate, "\n").expect("a reader");
    attached.finish().code(0).quiet().printed("one\n");
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("a pipe");
    assert_eq!(text, "unread");
    pods.registry.collected();
    Ok(())
}

/// Of the pod, as long as somebody keeps it.
fn codes() -> TestResult {
    let pods = Pods::new()?;
    for (options, code) in [(&[][..], 5), (&["--rm"], 0)] {
        let uuid = pods.start(options, "read line; exit $line");
        pods.fed(&[&uuid], "5\n").code(code).quiet();
    }
    let uuid = pods.start(&[], "read line; exit 5");
    let pid = pods
        .registry
        .status(&uuid)
        .get("pid")
        .number()
        .expect("a pid");
    let attached = pods.attached(&[&uuid]);
    sys::kill(i32::try_from(pid).expect("a pid"), libc::SIGKILL).expect("it runs");
    let output = attached.finish();
    output.code(254).printed("");
    assert!(output.stderr.contains("it was killed"), "{}", output.stderr);
    pods.registry.collected();
    Ok(())
}

fn callers_that_are_killed() -> TestResult {
    let pods = Pods::new()?;
    let uuid = pods.start(&[], ECHO);
    for number in 0..20 {
        let mut attached = pods.attached(&["--close", &uuid]);
        attached.send(&format!("{number}\n"));
        attached.wait_for(&format!("got {number}\n"));
        attached.signal(libc::SIGKILL);
        attached.finish().killed(libc::SIGKILL);
    }
    assert_eq!(pods.registry.state(&uuid), "running");
    pods.fed(&["--close", &uuid], "last\n")
        .code(7)
        .has("got last\nend\n");
    pods.registry.collected();
    Ok(())
}
