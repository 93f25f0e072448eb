//! Writable layers over the root: --overlay and --ephemeral.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
};

use kickstage_tests::{TestResult, compare, pod::Pod, roots, sys, tests};

use super::fly_files::text;

tests![
    overlay_keeps,
    overlay_of_a_read_only_root,
    overlay_on_an_overlay,
    bad_layers,
    ephemeral_vanishes,
    ephemeral_with_relative_paths,
    failures_leave_no_layer,
];

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
    chown(&root, Some(1), Some(2)).expect("an owner");
    let odd = roots::directory("odd:,\\ name");
    let pod = Pod::fly(&root).options(["--overlay", text(&odd)]);
    let seen = "mode=0711 uid=1 gid=2";
    pod.probe(["stat", "/"]).code(0).has(seen);
    assert_eq!(
        fs::metadata(odd.join("upper")).expect("a directory").mode() & 0o7777,
        0o711
    );
    // A layer that is there stays as it is.
    fs::set_permissions(odd.join("upper"), fs::Permissions::from_mode(0o700)).expect("a mode");
    pod.probe(["stat", "/"]).code(0).has("mode=0700");
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
