//! `stage0 stop`: registered pods are told to end, in order or at once.

use std::fs;

use kickstage_tests::{
    TestResult,
    registered::{Registered, Registry, lives, wait_until},
    roots, tests,
};

tests![
    in_order,
    by_uuid_file,
    force,
    that_has_ended,
    prepared_and_unknown,
    several,
    that_is_not_kept,
    deaf,
    apps_that_wait_for_others,
    without_its_socket,
    killed_meanwhile,
    command_lines,
];

/// The app dies of the signal, which is no failure; `stop` returns when the pod has ended.
fn in_order() -> TestResult {
    let pods = Registry::new();
    for probe in [
        ["catch", "TERM"].as_slice(),
        &["echo", "waiting", ",", "sleep", "60000"],
    ] {
        let pod = pods.start_probe(&[], probe);
        pods.ask("stop", &[&pod.uuid]).code(0).quiet().printed("");
        assert_eq!(pods.state(&pod.uuid), "exited");
        assert_eq!(pods.in_folder("run"), Vec::<String>::new());
        assert_eq!(pods.status(&pod.uuid).get("code").number(), Some(0));
        pod.running.finish().code(0).quiet();
    }
    pods.collected();
    Ok(())
}

fn by_uuid_file() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&[]);
    let file = roots::fresh("file");
    let path = file.to_str().expect("UTF-8");
    fs::write(&file, format!("{}\n", pod.uuid)).expect("a file");
    pods.ask("stop", &["--uuid-file", path]).code(0).quiet();
    pod.running.finish().code(0);
    // What holds none is named.
    for text in ["", "\n", "abc\n", &pod.uuid[..35], "../../../../etc/passwd"] {
        fs::write(&file, text).expect("a file");
        pods.ask("stop", &["--uuid-file", path])
            .refused(&[path, "uuid"]);
    }
    pods.ask("stop", &["--uuid-file", "/no/such/file"])
        .refused(&["/no/such/file"]);
    Ok(())
}

/// Nobody is asked; 254, since pid 1 was killed.
fn force() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start_probe(
        &[],
        &[
            "ignore", "all", ",", "echo", "waiting", ",", "sleep", "60000",
        ],
    );
    let pid = fs::read_to_string(pods.place("run", &pod.uuid).join("pid")).expect("a pid");
    pods.ask("stop", &["--force", &pod.uuid]).code(0).quiet();
    assert!(!lives(pid.trim_end()), "pid 1 is there");
    assert_eq!(pods.state(&pod.uuid), "exited");
    pod.running.finish().code(254);
    assert_eq!(pods.status(&pod.uuid).get("code").number(), Some(254));
    pods.collected();
    Ok(())
}

fn that_has_ended() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.exited("7");
    pods.ask("stop", &[&uuid]).code(0).quiet().printed("");
    pods.ask("stop", &["--force", &uuid]).code(0).quiet();
    assert_eq!(pods.status(&uuid).get("code").number(), Some(7));
    Ok(())
}

fn prepared_and_unknown() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&[], &["exit", "0"]);
    for words in [vec![uuid.as_str()], vec!["--force", &uuid]] {
        pods.ask("stop", &words).refused(&[&uuid, "prepared"]);
    }
    assert_eq!(pods.state(&uuid), "prepared");
    pods.ask("stop", &["deadbeef"])
        .refused(&["no matches found for \"deadbeef\""]);
    pods.ask("stop", &[""]).refused(&["UUID cannot be empty"]);
    Ok(())
}

/// All are told before one is waited for; what can't be stopped keeps no other from it.
fn several() -> TestResult {
    let pods = Registry::new();
    let all: Vec<Registered> = (0..5).map(|_| pods.start(&[])).collect();
    let mut words: Vec<&str> = all.iter().map(|pod| pod.uuid.as_str()).collect();
    words.insert(2, "ffff-none");
    let output = pods.ask("stop", &words);
    output.refused(&["ffff-none"]);
    for pod in all {
        pod.running.finish().code(0);
    }
    let states: Vec<String> = pods.list().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["exited"; 5]);
    pods.collected();
    Ok(())
}

