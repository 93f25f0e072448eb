//! `stage0 run --device`: devices of the host by a filter, of version 1 or by BPF.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use kickstage_tests::{
    TestResult,
    command::Run,
    fault::failing,
    pod::Pod,
    requirement::{Requirement, device},
    roots, sys, tests,
};

use crate::limits::{Parent, ended};

tests![
    as_it_is_allowed,
    others_can_not_be_used,
    usual_ones_still_work,
    names,
    nodes_may_be_made_with_a_filter_only,
    refused,
    by_limits_and_devices,
    calls_that_fail,
];

/// A device of this machine that no pod has by default, and that anybody may open; its
/// number.
fn spare() -> (&'static str, u32, u32) {
    let path = device().expect("the requirement");
    let number = fs::metadata(path).expect("a device").rdev();
    (path, libc::major(number), libc::minor(number))
}

/// Ways to a filter: as the machine has it, and without the controller of version 1.
type Way = fn(Run) -> Run;

fn ways() -> Vec<Way> {
    let mut ways: Vec<Way> = vec![|run| run];
    if Path::new("/sys/fs/cgroup/devices/tasks").exists() && Requirement::CgroupV2.present() {
        ways.push(|run| run.hook(without_version_1));
    }
    ways
}

/// In a mount namespace where that is not to be seen.
fn without_version_1() -> io::Result<()> {
    sys::unshare(libc::CLONE_NEWNS)?;
    sys::make_mounts("/", libc::MS_PRIVATE | libc::MS_REC)?;
    sys::unmount("/sys/fs/cgroup/devices")
}

fn as_it_is_allowed() -> TestResult {
    Requirement::Devices.require()?;
    let parent = Parent::new();
    let (path, ..) = spare();
    let script = [
        "open", path, "r", ",", "open", path, "w", ",", "open", path, "rw",
    ];
    for way in ways() {
        for (access, reads, writes) in [
            ("", true, true),
            (":rwm", true, true),
            (":rw", true, true),
            (":r", true, false),
            (":w", false, true),
            (":m", false, false),
        ] {
            let pod = parent.pod(&["--device", &format!("{path}{access}")]);
            let output = way(pod.probe_command(script)).output();
            let lines: Vec<&str> = output.stdout.lines().collect();
            let expected = [reads, writes, reads && writes].map(|works| {
                let answer = if works { "ok" } else { "EPERM" };
                format!("open {path}: {answer}")
            });
            assert_eq!(lines, expected, "{access}: {}", output.everything());
            parent.is_gone();
        }
    }
    Ok(())
}

/// Not even by root with all capabilities; without `--device` there is no filter.
fn others_can_not_be_used() -> TestResult {
    Requirement::Devices.require()?;
    let parent = Parent::new();
    let (path, major, minor) = spare();
    let numbers = [major, minor].map(|number| number.to_string());
    let script = [
        "mknod",
        "/dev/new",
        "c",
        &numbers[0],
        &numbers[1],
        ",",
        "open",
        "/dev/new",
        "r",
        ",",
        "stat",
        "/dev/new",
    ];
    for way in ways() {
        let pod = parent
            .pod(&["--device=/dev/null"])
            .flag("--insecure-options=all");
        let output = way(pod.probe_command(script)).output();
        output
            .code(1)
            .has("mknod /dev/new: ok")
            .has("open /dev/new: EPERM");
    }
    let output = Pod::new(roots::probe())
        .flag("--insecure-options=all")
        .probe(script);
    output.code(0).has("open /dev/new: ok");
    Pod::new(roots::probe())
        .probe(["open", path, "r"])
        .code(1)
        .has("ENOENT");
    parent.is_gone();
    Ok(())
}

