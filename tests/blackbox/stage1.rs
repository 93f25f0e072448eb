//! The flavours of stage 1.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    compare,
    isolate::processes,
    pod::Pod,
    registered::{Registry, one_line, wait_until},
    roots,
    terminal::Terminal,
    tests,
};

tests![
    init_by_name,
    init_by_path,
    init_is_found_beside_stage0,
    init_is_found_in_libexec,
    init_is_missing,
    init_that_is_no_program,
    fly_is_one_process,
    fly_isolates_files,
    fly_confines_like_a_pod,
    fly_refuses_what_it_cannot_do,
    other_program,
    other_program_is_not_helped,
    other_programs_code,
    other_program_is_missing,
    other_programs_lock_and_plan,
    several_apps,
    several_apps_stop_in_order,
    several_apps_and_one_that_is_missing,
];

fn init_by_name() -> TestResult {
    let root = roots::probe();
    for options in [&["--stage1=init"][..], &["--stage1", "init"]] {
        Pod::new(&root)
            .options(options)
            .probe(["report", "pid", "pid1"])
            .report()
            .is("pid", "2")
            .is("pid1.exe", "EACCES");
    }
    Ok(())
}

fn init_by_path() -> TestResult {
    let root = roots::probe();
    let copy = roots::fresh("init");
    fs::copy(program("stage1-init"), &copy).expect("a copy");
    Pod::new(&root)
        .flag(&format!("--stage1=init:{}", copy.display()))
        .probe(["exit", "7"])
        .code(7)
        .quiet();
    Ok(())
}

/// A copy of stage0 in `folder`, without anything beside it.
fn stage0_in(folder: &Path) -> PathBuf {
    fs::create_dir_all(folder).expect("a directory");
    let copy = folder.join("stage0");
    fs::copy(program("stage0"), &copy).expect("a copy");
    copy
}

fn start(stage0: &Path, root: &Path) -> Run {
    Run::new(stage0)
        .args(["run", "--rootfs"])
        .arg(root)
        .args(["--", "/bin/probe", "exit", "7"])
}

fn init_is_found_beside_stage0() -> TestResult {
    let (root, folder) = (roots::probe(), roots::directory("bin"));
    let stage0 = stage0_in(&folder);
    fs::copy(program("stage1-init"), folder.join("stage1-init")).expect("a copy");
    start(&stage0, &root).output().code(7).quiet();
    // Found beside the file, not beside a link to it or in the caller's
    // directory.
    let link = roots::directory("other").join("stage0");
    std::os::unix::fs::symlink(&stage0, &link).expect("a link");
    start(&link, &root).directory("/").output().code(7).quiet();
    Ok(())
}

fn init_is_found_in_libexec() -> TestResult {
    let (root, prefix) = (roots::probe(), roots::directory("prefix"));
    let stage0 = stage0_in(&prefix.join("bin"));
    let libexec = prefix.join("libexec/kickstage");
    fs::create_dir_all(&libexec).expect("a directory");
    fs::copy(program("stage1-init"), libexec.join("stage1-init")).expect("a copy");
    start(&stage0, &root).output().code(7).quiet();
    // In the background, too.
    let pods = Registry::new();
    let run = Run::new(&stage0).env("KICKSTAGE_STATE_DIR", pods.path());
    let run = run.args(["run", "--detach", "--rootfs"]).arg(&root);
    let uuid = one_line(&run.args(["--", "/bin/probe", "exit", "7"]).output());
    pods.ask("status", &["--wait", &uuid]).code(0).has("code=7");
    Ok(())
}

fn init_is_missing() -> TestResult {
    let (root, folder) = (roots::probe(), roots::directory("lonely"));
    let stage0 = stage0_in(&folder.join("bin"));
    start(&stage0, &root)
        .output()
        .refused(&["stage1-init", "No such file or directory"]);
    // The other flavours do not need it.
    Run::new(&stage0)
        .args(["run", "--stage1=fly", "--rootfs"])
        .arg(&root)
        .args(["--", "/bin/probe", "exit", "7"])
        .output()
        .code(7);
    Ok(())
}

