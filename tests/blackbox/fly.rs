//! fly: one process, a private mount namespace, a chroot.

use std::{fs, os::unix::fs::MetadataExt};

use kickstage_tests::{TestResult, command::Run, pod::Pod, report::Report, roots, sys, tests};

tests![
    same_pid,
    same_pid_of_a_shell,
    no_child,
    host_trees_are_bound,
    mounts_stay_private,
    bind,
    bind_of_a_file,
    order_is_the_order_of_mounts,
    umask_and_limits_are_the_callers,
    session_is_the_callers,
    signals_are_the_callers,
    nested,
    from_a_chroot,
    unprivileged,
    long_command_lines,
    everything_together,
];

fn same_pid() -> TestResult {
    let running = Pod::fly(roots::probe())
        .probe_command(["report", "pid", "ppid"])
        .start();
    let pid = running.pid();
    let report = running.finish().report();
    report
        .is("pid", &pid.to_string())
        .is("ppid", &std::process::id().to_string());
    Ok(())
}

fn same_pid_of_a_shell() -> TestResult {
    let root = roots::busybox()?;
    let running = Pod::fly(&root)
        .command(["/bin/sh", "-c", "echo $$"])
        .start();
    let pid = running.pid();
    running.finish().code(0).printed(&format!("{pid}\n"));
    Ok(())
}

fn no_child() -> TestResult {
    let before = kickstage_tests::isolate::processes().len();
    let output = Pod::fly(roots::probe()).probe(["processes"]);
    output.code(0);
    assert_eq!(
        output.stdout.lines().count(),
        before + 1,
        "{}",
        output.stdout
    );
    Ok(())
}

/// The host's /dev, /proc and /sys, with all that is mounted below.
fn host_trees_are_bound() -> TestResult {
    let root = roots::probe();
    for path in ["/dev", "/proc", "/sys", "/dev/null"] {
        let host = fs::metadata(path).expect("a file");
        let output = Pod::fly(&root).probe(["stat", path]);
        output.code(0).has(&format!("ino={}\n", host.ino()));
    }
    let report = Pod::fly(&root).probe(["report", "mount"]).report();
    let seen: Vec<String> = report
        .mounts()
        .into_iter()
        .map(|mount| mount.target)
        .collect();
    let host = Report::new(&Run::ours("probe").args(["report", "mount"]).output().stdout);
    for mount in host.mounts() {
        let below = ["/dev", "/proc", "/sys"]
            .iter()
            .any(|top| mount.target.starts_with(top));
        assert!(
            !below || seen.contains(&mount.target),
            "{} is missing",
            mount.target
        );
    }
    Ok(())
}

fn mounts_stay_private() -> TestResult {
    let root = roots::probe();
    let report = Pod::fly(&root)
        .options(["--tmpfs", "/tmp"])
        .probe(["report", "mount"])
        .report();
    for mount in report.mounts() {
        assert!(!mount.propagation.contains("shared"), "{mount:?}");
    }
    Ok(())
}

fn bind() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    fs::write(source.join("mark"), "here").expect("a file");
    let source = source.to_str().expect("UTF-8");
    let pod = Pod::fly(&root).options(["--bind", source, "/rw", "--ro-bind", source, "/ro"]);
    let script = [
        "create", "/rw/new", ",", "create", "/ro/new2", ",", "read", "/ro/mark", ",", "unlink",
        "/rw/new",
    ];
    pod.probe(script)
        .code(1)
        .has("create /rw/new: ok")
        .has("create /ro/new2: EROFS")
        .has("here")
        .has("unlink /rw/new: ok");
    Ok(())
}

fn bind_of_a_file() -> TestResult {
    let (root, source) = (roots::probe(), roots::fresh("file"));
    fs::write(&source, "here").expect("a file");
    let source = source.to_str().expect("UTF-8");
    let pod = Pod::fly(&root).options([
        "--ro-bind",
        source,
        "/new/file",
        "--bind",
        source,
        "/etc/group",
    ]);
    pod.probe([
        "read",
        "/new/file",
        ",",
        "read",
        "/etc/group",
        ",",
        "open",
        "/new/file",
        "w",
    ])
    .code(1)
    .has("herehere")
    .has("EROFS");
    Ok(())
}

fn order_is_the_order_of_mounts() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    fs::write(source.join("mark"), "here").expect("a file");
    let source = source.to_str().expect("UTF-8");
    let later = Pod::fly(&root).options(["--tmpfs", "/tmp", "--bind", source, "/tmp/in"]);
    later
        .probe(["read", "/tmp/in/mark"])
        .code(0)
        .printed("here");
    let covered = Pod::fly(&root).options(["--bind", source, "/tmp/in", "--tmpfs", "/tmp"]);
    covered
        .probe(["read", "/tmp/in/mark"])
        .code(1)
        .printed("read /tmp/in/mark: ENOENT\n");
    Ok(())
}

