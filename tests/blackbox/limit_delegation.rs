//! `stage0 run` in a cgroup of version 2 that was delegated, as systemd does with
//! `Delegate=`: the pod is made in there, beside `stage0`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use kickstage_tests::{
    TestResult, attribute,
    command::{Output, Run},
    pod::Pod,
    requirement::{Requirement, cgroup_v2, controller},
    roots, sys, tests,
};

use crate::limits::Parent;

tests![
    beside_the_launcher,
    in_a_leaf_already,
    not_delegated,
    named_all_the_same,
    one_that_holds_others,
];

/// A cgroup of version 2 as a unit has it.
struct Unit {
    place: PathBuf,
    /// Removes it.
    _parent: Parent,
}

impl Unit {
    fn new(mark: Option<&str>) -> Self {
        let parent = Parent::new();
        let mount = cgroup_v2().expect("the requirement");
        let place = mount.join(parent.path().trim_start_matches('/'));
        fs::create_dir(&place).expect("a cgroup");
        if let Some(mark) = mark {
            attribute::set(&place, mark, b"1").expect("an attribute");
        }
        Self {
            place,
            _parent: parent,
        }
    }

    /// A pod that is started in here, or in a cgroup below, and tells where `stage0` and
    /// pid 1 are.
    fn start(&self, below: &str, options: &[&str]) -> (Output, Vec<PathBuf>) {
        let from = self.place.join(below);
        if !below.is_empty() {
            fs::create_dir(&from).expect("a cgroup");
        }
        let run = Pod::new(roots::probe())
            .options(options)
            .probe_command(["catch", "TERM", ",", "exit", "7"]);
        let running = from_inside(run, &from).start();
        running.wait_for("waiting");
        let stage0 = running.pid();
        let children = format!("/proc/{stage0}/task/{stage0}/children");
        let children = fs::read_to_string(children).expect("a list");
        let pid_1 = children.split_whitespace().next().expect("pid 1");
        let places = [stage0.to_string().as_str(), pid_1].map(where_is);
        running.signal(libc::SIGTERM);
        (running.finish(), places.into())
    }

    /// What is in it.
    fn entries(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.place).expect("a directory");
        entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        for name in self.entries() {
            // The last process may not be gone yet.
            for _ in 0..1000 {
                if fs::remove_dir(self.place.join(&name)).is_ok() {
                    break;
                }
                std::thread::yield_now();
            }
        }
    }
}

/// It begins in the cgroup `from`; without the devices of version 1.
fn from_inside(run: Run, from: &Path) -> Run {
    let processes = from.join("cgroup.procs");
    run.hook(move || {
        fs::write(&processes, "0")?;
        if Path::new("/sys/fs/cgroup/devices/tasks").exists() {
            sys::unshare(libc::CLONE_NEWNS)?;
            sys::make_mounts("/", libc::MS_PRIVATE | libc::MS_REC)?;
            sys::unmount("/sys/fs/cgroup/devices")?;
        }
        io::Result::Ok(())
    })
}

/// The cgroup of version 2 of a process.
#[track_caller]
fn where_is(pid: &str) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("its cgroups");
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let mount = cgroup_v2().expect("the requirement");
    mount.join(path.expect("version 2"))
}

/// Limits of version 2 on every machine that has it.
fn options() -> Vec<&'static str> {
    match controller("pids") {
        Some((_, true)) => vec!["--device=/dev/null", "--pids=20"],
        _ => vec!["--device=/dev/null"],
    }
}

#[track_caller]
fn is_pods(path: &Path, above: &Path) {
    let name = path.file_name().expect("a name").to_string_lossy();
    assert!(name.starts_with("pod-"), "{}", path.display());
    assert_eq!(path.parent(), Some(above));
}

fn beside_the_launcher() -> TestResult {
    Requirement::CgroupV2.require()?;
    for mark in ["trusted.delegate", "user.delegate"] {
        let unit = Unit::new(Some(mark));
        let (output, places) = unit.start("", &options());
        output.code(7);
        assert_eq!(places[0], unit.place.join("supervisor"));
        is_pods(&places[1], &unit.place);
        assert_eq!(unit.entries(), ["supervisor"]);
    }
    Ok(())
}

/// systemd's `DelegateSubgroup=`, or a second pod.
fn in_a_leaf_already() -> TestResult {
    Requirement::CgroupV2.require()?;
    let unit = Unit::new(Some("trusted.delegate"));
    let (output, places) = unit.start("own", &options());
    output.code(7);
    assert_eq!(places[0], unit.place.join("own"));
    is_pods(&places[1], &unit.place);
    assert_eq!(unit.entries(), ["own"]);
    Ok(())
}

fn not_delegated() -> TestResult {
    Requirement::CgroupV2.require()?;
    for mark in [None, Some("trusted.other")] {
        let unit = Unit::new(mark);
        let run = Run::ours("stage0")
            .arg("plan")
            .args(options())
            .arg("--rootfs")
            .arg(roots::probe())
            .args(["--", "/bin/probe", "exit", "0"]);
        let output = from_inside(run, &unit.place).output();
        let usual = cgroup_v2().expect("the requirement").join("kickstage/pod-");
        output
            .code(0)
            .has(usual.to_str().expect("UTF-8"))
            .lacks("leaf  ");
    }
    Ok(())
}

fn named_all_the_same() -> TestResult {
    Requirement::CgroupV2.require()?;
    let unit = Unit::new(Some("trusted.delegate"));
    let other = Parent::new();
    let mut options = options();
    options.extend(["--cgroup-parent", other.path()]);
    let (output, places) = unit.start("", &options);
    output.code(7);
    assert_eq!(places[0], unit.place);
    let mount = cgroup_v2().expect("the requirement");
    is_pods(
        &places[1],
        &mount.join(other.path().trim_start_matches('/')),
    );
    other.is_gone();
    Ok(())
}

/// Whoever else is in the unit has to be somewhere else, too: only it can know where.
fn one_that_holds_others() -> TestResult {
    Requirement::CgroupV2.require()?;
    let unit = Unit::new(Some("trusted.delegate"));
    let mut other = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("sleep");
    fs::write(unit.place.join("cgroup.procs"), other.id().to_string()).expect("a member");
    let run = Pod::new(roots::probe())
        .options(options())
        .probe_command(["exit", "3"]);
    let output = from_inside(run, &unit.place).output();
    other.kill().expect("our child");
    other.wait().expect("our child");
    if options().len() > 1 {
        output.refused(&["enable controllers", "holds processes"]);
    } else {
        output.code(3);
    }
    assert_eq!(unit.entries(), ["supervisor"]);
    Ok(())
}
