//! `stage0 status` and `stage0 list`: how pods are, for people and for programs.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kickstage_tests::{
    TestResult, init,
    json::Value,
    registered::{Registry, one_line, wait_until},
    requirement::{Requirement, controller},
    roots, sys, tests,
};

tests![
    all_keys,
    for_programs,
    of_several_apps,
    numbers,
    wait,
    wait_that_is_over,
    wait_that_was_stopped,
    wait_for_ready,
    of_one_that_is_never_ready,
    beginnings_and_names,
    oldest_first,
    without_a_pod,
    as_another_user,
    during_changes,
    that_nobody_gets,
    command_lines,
];

/// The value of `key=` in what `status` prints.
fn value(text: &str, key: &str) -> Option<String> {
    let mut lines = text.lines();
    lines
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(str::to_owned)
}

fn is_time(text: &str) -> bool {
    text.len() == 24 && text.ends_with('Z') && text.as_bytes()[10] == b'T'
}

/// It does not say that all is well.
fn that_nobody_gets() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.exited("3");
    for format in ["text", "json"] {
        let full = fs::File::options().write(true).open("/dev/full");
        let full = full.expect("a device");
        let words = ["--format", format, &uuid];
        let command = pods.command("status").args(words);
        let output = command.hook(move || sys::duplicate_onto(&full, 1)).output();
        output.refused(&["write standard output", "not all of it could be written"]);
    }
    Ok(())
}

fn all_keys() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&[]);
    let output = pods.ask("status", &[&pod.uuid]);
    output.code(0).quiet();
    let get = |key| value(&output.stdout, key).unwrap_or_default();
    assert_eq!(get("state"), "running");
    assert!(is_time(&get("created")) && is_time(&get("started")));
    assert!(get("created") <= get("started"));
    assert_eq!(
        (get("exited"), get("ready")),
        ("false".into(), "true".into())
    );
    let pid: i32 = get("pid").parse().expect("a number");
    let name = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
    assert!(name.starts_with("stage1-init"), "{name}");
    assert_eq!(value(&output.stdout, "app-app-0"), None);
    pods.ask("stop", &[&pod.uuid]).code(0);
    pod.running.finish().code(0);
    let output = pods.ask("status", &[&pod.uuid]);
    output.code(0).quiet().lacks("pid=");
    let get = |key| value(&output.stdout, key).unwrap_or_default();
    assert_eq!(get("state"), "exited");
    assert!(is_time(&get("finished")) && get("started") <= get("finished"));
    assert_eq!(
        (get("exited"), get("ready")),
        ("true".into(), "false".into())
    );
    assert_eq!((get("code"), get("app-app-0")), ("0".into(), "0".into()));
    let uuid = pods.prepare(&[], &["exit", "0"]);
    let output = pods.ask("status", &[&uuid]);
    output
        .code(0)
        .lacks("started=")
        .lacks("pid=")
        .lacks("code=");
    assert_eq!(value(&output.stdout, "state").as_deref(), Some("prepared"));
    Ok(())
}

fn for_programs() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&["--name=main"]);
    let status = pods.status(&pod.uuid);
    assert_eq!(status.get("uuid").text(), Some(pod.uuid.as_str()));
    assert_eq!(status.get("state").text(), Some("running"));
    assert_eq!(status.get("ready"), &Value::Bool(true));
    assert_eq!(status.get("exited"), &Value::Bool(false));
    assert!(status.get("pid").number().is_some_and(|pid| pid > 1));
    let list = pods.ask("list", &["--format=json"]);
    let list = Value::read(&list.code(0).quiet().stdout);
    let [one] = list.list() else {
        panic!("{list:?}");
    };
    assert_eq!(one.get("apps").texts(), ["main"]);
    for key in ["created", "started"] {
        assert!(one.get(key).text().is_some_and(is_time), "{one:?}");
        assert_eq!(one.get(key), status.get(key));
    }
    pod.end();
    let status = pods.ask("status", &["--format=json"]);
    status.refused(&["no pod"]);
    Ok(())
}

