//! `stage0 run --cgroup`: in an existing cgroup, of either version.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kickstage_tests::{
    TestResult,
    command::program,
    pod::Pod,
    requirement::{self, Requirement},
    roots, sys, tests,
    trace::{self, Plan},
};

tests![
    version_1,
    version_2,
    old_kernels_join,
    no_cgroup,
    limit_of_processes
];

/// A cgroup of the test's own, removed with it.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// A new one below `parent`.
    pub fn new(parent: &Path) -> Self {
        // The test's directory has a name that no other test's has.
        let own = roots::fresh("cgroup");
        let own = own.display().to_string().replace('/', "-");
        let path = parent.join(own.trim_start_matches('-'));
        fs::create_dir(&path).expect("a cgroup");
        Self(path)
    }

    /// Its directory.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }

    /// Its path below the mount, as /proc/self/cgroup has it.
    pub fn name(&self) -> String {
        format!("/{}", self.0.file_name().expect("a name").display())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It is empty when the last process of the pod is really gone, which is
        // a moment after its end is told.
        let begin = Instant::now();
        while fs::remove_dir(&self.0).is_err() && begin.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn is_in(cgroup: &Cgroup) {
    let root = roots::probe();
    let pod = Pod::new(&root).options(["--cgroup", cgroup.path()]);
    let script = ["read", "/proc/self/cgroup", ",", "exit", "7"];
    let seen = pod.clone().flag("--insecure-options=paths").probe(script);
    seen.code(7).has(&format!("{}\n", cgroup.name())).quiet();
    // Of a namespace of its own that is the root.
    let hidden = pod.probe(script);
    hidden.code(7).quiet();
    assert!(only_roots(&hidden.stdout), "{}", hidden.stdout);
}

/// Whether no path is told.
fn only_roots(text: &str) -> bool {
    text.lines().count() > 0 && text.lines().all(|line| line.ends_with(":/"))
}

fn version_1() -> TestResult {
    Requirement::CgroupV1.require()?;
    is_in(&Cgroup::new(Path::new(requirement::CGROUP_V1)));
    Ok(())
}

fn version_2() -> TestResult {
    Requirement::CgroupV2.require()?;
    let cgroup = Cgroup::new(&requirement::cgroup_v2().expect("a cgroup2 mount"));
    is_in(&cgroup);
    // It was born there: no fallback.
    let root = roots::probe();
    Pod::new(&root)
        .options(["--debug", "--cgroup", cgroup.path()])
        .probe(["exit", "0"])
        .code(0)
        .quiet();
    Ok(())
}

/// Linux 5.3 to 5.6 answer EINVAL or E2BIG for the flag or the structure.
fn old_kernels_join() -> TestResult {
    Requirement::CgroupV2.require()?;
    let cgroup = Cgroup::new(&requirement::cgroup_v2().expect("a cgroup2 mount"));
    let root = roots::probe();
    let output = roots::fresh("output");
    let root = root.to_str().expect("UTF-8");
    let arguments = |insecure| {
        [
            "run",
            "--debug",
            insecure,
            "--cgroup",
            cgroup.path(),
            "--rootfs",
            root,
            "--",
            "/bin/probe",
            "read",
            "/proc/self/cgroup",
            ",",
            "exit",
            "7",
        ]
    };
    for errno in [libc::EINVAL, libc::E2BIG, libc::ENOSYS, libc::EPERM] {
        for hides in [false, true] {
            let insecure = ["--insecure-options=paths", "--insecure-options=none"];
            let when = into_cgroup;
            let traced = trace::run(
                &program("stage0"),
                &arguments(insecure[usize::from(hides)]),
                &output,
                Plan::Fail { when, errno },
            );
            let text = fs::read_to_string(&output).expect("a file");
            assert!(
                traced.acted && traced.code == 7 && traced.stuck.is_empty(),
                "{traced:?}: {text}"
            );
            // The namespace comes behind the joining.
            let name = format!("{}\n", cgroup.name());
            assert_eq!(text.contains(&name), !hides, "{text}");
            assert!(text.contains("joined it afterwards"), "{text}");
        }
    }
    Ok(())
}

/// clone3 with CLONE_INTO_CGROUP.
fn into_cgroup(pid: i32, registers: &sys::Registers) -> bool {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    registers.call() == libc::SYS_clone3
        && sys::word(pid, registers.argument(0)).is_ok_and(|flags| flags & CLONE_INTO_CGROUP != 0)
}

fn no_cgroup() -> TestResult {
    let root = roots::probe();
    let directory = roots::directory("plain");
    for (path, words) in [
        (
            directory.to_str().expect("UTF-8"),
            &["join", "No such file"][..],
        ),
        ("/does/not/exist", &["/does/not/exist", "No such file"]),
        ("/etc/passwd", &["/etc/passwd", "Not a directory"]),
    ] {
        Pod::new(&root)
            .options(["--cgroup", path])
            .probe(["exit", "0"])
            .refused(words);
    }
    Pod::new(&root)
        .options(["--stage1=fly", "--cgroup", "/sys/fs/cgroup"])
        .probe(["exit", "0"])
        .refused(&["--cgroup"]);
    Ok(())
}

/// What the cgroup limits holds for the pod from its first process on.
fn limit_of_processes() -> TestResult {
    Requirement::CgroupV1.require()?;
    let cgroup = Cgroup::new(Path::new(requirement::CGROUP_V1_PIDS));
    fs::write(cgroup.0.join("pids.max"), "2").expect("a limit");
    let root = roots::probe();
    let pod = Pod::new(&root).options(["--cgroup", cgroup.path()]);
    // pid 1 and the program are two; a third is refused.
    pod.probe(["exit", "3"]).code(3).quiet();
    pod.probe(["fork", "1"]).code(1).has("EAGAIN");
    Ok(())
}
