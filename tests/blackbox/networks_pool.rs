//! `--net=pool`: network namespaces that were made before, and the processes that keep
//! them.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use kickstage_tests::{
    TestResult,
    command::{Run, Running},
    fault::failing,
    networks::{Pool, children, holders, own},
    registered::{Registry, lives, one_line, wait_until},
    roots, sys, tests,
};

tests![
    without_a_pool,
    with_lo_only,
    filled_behind_the_run,
    elsewhere,
    nothing_is_given_back,
    parallel_runs,
    another_size,
    no_size,
    a_holder_is_small,
    prepared_pods,
    detached_pods,
    without_root,
    refused,
    left_alone,
    that_can_not_be_made,
];

/// Then it is as with `--net=none`.
fn without_a_pool() -> TestResult {
    let pods = Registry::new();
    let words = [
        "list",
        "/sys/class/net",
        ",",
        "read",
        "/sys/class/net/lo/flags",
    ];
    for network in ["--net=pool", "--net=none"] {
        let output = pods.pod("run", &[network], &words).output();
        // IFF_UP and IFF_LOOPBACK.
        output.code(0).quiet().printed("lo\n0x9\n");
    }
    assert!(!pods.path().join("pods").exists());
    // One that has nothing left.
    let pool = Pool::new(1);
    let (mut first, namespace) = pool.start();
    assert_eq!(pool.entries().len(), 0);
    let other = pool.namespace();
    assert_ne!(other, namespace);
    assert_ne!(other, own());
    first.send("\n");
    first.finish().code(0);
    pool.wait_for(1);
    pool.end();
    Ok(())
}

fn with_lo_only() -> TestResult {
    let pool = Pool::new(1);
    let entry = pool.entries().remove(0);
    assert_eq!(pool.namespace(), entry.namespace);
    pool.wait_for(1);
    let words = [
        "list",
        "/sys/class/net",
        ",",
        "read",
        "/sys/class/net/lo/flags",
    ];
    let output = pool.run(&words).output();
    output.code(0).quiet().printed("lo\n0x9\n");
    pool.wait_for(1);
    // Nothing of what the launcher has opened for it is in the pod.
    let descriptors = |network: &str| {
        let output = pool.pods.pod("run", &[network], &["report", "fd"]).output();
        output.code(0).quiet();
        output.stdout.lines().count()
    };
    assert_eq!(descriptors("--net=pool"), descriptors("--net=none"));
    pool.wait_for(1);
    // No program may change it.
    let report = pool.run(&["report", "cap"]).output().report();
    for (name, value) in report.below("cap") {
        if let Ok(bits) = u64::from_str_radix(value.trim_start_matches("0x"), 16) {
            assert_eq!(bits & (1 << 12 | 1 << 21), 0, "{name}");
        }
    }
    pool.wait_for(1);
    pool.end();
    Ok(())
}

/// By the process that kept it, which is not born anew.
fn filled_behind_the_run() -> TestResult {
    let pool = Pool::new(2);
    let before = pool.entries();
    let (mut running, namespace) = pool.start();
    let left = pool.entries();
    assert_eq!(left.len(), 1);
    let taken = before.iter().find(|entry| entry.namespace == namespace);
    let taken = taken.expect("one of the pool");
    assert_ne!(left[0].name, taken.name);
    running.send("\n");
    running.finish().code(0);
    pool.wait_for(2);
    let after = pool.entries();
    let again = after.iter().find(|entry| entry.pid == taken.pid);
    assert_ne!(again.expect("it is there again").name, taken.name);
    pool.end();
    Ok(())
}

/// The option that says where it is may stand before its size and behind it.
fn elsewhere() -> TestResult {
    let pool = Pool::new(1);
    let given = format!("--state-dir={}", pool.pods.path().display());
    let given = given.as_str();
    let ask = |words: &[&str]| Run::ours("stage0").args(words).output();
    for words in [
        [given, "--networks", "2"],
        ["--networks", given, "1"],
        ["--networks", "2", given],
    ] {
        let size = if words.contains(&"2") { 2 } else { 1 };
        ask(&[&["pool"], &words[..]].concat()).code(0).quiet();
        pool.wait_for(size);
        let root = format!("--rootfs={}", pool.pods.root.display());
        let program = ["--", "/bin/probe", "exit", "4"];
        let words = [&["run", given, "--net=pool", &root], &program[..]].concat();
        ask(&words).code(4).quiet();
        pool.wait_for(size);
    }
    pool.end();
    Ok(())
}

