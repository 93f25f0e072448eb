//! What is mounted in the roots of several programs of one pod.

use std::{fs, os::unix::fs::symlink, path::Path};

use kickstage_tests::{TestResult, command::Run, roots, tests};

use crate::roots::{named, run, text, two};

tests![
    paths_of_the_host,
    own_mounts,
    layers_vanish,
    a_layer_for_all,
    read_only_roots,
    volumes_for_all_and_for_one,
    an_empty_volume_of_both,
    volumes_that_are_none,
    own_mounts_in_one_directory,
    nothing_is_left,
    as_many_as_fit,
];

/// The lines of mountinfo: path, options, kind.
fn mounts(text: &str) -> Vec<(String, String, String)> {
    let fields = |line: &str| {
        let (before, behind) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(4).map(str::to_owned);
        let kind = behind.split(' ').next()?.to_owned();
        Some((before.next()?, before.next()?, kind))
    };
    let mut mounts: Vec<_> = text.lines().filter_map(fields).collect();
    mounts.sort();
    mounts
}

/// As in a pod with one root, in each of them.
fn own_mounts() -> TestResult {
    let (a, b) = two();
    let read = "read /proc/self/mountinfo";
    let one = run(&[], &[(&a, "", read)]);
    let stdout = "--stdout=file:/tmp/mounts";
    run(
        &["--exit-policy=all"],
        &[(&a, stdout, read), (&b, stdout, read)],
    )
    .code(0)
    .quiet();
    for root in [&a, &b] {
        assert_eq!(mounts(&text(root.join("tmp/mounts"))), mounts(&one.stdout));
    }
    for root in [&a, &b] {
        let second = named("x");
        run(
            &["--exit-policy=it"],
            &[
                (
                    root,
                    "--name=it",
                    "list /proc/acpi , write /proc/sys/kernel/core_pattern x",
                ),
                (&second, "", "sleep 60000"),
            ],
        )
        .has("write /proc/sys/kernel/core_pattern: EROFS");
    }
    Ok(())
}

fn layers_vanish() -> TestResult {
    let (a, b) = two();
    let change = "write /name new , write /made x , read /name";
    let options = "--ephemeral";
    run(&[], &[(&a, options, change), (&b, options, change)])
        .code(0)
        .has("new");
    for (root, name) in [(&a, "first"), (&b, "second")] {
        assert_eq!(text(root.join("name")), name);
        assert!(!root.join("made").exists());
    }
    // Only one of them.
    run(&[], &[(&a, "", change), (&b, options, change)]).code(0);
    assert_eq!(text(a.join("name")), "new");
    assert_eq!(text(b.join("name")), "second");
    // Two layers over one directory are two.
    run(
        &["--exit-policy=all"],
        &[
            (&b, "--ephemeral --ready=exit", "write /made x"),
            (&b, "--ephemeral --after=app-0", "lstat /made"),
        ],
    )
    .code(1)
    .has("lstat /made: ENOENT");
    Ok(())
}

fn a_layer_for_all() -> TestResult {
    let (a, b) = two();
    let change = "write /made x";
    let programs = [(a.as_path(), "", change), (&b, "--ephemeral=false", change)];
    run(&["--ephemeral"], &programs).code(0).quiet();
    assert!(!a.join("made").exists());
    assert!(b.join("made").exists());
    Ok(())
}

fn read_only_roots() -> TestResult {
    let (a, b) = two();
    let write = "write /made x";
    run(
        &["--exit-policy=all"],
        &[(&a, "--readonly-rootfs", write), (&b, "", write)],
    )
    .code(1)
    .has("write /made: EROFS");
    assert!(!a.join("made").exists());
    assert!(b.join("made").exists());
    // With a layer there is nothing to write either.
    let both = "--readonly-rootfs --ephemeral";
    run(&[], &[(&a, both, write), (&b, "", write)]).has("write /made: EROFS");
    Ok(())
}

fn volumes_for_all_and_for_one() -> TestResult {
    let (a, b) = two();
    let source = roots::directory("source");
    fs::write(source.join("file"), "of the host").expect("a file");
    let source = source.to_str().expect("a path");
    let all = format!("--volume={source}:/all:ro");
    let own = format!("--volume={source}:/own --tmpfs=/empty");
    let kind = format!("--volume=data,kind=host,source={source}");
    let output = run(
        &[&all, &kind, "--exit-policy=all", "--log=prefix"],
        &[
            (
                &a,
                &format!("{own} --mount=volume=data,target=/data,readOnly=true"),
                "read /all/file , write /all/x y , write /data/x y , write /own/new x",
            ),
            (
                &b,
                "--log=prefix --mount=volume=data,target=/there",
                "read /all/file , read /there/file , lstat /own , lstat /empty",
            ),
        ],
    );
    output.code(1);
    for line in [
        "app-0: of the host",
        "write /all/x: EROFS",
        "write /data/x: EROFS",
        "app-1: of the host",
        "lstat /own: ENOENT",
        "lstat /empty: ENOENT",
    ] {
        assert!(output.stderr.contains(line), "{line}: {}", output.stderr);
    }
    assert_eq!(text(format!("{source}/new")), "x");
    Ok(())
}

