//! `stage0 stop`, `stage0 rm` and `stage0 gc` of pods that somebody has left, or has in hand.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    time::{Duration, SystemTime},
};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    compare, lock,
    registered::{Registry, lives, wait_until},
    requirement::Requirement,
    roots, sys, tests,
};

use crate::stop::waits_for_a_lock;

tests![
    whose_maker_was_killed,
    that_can_not_be_ended_yet,
    that_is_being_made,
    whose_stage0_is_about_to_end,
    of_the_same_name,
    by_the_time_of_its_end,
    whose_lock_is_a_link,
    what_is_left_of_one_that_is_kept,
    asked_once_in_a_grace_period,
    code_before_the_end,
];

/// A parked pod in the folder of another state: as if who has made or released it was killed
/// there. Its uuid, and its pid 1.
fn left(pods: &Registry, folder: &str) -> (String, i32) {
    let uuid = pods.prepare(&["--warm"], &["exit", "0"]);
    let place = pods.place(folder, &uuid);
    fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
    fs::rename(pods.place("prepared", &uuid), &place).expect("moved");
    let pid = fs::read_to_string(place.join("pid")).expect("its pid");
    assert_eq!(pods.state(&uuid), "abandoned");
    (uuid, pid.trim_end().parse().expect("a number"))
}

/// pid 1 would wait for ever: whoever comes ends it, also if its number was never told.
fn whose_maker_was_killed() -> TestResult {
    let pods = Registry::new();
    for folder in ["prepare", "run"] {
        for command in ["stop", "rm", "gc"] {
            for is_told in [true, false] {
                let (uuid, pid) = left(&pods, folder);
                if !is_told {
                    fs::remove_file(pods.place(folder, &uuid).join("pid")).expect("its pid");
                }
                let word = if command == "gc" {
                    "--grace-period=0"
                } else {
                    &uuid
                };
                pods.ask(command, &[word]).code(0).quiet();
                wait_until("pid 1 has ended", || !lives(pid.to_string()));
                if command == "stop" {
                    pods.ask("rm", &[&uuid]).code(0).quiet();
                }
                assert_eq!(pods.left(), Vec::<String>::new(), "{command} in {folder}");
            }
        }
    }
    Ok(())
}

/// Nobody can name its pid 1, nor ask it: the next collector comes.
fn that_can_not_be_ended_yet() -> TestResult {
    let pods = Registry::new();
    let (uuid, pid) = left(&pods, "prepare");
    for name in ["pid", "control"] {
        fs::remove_file(pods.place("prepare", &uuid).join(name)).expect("a file");
    }
    pods.ask("gc", &["--grace-period=0"]).code(0).quiet();
    assert_eq!(pods.left(), [format!("prepare/{uuid}")]);
    sys::kill(pid, libc::SIGKILL).expect("it lives");
    wait_until("pid 1 has ended", || !lives(pid.to_string()));
    pods.collected();
    Ok(())
}

/// Who has its lock goes on making it.
fn that_is_being_made() -> TestResult {
    let pods = Registry::new();
    let uuid = "00112233-4455-4677-8899-aabbccddeeff";
    for folder in ["embryo", "prepare"] {
        let place = pods.place(folder, uuid);
        fs::create_dir_all(&place).expect("a directory");
        let file = File::create(place.join("lock")).expect("a lock");
        lock::as_stage0(&file).expect("nobody has it");
        assert_eq!(pods.state(uuid), "preparing");
        pods.ask("rm", &[uuid]).refused(&[uuid]);
        pods.ask("gc", &["--grace-period=0"]).code(0).quiet();
        assert_eq!(pods.left(), [format!("{folder}/{uuid}")]);
        drop(file);
        pods.collected();
    }
    Ok(())
}

/// It has moved the pod already, and is waited for.
fn whose_stage0_is_about_to_end() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.exited("0");
    let path = pods.place("exited-garbage", &uuid).join("lock");
    let file = File::options().write(true).open(path).expect("a lock");
    lock::as_stage0(&file).expect("nobody has it");
    let remove = pods.command("rm").arg(&uuid).start();
    wait_until("it waits", || waits_for_a_lock(remove.pid()));
    drop(file);
    remove.finish().code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// What a collector that was killed has left of it is in nobody's way.
