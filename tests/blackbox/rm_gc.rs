//! `stage0 rm` and `stage0 gc`: what has ended goes, and all that was its own.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use kickstage_tests::{
    TestResult,
    command::program,
    compare, lock,
    pod::Pod,
    registered::{FOLDERS, Parent, Registry, wait_until},
    requirement::Requirement,
    roots, tests,
};

tests![
    exited_and_prepared,
    running,
    unknown,
    ambiguous,
    grace_periods,
    mark_only,
    of_a_killed_launcher,
    cgroups_go_too,
    hostile_content,
    what_is_immutable,
    during_starts,
    while_somebody_waits,
    starts_while_somebody_waits,
    who_may_read_disturbs_nothing,
    calls_of_one_among_many,
];

/// What keeps a file is told, not what came of another try.
fn what_is_immutable() -> TestResult {
    Requirement::Immutable.require()?;
    let pods = Registry::new();
    let uuid = pods.exited("0");
    let change = |how: &str, file: &Path| {
        let run = kickstage_tests::command::Run::new("chattr").arg(how);
        run.arg(file).output().code(0).quiet();
    };
    let file = pods.place("exited-garbage", &uuid).join("note");
    fs::write(&file, "").expect("a file");
    change("+i", &file);
    let output = pods.ask("rm", &[&uuid]);
    change("-i", &pods.place("garbage", &uuid).join("note"));
    output.refused(&[&uuid, "Operation not permitted"]);
    pods.ask("rm", &[&uuid]).code(0).quiet();
    pods.collected();
    Ok(())
}

