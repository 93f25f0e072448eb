//! `stage0 run` with limits: cgroups of the pod's own, of the version that the machine
//! has for each controller.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use kickstage_tests::{
    TestResult,
    command::{Output, Running},
    pod::Pod,
    requirement::{Requirement, cgroup_v2, controller},
    roots, tests,
};

tests![
    each_in_its_file,
    memory_is_enforced,
    processes_are_enforced,
    told_apart_from_a_kill,
    nothing_left_by_an_end,
    nothing_left_by_a_failed_start,
    a_parent_that_was_there_stays,
    below_the_usual_parent,
    left_by_a_killed_launcher,
    far_below_another,
    side_by_side,
    the_least_memory,
    printed_and_not_done,
];

const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];
/// A limit of each kind.
pub const ALL: [&str; 4] = ["--memory=64M", "--cpus=0.5", "--cpu-weight=50", "--pids=20"];

/// A file of a cgroup, and what it holds.
type File = (&'static str, &'static str);

/// A controller, and a file of it of either version.
const FILES: [(&str, File, File); 4] = [
    (
        "memory",
        ("memory.limit_in_bytes", "67108864"),
        ("memory.max", "67108864"),
    ),
    (
        "cpu",
        ("cpu.cfs_quota_us", "50000"),
        ("cpu.max", "50000 100000"),
    ),
    ("cpu", ("cpu.shares", "512"), ("cpu.weight", "50")),
    ("pids", ("pids.max", "20"), ("pids.max", "20")),
];

/// A parent of the test's own for the cgroups of its pods.
pub struct Parent(String);

impl Parent {
    /// A path that is not there.
    pub fn new() -> Self {
        // The test's directory has a name that no other test's has.
        let own = roots::fresh("cgroup").display().to_string();
        // Not with what other tests look for.
        let own = own.replace('/', "-").replace("kickstage", "");
        Self(format!("/limits-{}", own.trim_matches('-')))
    }

    /// As the option takes it.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// Makes it in each hierarchy.
    pub fn make(&self) {
        let places = self.places();
        for place in &places {
            fs::create_dir(place).expect("a cgroup");
        }
    }

    /// A pod with these options and a probe.
    pub fn pod(&self, options: &[&str]) -> Pod {
        Pod::new(roots::probe())
            .options(["--cgroup-parent", &self.0])
            .options(options)
    }

    /// Where it is in each hierarchy that may be used.
    pub fn places(&self) -> Vec<PathBuf> {
        let all = CONTROLLERS.into_iter().chain(["io", "devices"]);
        let mounts = all.filter_map(|name| Some(controller(name)?.0));
        let mut places: Vec<PathBuf> = mounts
            .chain(cgroup_v2())
            .map(|mount| mount.join(self.0.trim_start_matches('/')))
            .collect();
        places.sort();
        places.dedup();
        places
    }

