//! Mounts of fly whose ids are mapped: on a file system of this machine that can.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::Path,
};

use kickstage_tests::{TestResult, pod::Pod, roots, sys, tests};

tests![
    root_of_a_user_namespace,
    root_without_one,
    binds,
    too_many_binds,
    file_systems_that_cannot,
    without_root,
    nothing_is_left_of_a_failure,
];

const MAPS: [&str; 4] = ["--uid-map", "0:100000:65536", "--gid-map", "0:100000:65536"];

/// The ids of a file on disk.
fn owner(path: &Path) -> (u32, u32) {
    let status = fs::metadata(path).expect("a file");
    (status.uid(), status.gid())
}

/// Files of root's are those of root inside.
fn root_of_a_user_namespace() -> TestResult {
    let root = roots::probe();
    for options in [
        &["--unshare-user"][..],
        &["--unshare-all", "--confine"],
        &["--unshare-pid", "--unshare-user", "--ro", "--tmpfs", "/tmp"],
    ] {
        let pod = Pod::fly(&root)
            .options(MAPS)
            .flag("--idmap-root")
            .options(options);
        let script = [
            "stat",
            "/bin/probe",
            ",",
            "report",
            "uid",
            "mount",
            ",",
            "create",
            "/tmp/new",
        ];
        let output = pod.probe(script);
        output
            .code(0)
            .has("uid=0 gid=0")
            .has("create /tmp/new: ok\n");
        if fs::exists(root.join("tmp/new")).expect("a directory") {
            assert_eq!(owner(&root.join("tmp/new")), (0, 0));
            fs::remove_file(root.join("tmp/new")).expect("a file");
        }
    }
    Ok(())
}

/// Without a user namespace the files just seem to be somebody else's.
fn root_without_one() -> TestResult {
    let root = roots::probe();
    let pod = Pod::fly(&root).flag("--idmap-root").options([
        "--uid-map",
        "0:5:1",
        "--uid-map",
        "7:0:1",
        "--gid-map",
        "0:6:1",
        "--gid-map",
        "7:0:1",
    ]);
    pod.probe(["stat", "/bin/probe", ",", "create", "/tmp/new"])
        .code(0)
        .has("uid=5 gid=6");
    // What the host's root makes is whose ids are mapped to root's.
    assert_eq!(owner(&root.join("tmp/new")), (7, 7));
    Ok(())
}

fn binds() -> TestResult {
    let (root, one, other) = (
        roots::probe(),
        roots::directory("one"),
        roots::directory("other"),
    );
    fs::write(one.join("mark"), "1").expect("a file");
    fs::write(other.join("mark"), "2").expect("a file");
    chown(other.join("mark"), Some(3), Some(4)).expect("root");
    let (one, other) = (one.to_str().expect("UTF-8"), other.to_str().expect("UTF-8"));
    let options = [
        "--idmap-bind",
        one,
        "/one",
        "--tmpfs",
        "/tmp",
        "--idmap-bind",
        other,
        "/tmp/other",
    ];
    let script = [
        "read",
        "/one/mark",
        ",",
        "read",
        "/tmp/other/mark",
        ",",
        "stat",
        "/one/mark",
        ",",
        "stat",
        "/tmp/other/mark",
    ];
    let pod = Pod::fly(&root).options(MAPS).options(options);
    pod.probe(script)
        .code(0)
        .has("12")
        .has("uid=100000 gid=100000")
        .has("uid=100003 gid=100004");
    chown(root.join("tmp"), Some(100_000), Some(100_000)).expect("root");
    pod.options(["--unshare-user", "--idmap-root"])
        .probe(script)
        .code(0)
        .has("12")
        .has("uid=0 gid=0")
        .has("uid=3 gid=4");
    Ok(())
}

fn too_many_binds() -> TestResult {
    let root = roots::probe();
    let pod = |count: usize| {
        let binds = ["--idmap-bind", "/etc", "/tmp/x"].repeat(count);
        Pod::fly(&root)
            .options(MAPS)
            .options(binds)
            .probe(["exit", "3"])
    };
    pod(12).code(3);
    pod(13).refused(&["--idmap-bind", "12"]);
    Ok(())
}

fn file_systems_that_cannot() -> TestResult {
    let root = roots::probe();
    Pod::fly(&root)
        .options(MAPS)
        .options(["--idmap-bind", "/proc", "/tmp/x"])
        .probe(["exit", "0"])
        .refused(&["map ids", "/proc", "can't map ids"]);
    Pod::fly(&root)
        .options(MAPS)
        .options(["--idmap-bind", "/no/such", "/tmp/x"])
        .probe(["exit", "0"])
        .refused(&["/no/such", "No such file"]);
    Ok(())
}

fn without_root() -> TestResult {
    let pod = Pod::fly(roots::probe()).flag("--idmap-root").options([
        "--unshare-user",
        "--uid-map",
        "0:1000:1",
        "--gid-map",
        "0:1000:1",
    ]);
    let output = pod
        .probe_command(["exit", "0"])
        .hook(|| sys::become_user(1000, 1000))
        .output();
    output.refused(&["Operation not permitted", "needs root"]);
    Ok(())
}

fn nothing_is_left_of_a_failure() -> TestResult {
    let root = roots::bare();
    Pod::fly(&root)
        .options(MAPS)
        .options([
            "--idmap-root",
            "--unshare-all",
            "--tmpfs",
            "/a/b",
            "--chdir",
            "/no",
        ])
        .probe(["exit", "0"])
        .refused(&["/no"]);
    let left = fs::read_dir(&root).expect("a directory").count();
    assert_eq!(left, 1, "more than bin is in the root");
    Ok(())
}
