//! Pools of warm pods.

use std::{fs, time::Duration};

use kickstage_tests::{
    TestResult,
    command::Run,
    compare, lock,
    registered::{Registry, one_line, wait_until},
    roots, sys, tests,
};

/// The length of one.
const UUID: usize = 36;

tests![
    a_pool,
    arguments_for_one_of_a_pool,
    nothing_lost_by_what_is_refused,
    a_pool_of_others,
    a_pool_that_others_remove,
    a_pool_elsewhere,
    bad_pools,
    of_one_that_was_killed,
    of_one_that_stays_in_it,
    that_could_not_begin,
    that_can_not_be_filled_again,
];

/// Has the pool `jobs` so many pods of a program that ends with this code.
pub fn pool_of(pods: &Registry, size: &str, code: &str) {
    let root = pods.root.display().to_string();
    let words = [
        "jobs",
        size,
        "--rootfs",
        &root,
        "--",
        "/bin/probe",
        "exit",
        code,
    ];
    pods.ask("pool", &words).code(0).quiet();
}

/// How many pods can be taken from the pool.
pub fn in_pool(pods: &Registry) -> usize {
    let pool = pods.path().join("pods/pools/jobs");
    let is_pod = |name: &String| name.len() == UUID;
    compare::names(&pool).into_iter().filter(is_pod).count()
}

/// The arguments of the last moment stand behind the dashes, whether a pod is named or not.
fn arguments_for_one_of_a_pool() -> TestResult {
    let pods = Registry::new();
    pool_of(&pods, "1", "4");
    for code in ["5", "6"] {
        let words = ["--pool=jobs", "--", "exit", code];
        let code = code.parse().expect("a number");
        pods.ask("run-prepared", &words).code(code).quiet();
        wait_until("it is full again", || in_pool(&pods) == 1);
    }
    pods.ask("run-prepared", &["--pool=jobs", "--"])
        .code(4)
        .quiet();
    wait_until("it is full again", || in_pool(&pods) == 1);
    pods.ask("pool", &["jobs", "0"]).code(0).quiet();
    Ok(())
}

