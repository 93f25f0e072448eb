//! Which pod is meant by a word, and what those see of it who may only look.

use kickstage_tests::{
    TestResult,
    registered::{Registry, one_line},
    tests,
};

tests![by_a_name_far_behind];

/// The first program stands behind the roots of all, which may be many.
fn by_a_name_far_behind() -> TestResult {
    let pods = Registry::new();
    let root = format!("dir:{}{}", pods.root.display(), "/.".repeat(400));
    let mut command = pods.command("prepare");
    for app in 0..8 {
        if app != 0 {
            command = command.arg("---");
        }
        let name = if app == 0 {
            "first".to_owned()
        } else {
            format!("a{app}")
        };
        command = command.args([&root, "--name", &name, "--", "/bin/true"]);
    }
    let output = command.output();
    output.code(0).quiet();
    let uuid = one_line(&output);
    let plan = std::fs::read(pods.place("prepared", &uuid).join("plan")).expect("a plan");
    let place = plan.windows(6).position(|bytes| bytes == b"first\0");
    assert!(place.is_some_and(|place| place > 4096), "{place:?}");
    pods.ask("status", &["first"]).code(0).has("state=prepared");
    pods.ask("rm", &["first"]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}
