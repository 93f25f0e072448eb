//! What `--timings` tells.

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    pod::Pod,
    roots, tests,
};

tests![
    timings_as_json,
    timings_as_text,
    timings_with_a_stamp,
    timings_of_the_fly_flavour,
    timings_of_fly,
    bad_timings,
];

/// Steps and total of a report in JSON; checks that it is one object.
#[track_caller]
fn json(output: &Output) -> (Vec<(String, f64)>, f64) {
    let line = output.stderr.strip_suffix('\n').expect("a line");
    assert!(!line.contains('\n'), "one line\n{}", output.everything());
    let (head, tail) = line.split_once("\"steps\":[").expect("steps");
    assert!(head.starts_with("{\"program\":\""), "{line}");
    let (steps, total) = tail.rsplit_once("],\"total_us\":").expect("a total");
    let steps = steps.split("},{").map(|step| {
        let step = step.trim_start_matches('{').trim_end_matches('}');
        let (name, time) = step.rsplit_once(",\"us\":").expect("a step");
        let name = name
            .strip_prefix("\"step\":\"")
            .and_then(|name| name.strip_suffix('"'))
            .expect("a name");
        (name.to_owned(), time.parse().expect("a number"))
    });
    (
        steps.collect(),
        total
            .strip_suffix('}')
            .expect("an end")
            .parse()
            .expect("a number"),
    )
}

#[track_caller]
fn check_sum(output: &Output, (steps, total): &(Vec<(String, f64)>, f64)) {
    let sum: f64 = steps.iter().map(|(_, time)| time).sum();
    // Each is cut after one decimal.
    assert!(
        (sum - total).abs() <= 0.2 * (steps.len() as f64),
        "{sum} is not {total}"
    );
    let elapsed = output.elapsed.as_secs_f64() * 1e6;
    assert!(*total <= elapsed && *total > 0.0, "{total} of {elapsed}");
}

fn timings_as_json() -> TestResult {
    let output = Pod::new(roots::probe())
        .flag("--timings=json")
        .probe(["echo", "hi", ",", "sleep", "30", ",", "exit", "7"]);
    output.code(7).printed("hi\n");
    let report = json(&output);
    check_sum(&output, &report);
    let named = |part: &str| report.0.iter().find(|(name, _)| name.contains(part));
    for part in ["clone", "pivot", "exec", "mount proc", "app"] {
        assert!(
            named(part).is_some(),
            "no step {part}\n{}",
            output.everything()
        );
    }
    // The app's own time is not the start's.
    let run = named("run of the app").expect("the app's run").1;
    assert!((30_000.0..15_000_000.0).contains(&run), "{run}");
    Ok(())
}

fn timings_as_text() -> TestResult {
    for option in ["--timings", "--timings=text"] {
        let output = Pod::new(roots::probe()).flag(option).probe(["echo", "hi"]);
        output.code(0).printed("hi\n");
        let lines: Vec<&str> = output.stderr.lines().collect();
        assert!(
            lines.len() > 10 && lines.iter().all(|line| line.ends_with(" us")),
            "{}",
            output.everything()
        );
        assert!(
            lines.last().is_some_and(|line| line.starts_with("total")),
            "{}",
            output.everything()
        );
    }
    Ok(())
}

/// From the caller's clone on, if it passes its time.
fn timings_with_a_stamp() -> TestResult {
    let root = roots::probe();
    let time = Run::ours("probe").arg("time").output().stdout;
    let stamp: u64 = time
        .trim()
        .strip_prefix("time=")
        .and_then(|time| time.parse().ok())
        .expect("a time");
    std::thread::sleep(std::time::Duration::from_millis(20));
    let output = Pod::new(&root)
        .flag("--timings=json")
        .probe_command(["exit", "0"])
        .env("STAGE0_T0", stamp.to_string())
        .output();
    let (steps, total) = json(&output);
    assert!(
        total > 20_000.0 && steps[0].1 >= 20_000.0,
        "{total} {:?}",
        steps[0]
    );
    // One that makes no sense is no reason to fail.
    for bad in [
        "",
        "x",
        "-1",
        "99999999999999999999999",
        "18446744073709551615",
    ] {
        let output = Pod::new(&root)
            .flag("--timings=json")
            .probe_command(["exit", "3"])
            .env("STAGE0_T0", bad)
            .output();
        output.code(3);
        json(&output);
    }
    Ok(())
}

/// Printed before the exec, since there is nobody to print them later.
fn timings_of_the_fly_flavour() -> TestResult {
    let pod = Pod::new(roots::probe()).options(["--stage1=fly", "--timings=json"]);
    let output = pod.probe(["echo", "hi"]);
    output.code(0).printed("hi\n");
    let (steps, _) = json(&output);
    assert!(
        steps.iter().any(|(name, _)| name.starts_with("chroot")),
        "{steps:?}"
    );
    Ok(())
}

/// Before the exec, or, where it waits, behind it; both tell all steps.
fn timings_of_fly() -> TestResult {
    let root = roots::probe();
    for option in ["--clearenv", "--unshare-pid", "--confine"] {
        let pod = Pod::fly(&root).options([option, "--timings=json"]);
        let output = pod.probe(["echo", "hi", ",", "exit", "7"]);
        output.code(7).printed("hi\n");
        let report = json(&output);
        check_sum(&output, &report);
        let names: Vec<&str> = report.0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.first(), Some(&"close"), "{names:?}");
        assert_eq!(names.last(), Some(&"exec"), "{names:?}");
        let output = Pod::fly(&root)
            .options([option, "--timings"])
            .probe(["exit", "7"]);
        output.code(7);
        let lines: Vec<&str> = output.stderr.lines().collect();
        assert_eq!(lines.len(), names.len() + 1, "{}", output.everything());
        assert!(
            lines.iter().all(|line| line.ends_with(" us")),
            "{}",
            output.everything()
        );
    }
    Ok(())
}

fn bad_timings() -> TestResult {
    let root = roots::probe();
    Pod::new(&root)
        .flag("--timings=xml")
        .probe(["exit", "0"])
        .refused(&["--timings"]);
    Pod::fly(&root)
        .flag("--timings=xml")
        .probe(["exit", "0"])
        .refused(&["--timings"]);
    Ok(())
}
