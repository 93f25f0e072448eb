//! Volumes: host, empty, read-only, recursive, shared.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use kickstage_tests::{TestResult, compare, pod::Pod, report::Mount, roots, sys, tests};

tests![
    host_directory,
    single_file,
    read_only,
    read_only_covers_submounts,
    read_only_holds_against_a_remount,
    read_write_covers_submounts,
    not_recursive,
    empty,
    one_volume_at_two_places,
    nested_targets,
    order_of_mounts,
    long_form,
    missing_source,
    source_through_a_symlink,
    relative_source,
    created_parents,
    created_in_an_ephemeral_root,
    bad_volumes,
    refused_names,
    mounts_stay_inside,
    over_a_file_of_the_image,
    many,
];

/// A mount of the test's own, gone when the test ends.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(path: &Path) -> Self {
        sys::mount_tmpfs(path.to_str().expect("UTF-8"), "").expect("a tmpfs");
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        sys::unmount(self.0.to_str().expect("UTF-8")).expect("an unmount");
    }
}

fn source() -> PathBuf {
    let source = roots::directory("source");
    fs::write(source.join("mark"), "here").expect("a file");
    source
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn host_directory() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let script = ["read", "/data/mark", ",", "write", "/data/new", "text"];
    Pod::new(&root)
        .volume(&source, "/data")
        .probe(script)
        .code(0)
        .has("here")
        .has("ok");
    assert_eq!(
        fs::read_to_string(source.join("new")).expect("a file"),
        "text"
    );
    Ok(())
}

fn single_file() -> TestResult {
    let (root, source) = (roots::probe(), source());
    for target in ["/file", "/etc/passwd"] {
        let script = ["read", target, ",", "append", target, "!"];
        Pod::new(&root)
            .volume(source.join("mark"), target)
            .probe(script)
            .code(0)
            .has("here");
    }
    assert_eq!(
        fs::read_to_string(source.join("mark")).expect("a file"),
        "here!!"
    );
    let before = fs::read_to_string(root.join("etc/passwd")).expect("a file");
    assert!(
        before.starts_with("root:"),
        "the image's own file is as it was"
    );
    Ok(())
}

/// Each way to write, each with its own check in the kernel.
pub const WRITES: [&str; 21] = [
    "write",
    "/data/mark",
    "x",
    ",",
    "create",
    "/data/new",
    ",",
    "mkdir",
    "/data/dir",
    ",",
    "unlink",
    "/data/mark",
    ",",
    "chmod",
    "/data/mark",
    "777",
    ",",
    "open",
    "/data/mark",
    "w",
    ",",
];

fn read_only() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let before = compare::tree(&source);
    let short = Pod::new(&root).options(["--volume", &format!("{}:/data:ro", text(&source))]);
    let long = Pod::new(&root)
        .options([
            "--volume",
            &format!("d,kind=host,source={},readOnly=true", text(&source)),
        ])
        .options(["--mount", "volume=d,target=/data"]);
    let fly = Pod::fly(&root).options(["--ro-bind", text(&source), "/data"]);
    for pod in [short, long, fly] {
        let output = pod.probe(WRITES.into_iter().chain(["read", "/data/mark"]));
        output.code(1).lacks(": ok").has("here");
        assert_eq!(
            output.stdout.matches("EROFS").count(),
            6,
            "{}",
            output.everything()
        );
        assert_eq!(compare::tree(&source), before);
    }
    Ok(())
}

fn read_only_covers_submounts() -> TestResult {
    let (root, source) = (roots::probe(), source());
    fs::create_dir_all(source.join("sub/deep")).expect("directories");
    let _sub = Mounted::tmpfs(&source.join("sub"));
    fs::create_dir(source.join("sub/deep")).expect("a directory");
    let _deep = Mounted::tmpfs(&source.join("sub/deep"));
    let script = [
        "create",
        "/data/sub/x",
        ",",
        "create",
        "/data/sub/deep/x",
        ",",
        "create",
        "/data/x",
    ];
    let short = Pod::new(&root).options(["--volume", &format!("{}:/data:ro", text(&source))]);
    let fly = Pod::fly(&root).options(["--ro-bind", text(&source), "/data"]);
    for pod in [short, fly] {
        let output = pod.probe(script);
        output.code(1);
        assert_eq!(
            output.stdout.matches("EROFS").count(),
            3,
            "{}",
            output.everything()
        );
    }
    assert!(compare::names(source.join("sub/deep")).is_empty());
    Ok(())
}

fn read_only_holds_against_a_remount() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let script = [
        "remount-rw",
        "/data",
        ",",
        "umount",
        "/data",
        ",",
        "create",
        "/data/x",
    ];
    let output = Pod::new(&root)
        .options(["--volume", &format!("{}:/data:ro", text(&source))])
        .probe(script);
    output
        .code(1)
        .has("remount-rw /data: EPERM")
        .has("umount /data: EPERM")
        .has("create /data/x: EROFS");
    Ok(())
}

