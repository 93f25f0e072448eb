//! `stage0 status --wait` and `--wait-ready` for pods that are not started yet.

use std::fs;

use kickstage_tests::{
    TestResult, init,
    registered::{Registry, wait_until},
    roots, tests,
};

tests![for_one_that_is_prepared, for_no_time];

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
