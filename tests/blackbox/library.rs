//! The library: its examples are launchers, and do what `fly` does, and inits, which
//! do what `stage1-init` does.

use std::{path::Path, time::Duration};

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    pod::Pod,
    roots, tests,
};

tests![chroot_runner, confined_runner, errors, small_init, keeper];

fn runner(name: &str, root: &Path, words: &[&str]) -> Output {
    Run::ours(name).arg(root).args(words).output()
}

/// The report of the probe about `subjects`, without what differs by nature.
fn report(output: &Output) -> Vec<String> {
    output.code(0).quiet();
    let lines = output.stdout.lines();
    // Each start has pipes of its own.
    let is_a_pipe = |line: &str| line.starts_with("fd.") && line.contains("=pipe:");
    lines
        .filter(|line| !is_a_pipe(line))
        .map(str::to_owned)
        .collect()
}

/// As `fly` without its mounts: the same process, with nothing inherited.
fn chroot_runner() -> TestResult {
    let root = roots::probe();
    let subjects = ["report", "arg", "env", "uid", "gid", "umask", "SigIgn"];
    let words: Vec<&str> = ["/bin/probe"].into_iter().chain(subjects).collect();
    let seen = report(&runner("chroot_runner", &root, &words));
    let variables = ["--clearenv", "--setenv", "PATH", "/usr/bin:/bin"];
    let fly = Pod::fly(&root)
        .flag("--minimal")
        .options(variables)
        .run(&words);
    assert_eq!(seen, report(&fly));
    assert!(
        seen.contains(&"env.PATH=/usr/bin:/bin".to_owned()),
        "{seen:?}"
    );
    runner("chroot_runner", &root, &["probe", "exit", "7"]).code(7);
    // The program is the process that was called.
    let running = Run::ours("chroot_runner")
        .arg(&root)
        .args(["/bin/probe", "report", "pid"])
        .start();
    let pid = running.pid();
    running.finish().printed(&format!("pid={pid}\n"));
    Ok(())
}

/// Its options are those of `fly`.
fn confined_runner() -> TestResult {
    let root = roots::probe();
    let words = [
        "/bin/probe",
        "report",
        "arg",
        "env",
        "cwd",
        "fd",
        "uid",
        "groups",
        "CapEff",
        "CapBnd",
        "NoNewPrivs",
        "hostname",
        "mount",
    ];
    let seen = report(&runner("confined_runner", &root, &words));
    let fly = Pod::fly(&root)
        .options(["--confine", "--unshare-all", "--die-with-parent"])
        .options(["--ro", "--tmpfs", "/tmp"])
        .options(["--clearenv", "--setenv", "PATH", "/usr/bin:/bin"])
        .run(words);
    assert_eq!(seen, report(&fly));
    runner("confined_runner", &root, &["probe", "exit", "7"]).code(7);
    runner("confined_runner", &root, &["probe", "report", "pid"]).printed("pid=1\n");
    runner("confined_runner", &root, &["probe", "create", "/x"]).printed("create /x: EROFS\n");
    Ok(())
}

/// One line, under the name that the example gives.
fn errors() -> TestResult {
    let root = roots::probe();
    for name in ["chroot_runner", "confined_runner"] {
        let output = runner(name, &root, &["/bin/nope"]);
        assert_eq!(
            (output.code, output.stderr.as_str()),
            (
                Some(254),
                format!(
                    "{name}: exec /bin/nope: No such file or directory \
                     (no such program in the root file system)\n"
                )
                .as_str()
            )
        );
        let output = runner(name, Path::new("/no/root"), &["/bin/nope"]);
        assert_eq!(output.code, Some(254), "{}", output.everything());
        assert!(
            output.stderr.starts_with(name) && output.stderr.contains("/no/root: No such file"),
            "{}",
            output.everything()
        );
    }
    Ok(())
}

/// Codes and signals are those that `stage1-init` gives.
fn small_init() -> TestResult {
    for name in ["stage1-init", "small_init"] {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
            Run::ours(name)
                .args(["/bin/sh", "-c", script])
                .output()
                .code(code);
        }
        let running = Run::ours(name)
            .args(["/bin/sh", "-c"])
            .arg("trap 'exit 3' USR1; kill -USR1 $PPID; while :; do sleep 0.01; done")
            .start();
        running.finish().code(3).quiet();
        // An orphan's end is not the program's.
        Run::ours(name)
            .args(["/bin/sh", "-c", "(true & exit 4); sleep 0.05; exit 5"])
            .output()
            .code(5);
    }
    Run::ours("small_init").arg("/bin/nope").output().code(127);
    Ok(())
}

/// It restarts three times, and no more after SIGTERM.
fn keeper() -> TestResult {
    let starts = "keeper: start 1\nkeeper: start 2\nkeeper: start 3\n";
    let output = Run::ours("keeper")
        .args(["/bin/sh", "-c", "echo run; exit 5"])
        .output();
    output.code(5);
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("run\nrun\nrun\nrun\n", starts)
    );
    assert!(output.elapsed >= Duration::from_millis(300));
    Run::ours("keeper")
        .args(["/bin/true"])
        .output()
        .code(0)
        .quiet();
    let output = Run::ours("keeper")
        .args(["/bin/sh", "-c", "kill -TERM $PPID; exec sleep 10"])
        .output();
    output.code(143).quiet();
    Ok(())
}
