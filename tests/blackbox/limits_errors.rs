//! Limits that can't be set: `stage0 run` says which and why, and leaves nothing.

use std::{fs, io, path::PathBuf};

use kickstage_tests::{
    TestResult,
    fault::failing,
    pod::Pod,
    requirement::{Requirement, controller},
    roots, sys, tests,
};

use crate::limits::{ALL, Parent, ended};

tests![
    bad_values,
    not_together,
    missing_controller,
    a_parent_that_takes_none,
    a_parent_that_holds_processes,
    calls_that_fail,
];

fn bad_values() -> TestResult {
    let root = roots::probe();
    for (option, bad) in [
        (
            "--memory",
            &[
                "",
                "0",
                "x",
                "1",
                "1048575",
                "1023K",
                "-1M",
                "1T",
                "1.5G",
                "01M",
                "9000000000G",
            ][..],
        ),
        (
            "--cpus",
            &[
                "", "0", "0.001", ".5", "1.", "-1", "1,5", "100000", "1e2", "x",
            ],
        ),
        ("--cpu-weight", &["", "0", "10001", "-1", "1.5", "x"]),
        ("--pids", &["", "0", "-1", "4194305", "max", "1K"]),
    ] {
        for value in bad {
            Pod::new(&root)
                .options([&format!("{option}={value}")])
                .probe(["exit", "0"])
                .refused(&["read option", option, " is a number", value]);
        }
        Pod::new(&root)
            .options([option])
            .command([] as [&str; 0])
            .output()
            .refused(&[]);
    }
    for value in ["", "a", "a/b", "//", "/a/", "/..", "/a/../b", "/.", "/a//b"] {
        Pod::new(&root)
            .options(["--pids=5", "--cgroup-parent", value])
            .probe(["exit", "0"])
            .refused(&["--cgroup-parent", "absolute"]);
    }
    Ok(())
}

fn not_together() -> TestResult {
    let root = roots::probe();
    for (options, words) in [
        (
            &["--cgroup-parent=/a"][..],
            &["--cgroup-parent", "--memory"][..],
        ),
        (
            &["--pids=5", "--cgroup=/sys/fs/cgroup"],
            &["--cgroup", "limit"],
        ),
        (&["--pids=5", "--stage1=fly"], &["--pids", "fly"]),
        (
            &["--cpus=1", "--stage1=/bin/true"],
            &["--cpus", "--stage1=init"],
        ),
    ] {
        Pod::new(&root)
            .options(options)
            .probe(["exit", "0"])
            .refused(words);
    }
    // They are the pod's.
    Pod::new(&root)
        .probe(["exit", "0", "---", "--memory=5M", "/bin/probe", "exit", "0"])
        .refused(&["--memory", "before the first program"]);
    kickstage_tests::command::Run::ours("stage0")
        .args([
            "plan",
            "--output=/dev/null",
            "--memory=5M",
            "--rootfs=/x",
            "/y",
        ])
        .output()
        .refused(&["--memory", "--output"]);
    Ok(())
}

/// In a mount namespace without cgroup file systems.
fn without_cgroups() -> io::Result<()> {
    sys::unshare(libc::CLONE_NEWNS)?;
    sys::make_mounts("/", libc::MS_PRIVATE | libc::MS_REC)?;
    sys::unmount("/sys/fs/cgroup")
}

fn missing_controller() -> TestResult {
    Requirement::Controllers.require()?;
    for (option, name) in [
        ("--memory=5M", "memory"),
        ("--cpus=1", "cpu"),
        ("--cpu-weight=1", "cpu"),
        ("--pids=5", "pids"),
    ] {
        Pod::new(roots::probe())
            .options([option])
            .probe_command(["exit", "0"])
            .hook(without_cgroups)
            .output()
            .refused(&[
                &format!("the controller {name}:"),
                "/sys/fs/cgroup",
                "leave the limit out",
            ]);
    }
    // Whoever asks for no limit does not need them.
    let output = Pod::new(roots::probe())
        .probe_command(["exit", "3"])
        .hook(without_cgroups)
        .output();
    ended(&output, 3);
    Ok(())
}

/// A file system of cgroups that can't be written.
fn a_parent_that_takes_none() -> TestResult {
    Requirement::Controllers.require()?;
    let (mount, _) = controller("pids").expect("the requirement");
    let parent = Parent::new();
    let mount = mount.to_str().expect("UTF-8").to_owned();
    parent
        .pod(&["--pids=5"])
        .probe_command(["exit", "0"])
        .hook(move || {
            sys::unshare(libc::CLONE_NEWNS)?;
            sys::make_mounts("/", libc::MS_PRIVATE | libc::MS_REC)?;
            sys::bind(&mount, &mount)?;
            sys::read_only(&mount)
        })
        .output()
        .refused(&["make cgroup", parent.path(), "Read-only", "--cgroup-parent"]);
    parent.is_gone();
    Ok(())
}

/// On version 2 controllers can't be enabled in a cgroup that holds processes.
fn a_parent_that_holds_processes() -> TestResult {
    Requirement::Controllers.require()?;
    let (mount, unified) = controller("pids").expect("the requirement");
    let parent = Parent::new();
    let place = mount.join(parent.path().trim_start_matches('/'));
    fs::create_dir(&place).expect("a cgroup");
    let mut other = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("sleep");
    fs::write(place.join("cgroup.procs"), other.id().to_string()).expect("a member");
    let output = parent.pod(&["--pids=5"]).probe(["exit", "3"]);
    other.kill().expect("our child");
    other.wait().expect("our child");
    if unified {
        output.refused(&["enable controllers", "holds processes", "--cgroup-parent"]);
    } else {
        ended(&output, 3);
    }
    assert_eq!(parent.pods(), Vec::<PathBuf>::new());
    Ok(())
}

/// Either the pod runs with its limits, or it does not start and leaves nothing.
fn calls_that_fail() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    let pod = parent.pod(&ALL);
    let calls = [
        libc::SYS_faccessat,
        libc::SYS_mkdirat,
        libc::SYS_openat,
        libc::SYS_clone3,
    ];
    for call in calls {
        for errno in [libc::EPERM, libc::ENOMEM, libc::ENOENT] {
            let command = pod.probe_command(["echo", "started"]);
            let output = command.hook(failing(&[call], errno)).output();
            if output.code == Some(0) {
                output.printed("started\n");
            } else {
                output.refused(&[]);
            }
            parent.is_gone();
        }
    }
    // What can't be removed stays, and the code is the program's.
    let command = pod.probe_command(["exit", "3"]);
    let output = command
        .hook(failing(&[libc::SYS_unlinkat], libc::EPERM))
        .output();
    ended(&output, 3);
    assert!(!parent.pods().is_empty());
    Ok(())
}
