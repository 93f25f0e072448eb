//! What fly mounts and makes in a root besides binds.

use std::{
    fs,
    fs::File,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use kickstage_tests::{
    TestResult,
    command::Output,
    compare,
    fault::{MODERN, failing},
    pod::Pod,
    report::Report,
    roots, sys, tests,
};

tests![
    tmpfs_size_and_mode,
    bad_sizes_and_modes,
    modifiers_that_nothing_takes,
    new_proc,
    new_sys,
    new_dev,
    new_dev_elsewhere,
    new_dev_in_a_user_namespace,
    message_queues,
    own_places_are_not_followed,
    targets_of_the_kernel,
    minimal,
    directories,
    files_from_descriptors,
    many_files_from_descriptors,
    files_must_be_new,
    bad_descriptors,
    descriptors_are_closed,
    symbolic_links,
    remount_read_only,
    remount_of_no_mount,
    the_hosts_dev_is_not_written,
    overlay_keeps,
    overlay_of_a_read_only_root,
    overlay_on_an_overlay,
    bad_layers,
    ephemeral_vanishes,
    ephemeral_with_relative_paths,
    failures_leave_nothing,
    failures_leave_no_layer,
    modes_are_exact,
    without_newer_calls,
];

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs fly with these options and commands of the probe.
fn fly(options: &[&str], script: &[&str]) -> Output {
    Pod::fly(roots::probe()).options(options).probe(script)
}

fn tmpfs_size_and_mode() -> TestResult {
    for (size, shown) in [
        ("4096", "size=4k"),
        ("64K", "size=64k"),
        ("2M", "size=2048k"),
        ("1G", "size=1048576k"),
    ] {
        let report = fly(&["--size", size, "--tmpfs", "/tmp"], &["report", "mount"]).report();
        let mount = report.mount("/tmp");
        assert!(mount.super_options.contains(&shown.to_owned()), "{mount:?}");
        assert!(mount.has("nosuid") && mount.has("nodev"), "{mount:?}");
    }
    fly(
        &["--size", "64K", "--tmpfs", "/tmp"],
        &["fill", "/tmp/x", "100000"],
    )
    .code(1)
    .has("ENOSPC");
    let options = ["--perms", "1777", "--tmpfs", "/tmp", "--tmpfs", "/root"];
    fly(&options, &["stat", "/tmp", ",", "stat", "/root"])
        .code(0)
        .has("stat /tmp: type=dir mode=01777")
        .has("stat /root: type=dir mode=0755");
    Ok(())
}

fn bad_sizes_and_modes() -> TestResult {
    for size in ["", "0", "K", "1T", "-1", "1.5M", "99999999999G", "1 M"] {
        fly(&["--size", size, "--tmpfs", "/tmp"], &["exit", "0"]).refused(&["--size", "bytes"]);
    }
    for mode in ["", "8", "01x", "2000", "4755", "-1", "1777777"] {
        fly(&["--perms", mode, "--dir", "/x"], &["exit", "0"]).refused(&["--perms", "octal"]);
    }
    Ok(())
}

fn modifiers_that_nothing_takes() -> TestResult {
    for (options, name) in [
        (&["--size", "1M", "--dir", "/x"][..], "--size"),
        (&["--size", "1M", "--bind", "/etc", "/x"], "--size"),
        (&["--size", "1M"], "--size"),
        (&["--perms", "755", "--bind", "/etc", "/x"], "--perms"),
        (&["--perms", "755", "--symlink", "a", "/x"], "--perms"),
        (&["--perms", "755", "--dev", "/dev"], "--perms"),
        (&["--tmpfs", "/tmp", "--perms", "755"], "--perms"),
        (&["--no-recurse", "--tmpfs", "/tmp"], "--no-recurse"),
        (&["--no-recurse", "--proc", "/proc"], "--no-recurse"),
        (&["--no-recurse"], "--no-recurse"),
    ] {
        fly(options, &["exit", "0"]).refused(&[
            "option",
            name,
            "does not take it",
            "--perms is for",
        ]);
    }
    // Other options do not stand in between.
    fly(
        &["--perms", "700", "--setenv", "A", "1", "--dir", "/x"],
        &["stat", "/x"],
    )
    .code(0)
    .has("mode=0700");
    Ok(())
}

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

fn directories() -> TestResult {
    let root = roots::probe();
    let pod = Pod::fly(&root).options([
        "--dir",
        "/a/b/c",
        "--perms",
        "1700",
        "--dir",
        "/d",
        "--dir",
        "/etc",
        "--dir",
        "/tmp/../e",
    ]);
    for _ in 0..2 {
        // The second time all are there.
        pod.probe(["stat", "/a/b", ",", "stat", "/d", ",", "stat", "/e"])
            .code(0)
            .has("stat /a/b: type=dir mode=0755 uid=0 gid=0")
            .has("stat /d: type=dir mode=01700")
            .has("stat /e: type=dir mode=0755");
    }
    Pod::fly(&root)
        .options(["--dir", "/etc/passwd"])
        .probe(["exit", "0"])
        .refused(&["make directory /etc/passwd", "Not a directory"]);
    Pod::fly(&root)
        .options(["--dir", "/etc/passwd/below"])
        .probe(["exit", "0"])
        .refused(&["make directory /etc/passwd/below", "Not a directory"]);
    Ok(())
}

/// A file of the host with this text, to be read through a descriptor.
fn source(text: &str) -> File {
    let path = roots::fresh("input");
    fs::write(&path, text).expect("a file");
    File::open(path).expect("a file")
}

fn files_from_descriptors() -> TestResult {
    let root = roots::probe();
    let large = "0123456789abcdef".repeat(5000);
    let input = source(&large);
    let pod = Pod::fly(&root).options([
        "--file",
        "7",
        "/new/large",
        "--perms",
        "600",
        "--file",
        "0",
        "/tmp/piped",
    ]);
    let command = pod.probe_command([
        "stat",
        "/new/large",
        ",",
        "stat",
        "/tmp/piped",
        ",",
        "read",
        "/tmp/piped",
        ",",
        "report",
        "fd",
    ]);
    let output = command
        .input("from a pipe")
        .hook(move || sys::duplicate_onto(&input, 7))
        .output();
    output
        .code(0)
        .has("stat /new/large: type=file mode=0644 uid=0 gid=0 size=80000")
        .has("stat /tmp/piped: type=file mode=0600")
        .has("from a pipe")
        .lacks("fd.7=");
    assert_eq!(
        fs::read_to_string(root.join("new/large")).expect("a file"),
        large
    );
    Ok(())
}

/// Descriptors between those that are read are closed, whatever the order.
fn many_files_from_descriptors() -> TestResult {
    let root = roots::probe();
    let inputs: Vec<(i32, File)> = [140, 103, 190, 104, 141, 200]
        .into_iter()
        .map(|number| (number, source(&format!("file {number}"))))
        .collect();
    let directory = File::open("/").expect("a directory");
    let mut pod = Pod::fly(&root);
    for (number, _) in &inputs {
        pod = pod.options(["--file", &number.to_string(), &format!("/tmp/{number}")]);
    }
    let output = pod
        .probe_command(["report", "fd", ",", "list", "/tmp"])
        .hook(move || {
            for number in [105, 139, 142, 150, 300] {
                sys::duplicate_onto(&directory, number)?;
            }
            inputs
                .iter()
                .try_for_each(|(number, file)| sys::duplicate_onto(file, *number))
        })
        .output();
    output.code(0);
    let report = Report::new(&output.stdout);
    assert_eq!(report.below("fd").len(), 3, "{}", output.everything());
    for number in [140, 103, 190, 104, 141, 200] {
        let text = fs::read_to_string(root.join(format!("tmp/{number}"))).expect("a file");
        assert_eq!(text, format!("file {number}"));
    }
    Ok(())
}

fn files_must_be_new() -> TestResult {
    let root = roots::probe();
    std::os::unix::fs::symlink("/tmp/elsewhere", root.join("link")).expect("a link");
    let before = compare::tree(&root);
    for path in ["/etc/passwd", "/link", "/etc"] {
        Pod::fly(&root)
            .options(["--file", "0", path])
            .probe_command(["exit", "0"])
            .input("text")
            .output()
            .refused(&["make file", path, "File exists", "--tmpfs"]);
    }
    for path in ["/", "/etc/..", "."] {
        Pod::fly(&root)
            .options(["--file", "0", path])
            .probe(["exit", "0"])
            .refused(&["make file", "Is a directory"]);
    }
    assert_eq!(compare::tree(&root), before);
    Ok(())
}

fn bad_descriptors() -> TestResult {
    let root = roots::probe();
    let before = compare::tree(&root);
    for number in ["", "x", "-1", "2147483648", "99999999999999999999", "+5"] {
        Pod::fly(&root)
            .options(["--file", number, "/tmp/x"])
            .probe(["exit", "0"])
            .refused(&["descriptor", "it is no number"]);
    }
    // Not open, and what can't be read.
    Pod::fly(&root)
        .options(["--file", "77", "/tmp/x"])
        .probe(["exit", "0"])
        .refused(&["/tmp/x", "Bad file descriptor", "open it for reading"]);
    let directory = File::open("/").expect("a directory");
    Pod::fly(&root)
        .options(["--file", "9", "/new/x"])
        .probe_command(["exit", "0"])
        .hook(move || sys::duplicate_onto(&directory, 9))
        .output()
        .refused(&["/new/x", "Is a directory"]);
    assert_eq!(compare::tree(&root), before, "nothing is left");
    Ok(())
}

/// A start that fails, or whose program looks, has no descriptor of a directory
/// (CVE-2024-21626).
fn descriptors_are_closed() -> TestResult {
    let input = source("text");
    let output = Pod::fly(roots::probe())
        .options(["--ro", "--tmpfs", "/tmp", "--file", "8", "/tmp/x"])
        .probe_command(["report", "fd"])
        .hook(move || sys::duplicate_onto(&input, 8))
        .output();
    let report = output.report();
    let numbers: Vec<&str> = report
        .below("fd")
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    assert_eq!(numbers, ["0", "1", "2"]);
    Ok(())
}

fn symbolic_links() -> TestResult {
    let root = roots::probe();
    let options = [
        "--symlink",
        "/etc/passwd",
        "/new/link",
        "--symlink",
        "../no/where",
        "/tmp/dangling",
        "--symlink",
        "usr",
        "/lib64/",
    ];
    let pod = Pod::fly(&root).options(options);
    for _ in 0..2 {
        // The second time they are there, as asked for.
        pod.probe([
            "readlink",
            "/new/link",
            ",",
            "readlink",
            "/tmp/dangling",
            ",",
            "readlink",
            "/lib64",
        ])
        .code(0)
        .printed("/etc/passwd\n../no/where\nusr\n");
    }
    for (target, path) in [("other", "/new/link"), ("x", "/etc"), ("x", "/etc/passwd")] {
        Pod::fly(&root)
            .options(["--symlink", target, path])
            .probe(["exit", "0"])
            .refused(&["make link", path, "File exists"]);
    }
    Ok(())
}

fn remount_read_only() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    fs::create_dir(source.join("sub")).expect("a directory");
    let options = [
        "--bind",
        text(&source),
        "/data",
        "--tmpfs",
        "/data/sub",
        "--remount-ro",
        "/data",
        "--remount-ro",
        "/sys",
        "--tmpfs",
        "/tmp",
        "--dir",
        "/tmp/kept",
        "--remount-ro",
        "/tmp",
    ];
    let script = [
        "create",
        "/data/x",
        ",",
        "create",
        "/data/sub/x",
        ",",
        "create",
        "/tmp/x",
        ",",
        "list",
        "/tmp",
    ];
    let pod = Pod::fly(&root).options(options);
    pod.probe(script)
        .code(1)
        .has("create /data/x: EROFS")
        .has("create /data/sub/x: ok")
        .has("create /tmp/x: EROFS")
        .has("kept");
    let report = pod.probe(["report", "mount"]).report();
    assert!(report.mount("/sys").has("ro"));
    // The other attributes stay, and the host's mounts are as they were.
    assert!(report.mount("/data").has("nodev"));
    fs::write(source.join("x"), "").expect("the host may write");
    Ok(())
}

