//! Roots that can't be roots, and disks that can't be written.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    pod::Pod,
    roots, sys, tests,
};

tests![
    root_is_a_file,
    root_is_missing,
    root_is_unreadable,
    root_is_a_loop,
    read_only_disk,
    full_disk,
];

fn root_is_a_file() -> TestResult {
    let file = roots::fresh("file");
    fs::write(&file, "").expect("a file");
    let name = file.to_str().expect("UTF-8");
    Pod::new(&file)
        .probe(["exit", "0"])
        .refused(&[name, "Not a directory"]);
    Pod::fly(&file)
        .probe(["exit", "0"])
        .refused(&[name, "Not a directory"]);
    Pod::new("/dev/null")
        .probe(["exit", "0"])
        .refused(&["/dev/null", "Not a directory"]);
    Ok(())
}

fn root_is_missing() -> TestResult {
    for pod in [
        Pod::new("/no/root"),
        Pod::fly("/no/root"),
        Pod::new("/no/root").flag("--ephemeral"),
    ] {
        pod.probe(["exit", "0"])
            .refused(&["/no/root", "No such file or directory"]);
    }
    Pod::new("").probe(["exit", "0"]).refused(&[]);
    Pod::fly("").probe(["exit", "0"]).refused(&[]);
    Ok(())
}

/// For a user who may not enter it.
fn root_is_unreadable() -> TestResult {
    let folder = roots::directory("closed");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("a mode");
    let root = folder.join("root");
    fs::create_dir(&root).expect("a directory");
    let name = root.to_str().expect("UTF-8");
    let command = Pod::new(&root)
        .options(["--user", "alice"])
        .probe_command(["exit", "0"]);
    command
        .hook(|| sys::become_user(1000, 1000))
        .output()
        .refused(&[]);
    let command = Pod::new(&root).probe_command(["exit", "0"]);
    command
        .hook(|| sys::become_user(1000, 1000))
        .output()
        .refused(&[]);
    let plan = Run::ours("stage0").args([
        "plan",
        "--user",
        "alice",
        "--rootfs",
        name,
        "--",
        "/bin/probe",
    ]);
    plan.hook(|| sys::become_user(1000, 1000))
        .output()
        .refused(&[name, "Permission denied"]);
    Ok(())
}

fn root_is_a_loop() -> TestResult {
    let link = roots::fresh("link");
    symlink(&link, &link).expect("a link");
    let name = link.to_str().expect("UTF-8");
    Pod::new(&link)
        .probe(["exit", "0"])
        .refused(&[name, "Too many levels of symbolic links"]);
    Pod::fly(&link)
        .probe(["exit", "0"])
        .refused(&[name, "Too many levels of symbolic links"]);
    Ok(())
}

/// Runs `test` with a tmpfs of `options`, filled by `fill`, as the root.
fn on_a_disk(options: &str, complete: bool, test: impl Fn(&Path)) {
    let disk = roots::directory("disk");
    let path = disk.to_str().expect("UTF-8");
    sys::mount_tmpfs(path, options).expect("a tmpfs");
    fs::create_dir(disk.join("bin")).expect("a directory");
    fs::copy(program("probe"), disk.join("bin/probe")).expect("the probe");
    if complete {
        for name in ["proc", "sys", "dev"] {
            fs::create_dir(disk.join(name)).expect("a directory");
        }
    }
    test(&disk);
    sys::unmount(path).expect("an unmount");
}

fn read_only_disk() -> TestResult {
    let remount = |disk: &Path| sys::read_only(disk.to_str().expect("UTF-8")).expect("a remount");
    on_a_disk("", true, |disk| {
        remount(disk);
        Pod::new(disk).probe(["exit", "3"]).code(3).quiet();
        Pod::fly(disk).probe(["exit", "3"]).code(3).quiet();
        // A further mount point is missing, and named.
        Pod::new(disk)
            .options(["--tmpfs", "/new"])
            .probe(["exit", "0"])
            .refused(&["/new", "Read-only file system"]);
        Pod::new(disk)
            .volume("/etc", "/a/b")
            .probe(["exit", "0"])
            .refused(&["/a", "Read-only file system"]);
    });
    on_a_disk("", false, |disk| {
        remount(disk);
        for pod in [Pod::new(disk), Pod::fly(disk)] {
            let output = pod.probe(["exit", "0"]);
            output.refused(&["Read-only file system"]);
            assert!(
                ["proc", "sys", "dev"]
                    .iter()
                    .any(|name| output.stderr.contains(name)),
                "{}",
                output.everything()
            );
        }
        Pod::new(disk)
            .flag("--ephemeral")
            .probe(["exit", "3"])
            .code(3)
            .quiet();
    });
    Ok(())
}

fn full_disk() -> TestResult {
    // Inodes for the root itself, /bin and the probe, and for three more.
    on_a_disk("nr_inodes=6", true, |disk| {
        Pod::new(disk).probe(["exit", "3"]).code(3).quiet();
        Pod::new(disk)
            .options(["--tmpfs", "/new"])
            .probe(["exit", "0"])
            .refused(&["/new", "No space left on device"]);
    });
    on_a_disk("nr_inodes=3", false, |disk| {
        for pod in [Pod::new(disk), Pod::fly(disk)] {
            let output = pod.probe(["exit", "0"]);
            output.refused(&["No space left on device"]);
            assert!(
                ["proc", "sys", "dev"]
                    .iter()
                    .any(|name| output.stderr.contains(name)),
                "{}",
                output.everything()
            );
        }
        Pod::new(disk)
            .flag("--ephemeral")
            .probe(["exit", "3"])
            .code(3)
            .quiet();
    });
    // Room for one mount point of three: what was made before the failure is
    // no mount, and may stay.
    on_a_disk("nr_inodes=4", false, |disk| {
        Pod::new(disk)
            .probe(["exit", "0"])
            .refused(&["No space left on device"]);
    });
    Ok(())
}
