//! `stage0 run` with limits of swap and of disks.

use std::{fs, path::PathBuf};

use kickstage_tests::{
    TestResult,
    pod::Pod,
    requirement::{Requirement, controller, disk},
    roots, tests,
};

use crate::limits::{Parent, ended};

tests![swap, weight, rates, bad_values, refused];

/// What the file of a pod's cgroup holds, of version 1 or 2; `None` if the kernel has
/// neither, which the pod says.
#[track_caller]
fn written(options: &[&str], name: &str, version_1: &str, version_2: &str) -> Option<String> {
    let parent = Parent::new();
    let (mount, unified) = controller(name).expect("the requirement");
    let file = if unified { version_2 } else { version_1 };
    let pod = parent.pod(options);
    let output = pod.probe(["exit", "3"]);
    if output.code == Some(254) {
        output.refused(&["limit the pod by", file, "kernel lacks it"]);
        parent.is_gone();
        return None;
    }
    ended(&output, 3);
    let running = pod
        .probe_command(["catch", "TERM", ",", "exit", "7"])
        .start();
    running.wait_for("waiting");
    let place = mount.join(parent.path().trim_start_matches('/'));
    let pods: Vec<PathBuf> = fs::read_dir(&place)
        .expect("the parent")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    let [own] = pods.as_slice() else {
        panic!("{pods:?}");
    };
    let text = fs::read_to_string(own.join(file)).expect(file);
    running.signal(libc::SIGTERM);
    running.finish().code(7);
    parent.is_gone();
    Some(text.trim_end().to_owned())
}

/// Version 1 has one limit for memory and swap together.
fn swap() -> TestResult {
    Requirement::Controllers.require()?;
    for (value, both, alone) in [
        ("none", "67108864", "0"),
        ("1M", "68157440", "1048576"),
        ("8192", "67117056", "8192"),
    ] {
        let options = ["--memory=64M", "--memory-swap", value];
        let file = "memory.memsw.limit_in_bytes";
        let found = written(&options, "memory", file, "memory.swap.max");
        let (_, unified) = controller("memory").expect("the requirement");
        let expected = if unified { alone } else { both };
        assert!(found.is_none_or(|found| found == expected), "{value}");
    }
    Ok(())
}

fn weight() -> TestResult {
    Requirement::Disk.require()?;
    let (_, unified) = controller("io").expect("the requirement");
    for (value, version_1) in [("50", "50"), ("10000", "1000"), ("1", "1")] {
        let options = ["--io-weight", value];
        let found = written(&options, "io", "blkio.bfq.weight", "io.weight");
        let expected = if unified {
            format!("default {value}")
        } else {
            version_1.to_owned()
        };
        assert!(found.is_none_or(|found| found == expected), "{value}");
    }
    Ok(())
}

fn rates() -> TestResult {
    Requirement::Disk.require()?;
    let (path, number) = disk().expect("the requirement");
    let option = format!("--io-max={path}:rbps=1M,wbps=2K,riops=30,wiops=40");
    let (_, unified) = controller("io").expect("the requirement");
    if unified {
        let line = format!("{number} rbps=1048576 wbps=2048 riops=30 wiops=40");
        let found = written(&[&option], "io", "", "io.max").unwrap_or_default();
        assert_eq!(found, line);
        let one = format!("--io-max={path}:wiops=7");
        let found = written(&[&one], "io", "", "io.max").unwrap_or_default();
        assert_eq!(
            found,
            format!("{number} rbps=max wbps=max riops=max wiops=7")
        );
    } else {
        for (file, value) in [
            ("read_bps", "1048576"),
            ("write_bps", "2048"),
            ("read_iops", "30"),
            ("write_iops", "40"),
        ] {
            let file: &str = &format!("blkio.throttle.{file}_device");
            let found = written(&[&option], "io", file, "io.max").unwrap_or_default();
            assert_eq!(found, format!("{number} {value}"), "{file}");
        }
    }
    Ok(())
}

fn bad_values() -> TestResult {
    let root = roots::probe();
    for (option, bad) in [
        (
            "--memory-swap",
            &["", "0", "x", "-1", "1T", "NONE", "1.5M"][..],
        ),
        ("--io-weight", &["", "0", "10001", "-1", "x"]),
        (
            "--io-max",
            &[
                "",
                "/dev/null",
                "/dev/null:",
                "/dev/null:rbps",
                "/dev/null:rbps=",
                "/dev/null:rbps=0",
                "/dev/null:rbps=1,",
                "/dev/null:bps=1",
                "/dev/null:riops=1K",
                "null:rbps=1",
            ],
        ),
    ] {
        for value in bad {
            Pod::new(&root)
                .options(["--memory=64M", &format!("{option}={value}")])
                .probe(["exit", "0"])
                .refused(&["read option", &format!("{option} is"), value]);
        }
    }
    Ok(())
}

fn refused() -> TestResult {
    Requirement::Disk.require()?;
    let parent = Parent::new();
    for (options, words) in [
        (
            &["--memory-swap=5M"][..],
            &["--memory-swap", "--memory"][..],
        ),
        (
            &["--io-max=/dev/null:rbps=1"],
            &["/dev/null:rbps=1", "no block device"],
        ),
        (
            &["--io-max=/no/such:rbps=1"],
            &["/no/such:rbps=1", "No such file"],
        ),
        (&["--io-weight=5", "--stage1=fly"], &["--io-weight", "fly"]),
    ] {
        let output = parent.pod(options).probe(["exit", "0"]);
        output.refused(words);
        parent.is_gone();
    }
    Ok(())
}
