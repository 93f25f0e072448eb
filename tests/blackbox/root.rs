//! The root: written through, read-only, ephemeral; tmpfs; odd root paths.

use std::{fs, os::unix::fs::symlink, path::Path};

use kickstage_tests::{TestResult, compare, pod::Pod, report::Report, roots, sys, tests};

tests![
    written_through,
    read_only,
    read_only_of_fly,
    ephemeral,
    ephemeral_and_read_only,
    ephemeral_on_a_read_only_file_system,
    parallel_ephemeral_pods,
    tmpfs,
    tmpfs_of_fly,
    bad_tmpfs,
    through_a_symlink,
    relative,
    the_hosts_own,
    mount_points_are_created,
    mounts_of_the_root_are_seen,
    cannot_be_left,
    large_tree,
];

fn written_through() -> TestResult {
    let root = roots::probe();
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        pod.probe(["write", "/etc/new", "text", ",", "unlink", "/tmp/x"])
            .code(1)
            .has("write /etc/new: ok");
        assert_eq!(
            fs::read_to_string(root.join("etc/new")).expect("a file"),
            "text"
        );
        fs::remove_file(root.join("etc/new")).expect("a file");
    }
    Ok(())
}

const WRITES: [&str; 11] = [
    "create",
    "/new",
    ",",
    "write",
    "/etc/passwd",
    "x",
    ",",
    "mkdir",
    "/etc/dir",
    ",",
    "remount-rw",
];

fn read_only() -> TestResult {
    let root = roots::probe();
    let before = compare::tree(&root);
    let output = Pod::new(&root)
        .flag("--readonly-rootfs")
        .probe(WRITES.into_iter().chain(["/", ",", "report", "mount"]));
    output.code(1).lacks(": ok").has("remount-rw /: EPERM");
    assert_eq!(
        output.stdout.matches("EROFS").count(),
        3,
        "{}",
        output.stdout
    );
    assert!(Report::new(&output.stdout).mount("/").has("ro"));
    assert_eq!(compare::tree(&root), before);
    // What is mounted on it can be written.
    let source = roots::directory("source");
    Pod::new(&root)
        .flag("--readonly-rootfs")
        .options(["--tmpfs", "/tmp"])
        .volume(&source, "/root")
        .probe([
            "create",
            "/tmp/x",
            ",",
            "create",
            "/root/x",
            ",",
            "create",
            "/dev/shm/x",
        ])
        .code(0);
    Ok(())
}

fn read_only_of_fly() -> TestResult {
    let root = roots::probe();
    let before = compare::tree(&root);
    let pod = Pod::fly(&root).flag("--ro").options(["--tmpfs", "/tmp"]);
    let output = pod.probe([
        "create", "/new", ",", "mkdir", "/etc/dir", ",", "create", "/tmp/x",
    ]);
    output
        .code(1)
        .has("create /new: EROFS")
        .has("mkdir /etc/dir: EROFS")
        .has("create /tmp/x: ok");
    assert_eq!(compare::tree(&root), before);
    Ok(())
}

fn ephemeral() -> TestResult {
    let root = roots::probe();
    let before = compare::tree(&root);
    let script = [
        "write",
        "/etc/passwd",
        "changed",
        ",",
        "create",
        "/new",
        ",",
        "unlink",
        "/etc/group",
        ",",
        "mkdir",
        "/bin/dir",
        ",",
        "read",
        "/etc/passwd",
        ",",
        "rename",
        "/bin/dir",
        "/bin/dir2",
        ",",
        "chmod",
        "/tmp",
        "700",
    ];
    for _ in 0..2 {
        Pod::new(&root)
            .flag("--ephemeral")
            .probe(script)
            .code(0)
            .has("changed");
        assert_eq!(compare::tree(&root), before);
    }
    Ok(())
}

