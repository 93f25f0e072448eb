//! Real programs of a real Debian.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use kickstage_tests::{
    TestResult, command::program, compare, pod::Pod, requirement::Requirement, roots, sys,
    terminal::Terminal, tests,
};

tests![
    bash,
    bash_killed,
    pipes,
    dpkg,
    python,
    python_exit_codes_and_signals,
    python_stdin,
    users_by_name,
    set_uid_programs_gain_nothing,
    under_fly,
    volumes,
    shell_at_a_terminal,
    a_terminal_cannot_be_typed_into,
    network,
    a_large_root_starts_like_a_small_one,
];

/// The cached root is shared: a layer of the pod's own, or read-only.
fn debian() -> Result<Pod, kickstage_tests::Skip> {
    Ok(Pod::new(roots::debian()?).flag("--ephemeral"))
}

fn bash() -> TestResult {
    let pod = debian()?;
    pod.run(["/bin/bash", "-c", "exit 7"]).code(7).quiet();
    pod.run(["bash", "-c", "echo $BASH_VERSINFO; echo $$ >&2"])
        .code(0)
        .has("5\n");
    let script = "set -o pipefail; false | true; echo $?; for i in {1..3}; do (exit $i); done; echo $?; wait";
    pod.run(["bash", "-c", script]).code(0).printed("1\n3\n");
    // Many children, one after the other and at once.
    let script = "for i in $(seq 200); do /bin/true & done; wait; echo done";
    pod.run(["bash", "-c", script])
        .code(0)
        .printed("done\n")
        .quiet();
    Ok(())
}

fn bash_killed() -> TestResult {
    let pod = debian()?;
    pod.run(["bash", "-c", "kill -TERM $$"]).code(143);
    pod.run(["bash", "-c", "kill -KILL $$"]).code(137);
    let running = pod
        .command([
            "bash",
            "-c",
            "trap 'echo bye; exit 4' TERM; echo ready; sleep 60 & wait",
        ])
        .start();
    running.wait_for("ready");
    running.signal(libc::SIGTERM);
    running.finish().code(4).printed("ready\nbye\n");
    Ok(())
}

fn pipes() -> TestResult {
    let pod = debian()?;
    pod.command(["cat"])
        .input("hi\n")
        .output()
        .code(0)
        .printed("hi\n");
    pod.command(["bash", "-c", "sort | uniq -c | awk '{print $1 $2}'"])
        .input("b\na\nb\n")
        .output()
        .code(0)
        .printed("1a\n2b\n");
    pod.command(["wc", "-c"])
        .input("x".repeat(1_000_000))
        .output()
        .code(0)
        .printed("1000000\n");
    Ok(())
}

fn dpkg() -> TestResult {
    let pod = debian()?;
    pod.run(["dpkg", "--print-architecture"])
        .code(0)
        .printed("amd64\n")
        .quiet();
    let output = pod.run(["dpkg-query", "-W", "-f", "${Status} ${Package}\\n", "bash"]);
    output
        .code(0)
        .printed("install ok installed bash\n")
        .quiet();
    // It writes: a package is built, installed, removed, in the layer.
    let script = "set -e; mkdir -p /tmp/p/DEBIAN /tmp/p/opt; echo hello >/tmp/p/opt/hello
        printf 'Package: hello\\nVersion: 1\\nArchitecture: all\\nMaintainer: m <m@m>\\nDescription: d\\n' >/tmp/p/DEBIAN/control
        dpkg-deb --build /tmp/p /tmp/p.deb >/dev/null; dpkg -i /tmp/p.deb >/dev/null 2>&1; cat /opt/hello; dpkg -r hello >/dev/null; test ! -e /opt/hello";
    pod.run(["bash", "-c", script]).code(0).printed("hello\n");
    Ok(())
}

fn python() -> TestResult {
    let pod = debian()?;
    // LC_CTYPE is Python's own (PEP 538).
    let script = "import os, sys; names = sorted(set(os.environ) - {'LC_CTYPE'})
print(sys.argv[1:], os.getpid(), os.getuid(), os.getcwd(), names)";
    let output = pod.run(["python3", "-c", script, "an argument"]);
    output
        .code(0)
        .printed(
            "['an argument'] 2 0 / ['AC_APP_NAME', 'HOME', 'LOGNAME', 'PATH', 'SHELL', 'USER']\n",
        )
        .quiet();
    let script = "import os\nfor n in range(50):\n  p = os.fork()\n  if p == 0: os._exit(n)\n  assert os.waitpid(p, 0)[1] >> 8 == n\nprint('ok')";
    pod.run(["python3", "-c", script]).code(0).printed("ok\n");
    Ok(())
}