fn remount_of_no_mount() -> TestResult {
    for path in ["/etc", "/etc/passwd", "/"] {
        fly(&["--remount-ro", path], &["exit", "0"]).refused(&[
            "make read-only",
            path,
            "nothing mounted",
            "--ro",
        ]);
    }
    fly(&["--remount-ro", "/not/there"], &["exit", "0"])
        .refused(&["/not/there", "No such file or directory"]);
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
    Ok(())
}

fn overlay_keeps() -> TestResult {
    let (root, layer) = (roots::probe(), roots::fresh("layer"));
    fs::write(root.join("etc/mark"), "lower").expect("a file");
    let before = compare::tree(&root);
    let pod = Pod::fly(&root).options(["--overlay", text(&layer)]);
    pod.probe([
        "write",
        "/new",
        "kept",
        ",",
        "write",
        "/etc/mark",
        "upper",
        ",",
        "unlink",
        "/etc/group",
        ",",
        "stat",
        "/",
    ])
    .code(0)
    .has("mode=0755 uid=0 gid=0");
    pod.probe([
        "read",
        "/new",
        ",",
        "read",
        "/etc/mark",
        ",",
        "open",
        "/etc/group",
        "r",
    ])
    .code(1)
    .has("keptupper")
    .has("ENOENT");
    assert_eq!(compare::tree(&root), before, "the root is as it was");
    assert_eq!(compare::names(&layer), ["upper", "work"]);
    let new = fs::read_to_string(layer.join("upper/new")).expect("a file");
    assert_eq!(new, "kept");
    // Without the layer nothing of it is seen.
    Pod::fly(&root)
        .probe(["read", "/etc/mark"])
        .code(0)
        .printed("lower");
    // The root's owner and mode are seen, and odd names are no options.
    fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).expect("a mode");
    let odd = roots::directory("odd:,\\ name");
    let pod = Pod::fly(&root).options(["--overlay", text(&odd)]);
    pod.probe(["stat", "/"]).code(0).has("mode=0711");
    assert_eq!(
        fs::metadata(odd.join("upper")).expect("a directory").mode() & 0o7777,
        0o711
    );
    Ok(())
}

