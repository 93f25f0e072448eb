//! Which pod is meant by a word, and what those see of it who may only look.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, chown},
};

use kickstage_tests::{
    TestResult,
    command::Run,
    init, lock,
    registered::{FOLDERS, Registry, one_line, wait_until},
    sys, tests,
};

tests![
    by_a_name_far_behind,
    by_a_name_that_begins_a_uuid,
    by_a_name_that_is_cut,
    of_several,
    of_a_group,
    of_a_group_meanwhile,
    of_nobody
];

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

/// A name is what was given; a uuid nobody has chosen.
fn by_a_name_that_begins_a_uuid() -> TestResult {
    let pods = Registry::new();
    let other = pods.prepare(&[], &["exit", "0"]);
    let uuid = pods.prepare(&["--name", &other[..5]], &["exit", "0"]);
    pods.ask("rm", &[&other[..5]]).code(0).quiet();
    assert_eq!(pods.left(), [format!("prepared/{other}")], "not {uuid}");
    Ok(())
}

/// A list has room for a part of it, and says so.
fn by_a_name_that_is_cut() -> TestResult {
    let pods = Registry::new();
    for (length, shown) in [(20, "a".repeat(20)), (21, "a".repeat(17) + "...")] {
        let name = "a".repeat(length);
        let uuid = pods.prepare(&["--name", &name], &["exit", "0"]);
        let list = pods.ask("list", &["--no-legend"]);
        list.code(0).quiet().has(&format!(" {shown} "));
        assert_eq!(pods.state(&name), "prepared");
        pods.ask("rm", &[&uuid]).code(0).quiet();
    }
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

/// That they can't open its lock does not say that nobody makes it.
fn of_a_group_meanwhile() -> TestResult {
    let pods = Registry::new();
    open(&pods, 1000);
    let place = pods.place("prepare", "00112233-4455-4677-8899-aabbccddeeff");
    fs::create_dir(&place).expect("a directory");
    let file = File::create(place.join("lock")).expect("a lock");
    let private = fs::Permissions::from_mode(0o600);
    file.set_permissions(private).expect("a mode");
    lock::as_stage0(&file).expect("nobody has it");
    let list = other(&pods, 1000, "list", &[]).output();
    list.code(0).quiet().has("preparing");
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