fn init_that_is_no_program() -> TestResult {
    let root = roots::probe();
    let text = roots::fresh("text");
    fs::write(&text, "no program").expect("a file");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).expect("a mode");
    Pod::new(&root)
        .flag(&format!("--stage1=init:{}", text.display()))
        .probe(["exit", "0"])
        .refused(&["Exec format error"]);
    Pod::new(&root)
        .flag("--stage1=init:/nope")
        .probe(["exit", "0"])
        .refused(&["/nope", "No such file or directory"]);
    Pod::new(&root)
        .flag("--stage1=init:/etc")
        .probe(["exit", "0"])
        .refused(&["/etc"]);
    Ok(())
}

fn fly_is_one_process() -> TestResult {
    let root = roots::probe();
    let running = Pod::new(&root)
        .flag("--stage1=fly")
        .probe_command(["report", "pid"])
        .start();
    let pid = running.pid();
    running.finish().report().is("pid", &pid.to_string());
    Ok(())
}

fn fly_isolates_files() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    fs::write(source.join("mark"), "here").expect("a file");
    let pod = Pod::new(&root)
        .flag("--stage1=fly")
        .options(["--volume", &format!("{}:/data:ro", source.display())])
        .options([
            "--tmpfs",
            "/tmp",
            "--set-env",
            "A=1",
            "--working-dir",
            "/data",
            "--user",
            "alice",
        ]);
    let script = [
        "read", "mark", ",", "create", "/tmp/x", ",", "create", "/data/x", ",", "report", "uid",
        "gid", "env", "cwd",
    ];
    let output = pod.probe(script);
    output
        .code(1)
        .has("here")
        .has("create /tmp/x: ok")
        .has("create /data/x: EROFS");
    output
        .has("uid=1000\n")
        .has("gid=1000\n")
        .has("env.A=1\n")
        .has("cwd=/data\n")
        .lacks("env.TERM");
    assert_eq!(compare::names(&source), ["mark"]);
    Ok(())
}

fn fly_confines_like_a_pod() -> TestResult {
    let root = roots::probe();
    let keys = [
        "report",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "SigBlk",
    ];
    for user in ["0", "1000"] {
        let report = |flag: &str| {
            Pod::new(&root)
                .flag(flag)
                .options(["--user", user])
                .probe(keys)
                .stdout
        };
        assert_eq!(report("--stage1=fly"), report("--stage1=init"));
    }
    Ok(())
}

/// What needs namespaces that fly does not make is refused, not dropped.
fn fly_refuses_what_it_cannot_do() -> TestResult {
    let root = roots::probe();
    for (option, words) in [
        ("--net=none", "--net"),
        ("--hostname=x", "--hostname"),
        ("--tty=true", "--tty"),
    ] {
        Pod::new(&root)
            .options(["--stage1=fly", option])
            .probe(["exit", "0"])
            .refused(&[words]);
    }
    Ok(())
}

