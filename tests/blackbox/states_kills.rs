//! SIGKILL of whoever has to do with a registered pod, at every system call and at any
//! instant: what is left is understood by the next command, and collected.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use kickstage_tests::{
    TestResult,
    command::program,
    compare, isolate,
    random::Random,
    registered::{Parent, Registry, wait_until},
    requirement::Requirement,
    roots, sys, tests,
    trace::{self, Plan, Traced, Victim},
};

tests![
    launcher_of_a_run,
    others_of_a_run,
    caller_of_a_detached_run,
    others_of_a_detached_run,
    of_a_run_with_a_stream,
    preparation,
    preparation_of_a_warm_pod,
    collector_meanwhile,
    others_of_a_warm_pod,
    launcher_of_a_prepared_run,
    launcher_of_a_release,
    others_of_a_prepared_run,
    collector,
    at_random_instants,
];

/// What there is to kill in.
struct Case {
    pods: Registry,
    parent: Parent,
}

impl Case {
    fn new() -> Self {
        Self {
            pods: Registry::new(),
            parent: Parent::new(),
        }
    }

    /// Words behind `stage0` that start or prepare a pod.
    fn words(&self, command: &str, options: &[&str]) -> Vec<String> {
        let state = self.pods.path().to_str().expect("UTF-8");
        let root = self.pods.root.to_str().expect("UTF-8");
        let mut words = vec![command, "--state-dir", state];
        words.extend(options);
        words.extend(["--pids=20", "--cgroup-parent", &self.parent.path]);
        words.extend(["--rootfs", root, "--", "/bin/probe", "fork", "1"]);
        words.into_iter().map(str::to_owned).collect()
    }

    /// What is left is in no state that a command does not know; a collector takes all of
    /// it but what is prepared.
    fn settle(&self, what: &str) {
        let list = self.pods.list();
        for (uuid, _) in &list {
            let output = self.pods.ask("status", &[uuid]);
            // One of which nobody has been told is removed by its stage0.
            let is_left = || self.pods.left().iter().any(|path| path.ends_with(uuid));
            let is_known = output.code == Some(0) || !is_left();
            assert!(is_known, "{what}: {}", output.everything());
        }
        // Processes that are killed with it may not be gone yet.
        wait_until("nobody lives", || {
            let list = self.pods.list();
            list.iter().all(|(_, state)| state != "running")
        });
        // One that has just been moved is locked until its stage0 is gone.
        wait_until(&format!("{what}: all is collected"), || {
            let output = self.pods.ask("gc", &["--grace-period=0"]);
            assert!(
                output.code == Some(0) && output.stderr.is_empty(),
                "{what}: {}",
                output.everything()
            );
            self.pods
                .left()
                .iter()
                .all(|path| path.starts_with("prepared/"))
        });
        for uuid in self.pods.in_folder("prepared") {
            let output = self.pods.ask("rm", &[&uuid]);
            assert_eq!(output.code, Some(0), "{what}: {}", output.everything());
        }
        assert_eq!(self.pods.left(), Vec::<String>::new(), "{what}");
        wait_until(&format!("{what}: no cgroup is left"), || {
            self.parent.pods().is_empty()
        });
    }

    /// Kills at each stop in turn, until a run ends before it is its turn.
    fn at_every_stop(&self, victim: Victim, step: usize, words: impl Fn() -> Vec<String>) -> usize {
        self.at_every_stop_of(step, words, &mut |words, output, stop| {
            trace::run(
                &program("stage0"),
                words,
                output,
                Plan::Kill { stop, victim },
            )
        })
    }

    fn at_every_stop_of(
        &self,
        step: usize,
        words: impl Fn() -> Vec<String>,
        run: &mut dyn FnMut(&[&str], &Path, usize) -> Traced,
    ) -> usize {
        let output = roots::fresh("output");
        let mounts = compare::mounts();
        let mut stop = 0;
        loop {
            let words = words();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let traced = run(&words, &output, stop);
            let text = fs::read_to_string(&output).expect("a file");
            let what = format!("stop {stop}");
            assert!(traced.stuck.is_empty(), "{what}: {traced:?}: {text}");
            assert_eq!(compare::mounts(), mounts, "{what}");
            self.settle(&what);
            if !traced.acted {
                assert_eq!(traced.code, 0, "{text}");
                return traced.stops;
            }
            stop += step;
        }
    }
}

fn launcher_of_a_run() -> TestResult {
    Requirement::Controllers.require()?;
    let case = Case::new();
    let stops = case.at_every_stop(Victim::First, 1, || case.words("run", &["--keep"]));
    assert!(stops > 100, "{stops} stops");
    case.at_every_stop(Victim::First, 3, || case.words("run", &["--register"]));
    Ok(())
}

fn others_of_a_run() -> TestResult {
    Requirement::Controllers.require()?;
    let case = Case::new();
    case.at_every_stop(Victim::Other, 2, || case.words("run", &["--keep"]));
    Ok(())
}

fn caller_of_a_detached_run() -> TestResult {
    Requirement::Controllers.require()?;
    let case = Case::new();
    case.at_every_stop(Victim::First, 2, || case.words("run", &["--detach"]));
    Ok(())
}

fn others_of_a_detached_run() -> TestResult {
    Requirement::Controllers.require()?;
    let case = Case::new();
    case.at_every_stop(Victim::Other, 2, || case.words("run", &["--detach"]));
    Ok(())
}