/// What a pod does to its namespace no other pod sees.
fn nothing_is_given_back() -> TestResult {
    const FILE: &str = "/proc/sys/net/ipv4/ip_default_ttl";
    let pool = Pool::new(1);
    let (mut running, _) = pool.start();
    let pod = children(&running.pid().to_string()).remove(0);
    let namespace = format!("--net=/proc/{pod}/ns/net");
    let output = Run::new("nsenter")
        .args([
            &namespace,
            "/bin/sh",
            "-c",
            &format!("echo 33 >{FILE} && cat {FILE}"),
        ])
        .output();
    output.code(0).printed("33\n");
    running.send("\n");
    running.finish().code(0);
    pool.wait_for(1);
    let output = pool.run(&["read", FILE]).output();
    output.code(0).printed("64\n");
    pool.wait_for(1);
    pool.end();
    Ok(())
}

fn parallel_runs() -> TestResult {
    let pool = Pool::new(3);
    for _ in 0..3 {
        let known: BTreeSet<String> = pool
            .entries()
            .into_iter()
            .map(|one| one.namespace)
            .collect();
        let words = ["report", "ns.net", ",", "echo", "ready", ",", "line"];
        // All at once.
        let mut pods: Vec<Running> = (0..5)
            .map(|_| pool.run(&words).open_input().start())
            .collect();
        let mut seen = BTreeSet::new();
        for running in &pods {
            running.wait_for("ready");
            let pod = children(&running.pid().to_string()).remove(0);
            let link = fs::read_link(format!("/proc/{pod}/ns/net")).expect("a namespace");
            assert!(seen.insert(link.display().to_string()), "{link:?} twice");
        }
        assert!(!seen.contains(&own()));
        assert!(known.is_subset(&seen), "{known:?} {seen:?}");
        assert_eq!(pool.entries().len(), 0);
        for running in &mut pods {
            running.send("\n");
        }
        for running in pods {
            running.finish().code(0);
        }
        pool.wait_for(3);
    }
    assert_eq!(holders().len(), 3);
    pool.end();
    Ok(())
}

fn another_size() -> TestResult {
    let pool = Pool::new(4);
    assert_eq!(holders().len(), 4);
    pool.resize(1);
    wait_until("three have ended", || holders().len() == 1);
    assert_eq!(pool.entries().len(), 1);
    pool.resize(3);
    assert_eq!(pool.entries().len(), 3);
    // Those whose namespaces are in use end behind their pods.
    let pods: Vec<_> = (0..3).map(|_| pool.start()).collect();
    pool.resize(1);
    assert_eq!(holders().len(), 3);
    for (mut running, _) in pods {
        running.send("\n");
        running.finish().code(0);
    }
    wait_until("two have ended", || holders().len() == 1);
    pool.wait_for(1);
    pool.end();
    Ok(())
}

fn no_size() -> TestResult {
    let pool = Pool::new(3);
    let (mut running, namespace) = pool.start();
    let holder = pool.holder_of(&namespace);
    pool.resize(0);
    assert!(!pool.folder().exists());
    wait_until("all but one have ended", || holders() == [holder.clone()]);
    // A pool that begins anew has nothing to do with it.
    pool.resize(2);
    assert_eq!(pool.entries().len(), 2);
    running.send("\n");
    running.finish().code(0);
    wait_until("it has ended", || !lives(&holder));
    assert_eq!(holders().len(), 2);
    pool.pods.ask("pool", &["--networks", "0"]).code(0).quiet();
    pool.pods.ask("pool", &["--networks", "0"]).code(0).quiet();
    pool.pods
        .ask("pool", &["--networks"])
        .refused(&["--networks"]);
    pool.end();
    Ok(())
}

/// It has nothing of who has made it, and sleeps.
fn a_holder_is_small() -> TestResult {
    let pool = Pool::new(1);
    let pid = pool.entries().remove(0).pid;
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).expect("a process");
    // Its state and its session.
    let field = |number| {
        let status = read("stat");
        let rest = status.rsplit(") ").next().expect("fields").to_owned();
        rest.split(' ').nth(number).expect("a field").to_owned()
    };
    // Before that it opens and closes files.
    wait_until("it sleeps", || field(0) == "S");
    assert_eq!(field(3), pid);
    let folder = pool.folder().display().to_string();
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
    for entry in entries.flatten() {
        let link = fs::read_link(entry.path()).expect("a link");
        let link = link.display().to_string();
        let is_own = folder.starts_with(&link) || link.starts_with(&folder);
        let is_own = is_own || link.starts_with("net:[");
        assert!(is_own || link.contains("fscontext"), "{link}");
    }
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}")).expect("a link");
    assert_eq!(link("cwd"), PathBuf::from("/"));
    let rollup = read("smaps_rollup");
    let of = |name: &str| {
        let line = rollup
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a line");
        let number = line.split_whitespace().nth(1).expect("a number");
        number.parse::<u64>().expect("a number")
    };
    assert!(of("Anonymous:") <= 96, "{rollup}");
    let mode = fs::metadata(pool.folder())
        .expect("a folder")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    pool.end();
    Ok(())
}

