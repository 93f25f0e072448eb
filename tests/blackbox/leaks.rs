//! A thousand pods, many of them killed: nothing is left. Of cgroups that is shown where kills
//! are at each instant of a start with limits.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use kickstage_tests::{
    TestResult, command::program, compare, isolate, random::Random, roots, sys, tests,
};

tests![a_thousand_runs];

/// What a launcher could leave on disk; names of others come and go.
fn files() -> BTreeSet<PathBuf> {
    [
        "/run",
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "/var/lib",
        "/dev/mqueue",
    ]
    .into_iter()
    .flat_map(|folder| {
        compare::names(folder)
            .into_iter()
            .map(move |name| PathBuf::from(folder).join(name))
    })
    .filter(|path| {
        let name = path.to_string_lossy().into_owned();
        ["kickstage", "stage", "pod-", "fly"]
            .iter()
            .any(|part| name.contains(part))
            // Of our own tools and of other tests, which run beside this.
            && !["kickstage-tests", "kickstage-bench", "/run/kickstage"]
                .iter()
                .any(|part| name.contains(part))
    })
    .collect()
}

const KINDS: [&[&str]; 6] = [
    &["run"],
    &["run", "--ephemeral"],
    &["run", "--net=none", "--user", "alice"],
    &[
        "run",
        "--readonly-rootfs",
        "--tmpfs",
        "/tmp",
        "--volume",
        "/etc:/etc:ro",
    ],
    &["run", "--insecure-options=all", "--hostname", "x"],
    &["run", "--stage1=fly", "--tmpfs", "/tmp"],
];

const SCRIPTS: [&[&str]; 3] = [
    &["exit", "0"],
    &[
        "background",
        "sleep",
        "60000",
        ",",
        "background",
        "ignore",
        "all",
        ",",
        "orphan",
        "1",
        ",",
        "sleep",
        "60000",
    ],
    &["create", "/tmp/x", ",", "sleep", "1"],
];

fn a_thousand_runs() -> TestResult {
    let root = roots::probe();
    let before = (compare::mounts(), files());
    let tree = compare::tree(&root);
    let mut numbers = Random::new(0x9e37_79b9_7f4a_7c15);
    let (mut killed, mut ended) = (0, 0);
    let stage0 = program("stage0");
    for run in 0..1000_usize {
        let mut child = Command::new(&stage0)
            .args(KINDS[run % KINDS.len()])
            .arg("--rootfs")
            .arg(&root)
            .args(["--", "/bin/probe"])
            .args(SCRIPTS[run % SCRIPTS.len()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("stage0");
        let endless = run % SCRIPTS.len() == 1;
        if endless || numbers.below(2) == 0 {
            let moment = Instant::now() + Duration::from_micros(numbers.below(4000) as u64);
            while Instant::now() < moment {
                std::hint::spin_loop();
            }
            let pid = i32::try_from(child.id()).expect("a pid");
            sys::kill(pid, libc::SIGKILL).expect("our child");
        }
        let status = child.wait().expect("our child");
        if status.success() {
            ended += 1;
        } else {
            killed += 1;
        }
    }
    assert!(
        killed > 400 && ended > 200,
        "{killed} killed, {ended} ended by themselves"
    );
    nothing_left();
    assert_eq!(compare::mounts(), before.0, "mounts");
    assert_eq!(files(), before.1, "files");
    // Files that the apps themselves have made aside.
    let after = compare::tree(&root);
    let difference = compare::difference(&tree, &after);
    assert!(
        difference.lines().all(|line| line.starts_with("+ tmp/x ")
            || line.starts_with("- tmp ")
            || line.starts_with("+ tmp ")),
        "{difference}"
    );
    Ok(())
}

/// Apart from this process and pid 1 of its namespace.
fn nothing_left() {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = isolate::processes();
        if left.len() <= 2 {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{:#?}",
            left.into_iter().map(isolate::describe).collect::<Vec<_>>()
        );
        thread::sleep(Duration::from_millis(5));
    }
}