fn of_a_run_with_a_stream() -> TestResult {
    Requirement::Controllers.require()?;
    let case = Case::new();
    let words = || case.words("run", &["--keep", "--stdin=stream"]);
    case.at_every_stop(Victim::First, 2, words);
    case.at_every_stop(Victim::Other, 7, words);
    Ok(())
}

fn preparation() -> TestResult {
    Requirement::Controllers.require()?;
    let case = Case::new();
    case.at_every_stop(Victim::First, 1, || case.words("prepare", &[]));
    Ok(())
}

/// A pid 1 that nobody waits for is in no pod that is gone, nor has one lost it.
fn of_a_warm_pod(victim: Victim, step: usize, then: &mut (dyn FnMut(&Case) + Send)) {
    let case = Case::new();
    let words = || case.words("prepare", &["--warm"]);
    let stops = case.at_every_stop_of(step, words, &mut |words, output, stop| {
        let plan = Plan::Kill { stop, victim };
        trace::run_leaving(&program("stage0"), words, output, plan, &mut || then(&case))
    });
    assert!(stops > 100, "{stops} stops");
    wait_until("no process is left", || isolate::processes().len() <= 2);
}

fn preparation_of_a_warm_pod() -> TestResult {
    Requirement::Controllers.require()?;
    of_a_warm_pod(Victim::First, 1, &mut |_| ());
    Ok(())
}

/// While pid 1 is on its way, and has no lock of its own yet: for many calls, so that a part
/// of them is enough.
fn collector_meanwhile() -> TestResult {
    Requirement::Controllers.require()?;
    of_a_warm_pod(Victim::First, 3, &mut |case| {
        case.pods.ask("gc", &[]).code(0).quiet().printed("");
    });
    Ok(())
}

fn others_of_a_warm_pod() -> TestResult {
    Requirement::Controllers.require()?;
    of_a_warm_pod(Victim::Other, 3, &mut |_| ());
    Ok(())
}

fn of_a_prepared_run(victim: Victim, step: usize) {
    let case = Case::new();
    case.at_every_stop(victim, step, || {
        let words = case.words("prepare", &[]);
        let output = kickstage_tests::command::Run::ours("stage0")
            .args(&words)
            .output();
        output.code(0);
        let state = case.pods.path().to_str().expect("UTF-8");
        [
            "run-prepared",
            "--state-dir",
            state,
            output.stdout.trim_end(),
        ]
        .map(str::to_owned)
        .to_vec()
    });
}

fn launcher_of_a_prepared_run() -> TestResult {
    Requirement::Controllers.require()?;
    of_a_prepared_run(Victim::First, 1);
    Ok(())
}

fn others_of_a_prepared_run() -> TestResult {
    Requirement::Controllers.require()?;
    of_a_prepared_run(Victim::Other, 3);
    Ok(())
}

/// A pod that waits to be released has nobody to die with: it is not forgotten.
fn launcher_of_a_release() -> TestResult {
    Requirement::Controllers.require()?;
    let case = Case::new();
    let stops = case.at_every_stop(Victim::First, 1, || {
        let words = case.words("prepare", &["--warm"]);
        let output = kickstage_tests::command::Run::ours("stage0")
            .args(&words)
            .output();
        output.code(0);
        let state = case.pods.path().to_str().expect("UTF-8");
        let uuid = output.stdout.trim_end();
        ["run-prepared", "--state-dir", state, uuid]
            .map(str::to_owned)
            .to_vec()
    });
    assert!(stops > 30, "{stops} stops");
    wait_until("no process is left", || isolate::processes().len() <= 2);
    Ok(())
}

/// What a collector leaves when it is killed the next one takes.
fn collector() -> TestResult {
    Requirement::Controllers.require()?;
    let case = Case::new();
    case.at_every_stop(Victim::First, 1, || {
        let pod = case
            .pods
            .start(&["--pids=20", "--cgroup-parent", &case.parent.path]);
        pod.running.signal(libc::SIGKILL);
        pod.running.finish().killed(libc::SIGKILL);
        wait_until("it has ended", || case.pods.state(&pod.uuid) == "exited");
        let state = case.pods.path().to_str().expect("UTF-8");
        ["gc", "--state-dir", state, "--grace-period=0"]
            .map(str::to_owned)
            .to_vec()
    });
    Ok(())
}

/// The processes that a process has started.
fn children(pid: i32) -> Vec<i32> {
    let path = Path::new("/proc").join(format!("{pid}/task/{pid}/children"));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// stage0, pid 1 and the app in turn, 200 times each.
fn at_random_instants() -> TestResult {
    Requirement::Controllers.require()?;
    let case = Case::new();
    let mut random = Random::new(0x0dd0_5eed_1234_5678);
    let kinds = [
        case.words("run", &["--keep"]),
        case.words("run", &["--register"]),
        case.words("run", &["--detach"]),
        case.words("prepare", &[]),
        case.words("prepare", &["--warm"]),
    ];
    for round in 0..600 {
        let words = &kinds[round / 3 % kinds.len()];
        let mut child = Command::new(program("stage0"))
            .args(words)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("stage0");
        let moment = Instant::now() + Duration::from_micros(random.below(5000) as u64);
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        let mut pid = i32::try_from(child.id()).expect("a pid");
        for _ in 0..round % 3 {
            if let [below, ..] = children(pid).as_slice() {
                pid = *below;
            }
        }
        let _ = sys::kill(pid, libc::SIGKILL);
        let _ = child.wait().expect("our child");
        if round % 20 == 19 {
            case.settle(&format!("round {round}"));
        }
    }
    case.settle("at the end");
    wait_until("no process is left", || isolate::processes().len() <= 2);
    Ok(())
}
