//! `stage0 run` inside a container of podman's.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, program},
    requirement::Requirement,
    roots, sys, tests,
};

tests![
    privileged,
    with_what_the_errors_ask_for,
    without,
    as_another_user,
];

/// A container whose root holds our programs in /k and a root in /r.
struct Container {
    root: PathBuf,
    run: PathBuf,
    shm: PathBuf,
    storage: PathBuf,
}

impl Container {
    fn new() -> Self {
        let root = roots::probe();
        fs::create_dir(root.join("k")).expect("a directory");
        fs::create_dir(root.join("run")).expect("a directory");
        for name in ["stage0", "stage0-full", "stage1-init"] {
            fs::copy(program(name), root.join("k").join(name)).expect("a program");
        }
        let inner = roots::probe();
        fs::rename(inner, root.join("r")).expect("the same file system");
        // For other users, too.
        for path in [&root, &root.join("r"), &root.join("k")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        Self {
            root,
            run: roots::directory("run"),
            shm: roots::directory("shm"),
            storage: roots::directory("storage"),
        }
    }

    /// `podman run` with these options, of `stage0 run` with those. It has a /run and a
    /// /dev/shm of its own, and no cgroups, which crun 1.8 does not take if both versions
    /// are mounted.
    fn run(&self, podman: &[&str], stage0: &[&str], probe: &[&str]) -> Output {
        let folders = [(&self.run, "/run"), (&self.shm, "/dev/shm")]
            .map(|(from, to)| (from.to_str().expect("UTF-8").to_owned(), to));
        Run::new("podman")
            .arg("--root")
            .arg(&self.storage)
            .args(["--runroot=/run/storage", "--storage-driver=vfs"])
            .args(["--cgroup-manager=cgroupfs", "--events-backend=none"])
            .args(["--runtime=crun", "run", "--rm", "--network=none"])
            .args(["--cgroups=disabled", "--ulimit=nofile=1024:1024"])
            .args(["--ulimit=nproc=1024:1024"])
            .args(podman)
            .arg("--rootfs")
            .arg(&self.root)
            .args(["/k/stage0", "run"])
            .args(stage0)
            .args(["--rootfs=/r", "--", "/bin/probe"])
            .args(probe)
            .hook(move || {
                sys::unshare(libc::CLONE_NEWNS)?;
                sys::make_mounts("/", libc::MS_PRIVATE)?;
                let _ = sys::unmount("/sys/fs/cgroup/unified");
                for (from, to) in &folders {
                    sys::bind(from, to)?;
                }
                Ok(())
            })
            .output()
    }
}

const MAP: [&str; 5] = ["report", "uid", ",", "read", "/proc/self/uid_map"];
const UNMASKED: [&str; 4] = [
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "unmask=ALL",
];

fn container() -> Result<Container, kickstage_tests::Skip> {
    Requirement::Podman.require()?;
    Ok(Container::new())
}

fn privileged() -> TestResult {
    let container = container()?;
    let output = container.run(&["--privileged"], &[], &MAP);
    output.code(0).has("uid=0\n").has("4294967295");
    let output = container.run(&["--privileged"], &["--private-users"], &MAP);
    output.code(0).has("uid=0\n").has("524288      65536\n");
    let output = container.run(&["--cap-add=sys_admin"], &[], &MAP);
    output.code(0).has("uid=0\n").has("4294967295");
    Ok(())
}

/// No privilege at all: a user namespace, in which root is who is root here.
fn with_what_the_errors_ask_for() -> TestResult {
    let container = container()?;
    let line = "         0          0          1\n";
    let output = container.run(&UNMASKED, &[], &MAP);
    output.code(0).has("uid=0\n").has(line);
    let script = ["create", "/new", ",", "list", "/sys/class/net"];
    let options = ["--ephemeral", "--net=none"];
    let output = container.run(&UNMASKED, &options, &script);
    output.code(0).has("create /new: ok\n").has("lo\n");
    Ok(())
}

/// Each error says what the container lacks; with that the next one.
fn without() -> TestResult {
    let container = container()?;
    let output = container.run(&[], &[], &MAP);
    output.refused(&["mount proc", "unmask=ALL", "systempaths=unconfined"]);
    let output = container.run(&UNMASKED[2..], &[], &MAP);
    output.refused(&["set host name", "seccomp=unconfined"]);
    Ok(())
}

fn as_another_user() -> TestResult {
    let container = container()?;
    let options = [&UNMASKED[..], &["--user=1000:1000"]].concat();
    let output = container.run(&options, &[], &MAP);
    output
        .code(0)
        .has("uid=0\n")
        .has("         0       1000          1\n");
    Ok(())
}
