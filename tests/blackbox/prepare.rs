//! `stage0 prepare` and `stage0 run-prepared`: a plan that is carried out later, once.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, thread};

use kickstage_tests::{
    TestResult,
    command::Output,
    random::Random,
    registered::{Registry, one_line, wait_until},
    requirement::Requirement,
    roots, tests,
};

tests![
    then_run,
    with_all_that_a_run_has,
    with_limits,
    later_options,
    options_of_the_run,
    options_of_the_preparation,
    only_one_of_many_runs,
    not_prepared,
    a_failed_start,
    a_cut_plan,
    a_damaged_plan,
    a_plan_of_another_kind,
    nothing_left_by_a_failed_preparation,
    paths_of_where_it_was_prepared,
    roots_of_where_it_was_prepared,
    a_manifest_of_where_it_was_prepared,
    a_pool_of_where_it_was_told,
    without_a_working_directory,
];

fn run(pods: &Registry, uuid: &str) -> Output {
    pods.ask("run-prepared", &[uuid])
}

fn then_run() -> TestResult {
    let pods = Registry::new();
    let output = pods
        .pod(
            "prepare",
            &["--name=web"],
            &["echo", "hello", ",", "exit", "7"],
        )
        .output();
    output.code(0).quiet();
    let uuid = one_line(&output);
    assert_eq!(pods.list(), [(uuid.clone(), "prepared".to_owned())]);
    run(&pods, &uuid).code(7).quiet().printed("hello\n");
    assert_eq!(pods.left(), Vec::<String>::new());
    // By a beginning, by its name, and kept.
    for word in [0, 8, 20] {
        let uuid = pods.prepare(&["--name=web"], &["exit", "8"]);
        let word = if word == 0 { "web" } else { &uuid[..word] };
        pods.ask("run-prepared", &["--keep", word]).code(8).quiet();
        assert_eq!(pods.state(&uuid), "exited");
        pods.ask("rm", &[&uuid]).code(0);
    }
    Ok(())
}

fn with_all_that_a_run_has() -> TestResult {
    let pods = Registry::new();
    let source = roots::directory("source");
    fs::set_permissions(&source, fs::Permissions::from_mode(0o777)).expect("a mode");
    let volume = format!("{}:/data", source.display());
    let saved = roots::fresh("uuid");
    let output = pods
        .command("prepare")
        .arg("--uuid-file-save")
        .arg(&saved)
        .args([
            "--volume",
            &volume,
            "--tmpfs=/tmp",
            "--set-env=A=b",
            "--rootfs",
        ])
        .arg(&pods.root)
        .args("--name=one --user=alice -- /bin/probe report uid env.A".split(' '))
        .args(
            "--- --name=two --after=one --ready=exit -- /bin/probe write /data/file two".split(' '),
        )
        .output();
    output.code(0).quiet();
    let uuid = one_line(&output);
    assert_eq!(
        fs::read_to_string(saved).expect("a file"),
        format!("{uuid}\n")
    );
    let output = run(&pods, &uuid);
    output.code(0).quiet().has("uid");
    assert_eq!(
        fs::read_to_string(source.join("file"))
            .expect("a file")
            .trim_end(),
        "two"
    );
    assert_eq!(pods.left(), Vec::<String>::new());
    // What the caller has when it runs is what it gets: input, too.
    let uuid = pods.prepare(&[], &["line"]);
    let output = pods
        .command("run-prepared")
        .arg(&uuid)
        .input("text\n")
        .output();
    output.code(0).quiet().has("text");
    Ok(())
}

