//! The binds of fly: what is seen, what may be written, what may be missing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kickstage_tests::{TestResult, compare, pod::Pod, roots, sys, tests};

use super::volumes::WRITES;

tests![
    host_directory,
    single_file,
    read_only,
    read_only_covers_submounts,
    read_write_covers_submounts,
    not_recursive,
    not_recursive_and_read_only,
    empty,
    one_source_at_two_places,
    nested_targets,
    order_of_mounts,
    created_parents,
    over_a_file_of_the_root,
    attributes,
    mounts_stay_inside,
    a_thousand,
];

/// A mount of the test's own, gone when the test ends.
pub struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(path: &Path) -> Self {
        sys::mount_tmpfs(text(path), "").expect("a tmpfs");
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        sys::unmount(text(&self.0)).expect("an unmount");
    }
}

pub fn source() -> PathBuf {
    let source = roots::directory("source");
    fs::write(source.join("mark"), "here").expect("a file");
    source
}

/// The same with a mount in it.
pub fn source_with_submount() -> (PathBuf, Mounted) {
    let source = source();
    fs::create_dir(source.join("sub")).expect("a directory");
    let mounted = Mounted::tmpfs(&source.join("sub"));
    fs::write(source.join("sub/below"), "").expect("a file");
    (source, mounted)
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The three binds that take a source which must be there.
pub const BINDS: [&str; 3] = ["--bind", "--ro-bind", "--dev-bind"];

/// The same, with a source that may be missing.
pub const TRIES: [&str; 3] = ["--bind-try", "--ro-bind-try", "--dev-bind-try"];

pub fn all() -> impl Iterator<Item = &'static str> {
    BINDS.into_iter().chain(TRIES)
}

fn host_directory() -> TestResult {
    for option in ["--bind", "--dev-bind", "--bind-try", "--dev-bind-try"] {
        let (root, source) = (roots::probe(), source());
        let script = ["read", "/data/mark", ",", "write", "/data/new", "text"];
        Pod::fly(&root)
            .options([option, text(&source), "/data"])
            .probe(script)
            .code(0)
            .has("here")
            .has("ok");
        let written = fs::read_to_string(source.join("new")).expect("a file");
        assert_eq!(written, "text");
    }
    Ok(())
}

fn single_file() -> TestResult {
    for option in all() {
        let (root, source) = (roots::probe(), source());
        let file = source.join("mark");
        for target in ["/new/file", "/etc/passwd"] {
            Pod::fly(&root)
                .options([option, text(&file), target])
                .probe(["read", target])
                .code(0)
                .printed("here");
        }
    }
    Ok(())
}

fn read_only() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let before = compare::tree(&source);
    for option in ["--ro-bind", "--ro-bind-try"] {
        let output = Pod::fly(&root)
            .options([option, text(&source), "/data"])
            .probe(WRITES.into_iter().chain(["read", "/data/mark"]));
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
    let (root, (source, _sub)) = (roots::probe(), source_with_submount());
    Pod::fly(&root)
        .options(["--ro-bind", text(&source), "/data"])
        .probe([
            "create",
            "/data/sub/x",
            ",",
            "create",
            "/data/x",
            ",",
            "list",
            "/data/sub",
        ])
        .code(1)
        .printed("create /data/sub/x: EROFS\ncreate /data/x: EROFS\nbelow\n");
    Ok(())
}

fn read_write_covers_submounts() -> TestResult {
    let (root, (source, _sub)) = (roots::probe(), source_with_submount());
    for option in ["--bind", "--dev-bind"] {
        Pod::fly(&root)
            .options([option, text(&source), "/data"])
            .probe(["create", "/data/sub/x", ",", "unlink", "/data/sub/x"])
            .code(0);
    }
    Ok(())
}

fn not_recursive() -> TestResult {
    let (root, (source, _sub)) = (roots::probe(), source_with_submount());
    for option in all() {
        // Of two binds it concerns the one that follows.
        let pod = Pod::fly(&root).options([
            "--no-recurse",
            option,
            text(&source),
            "/flat",
            option,
            text(&source),
            "/deep",
        ]);
        pod.probe([
            "list",
            "/flat/sub",
            ",",
            "echo",
            "-",
            ",",
            "list",
            "/deep/sub",
        ])
        .code(0)
        .printed("-\nbelow\n");
    }
    Ok(())
}

fn not_recursive_and_read_only() -> TestResult {
    let (root, (source, _sub)) = (roots::probe(), source_with_submount());
    Pod::fly(&root)
        .options(["--no-recurse", "--ro-bind", text(&source), "/data"])
        .probe(["create", "/data/x", ",", "create", "/data/sub/x"])
        .code(1)
        .printed("create /data/x: EROFS\ncreate /data/sub/x: EROFS\n");
    Ok(())
}

fn empty() -> TestResult {
    let root = roots::probe();
    let pod = Pod::fly(&root).options(["--tmpfs", "/scratch"]);
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
    ];
    for _ in 0..2 {
        pod.probe(script).code(0).printed("write /scratch/x: ok\ny");
    }
    assert!(compare::names(root.join("scratch")).is_empty());
    Ok(())
}

fn one_source_at_two_places() -> TestResult {
    let (root, source) = (roots::probe(), source());
    Pod::fly(&root)
        .options([
            "--bind",
            text(&source),
            "/one",
            "--ro-bind",
            text(&source),
            "/two",
        ])
        .probe([
            "write",
            "/one/shared",
            "text",
            ",",
            "read",
            "/two/shared",
            ",",
            "create",
            "/two/x",
        ])
        .code(1)
        .has("text")
        .has("create /two/x: EROFS");
    Ok(())
}

