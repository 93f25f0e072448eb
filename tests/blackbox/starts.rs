//! Start after start of registered pods: what there is stays as it was.

use std::fs;

use kickstage_tests::{
    TestResult, compare, isolate,
    registered::{Parent, Registry, wait_until},
    requirement::Requirement,
    space, tests,
};

tests![two_thousand];

/// Inodes in use of the state directory's tmpfs, mounts, cgroups, descriptors of this
/// process, processes.
fn counts(pods: &Registry, parent: &Parent) -> [u64; 5] {
    let inodes = space::used_inodes(pods.path());
    let descriptors = fs::read_dir("/proc/self/fd").expect("a list").count();
    [
        inodes,
        compare::mounts().lines().count() as u64,
        parent.pods().len() as u64,
        descriptors as u64,
        isolate::processes().len() as u64,
    ]
}

fn two_thousand() -> TestResult {
    Requirement::Controllers.require()?;
    let (pods, parent) = (Registry::new(), Parent::new());
    let limits = ["--register", "--pids=20", "--cgroup-parent", &parent.path];
    let start = |round: usize| {
        // With limits each tenth time: a cgroup takes longer to go than all else.
        let options = if round.is_multiple_of(10) {
            &limits[..]
        } else {
            &limits[..1]
        };
        pods.pod("run", options, &["exit", "3"]).output().code(3);
    };
    for round in 0..10 {
        start(round);
    }
    wait_until("no process is left", || isolate::processes().len() <= 2);
    let before = counts(&pods, &parent);
    for round in 0..2000 {
        start(round);
    }
    wait_until("all is as before", || counts(&pods, &parent) == before);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}