fn with_limits() -> TestResult {
    Requirement::Controllers.require()?;
    let pods = Registry::new();
    let uuid = pods.prepare(
        &["--memory=64M", "--pids=2"],
        &["fork", "1", ",", "exit", "9"],
    );
    run(&pods, &uuid).code(9).has("EAGAIN");
    for name in ["memory", "pids"] {
        let (mount, _) = kickstage_tests::requirement::controller(name).expect("the requirement");
        let own = mount.join("kickstage").join(format!("uuid-{uuid}"));
        assert!(!own.exists(), "{}", own.display());
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// What belongs to the run is said with it.
fn later_options() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&["--stop-timeout=100ms"], &["sleep", "60000"]);
    pods.ask("run-prepared", &["--timeout=50ms", &uuid])
        .code(124);
    let uuid = pods.prepare(&[], &["catch", "TERM"]);
    let saved = roots::fresh("uuid");
    let output = pods
        .command("run-prepared")
        .args(["--detach", "--uuid-file-save"])
        .arg(&saved)
        .arg(&uuid)
        .output();
    output.code(0).quiet().printed(&format!("{uuid}\n"));
    assert_eq!(
        fs::read_to_string(saved).expect("a file"),
        format!("{uuid}\n")
    );
    assert_eq!(pods.state(&uuid), "running");
    pods.ask("stop", &[&uuid]).code(0);
    let uuid = pods.prepare(&[], &["exit", "3"]);
    let output = pods.ask("run-prepared", &["--timings", &uuid]);
    output.code(3);
    assert!(
        output.stderr.contains("end of the pod"),
        "{}",
        output.stderr
    );
    pods.collected();
    Ok(())
}

fn options_of_the_run() -> TestResult {
    let pods = Registry::new();
    for option in [
        "--detach",
        "--keep",
        "--keep=false",
        "--rm",
        "--rm=false",
        "--timeout=5",
    ] {
        let name = option.split('=').next().unwrap_or_default();
        pods.pod("prepare", &[option], &["exit", "0"])
            .output()
            .refused(&[name, "of the run"]);
    }
    for option in [
        "--timings",
        "--listen-fds",
        "--pod-dir=/tmp/x",
        "--stage1=/bin/true",
    ] {
        let output = pods.pod("prepare", &[option], &["exit", "0"]).output();
        if option != "--listen-fds" || output.code != Some(0) {
            let name = option.split('=').next().unwrap_or_default();
            output.refused(&[name, "of the run"]);
        }
    }
    pods.pod("prepare", &["--output=/tmp/x"], &["exit", "0"])
        .output()
        .refused(&["--output", "only for plan"]);
    for (folder, uuid) in pods.left().iter().filter_map(|path| path.split_once('/')) {
        assert_eq!(folder, "prepared");
        pods.ask("rm", &[uuid]).code(0);
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn options_of_the_preparation() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&[], &["exit", "0"]);
    for option in [
        "--rootfs=/",
        "--ephemeral",
        "--user=1",
        "--memory=64M",
        "--name=x",
        "--stage1=fly",
    ] {
        let name = option.split('=').next().unwrap_or_default();
        pods.ask("run-prepared", &[option, &uuid])
            .refused(&[name, "of the preparation"]);
    }
    pods.ask("run-prepared", &["--no-such", &uuid])
        .refused(&["--no-such"]);
    pods.ask("run-prepared", &[]).refused(&["no prepared pod"]);
    pods.ask("run-prepared", &[&uuid, "more"])
        .refused(&["too many words"]);
    assert_eq!(pods.state(&uuid), "prepared");
    run(&pods, &uuid).code(0);
    Ok(())
}

/// At the same moment.
fn only_one_of_many_runs() -> TestResult {
    let pods = Registry::new();
    for _ in 0..20 {
        let uuid = pods.prepare(&[], &["echo", "ran", ",", "sleep", "2"]);
        let outputs: Vec<Output> = thread::scope(|scope| {
            let all: Vec<_> = (0..6).map(|_| scope.spawn(|| run(&pods, &uuid))).collect();
            all.into_iter()
                .map(|one| one.join().expect("an output"))
                .collect()
        });
        let ran: Vec<&Output> = outputs.iter().filter(|one| one.code == Some(0)).collect();
        assert_eq!(ran.len(), 1, "{outputs:#?}");
        ran[0].printed("ran\n");
        for one in outputs.iter().filter(|one| one.code != Some(0)) {
            one.refused(&[&uuid]);
        }
        assert_eq!(pods.left(), Vec::<String>::new());
    }
    Ok(())
}

