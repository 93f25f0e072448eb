//! Limits of a caller that is a real-time process: only cgroups of version 1 mind.

use kickstage_tests::{TestResult, policy::real_time, requirement::Requirement, tests};

use crate::limits::{Parent, ended};

tests![a_real_time_caller];

/// Nobody has given the new cgroup any real time.
fn a_real_time_caller() -> TestResult {
    Requirement::RealTimeGroups.require()?;
    let parent = Parent::new();
    let run = |options: &[&str]| {
        let pod = parent.pod(options);
        pod.probe_command(["exit", "3"]).hook(real_time).output()
    };
    for option in ["--cpus=1", "--cpu-weight=50"] {
        run(&[option]).refused(&[
            "join /sys/fs/cgroup/cpu",
            "Invalid argument",
            "no real-time process",
            "chrt --other 0",
        ]);
        parent.is_gone();
    }
    // Other limits concern it as anybody.
    ended(&run(&["--memory=50M", "--pids=50"]), 3);
    parent.is_gone();
    Ok(())
}
