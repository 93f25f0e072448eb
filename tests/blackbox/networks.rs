//! `--net` with a namespace that is there already, and `--ipc`.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use kickstage_tests::{
    TestResult,
    command::{Run, Running},
    pod::Pod,
    roots, tests,
};

tests![
    by_the_pid_of_a_process,
    by_a_name,
    its_own_sysfs,
    two_pods_share_one,
    without_the_capability,
    not_a_namespace,
    of_another_kind,
    without_the_right,
    that_hangs_or_is_a_terminal,
    only_in_pods,
    shared_ipc,
    private_ipc,
    bad_ipc,
];

/// A process in a network namespace of its own, with lo down.
fn holder() -> Running {
    let holder = Run::new("unshare")
        .args(["--net", "/bin/sh", "-c", "echo ready; read line"])
        .open_input()
        .start();
    holder.wait_for("ready");
    holder
}

fn path(holder: &Running, kind: &str) -> String {
    format!("/proc/{}/ns/{kind}", holder.pid())
}

fn identity(path: &str) -> String {
    fs::read_link(path)
        .expect("a namespace")
        .to_string_lossy()
        .into_owned()
}

fn by_the_pid_of_a_process() -> TestResult {
    let holder = holder();
    let path = path(&holder, "net");
    let report = Pod::new(roots::probe())
        .options(["--net", &path])
        .probe(["report", "ns"])
        .report();
    report.is("ns.net", &identity(&path));
    assert_ne!(report.get("ns.net"), identity("/proc/self/ns/net"));
    let _ = holder.finish();
    Ok(())
}