fn not_prepared() -> TestResult {
    let pods = Registry::new();
    let whole = "00112233-4455-4677-8899-aabbccddeeff";
    for word in [whole, "0011", "name"] {
        run(&pods, word).refused(&[word]);
    }
    run(&pods, "").refused(&["UUID cannot be empty"]);
    let ended = pods.exited("0");
    run(&pods, &ended).refused(&[&ended, "no such prepared pod"]);
    let pod = pods.start(&[]);
    run(&pods, &pod.uuid).refused(&[&pod.uuid]);
    pod.end();
    Ok(())
}

/// It can be tried again.
fn a_failed_start() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&[], &["exit", "4"]);
    let away = roots::fresh("root");
    fs::rename(&pods.root, &away).expect("renamed");
    let saved = roots::fresh("uuid");
    for words in [
        vec![uuid.as_str()],
        vec!["--detach", &uuid],
        vec!["--keep", &uuid],
    ] {
        pods.ask("run-prepared", &words)
            .refused(&[pods.root.to_str().expect("UTF-8")]);
        assert_eq!(pods.left(), [format!("prepared/{uuid}")]);
        assert_eq!(pods.state(&uuid), "prepared");
    }
    fs::rename(&away, &pods.root).expect("renamed");
    // Where its uuid can't be saved.
    pods.ask(
        "run-prepared",
        &["--uuid-file-save", "/no/such/folder/file", &uuid],
    )
    .refused(&["/no/such/folder/file"]);
    assert_eq!(pods.state(&uuid), "prepared");
    assert!(!saved.exists());
    run(&pods, &uuid).code(4).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// The plan of a pod that is prepared.
fn plan(pods: &Registry, uuid: &str) -> PathBuf {
    pods.place("prepared", uuid).join("plan")
}

/// A plan that is damaged is refused, and the pod stays prepared; or, if that is another
/// plan, it is carried out, and ends.
fn damaged(pods: &Registry, uuid: &str, bytes: &[u8]) -> bool {
    fs::write(plan(pods, uuid), bytes).expect("a plan");
    let output = run(pods, uuid);
    let _ = pods.ask("list", &[]).code(0).quiet();
    if pods.in_folder("prepared").is_empty() {
        // Another number or text somewhere.
        assert!(
            output.code.is_some() && !output.late,
            "{}",
            output.everything()
        );
        return false;
    }
    output.refused(&[]);
    assert_eq!(pods.left(), [format!("prepared/{uuid}")]);
    true
}

fn a_cut_plan() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&[], &["exit", "6"]);
    let whole = fs::read(plan(&pods, &uuid)).expect("a plan");
    let step = (whole.len() / 300).max(1);
    for length in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
        assert!(damaged(&pods, &uuid, &whole[..length]), "cut at {length}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(damaged(&pods, &uuid, &longer), "one byte more");
    longer.resize(4 << 20, 0);
    assert!(damaged(&pods, &uuid, &longer), "too long");
    fs::write(plan(&pods, &uuid), &whole).expect("a plan");
    run(&pods, &uuid).code(6).quiet();
    Ok(())
}