fn ephemeral_and_read_only() -> TestResult {
    let root = roots::probe();
    let output = Pod::new(&root)
        .options(["--ephemeral", "--readonly-rootfs"])
        .probe(["create", "/new"]);
    output.code(1).printed("create /new: EROFS\n");
    Ok(())
}

/// Mounts a read-only copy of `root` over itself for as long as it lives.
struct ReadOnly<'a>(&'a str);

impl<'a> ReadOnly<'a> {
    fn new(root: &'a Path) -> Self {
        let root = root.to_str().expect("UTF-8");
        sys::bind(root, root).expect("a bind mount");
        sys::read_only(root).expect("a remount");
        Self(root)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        sys::unmount(self.0).expect("an unmount");
    }
}

/// What an image builder or a squashfs has: the mount points exist or not.
fn ephemeral_on_a_read_only_file_system() -> TestResult {
    let (complete, bare) = (roots::probe(), roots::bare());
    let _one = ReadOnly::new(&complete);
    let _two = ReadOnly::new(&bare);
    Pod::new(&complete)
        .probe(["create", "/x"])
        .code(1)
        .has("EROFS");
    Pod::new(&complete)
        .flag("--ephemeral")
        .probe(["create", "/x"])
        .code(0);
    Pod::new(&bare)
        .flag("--ephemeral")
        .probe(["create", "/x"])
        .code(0);
    Ok(())
}

fn parallel_ephemeral_pods() -> TestResult {
    let root = roots::probe();
    let script = [
        "create", "/mine", ",", "echo", "ready", ",", "line", ",", "unlink", "/mine",
    ];
    let mut pods: Vec<_> = (0..5)
        .map(|_| {
            Pod::new(&root)
                .flag("--ephemeral")
                .probe_command(script)
                .open_input()
                .start()
        })
        .collect();
    for pod in &mut pods {
        pod.wait_for("ready");
    }
    for mut pod in pods {
        pod.send("\n");
        pod.finish().code(0);
    }
    Ok(())
}

fn tmpfs() -> TestResult {
    let root = roots::probe();
    fs::write(root.join("tmp/hidden"), "").expect("a file");
    let pod = Pod::new(&root).options(["--tmpfs", "/tmp", "--tmpfs=/run/new"]);
    let script = [
        "list",
        "/tmp",
        ",",
        "create",
        "/tmp/x",
        ",",
        "stat",
        "/tmp",
        ",",
        "create",
        "/run/new/x",
        ",",
        "report",
        "mount",
    ];
    let output = pod.probe(script);
    output
        .code(0)
        .lacks("hidden")
        .has("stat /tmp: type=dir mode=01777");
    let report = Report::new(&output.stdout);
    for target in ["/tmp", "/run/new"] {
        let mount = report.mount(target);
        assert!(
            mount.kind == "tmpfs" && mount.has("nosuid") && mount.has("nodev"),
            "{mount:?}"
        );
    }
    assert_eq!(compare::names(root.join("tmp")), ["hidden"]);
    // For every user, as /tmp is.
    pod.options(["--user", "1000"])
        .probe(["create", "/tmp/x", ",", "create", "/run/new/x"])
        .code(0);
    Ok(())
}

fn tmpfs_of_fly() -> TestResult {
    let root = roots::probe();
    let output = Pod::fly(&root)
        .options(["--tmpfs", "/tmp"])
        .probe(["create", "/tmp/x", ",", "report", "mount"]);
    output.code(0);
    assert_eq!(Report::new(&output.stdout).mount("/tmp").kind, "tmpfs");
    assert!(compare::names(root.join("tmp")).is_empty());
    Ok(())
}

fn bad_tmpfs() -> TestResult {
    let root = roots::probe();
    for bad in ["", "/"] {
        Pod::new(&root)
            .options(["--tmpfs", bad])
            .probe(["exit", "0"])
            .refused(&[]);
        Pod::fly(&root)
            .options(["--tmpfs", bad])
            .probe(["exit", "0"])
            .refused(&[]);
    }
    Pod::new(&root)
        .options(["--tmpfs", "/etc/passwd"])
        .probe(["exit", "0"])
        .refused(&["/etc/passwd"]);
    Ok(())
}

