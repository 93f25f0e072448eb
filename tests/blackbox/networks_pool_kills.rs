//! Pools of network namespaces when somebody is killed, or lies.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    compare,
    networks::{Pool, holders, own},
    random::Random,
    registered::{lives, wait_until},
    roots, sys, tests,
    trace::{self, Plan, Victim},
};

tests![
    whoever_was_killed,
    forged_names,
    a_killed_launcher,
    a_killed_pool,
    leftovers,
    removed_by_hand,
];

/// A process that was killed leaves a name; its pid may be somebody else's.
fn whoever_was_killed() -> TestResult {
    let pool = Pool::new(2);
    let entries = pool.entries();
    for entry in &entries {
        sys::kill(entry.pid.parse().expect("a pid"), libc::SIGKILL).expect("it is there");
    }
    wait_until("they have gone", || holders().is_empty());
    assert_eq!(pool.entries().len(), 2);
    let found = pool.namespace();
    assert_ne!(found, own());
    pool.pods.ask("gc", &[]).code(0).quiet().printed("");
    assert_eq!(pool.entries().len(), 0);
    pool.pods.ask("pool", &["--networks"]).code(0).quiet();
    assert_eq!(pool.entries().len(), 2);
    assert_eq!(holders().len(), 2);
    // One is, while its namespace is in use.
    let (mut running, namespace) = pool.start();
    let entry = pool.holder_of(&namespace);
    sys::kill(entry.parse().expect("a pid"), libc::SIGKILL).expect("it is there");
    // Until then it has its place of the pool.
    wait_until("it has gone", || !lives(&entry));
    running.send("\n");
    running.finish().code(0);
    pool.pods.ask("pool", &["--networks"]).code(0).quiet();
    pool.wait_for(2);
    pool.end();
    Ok(())
}

/// A name counts only if somebody has the pipe open, and the process is in that namespace.
fn forged_names() -> TestResult {
    let pool = Pool::new(1);
    let holder = pool.entries().remove(0).pid;
    let inode = fs::metadata("/proc/self/ns/net")
        .expect("a namespace")
        .ino();
    let pid = std::process::id();
    let folder = pool.folder();
    let make = |name: &str| {
        let path = folder.join(name);
        Run::new("mkfifo").arg(&path).output().code(0);
        path
    };
    // This process, which is in its own namespace, but nobody reads.
    let dead = make(&format!("{pid}-{inode}-7-1"));
    // Somebody reads, but the namespace of this process is another one.
    let other = make(&format!("{pid}-{}-8-1", inode + 1));
    let mut options = File::options();
    let _reader = options.read(true).write(true).open(&other).expect("a pipe");
    for name in ["x-y-0-1", "1--0-1", "-1-0-1", "18446744073709551617-1-0-1"] {
        make(name);
    }
    let long = format!("{}-1-0-1", "1".repeat(200));
    make(&long);
    let is_link =
        |path: &Path, name: &str| fs::read_link(path).is_ok_and(|target| target == Path::new(name));
    let links = [dead.clone(), other.clone(), folder.join(long)];
    for link in links
        .iter()
        .map(PathBuf::as_path)
        .chain(["..", "lock", "/", "x"].map(Path::new))
    {
        let next = folder.join("next");
        let _ = fs::remove_file(&next);
        symlink(link.file_name().unwrap_or(link.as_os_str()), &next).expect("a link");
        let kept = || pool.entries().into_iter().find(|one| one.pid == holder);
        let before = kept().expect("it is there");
        assert_eq!(pool.namespace(), before.namespace, "{}", link.display());
        // It is shown before it is the next one.
        wait_until("it is full again", || {
            kept().is_some_and(|now| now.name != before.name && is_link(&next, &now.name))
        });
    }
    assert!(dead.exists() && other.exists());
    pool.pods.ask("gc", &[]).code(0).quiet();
    assert!(!dead.exists() && !other.exists());
    assert_eq!(holders(), [holder]);
    pool.resize(0);
    wait_until("it has gone", || holders().is_empty());
    fs::remove_dir_all(&folder).expect("what was forged");
    Ok(())
}

/// At every system call of a start: the pool is full again, without a collector.
fn a_killed_launcher() -> TestResult {
    let pool = Pool::new(2);
    let output = roots::fresh("output");
    let mounts = compare::mounts();
    let state = pool.pods.path().display().to_string();
    let root = pool.pods.root.display().to_string();
    let words = [
        "run",
        "--state-dir",
        &state,
        "--net=pool",
        "--rootfs",
        &root,
        "--",
        "/bin/probe",
        "exit",
        "0",
    ];
    let mut stop = 0;
    loop {
        let victim = Victim::First;
        let plan = Plan::Kill { stop, victim };
        let traced = trace::run(&program("stage0"), &words, &output, plan);
        assert!(traced.stuck.is_empty(), "stop {stop}: {traced:?}");
        assert_eq!(compare::mounts(), mounts, "stop {stop}");
        wait_until(&format!("stop {stop}: it is full again"), || {
            pool.entries().len() == 2
        });
        assert_eq!(holders().len(), 2, "stop {stop}");
        if !traced.acted {
            assert_eq!(traced.code, 0);
            break;
        }
        stop += 1;
    }
    assert!(stop > 50, "{stop}");
    pool.end();
    Ok(())
}

/// At random instants of whatever it does.
fn a_killed_pool() -> TestResult {
    let pool = Pool::new(1);
    let mut random = Random::new(5);
    let begun = Instant::now();
    for round in 0..60 {
        let size = ["0", "1", "4", "7"][round % 4];
        let running = pool.pods.command("pool").args(["--networks", size]).start();
        let pause = Duration::from_micros(random.below(4000) as u64);
        std::thread::sleep(pause);
        running.signal(libc::SIGKILL);
        let _ = running.finish();
        pool.pods.ask("gc", &[]).code(0).quiet();
        if begun.elapsed() > Duration::from_secs(30) {
            break;
        }
    }
    pool.resize(3);
    pool.wait_for(3);
    wait_until("there are no others", || holders().len() == 3);
    let _ = pool.namespace();
    pool.wait_for(3);
    pool.end();
    Ok(())
}

/// A collector knows what belongs to no pool.
fn leftovers() -> TestResult {
    let pool = Pool::new(3);
    // Whoever was to end it was killed behind the first step.
    fs::remove_file(pool.folder().join("size")).expect("a file");
    pool.pods.ask("gc", &[]).code(0).quiet().printed("");
    wait_until("all have ended", || holders().is_empty());
    assert!(!pool.folder().exists());
    pool.pods.ask("gc", &[]).code(0).quiet();
    pool.end();
    Ok(())
}

/// Nobody knows of the processes then: they end by themselves.
fn removed_by_hand() -> TestResult {
    let pool = Pool::new(3);
    let (mut running, namespace) = pool.start();
    let holder = pool.holder_of(&namespace);
    fs::remove_dir_all(pool.pods.path().join("pods")).expect("a directory");
    wait_until("all but one have ended", || holders() == [holder.clone()]);
    running.send("\n");
    running.finish().code(0);
    wait_until("it has ended, too", || holders().is_empty());
    Ok(())
}
