//! Which pod is meant by a word, and what those see of it who may only look.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
};

use kickstage_tests::{
    TestResult,
    command::Run,
    init,
    registered::{FOLDERS, Registry, one_line, wait_until},
    sys, tests,
};

tests![by_a_name_far_behind, of_several, of_a_group, of_nobody];

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
    let plan = fs::read(pods.place("prepared", &uuid).join("plan")).expect("a plan");
    let place = plan.windows(6).position(|bytes| bytes == b"first\0");
    assert!(place.is_some_and(|place| place > 4096), "{place:?}");
    pods.ask("status", &["first"]).code(0).has("state=prepared");
    pods.ask("rm", &["first"]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// It is told which one is which.
fn of_several() -> TestResult {
    let pods = Registry::new();
    let all = [(); 2].map(|()| pods.prepare(&[], &["exit", "0"]));
    let output = pods.ask("status", &[&all[0], &all[1]]);
    output.code(0).quiet();
    let told: Vec<&str> = output
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("uuid="))
        .collect();
    assert_eq!(told, all);
    pods.ask("status", &[&all[0]])
        .code(0)
        .quiet()
        .lacks("uuid=");
    Ok(())
}

/// A command as another user of this group.
fn other(pods: &Registry, group: u32, command: &str, words: &[&str]) -> Run {
    let run = pods.command(command).args(words);
    run.hook(move || sys::become_user(1000, group))
}

/// Lets a group look.
fn open(pods: &Registry, group: u32) {
    let folder = pods.path().join("pods");
    for path in FOLDERS
        .map(|name| folder.join(name))
        .iter()
        .chain([&folder])
    {
        fs::create_dir_all(path).expect("a folder");
        chown(path, None, Some(group)).expect("a group");
        fs::set_permissions(path, fs::Permissions::from_mode(0o2750)).expect("a mode");
    }
}

/// They can't open the lock of a pod that is not started yet, nor any plan.
fn of_a_group() -> TestResult {
    let pods = Registry::new();
    open(&pods, 1000);
    let uuid = pods.prepare(&["--warm"], &["exit", "7"]);
    let ask = |command: &str, words: &[&str]| other(&pods, 1000, command, words).output();
    ask("list", &[]).code(0).quiet().has("parked");
    ask("status", &[&uuid])
        .code(0)
        .quiet()
        .has("state=parked\n");
    ask("status", &["--wait=20ms", &uuid]).refused(&["time to wait is over"]);
    let waiting = other(&pods, 1000, "status", &["--wait", &uuid]).start();
    wait_until("it waits", || init::waits_for_a_pod(waiting.pid()));
    for words in [
        &["cat-manifest", &uuid][..],
        &["logs", &uuid],
        &["export", &uuid, "-"],
        &["stop", &uuid],
        &["stop", "--force", &uuid],
    ] {
        ask(words[0], &words[1..]).refused(&["Permission denied"]);
    }
    pods.ask("run-prepared", &["--keep", &uuid]).code(7).quiet();
    waiting.finish().code(0).quiet().has("state=exited\n");
    pods.collected();
    Ok(())
}

/// Who may not look is told that, and not that there is none.
fn of_nobody() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&[], &["exit", "0"]);
    for word in [&uuid, "name"] {
        let output = other(&pods, 1000, "status", &[word]).output();
        output.refused(&["Permission denied"]);
    }
    Ok(())
}
