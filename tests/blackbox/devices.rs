//! /dev from scratch.

use kickstage_tests::{TestResult, pod::Pod, roots, tests};

tests![
    exact_names,
    nodes,
    links,
    they_work,
    they_work_for_users,
    pts,
    shm,
    nothing_of_the_host,
    read_only_root
];

fn exact_names() -> TestResult {
    let output = Pod::new(roots::probe()).probe(["list", "/dev"]);
    output.code(0);
    let mut names: Vec<&str> = output.stdout.lines().collect();
    names.sort_unstable();
    let expected = [
        "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    assert_eq!(names, expected);
    Ok(())
}

fn nodes() -> TestResult {
    let root = roots::probe();
    for (name, device) in [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ] {
        let output = Pod::new(&root).probe(["stat", &format!("/dev/{name}")]);
        output.code(0).has(&format!(
            "type=char mode=0666 uid=0 gid=0 size=0 rdev={device} "
        ));
    }
    // Whatever the caller's umask is.
    let output = Pod::new(&root)
        .probe_command([
            "stat",
            "/dev/null",
            ",",
            "stat",
            "/dev",
            ",",
            "stat",
            "/dev/shm",
            ",",
            "report",
            "umask",
        ])
        .hook(|| {
            kickstage_tests::sys::mask(0o077);
            Ok(())
        })
        .output();
    output
        .code(0)
        .has("/dev/null: type=char mode=0666")
        .has("/dev: type=dir mode=0755")
        .has("/dev/shm: type=dir mode=01777");
    Ok(())
}

fn links() -> TestResult {
    let root = roots::probe();
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        Pod::new(&root)
            .probe(["readlink", &format!("/dev/{name}")])
            .code(0)
            .printed(&format!("{target}\n"));
    }
    Ok(())
}

const USES: [&str; 19] = [
    "write",
    "/dev/null",
    "x",
    ",",
    "read",
    "/dev/null",
    ",",
    "open",
    "/dev/zero",
    "r",
    ",",
    "open",
    "/dev/urandom",
    "rw",
    ",",
    "write",
    "/dev/full",
    "x",
    ",",
];

fn they_work() -> TestResult {
    let output = Pod::new(roots::probe()).probe(USES.into_iter().chain(["open", "/dev/tty", "rw"]));
    output
        .code(1)
        .has("write /dev/null: ok")
        .has("open /dev/zero: ok")
        .has("open /dev/urandom: ok");
    // No terminal: no controlling terminal either.
    output
        .has("write /dev/full: ENOSPC")
        .has("open /dev/tty: ENXIO");
    Ok(())
}

fn they_work_for_users() -> TestResult {
    let output =
        Pod::new(roots::probe())
            .options(["--user", "1000"])
            .probe(
                USES.into_iter()
                    .chain(["create", "/dev/shm/x", ",", "create", "/dev/x"]),
            );
    output
        .code(1)
        .has("write /dev/null: ok")
        .has("write /dev/full: ENOSPC");
    output
        .has("create /dev/shm/x: ok")
        .has("create /dev/x: EACCES");
    Ok(())
}

/// An instance of the pod's own, empty.
fn pts() -> TestResult {
    let output = Pod::new(roots::probe()).probe([
        "list",
        "/dev/pts",
        ",",
        "open",
        "/dev/ptmx",
        "rw",
        ",",
        "stat",
        "/dev/pts/ptmx",
    ]);
    output
        .code(0)
        .has("ptmx\nopen /dev/ptmx: ok\n")
        .has("type=char mode=0666")
        .has("rdev=5:2");
    Ok(())
}

fn shm() -> TestResult {
    let output = Pod::new(roots::probe()).probe([
        "stat",
        "/dev/shm",
        ",",
        "write",
        "/dev/shm/x",
        "y",
        ",",
        "list",
        "/dev/shm",
    ]);
    output.code(0).has("type=dir mode=01777").has("\nx\n");
    Ok(())
}

/// Not by name, and not by making a node.
fn nothing_of_the_host() -> TestResult {
    let script = [
        "mknod",
        "/dev/mem",
        "c",
        "1",
        "1",
        ",",
        "mknod",
        "/tmp/disk",
        "b",
        "254",
        "0",
        ",",
        "mknod",
        "/dev/kmsg",
        "c",
        "1",
        "11",
    ];
    let output = Pod::new(roots::probe()).probe(script);
    output.code(1).lacks(": ok");
    assert_eq!(
        output.stdout.matches("EPERM").count(),
        3,
        "{}",
        output.stdout
    );
    // A node that the image brings along has no effect.
    let root = roots::probe();
    kickstage_tests::sys::make_device(&root.join("node"), 1, 3).expect("a node");
    Pod::new(&root)
        .probe(["open", "/node", "w"])
        .code(1)
        .has("open /node: EACCES");
    Ok(())
}

fn read_only_root() -> TestResult {
    let script = [
        "write",
        "/dev/null",
        "x",
        ",",
        "create",
        "/dev/shm/x",
        ",",
        "create",
        "/dev/x",
    ];
    Pod::new(roots::probe())
        .flag("--readonly-rootfs")
        .probe(script)
        .code(0)
        .has("create /dev/x: ok");
    Ok(())
}
