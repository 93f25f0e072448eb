//! Many pods at once: `KICKSTAGE_MANY_PODS` says how many, 200 if it does not.

use std::{env, time::Duration};

use kickstage_tests::{
    TestResult,
    command::Running,
    fault::failing,
    isolate,
    registered::{Registry, wait_until},
    tests,
};

tests![all_are_known, in_parallel];

fn count() -> usize {
    let said = env::var("KICKSTAGE_MANY_PODS").ok();
    said.map_or(200, |text| text.parse().expect("a number of pods"))
}

fn all_are_known() -> TestResult {
    let pods = Registry::new();
    let count = count();
    let mut uuids: Vec<String> = (0..count).map(|_| pods.detach(&[])).collect();
    let list = pods.list();
    assert!(list.iter().all(|(_, state)| state == "running"));
    let mut listed: Vec<&String> = list.iter().map(|(uuid, _)| uuid).collect();
    listed.sort();
    uuids.sort();
    assert_eq!(listed.len(), count);
    assert!(listed.into_iter().eq(&uuids), "others are listed");
    // It is all the same when nobody can be had to look at one half of them.
    let refused = failing(&[libc::SYS_clone], libc::EAGAIN);
    let alone = pods.command("list").hook(refused).output();
    alone.code(0).quiet();
    assert_eq!(alone.stdout, pods.ask("list", &[]).stdout);
    assert_eq!(alone.stdout.lines().count(), count + 1);
    for uuid in uuids.iter().step_by(17) {
        assert_eq!(pods.state(&uuid[..13]), "running");
    }
    pods.command("stop")
        .args(&uuids)
        .limit(Duration::from_secs(60))
        .output()
        .code(0)
        .quiet();
    let states = pods.list();
    assert!(states.iter().all(|(_, state)| state == "exited"));
    assert_eq!(states.len(), count);
    // Some by their names, the others by a collector.
    let rest = uuids.split_off(count / 2);
    pods.command("rm").args(&uuids).output().code(0).quiet();
    assert_eq!(pods.left().len(), rest.len());
    pods.collected();
    wait_until("no process is left", || isolate::processes().len() <= 2);
    Ok(())
}

fn in_parallel() -> TestResult {
    let pods = Registry::new();
    for kind in ["--register", "--keep", "--detach"] {
        let all: Vec<Running> = (0..100)
            .map(|code: usize| {
                pods.pod("run", &[kind], &["exit", &code.to_string()])
                    .limit(Duration::from_secs(60))
                    .start()
            })
            .collect();
        for (code, running) in (0..).zip(all) {
            let output = running.finish();
            if kind == "--detach" {
                // It may have been ready before it has ended.
                assert!(
                    output.code == Some(code) || output.code == Some(0),
                    "{}",
                    output.everything()
                );
            } else {
                output.code(code).quiet();
            }
        }
        wait_until("all have ended", || {
            pods.list().iter().all(|(_, state)| state == "exited")
        });
        let left = if kind == "--register" { 0 } else { 100 };
        assert_eq!(pods.left().len(), left);
        pods.collected();
    }
    Ok(())
}