/// The namespace is that of the run.
fn prepared_pods() -> TestResult {
    let pool = Pool::new(1);
    let words = ["report", "ns.net"];
    let uuid = pool.pods.prepare(&["--net=pool"], &words);
    let entry = pool.entries().remove(0);
    let output = pool.pods.ask("run-prepared", &[&uuid]);
    output.code(0).quiet();
    assert_eq!(one_line(&output), format!("ns.net={}", entry.namespace));
    wait_until("it is full again", || {
        pool.entries().iter().any(|other| other.name != entry.name)
    });
    // Parked, it has it already, and whoever parked it is gone.
    let entry = pool.entries().remove(0);
    let uuid = pool.pods.prepare(&["--warm", "--net=pool"], &words);
    wait_until("it is full again", || {
        pool.entries().iter().any(|other| other.name != entry.name)
    });
    let output = pool.pods.ask("run-prepared", &[&uuid]);
    output.code(0).quiet();
    assert_eq!(one_line(&output), format!("ns.net={}", entry.namespace));
    pool.end();
    Ok(())
}

fn detached_pods() -> TestResult {
    let pool = Pool::new(1);
    let uuid = pool.pods.detach(&["--net=pool"]);
    assert_eq!(pool.entries().len(), 0);
    pool.pods.ask("stop", &[&uuid]).code(0).quiet();
    pool.wait_for(1);
    pool.end();
    Ok(())
}

fn without_root() -> TestResult {
    let user = || {
        sys::set_groups(&[])?;
        sys::become_user(1000, 1000)
    };
    let root = roots::probe();
    let pod = Run::ours("stage0")
        .env("KICKSTAGE_STATE_DIR", "/nowhere")
        .args(["run", "--net=pool", "--rootfs"])
        .arg(&root)
        .args(["--", "/bin/probe"]);
    pod.hook(user)
        .output()
        .refused(&["--net", "user namespace"]);
    let pool = Run::ours("stage0")
        .env("KICKSTAGE_STATE_DIR", "/nowhere")
        .args(["pool", "--networks", "2"]);
    pool.hook(user).output().refused(&["--networks", "root"]);
    Ok(())
}

fn refused() -> TestResult {
    let pods = Registry::new();
    for (words, text) in [
        (&["--networks", "x"][..], "its size is a number"),
        (&["--networks", "1001"], "its size is a number"),
        (&["--networks", "1", "2"], "too many words"),
        (&["--networks", "--memory=1G"], "--help"),
    ] {
        pods.ask("pool", words).refused(&[text]);
    }
    for (options, text) in [
        (&["--net=pol"][..], "host, none, pool or"),
        (&["--net=pool", "--stage1=fly"], "--stage1=fly"),
        (&["--net=pool", "--stage1=/bin/true"], "--stage1=init"),
    ] {
        let output = pods.pod("run", options, &["exit", "0"]).output();
        output.refused(&[text]);
    }
    assert!(!pods.path().join("pods").exists());
    Ok(())
}

/// Who looks for what was left takes nothing of those that wait.
fn left_alone() -> TestResult {
    let pool = Pool::new(2);
    let names = || pool.entries().into_iter().map(|entry| entry.name);
    let before: BTreeSet<String> = names().collect();
    for _ in 0..20 {
        pool.pods.ask("gc", &[]).code(0).quiet();
        pool.pods.ask("pool", &["--networks"]).code(0).quiet();
    }
    assert_eq!(names().collect::<BTreeSet<_>>(), before);
    pool.resize(1);
    assert!(names().all(|name| before.contains(&name)));
    pool.end();
    Ok(())
}

/// The pool is as it was before: none, or as large.
fn that_can_not_be_made() -> TestResult {
    let pods = Registry::new();
    let refused = |pods: &Registry| {
        let run = pods.command("pool").args(["--networks", "3"]);
        let run = run.hook(failing(&[libc::SYS_unshare], libc::ENOSPC));
        run.output().refused(&["--networks", "No space left"]);
    };
    refused(&pods);
    assert!(!pods.path().join("pods/networks").exists());
    let pool = Pool::new(1);
    refused(&pool.pods);
    assert_eq!(pool.entries().len(), 1);
    pool.pods.ask("pool", &["--networks"]).code(0).quiet();
    assert_eq!(pool.entries().len(), 1);
    pool.end();
    Ok(())
}