    /// The cgroups of its pods.
    pub fn pods(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = self
            .places()
            .iter()
            .filter_map(|place| fs::read_dir(place).ok())
            .flatten()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("pod-"))
            .map(|entry| entry.path())
            .collect();
        found.dedup();
        found
    }

    /// Nothing is left of it, nor of its pods.
    #[track_caller]
    pub fn is_gone(&self) {
        for place in self.places() {
            assert!(!place.exists(), "{}", place.display());
        }
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let begin = Instant::now();
        for path in self.pods().into_iter().chain(self.places()) {
            while fs::remove_dir(&path)
                .is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
                && begin.elapsed() < Duration::from_secs(5)
            {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// It has ended with this code, and said nothing.
#[track_caller]
pub fn ended(output: &Output, code: i32) {
    output.code(code).quiet();
}

/// What a file of the pod's cgroup holds has been written before the pod's first process
/// was in there; and it is in there.
fn each_in_its_file() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    let pod = parent.pod(&ALL);
    let mut running = pod
        .probe_command([
            "read",
            "/proc/self/cgroup",
            ",",
            "catch",
            "TERM",
            ",",
            "exit",
            "7",
        ])
        .start();
    running.wait_for("waiting");
    assert!(running.runs());
    for (name, version_1, version_2) in FILES {
        let (mount, unified) = controller(name).expect("the requirement");
        let place = mount.join(parent.0.trim_start_matches('/'));
        let entries = fs::read_dir(&place).expect("the parent");
        let pods: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.is_dir())
            .collect();
        let [own] = pods.as_slice() else {
            panic!("{pods:?}");
        };
        let path = own.strip_prefix(mount).expect("below it");
        assert_eq!(seen_from_outside(own, unified, name), path, "{name}");
        let (file, value) = if unified { version_2 } else { version_1 };
        let text = fs::read_to_string(own.join(file)).expect(file);
        assert_eq!(text.trim_end(), value, "{file}");
        // pid 1 of the pod, and the program.
        let processes = fs::read_to_string(own.join("cgroup.procs")).expect("processes");
        assert_eq!(processes.lines().count(), 2, "{name}: {processes}");
    }
    running.signal(libc::SIGTERM);
    let output = running.finish();
    output.code(7);
    // In a namespace of its own the pod sees nothing of where it is.
    for name in CONTROLLERS {
        let (_, unified) = controller(name).expect("the requirement");
        let line = line_of(&output.stdout, unified, name);
        assert!(line.ends_with(":/"), "{line}");
    }
    parent.is_gone();
    Ok(())
}

/// The line HIERARCHY:CONTROLLERS:PATH of a controller in a file `cgroup` of /proc.
#[track_caller]
fn line_of<'t>(text: &'t str, unified: bool, name: &str) -> &'t str {
    let mut lines = text.lines();
    let line = lines.find(|line| match line.split(':').nth(1) {
        Some("") => unified,
        Some(names) => !unified && names.split(',').any(|other| other == name),
        None => false,
    });
    line.unwrap_or_else(|| panic!("{name}: {text}"))
}

/// Where the first process of the cgroup `own` is, as this process sees it.
#[track_caller]
fn seen_from_outside(own: &Path, unified: bool, name: &str) -> PathBuf {
    let processes = fs::read_to_string(own.join("cgroup.procs")).expect("processes");
    let first = processes.lines().next().expect("a process");
    let text = fs::read_to_string(format!("/proc/{first}/cgroup")).expect("its cgroups");
    let path = line_of(&text, unified, name).rsplit(':').next();
    PathBuf::from(path.expect("a path").trim_start_matches('/'))
}

/// Takes more and more memory.
fn greedy(parent: &Parent, options: &[&str]) -> Result<Output, kickstage_tests::Skip> {
    let pod = Pod::new(roots::busybox()?)
        .options(["--cgroup-parent", &parent.0])
        .options(options);
    Ok(pod
        .command(["/bin/tail", "-c", "200000000", "/dev/zero"])
        .output())
}

fn memory_is_enforced() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    let output = greedy(&parent, &["--memory=16M"])?;
    output.code(137);
    assert_eq!(
        output.stderr,
        "stage0: run with --memory 16M: out of memory, the kernel has killed (raise the limit)\n"
    );
    parent.is_gone();
    Ok(())
}

fn processes_are_enforced() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    // pid 1 and the program are two; a third is refused.
    let pod = parent.pod(&["--pids", "2"]);
    ended(&pod.probe(["exit", "3"]), 3);
    pod.probe(["fork", "1"]).code(1).has("EAGAIN");
    ended(
        &parent
            .pod(&["--pids=3"])
            .probe(["fork", "1", ",", "exit", "4"]),
        4,
    );
    // The last one counts.
    pod.options(["--pids=3"])
        .probe(["fork", "1", ",", "exit", "4"])
        .code(4);
    // Without room for the program itself, and for the second one.
    parent
        .pod(&["--pids=1"])
        .probe(["exit", "0"])
        .refused(&["read option 1", "--pids is a number from 2"]);
    parent
        .pod(&["--pids=2"])
        .probe(["sleep", "60000", "---", "/bin/probe", "exit", "0"])
        .refused(&["start an app"]);
    parent.is_gone();
    Ok(())
}