fn overlay_of_a_read_only_root() -> TestResult {
    let (root, layer) = (roots::probe(), roots::directory("layer"));
    let pod = Pod::fly(&root).options(["--ro", "--overlay", text(&layer), "--tmpfs", "/tmp"]);
    pod.probe(["create", "/x", ",", "create", "/tmp/x"])
        .code(1)
        .has("create /x: EROFS")
        .has("create /tmp/x: ok");
    Ok(())
}

fn overlay_on_an_overlay() -> TestResult {
    // A directory whose file system is an overlay: that of an outer start.
    let (outer, layer) = (roots::probe(), roots::directory("layer"));
    fs::copy(
        kickstage_tests::command::program("fly"),
        outer.join("bin/fly"),
    )
    .expect("a copy");
    for name in ["inner/bin", "layer", "old"] {
        fs::create_dir_all(outer.join(name)).expect("a directory");
    }
    fs::copy(outer.join("bin/probe"), outer.join("inner/bin/probe")).expect("a copy");
    let merged = roots::directory("merged");
    let data = format!(
        "lowerdir={},upperdir={},workdir={}",
        outer.display(),
        layer.join("u").display(),
        layer.join("w").display()
    );
    for name in ["u", "w"] {
        fs::create_dir(layer.join(name)).expect("a directory");
    }
    sys::mount("overlay", text(&merged), "overlay", &data).expect("an overlay");
    let inner = merged.join("inner");
    let refused = Pod::fly(&inner)
        .options(["--minimal", "--overlay", text(&merged.join("layer"))])
        .probe(["exit", "0"]);
    let kept = compare::names(merged.join("layer"));
    // Its lower part may be one, and memory always serves.
    let works = Pod::fly(&inner)
        .options(["--minimal", "--ephemeral"])
        .probe(["exit", "7"]);
    sys::unmount(text(&merged)).expect("an unmount");
    refused.refused(&["layer", "can't be on an overlay", "--ephemeral"]);
    works.code(7);
    assert!(kept.is_empty(), "what was made is gone: {kept:?}");
    Ok(())
}

