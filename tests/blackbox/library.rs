//! The library: its examples are launchers, and do what `fly` does.

use std::path::Path;

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    pod::Pod,
    roots, tests,
};

tests![chroot_runner, confined_runner, errors];

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
