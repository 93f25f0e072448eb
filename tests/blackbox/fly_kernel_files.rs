//! The kernel's file systems that fly mounts anew: /proc, /sys, /dev, mqueue.

use std::fs;

use kickstage_tests::{TestResult, compare, pod::Pod, report::Report, roots, sys, tests};

use super::fly_files::fly;

tests![
    new_proc,
    new_sys,
    new_dev,
    new_dev_elsewhere,
    new_dev_in_a_user_namespace,
    message_queues,
    own_places_are_not_followed,
    targets_of_the_kernel,
    minimal,
    the_hosts_dev_is_not_written,
];

/// The targets of all mounts.
fn targets(report: &Report) -> Vec<String> {
    let mounts = report.mounts().into_iter();
    mounts.map(|mount| mount.target).collect()
}

fn new_proc() -> TestResult {
    let report = fly(&["--proc", "/proc"], &["report", "mount"]).report();
    let mount = report.mount("/proc");
    assert_eq!(mount.kind, "proc");
    for option in ["rw", "nosuid", "nodev", "noexec"] {
        assert!(mount.has(option), "{mount:?}");
    }
    // The host's is not below it.
    let count = targets(&report)
        .iter()
        .filter(|path| *path == "/proc")
        .count();
    assert_eq!(count, 1, "{report:?}");
    // Elsewhere it comes in addition.
    let script = ["read", "/mnt/p/self/comm", ",", "read", "/proc/self/comm"];
    fly(&["--proc", "/mnt/p"], &script)
        .code(0)
        .printed("probe\nprobe\n");
    Ok(())
}

fn new_sys() -> TestResult {
    let report = fly(&["--sys", "/sys/"], &["report", "mount"]).report();
    let mount = report.mount("/sys");
    assert_eq!(mount.kind, "sysfs");
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(mount.has(option), "{mount:?}");
    }
    let below = targets(&report);
    assert!(
        !below.iter().any(|path| path.starts_with("/sys/")),
        "{below:?}"
    );
    Ok(())
}

const DEVICES: [(&str, &str); 6] = [
    ("null", "1:3"),
    ("zero", "1:5"),
    ("full", "1:7"),
    ("random", "1:8"),
    ("urandom", "1:9"),
    ("tty", "5:0"),
];

/// The /dev at `top` of a start with these options is one of our own.
#[track_caller]
fn is_a_dev(pod: &Pod, top: &str) {
    let output = pod.probe(["list", top]);
    output.code(0);
    let mut names: Vec<&str> = output.stdout.lines().collect();
    names.sort_unstable();
    let expected = [
        "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    assert_eq!(names, expected);
    for (name, number) in DEVICES {
        let path = format!("{top}/{name}");
        pod.probe(["stat", &path])
            .code(0)
            .has("type=char")
            .has(&format!("rdev={number}"));
    }
    let null = format!("{top}/null");
    pod.probe(["write", &null, "text", ",", "read", &null])
        .code(0)
        .has("ok");
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        let path = format!("{top}/{name}");
        pod.probe(["readlink", &path])
            .code(0)
            .printed(&format!("{target}\n"));
    }
    let (pts, shm) = (format!("{top}/pts"), format!("{top}/shm"));
    let report = pod.probe(["report", "mount"]).report();
    assert_eq!(report.mount(&pts).kind, "devpts");
    let mount = report.mount(&shm);
    assert!(mount.has("nosuid") && mount.has("nodev"), "{mount:?}");
    pod.probe(["list", &pts]).code(0).printed("ptmx\n");
    let new = format!("{shm}/new");
    pod.probe(["stat", &shm, ",", "create", &new])
        .code(0)
        .has("mode=01777");
}

fn new_dev() -> TestResult {
    let before = compare::names("/dev");
    let pod = Pod::fly(roots::probe()).options(["--dev", "/dev"]);
    is_a_dev(&pod, "/dev");
    let report = pod.probe(["report", "mount"]).report();
    let mount = report.mount("/dev");
    assert_eq!(mount.kind, "tmpfs");
    assert!(mount.has("nosuid") && mount.has("noexec"), "{mount:?}");
    assert_eq!(compare::names("/dev"), before, "the host's is as it was");
    Ok(())
}

/// Also twice, and beside the host's.
fn new_dev_elsewhere() -> TestResult {
    let pod = Pod::fly(roots::probe()).options(["--dev", "/a/dev", "--dev", "/b"]);
    is_a_dev(&pod, "/a/dev");
    is_a_dev(&pod, "/b");
    Ok(())
}