fn bad_layers() -> TestResult {
    let root = roots::probe();
    let before = compare::tree(&root);
    let file = roots::fresh("file");
    fs::write(&file, "").expect("a file");
    let missing = roots::fresh("missing").join("deeper");
    for (directory, words) in [
        (text(&file), &["Not a directory"][..]),
        (
            text(&missing),
            &["make directory", "No such file or directory"],
        ),
        ("/proc", &["/proc"]),
    ] {
        Pod::fly(&root)
            .options(["--overlay", directory])
            .probe(["exit", "0"])
            .refused(&[&[directory], words].concat());
    }
    // The root is in the layer.
    let layer = roots::directory("layer");
    let inside = layer.join("upper/root");
    fs::create_dir_all(inside.join("bin")).expect("directories");
    Pod::fly(&inside)
        .options(["--minimal", "--overlay", text(&layer)])
        .probe(["exit", "0"])
        .refused(&[text(&layer), "must not be in each other"]);
    Pod::fly(&root)
        .options(["--overlay", "/tmp", "--ephemeral"])
        .probe(["exit", "0"])
        .refused(&["--ephemeral", "--overlay"]);
    assert_eq!(compare::tree(&root), before);
    Ok(())
}

fn ephemeral_vanishes() -> TestResult {
    let root = roots::probe();
    let before = compare::tree(&root);
    let pod = Pod::fly(&root).options(["--ephemeral", "--dir", "/a/b", "--tmpfs", "/c/d"]);
    for _ in 0..2 {
        let script = [
            "create", "/new", ",", "create", "/etc/new", ",", "stat", "/a/b",
        ];
        pod.probe(script).code(0);
    }
    assert_eq!(compare::tree(&root), before);
    Ok(())
}