fn an_empty_volume_of_both() -> TestResult {
    let (a, b) = two();
    let volume = "--volume=box,kind=empty,mode=1777";
    let write = "write /box/x hello , stat /box";
    // Each with a mount of its own, and one mount for all.
    for (pods, first, second, path) in [
        (
            &[volume][..],
            "--mount=volume=box,target=/box",
            "--mount=volume=box,target=/mnt/box",
            "/mnt/box",
        ),
        (&[volume, "--mount=volume=box,target=/box"], "", "", "/box"),
    ] {
        run(
            &[pods, &["--user=1000"]].concat(),
            &[
                (&a, &format!("{first} --ephemeral --ready=exit"), write),
                (
                    &b,
                    &format!("{second} --ephemeral --after=app-0"),
                    &format!("read {path}/x"),
                ),
            ],
        )
        .code(0)
        .has("hello");
        assert!(!a.join("box").exists() && !b.join("mnt").exists());
    }
    // Read-only for the first one, whose mount is the first.
    run(
        &[volume],
        &[
            (
                &a,
                "--mount=volume=box,target=/tmp,readOnly=true --after=app-1",
                "read /tmp/x",
            ),
            (
                &b,
                "--mount=volume=box,target=/tmp --ready=exit",
                "write /tmp/x hello",
            ),
        ],
    )
    .code(0)
    .has("hello");
    Ok(())
}

fn volumes_that_are_none() -> TestResult {
    let (a, b) = two();
    let end = "exit 0";
    let two = |options: &[&str], first: &str, second: &str| {
        run(options, &[(&a, first, end), (&b, second, end)])
    };
    two(&[], "", "--mount=volume=box,target=/box")
        .refused(&["read mount", "no volume of this name"]);
    two(&["--volume=box,kind=empty"], "", "").refused(&["box,kind=empty", "no --mount"]);
    two(&[], "", "--volume=box,kind=empty").refused(&["--volume", "before the first program"]);
    two(&[], "", "--volume=/none:/x").refused(&["/none", "No such file"]);
    two(&[], "--tmpfs=/proc/x", "").refused(&["/proc/x"]);
    Ok(())
}

/// What one program has in its root the other one, of the same directory, has not.
fn own_mounts_in_one_directory() -> TestResult {
    let root = named("both");
    let run = Run::ours("stage0").args(["run", "--rootfs"]).arg(&root);
    run.args(["--ready=exit", "--", "/bin/probe", "read", "/name", "---"])
        .args(["--after=app-0", "--tmpfs=/tmp", "--", "/bin/probe"])
        .args(["write", "/tmp/x", "y"])
        .output()
        .code(0)
        .has("both");
    assert!(!root.join("tmp/x").exists());
    Ok(())
}

/// Mount points that were made are unmade in each root.
fn nothing_is_left() -> TestResult {
    let (a, b) = (roots::bare(), roots::bare());
    let names = |root: &Path| {
        let entries = fs::read_dir(root).expect("a directory");
        entries.count()
    };
    run(
        &[],
        &[
            (&a, "--tmpfs=/x/y", "exit 0"),
            (&b, "--volume=/none:/z --tmpfs=/x/y", "exit 0"),
        ],
    )
    .refused(&["/none"]);
    assert_eq!((names(&a), names(&b)), (1, 1));
    // A root that can't be written names the directory that is missing.
    run(
        &[],
        &[(&a, "", "exit 0"), (&b, "--readonly-rootfs", "exit 0")],
    )
    .refused(&["dev", "make it in the root file system beforehand"]);
    assert_eq!((names(&a), names(&b)), (1, 1));
    Ok(())
}

fn as_many_as_fit() -> TestResult {
    let root = named("x");
    let programs = vec![(root.as_path(), "--ephemeral", "read /name"); 33];
    run(&[], programs.get(..32).unwrap_or_default())
        .code(0)
        .printed(&"x".repeat(32));
    run(&[], &programs).refused(&["too many programs with a root"]);
    Ok(())
}

/// Links are followed, and paths are those of the caller.
fn paths_of_the_host() -> TestResult {
    let (a, b) = two();
    let folder = roots::directory("caller");
    symlink(&a, folder.join("link")).expect("a link");
    let up = "../".repeat(folder.components().count() + 2);
    let far = format!("{up}{}", b.display());
    for options in ["", "--ephemeral"] {
        let output = Run::ours("stage0")
            .args(["run", "--exit-policy=all", "--log=prefix", "./link"])
            .args(options.split_whitespace())
            .args([
                "--",
                "/bin/probe",
                "read",
                "/name",
                "---",
                &far,
                "--log=prefix",
            ])
            .args(options.split_whitespace())
            .args(["--", "/bin/probe", "read", "/name"])
            .directory(&folder)
            .output();
        output.code(0);
        for line in ["app-0: first", "app-1: second"] {
            assert!(output.stderr.contains(line), "{}", output.stderr);
        }
    }
    Ok(())
}
