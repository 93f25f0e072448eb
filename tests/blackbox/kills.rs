//! SIGKILL at every system call of a start.

use std::fs;

use kickstage_tests::{
    TestResult,
    command::program,
    compare, roots, tests,
    trace::{self, Plan, Traced, Victim},
};

tests![
    launcher_of_a_pod,
    others_of_a_pod,
    launcher_of_an_ephemeral_pod,
    fly_itself
];

/// Kills at each stop in turn until a start ends before it is its turn; calls
/// `check` for each. Returns how many stops a start has.
fn at_every_stop(
    name: &str,
    options: &[&str],
    victim: Victim,
    step: usize,
    check: impl Fn(usize, &Traced, &str),
) -> usize {
    let (root, source) = (roots::probe(), roots::directory("source"));
    let (root, volume) = (
        root.to_str().expect("UTF-8").to_owned(),
        format!("{}:/data", source.display()),
    );
    let mut arguments = options.to_vec();
    let rest = match name {
        "fly" => vec![root.as_str(), "/bin/probe", "fork", "1"],
        _ => vec![
            "--volume",
            &volume,
            "--rootfs",
            &root,
            "--",
            "/bin/probe",
            "fork",
            "1",
        ],
    };
    arguments.extend(rest);
    let output = roots::fresh("output");
    let mounts = compare::mounts();
    let mut stop = 0;
    loop {
        let traced = trace::run(
            &program(name),
            &arguments,
            &output,
            Plan::Kill { stop, victim },
        );
        let text = fs::read_to_string(&output).expect("a file");
        assert!(traced.stuck.is_empty(), "stop {stop}: {traced:?}: {text}");
        assert_eq!(compare::mounts(), mounts, "stop {stop}");
        if !traced.acted {
            assert_eq!(traced.code, 0, "{text}");
            return traced.stops;
        }
        check(stop, &traced, &text);
        stop += step;
    }
}

/// The pod's processes end with it: else the tracer would say that they are
/// stuck, and the runner that they are left.
fn launcher_of_a_pod() -> TestResult {
    let stops = at_every_stop(
        "stage0",
        &["run"],
        Victim::First,
        1,
        |stop, traced, text| {
            assert_eq!(traced.code, 137, "stop {stop}: {text}");
        },
    );
    assert!(stops > 100, "{stops} stops in a start");
    Ok(())
}

/// Pid 1, or the child that is going to be it: 254 and one line. The app, or
/// the child that is going to be it: 128 + 9.
fn others_of_a_pod() -> TestResult {
    at_every_stop(
        "stage0",
        &["run"],
        Victim::Other,
        1,
        |stop, traced, text| {
            let ours = traced.code == 254
                && text
                    .lines()
                    .filter(|line| line.starts_with("stage"))
                    .count()
                    == 1;
            // The last ones of a pod that has already ended by itself.
            let over = traced.code == 0 && text == "fork 1: ok\n";
            assert!(
                ours || traced.code == 137 || over,
                "stop {stop}: {traced:?}: {text}"
            );
        },
    );
    Ok(())
}

fn launcher_of_an_ephemeral_pod() -> TestResult {
    let options = [
        "run",
        "--ephemeral",
        "--net=none",
        "--hostname",
        "x",
        "--user",
        "alice",
    ];
    at_every_stop(
        "stage0",
        &options,
        Victim::First,
        3,
        |stop, traced, text| {
            assert_eq!(traced.code, 137, "stop {stop}: {text}");
        },
    );
    Ok(())
}

fn fly_itself() -> TestResult {
    at_every_stop(
        "fly",
        &["--tmpfs", "/tmp"],
        Victim::First,
        1,
        |stop, traced, text| {
            assert_eq!(traced.code, 137, "stop {stop}: {text}");
        },
    );
    Ok(())
}