fn python_exit_codes_and_signals() -> TestResult {
    let pod = debian()?;
    pod.run(["python3", "-c", "raise SystemExit(9)"])
        .code(9)
        .quiet();
    let output = pod.run(["python3", "-c", "1/0"]);
    output.code(1);
    assert!(
        output.stderr.contains("ZeroDivisionError"),
        "{}",
        output.everything()
    );
    pod.run(["python3", "-c", "import os; os.abort()"])
        .code(134);
    pod.run([
        "python3",
        "-c",
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    ])
    .code(139);
    // Python only notes a signal in its handler: what comes between its last
    // look and a sleep would be seen when the sleep is over.
    let script = "import time\nprint('ready')\nwhile True: time.sleep(0.02)";
    let running = pod.command(["python3", "-u", "-c", script]).start();
    running.wait_for("ready");
    running.signal(libc::SIGINT);
    running.finish().code(130);
    Ok(())
}

fn python_stdin() -> TestResult {
    let pod = debian()?;
    pod.command(["python3"])
        .input("print(6 * 7)")
        .output()
        .code(0)
        .printed("42\n")
        .quiet();
    pod.command(["python3", "-"])
        .input("import sys; sys.exit(3)")
        .output()
        .code(3);
    Ok(())
}

fn users_by_name() -> TestResult {
    let pod = debian()?;
    for (user, expected) in [
        ("root", "uid=0(root) gid=0(root) groups=0(root)\n"),
        ("daemon", "uid=1(daemon) gid=1(daemon) groups=1(daemon)\n"),
        (
            "www-data",
            "uid=33(www-data) gid=33(www-data) groups=33(www-data)\n",
        ),
        (
            "nobody",
            "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n",
        ),
        (
            "33",
            "uid=33(www-data) gid=33(www-data) groups=33(www-data)\n",
        ),
    ] {
        pod.clone()
            .options(["--user", user])
            .run(["id"])
            .code(0)
            .printed(expected)
            .quiet();
    }
    let mixed = pod.options(["--user", "www-data", "--group", "adm"]);
    mixed
        .run(["id"])
        .code(0)
        .printed("uid=33(www-data) gid=4(adm) groups=4(adm)\n");
    Ok(())
}

/// passwd(1) and su(1) are set-uid root there.
fn set_uid_programs_gain_nothing() -> TestResult {
    let pod = debian()?.options(["--user", "www-data"]);
    let script = "stat -c %a /usr/bin/passwd; cp /usr/bin/id /tmp/id 2>/dev/null; su -c id </dev/null 2>/dev/null || echo no";
    pod.run(["bash", "-c", script])
        .code(0)
        .printed("4755\nno\n");
    let script = "import os; print(open('/proc/self/status').read().split('NoNewPrivs:\\t')[1][0])";
    pod.run(["python3", "-c", script]).code(0).printed("1\n");
    Ok(())
}

fn under_fly() -> TestResult {
    let pod = Pod::fly(roots::debian()?).options(["--ro", "--tmpfs", "/tmp"]);
    pod.run(["/bin/bash", "-c", "exit 7"]).code(7).quiet();
    pod.run(["python3", "-c", "print(1 + 1)"])
        .code(0)
        .printed("2\n")
        .quiet();
    pod.run(["dpkg", "--version"]).code(0).has("Debian").quiet();
    pod.clone()
        .options(["--user", "www-data"])
        .run(["id", "-un"])
        .code(0)
        .printed("www-data\n");
    Ok(())
}

fn volumes() -> TestResult {
    let source = roots::directory("source");
    let pod =
        debian()?
            .volume(&source, "/work")
            .options(["--working-dir", "/work", "--user", "1000"]);
    std::os::unix::fs::chown(&source, Some(1000), Some(1000)).expect("an owner");
    pod.run([
        "bash",
        "-c",
        "echo text >file; umask 077; mkdir folder; ln -s file link",
    ])
    .code(0)
    .quiet();
    assert_eq!(compare::names(&source), ["file", "folder", "link"]);
    let owner = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata(source.join("file")).expect("a file"),
    );
    assert_eq!(owner, 1000);
    Ok(())
}