fn usual_ones_still_work() -> TestResult {
    Requirement::Devices.require()?;
    let parent = Parent::new();
    let (path, ..) = spare();
    let script = [
        "write",
        "/dev/null",
        "x",
        ",",
        "open",
        "/dev/zero",
        "rw",
        ",",
        "open",
        "/dev/urandom",
        "rw",
        ",",
        "open",
        "/dev/random",
        "rw",
        ",",
        "open",
        "/dev/full",
        "rw",
        ",",
        "open",
        "/dev/ptmx",
        "rw",
        ",",
        "exit",
        "3",
    ];
    for way in ways() {
        for user in ["0", "1000"] {
            for device in [path, "/dev/null:r"] {
                let pod = parent.pod(&["--device", device, "--user", user]);
                let output = way(pod.probe_command(script)).output();
                output.code(3);
            }
        }
    }
    // With a writable layer, whose own devices are none.
    let pod = parent.pod(&["--device", path, "--ephemeral"]);
    pod.probe(["unlink", "/bin/probe", ",", "exit", "4"])
        .code(4);
    parent.is_gone();
    Ok(())
}

/// By its path below /dev, or by its last part; as the host has it.
fn names() -> TestResult {
    Requirement::Devices.require()?;
    let parent = Parent::new();
    let folder = roots::fresh("nodes");
    fs::create_dir_all(&folder).expect("a directory");
    let own = folder.join("a:node");
    sys::make_device(&own, 1, 5).expect("a node");
    let link = own.with_file_name("link");
    std::os::unix::fs::symlink(&own, &link).expect("a link");
    let mut cases: Vec<(PathBuf, String)> = vec![
        (own.clone(), "/dev/a:node".to_owned()),
        (link, "/dev/link".to_owned()),
    ];
    let deep = fs::read_dir("/dev").expect("a directory");
    let deep = deep
        .filter_map(Result::ok)
        .filter(|entry| {
            !["pts", "shm", "fd"]
                .iter()
                .any(|name| entry.file_name() == *name)
        })
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| fs::read_dir(entry.path()).ok())
        .flatten()
        .filter_map(Result::ok)
        .find(|entry| entry.file_type().is_ok_and(|kind| kind.is_char_device()));
    cases.extend(deep.map(|entry| (entry.path(), entry.path().display().to_string())));
    let mut options = Vec::new();
    let mut script = Vec::new();
    for (path, name) in &cases {
        options.push("--device".to_owned());
        options.push(path.display().to_string());
        script.extend(["stat", name, ","]);
    }
    script.extend(["exit", "5"]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let output = parent.pod(&options).probe(&script);
    output.code(5);
    for (path, name) in &cases {
        let status = fs::metadata(path).expect("a device");
        let number = status.rdev();
        output.has(&format!(
            "{name}: type=char mode=0{:o} uid={} gid={} size=0 rdev={}:{} ",
            status.mode() & 0o7777,
            status.uid(),
            status.gid(),
            libc::major(number),
            libc::minor(number),
        ));
    }
    // Nothing else than these came along.
    let output = parent.pod(&options).probe(["list", "/dev"]);
    assert_eq!(
        output.stdout.lines().count(),
        13 + cases.len(),
        "{}",
        output.stdout
    );
    parent.is_gone();
    Ok(())
}

fn nodes_may_be_made_with_a_filter_only() -> TestResult {
    Requirement::Devices.require()?;
    let parent = Parent::new();
    let (path, ..) = spare();
    let script = [
        "mknod",
        "/dev/kmsg",
        "c",
        "1",
        "11",
        ",",
        "open",
        "/dev/kmsg",
        "w",
        ",",
        "mknod",
        "/dev/mine",
        "c",
        "1",
        "3",
        ",",
        "write",
        "/dev/mine",
        "x",
    ];
    for way in ways() {
        let pod = parent.pod(&["--device", path, "--cap-add=mknod"]);
        let output = way(pod.probe_command(script)).output();
        output
            .code(1)
            .has("mknod /dev/kmsg: ok")
            .has("open /dev/kmsg: EPERM")
            .has("write /dev/mine: ok");
        // The filter alone gives no capability.
        let pod = parent.pod(&["--device", path]);
        let output = way(pod.probe_command(script)).output();
        output.code(1).has("mknod /dev/kmsg: EPERM");
    }
    let root = roots::probe();
    for options in [
        &["--cap-add=mknod"][..],
        &["--cap-add=chown,CAP_MKNOD"],
        &["--cap-add=mknod", "--stage1=fly"],
        &["--cap-add=mknod", "--pids=5"],
    ] {
        Pod::new(&root)
            .options(options)
            .probe(["exit", "0"])
            .refused(&["--cap-add", "mknod", "--device"]);
    }
    // Who has everything has other ways.
    ended(
        &Pod::new(&root).flag("--cap-add=ALL").probe(["exit", "3"]),
        3,
    );
    parent.is_gone();
    Ok(())
}

