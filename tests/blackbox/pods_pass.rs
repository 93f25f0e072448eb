//! What a service manager passes to stage0, and a program of the pod gets.

use std::{
    fs,
    io::{ErrorKind, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    time::Duration,
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, program},
    roots, sys, tests,
};

tests![
    descriptors,
    only_who_asks,
    at_each_start,
    many_descriptors,
    with_pipes_and_logs,
    a_socket_that_listens,
    for_somebody_else,
    counts_that_are_none,
    descriptors_that_are_closed,
    with_timings,
    a_notify_socket,
    a_notify_socket_for_a_user,
    notify_sockets_that_are_none,
    nothing_to_pass,
    only_in_pods,
];

/// Runs `stage0 run` as a service manager does: `opens` are redirections of a shell,
/// which then becomes stage0.
fn managed(root: &Path, opens: &str, count: &str, words: &[&str]) -> Run {
    let script = format!(
        "exec {opens}; LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES=a:b exec \"$0\" run --rootfs \"$@\""
    );
    Run::new("/bin/bash")
        .args(["-c", &script])
        .arg(program("stage0"))
        .arg(root)
        .args(words)
}

#[track_caller]
fn lines(output: &Output) -> Vec<&str> {
    output.code(0);
    output.stdout.lines().collect()
}

/// What is open in a program, and what the variables say.
const SHOW: &str = "ls /proc/self/fd | tr '\\n' ' '; echo; \
    echo $LISTEN_FDS $LISTEN_FDNAMES; test \"$LISTEN_PID\" = $$ && echo own";

fn descriptors() -> TestResult {
    let root = roots::busybox()?;
    let script = format!("{SHOW}; cat <&3; cat <&4");
    let words = ["--listen-fds", "--", "/bin/sh", "-c", &script];
    let output = managed(&root, "3<<<three 4<<<four 5<<<five", "2", &words).output();
    // ls has the directory, too.
    assert_eq!(
        lines(&output),
        ["0 1 2 3 4 5 ", "2 a:b", "own", "three", "four"]
    );
    Ok(())
}

fn only_who_asks() -> TestResult {
    let root = roots::busybox()?;
    let words = [
        "--pre-start=/bin/busybox ls /proc/self/fd",
        "--ready=exit",
        "--",
        "/bin/sh",
        "-c",
        SHOW,
        "---",
        "--listen-fds",
        "--after=app-0",
        "--ready=exit",
        "--pre-start=/bin/busybox ls /proc/self/fd",
        "--",
        "/bin/sh",
        "-c",
        SHOW,
        "---",
        "--listen-fds=false",
        "--after=app-1",
        "--",
        "/bin/sh",
        "-c",
        SHOW,
    ];
    let output = managed(&root, "3<<<three 4<<<four", "2", &words).output();
    output.code(1);
    let none = "0\n1\n2\n3\n";
    let shown = "0 1 2 3 \n\n";
    let own = "0 1 2 3 4 5 \n2 a:b\nown\n";
    // The first one fails, as its last test does.
    assert_eq!(output.stdout, format!("{none}{shown}"));
    let script = format!("{SHOW}; true");
    let words = words.map(|word| if word == SHOW { &*script } else { word });
    let output = managed(&root, "3<<<three 4<<<four", "2", &words).output();
    output
        .code(0)
        .printed(&format!("{none}{shown}{none}{own}{shown}"));
    Ok(())
}

fn at_each_start() -> TestResult {
    let root = roots::busybox()?;
    let script = "test $LISTEN_PID = $$ && read line <&3 && echo $line; exit 1";
    let words = [
        "--listen-fds",
        "--restart=on-failure:2",
        "--",
        "/bin/sh",
        "-c",
        script,
    ];
    let output = managed(&root, "3< <(seq 9)", "1", &words).output();
    // One open file: what one has read the next one does not see.
    output.code(1).printed("1\n2\n3\n");
    Ok(())
}

/// Descriptors of files, above those that they are to get.
fn high(files: &[OwnedFd]) -> Vec<OwnedFd> {
    let mut low = Vec::new();
    let above = |file: &OwnedFd| loop {
        let copy = file.try_clone().expect("a descriptor");
        if copy.as_raw_fd() > 100 {
            return copy;
        }
        low.push(copy);
    };
    files.iter().map(above).collect()
}

