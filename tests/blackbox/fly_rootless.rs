//! fly in user namespaces: without root, and with maps that only root may write.

use std::{fs, os::unix::fs::MetadataExt};

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    fault,
    pod::Pod,
    report::Report,
    roots, sys, tests,
};

tests![
    without_a_user_namespace,
    root_inside,
    another_user_inside,
    no_other_groups,
    everything_without_root,
    confined_with_the_hosts_processes,
    own_maps,
    maps_of_root,
    maps_without_root,
    users_of_a_map,
    bad_maps,
    maps_without_a_use,
    user_namespaces_refused,
    no_user_namespaces_allowed,
    unreadable_root,
    no_capability_outside,
];

/// The same command as user 1000.
fn unprivileged(command: Run) -> Output {
    command.hook(|| sys::become_user(1000, 1000)).output()
}

const WHO: [&str; 6] = ["report", "uid", "euid", "gid", "egid", "groups"];

fn without_a_user_namespace() -> TestResult {
    let pod = Pod::fly(roots::probe());
    unprivileged(pod.probe_command(["exit", "0"])).refused(&[
        "make new namespaces",
        "Operation not permitted",
        "--unshare-user",
    ]);
    unprivileged(pod.flag("--unshare-pid").probe_command(["exit", "0"]))
        .refused(&["make new namespaces", "--unshare-user"]);
    Ok(())
}

fn root_inside() -> TestResult {
    let pod = Pod::fly(roots::probe()).flag("--unshare-user");
    let report = unprivileged(pod.probe_command(WHO)).report();
    report.is("uid", "0").is("euid", "0").is("gid", "0");
    unprivileged(pod.probe_command([
        "read",
        "/proc/self/uid_map",
        ",",
        "read",
        "/proc/self/gid_map",
    ]))
    .code(0)
    .printed("         0       1000          1\n         0       1000          1\n");
    // The same for root: nobody else is mapped.
    pod.probe(["read", "/proc/self/uid_map"])
        .code(0)
        .printed("         0          0          1\n");
    Ok(())
}

fn another_user_inside() -> TestResult {
    for (user, uid, gid) in [
        ("1000", "1000", "1000"),
        ("7:8", "7", "8"),
        ("alice:staff", "1000", "50"),
    ] {
        let pod = Pod::fly(roots::probe()).options(["--unshare-user", "--user", user]);
        let output =
            unprivileged(pod.probe_command(["report", "uid", "euid", "gid", "egid", "CapPrm"]));
        output
            .report()
            .is("uid", uid)
            .is("euid", uid)
            .is("gid", gid)
            .is("egid", gid)
            .is("CapPrm", "0000000000000000");
    }
    Ok(())
}

/// A group that forbids something can't be dropped (CVE-2014-8989).
fn no_other_groups() -> TestResult {
    let pod = Pod::fly(roots::probe()).flag("--unshare-user");
    unprivileged(pod.probe_command(["read", "/proc/self/setgroups"]))
        .code(0)
        .printed("deny\n");
    Ok(())
}

fn everything_without_root() -> TestResult {
    let root = roots::probe();
    let pod = Pod::fly(&root).options([
        "--unshare-all",
        "--confine",
        "--die-with-parent",
        "--hostname",
        "inside",
        "--tmpfs",
        "/tmp",
    ]);
    let script = [
        "report",
        "uid",
        "pid",
        "hostname",
        "NoNewPrivs",
        "CapEff",
        "mount",
        ",",
        "create",
        "/tmp/x",
        ",",
        "read",
        "/sys/class/net/lo/flags",
        ",",
        "open",
        "/dev/null",
        "w",
        ",",
        "open",
        "/dev/tty0",
        "w",
        ",",
        "create",
        "/dev/shm/x",
        ",",
        "exit",
        "6",
    ];
    // The mount points are there: the root is somebody else's.
    let output = unprivileged(pod.probe_command(script));
    output
        .code(6)
        .quiet()
        .has("uid=0\npid=1\n")
        .has("hostname=inside\n")
        .has("NoNewPrivs=1\n")
        .has("CapEff=00000000a00425fb\n")
        .has("create /tmp/x: ok\n")
        .has("0x9\n")
        .has("open /dev/null: ok\n")
        .has("open /dev/tty0: ENOENT\n")
        .has("create /dev/shm/x: ok\n");
    // The host's own, of which no more is taken over.
    let null = Report::new(&output.stdout).mount("/dev/null");
    assert!(null.has("nosuid") && null.has("noexec"), "{null:?}");
    Ok(())
}