fn umask_and_limits_are_the_callers() -> TestResult {
    let output = Pod::fly(roots::probe())
        .probe_command(["report", "umask", ",", "limits"])
        .hook(|| {
            sys::mask(0o027);
            sys::limit(libc::RLIMIT_NOFILE, 77)
        })
        .output();
    output.code(0).has("umask=027\n").has("nofile=77:77\n");
    Ok(())
}

fn session_is_the_callers() -> TestResult {
    let own = Run::ours("probe")
        .args(["report", "sid", "pgid"])
        .output()
        .stdout;
    Pod::fly(roots::probe())
        .probe(["report", "sid", "pgid"])
        .code(0)
        .printed(&own);
    Ok(())
}

/// As with chroot: what the caller ignores stays ignored (nohup).
fn signals_are_the_callers() -> TestResult {
    let report = Pod::fly(roots::probe())
        .probe_command(["report", "SigIgn", "SigBlk"])
        .hook(|| sys::ignore(libc::SIGHUP))
        .output()
        .report();
    // GNU make leaves signal 32, one of glibc's own, ignored. SIGPIPE is ignored
    // by this program, and not by what it starts.
    let pipe = 1 << (libc::SIGPIPE - 1);
    let ignored = fs::read_to_string("/proc/self/status").expect("a file");
    let ignored = ignored
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:\t"))
        .and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .expect("a mask");
    report
        .is("SigIgn", &format!("{:016x}", (ignored & !pipe) | 1))
        .is("SigBlk", "0000000000000000");
    Ok(())
}

fn nested() -> TestResult {
    let (outer, inner) = (roots::probe(), roots::probe());
    fs::copy(
        kickstage_tests::command::program("fly"),
        outer.join("bin/fly"),
    )
    .expect("a copy");
    let inner = inner.to_str().expect("UTF-8");
    let pod = Pod::fly(&outer).options(["--bind", inner, "/inner"]);
    // A chroot's root is no mount point, so its mounts can't be made private.
    pod.run(["/bin/fly", "/inner", "/bin/probe", "exit", "5"])
        .refused(&["private", "chroot"]);
    Ok(())
}

/// A caller whose own root is no mount point.
fn from_a_chroot() -> TestResult {
    let root = roots::probe();
    let inner = root.join("inner");
    fs::create_dir_all(inner.join("bin")).expect("a directory");
    fs::copy(root.join("bin/probe"), inner.join("bin/probe")).expect("a copy");
    fs::copy(
        kickstage_tests::command::program("fly"),
        root.join("bin/fly"),
    )
    .expect("a copy");
    let command = Run::ours("probe");
    let root = root.to_str().expect("UTF-8");
    // Not even /proc is there: the directories are, empty.
    let output = command
        .args([
            "chroot",
            root,
            ",",
            "exec",
            "/bin/fly",
            "/inner",
            "/bin/probe",
            "exit",
            "5",
        ])
        .output();
    output.code(254);
    assert!(
        output.stderr.starts_with("fly: ") && output.stderr.contains("chroot"),
        "{}",
        output.everything()
    );
    Ok(())
}

fn unprivileged() -> TestResult {
    let root = roots::probe();
    let command = Pod::fly(&root).probe_command(["exit", "0"]);
    command
        .hook(|| sys::become_user(1000, 1000))
        .output()
        .refused(&["Operation not permitted"]);
    Ok(())
}

fn long_command_lines() -> TestResult {
    let root = roots::probe();
    let words: Vec<String> = (0..100).map(|index| format!("word{index}")).collect();
    let output = Pod::fly(&root).probe(std::iter::once("echo".to_owned()).chain(words.clone()));
    output.code(0).printed(&format!("{}\n", words.join(" ")));
    Ok(())
}

fn everything_together() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    fs::write(source.join("mark"), "here").expect("a file");
    let source = source.to_str().expect("UTF-8");
    let options = [
        "--ro",
        "--tmpfs",
        "/tmp",
        "--bind",
        source,
        "/root",
        "--ro-bind",
        source,
        "/etc",
        "--chdir",
        "/root",
        "--user",
        "5:6",
        "--clearenv",
        "--setenv",
        "A",
        "1",
    ];
    let script = [
        "report",
        "cwd",
        "uid",
        "gid",
        "env",
        ",",
        "read",
        "mark",
        ",",
        "read",
        "/etc/mark",
        ",",
        "stat",
        "/tmp",
        ",",
        "create",
        "/x",
    ];
    let output = Pod::fly(&root).options(options).probe(script);
    output
        .code(1)
        .has("cwd=/root\n")
        .has("uid=5\n")
        .has("gid=6\n")
        .has("env.A=1\n")
        .has("herehere");
    output.has("create /x: EROFS\n").has("stat /tmp: type=dir");
    Ok(())
}