fn of_several_apps() -> TestResult {
    let pods = Registry::new();
    let file = roots::fresh("uuid");
    let path = file.to_str().expect("UTF-8");
    let output = pods
        .pod(
            "run",
            &[
                "--keep",
                "--uuid-file-save",
                path,
                "--exit-policy=all",
                "--name=one",
            ],
            &["exit", "5"],
        )
        .args("--- --name=two -- /bin/probe exit 0".split(' '))
        .args("--- --name=three -- /bin/probe raise KILL".split(' '))
        .output();
    assert!(
        matches!(output.code, Some(5 | 137)),
        "{}",
        output.everything()
    );
    let output = pods.ask("status", &["--uuid-file", path]);
    output.code(0).quiet();
    output
        .has("app-one=5\n")
        .has("app-two=0\n")
        .has("app-three=137\n");
    let list = pods.ask("list", &["--no-legend"]);
    list.code(0).has("one,two,three");
    Ok(())
}

/// What its cgroups have counted, of the limits that it has.
fn numbers() -> TestResult {
    const ALL: [&str; 7] = [
        "memory-bytes",
        "memory-peak-bytes",
        "cpu-microseconds",
        "pids",
        "io-read-bytes",
        "io-written-bytes",
        "oom-kills",
    ];
    Requirement::Controllers.require()?;
    let pods = Registry::new();
    let told = |uuid: &str| {
        let status = pods.status(uuid);
        let output = pods.ask("status", &[uuid]);
        output.code(0).quiet();
        let is_there = |key: &str| {
            let number = value(&output.stdout, key);
            assert_eq!(
                number.is_some(),
                status.get(key).number().is_some(),
                "{key}"
            );
            number.is_some()
        };
        ALL.map(is_there)
    };
    let pod = pods.start(&[]);
    assert_eq!(told(&pod.uuid), [false; 7]);
    pod.end();
    let pod = pods.start(&["--memory=64M", "--cpus=1", "--pids=20"]);
    let status = pods.status(&pod.uuid);
    let number = |key: &str| status.get(key).number();
    assert!(number("memory-bytes").is_some_and(|bytes| (1..64 << 20).contains(&bytes)));
    assert!(number("pids").is_some_and(|count| (2..20).contains(&count)));
    assert_eq!(number("oom-kills"), Some(0));
    // Version 1 has it where both controllers are one hierarchy.
    let (mount, is_second) = controller("cpu").expect("the requirement");
    let is_counted = is_second || mount.join("cpuacct.usage").exists();
    assert_eq!(number("cpu-microseconds").is_some(), is_counted);
    let before = told(&pod.uuid);
    pods.ask("stop", &[&pod.uuid]).code(0);
    pod.running.finish().code(0);
    assert_eq!(told(&pod.uuid), [false; 7]);
    assert!(before.contains(&true));
    Ok(())
}

/// It returns when the pod has ended, and tells then how it was.
fn wait() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&[]);
    let mut waiting = pods.command("status").args(["--wait", &pod.uuid]).start();
    let limited = pods
        .command("status")
        .args(["--wait=100", &pod.uuid])
        .start();
    assert!(waiting.runs());
    pods.ask("stop", &[&pod.uuid]).code(0);
    waiting.finish().code(0).quiet().has("state=exited\n");
    limited
        .finish()
        .code(0)
        .quiet()
        .has("state=exited\n")
        .has("code=0\n");
    pod.running.finish().code(0);
    // Of one that has ended, at once.
    let output = pods.ask("status", &["--wait", &pod.uuid]);
    output.code(0).has("state=exited\n");
    // Also when its stage0 is killed.
    let pod = pods.start(&[]);
    let waiting = pods.command("status").args(["--wait", &pod.uuid]).start();
    pod.running.signal(libc::SIGKILL);
    pod.running.finish().killed(libc::SIGKILL);
    waiting.finish().code(0).has("state=exited\n");
    Ok(())
}

fn wait_that_is_over() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&[]);
    pods.ask("status", &["--wait=20ms", &pod.uuid]).refused(&[
        "wait",
        &pod.uuid,
        "time to wait is over",
    ]);
    pods.ask("status", &["--wait=soon", &pod.uuid])
        .refused(&["soon"]);
    pod.end();
    Ok(())
}