fn nested_targets() -> TestResult {
    let (root, outer, inner) = (roots::probe(), source(), roots::directory("inner"));
    fs::create_dir(outer.join("in")).expect("a directory");
    fs::write(inner.join("mark"), "inner").expect("a file");
    for option in all() {
        Pod::fly(&root)
            .options([
                option,
                text(&outer),
                "/data",
                option,
                text(&inner),
                "/data/in",
            ])
            .probe(["read", "/data/mark", ",", "read", "/data/in/mark"])
            .code(0)
            .printed("hereinner");
    }
    assert!(compare::names(outer.join("in")).is_empty());
    // A mount point is not made in what is read-only.
    Pod::fly(&root)
        .options([
            "--ro-bind",
            text(&outer),
            "/data",
            "--bind",
            text(&inner),
            "/data/new",
        ])
        .probe(["exit", "0"])
        .refused(&["/data/new", "Read-only file system", "beforehand"]);
    Ok(())
}

/// The later one covers the earlier one.
fn order_of_mounts() -> TestResult {
    let (root, one, two) = (roots::probe(), source(), roots::directory("two"));
    fs::write(two.join("mark"), "2").expect("a file");
    let binds = ["--bind", text(&one), "/data", "--bind", text(&two), "/data"];
    Pod::fly(&root)
        .options(binds)
        .probe(["read", "/data/mark"])
        .code(0)
        .printed("2");
    let last = [
        "--tmpfs",
        "/data",
        "--dir",
        "/data/in",
        "--bind",
        text(&one),
        "/data/in",
    ];
    Pod::fly(&root)
        .options(last)
        .probe(["read", "/data/in/mark"])
        .code(0)
        .printed("here");
    Ok(())
}

fn created_parents() -> TestResult {
    let (root, source) = (roots::probe(), source());
    for option in all() {
        let target = format!("/made/by{option}/a/b");
        Pod::fly(&root)
            .options([option, text(&source), &target])
            .probe(["read", &format!("{target}/mark"), ",", "stat", "/made"])
            .code(0)
            .has("here")
            .has("type=dir mode=0755 uid=0 gid=0");
    }
    Ok(())
}

fn over_a_file_of_the_root() -> TestResult {
    let (root, source) = (roots::probe(), source());
    for option in all() {
        Pod::fly(&root)
            .options([option, text(&source), "/etc/passwd"])
            .probe(["exit", "0"])
            .refused(&["/etc/passwd", "a directory goes on a directory"]);
        Pod::fly(&root)
            .options([option, text(&source.join("mark")), "/etc"])
            .probe(["exit", "0"])
            .refused(&["/etc", "a directory goes on a directory"]);
    }
    Ok(())
}

fn attributes() -> TestResult {
    let (root, source) = (roots::probe(), source());
    for option in all() {
        let report = Pod::fly(&root)
            .options([option, text(&source), "/data"])
            .probe(["report", "mount"])
            .report();
        let mount = report.mount("/data");
        let plain = !option.starts_with("--dev");
        assert_eq!(mount.has("nosuid"), plain, "{option} {mount:?}");
        assert_eq!(mount.has("nodev"), plain, "{option} {mount:?}");
        assert_eq!(
            mount.has("ro"),
            option.starts_with("--ro"),
            "{option} {mount:?}"
        );
    }
    Ok(())
}

/// Nothing shows up outside, as the runner compares, and later mounts of the
/// host do not show up inside.
fn mounts_stay_inside() -> TestResult {
    let (root, source) = (roots::probe(), source());
    fs::create_dir(source.join("sub")).expect("a directory");
    let mut running = Pod::fly(&root)
        .options([
            "--bind",
            text(&source),
            "/data",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
        ])
        .probe_command([
            "echo",
            "ready",
            ",",
            "line",
            ",",
            "list",
            "/data/sub",
            ",",
            "report",
            "mount",
        ])
        .open_input()
        .start();
    running.wait_for("ready");
    let late = Mounted::tmpfs(&source.join("sub"));
    fs::write(source.join("sub/late"), "").expect("a file");
    running.send("\n");
    let output = running.finish();
    drop(late);
    output.code(0).lacks("late");
    let report = kickstage_tests::report::Report::new(&output.stdout);
    for mount in report.mounts() {
        assert!(!mount.propagation.contains("shared"), "{mount:?}");
    }
    Ok(())
}

/// More than there may be open files at a time.
fn a_thousand() -> TestResult {
    let (root, source) = (roots::probe(), source());
    let mut options = Vec::new();
    for index in 0..1000 {
        fs::create_dir_all(root.join(format!("v/{index}"))).expect("a directory");
        options.extend([
            "--ro-bind".into(),
            text(&source).to_owned(),
            format!("/v/{index}"),
        ]);
    }
    let script = [
        "read",
        "/v/0/mark",
        ",",
        "read",
        "/v/999/mark",
        ",",
        "create",
        "/v/500/x",
    ];
    for mode in [&[][..], &["--ro"]] {
        Pod::fly(&root)
            .options(mode)
            .options(&options)
            .probe_command(script)
            .hook(|| sys::limit(libc::RLIMIT_NOFILE, 64))
            .output()
            .code(1)
            .printed("hereherecreate /v/500/x: EROFS\n");
    }
    Ok(())
}