/// What is gone when it has ended was stopped all the same.
fn that_is_not_kept() -> TestResult {
    let pods = Registry::new();
    let uuids = [
        pods.detach(&["--rm"]),
        pods.detach(&["--rm"]),
        pods.detach(&[]),
    ];
    let words: Vec<&str> = uuids.iter().map(String::as_str).collect();
    pods.ask("stop", &words).code(0).quiet();
    wait_until("two are gone", || pods.left().len() == 1);
    // By a name that the next one has, too.
    let named = pods.detach(&["--rm", "--name=web"]);
    pods.ask("stop", &["web"]).code(0).quiet();
    wait_until("it is gone", || pods.left().len() == 1);
    pods.ask("stop", &[&named]).refused(&["no matches"]);
    pods.collected();
    Ok(())
}

/// An app that ignores SIGTERM is killed at its deadline: 137.
fn deaf() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start_probe(
        &["--stop-timeout=100ms"],
        &[
            "ignore", "TERM", ",", "echo", "waiting", ",", "sleep", "60000",
        ],
    );
    pods.ask("stop", &[&pod.uuid]).code(0).quiet();
    pod.running.finish().code(137);
    let status = pods.status(&pod.uuid);
    assert_eq!(status.get("code").number(), Some(137));
    assert_eq!(status.get("apps").get("app-0").number(), Some(137));
    Ok(())
}

/// Those that came last are stopped first.
fn apps_that_wait_for_others() -> TestResult {
    let pods = Registry::new();
    let box_ = roots::directory("box");
    let volume = format!("{}:/box", box_.display());
    let file = roots::fresh("uuid");
    let words = "--name=first --ready=file:/box/ready -- /bin/probe write /box/ready x , catch TERM , \
         append /box/log first --- --name=second --after=first -- /bin/probe echo waiting , catch TERM , \
         append /box/log second";
    let running = pods
        .command("run")
        .args(["--keep", "--uuid-file-save"])
        .arg(&file)
        .args(["--volume", &volume, "--rootfs"])
        .arg(&pods.root)
        .args(words.split_whitespace())
        .start();
    let uuid = || fs::read_to_string(&file).unwrap_or_default();
    wait_until("its uuid is told", || !uuid().is_empty());
    let uuid = uuid().trim_end().to_owned();
    pods.ask("status", &["--wait-ready", &uuid]).code(0);
    // Both have said that they wait.
    wait_until("both wait", || box_.join("ready").exists());
    pods.ask("stop", &[&uuid]).code(0).quiet();
    running.finish().code(0);
    let log = fs::read_to_string(box_.join("log")).unwrap_or_default();
    assert!(
        log.is_empty() || log.find("second") <= log.find("first"),
        "{log}"
    );
    let status = pods.status(&uuid);
    assert_eq!(status.get("apps").get("first").number(), Some(0));
    assert_eq!(status.get("apps").get("second").number(), Some(0));
    Ok(())
}

/// pid 1 gets a SIGTERM then.
fn without_its_socket() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&[]);
    fs::remove_file(pods.place("run", &pod.uuid).join("control")).expect("a socket");
    pods.ask("stop", &[&pod.uuid]).code(0).quiet();
    pod.running.finish().code(0);
    assert_eq!(pods.state(&pod.uuid), "exited");
    Ok(())
}

/// Who waits for the end is not kept waiting when the pod's stage0 is killed.
fn killed_meanwhile() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start_probe(
        &[],
        &[
            "ignore", "TERM", ",", "echo", "waiting", ",", "sleep", "60000",
        ],
    );
    let stop = pods.command("stop").arg(&pod.uuid).start();
    pod.running.signal(libc::SIGKILL);
    pod.running.finish().killed(libc::SIGKILL);
    stop.finish().code(0).quiet();
    assert_eq!(pods.state(&pod.uuid), "exited");
    pods.collected();
    Ok(())
}

fn command_lines() -> TestResult {
    let pods = Registry::new();
    pods.ask("stop", &[]).refused(&["no pod"]);
    pods.ask("stop", &["--no-such"]).refused(&["--no-such"]);
    pods.ask("stop", &["--uuid-file"]).refused(&["--uuid-file"]);
    pods.ask("stop", &["--force=yes", "x"])
        .refused(&["--force"]);
    pods.ask("stop", &["--state-dir=relative", "x"])
        .refused(&["relative"]);
    Ok(())
}