/// Without a network of its own, or processes: those of the host.
fn confined_with_the_hosts_processes() -> TestResult {
    let root = roots::probe();
    let pod = Pod::fly(&root).options(["--unshare-user", "--confine"]);
    let output = unprivileged(pod.probe_command([
        "report",
        "mount",
        ",",
        "open",
        "/proc/self/oom_score_adj",
        "w",
        ",",
        "create",
        "/sys/x",
    ]));
    output.code(1).has("open /proc/self/oom_score_adj: EROFS\n");
    Ok(())
}

/// One line of the own id needs nobody's help.
fn own_maps() -> TestResult {
    let pod = Pod::fly(roots::probe()).options([
        "--unshare-user",
        "--uid-map",
        "5:1000:1",
        "--gid-map",
        "6:1000:1",
    ]);
    let report = unprivileged(pod.probe_command(WHO)).report();
    report.is("uid", "5").is("gid", "6");
    Ok(())
}

const MAPS: [&str; 8] = [
    "--uid-map",
    "0:100000:1000",
    "--uid-map",
    "1000:200000:1",
    "--gid-map",
    "0:300000:1000",
    "--gid-map",
    "1000:400000:1",
];

fn maps_of_root() -> TestResult {
    let root = roots::probe();
    // Whoever is mapped owns it.
    std::os::unix::fs::chown(root.join("tmp"), Some(100_000), Some(300_000)).expect("root");
    for options in [
        &["--unshare-user"][..],
        &["--unshare-all"],
        &["--unshare-all", "--confine"],
    ] {
        let pod = Pod::fly(&root).options(MAPS).options(options);
        let script = [
            "report",
            "uid",
            "gid",
            "groups",
            "CapEff",
            ",",
            "read",
            "/proc/self/uid_map",
            ",",
            "read",
            "/proc/self/gid_map",
            ",",
            "read",
            "/proc/self/setgroups",
            ",",
            "create",
            "/tmp/new",
            ",",
            "exit",
            "4",
        ];
        let output = pod
            .probe_command(script)
            .hook(|| sys::set_groups(&[4, 24]))
            .output();
        output
            .code(4)
            .quiet()
            .has("uid=0\n")
            .has("gid=0\n")
            .has("groups=\n")
            .has("         0     100000       1000\n      1000     200000          1\n")
            .has("         0     300000       1000\n      1000     400000          1\n")
            .has("allow\n");
        let new = root.join("tmp/new");
        let status = fs::metadata(&new).expect("a file");
        assert_eq!((status.uid(), status.gid()), (100_000, 300_000));
        fs::remove_file(new).expect("a file");
    }
    Ok(())
}

fn maps_without_root() -> TestResult {
    let pod = Pod::fly(roots::probe())
        .options(MAPS)
        .flag("--unshare-user");
    unprivileged(pod.probe_command(["exit", "0"])).refused(&[
        "map ids",
        "Operation not permitted",
        "setuid",
        "newuidmap",
    ]);
    unprivileged(pod.flag("--unshare-pid").probe_command(["exit", "0"])).refused(&[
        "map ids",
        "Operation not permitted",
        "setuid",
        "newuidmap",
    ]);
    Ok(())
}

fn users_of_a_map() -> TestResult {
    let root = roots::probe();
    std::fs::write(root.join("etc/group"), "staff:x:50:alice\n").expect("a file");
    let pod = Pod::fly(&root).options(MAPS).flag("--unshare-user");
    let who = |user: &str| pod.clone().options(["--user", user]).probe(WHO);
    who("alice")
        .report()
        .is("uid", "1000")
        .is("gid", "1000")
        .is("groups", "50");
    who("1000:7")
        .report()
        .is("uid", "1000")
        .is("gid", "7")
        .is("groups", "");
    // Nobody outside is this one.
    who("2000").refused(&["set", "Invalid argument"]);
    // Root is the first, wherever it is in the map.
    let behind = ["--uid-map", "5:100000:1", "--uid-map", "0:200000:1"];
    let of_groups = ["--gid-map", "5:100000:1", "--gid-map", "0:200000:1"];
    let pod = Pod::fly(&root).flag("--unshare-user").options(behind);
    pod.options(of_groups)
        .probe(WHO)
        .report()
        .is("uid", "0")
        .is("gid", "0");
    // Without root inside it is the first.
    Pod::fly(&root)
        .options([
            "--unshare-user",
            "--uid-map",
            "3:100000:2",
            "--uid-map",
            "9:200000:1",
            "--gid-map",
            "4:100000:2",
            "--gid-map",
            "9:200000:1",
        ])
        .probe(WHO)
        .report()
        .is("uid", "3")
        .is("gid", "4");
    Ok(())
}