fn script(text: &str) -> PathBuf {
    let path = roots::fresh("stage1");
    fs::write(&path, format!("#!/bin/sh\n{text}")).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

/// Any program that keeps the contract: here one that tells what it got.
fn other_program() -> TestResult {
    let root = roots::probe();
    let stage1 = script(
        "echo \"$1 $2 ${#3} $#\"; env | grep ^STAGE1 | sort; ls; ls -d status/; echo $$ >pid",
    );
    let output = Pod::new(&root)
        .flag(&format!("--stage1={}", stage1.display()))
        .probe(["exit", "0"]);
    output
        .code(0)
        .has("run --uuid 36 3\n")
        .has("STAGE1_INTERFACE=1\n")
        .has("STAGE1_PLAN_FD=")
        .has("STAGE1_LOCK_FD=");
    output.has("status/\n");
    Ok(())
}

/// What the contract says nothing of is refused, and the caller's terminal is its own.
fn other_program_is_not_helped() -> TestResult {
    let root = roots::probe();
    let stage1 = format!("--stage1={}", script("test -t 0 && exit 7").display());
    for option in [
        "--timeout=1",
        "--pod-dir=/nowhere",
        "--timings",
        "--tty",
        "--net=pool",
    ] {
        Pod::new(&root)
            .options([&stage1, option])
            .probe(["exit", "0"])
            .refused(&[
                option.split('=').next().expect("a name"),
                "only with --stage1=init",
            ]);
    }
    let terminal = Terminal::new(24, 80);
    let pod = terminal.start(Pod::new(&root).flag(&stage1).probe_command(["exit", "0"]));
    pod.finish().code(7);
    Ok(())
}

fn other_programs_code() -> TestResult {
    let root = roots::probe();
    for (text, code) in [("exit 7", 7), ("exit 0", 0), ("exit 254", 254)] {
        Pod::new(&root)
            .flag(&format!("--stage1={}", script(text).display()))
            .probe(["exit", "0"])
            .code(code);
    }
    Ok(())
}

fn other_program_is_missing() -> TestResult {
    let root = roots::probe();
    Pod::new(&root)
        .flag("--stage1=/no/stage1")
        .probe(["exit", "0"])
        .refused(&["/no/stage1", "No such file"]);
    // It is a file of the host, which would be looked for in the pod's directory.
    Pod::new(&root)
        .flag("--stage1=./stage1")
        .probe(["exit", "0"])
        .refused(&["./stage1", "not absolute"]);
    for bad in ["--stage1=", "--stage1=nonsense"] {
        Pod::new(&root)
            .flag(bad)
            .probe(["exit", "0"])
            .refused(&["stage1"]);
    }
    Ok(())
}

/// The lock is a regular file that is locked; the plan can't be changed;
/// nothing else is inherited; each pod has another uuid.
fn other_programs_lock_and_plan() -> TestResult {
    let root = roots::probe();
    let stage1 = script(
        "readlink /proc/self/fd/$STAGE1_PLAN_FD | cut -d' ' -f1
         : 2>/dev/null >>/proc/self/fd/$STAGE1_PLAN_FD && echo x 2>/dev/null >&$STAGE1_PLAN_FD && echo writable
         test -f /proc/self/fd/$STAGE1_LOCK_FD && echo regular
         flock -n lock true || echo locked
         for f in /proc/$$/fd/*; do n=${f##*/}; test -e $f || continue
           case $n in 0|1|2|10|255|$STAGE1_PLAN_FD|$STAGE1_LOCK_FD) ;; *) echo extra $n;; esac; done
         wc -c <&$STAGE1_PLAN_FD >/dev/null && echo readable
         echo uuid $3",
    );
    let run = || {
        let output = Pod::new(&root)
            .flag(&format!("--stage1={}", stage1.display()))
            .probe(["exit", "0"]);
        output
            .code(0)
            .has("/memfd:")
            .has("regular\n")
            .has("locked\n")
            .has("readable\n")
            .lacks("writable")
            .lacks("extra");
        output
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix("uuid ").map(str::to_owned))
            .expect("a uuid")
    };
    assert_ne!(run(), run());
    Ok(())
}

/// `A --- B --- C`: one pod, one pid 1.
fn several_apps() -> TestResult {
    let root = roots::probe();
    let words = [
        "/bin/probe",
        "sleep",
        "50",
        ",",
        "echo",
        "one",
        "---",
        "/bin/probe",
        "sleep",
        "50",
        ",",
        "echo",
        "two",
        ",",
        "report",
        "pid1",
        "ppid",
    ];
    let output = Pod::new(&root).run(words);
    output.code(0).has("one\n").has("two\n").has("ppid=1\n");
    Ok(())
}

/// rkt's case: 0 after a while, 5 after a while, 6 later: the pod's code is 5,
/// and the third is stopped in order.
fn several_apps_stop_in_order() -> TestResult {
    let root = roots::probe();
    let words = [
        "/bin/probe",
        "sleep",
        "50",
        ",",
        "exit",
        "0",
        "---",
        "/bin/probe",
        "line",
        ",",
        "exit",
        "5",
        "---",
        "/bin/probe",
        "catch",
        "TERM",
        ",",
        "exit",
        "6",
    ];
    let mut running = Pod::new(&root).command(words).open_input().start();
    running.wait_for("catch: waiting");
    // This test and its pid 1, the pod's stage0 and pid 1, and the two other programs.
    wait_until("the first one has ended", || processes().len() == 6);
    running.close_input();
    let output = running.finish();
    output.code(5).has("catch: SIGTERM");
    assert!(output.elapsed.as_secs() < 10, "{:?}", output.elapsed);
    Ok(())
}

fn several_apps_and_one_that_is_missing() -> TestResult {
    let root = roots::probe();
    let words = ["/bin/probe", "sleep", "60000", "---", "/nope"];
    let output = Pod::new(&root).run(words);
    output.refused(&["/nope", "No such file or directory"]);
    Ok(())
}