/// SIGKILL by somebody is no lack of memory.
fn told_apart_from_a_kill() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    ended(&parent.pod(&["--memory=64M"]).probe(["raise", "KILL"]), 137);
    parent.is_gone();
    Ok(())
}

fn nothing_left_by_an_end() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    let pod = parent.pod(&ALL);
    for code in ["0", "1", "254"] {
        ended(&pod.probe(["exit", code]), code.parse().expect("a number"));
        parent.is_gone();
    }
    // With others that are still there when the program ends.
    let left = [
        "background",
        "sleep",
        "60000",
        ",",
        "orphan",
        "3",
        ",",
        "exit",
        "5",
    ];
    pod.probe(left).code(5);
    parent.is_gone();
    let running = pod
        .probe_command(["echo", "runs", ",", "catch", "HUP"])
        .start();
    running.wait_for("waiting");
    running.signal(libc::SIGTERM);
    let _ = running.finish();
    parent.is_gone();
    // Directories on the way, too.
    let deep = format!("{}/b/c", parent.0);
    let pod = Pod::new(roots::probe())
        .options(["--cgroup-parent", &deep])
        .options(ALL);
    ended(&pod.probe(["exit", "6"]), 6);
    parent.is_gone();
    Ok(())
}

fn nothing_left_by_a_failed_start() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    let pod = parent.pod(&ALL);
    pod.clone()
        .volume("/does/not/exist", "/data")
        .probe(["exit", "0"])
        .refused(&["/does/not/exist"]);
    parent.is_gone();
    pod.run(["/no/such/program"]).refused(&["/no/such/program"]);
    parent.is_gone();
    Pod::new("/no/such/root")
        .options(["--cgroup-parent", parent.path()])
        .options(ALL)
        .probe(["exit", "0"])
        .refused(&["/no/such/root"]);
    parent.is_gone();
    Ok(())
}

fn a_parent_that_was_there_stays() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    parent.make();
    ended(&parent.pod(&ALL).probe(["exit", "3"]), 3);
    assert_eq!(parent.pods(), Vec::<PathBuf>::new());
    for place in parent.places() {
        assert!(place.exists(), "{}", place.display());
    }
    Ok(())
}

/// Which stays, unless `gc` takes it.
fn below_the_usual_parent() -> TestResult {
    Requirement::Controllers.require()?;
    let pod = Pod::new(roots::probe()).options(ALL);
    let running = pod
        .probe_command(["catch", "TERM", ",", "exit", "7"])
        .start();
    running.wait_for("waiting");
    let stage0 = running.pid();
    let children = format!("/proc/{stage0}/task/{stage0}/children");
    let children = fs::read_to_string(children).expect("a list");
    let pid_1 = children.split_whitespace().next().expect("pid 1");
    let text = fs::read_to_string(format!("/proc/{pid_1}/cgroup")).expect("its cgroups");
    let places = CONTROLLERS.map(|name| {
        let (mount, unified) = controller(name).expect("the requirement");
        let path = line_of(&text, unified, name).rsplit(':').next();
        let path = path.expect("a path");
        assert!(path.starts_with("/kickstage/pod-"), "{path}");
        mount.join(path.trim_start_matches('/'))
    });
    assert!(places.iter().all(|place| place.exists()));
    running.signal(libc::SIGTERM);
    running.finish().code(7);
    assert!(!places.iter().any(|place| place.exists()));
    Ok(())
}