/// As those of ip-netns(8), which are mounted; and by a link, and a relative path.
fn by_a_name() -> TestResult {
    let folder = roots::directory("netns");
    let script = "mount --make-private --bind \"$0\" \"$0\" && touch \"$0/blue\" \
        && mount --bind /proc/self/ns/net \"$0/blue\" && cd \"$0\" && ln -s blue link \
        && for name in \"$0/blue\" \"$0/link\" ./blue; do \
        nsenter --net=/proc/1/ns/net \"$1\" run --rootfs \"$2\" --net=$name -- /bin/probe report ns.net || exit; done; \
        readlink /proc/self/ns/net";
    let output = Run::new("unshare")
        .args([
            "--mount",
            "--net",
            "--propagation=private",
            "/bin/sh",
            "-c",
            script,
        ])
        .arg(&folder)
        .arg(kickstage_tests::command::program("stage0"))
        .arg(roots::probe())
        .output();
    output.code(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    let own = format!("ns.net={}", lines.last().expect("a line"));
    assert_eq!(lines[..3], [&own, &own, &own], "{lines:?}");
    Ok(())
}

/// /sys and /proc/net are those of the namespace, whose lo is left as it is.
fn its_own_sysfs() -> TestResult {
    let holder = holder();
    let output = Pod::new(roots::probe())
        .options(["--net", &path(&holder, "net")])
        .probe([
            "list",
            "/sys/class/net",
            ",",
            "read",
            "/sys/class/net/lo/flags",
        ]);
    // IFF_LOOPBACK.
    output.code(0).printed("lo\n0x8\n");
    let _ = holder.finish();
    Ok(())
}

fn two_pods_share_one() -> TestResult {
    let root = roots::probe();
    let mut first = Pod::new(&root)
        .flag("--net=none")
        .probe_command(["report", "ns.net", ",", "echo", "ready", ",", "line"])
        .open_input()
        .start();
    first.wait_for("ready");
    // The program's pid is not known here; all of the pod have one namespace.
    let child = child_of(first.pid());
    let second = Pod::new(&root)
        .options([format!("--net=/proc/{child}/ns/net")])
        .probe(["report", "ns.net"])
        .report();
    first.send("\n");
    first
        .finish()
        .code(0)
        .has(&format!("ns.net={}", second.get("ns.net")));
    Ok(())
}

fn child_of(pid: i32) -> String {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(path).expect("a process");
    children
        .split_whitespace()
        .next()
        .expect("a child")
        .to_owned()
}

/// It is somebody else's network: no pod configures it.
fn without_the_capability() -> TestResult {
    let holder = holder();
    let report = Pod::new(roots::probe())
        .options(["--net", &path(&holder, "net")])
        .probe(["report", "cap"])
        .report();
    // CAP_NET_ADMIN is 12, CAP_SYS_ADMIN 21.
    for (name, value) in report.below("cap") {
        if let Ok(bits) = u64::from_str_radix(value.trim_start_matches("0x"), 16) {
            assert_eq!(bits & (1 << 12 | 1 << 21), 0, "{name}");
        }
    }
    let _ = holder.finish();
    Ok(())
}

fn not_a_namespace() -> TestResult {
    let root = roots::probe();
    for (bad, words) in [
        ("/etc/passwd", "it is no namespace"),
        ("/proc/self/ns", "it is no namespace"),
        ("/dev/null", "it is no namespace"),
        ("/run/netns/none-of-this-name", "No such file"),
        ("/etc/passwd/x", "Not a directory"),
    ] {
        Pod::new(&root)
            .options(["--net", bad])
            .probe(["exit", "0"])
            .refused(&[bad, words]);
    }
    Ok(())
}

fn of_another_kind() -> TestResult {
    let root = roots::probe();
    for kind in ["mnt", "pid", "ipc", "uts", "user", "cgroup"] {
        let path = format!("/proc/self/ns/{kind}");
        Pod::new(&root)
            .options(["--net", &path])
            .probe(["exit", "0"])
            .refused(&["join network", &path, "another kind"]);
    }
    Ok(())
}

/// Who may make namespaces, but not join this one: as root of a user namespace.
fn without_the_right() -> TestResult {
    let holder = holder();
    let path = path(&holder, "net");
    let output = Run::new("unshare")
        .args(["--user", "--map-root-user"])
        .arg(kickstage_tests::command::program("stage0"))
        .args(["run", "--net", &path, "--rootfs"])
        .arg(roots::probe())
        .args(["--", "/bin/probe"])
        .output();
    output.refused(&[&path]);
    let _ = holder.finish();
    Ok(())
}

/// A FIFO is not waited for.
fn that_hangs_or_is_a_terminal() -> TestResult {
    let fifo: PathBuf = roots::fresh("fifo");
    let made = Run::new("mkfifo").arg(&fifo).output();
    made.code(0);
    let link = roots::fresh("link");
    symlink(&fifo, &link).expect("a link");
    for path in [
        &fifo,
        &link,
        &PathBuf::from("/dev/ptmx"),
        &PathBuf::from("/dev/tty"),
    ] {
        Pod::new(roots::probe())
            .options(["--net".as_ref(), path.as_os_str()])
            .probe(["exit", "0"])
            .refused(&[&path.to_string_lossy()]);
    }
    Ok(())
}

fn only_in_pods() -> TestResult {
    Pod::new(roots::probe())
        .options(["--stage1=fly", "--net=/proc/self/ns/net"])
        .probe(["exit", "0"])
        .refused(&["--net", "--stage1=fly"]);
    Pod::new(roots::probe())
        .options(["--stage1=fly", "--ipc=private"])
        .probe(["exit", "0"])
        .refused(&["--ipc=private", "--stage1=fly"]);
    Run::ours("stage0")
        .args([
            "plan",
            "--output=/dev/null",
            "--net=/proc/self/ns/net",
            "--rootfs=/",
            "--",
            "/x",
        ])
        .output()
        .refused(&["--net", "--output"]);
    Ok(())
}

fn shared_ipc() -> TestResult {
    let root = roots::probe();
    for options in [
        &["--ipc=parent"][..],
        &["--ipc", "parent", "--net=none"],
        &["--ipc=parent", "--stage1=fly"],
    ] {
        let report = Pod::new(&root)
            .options(options)
            .probe(["report", "ns"])
            .report();
        report.is("ns.ipc", &identity("/proc/self/ns/ipc"));
    }
    Ok(())
}

fn private_ipc() -> TestResult {
    let root = roots::probe();
    for option in ["--ipc=auto", "--ipc=private"] {
        let report = Pod::new(&root)
            .flag(option)
            .probe(["report", "ns"])
            .report();
        assert_ne!(report.get("ns.ipc"), identity("/proc/self/ns/ipc"));
    }
    Ok(())
}

fn bad_ipc() -> TestResult {
    for bad in ["", "host", "PARENT", "none"] {
        Pod::new(roots::probe())
            .options(["--ipc", bad])
            .probe(["exit", "0"])
            .refused(&["--ipc", "auto, private or parent"]);
    }
    Ok(())
}