/// The layer is made elsewhere: paths of the host stay relative to where the
/// caller is, also where they go up, whatever the root is named.
fn ephemeral_with_relative_paths() -> TestResult {
    let (root, layer) = (roots::probe(), roots::directory("layer"));
    let source = roots::directory("source");
    fs::write(source.join("mark"), "here").expect("a file");
    let folder = source.parent().expect("a parent");
    let name = |path: &Path| {
        path.file_name()
            .expect("a name")
            .to_str()
            .expect("UTF-8")
            .to_owned()
    };
    for mode in [
        vec!["--ephemeral".to_owned()],
        vec!["--ro".to_owned()],
        vec!["--overlay".to_owned(), format!("../{}", name(&layer))],
    ] {
        let pod = Pod::fly(format!("../{}", name(&root)))
            .options(&mode)
            .options([
                "--bind",
                ".",
                "/tmp",
                "--ro-bind",
                &format!("../{}/mark", name(&source)),
                "/etc/passwd",
            ]);
        let command = pod.probe_command(["read", "/tmp/mark", ",", "read", "/etc/passwd"]);
        command
            .directory(&source)
            .output()
            .code(0)
            .printed("herehere");
    }
    assert!(folder.join(name(&layer)).join("upper").is_dir());
    Ok(())
}

fn failures_leave_nothing() -> TestResult {
    let root = roots::probe();
    let before = compare::tree(&root);
    let options = [
        "--dir",
        "/a/b",
        "--perms",
        "700",
        "--dir",
        "/a/c",
        "--symlink",
        "x",
        "/a/link",
        "--file",
        "0",
        "/a/b/file",
        "--tmpfs",
        "/a/b/t",
        "--dir",
        "/a/b/t/in",
        "--bind",
        "/etc/passwd",
        "/a/f",
        "--dev",
        "/d/dev",
        "--proc",
        "/d/proc",
        "--sys",
        "/d/sys",
    ];
    let pod = Pod::fly(&root).options(options);
    let failing = pod.clone().options(["--bind", "/not/there", "/e"]);
    failing
        .probe_command(["exit", "0"])
        .input("")
        .output()
        .refused(&["/not/there"]);
    assert_eq!(compare::tree(&root), before);
    // The program is the last that can fail.
    pod.command(["/bin/none"])
        .input("")
        .output()
        .refused(&["/bin/none"]);
    assert_eq!(compare::tree(&root), before);
    Ok(())
}