fn exited_and_prepared() -> TestResult {
    let pods = Registry::new();
    let (ended, prepared) = (pods.exited("1"), pods.prepare(&[], &["exit", "0"]));
    let other = pods.exited("2");
    pods.ask("rm", &[&ended, &prepared]).code(0).quiet();
    assert_eq!(pods.left(), [format!("exited-garbage/{other}")]);
    let file = roots::fresh("uuid");
    fs::write(&file, format!("{other}\n")).expect("a file");
    let path = file.to_str().expect("UTF-8");
    pods.ask("rm", &["--uuid-file", path]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn running() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&[]);
    pods.ask("rm", &[&pod.uuid])
        .refused(&[&pod.uuid, "running", "stop"]);
    assert_eq!(pods.state(&pod.uuid), "running");
    // What can be removed is, beside it.
    let ended = pods.exited("0");
    pods.ask("rm", &[&pod.uuid, &ended]).refused(&[&pod.uuid]);
    assert_eq!(pods.left(), [format!("run/{}", pod.uuid)]);
    pods.ask("gc", &["--grace-period=0"]).code(0).quiet();
    assert_eq!(pods.state(&pod.uuid), "running");
    pods.ask("rm", &["--force", &pod.uuid]).code(0).quiet();
    pod.running.finish().code(254);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn unknown() -> TestResult {
    let pods = Registry::new();
    // Also where there was never a pod.
    for _ in 0..2 {
        pods.ask("rm", &["abc"])
            .refused(&["no matches found for \"abc\""]);
        let whole = "00112233-4455-4677-8899-aabbccddeeff";
        pods.ask("rm", &[whole])
            .refused(&[&format!("no matches found for \"{whole}\"")]);
        pods.ask("rm", &[""]).refused(&["UUID cannot be empty"]);
        pods.ask("rm", &[]).refused(&["no pod"]);
        for path in ["..", ".", "../run", "/", "*", "%"] {
            pods.ask("rm", &[path]).refused(&["no matches found"]);
        }
        let _ = pods.exited("0");
    }
    assert_eq!(pods.left().len(), 2);
    Ok(())
}

/// A beginning that more than one pod has.
fn ambiguous() -> TestResult {
    let pods = Registry::new();
    let mut all: Vec<String> = Vec::new();
    let twice = loop {
        let uuid = pods.exited("0");
        let first = uuid[..1].to_owned();
        if all.iter().any(|other| other.starts_with(&first)) {
            break first;
        }
        all.push(uuid);
    };
    let count = pods.left().len();
    pods.ask("rm", &[&twice])
        .refused(&[&twice, "more than one"]);
    assert_eq!(pods.left().len(), count);
    // One that is unique.
    pods.ask("rm", &[&all[0][..20]]).code(0).quiet();
    assert_eq!(pods.left().len(), count - 1);
    Ok(())
}

fn grace_periods() -> TestResult {
    let pods = Registry::new();
    let ended = pods.exited("3");
    let prepared = pods.prepare(&[], &["exit", "0"]);
    for words in [
        "",
        "--grace-period=1h",
        "--grace-period 5m",
        "--grace-period=1d",
    ] {
        let words: Vec<&str> = words.split_whitespace().collect();
        pods.ask("gc", &words).code(0).quiet().printed("");
        assert_eq!(pods.state(&ended), "exited");
    }
    for bad in ["soon", "30x", "d", "", "-1", "99999999999999999d"] {
        let option = format!("--grace-period={bad}");
        pods.ask("gc", &[&option])
            .refused(&[&format!("{option}: ")]);
        pods.ask("gc", &["--grace-period", bad])
            .refused(&["read option --grace-period: it is no time"]);
    }
    pods.ask("gc", &["word"]).refused(&["command line"]);
    // What is prepared waits for its start.
    pods.ask("gc", &["--grace-period=0"]).code(0).quiet();
    assert_eq!(pods.left(), [format!("prepared/{prepared}")]);
    Ok(())
}

fn mark_only() -> TestResult {
    let pods = Registry::new();
    let ended = pods.exited("3");
    let pod = pods.start(&[]);
    pod.running.signal(libc::SIGKILL);
    pod.running.finish().killed(libc::SIGKILL);
    wait_until("it has ended", || pods.state(&pod.uuid) == "exited");
    assert_eq!(pods.in_folder("run"), [pod.uuid.as_str()]);
    pods.ask("gc", &["--mark-only", "--grace-period=0"]).code(0);
    assert_eq!(pods.in_folder("run"), Vec::<String>::new());
    let mut both = [ended, pod.uuid];
    both.sort();
    assert_eq!(pods.in_folder("exited-garbage"), both);
    pods.collected();
    Ok(())
}

/// Nobody has written its end down: the lock is free.
fn of_a_killed_launcher() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&[]);
    let files = pods.place("run", &pod.uuid);
    pod.running.signal(libc::SIGKILL);
    pod.running.finish().killed(libc::SIGKILL);
    wait_until("it has ended", || {
        pods.list() == [(pod.uuid.clone(), "exited".to_owned())]
    });
    let status = pods.status(&pod.uuid);
    assert_eq!(status.get("code").number(), None);
    assert!(files.join("pid").exists());
    pods.ask("stop", &[&pod.uuid]).code(0).quiet();
    pods.ask("rm", &[&pod.uuid]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn cgroups_go_too() -> TestResult {
    Requirement::Controllers.require()?;
    let (pods, parent) = (Registry::new(), Parent::new());
    let limits = ["--memory=64M", "--pids=20", "--cgroup-parent", &parent.path];
    // Of one that ends, its stage0 removes them.
    let pod = pods.start(&limits);
    assert!(!parent.pods().is_empty());
    assert!(
        parent.pods()[0].ends_with(format!("uuid-{}", pod.uuid)),
        "{:?}",
        parent.pods()
    );
    pods.ask("stop", &[&pod.uuid]).code(0).quiet();
    pod.running.finish().code(0);
    assert_eq!(parent.pods(), Vec::<PathBuf>::new());
    // Of one that was killed, rm and gc.
    for command in [["rm", ""], ["gc", "--grace-period=0"]] {
        let pod = pods.start(&limits);
        pod.running.signal(libc::SIGKILL);
        pod.running.finish().killed(libc::SIGKILL);
        wait_until("it has ended", || pods.state(&pod.uuid) == "exited");
        assert!(!parent.pods().is_empty());
        let word = if command[1].is_empty() {
            pod.uuid.as_str()
        } else {
            command[1]
        };
        pods.ask(command[0], &[word]).code(0).quiet();
        assert_eq!(parent.pods(), Vec::<PathBuf>::new(), "{command:?}");
    }
    // A prepared one has none yet, and a killed one is no other's.
    let prepared = pods.prepare(&limits, &["exit", "0"]);
    assert_eq!(parent.pods(), Vec::<PathBuf>::new());
    let pod = pods.start(&limits);
    let count = parent.pods().len();
    pods.ask("rm", &[&prepared]).code(0).quiet();
    assert_eq!(parent.pods().len(), count);
    pod.end();
    pods.collected();
    Ok(())
}

/// A tree beside the pods that nobody may touch.
fn decoy() -> (PathBuf, String) {
    let outside = roots::directory("outside");
    fs::write(outside.join("file"), "precious").expect("a file");
    fs::write(outside.join("code"), "4242\n").expect("a file");
    fs::create_dir(outside.join("folder")).expect("a directory");
    fs::write(outside.join("folder/file"), "precious").expect("a file");
    let tree = compare::tree(&outside);
    (outside, tree)
}

fn fill(directory: &Path, outside: &Path, depth: usize) {
    symlink(outside, directory.join("link")).expect("a link");
    symlink(outside.join("file"), directory.join("link-to-a-file")).expect("a link");
    fs::hard_link(outside.join("file"), directory.join("hard")).ok();
    fs::write(directory.join("file"), "x").expect("a file");
    chown(directory.join("file"), Some(1000), Some(1000)).expect("an owner");
    let mut path = directory.to_owned();
    for _ in 0..depth {
        path.push("deep");
        fs::create_dir(&path).expect("a directory");
        fs::write(path.join("file"), "x").expect("a file");
        symlink(outside, path.join("link")).expect("a link");
    }
}

/// Links lead nowhere, and what is too deep is told.
fn hostile_content() -> TestResult {
    let pods = Registry::new();
    let (outside, tree) = decoy();
    let uuid = pods.exited("0");
    let place = pods.place("exited-garbage", &uuid);
    fill(&place, &outside, 2);
    // Files where a reader of the pod looks.
    for name in ["plan", "code", "pid", "status"] {
        let path = place.join(name);
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir_all(&path);
        let target = if name == "code" { name } else { "file" };
        symlink(outside.join(target), &path).expect("a link");
    }
    pods.ask("status", &[&uuid])
        .code(0)
        .quiet()
        .lacks("code=4242");
    pods.ask("list", &[]).code(0).quiet();
    pods.ask("rm", &[&uuid]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    // A FIFO nobody writes to does not keep anybody waiting.
    let uuid = pods.exited("0");
    let place = pods.place("exited-garbage", &uuid);
    for name in ["plan", "code", "pid", "lock"] {
        let _ = fs::remove_file(place.join(name));
        make_fifo(&place.join(name));
    }
    pods.ask("status", &[&uuid]).code(0);
    pods.ask("list", &[]).code(0);
    pods.ask("gc", &["--grace-period=0"]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    // Deeper than anything of ours: it says so, and what is outside stays.
    let uuid = pods.exited("0");
    fill(&pods.place("exited-garbage", &uuid), &outside, 40);
    pods.ask("rm", &[&uuid]).refused(&[&uuid]);
    // A pod that is a link is none.
    let whole = "00112233-4455-4677-8899-aabbccddeeff";
    for folder in FOLDERS {
        let path = pods.place(folder, whole);
        symlink(&outside, &path)
            .or_else(|_| {
                fs::create_dir_all(path.parent().expect("a folder"))?;
                symlink(&outside, &path)
            })
            .expect("a link");
        let _ = pods.ask("list", &[]);
        let _ = pods.ask("rm", &[whole]);
        let _ = pods.ask("gc", &["--grace-period=0"]);
        let _ = pods.ask("stop", &["--force", whole]);
        let _ = fs::remove_file(path);
    }
    let after = compare::tree(&outside);
    assert_eq!(compare::difference(&tree, &after), "");
    Ok(())
}

fn make_fifo(path: &Path) {
    let done = std::process::Command::new("mkfifo").arg(path).status();
    assert!(done.expect("mkfifo").success());
}

/// A collector sees each of their directories at some moment; no start fails for that.
fn during_starts() -> TestResult {
    let pods = Registry::new();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let collectors: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !over.load(Ordering::Relaxed) {
                        pods.ask("gc", &["--grace-period=0"]).code(0).quiet();
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let starters: Vec<_> = (0..10)
            .map(|number: usize| {
                let pods = &pods;
                scope.spawn(move || {
                    for round in 0..10 {
                        let code = (number * 10 + round).to_string();
                        let kind = if round % 2 == 0 {
                            "--register"
                        } else {
                            "--keep"
                        };
                        let output = pods.pod("run", &[kind], &["exit", &code]).output();
                        output.code(code.parse().expect("a number")).quiet();
                        // Its plan may go only when it is used up.
                        let uuid = pods.prepare(&[], &["exit", &code]);
                        pods.ask("run-prepared", &[&uuid])
                            .code(code.parse().expect("a number"))
                            .quiet();
                    }
                })
            })
            .collect();
        let failed = starters
            .into_iter()
            .filter_map(|one| one.join().err())
            .count();
        over.store(true, Ordering::Relaxed);
        let rounds: Vec<usize> = collectors
            .into_iter()
            .map(|one| one.join().expect("a collector that never fails"))
            .collect();
        assert_eq!(failed, 0);
        assert!(rounds.iter().all(|count| *count > 10), "{rounds:?}");
    });
    pods.collected();
    Ok(())
}

/// Who waits for a pod has its lock for a moment at its end: nobody who removes it then
/// is disturbed by that.
fn while_somebody_waits() -> TestResult {
    let pods = Registry::new();
    for round in 0..20 {
        let pod = pods.start(&[]);
        let waiting: Vec<_> = (0..6)
            .map(|_| pods.command("status").args(["--wait", &pod.uuid]).start())
            .collect();
        pods.ask("stop", &[&pod.uuid]).code(0).quiet();
        let output = if round % 2 == 0 {
            pods.ask("rm", &[&pod.uuid])
        } else {
            pods.ask("gc", &["--grace-period=0"])
        };
        output.code(0).quiet();
        assert_eq!(pods.left(), Vec::<String>::new());
        pod.running.finish().code(0);
        for one in waiting {
            let _ = one.finish();
        }
    }
    Ok(())
}

/// Who waits for the end of a pod reads its lock for a moment then: that is no pod.
fn starts_while_somebody_waits() -> TestResult {
    let directory = roots::directory("pod");
    let path = directory.join("lock");
    fs::File::create(&path).expect("a lock");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let file = fs::File::open(&path).expect("a lock");
                // While the pod runs it can't be had.
                let _ = lock::for_reading(&file);
                thread::yield_now();
            }
        });
        for number in 0..20 {
            let code = number.to_string();
            let started = Pod::new(roots::probe())
                .options(["--pod-dir".as_ref(), directory.as_os_str()])
                .probe(["exit", &code]);
            // Or the other thread would never end.
            if started.code != Some(number) {
                over.store(true, Ordering::Relaxed);
            }
            started.code(number).quiet();
        }
        over.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// A lock that a reader holds looks like none.