/// Makes the process root of a user namespace of its own, in which no device
/// may be made and no group tty is known.
fn become_root_of_a_user_namespace() -> std::io::Result<()> {
    sys::unshare(libc::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", "0 0 1")?;
    fs::write("/proc/self/gid_map", "0 0 1")
}

fn new_dev_in_a_user_namespace() -> TestResult {
    let command = Pod::fly(roots::probe())
        .options(["--dev", "/dev"])
        .probe_command([
            "stat",
            "/dev/null",
            ",",
            "write",
            "/dev/null",
            "x",
            ",",
            "stat",
            "/dev/urandom",
            ",",
            "list",
            "/dev/pts",
            ",",
            "create",
            "/dev/shm/x",
        ]);
    let output = command.hook(become_root_of_a_user_namespace).output();
    output
        .code(0)
        .has("rdev=1:3")
        .has("write /dev/null: ok")
        .has("rdev=1:9")
        .has("ptmx");
    Ok(())
}

fn message_queues() -> TestResult {
    let options = ["--dev", "/dev", "--mqueue", "/dev/mqueue"];
    let report = fly(&options, &["report", "mount"]).report();
    let mount = report.mount("/dev/mqueue");
    assert_eq!(mount.kind, "mqueue");
    for option in ["nosuid", "nodev", "noexec"] {
        assert!(mount.has(option), "{mount:?}");
    }
    Ok(())
}

fn own_places_are_not_followed() -> TestResult {
    for (option, name) in [("--proc", "proc"), ("--sys", "sys"), ("--dev", "dev")] {
        let (root, decoy) = (roots::probe(), roots::directory("decoy"));
        fs::remove_dir(root.join(name)).expect("a directory");
        std::os::unix::fs::symlink(&decoy, root.join(name)).expect("a link");
        Pod::fly(&root)
            .options(["--minimal", option, &format!("/{name}")])
            .probe(["exit", "0"])
            .refused(&[name, "symbolic link"]);
        assert!(compare::names(&decoy).is_empty());
    }
    Ok(())
}

fn targets_of_the_kernel() -> TestResult {
    for options in [
        &["--bind", "/etc", "/proc"][..],
        &["--bind", "/etc", "/proc/sys"],
        &["--tmpfs", "/sys"],
        &["--tmpfs", "//sys/./fs"],
        &["--ro-bind", "/etc", "/dev"],
        &["--proc", "/sys"],
        &["--sys", "/proc"],
        &["--dev", "/proc"],
        &["--proc", "/dev"],
        &["--mqueue", "/dev"],
    ] {
        let target = options.last().expect("a target");
        fly(options, &["exit", "0"]).refused(&[target, "choose another target"]);
    }
    for options in [
        &["--tmpfs", ""][..],
        &["--proc", ""],
        &["--dir", ""],
        &["--symlink", "x", ""],
        &["--remount-ro", ""],
        &["--bind", "/etc", ""],
    ] {
        fly(options, &["exit", "0"]).refused(&["it is empty"]);
    }
    Ok(())
}

fn minimal() -> TestResult {
    let root = roots::bare();
    let before = compare::tree(&root);
    let pod = Pod::fly(&root).flag("--minimal");
    let output = pod.probe(["list", "/"]);
    output.code(0).printed("bin\n");
    assert_eq!(compare::tree(&root), before, "no mount point was made");
    let report = pod
        .clone()
        .options(["--proc", "/proc"])
        .probe(["report", "mount"])
        .report();
    let seen = targets(&report);
    assert!(
        !seen
            .iter()
            .any(|path| path.starts_with("/dev") || path.starts_with("/sys")),
        "{seen:?}"
    );
    Ok(())
}

/// Mount points are made in the root, never in the host's /dev that is seen
/// there.
fn the_hosts_dev_is_not_written() -> TestResult {
    let before = compare::names("/dev");
    let root = roots::probe();
    std::os::unix::fs::symlink("/dev/through", root.join("link")).expect("a link");
    for options in [
        &["--tmpfs", "/dev/new"][..],
        &["--dir", "/dev/new"],
        &["--file", "0", "/dev/new"],
        &["--symlink", "x", "/dev/new"],
        &["--bind", "/etc/passwd", "/dev/new"],
        &["--bind", "/etc", "/link"],
        &["--dir", "/link/below"],
    ] {
        Pod::fly(&root)
            .options(options)
            .probe(["exit", "0"])
            .refused(&["host's /dev", "--dev"]);
    }
    assert_eq!(compare::names("/dev"), before);
    // Nor in what is mounted below it, but for what is mounted there for the program.
    let before = compare::names("/dev/shm");
    let name = format!("kickstage-{}", std::process::id());
    let (shared, below) = (format!("/dev/shm/{name}"), format!("/dev/shm/{name}/x"));
    std::os::unix::fs::symlink("/dev/shm", root.join("shared")).expect("a link");
    let link = format!("/shared/{name}");
    for options in [
        &["--tmpfs", &shared][..],
        &["--dir", &below],
        &["--file", "0", &shared],
        &["--symlink", "x", &shared],
        &["--bind", "/etc/passwd", &shared],
        &["--bind", "/etc", &link],
    ] {
        Pod::fly(&root)
            .options(options)
            .probe(["exit", "0"])
            .refused(&["host's /dev", "--dev"]);
        for first in [&["--tmpfs", "/dev/shm"], &["--dev", "/dev"]] {
            Pod::fly(&root)
                .options(first)
                .options(options)
                .probe(["exit", "0"])
                .code(0);
        }
    }
    assert_eq!(compare::names("/dev/shm"), before);
    // A root may be in there.
    let inside = std::path::Path::new(&shared);
    std::fs::create_dir(inside).expect("a directory");
    let done = Pod::fly(inside)
        .options(["--minimal", "--bind", root.to_str().expect("UTF-8"), &below])
        .command([&format!("{below}/bin/probe"), "exit", "0"])
        .output();
    std::fs::remove_dir_all(inside).expect("it");
    done.code(0);
    Ok(())
}