fn of_the_same_name() -> TestResult {
    let pods = Registry::new();
    for command in ["rm", "gc"] {
        let uuid = pods.exited("0");
        let garbage = pods.place("garbage", &uuid);
        fs::create_dir_all(garbage.join("status")).expect("a directory");
        fs::write(garbage.join("lock"), "").expect("a file");
        // It is still one pod.
        assert_eq!(pods.list().len(), 1);
        let word = if command == "gc" {
            "--grace-period=0"
        } else {
            &uuid[..20]
        };
        pods.ask(command, &[word]).code(0).quiet();
        assert_eq!(pods.left(), Vec::<String>::new(), "{command}");
    }
    Ok(())
}

/// A grace period begins there, whatever is done with its directory later.
fn by_the_time_of_its_end() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.exited("0");
    let path = pods.place("exited-garbage", &uuid).join("code");
    let code = File::options().write(true).open(path).expect("a code");
    let before = SystemTime::now() - Duration::from_secs(3600);
    code.set_modified(before).expect("a time");
    pods.ask("gc", &["--grace-period=2h"]).code(0).quiet();
    assert_eq!(pods.left(), [format!("exited-garbage/{uuid}")]);
    pods.ask("gc", &["--grace-period=30m"]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// It says nothing of the pod, and nobody takes what it leads to.
fn whose_lock_is_a_link() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&[], &["exit", "0"]);
    let path = pods.place("prepared", &uuid).join("lock");
    let elsewhere = pods.path().join("elsewhere");
    fs::rename(&path, &elsewhere).expect("moved");
    symlink(&elsewhere, &path).expect("a link");
    let file = File::options().write(true).open(&elsewhere);
    lock::as_stage0(file.as_ref().expect("a lock")).expect("nobody has it");
    assert_eq!(pods.state(&uuid), "prepared");
    drop(file);
    for command in ["rm", "run-prepared"] {
        pods.ask(command, &[&uuid]).refused(&["symbolic links"]);
    }
    fs::rename(&elsewhere, &path).expect("moved");
    pods.ask("rm", &[&uuid]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// What is true of a pod that runs is gone, and nobody else sees the rest.
fn what_is_left_of_one_that_is_kept() -> TestResult {
    use std::os::unix::fs::PermissionsExt;
    let pods = Registry::new();
    let options = ["--keep", "--log=pod"];
    // The first one makes the folders, too.
    for _ in 0..2 {
        pods.pod("run", &options, &["exit", "0"]).output().code(0);
    }
    for uuid in pods.in_folder("exited-garbage") {
        let place = pods.place("exited-garbage", &uuid);
        for name in ["ready", "control"] {
            assert!(!place.join(name).exists(), "{:?}", compare::names(&place));
        }
        for path in [&place, &place.join("logs")] {
            let mode = fs::metadata(path)
                .expect("a directory")
                .permissions()
                .mode();
            assert_eq!(mode & 0o7777, 0o750, "{}", path.display());
        }
    }
    pods.collected();
    Ok(())
}

/// These calls of a command, in their order.
fn calls(pods: &Registry, names: &str, words: &[&str]) -> String {
    let log = roots::fresh("calls");
    Run::new("strace")
        .args(["-f", "-e", &format!("trace={names}"), "-o"])
        .arg(&log)
        .arg(program("stage0"))
        .args(words)
        .env("KICKSTAGE_STATE_DIR", pods.path())
        .output()
        .code(0);
    fs::read_to_string(&log).expect("a log")
}

/// Who sees that a pod has ended finds its code.
fn code_before_the_end() -> TestResult {
    Requirement::Strace.require()?;
    let pods = Registry::new();
    let root = pods.root.display().to_string();
    let words = [
        "run",
        "--keep",
        "--rootfs",
        &root,
        "/bin/probe",
        "exit",
        "0",
    ];
    let text = calls(&pods, "rename,renameat,renameat2", &words);
    let code = text.find(", \"code\")").expect("its code");
    assert!(
        code < text.find("/exited-garbage/").expect("its end"),
        "{text}"
    );
    pods.collected();
    Ok(())
}

/// Who does not answer has no more of them: it is told twice at most, and killed.
fn asked_once_in_a_grace_period() -> TestResult {
    Requirement::Strace.require()?;
    let pods = Registry::new();
    let pod = pods.start(&["--stop-timeout=1ms"]);
    let pid = fs::read_to_string(pods.place("run", &pod.uuid).join("pid")).expect("its pid");
    sys::kill(pid.trim_end().parse().expect("a number"), libc::SIGSTOP).expect("it lives");
    let text = calls(&pods, "sendmsg", &["stop", &pod.uuid]);
    assert!(text.matches("sendmsg(").count() <= 2, "{text}");
    pod.running.finish().code(254);
    pods.collected();
    Ok(())
}