/// It can remove nothing; the next run does, but not what is in use.
fn left_by_a_killed_launcher() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    let pod = parent.pod(&["--pids=10"]);
    let start = || {
        let running = pod.probe_command(["catch", "HUP"]).start();
        running.wait_for("waiting");
        running
    };
    let killed = start();
    killed.signal(libc::SIGKILL);
    let _ = killed.finish();
    let left = parent.pods();
    assert_eq!(left.len(), 1, "{left:?}");
    let running = start();
    // What is new may be about to be used, by a launcher in another pid namespace.
    ended(&pod.probe(["exit", "3"]), 3);
    assert!(left.iter().all(|path| path.exists()));
    for path in &left {
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        let folder = fs::File::open(path).expect("a cgroup");
        folder.set_modified(long_ago).expect("its time");
    }
    // Its processes are gone at last. That the next one has other limits does not matter.
    let other = parent.pod(&ALL);
    let begin = Instant::now();
    // Where the kernel does not keep that time, as 6.1, they have to be old indeed.
    while left.iter().any(|path| path.exists()) && begin.elapsed() < Duration::from_secs(30) {
        ended(&other.probe(["exit", "3"]), 3);
    }
    assert_eq!(parent.pods().len(), 1);
    // Nor does that of a launcher that lives, though nobody is in it.
    let own = left[0].with_file_name(format!("pod-{}", std::process::id()));
    fs::create_dir(&own).expect("a cgroup");
    let folder = fs::File::open(&own).expect("a cgroup");
    let long_ago = SystemTime::now() - Duration::from_secs(60);
    folder.set_modified(long_ago).expect("its time");
    ended(&other.probe(["exit", "3"]), 3);
    fs::remove_dir(&own).expect("it is there");
    running.signal(libc::SIGHUP);
    let _ = running.finish();
    assert_eq!(parent.pods(), Vec::<PathBuf>::new());
    Ok(())
}

/// However long its path is.
fn far_below_another() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    let path = format!("{}/{}/{}", parent.path(), "a".repeat(150), "b".repeat(150));
    let pod = Pod::new(roots::probe()).options(["--pids=10", "--cgroup-parent", &path]);
    ended(&pod.probe(["exit", "3"]), 3);
    assert!(!parent.places().iter().any(|place| place.exists()));
    Ok(())
}

fn side_by_side() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    let pod = parent.pod(&ALL);
    for _ in 0..5 {
        let all: Vec<Running> = (0..8)
            .map(|code| pod.probe_command(["exit", &code.to_string()]).start())
            .collect();
        for (code, running) in (0..).zip(all) {
            ended(&running.finish(), code);
        }
    }
    assert_eq!(parent.pods(), Vec::<PathBuf>::new());
    Ok(())
}

/// With it a pod starts.
fn the_least_memory() -> TestResult {
    Requirement::Controllers.require()?;
    let parent = Parent::new();
    ended(&parent.pod(&["--memory=1M"]).probe(["exit", "3"]), 3);
    let bytes = (1 << 20).to_string();
    ended(&parent.pod(&["--memory", &bytes]).probe(["exit", "3"]), 3);
    Ok(())
}

fn printed_and_not_done() -> TestResult {
    Requirement::Controllers.require()?;
    let root = roots::probe();
    let plan = |options: &[&str]| {
        kickstage_tests::command::Run::ours("stage0")
            .arg("plan")
            .args(options)
            .arg("--rootfs")
            .arg(&root)
            .args(["--", "/bin/probe", "exit", "0"])
            .output()
    };
    let parent = Parent::new();
    let output = plan(&[ALL.as_slice(), &["--cgroup-parent", &parent.0]].concat());
    output.code(0).quiet();
    for name in CONTROLLERS {
        let (mount, unified) = controller(name).expect("the requirement");
        let path = format!("{}{}/pod-", mount.display(), parent.0);
        let column = |verb: &str| format!("{verb:<14}{path}");
        output.has(&column("newcgroup"));
        output.has(&column(if unified { "cgroup" } else { "join" }));
        output.has(&column("limit"));
    }
    parent.is_gone();
    plan(&["--pids=5"]).code(0).has("/kickstage/pod-");
    // Without limits there is none.
    plan(&[])
        .code(0)
        .lacks("newcgroup")
        .lacks("join")
        .lacks("limit ");
    Ok(())
}