/// Who was stopped until its time was over says even so what has happened.
fn wait_that_was_stopped() -> TestResult {
    let pods = Registry::new();
    for option in ["--wait=5", "--wait-ready=5"] {
        let gate = roots::directory("gate");
        let volume = format!("{}:/gate", gate.display());
        let pod = pods.start(&["--ready=file:/gate/open", "--volume", &volume]);
        let waits = pods.command("status").args([option, &pod.uuid]).start();
        wait_until("it waits", || init::waits_for_a_pod(waits.pid()));
        waits.signal(libc::SIGSTOP);
        init::wait_for_state(waits.pid(), 'T');
        if option.starts_with("--wait-ready") {
            fs::write(gate.join("open"), "").expect("a file");
            let ready = pods.place("run", &pod.uuid).join("ready");
            wait_until("it is ready", || ready.exists());
        } else {
            pods.ask("stop", &[&pod.uuid]).code(0).quiet();
        }
        wait_until("the time is over", || {
            init::descriptors(waits.pid()).contains("ticks: 1")
        });
        waits.signal(libc::SIGCONT);
        waits.finish().code(0).quiet();
        pods.ask("stop", &[&pod.uuid]).code(0).quiet();
        pod.running.finish().code(0);
    }
    Ok(())
}

fn wait_for_ready() -> TestResult {
    let pods = Registry::new();
    let file = roots::fresh("uuid");
    let gate = roots::directory("gate");
    let running = pods
        .pod(
            "run",
            &[
                "--keep",
                "--uuid-file-save",
                file.to_str().expect("UTF-8"),
                "--ready=file:/gate/open",
                "--volume",
                &format!("{}:/gate", gate.display()),
            ],
            &["catch", "TERM"],
        )
        .start();
    running.wait_for("waiting");
    let uuid = fs::read_to_string(&file).expect("a uuid");
    let uuid = uuid.trim_end();
    pods.ask("status", &["--wait-ready=20ms", uuid])
        .refused(&["time to wait is over"]);
    pods.ask("status", &[uuid]).has("ready=false\n");
    let waiting = pods.command("status").args(["--wait-ready", uuid]).start();
    fs::write(gate.join("open"), "").expect("a file");
    waiting.finish().code(0).quiet().has("ready=true\n");
    pods.ask("status", &["--wait-ready=10", uuid]).code(0);
    running.signal(libc::SIGTERM);
    running.finish().code(0);
    Ok(())
}

/// It ends before.
fn of_one_that_is_never_ready() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&["--ready=file:/never"]);
    let waiting = pods
        .command("status")
        .args(["--wait-ready", &pod.uuid])
        .start();
    let second = pods
        .command("status")
        .args(["--wait-ready=100", &pod.uuid])
        .start();
    pods.ask("stop", &[&pod.uuid]).code(0);
    let words = [pod.uuid.as_str(), "it has ended, and was not ready before"];
    waiting.finish().refused(&words);
    second.finish().refused(&words);
    pod.running.finish().code(0);
    pods.ask("status", &["--wait-ready", &pod.uuid])
        .refused(&words);
    // By itself, and without a failure.
    let file = roots::fresh("uuid");
    let path = file.to_str().expect("UTF-8");
    let words = ["--keep", "--uuid-file-save", path, "--ready=file:/never"];
    let mut running = pods
        .pod("run", &words, &["echo", "waiting", ",", "line"])
        .open_input()
        .start();
    running.wait_for("waiting");
    let uuid = fs::read_to_string(&file).expect("a uuid");
    let waits = pods
        .command("status")
        .args(["--wait-ready", uuid.trim_end()])
        .start();
    wait_until("it waits", || init::waits_for_a_pod(waits.pid()));
    running.close_input();
    waits.finish().refused(&["not ready before"]);
    running.finish().code(0);
    Ok(())
}