fn bad_maps() -> TestResult {
    let root = roots::probe();
    for bad in [
        "",
        "0",
        "0:1",
        "0:1:",
        ":0:1",
        "0:1:1:1",
        "0:1:0",
        "a:1:1",
        "0:-1:1",
        "01:1:1",
        "0 1 1",
        "0:1:4294967296",
        "4294967295:0:1",
        "0:4294967295:1",
        "1:4294967290:10",
        " 0:1:1",
    ] {
        for option in ["--uid-map", "--gid-map"] {
            Pod::fly(&root)
                .options(["--unshare-user", option, bad])
                .probe(["exit", "0"])
                .refused(&["INSIDE:OUTSIDE:COUNT"]);
        }
    }
    let with = |options: &[&str]| Pod::fly(&root).options(options).probe(["exit", "0"]);
    with(&["--unshare-user", "--uid-map", "0:5:2"]).refused(&["--gid-map"]);
    with(&["--unshare-user", "--gid-map", "0:5:2"]).refused(&["--uid-map"]);
    let mut many = vec!["--unshare-user", "--gid-map", "0:5:1"];
    many.extend(["--uid-map", "1:1:1"].repeat(64));
    with(&many).refused(&["64"]);
    // Lines that overlap are the kernel's affair.
    with(&[
        "--unshare-user",
        "--uid-map",
        "0:5:2",
        "--uid-map",
        "1:9:1",
        "--gid-map",
        "0:5:1",
    ])
    .refused(&["map ids", "Invalid argument", "overlap"]);
    Ok(())
}

fn maps_without_a_use() -> TestResult {
    let root = roots::probe();
    let with = |options: &[&str]| Pod::fly(&root).options(options).probe(["exit", "0"]);
    with(&["--uid-map", "0:5:1", "--gid-map", "0:5:1"]).refused(&["--unshare-user"]);
    with(&["--idmap-root"]).refused(&["--idmap-root", "--uid-map"]);
    with(&["--unshare-user", "--idmap-bind", "/etc", "/etc"])
        .refused(&["--idmap-bind", "--uid-map"]);
    Ok(())
}

/// As in a container whose filter forbids it.
fn user_namespaces_refused() -> TestResult {
    let root = roots::probe();
    let pod = Pod::fly(&root).flag("--unshare-user");
    pod.probe_command(["exit", "0"])
        .hook(fault::failing(&[libc::SYS_unshare], libc::EPERM))
        .output()
        .refused(&[
            "make new namespaces",
            "Operation not permitted",
            "user namespaces",
        ]);
    pod.flag("--unshare-pid")
        .probe_command(["exit", "0"])
        .hook(fault::failing(
            &[libc::SYS_clone3, libc::SYS_clone],
            libc::EPERM,
        ))
        .output()
        .refused(&[
            "make new namespaces",
            "Operation not permitted",
            "user namespaces",
        ]);
    Ok(())
}

/// The limit of a user namespace of the caller's own, so that nobody else has it.
fn no_user_namespaces_allowed() -> TestResult {
    let pod = Pod::fly(roots::probe()).flag("--unshare-user");
    pod.probe_command(["exit", "0"])
        .hook(|| {
            sys::unshare(libc::CLONE_NEWUSER)?;
            fs::write("/proc/self/uid_map", "0 0 1")?;
            fs::write("/proc/sys/user/max_user_namespaces", "0")
        })
        .output()
        .refused(&[
            "make new namespaces",
            "No space",
            "user.max_user_namespaces",
        ]);
    Ok(())
}

/// The root belongs to somebody else: the path is the caller's affair.
fn unreadable_root() -> TestResult {
    let outer = roots::directory("closed");
    let root = outer.join("root");
    fs::rename(roots::probe(), &root).expect("a directory");
    fs::set_permissions(&outer, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("a mode");
    let pod = Pod::fly(&root).flag("--unshare-user");
    unprivileged(pod.probe_command(["exit", "0"])).refused(&[
        "root",
        "Permission denied",
        "may not enter",
    ]);
    Ok(())
}

/// What root inside may not do outside.
fn no_capability_outside() -> TestResult {
    let root = roots::probe();
    let secret = roots::fresh("secret");
    fs::write(&secret, "secret").expect("a file");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("a mode");
    let pod = Pod::fly(&root).options([
        "--unshare-all",
        "--bind",
        secret.to_str().expect("UTF-8"),
        "/tmp/secret",
    ]);
    fs::write(root.join("tmp/secret"), "").expect("a file");
    let script = [
        "read",
        "/tmp/secret",
        ",",
        "mknod",
        "/tmp/null",
        "c",
        "1",
        "3",
    ];
    unprivileged(pod.probe_command(script))
        .code(1)
        .has("read /tmp/secret: EACCES\n")
        .has("mknod /tmp/null: EPERM\n");
    Ok(())
}