fn read_write_covers_submounts() -> TestResult {
    let (root, source) = (roots::probe(), source());
    fs::create_dir(source.join("sub")).expect("a directory");
    let _sub = Mounted::tmpfs(&source.join("sub"));
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        pod.volume(&source, "/data")
            .probe(["create", "/data/sub/x", ",", "unlink", "/data/sub/x"])
            .code(0);
    }
    Ok(())
}

fn not_recursive() -> TestResult {
    let (root, source) = (roots::probe(), source());
    fs::create_dir(source.join("sub")).expect("a directory");
    let _sub = Mounted::tmpfs(&source.join("sub"));
    fs::write(source.join("sub/secret"), "x").expect("a file");
    let pod = |recursive: &str| {
        Pod::new(&root)
            .options([
                "--volume",
                &format!("d,kind=host,source={},recursive={recursive}", text(&source)),
            ])
            .options(["--mount", "volume=d,target=/data"])
    };
    pod("true")
        .probe(["list", "/data/sub"])
        .code(0)
        .printed("secret\n");
    pod("false")
        .probe(["list", "/data/sub"])
        .code(0)
        .printed("");
    Ok(())
}

fn empty() -> TestResult {
    let root = roots::probe();
    let pod = Pod::new(&root).options([
        "--volume",
        "scratch,kind=empty",
        "--mount",
        "volume=scratch,target=/scratch",
    ]);
    let script = [
        "list",
        "/scratch",
        ",",
        "write",
        "/scratch/x",
        "y",
        ",",
        "read",
        "/scratch/x",
        ",",
        "report",
        "mount",
    ];
    for _ in 0..2 {
        let output = pod.probe(script);
        output.code(0).has("write /scratch/x: ok");
        let mount: Mount = kickstage_tests::report::Report::new(&output.stdout).mount("/scratch");
        assert_eq!(mount.kind, "tmpfs");
        assert!(mount.has("nosuid") && mount.has("nodev"), "{mount:?}");
    }
    assert!(
        compare::names(root.join("scratch")).is_empty(),
        "nothing was written into the root"
    );
    Ok(())
}

fn one_volume_at_two_places() -> TestResult {
    let (root, source) = (roots::probe(), source());
    for volume in [
        format!("d,kind=host,source={}", text(&source)),
        "d,kind=empty".to_owned(),
    ] {
        let pod = Pod::new(&root).options(["--volume", &volume]).options([
            "--mount",
            "volume=d,target=/one",
            "--mount",
            "volume=d,target=/two",
        ]);
        pod.probe(["write", "/one/shared", "text", ",", "read", "/two/shared"])
            .code(0)
            .has("text");
    }
    Ok(())
}

fn nested_targets() -> TestResult {
    let (root, outer, inner) = (roots::probe(), source(), roots::directory("inner"));
    fs::create_dir(outer.join("in")).expect("a directory");
    fs::write(inner.join("mark"), "inner").expect("a file");
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        let pod = pod.volume(&outer, "/data").volume(&inner, "/data/in");
        pod.probe(["read", "/data/mark", ",", "read", "/data/in/mark"])
            .code(0)
            .printed("hereinner");
    }
    assert!(compare::names(outer.join("in")).is_empty());
    Ok(())
}

/// The later one covers the earlier one.
fn order_of_mounts() -> TestResult {
    let (root, one, two) = (
        roots::probe(),
        roots::directory("one"),
        roots::directory("two"),
    );
    fs::write(one.join("mark"), "1").expect("a file");
    fs::write(two.join("mark"), "2").expect("a file");
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        let pod = pod.volume(&one, "/data").volume(&two, "/data");
        pod.probe(["read", "/data/mark"]).code(0).printed("2");
    }
    Ok(())
}

fn long_form() -> TestResult {
    let (root, source) = (roots::probe(), source());
    // Options of rkt's form come in any order, also after the mount.
    let pod = Pod::new(&root)
        .options(["--mount", "target=/data,volume=my-data.1"])
        .options([&format!(
            "--volume=my-data.1,source={},kind=host,readOnly=false",
            text(&source)
        )]);
    pod.probe(["read", "/data/mark", ",", "create", "/data/new"])
        .code(0)
        .has("here");
    Ok(())
}

fn missing_source() -> TestResult {
    let root = roots::probe();
    let missing = roots::fresh("missing");
    let name = text(&missing);
    Pod::new(&root)
        .volume(&missing, "/data")
        .probe(["exit", "0"])
        .refused(&[name, "No such file or directory"]);
    Pod::fly(&root)
        .volume(&missing, "/data")
        .probe(["exit", "0"])
        .refused(&[name, "No such file or directory"]);
    assert!(
        !missing.exists() && !root.join("data").exists(),
        "nothing was made"
    );
    Ok(())
}

/// On the host's side a link is followed, as everywhere on the host.
fn source_through_a_symlink() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let link = roots::fresh("link");
    symlink(&source, &link).expect("a link");
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        pod.volume(&link, "/data")
            .probe(["read", "/data/mark"])
            .code(0)
            .printed("here");
    }
    Ok(())
}