fn beginnings_and_names() -> TestResult {
    let pods = Registry::new();
    let one = pods.prepare(&["--name=web"], &["exit", "0"]);
    let two = pods.prepare(&["--name=db"], &["exit", "0"]);
    for word in [one.as_str(), &one[..13], "web"] {
        let output = pods.ask("status", &["--format=json", word]);
        output.code(0).has(&one);
    }
    pods.ask("status", &["--format=json", "db"])
        .code(0)
        .has(&two);
    pods.ask("status", &["we"]).refused(&["no matches found"]);
    let _ = pods.prepare(&["--name=web"], &["exit", "0"]);
    pods.ask("status", &["web"]).refused(&["more than one"]);
    // Both of two.
    let output = pods.ask("status", &[&one, &two]);
    output.code(0);
    assert_eq!(output.stdout.matches("state=prepared").count(), 2);
    Ok(())
}

fn oldest_first() -> TestResult {
    let pods = Registry::new();
    let mut made = Vec::new();
    for number in 0..10 {
        made.push(if number % 2 == 0 {
            pods.exited("0")
        } else {
            pods.prepare(&[], &["exit", "0"])
        });
    }
    // The file system's clock may tell the same time of two; what is shown of it is less.
    made.sort_by_key(|uuid| {
        let lock = |folder| fs::metadata(pods.place(folder, uuid).join("lock"));
        let status = lock("prepared").or_else(|_| lock("exited-garbage"));
        let created = status.and_then(|status| status.modified());
        (created.expect("its lock"), uuid.clone())
    });
    let listed: Vec<String> = pods.list().into_iter().map(|(uuid, _)| uuid).collect();
    assert_eq!(listed, made);
    let output = pods.ask("list", &["--full"]);
    output.code(0).quiet();
    let mut lines = output.stdout.lines();
    let head: Vec<&str> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(head, ["UUID", "APPS", "STATE", "CREATED", "STARTED"]);
    let shown: Vec<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(shown, made);
    // Columns stand below one another.
    let at = |word: &str| {
        let mut lines = output.stdout.lines().skip(1);
        lines.find_map(|line| line.find(word))
    };
    let head = output.stdout.lines().next().unwrap_or_default();
    assert_eq!(head.find("STATE"), at("exited"));
    assert_eq!(head.find("STATE"), at("prepared"));
    let short = pods.ask("list", &["--no-legend"]);
    short.code(0).lacks("UUID");
    assert_eq!(short.stdout.lines().count(), 10);
    assert_eq!(&short.stdout[..9], format!("{} ", &made[0][..8]));
    Ok(())
}

fn without_a_pod() -> TestResult {
    let pods = Registry::new();
    for _ in 0..2 {
        assert_eq!(pods.list(), []);
        let output = pods.ask("list", &[]);
        output.code(0).quiet();
        assert_eq!(output.stdout.lines().count(), 1);
        let uuid = pods.exited("0");
        pods.ask("rm", &[&uuid]).code(0);
    }
    // No directory at all.
    let gone = roots::fresh("none");
    let path = gone.to_str().expect("UTF-8");
    pods.ask("list", &["--state-dir", path]).code(0).quiet();
    pods.ask("gc", &["--state-dir", path]).code(0).quiet();
    assert!(!gone.exists());
    Ok(())
}