/// The path of a root is the host's: its links are followed.
fn through_a_symlink() -> TestResult {
    let root = roots::probe();
    let (link, folder) = (roots::fresh("link"), roots::directory("folder"));
    symlink(&root, &link).expect("a link");
    symlink(root.parent().expect("a parent"), folder.join("up")).expect("a link");
    let long = folder.join("up").join(root.file_name().expect("a name"));
    for path in [&link, &long] {
        Pod::new(path).probe(["exit", "3"]).code(3);
        Pod::fly(path).probe(["exit", "3"]).code(3);
    }
    Ok(())
}

fn relative() -> TestResult {
    let root = roots::probe();
    for (path, folder) in [
        (".", root.clone()),
        ("..", root.join("etc")),
        ("./etc/..", root.clone()),
    ] {
        Pod::new(path)
            .probe_command(["exit", "3"])
            .directory(&folder)
            .output()
            .code(3);
        Pod::fly(path)
            .probe_command(["exit", "3"])
            .directory(&folder)
            .output()
            .code(3);
    }
    Ok(())
}

/// The machine's own root is a root file system too.
fn the_hosts_own() -> TestResult {
    Pod::new("/")
        .flag("--readonly-rootfs")
        .run(["/bin/true"])
        .code(0)
        .quiet();
    Pod::new("/")
        .flag("--readonly-rootfs")
        .run(["/bin/sh", "-c", "exit 7"])
        .code(7)
        .quiet();
    Pod::fly("/")
        .run(["/bin/sh", "-c", "exit 7"])
        .code(7)
        .quiet();
    Ok(())
}

fn mount_points_are_created() -> TestResult {
    let root = roots::bare();
    Pod::new(&root).probe(["exit", "3"]).code(3).quiet();
    assert_eq!(compare::names(&root), ["bin", "dev", "proc", "sys"]);
    let root = roots::bare();
    Pod::fly(&root).probe(["exit", "3"]).code(3).quiet();
    assert_eq!(compare::names(&root), ["bin", "dev", "proc", "sys"]);
    Ok(())
}

/// A root that has mounts of its own below it, such as a separate /var.
fn mounts_of_the_root_are_seen() -> TestResult {
    let root = roots::probe();
    let sub = root.join("tmp");
    let path = sub.to_str().expect("UTF-8");
    sys::mount_tmpfs(path, "").expect("a tmpfs");
    fs::write(sub.join("mark"), "below").expect("a file");
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        pod.probe(["read", "/tmp/mark"]).code(0).printed("below");
    }
    Pod::new(&root)
        .flag("--readonly-rootfs")
        .probe(["create", "/tmp/x"])
        .code(1)
        .has("EROFS");
    sys::unmount(path).expect("an unmount");
    Ok(())
}

fn cannot_be_left() -> TestResult {
    let root = roots::probe();
    for pod in [
        Pod::new(&root),
        Pod::new(&root).flag("--insecure-options=all"),
        Pod::new(&root).flag("--ephemeral"),
    ] {
        pod.probe(["chroot-escape"])
            .code(0)
            .printed("chroot-escape: contained\n");
        let script = ["list", "/..", ",", "report", "root"];
        let output = pod.probe(script);
        output.code(0).has("bin\n").has("root=/\n");
    }
    Ok(())
}

/// A start must not look at what is in the root.
fn large_tree() -> TestResult {
    let root = roots::probe();
    for folder in 0..20 {
        let folder = root.join(format!("many/{folder}"));
        fs::create_dir_all(&folder).expect("a directory");
        for file in 0..100 {
            fs::write(folder.join(file.to_string()), "").expect("a file");
        }
    }
    for pod in [Pod::new(&root), Pod::new(&root).flag("--ephemeral")] {
        pod.probe(["exit", "3"]).code(3);
    }
    Ok(())
}