/// `stage0 run` with these descriptors from 3 on.
fn given(root: &Path, files: &[OwnedFd], words: &[&str]) -> Run {
    let files = high(files);
    let script = format!(
        "LISTEN_PID=$$ LISTEN_FDS={} exec \"$0\" run --rootfs \"$@\"",
        files.len()
    );
    Run::new("/bin/sh")
        .args(["-c", &script])
        .arg(program("stage0"))
        .arg(root)
        .args(words)
        .hook(move || {
            let mut numbers = files.iter().zip(3..);
            numbers.try_for_each(|(file, number)| sys::duplicate_onto(file, number))
        })
}

/// More than there is room for below where pid 1 finds them.
fn many_descriptors() -> TestResult {
    let root = roots::busybox()?;
    let folder = roots::fresh("many");
    fs::create_dir_all(&folder).expect("a folder");
    for count in [13, 14, 40, 64] {
        let open = |index: u64| {
            let path = folder.join(index.to_string());
            fs::write(&path, format!("{index}\n")).expect("a file");
            OwnedFd::from(fs::File::open(path).expect("a file"))
        };
        let files: Vec<OwnedFd> = (0..count).map(open).collect();
        let script = format!(
            "for fd in $(seq 3 {}); do cat /proc/self/fd/$fd; done; ls /proc/self/fd | wc -l",
            count + 2
        );
        let words = ["--listen-fds", "--", "/bin/sh", "-c", &script];
        let output = given(&root, &files, &words).output();
        let mut expected: Vec<String> = (0..count).map(|index| index.to_string()).collect();
        expected.push((count + 3 + 1).to_string());
        assert_eq!(lines(&output), expected);
    }
    Ok(())
}

/// Their ends are in the way in pid 1.
fn with_pipes_and_logs() -> TestResult {
    let root = roots::busybox()?;
    let words = [
        "--listen-fds",
        "--log=prefix",
        "--stdout=pipe:r",
        "--",
        "/bin/sh",
        "-c",
        "cat <&3; cat <&4 >&2",
        "---",
        "--name=r",
        "--listen-fds",
        "--log=file:/tmp/log",
        "--",
        "/bin/sh",
        "-c",
        "cat; echo $LISTEN_FDS",
    ];
    let output = managed(&root, "3<<<three 4<<<four", "2", &words).output();
    output.code(0).printed("");
    assert_eq!(output.stderr, "app-0: four\n");
    let log = fs::read_to_string(root.join("tmp/log")).expect("a log");
    assert_eq!(log, "three\n2\n");
    Ok(())
}

/// It is the caller's socket, over restarts.
fn a_socket_that_listens() -> TestResult {
    let root = roots::probe();
    let path = roots::fresh("listen").join("socket");
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let listener = UnixListener::bind(&path).expect("a socket");
    let words = [
        "--listen-fds",
        "--",
        "/bin/probe",
        "report",
        "fd",
        ",",
        "sleep",
        "300",
    ];
    let running = given(&root, &[OwnedFd::from(listener)], &words).start();
    let mut stream = UnixStream::connect(&path).expect("a connection");
    running.finish().code(0).has("fd.3=socket:");
    // Nobody has accepted it, and nobody holds the socket any more.
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a time");
    let read = stream.read(&mut [0]).map_err(|error| error.kind());
    assert!(
        matches!(read, Ok(0) | Err(ErrorKind::ConnectionReset)),
        "{read:?}"
    );
    Ok(())
}

fn for_somebody_else() -> TestResult {
    let root = roots::busybox()?;
    let words = ["run", "--listen-fds", "--rootfs"];
    let script = "exec 3<<<three; LISTEN_PID=1 LISTEN_FDS=1 exec \"$0\" \"$@\"";
    Run::new("/bin/bash")
        .args(["-c", script])
        .arg(program("stage0"))
        .args(words)
        .arg(&root)
        .args(["--", "/bin/sh", "-c", "ls /proc/self/fd; env"])
        .output()
        .code(0)
        .has("0\n1\n2\n3\n")
        .lacks("LISTEN");
    Ok(())
}

fn counts_that_are_none() -> TestResult {
    let root = roots::busybox()?;
    let words = ["--listen-fds", "--", "/bin/sh", "-c", "ls /proc/self/fd"];
    managed(&root, "3<<<x", "0", &words)
        .output()
        .code(0)
        .printed("0\n1\n2\n3\n");
    for count in ["65", "-1", "x", "1000000000000"] {
        managed(&root, "3<<<x", count, &words)
            .output()
            .refused(&["LISTEN_FDS", "from 0 to 64"]);
    }
    Ok(())
}