fn failures_leave_no_layer() -> TestResult {
    let (root, layer) = (roots::probe(), roots::fresh("layer"));
    let slashes = format!("{}//", layer.display());
    for directory in [text(&layer), &slashes] {
        Pod::fly(&root)
            .options(["--overlay", directory, "--dir", "/new", "--tmpfs", "/more"])
            .run(["/bin/none"])
            .refused(&["/bin/none"]);
        assert!(!layer.exists(), "{:?}", compare::names(&layer));
    }
    // What was there before stays.
    fs::create_dir(&layer).expect("a directory");
    Pod::fly(&root)
        .options(["--overlay", text(&layer)])
        .run(["/bin/none"])
        .refused(&["/bin/none"]);
    assert!(layer.exists() && compare::names(&layer).is_empty());
    Ok(())
}

/// Whatever the caller's umask is, which the program gets unchanged.
fn modes_are_exact() -> TestResult {
    let root = roots::probe();
    let output = Pod::fly(&root)
        .options([
            "--dir", "/made/a", "--perms", "1777", "--dir", "/made/b", "--file", "0", "/made/c",
            "--perms", "666", "--file", "0", "/made/d",
        ])
        .probe_command([
            "stat", "/made", ",", "stat", "/made/a", ",", "stat", "/made/b", ",", "stat",
            "/made/c", ",", "stat", "/made/d", ",", "report", "umask",
        ])
        .hook(|| {
            sys::mask(0o077);
            Ok(())
        })
        .output();
    for line in [
        "stat /made: type=dir mode=0755",
        "stat /made/a: type=dir mode=0755",
        "stat /made/b: type=dir mode=01777",
        "stat /made/c: type=file mode=0644",
        "stat /made/d: type=file mode=0666",
        "umask=077",
    ] {
        output.code(0).has(line);
    }
    Ok(())
}

/// As on a kernel that lacks the newer calls, and under a filter that refuses
/// them.
fn without_newer_calls() -> TestResult {
    let source = roots::directory("source");
    fs::create_dir(source.join("sub")).expect("a directory");
    fs::write(source.join("mark"), "here").expect("a file");
    let options = [
        "--ephemeral",
        "--dir",
        "/new/a",
        "--file",
        "9",
        "/new/b",
        "--symlink",
        "b",
        "/new/c",
        "--ro-bind",
        text(&source),
        "/data",
        "--bind",
        text(&source),
        "/rw",
        "--remount-ro",
        "/rw",
        "--dev",
        "/dev",
        "--bind-try",
        "/not/there",
        "/none",
    ];
    let script = [
        "create",
        "/data/x",
        ",",
        "create",
        "/rw/x",
        ",",
        "read",
        "/new/c",
        ",",
        "stat",
        "/dev/null",
        ",",
        "report",
        "fd",
        ",",
        "list",
        "/new",
        ",",
        "open",
        "/none",
        "r",
    ];
    let mut sets: Vec<Vec<i64>> = MODERN.iter().map(|(_, call)| vec![*call]).collect();
    sets.push(sets.concat());
    for calls in sets {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let (input, directory) = (source_file(), File::open("/").expect("a directory"));
            let filter = std::sync::Mutex::new(failing(&calls, errno));
            let output = Pod::fly(roots::probe())
                .options(options)
                .probe_command(script)
                .hook(move || {
                    sys::duplicate_onto(&input, 9)?;
                    sys::duplicate_onto(&directory, 8)?;
                    sys::duplicate_onto(&directory, 10)?;
                    filter.lock().expect("no panic")()
                })
                .output();
            output
                .code(1)
                .has("create /data/x: EROFS")
                .has("create /rw/x: EROFS")
                .has("from a file")
                .has("rdev=1:3")
                .has("open /none: ENOENT");
            let report = Report::new(&output.stdout);
            assert_eq!(report.below("fd").len(), 3, "{}", output.everything());
        }
    }
    Ok(())
}

fn source_file() -> File {
    source("from a file")
}
