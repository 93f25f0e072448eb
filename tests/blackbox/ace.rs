//! What the App Container Executor's validation of appc asks of a pod: a main program and
//! a sidekick, each in a fresh layer over its root, one empty volume, commands before and
//! behind.

use std::fs;

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    roots, tests,
};

tests![
    the_sequence,
    a_second_time_it_is_fresh,
    a_pre_start_that_fails
];

/// The two images are one directory here: layers keep them apart.
fn pod(root: &std::path::Path, policy: &str, before: &str) -> Output {
    let image = format!("dir:{}", root.display());
    Run::ours("stage0")
        .args(["run", "--volume=database,kind=empty", policy])
        .args([&image, "--name=ace-validator-main", "--ephemeral"])
        .args(["--mount=volume=database,target=/db", "--working-dir=/opt"])
        .args(["--set-env=IN_ACE_VALIDATOR=correct", "--user=root"])
        .args(["--pre-start", before])
        // What main has made is there still.
        .args([
            "--post-stop",
            "/bin/probe stat /main , create /poststop , write /opt/out/poststop x",
        ])
        .args([
            &format!("--volume={}:/opt/out", root.join("opt").display()),
            "--",
        ])
        .args([
            "/bin/probe",
            "stat",
            "/prestart",
            ",",
            "create",
            "/main",
            ",",
            "report",
            "cwd",
        ])
        .args([
            "env",
            ",",
            "write",
            "/opt/out/main",
            "x",
            ",",
            "sleep",
            "1000",
        ])
        .args([",", "read", "/db/hello", ",", "lstat", "/sidekick"])
        .args([
            "---",
            &image,
            "--name=ace-validator-sidekick",
            "--ephemeral",
        ])
        .args(["--mount=volume=database,target=/db", "--stdout=null", "--"])
        .args([
            "/bin/probe",
            "create",
            "/sidekick",
            ",",
            "write",
            "/db/hello",
            "from-sidekick",
        ])
        .args([",", "lstat", "/main"])
        .output()
}

fn root() -> std::path::PathBuf {
    let root = roots::probe();
    for name in ["opt", "opt/out", "db"] {
        fs::create_dir(root.join(name)).expect("a directory");
    }
    root
}

/// Runs it; what the steps have told the host by a volume.
fn check(root: &std::path::Path) -> Output {
    let output = pod(
        root,
        "--exit-policy=all",
        "/bin/probe create /prestart , write /opt/out/prestart x",
    );
    // Each looks for what only the other one has.
    output.code(1);
    for line in [
        "stat /prestart: ",
        "create /main: ok",
        "cwd=/opt\n",
        "env.AC_APP_NAME=ace-validator-main\n",
        "env.IN_ACE_VALIDATOR=correct\n",
        "env.USER=root\n",
        "env.LOGNAME=root\n",
        "env.HOME=/root\n",
        "env.SHELL=/bin/sh\n",
        "env.PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
        "from-sidekick",
        "lstat /sidekick: ENOENT",
        "stat /main: ",
        "create /poststop: ok",
    ] {
        output.has(line);
    }
    // In this order.
    let at = |text: &str| output.stdout.find(text);
    assert!(at("create /prestart") < at("create /main"));
    assert!(at("create /main") < at("create /poststop"));
    output
}

fn the_sequence() -> TestResult {
    let root = root();
    check(&root);
    for name in ["prestart", "main", "poststop"] {
        assert!(root.join("opt").join(name).exists(), "{name}");
        assert!(!root.join(name).exists(), "{name}");
    }
    assert!(!root.join("sidekick").exists() && !root.join("db/hello").exists());
    Ok(())
}

/// `create` fails where something is: no layer and no volume is used twice.
fn a_second_time_it_is_fresh() -> TestResult {
    let root = root();
    let first = check(&root);
    let second = check(&root);
    // But for the numbers of what they look at.
    let lines = |output: &Output| output.stdout.lines().count();
    assert_eq!(lines(&first), lines(&second));
    Ok(())
}

fn a_pre_start_that_fails() -> TestResult {
    let root = root();
    let output = pod(
        &root,
        "--exit-policy=ace-validator-main",
        "/bin/probe exit 3",
    );
    output.code(3).lacks("create /main");
    Ok(())
}