fn shell_at_a_terminal() -> TestResult {
    let pod = debian()?;
    let mut terminal = Terminal::new(30, 90);
    let running = terminal.start(
        pod.options(["--set-env", "PS1=prompt> "])
            .command(["bash", "--norc", "-i"])
            .env("TERM", "xterm"),
    );
    terminal.wait_for("prompt> ");
    terminal.send("stty size; tty\n");
    terminal.wait_for("30 90\r\n");
    // Quotes keep the echo of what is typed apart from the answer. The job is
    // stopped and continued; what is typed then is for it.
    terminal.send("sh -c 'echo ru\"\"n; read x; echo ov\"\"er; exit 4'\n");
    terminal.wait_for("run\r\n");
    terminal.send("\x1a");
    terminal.wait_for("Stopped");
    terminal.send("fg\n\n");
    terminal.wait_for("over\r\n");
    terminal.send("echo code $?\n");
    terminal.wait_for("code 4\r\n");
    terminal.send("exit 6\n");
    running.finish().code(6);
    assert!(
        !terminal.shown().contains("no job control"),
        "{:?}",
        terminal.shown()
    );
    Ok(())
}

/// CVE-2017-5226, CVE-2019-7303: TIOCSTI.
fn a_terminal_cannot_be_typed_into() -> TestResult {
    Requirement::Tiocsti.require()?;
    let root = roots::debian()?;
    let script = "
import fcntl
for fd in (0, 1, 2):
    for byte in b'injected':
        try: fcntl.ioctl(fd, 0x5412, bytes([byte]))
        except OSError as error: print(error.errno, end=' ')
print('tried')
";
    // fly without an option for it is in the session of its caller, as chroot is.
    // Whoever has sys_admin may type into every terminal that is open.
    for (pod, option) in [
        (Pod::new(&root), "--tty=false"),
        (Pod::new(&root), "--tty=true"),
        (
            Pod::fly(&root).options(["--cap-drop", "sys_admin"]),
            "--new-session",
        ),
        (Pod::fly(&root).options(["--user", "1"]), "--new-session"),
    ] {
        let terminal = Terminal::new(24, 80);
        let pod = pod.options(["--ephemeral", option]);
        let running = terminal.start(pod.command(["python3", "-c", script]));
        terminal.wait_for("tried");
        running.finish().code(0);
        // What was typed would be waiting for the next reader. (Into a terminal
        // of its own the pod may type, and sees the echo.)
        let waiting = sys::waiting_input(terminal.slave()).expect("a count");
        assert_eq!(waiting, 0, "{option}: typed into the caller's terminal");
    }
    Ok(())
}

fn network() -> TestResult {
    let pod = debian()?.flag("--net=none");
    let script = "
import socket
a = socket.socket(); a.bind(('127.0.0.1', 0)); a.listen()
b = socket.create_connection(a.getsockname()); b.send(b'hi'); print(a.accept()[0].recv(9))
try: socket.create_connection(('192.0.2.1', 9), 1)
except OSError as error: print(error.errno)
";
    pod.run(["python3", "-c", script])
        .code(0)
        .printed("b'hi'\n101\n")
        .quiet();
    Ok(())
}

/// One start and its end, in seconds.
fn once(root: &Path) -> f64 {
    let start = Instant::now();
    let status = Command::new(program("stage0"))
        .args(["run", "--ephemeral", "--rootfs"])
        .arg(root)
        .args(["--", "/bin/probe", "exit", "0"])
        .stdin(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    start.elapsed().as_secs_f64()
}

/// No step looks at the files of the root. `bench/` measures it; here it is
/// only not twice as long, taking the best of each on a busy machine.
fn a_large_root_starts_like_a_small_one() -> TestResult {
    let (small, large) = (roots::probe(), roots::debian()?);
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..30 {
        best = (best.0.min(once(&small)), best.1.min(once(&large)));
    }
    assert!(best.1 < 2.0 * best.0, "{} s against {} s", best.1, best.0);
    Ok(())
}