/// Bytes of all positions, some at a time.
fn a_damaged_plan() -> TestResult {
    let pods = Registry::new();
    let fresh = || {
        let uuid = pods.prepare(&["--ephemeral"], &["exit", "6"]);
        let whole = fs::read(plan(&pods, &uuid)).expect("a plan");
        (uuid, whole)
    };
    let (mut uuid, mut whole) = fresh();
    let mut random = Random::new(0x1234_5678_9abc_def1);
    let mut refused = 0;
    for round in 0..600 {
        let mut bytes = whole.clone();
        let position = round * whole.len() / 600;
        bytes[position] = match round % 3 {
            0 => 0xff,
            1 => bytes[position] ^ (1 << random.below(8)),
            _ => u8::try_from(random.below(256)).expect("a byte"),
        };
        if damaged(&pods, &uuid, &bytes) {
            refused += 1;
        } else {
            (uuid, whole) = fresh();
        }
    }
    assert!(refused > 100, "{refused} refused");
    fs::write(plan(&pods, &uuid), &whole).expect("a plan");
    run(&pods, &uuid).code(6);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn a_plan_of_another_kind() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&[], &["exit", "6"]);
    let whole = fs::read(plan(&pods, &uuid)).expect("a plan");
    // Another version: the first bytes say which one it is.
    for position in 0..8 {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x55;
        assert!(damaged(&pods, &uuid, &bytes), "byte {position}");
    }
    // None at all.
    fs::remove_file(plan(&pods, &uuid)).expect("a plan");
    run(&pods, &uuid).refused(&[&uuid]);
    pods.ask("list", &[]).code(0).quiet();
    pods.ask("status", &[&uuid]).code(0).has("state=prepared");
    fs::create_dir(plan(&pods, &uuid)).expect("a directory");
    run(&pods, &uuid).refused(&[&uuid]);
    fs::remove_dir(plan(&pods, &uuid)).expect("a directory");
    std::os::unix::fs::symlink("/etc/passwd", plan(&pods, &uuid)).expect("a link");
    run(&pods, &uuid).refused(&[&uuid]);
    pods.ask("rm", &[&uuid]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn nothing_left_by_a_failed_preparation() -> TestResult {
    let pods = Registry::new();
    pods.pod("prepare", &["--user=nobody-such"], &["exit", "0"])
        .output()
        .refused(&["nobody-such"]);
    pods.pod(
        "prepare",
        &["--uuid-file-save=/no/such/folder/x"],
        &["exit", "0"],
    )
    .output()
    .refused(&["/no/such/folder/x"]);
    wait_until("nothing is left", || pods.left().is_empty());
    // A state directory that can't be written.
    kickstage_tests::sys::bind(
        pods.path().to_str().expect("UTF-8"),
        pods.path().to_str().expect("UTF-8"),
    )
    .expect("a bind mount");
    kickstage_tests::sys::read_only(pods.path().to_str().expect("UTF-8")).expect("read-only");
    let output = pods.pod("prepare", &[], &["exit", "0"]).output();
    output.refused(&["ead-only"]);
    let output = pods.pod("run", &["--register"], &["exit", "0"]).output();
    output.refused(&["ead-only"]);
    // What needs no state starts all the same.
    pods.pod("run", &[], &["exit", "5"])
        .output()
        .code(5)
        .quiet();
    pods.ask("list", &[]).code(0).quiet();
    kickstage_tests::sys::unmount(pods.path().to_str().expect("UTF-8")).expect("unmounted");
    Ok(())
}

/// A directory with a root, something for a volume, and a program of stage 1; relative paths
/// lead to another one's where a pod is run.
fn places(pods: &Registry) -> [PathBuf; 2] {
    let places = [roots::directory("here"), roots::directory("there")];
    for place in &places {
        std::os::unix::fs::symlink(&pods.root, place.join("root")).expect("a link");
        fs::create_dir(place.join("data")).expect("a directory");
        let name = place.file_name().expect("a name").to_str().expect("UTF-8");
        fs::write(
            place.join("data/mark"),
            name.trim_end_matches(char::is_numeric),
        )
        .expect("a file");
    }
    let init = kickstage_tests::command::program("stage1-init");
    fs::copy(init, places[0].join("stage1-init")).expect("a copy");
    places
}

fn paths_of_where_it_was_prepared() -> TestResult {
    let pods = Registry::new();
    let [here, there] = places(&pods);
    let inside = ["--", "/bin/probe", "read", "/data/mark"];
    for options in [
        &["--volume=data:/data", "--rootfs=root"][..],
        &["--volume=./../UP/data:/data", "--rootfs", "./root"],
        &[
            "--volume=d,kind=host,source=data,readOnly=true",
            "--mount=volume=d,target=/data",
            "--ephemeral",
            "dir:root",
        ],
        &["--volume=data:/data", "--stage1=init:stage1-init", "root/"],
        &[
            "--private-users=700000:65536",
            "--volume=data:/data",
            "--rootfs=root",
        ],
        &["--volume=data:/data", "--net=./net", "--rootfs=root"],
    ] {
        let name = here.file_name().expect("a name").to_str().expect("UTF-8");
        let options: Vec<String> = options
            .iter()
            .map(|word| word.replace("UP", name))
            .collect();
        if options.iter().any(|word| word.contains("net")) {
            let _ = fs::remove_file(here.join("net"));
            std::os::unix::fs::symlink("/proc/1/ns/net", here.join("net")).expect("a link");
        }
        let has_ids = options.iter().any(|word| word.contains("users"));
        for warm in [false, true] {
            if warm && has_ids {
                // Nobody would keep them.
                continue;
            }
            let output = pods
                .command("prepare")
                .args(warm.then_some("--warm"))
                .args(&options)
                .args(inside)
                .directory(&here)
                .output();
            output.code(0).quiet();
            let uuid = one_line(&output);
            let output = pods
                .command("run-prepared")
                .arg(&uuid)
                .directory(&there)
                .output();
            output.code(0).quiet().has("here");
        }
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Each has one of its own.
fn roots_of_where_it_was_prepared() -> TestResult {
    let pods = Registry::new();
    let [here, there] = places(&pods);
    let words = "--volume data:/data dir:root --name=a -- /bin/probe read /data/mark \
        --- dir:./root --name=b --volume=data:/data -- /bin/probe read /data/mark";
    let output = pods
        .command("prepare")
        .args(words.split_whitespace())
        .directory(&here)
        .output();
    output.code(0).quiet();
    let output = pods
        .command("run-prepared")
        .arg(one_line(&output))
        .directory(&there)
        .output();
    output.code(0).quiet();
    assert_eq!(output.stdout.matches("here").count(), 2);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn a_manifest_of_where_it_was_prepared() -> TestResult {
    let pods = Registry::new();
    let [here, there] = places(&pods);
    let text = format!(
        r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{{"name":"main","image":{{"name":"dir:{}"}},
"app":{{"exec":["/bin/probe","exit","6"],"user":"0","group":"0"}}}}]}}"#,
        pods.root.display()
    );
    fs::write(here.join("manifest"), text).expect("a file");
    let words = ["--pod-manifest=manifest", "--stage1=init:./stage1-init"];
    let output = pods
        .command("prepare")
        .args(words)
        .directory(&here)
        .output();
    output.code(0).quiet();
    fs::remove_file(here.join("manifest")).expect("a file");
    pods.command("run-prepared")
        .arg(one_line(&output))
        .directory(&there)
        .output()
        .code(6)
        .quiet();
    Ok(())
}

/// Also for those that are parked later.
fn a_pool_of_where_it_was_told() -> TestResult {
    let pods = Registry::new();
    let [here, there] = places(&pods);
    let words = "jobs 2 --volume=data:/data --rootfs=root -- /bin/probe read /data/mark";
    let pool = pods.command("pool").args(words.split(' '));
    pool.directory(&here).output().code(0).quiet();
    for _ in 0..5 {
        let run = pods.command("run-prepared").arg("--pool=jobs");
        run.directory(&there).output().code(0).quiet().has("here");
        wait_until("it is full again", || pods.in_folder("prepared").len() == 2);
    }
    pods.ask("pool", &["jobs", "0"]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn without_a_working_directory() -> TestResult {
    let pods = Registry::new();
    let [_, there] = places(&pods);
    let prepare = |root: &str| {
        let gone = roots::directory("gone");
        pods.command("prepare")
            .args(["--rootfs", root, "--", "/bin/probe", "exit", "0"])
            .directory(&gone)
            .hook(move || fs::remove_dir(&gone))
            .output()
    };
    prepare(&format!("..{}", there.join("root").display())).refused(&["open .", "No such file"]);
    let output = prepare(pods.root.to_str().expect("UTF-8"));
    output.code(0).quiet();
    pods.ask("rm", &[&one_line(&output)]).code(0);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}