fn refused() -> TestResult {
    let root = roots::probe();
    let many: Vec<String> = (0..33).map(|_| "--device=/dev/null".to_owned()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (options, words) in [
        (&["--device="][..], &["--device", "absolute path"][..]),
        (&["--device=null"], &["--device", "absolute path"]),
        (
            &["--device=/dev/no-such"],
            &["/dev/no-such", "No such file"],
        ),
        (&["--device=/dev/null:x"], &["/dev/null:x", "No such file"]),
        (&["--device=/etc/passwd"], &["/etc/passwd", "no device"]),
        (&["--device=/dev"], &["/dev", "no device"]),
        (
            &["--device=/dev/null", "--stage1=fly"],
            &["--device", "fly"],
        ),
        (
            &["--device=/dev/null", "--cgroup=/sys/fs/cgroup"],
            &["--cgroup", "limit"],
        ),
        (
            &["--device=/dev/null", "--stage1=/bin/true"],
            &["--device", "--stage1=init"],
        ),
        (&many, &["/dev/null", "32"]),
    ] {
        Pod::new(&root)
            .options(options)
            .probe(["exit", "0"])
            .refused(words);
    }
    // It is the pod's.
    Pod::new(&root)
        .probe([
            "exit",
            "0",
            "---",
            "--device=/dev/null",
            "/bin/probe",
            "exit",
            "0",
        ])
        .refused(&["--device", "before the first program"]);
    Pod::new(&root)
        .flag("--device=/dev/null")
        .probe_command(["exit", "0"])
        .hook(|| {
            sys::unshare(libc::CLONE_NEWNS)?;
            sys::make_mounts("/", libc::MS_PRIVATE | libc::MS_REC)?;
            sys::unmount("/sys/fs/cgroup")
        })
        .output()
        .refused(&["the controller devices:", "/sys/fs/cgroup"]);
    Ok(())
}

/// In the same cgroup, where version 2 has all of them.
fn by_limits_and_devices() -> TestResult {
    Requirement::Devices.require()?;
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    let (path, ..) = spare();
    for way in ways() {
        let pod = parent.pod(&["--pids=2", "--device", path, "--memory=64M"]);
        let script = ["open", path, "r", ",", "fork", "1"];
        let output = way(pod.probe_command(script)).output();
        output
            .code(1)
            .has(&format!("open {path}: ok"))
            .has("EAGAIN");
        parent.is_gone();
    }
    Ok(())
}

/// Without a filter there is no pod.
fn calls_that_fail() -> TestResult {
    Requirement::Devices.require()?;
    let parent = Parent::new();
    let pod = parent.pod(&["--device=/dev/null"]);
    for way in ways() {
        for call in [libc::SYS_bpf, libc::SYS_openat, libc::SYS_mkdirat] {
            for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL] {
                let command = way(pod.probe_command(["echo", "started"]));
                let output = command.hook(failing(&[call], errno)).output();
                if output.code == Some(0) {
                    output.printed("started\n");
                } else {
                    output.refused(&[]);
                }
                parent.is_gone();
            }
        }
    }
    if let Some(way) = ways().last()
        && Requirement::CgroupV2.present()
    {
        let command = way(pod.probe_command(["exit", "0"]));
        command
            .hook(failing(&[libc::SYS_bpf], libc::ENOSYS))
            .output()
            .refused(&["filter the devices", parent.path(), "kernel lacks it"]);
    }
    parent.is_gone();
    Ok(())
}