fn descriptors_that_are_closed() -> TestResult {
    let root = roots::busybox()?;
    let words = ["--listen-fds", "--", "/bin/true"];
    managed(&root, "4<<<x", "2", &words)
        .output()
        .refused(&["pass descriptors", "Bad file descriptor"]);
    Ok(())
}

/// Whose pipe is in the way, too.
fn with_timings() -> TestResult {
    let root = roots::busybox()?;
    let words = [
        "--listen-fds",
        "--timings",
        "--",
        "/bin/sh",
        "-c",
        "cat <&3; cat <&4",
    ];
    managed(&root, "3<<<three 4<<<four", "2", &words)
        .output()
        .code(0)
        .printed("three\nfour\n");
    Ok(())
}

/// A socket, and its path.
fn notify() -> (UnixDatagram, std::path::PathBuf) {
    let folder = roots::fresh("notify");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("socket");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("a mode");
    socket.set_nonblocking(true).expect("a socket");
    (socket, path)
}

/// `stage0 run` with this socket.
fn notifying(root: &Path, socket: &str, words: &[&str]) -> Output {
    Run::ours("stage0")
        .env("NOTIFY_SOCKET", socket)
        .args(["run", "--rootfs"])
        .arg(root)
        .args(words)
        .output()
}

#[track_caller]
fn heard(socket: &UnixDatagram) -> Vec<String> {
    let mut bytes = [0; 256];
    let mut heard = Vec::new();
    while let Ok(count) = socket.recv(&mut bytes) {
        heard.push(String::from_utf8_lossy(bytes.get(..count).expect("bytes")).into_owned());
    }
    heard
}

fn a_notify_socket() -> TestResult {
    let root = roots::probe();
    let (socket, path) = notify();
    let path = path.to_str().expect("a path");
    let words = [
        "--readonly-rootfs",
        "--notify-socket",
        "--",
        "/bin/probe",
        "notify",
        "READY=1",
        "---",
        "/bin/probe",
        "report",
        "env",
    ];
    let output = notifying(&root, path, &words);
    output.code(0).lacks("NOTIFY_SOCKET");
    assert_eq!(heard(&socket), ["READY=1"]);
    Ok(())
}

fn a_notify_socket_for_a_user() -> TestResult {
    let root = roots::probe();
    let (socket, path) = notify();
    let path = path.to_str().expect("a path");
    let words = [
        "--net=none",
        "--",
        "/bin/probe",
        "exit",
        "0",
        "---",
        "--user=1000",
        "--notify-socket",
        "/bin/probe",
        "report",
        "env",
        ",",
        "notify",
        "STATUS=x",
    ];
    let output = notifying(&root, path, &words);
    output.code(0).has("env.NOTIFY_SOCKET=/dev/notify\n");
    assert_eq!(heard(&socket), ["STATUS=x"]);
    Ok(())
}

fn notify_sockets_that_are_none() -> TestResult {
    let root = roots::probe();
    let words = ["--notify-socket", "--", "/bin/probe", "exit", "0"];
    for socket in ["@abstract", "run/notify", "", "vsock:2:1"] {
        notifying(&root, socket, &words).refused(&["NOTIFY_SOCKET", "abstract"]);
    }
    notifying(&root, "/none/notify", &words).refused(&["/none/notify", "No such file"]);
    let words = [&["--ready=notify"], &words[..]].concat();
    notifying(&root, "/none", &words).refused(&["--notify-socket", "--ready=notify"]);
    Ok(())
}

/// Without a service manager it is as always.
fn nothing_to_pass() -> TestResult {
    let root = roots::probe();
    Run::ours("stage0")
        .args(["run", "--listen-fds", "--notify-socket", "--rootfs"])
        .arg(&root)
        .args(["--", "/bin/probe", "report", "env"])
        .output()
        .code(0)
        .lacks("LISTEN")
        .lacks("NOTIFY");
    Ok(())
}

fn only_in_pods() -> TestResult {
    let root = roots::probe();
    for option in ["--listen-fds", "--notify-socket"] {
        for (stage1, words) in [
            ("--stage1=fly", "not with --stage1=fly"),
            ("--stage1=/bin/true", "only with --stage1=init"),
        ] {
            Run::ours("stage0")
                .args(["run", option, stage1, "--rootfs"])
                .arg(&root)
                .args(["--", "/bin/probe"])
                .output()
                .refused(&[words]);
        }
    }
    Ok(())
}
