//! `stage0 status --wait` and `--wait-ready` for pods that are not started yet.

use std::fs::{self, File};

use kickstage_tests::{
    TestResult, init, lock,
    registered::{Registry, lives, wait_until},
    roots, sys, tests,
};

use crate::stop::waits_for_a_lock;

tests![
    for_one_that_is_prepared,
    for_no_time,
    for_a_start_that_comes_to_nothing,
    for_one_that_was_quicker,
    until_it_is_killed,
];

/// No time is one that is over at once.
fn for_no_time() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&[], &["exit", "0"]);
    for option in ["--wait=0", "--wait-ready=0", "--wait=0ms"] {
        pods.ask("status", &[option, &uuid])
            .refused(&["time to wait is over"]);
    }
    Ok(())
}

/// Neither its end nor that it is ready comes before its start.
fn for_one_that_is_prepared() -> TestResult {
    let pods = Registry::new();
    let options = ["--wait", "--wait=100", "--wait-ready", "--wait-ready=100"];
    let waiting = |uuid: &str| {
        options.map(|option| {
            let running = pods.command("status").args([option, uuid]).start();
            wait_until("it waits", || init::waits_for_a_pod(running.pid()));
            running
        })
    };
    let uuid = pods.prepare(&[], &["catch", "TERM"]);
    for option in ["--wait=20ms", "--wait-ready=20ms"] {
        pods.ask("status", &[option, &uuid])
            .refused(&["time to wait is over"]);
    }
    let [ended, also_ended, ready, also_ready] = waiting(&uuid);
    let pod = pods.command("run-prepared").args(["--keep", &uuid]).start();
    ready.finish().code(0).quiet().has("ready=true\n");
    also_ready.finish().code(0).quiet().has("ready=true\n");
    pods.ask("stop", &[&uuid]).code(0).quiet();
    ended.finish().code(0).quiet().has("state=exited\n");
    also_ended.finish().code(0).quiet().has("state=exited\n");
    pod.finish().code(0);
    // One that is removed is gone, and never was ready, nor did it end.
    let uuid = pods.prepare(&[], &["exit", "0"]);
    let all = waiting(&uuid);
    pods.ask("rm", &[&uuid]).code(0).quiet();
    for waiting in all {
        waiting.finish().refused(&["find pod", &uuid, "no matches"]);
    }
    // A start that fails is none.
    let gone = roots::directory("volume");
    let volume = format!("{}:/volume", gone.display());
    let uuid = pods.prepare(&["--volume", &volume], &["exit", "7"]);
    fs::remove_dir(&gone).expect("it is empty");
    let [mut ended, also_ended, ready, also_ready] = waiting(&uuid);
    pods.ask("run-prepared", &[&uuid])
        .refused(&["No such file"]);
    assert!(ended.runs());
    fs::create_dir(&gone).expect("it is gone");
    pods.ask("run-prepared", &["--keep", &uuid]).code(7);
    ended.finish().code(0).quiet().has("code=7\n");
    also_ended.finish().code(0).quiet().has("code=7\n");
    drop([ready.finish(), also_ready.finish()]);
    pods.collected();
    Ok(())
}

/// Who held the lock has not started it.
fn for_a_start_that_comes_to_nothing() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&[], &["exit", "0"]);
    let path = pods.place("prepared", &uuid).join("lock");
    let file = File::options().write(true).open(path).expect("a lock");
    lock::as_stage0(&file).expect("nobody has it");
    let waiting = pods.command("status").args(["--wait", &uuid]).start();
    wait_until("it waits", || waits_for_a_lock(waiting.pid()));
    drop(file);
    wait_until("it waits again", || init::waits_for_a_pod(waiting.pid()));
    pods.ask("run-prepared", &["--keep", &uuid]).code(0).quiet();
    waiting.finish().code(0).quiet().has("state=exited\n");
    pods.collected();
    Ok(())
}

/// What was in time counts, however late it is seen.
fn for_one_that_was_quicker() -> TestResult {
    let pods = Registry::new();
    for (option, kept) in [("--wait", "--rm"), ("--wait=500ms", "--keep")] {
        let uuid = pods.prepare(&[], &["exit", "0"]);
        let waits = pods.command("status").args([option, &uuid]).start();
        wait_until("it waits", || init::waits_for_a_pod(waits.pid()));
        waits.signal(libc::SIGSTOP);
        init::wait_for_state(waits.pid(), 'T');
        pods.ask("run-prepared", &[kept, &uuid]).code(0).quiet();
        let is_over = || init::descriptors(waits.pid()).contains("ticks: 1");
        wait_until("the time is over", || option == "--wait" || is_over());
        waits.signal(libc::SIGCONT);
        waits.finish().code(0).quiet();
    }
    pods.collected();
    Ok(())
}

/// Nothing of it stays, which would sleep as long as the pod runs.
fn until_it_is_killed() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&[]);
    let waiting = pods.command("status").args(["--wait=1000", &pod.uuid]);
    let waiting = waiting.start();
    wait_until("it waits", || init::waits_for_a_pod(waiting.pid()));
    let child = init::child_of(waiting.pid());
    sys::kill(waiting.pid(), libc::SIGKILL).expect("it lives");
    wait_until("its child has ended", || !lives(child.to_string()));
    waiting.finish().killed(libc::SIGKILL);
    pod.end();
    Ok(())
}