fn who_may_read_disturbs_nothing() -> TestResult {
    let pods = Registry::new();
    let ended = pods.exited("5");
    let pod = pods.start(&[]);
    let held: Vec<fs::File> = [("exited-garbage", &ended), ("run", &pod.uuid)]
        .into_iter()
        .map(|(folder, uuid)| {
            let path = pods.place(folder, uuid).join("lock");
            let file = fs::File::open(path).expect("a lock");
            // Of the one that runs it can't be had as a whole.
            let done = lock::for_reading(&file);
            assert_eq!(done.is_ok(), folder != "run");
            file
        })
        .collect();
    assert_eq!(pods.state(&ended), "exited");
    assert_eq!(pods.state(&pod.uuid), "running");
    pods.ask("rm", &[&ended]).code(0).quiet();
    // Of one that is going to be locked nobody else can open the lock.
    let prepared = pods.prepare(&["--name=x"], &["exit", "6"]);
    let mode = || {
        let path = pods.place("prepared", &prepared).join("lock");
        fs::metadata(path).expect("a lock").mode() & 0o7777
    };
    assert_eq!(mode(), 0o600);
    let away = roots::fresh("root");
    fs::rename(&pods.root, &away).expect("renamed");
    pods.ask("run-prepared", &[&prepared]).refused(&[]);
    assert_eq!(mode(), 0o600);
    fs::rename(&away, &pods.root).expect("renamed");
    let running = pods.place("run", &pod.uuid).join("lock");
    let mode = fs::metadata(running).expect("a lock").mode();
    assert_eq!(mode & 0o7777, 0o640);
    pods.ask("rm", &[&prepared]).code(0).quiet();
    pod.end();
    drop(held);
    pods.collected();
    Ok(())
}

/// As many for one pod among 300 as for one alone.
fn calls_of_one_among_many() -> TestResult {
    Requirement::Strace.require()?;
    let pods = Registry::new();
    let count = |uuid: &str| {
        let log = roots::fresh("calls");
        let output = kickstage_tests::command::Run::new("strace")
            .args(["-f", "-o"])
            .arg(&log)
            .arg(program("stage0"))
            .args(["rm", uuid])
            .env("KICKSTAGE_STATE_DIR", pods.path())
            .output();
        output.code(0);
        let text = fs::read_to_string(&log).expect("a log");
        text.lines().count()
    };
    let first = pods.exited("0");
    // It makes the folder of garbage.
    pods.ask("rm", &[&pods.exited("0")]).code(0);
    let alone = count(&first);
    let one = pods.exited("0");
    // Others like it, without their starts.
    for number in 0..300 {
        let uuid = format!("{number:08x}-4455-4677-8899-aabbccddeeff");
        for folder in ["exited-garbage", "run", "embryo"] {
            let to = pods.place(folder, &uuid);
            fs::create_dir(&to).expect("a directory");
            fs::write(to.join("lock"), "").expect("a file");
        }
    }
    assert_eq!(count(&one), alone);
    Ok(())
}