/// A pod that was taken is run, or is none any more; nobody would find it.
fn nothing_lost_by_what_is_refused() -> TestResult {
    let pods = Registry::new();
    pool_of(&pods, "1", "4");
    let [uuid] = &pods.in_folder("prepared")[..] else {
        panic!("one is parked");
    };
    for (words, text) in [
        (&["--detach"][..], "--detach"),
        (&["--timings"], "--timings"),
        (&["extra"], "too many words"),
        (&[uuid.as_str()], "too many words"),
        (&["extra", "--", "exit", "5"], "too many words"),
    ] {
        let words = [&["--pool=jobs"], words].concat();
        pods.ask("run-prepared", &words).refused(&[text]);
        assert_eq!(in_pool(&pods), 1, "{words:?}");
    }
    pods.ask(
        "run-prepared",
        &["--pool=jobs", "--uuid-file-save", "/no/such/folder/file"],
    )
    .refused(&["/no/such/folder/file"]);
    let another = |last: &String| {
        wait_until("another one is in its place", || {
            let parked = pods.in_folder("prepared");
            in_pool(&pods) == 1 && parked.len() == 1 && !parked.contains(last)
        });
        pods.in_folder("prepared").remove(0)
    };
    let uuid = another(uuid);
    // What is seen only when it was taken.
    let path = pods.place("prepared", &uuid).join("plan");
    fs::write(path, "no plan").expect("a file");
    let words = ["--pool=jobs", "--", "exit", "5"];
    pods.ask("run-prepared", &words).refused(&["not a plan"]);
    another(&uuid);
    pods.ask("pool", &["jobs", "0"]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// As many as the pool is to have; each that is taken is made up for.
fn a_pool() -> TestResult {
    let pods = Registry::new();
    let parked = || pods.in_folder("prepared").len();
    pool_of(&pods, "3", "4");
    assert_eq!(parked(), 3);
    for _ in 0..5 {
        pods.ask("run-prepared", &["--pool=jobs"]).code(4).quiet();
        // It is parked before it is in the pool.
        wait_until("it is full again", || parked() == 3 && in_pool(&pods) == 3);
    }
    // One whose pid 1 was killed is nobody's.
    let uuid = pods.in_folder("prepared").remove(0);
    let pid = fs::read_to_string(pods.place("prepared", &uuid).join("pid")).expect("its pid");
    sys::kill(pid.trim_end().parse().expect("a number"), libc::SIGKILL).expect("it is there");
    wait_until("it has ended", || pods.state(&uuid) != "parked");
    for _ in 0..2 {
        pods.ask("run-prepared", &["--pool=jobs"]).code(4).quiet();
    }
    pods.ask("gc", &[]).code(0).quiet();
    pods.ask("pool", &["jobs"]).code(0).quiet();
    wait_until("it is full again", || parked() == 3);
    pods.ask("pool", &["jobs", "1"]).code(0).quiet();
    assert_eq!(parked(), 1);
    pods.ask("pool", &["jobs", "0"]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    assert!(!pods.path().join("pods/pools/jobs").exists());
    Ok(())
}

/// Another kind takes the place of the one before.
fn a_pool_of_others() -> TestResult {
    let pods = Registry::new();
    for code in ["4", "5"] {
        pool_of(&pods, "1", code);
        assert_eq!(pods.in_folder("prepared").len(), 1);
    }
    let uuid = one_line(&pods.ask("list", &["--no-legend", "--full"]));
    assert!(uuid.contains("parked"), "{uuid}");
    pods.ask("run-prepared", &["--pool=jobs"]).code(5).quiet();
    wait_until("it is full again", || pods.in_folder("prepared").len() == 1);
    pods.ask("pool", &["jobs", "0"]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Who was to fill it sees first that it is to have none, and has removed it already.
fn a_pool_that_others_remove() -> TestResult {
    let pods = Registry::new();
    pool_of(&pods, "1", "4");
    pods.ask("run-prepared", &["--pool=jobs"]).code(4).quiet();
    wait_until("it is full again", || pods.in_folder("prepared").len() == 1);
    let folder = pods.path().join("pods/pools/jobs");
    let held = || {
        let file = fs::File::options().write(true).open(folder.join("lock"));
        let file = file.expect("its lock");
        lock::as_stage0(&file).map(|()| file)
    };
    // Who has filled it may not have ended.
    wait_until("nobody fills it", || held().is_ok());
    let file = held().expect("nobody has it");
    let running = pods.command("pool").args(["jobs", "0"]).start();
    wait_until("it is told", || {
        fs::read_to_string(folder.join("size")).is_ok_and(|size| size == "0")
    });
    fs::remove_dir_all(&folder).expect("a pool");
    lock::give_back(&file).expect("a lock");
    running.finish().code(0).quiet();
    assert!(!folder.exists());
    let [uuid] = &pods.in_folder("prepared")[..] else {
        panic!("one was parked");
    };
    pods.ask("rm", &["--force", uuid]).code(0);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// With `--state-dir` it is filled again, too; the option may stand anywhere.
fn a_pool_elsewhere() -> TestResult {
    let pods = Registry::new();
    let (path, root) = (pods.path().display(), pods.root.display());
    let (given, at_root) = (format!("--state-dir={path}"), format!("--rootfs={root}"));
    let (given, at_root) = (given.as_str(), at_root.as_str());
    let ask = |words: &[&str]| Run::ours("stage0").args(words).output();
    let parked = || pods.in_folder("prepared").len();
    let program = [at_root, "--", "/bin/probe", "exit", "4"];
    for before in [
        &["pool", given, "jobs", "1"][..],
        &["pool", "jobs", given, "1"],
        &["pool", "jobs", "1", given],
    ] {
        ask(&[before, &program].concat()).code(0).quiet();
        for words in [[given, "--pool=jobs"], ["--pool=jobs", given]] {
            assert_eq!(parked(), 1);
            ask(&[&["run-prepared"], &words[..]].concat())
                .code(4)
                .quiet();
            // It is parked before it is in the pool.
            wait_until("it is full again", || parked() == 1 && in_pool(&pods) == 1);
        }
        ask(&["pool", "jobs", given, "2"]).code(0).quiet();
        assert_eq!(parked(), 2);
        ask(&["pool", "jobs", given]).code(0).quiet();
        ask(&["pool", "jobs", "0", given]).code(0).quiet();
        assert_eq!(pods.left(), Vec::<String>::new(), "{before:?}");
    }
    Ok(())
}

fn bad_pools() -> TestResult {
    let pods = Registry::new();
    for (words, text) in [
        (&[][..], "it is no name of a pool"),
        (&["../a", "1"], "../a"),
        (&["a", "x"], "its size is a number"),
        (&["a", "1001"], "its size is a number"),
        (&["a"], "there is no such pool"),
        (&["a", "1"], "there is no such pool"),
        // Its pods would be those of the other one.
        (&["a", "1", "--pool=b"], "it is of the run"),
        (&["--warm", "a"], "it is no name of a pool"),
    ] {
        pods.ask("pool", words).refused(&[text]);
    }
    pods.ask("run-prepared", &["--pool=a"])
        .refused(&["no pod of it is parked"]);
    let words = ["a", "2", "--rootfs", "/nowhere", "--", "/bin/true"];
    let run = pods
        .command("pool")
        .args(words)
        .limit(Duration::from_secs(20));
    let output = run.output();
    output.code(254);
    for text in ["a pod could not be parked", "/nowhere"] {
        assert!(output.stderr.contains(text), "{}", output.stderr);
    }
    pods.ask("pool", &["a", "0"]).code(0).quiet();
    Ok(())
}

/// It is nobody's.
fn of_one_that_was_killed() -> TestResult {
    let pods = Registry::new();
    pool_of(&pods, "1", "4");
    let uuid = pods.in_folder("prepared").remove(0);
    let pid = fs::read_to_string(pods.place("prepared", &uuid).join("pid")).expect("its pid");
    sys::kill(pid.trim_end().parse().expect("a number"), libc::SIGKILL).expect("it is there");
    wait_until("it has ended", || pods.state(&uuid) != "parked");
    pods.ask("run-prepared", &["--pool=jobs"])
        .refused(&["no pod of it is parked"]);
    // Nor does it count.
    fs::write(pods.path().join("pods/pools/jobs").join(&uuid), "").expect("a mark");
    pods.ask("pool", &["jobs"]).code(0).quiet();
    assert_eq!(in_pool(&pods), 1);
    pods.ask("pool", &["jobs", "0"]).code(0).quiet();
    pods.ask("rm", &[&uuid]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Who can't take its mark away does not have it.
fn of_one_that_stays_in_it() -> TestResult {
    let pods = Registry::new();
    pool_of(&pods, "1", "4");
    let uuid = pods.in_folder("prepared").remove(0);
    let mark = pods.path().join("pods/pools/jobs").join(&uuid);
    fs::remove_file(&mark).expect("a mark");
    fs::create_dir(&mark).expect("a directory");
    pods.ask("run-prepared", &["--pool=jobs"])
        .refused(&["no pod of it is parked"]);
    assert_eq!(pods.state(&uuid), "parked");
    fs::remove_dir(&mark).expect("a directory");
    pods.ask("pool", &["jobs", "0"]).code(0).quiet();
    pods.ask("rm", &[&uuid]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Nothing stays that looks like a pool.
fn that_could_not_begin() -> TestResult {
    let pods = Registry::new();
    let gone = roots::directory("gone");
    pods.command("pool")
        .args(["jobs", "1", "--rootfs", "/", "--", "/bin/true"])
        .directory(&gone)
        .hook(move || fs::remove_dir(&gone))
        .output()
        .refused(&["jobs"]);
    let folder = pods.path().join("pods/pools/jobs");
    assert!(!folder.exists());
    // Nor is one made by who comes to fill it too late.
    fs::create_dir_all(&folder).expect("a directory");
    pods.ask("pool", &["jobs"])
        .refused(&["there is no such pool"]);
    assert_eq!(compare::names(&folder), Vec::<String>::new());
    Ok(())
}

/// That is not told who has run one of it: it was no fault of that.
fn that_can_not_be_filled_again() -> TestResult {
    let pods = Registry::new();
    pool_of(&pods, "1", "4");
    fs::rename(&pods.root, roots::fresh("away")).expect("moved");
    pods.ask("run-prepared", &["--pool=jobs"]).code(4).quiet();
    pods.ask("pool", &["jobs", "0"]).code(0).quiet();
    Ok(())
}