/// Who may read the directory may see all that is no secret, and change nothing.
fn as_another_user() -> TestResult {
    let pods = Registry::new();
    // The runner's own directory is for everybody; the test's may not be.
    let ask = |group: u32, command: &str, words: &[&str]| {
        pods.command(command)
            .args(words)
            .hook(move || sys::become_user(1000, group))
            .output()
    };
    let first = pods.exited("4");
    ask(1000, "list", &[]).refused(&["the directory of the pods", "ermission"]);
    // From now on the group of the folders is that of what is made in them.
    let folder = pods.path().join("pods");
    let mut all = vec![folder.clone()];
    all.extend(
        fs::read_dir(&folder)
            .expect("folders")
            .map(|entry| entry.expect("a folder").path()),
    );
    for path in &all {
        chown(path, None, Some(1000)).expect("a group");
        fs::set_permissions(path, fs::Permissions::from_mode(0o2750)).expect("a mode");
    }
    let pod = pods.start(&["--name=main", "--set-env=SECRET=hidden"]);
    let output = ask(1000, "list", &["--format=json"]);
    output.code(0).quiet().has(&pod.uuid).has("running");
    let output = ask(1000, "status", &[&pod.uuid]);
    output
        .code(0)
        .quiet()
        .has("state=running\n")
        .has("pid=")
        .lacks("hidden");
    let waiting = pods
        .command("status")
        .args(["--wait", &pod.uuid])
        .hook(|| sys::become_user(1000, 1000))
        .start();
    // They change nothing.
    ask(1000, "stop", &[&pod.uuid]).refused(&[&pod.uuid, "ermi"]);
    ask(1000, "stop", &["--force", &pod.uuid]).refused(&[&pod.uuid, "ermi"]);
    ask(1000, "rm", &["--force", &pod.uuid]).refused(&[&pod.uuid, "ermi"]);
    let plan = pods.place("run", &pod.uuid).join("plan");
    let mode = fs::metadata(plan).expect("a plan").permissions().mode();
    assert_eq!(mode & 0o077, 0);
    pods.ask("stop", &[&pod.uuid]).code(0);
    pod.running.finish().code(0);
    waiting.finish().code(0).has("state=exited\n");
    let output = ask(1000, "status", &[&pod.uuid]);
    output.code(0).quiet().has("code=0\n").has("app-main=0\n");
    ask(1000, "rm", &[&pod.uuid]).refused(&[&pod.uuid, "ermi"]);
    ask(1000, "gc", &["--grace-period=0"]).code(254);
    assert_eq!(pods.state(&pod.uuid), "exited");
    assert_eq!(pods.state(&first), "exited");
    // A third one sees nothing.
    ask(1001, "list", &[]).refused(&["ermission"]);
    Ok(())
}

/// What is seen is whole, and nothing is seen twice.
fn during_changes() -> TestResult {
    let pods = Registry::new();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let lists = scope.spawn(|| {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                let mut seen: Vec<String> = pods
                    .list()
                    .into_iter()
                    .map(|(uuid, state)| {
                        let known = [
                            "preparing",
                            "abandoned",
                            "prepared",
                            "parked",
                            "running",
                            "exited",
                            "garbage",
                        ];
                        assert!(known.contains(&state.as_str()), "{state}");
                        uuid
                    })
                    .collect();
                let all = seen.len();
                seen.sort();
                seen.dedup();
                assert_eq!(seen.len(), all, "one is seen twice");
                count += 1;
            }
            count
        });
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(1500) {
            let uuid = pods.exited("0");
            let prepared = pods.prepare(&[], &["exit", "0"]);
            let output = pods.ask("run-prepared", &["--keep", &prepared]);
            output.code(0).quiet();
            let detached = pods.ask("status", &[&prepared]);
            assert!(one_line_of(&detached.stdout).starts_with("state="));
            pods.ask("rm", &[&uuid, &prepared]).code(0).quiet();
        }
        over.store(true, Ordering::Relaxed);
        let count = lists.join().expect("lists that never fail");
        assert!(count > 10, "{count} lists");
    });
    pods.collected();
    Ok(())
}

fn one_line_of(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn command_lines() -> TestResult {
    let pods = Registry::new();
    pods.ask("list", &["word"]).refused(&["command line"]);
    pods.ask("list", &["--format=xml"]).refused(&["--format"]);
    pods.ask("list", &["--wait"]).refused(&["--wait"]);
    pods.ask("status", &["abc"]).refused(&["no matches found"]);
    pods.ask("status", &[""]).refused(&["UUID cannot be empty"]);
    pods.ask("status", &[]).refused(&["no pod"]);
    let output = pods.pod("prepare", &[], &["exit", "0"]).output();
    let uuid = one_line(&output);
    // `--` parts options from what begins with a dash.
    pods.ask("status", &["--", &uuid]).code(0);
    pods.ask("status", &["--", "--wait"])
        .refused(&["no matches"]);
    let path = pods.path().to_str().expect("UTF-8");
    let output = kickstage_tests::command::Run::ours("stage0")
        .args(["status", &uuid, "--state-dir", path])
        .output();
    output.code(0).has("state=prepared");
    Ok(())
}
