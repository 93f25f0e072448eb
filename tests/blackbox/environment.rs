//! A pod's environment is the plan's; fly's is the caller's.

use kickstage_tests::{TestResult, pod::Pod, report::Report, roots, tests};

tests![
    not_inherited,
    home_of_the_user,
    set_env,
    bad_assignments,
    launchers_variables_do_not_reach_the_app,
    fly_inherits,
    fly_changes_in_order,
    shell_sees_it,
];

fn names(report: &Report) -> Vec<&str> {
    let mut names: Vec<&str> = report
        .below("env")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names
}

fn not_inherited() -> TestResult {
    let report = Pod::new(roots::probe())
        .probe_command(["report", "env"])
        .env("SECRET", "x")
        .env("LD_PRELOAD", "/nope.so")
        .env("TERM", "xterm")
        .env("HOME", "/home/caller")
        .env("PATH", "/caller")
        .output()
        .report();
    assert_eq!(
        names(&report),
        ["AC_APP_NAME", "HOME", "LOGNAME", "PATH", "SHELL", "USER"]
    );
    report
        .is("env.HOME", "/root")
        .is("env.USER", "root")
        .is("env.LOGNAME", "root")
        .is("env.SHELL", "/bin/sh")
        .is("env.AC_APP_NAME", "app-0");
    report.is(
        "env.PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    Ok(())
}

fn home_of_the_user() -> TestResult {
    let root = roots::probe();
    for (user, name, home) in [
        ("alice", "alice", "/home/alice"),
        ("1000", "alice", "/home/alice"),
        ("4000", "4000", "/"),
        ("0", "root", "/root"),
    ] {
        let report = Pod::new(&root)
            .options(["--user", user])
            .probe(["report", "env"])
            .report();
        report
            .is("env.HOME", home)
            .is("env.USER", name)
            .is("env.LOGNAME", name);
    }
    Ok(())
}

fn set_env() -> TestResult {
    let report = Pod::new(roots::probe())
        .options([
            "--set-env",
            "A=1",
            "--set-env=B=x=y=z",
            "--set-env",
            "EMPTY=",
            "--set-env",
            "A=2",
        ])
        .options([
            "--set-env",
            "SPACES= a b ",
            "--set-env",
            "PATH=/opt",
            "--set-env",
            "HOME=/h",
            "--set-env",
            "SHELL=/bin/other",
            "--set-env",
            "AC_APP_NAME=mine",
            "--set-env",
            "ü=ö",
        ])
        .probe(["report", "env"])
        .report();
    assert_eq!(
        names(&report),
        [
            "A",
            "AC_APP_NAME",
            "B",
            "EMPTY",
            "HOME",
            "LOGNAME",
            "PATH",
            "SHELL",
            "SPACES",
            "USER",
            "ü"
        ]
    );
    report
        .is("env.A", "2")
        .is("env.B", "x=y=z")
        .is("env.EMPTY", "")
        .is("env.SPACES", " a b ");
    report
        .is("env.PATH", "/opt")
        .is("env.HOME", "/h")
        .is("env.SHELL", "/bin/other")
        .is("env.AC_APP_NAME", "mine")
        .is("env.ü", "ö");
    Ok(())
}

fn bad_assignments() -> TestResult {
    let root = roots::probe();
    for bad in ["NOVALUE", "=x", "="] {
        Pod::new(&root)
            .options(["--set-env", bad])
            .probe(["exit", "0"])
            .refused(&["variable"]);
    }
    Pod::fly(&root)
        .options(["--setenv", "", "x"])
        .probe(["exit", "0"])
        .refused(&["variable"]);
    Pod::fly(&root)
        .options(["--setenv", "A=B", "x"])
        .probe(["exit", "0"])
        .refused(&["variable"]);
    Ok(())
}

/// What the launchers tell each other by variables is none of the app's.
fn launchers_variables_do_not_reach_the_app() -> TestResult {
    let root = roots::probe();
    for pod in [Pod::new(&root), Pod::new(&root).flag("--stage1=fly")] {
        let output = pod
            .probe_command(["report", "env"])
            .env("STAGE0_T0", "1")
            .output();
        let report = output.report();
        assert!(
            !names(&report).iter().any(|name| name.starts_with("STAGE")),
            "{}",
            output.stdout
        );
    }
    Ok(())
}

fn fly_inherits() -> TestResult {
    let report = Pod::fly(roots::probe())
        .probe_command(["report", "env"])
        .env("ONE", "1")
        .env("HOME", "/h")
        .output()
        .report();
    assert_eq!(names(&report), ["HOME", "ONE", "PATH"]);
    report.is("env.ONE", "1").is("env.HOME", "/h");
    Ok(())
}

fn fly_changes_in_order() -> TestResult {
    let root = roots::probe();
    let run = |options: &[&str]| {
        let command = Pod::fly(&root)
            .options(options)
            .command(["/bin/probe", "report", "env"]);
        command.env("ONE", "1").env("TWO", "2").output().report()
    };
    let report = run(&[
        "--setenv",
        "ONE",
        "new",
        "--unsetenv",
        "TWO",
        "--setenv",
        "THREE",
        "3 3",
    ]);
    assert_eq!(names(&report), ["ONE", "PATH", "THREE"]);
    report.is("env.ONE", "new").is("env.THREE", "3 3");
    let report = run(&[
        "--setenv",
        "LOST",
        "x",
        "--clearenv",
        "--setenv",
        "A",
        "=",
        "--setenv",
        "A",
        "b=c",
    ]);
    assert_eq!(names(&report), ["A"]);
    report.is("env.A", "b=c");
    assert!(names(&run(&["--clearenv"])).is_empty());
    assert_eq!(names(&run(&["--unsetenv", "NONE"])), ["ONE", "PATH", "TWO"]);
    Ok(())
}

fn shell_sees_it() -> TestResult {
    let root = roots::busybox()?;
    Pod::new(&root)
        .options(["--set-env", "GREETING=hello"])
        .sh("echo $GREETING $HOME")
        .printed("hello /root\n");
    Ok(())
}