fn relative_source() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let folder = source.parent().expect("a parent").to_owned();
    let name = source.file_name().expect("a name").to_owned();
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        let command = pod
            .volume(Path::new(&name), "/data")
            .probe_command(["read", "/data/mark"]);
        command.directory(&folder).output().code(0).printed("here");
    }
    Ok(())
}

fn created_parents() -> TestResult {
    let (root, source) = (roots::probe(), source());
    for (index, pod) in [Pod::new(&root), Pod::fly(&root)].into_iter().enumerate() {
        let target = format!("/made/by{index}/a/b");
        let output = pod.volume(&source, &target).probe([
            "read",
            &format!("{target}/mark"),
            ",",
            "stat",
            "/made",
        ]);
        output
            .code(0)
            .has("here")
            .has("type=dir mode=0755 uid=0 gid=0");
    }
    Ok(())
}

fn created_in_an_ephemeral_root() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let before = compare::tree(&root);
    let pod = Pod::new(&root)
        .flag("--ephemeral")
        .volume(&source, "/a/b/c");
    pod.probe(["read", "/a/b/c/mark"]).code(0).printed("here");
    assert_eq!(compare::tree(&root), before);
    Ok(())
}

fn bad_volumes() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let source = text(&source);
    for bad in [
        "",
        ":",
        "/x",
        ":/data",
        &format!("{source}:"),
        &format!("{source}:/data:rw:x"),
        &format!("{source}:/data:nonsense"),
        "d",
        "d,",
        "d,kind=host",
        "d,kind=nonsense",
        "d,kind=empty,nonsense=1",
        "d,kind=empty,kind",
        ",kind=empty",
        &format!("d,source={source}"),
        &format!("d,kind=host,source={source},readOnly=maybe"),
        &format!("d,kind=host,source={source},recursive="),
    ] {
        let pod = Pod::new(&root).options(["--volume", bad, "--mount", "volume=d,target=/data"]);
        pod.probe(["exit", "0"]).refused(&[]);
    }
    for bad in [
        "",
        "volume=d",
        "target=/data",
        "volume=,target=/data",
        "volume=d,target=",
        "volume=d,target=/x,more=1",
    ] {
        let pod = Pod::new(&root).options(["--volume", "d,kind=empty", "--mount", bad]);
        pod.probe(["exit", "0"]).refused(&[]);
    }
    Ok(())
}

fn refused_names() -> TestResult {
    let root = roots::probe();
    let twice = [
        "--volume",
        "d,kind=empty",
        "--volume",
        "d,kind=empty",
        "--mount",
        "volume=d,target=/data",
    ];
    Pod::new(&root)
        .options(twice)
        .probe(["exit", "0"])
        .refused(&["d"]);
    let unknown = [
        "--volume",
        "d,kind=empty",
        "--mount",
        "volume=d,target=/data",
        "--mount",
        "volume=other,target=/data",
    ];
    Pod::new(&root)
        .options(unknown)
        .probe(["exit", "0"])
        .refused(&["other"]);
    // One that nobody mounts is more likely a slip than a wish.
    Pod::new(&root)
        .options(["--volume", "d,kind=empty"])
        .probe(["exit", "0"])
        .refused(&["d"]);
    Ok(())
}

/// Nothing that is mounted in the pod shows up outside, and the pod's mounts
/// do not follow later ones of the host; the runner compares the host's.
fn mounts_stay_inside() -> TestResult {
    let (root, source) = (roots::probe(), source());
    fs::create_dir(source.join("sub")).expect("a directory");
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        let report = pod
            .volume(&source, "/data")
            .probe(["report", "mount"])
            .report();
        for mount in report.mounts() {
            assert!(!mount.propagation.contains("shared"), "{mount:?}");
        }
    }
    let mut pod = Pod::new(&root)
        .volume(&source, "/data")
        .probe_command(["echo", "ready", ",", "line", ",", "list", "/data/sub"])
        .open_input()
        .start();
    pod.wait_for("ready");
    let late = Mounted::tmpfs(&source.join("sub"));
    fs::write(source.join("sub/late"), "").expect("a file");
    pod.send("\n");
    pod.finish().code(0).lacks("late");
    drop(late);
    Ok(())
}

fn over_a_file_of_the_image() -> TestResult {
    let (root, source) = (roots::probe(), source());
    // A directory on a file, a file on a directory: refused, both named.
    Pod::new(&root)
        .volume(&source, "/etc/passwd")
        .probe(["exit", "0"])
        .refused(&["/etc/passwd"]);
    Pod::new(&root)
        .volume(source.join("mark"), "/etc")
        .probe(["exit", "0"])
        .refused(&["/etc"]);
    Ok(())
}

fn many() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let mut pod = Pod::new(&root);
    let mut fly = Pod::fly(&root);
    for index in 0..16 {
        pod = pod.volume(&source, &format!("/v/{index}"));
        fly = fly.volume(&source, &format!("/v/{index}"));
    }
    pod.probe(["list", "/v", ",", "read", "/v/15/mark"])
        .code(0)
        .has("here");
    fly.probe(["read", "/v/0/mark", ",", "read", "/v/15/mark"])
        .code(0)
        .printed("herehere");
    Ok(())
}
