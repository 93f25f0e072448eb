//! Roots of programs: one that is named by ROOT, and several in one pod.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    registered::wait_until,
    roots,
    terminal::Terminal,
    tests,
};

use crate::control;

tests![
    one_root,
    one_root_is_the_pods,
    what_names_no_root,
    exec_names_the_program,
    each_sees_its_own,
    nothing_of_the_others,
    no_way_out,
    users_of_its_own_passwd,
    a_default_root_and_another,
    streams_and_logs,
    ready_by_a_file,
    ready_by_notification,
    hooks_and_restarts,
    pid_namespaces,
    pipes,
    a_terminal,
    privileges,
    variables,
    nothing_is_added,
    what_needs_one_root,
    roots_that_are_none,
];

/// `stage0 COMMAND OPTIONS`, and for each program its root, its options and the probe
/// with these words.
fn command(command: &str, options: &[&str], programs: &[(&Path, &str, &str)]) -> Run {
    let mut run = Run::ours("stage0").arg(command).args(options);
    for (number, (root, options, words)) in programs.iter().enumerate() {
        if number > 0 {
            run = run.arg("---");
        }
        run = run
            .arg(format!("dir:{}", root.display()))
            .args(options.split_whitespace())
            .args(["--", "/bin/probe"])
            .args(words.split_whitespace());
    }
    run
}

pub fn run(options: &[&str], programs: &[(&Path, &str, &str)]) -> Output {
    command("run", options, programs).output()
}

/// A root in which `/name` says this.
pub fn named(name: &str) -> PathBuf {
    let root = roots::probe();
    fs::write(root.join("name"), name).expect("a file");
    root
}

pub fn two() -> (PathBuf, PathBuf) {
    (named("first"), named("second"))
}

pub fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).expect("a file")
}

fn one_root() -> TestResult {
    let root = named("only");
    let path = root.to_str().expect("a path");
    for first in [format!("dir:{path}"), path.to_owned()] {
        Run::ours("stage0")
            .args(["run", &first, "--user=1000", "--", "/bin/probe"])
            .args(["read", "/name", ",", "report", "uid"])
            .output()
            .code(0)
            .printed("onlyuid=1000\n");
        // The second -- may be left out.
        Run::ours("stage0")
            .args(["run", "--hostname=x", &first, "/bin/probe", "echo", "--"])
            .output()
            .code(0)
            .printed("--\n");
    }
    let other = named("other");
    Run::ours("stage0")
        .args(["run", "--rootfs"])
        .arg(&other)
        .arg(format!("dir:{path}"))
        .args(["/bin/probe", "read", "/name"])
        .output()
        .code(0)
        .printed("only");
    Ok(())
}

/// The very plan of `--rootfs`.
fn one_root_is_the_pods() -> TestResult {
    let root = roots::probe();
    let own = ["--ephemeral", "--tmpfs=/tmp", "--volume=/etc:/mnt:ro"];
    let rest = ["--", "/bin/probe", "exit", "0"];
    let plan = Run::ours("stage0").args(["plan", "--hostname=x"]);
    let named = plan.args(["--rootfs".as_ref(), root.as_os_str()]);
    let named = named.args(own).args(rest).output();
    let plan = Run::ours("stage0").args(["plan", "--hostname=x"]);
    let first = plan.arg(&root).args(own).args(rest).output();
    named.code(0);
    first.code(0);
    assert_eq!(named.stdout, first.stdout);
    Ok(())
}

fn what_names_no_root() -> TestResult {
    for (word, cause) in [
        ("true", "no --rootfs is named, so a root comes first"),
        ("dir:", "it is empty"),
        ("docker://debian", "images are not known yet"),
        ("oci:debian", "images are not known yet"),
        ("https://example.com/a.aci", "images are not known yet"),
    ] {
        Run::ours("stage0")
            .args(["run", word, "--", "/bin/true"])
            .output()
            .refused(&["read root", word, cause]);
    }
    let root = roots::probe();
    let with = |words: &[&str]| {
        let run = Run::ours("stage0").arg("run").arg(&root);
        run.args(words).output()
    };
    with(&[]).refused(&["no program is named"]);
    with(&["--hostname=x", "/bin/probe"]).refused(&["--hostname=x", "before the first program"]);
    with(&["/bin/probe", "exit", "0", "---", "--", "/bin/probe"]).refused(&["--rootfs is missing"]);
    with(&[
        "/bin/probe",
        "exit",
        "0",
        "---",
        "oci:x",
        "--",
        "/bin/probe",
    ])
    .refused(&["read root", "oci:x"]);
    Ok(())
}

fn exec_names_the_program() -> TestResult {
    let root = roots::probe();
    let words = ["--exec=/bin/probe", "--", "echo", "a", "---", "b"];
    Run::ours("stage0")
        .arg("run")
        .arg(&root)
        .args(words.get(..4).unwrap_or_default())
        .output()
        .code(0)
        .printed("a\n");
    let run = Run::ours("stage0").args(["run", "--rootfs"]).arg(&root);
    run.args(["--exec", "/bin/probe", "---", "--exec=/bin/probe"])
        .args(["--", "echo", "b"])
        .output()
        // The probe without words tells how it is used.
        .code(2);
    Ok(())
}

fn each_sees_its_own() -> TestResult {
    let (a, b) = two();
    let output = run(
        &["--exit-policy=all", "--log=prefix"],
        &[
            (&a, "", "read /name , report root cwd"),
            (&b, "--log=prefix", "read /name , report root cwd"),
        ],
    );
    output.code(0);
    for line in ["app-0: first", "app-1: second"] {
        assert!(output.stderr.contains(line), "{}", output.stderr);
    }
    assert_eq!(output.stderr.matches("root=/\n").count(), 2);
    Ok(())
}

/// No path of a program leads to where the roots are, and no mount is seen but its own.
fn nothing_of_the_others() -> TestResult {
    let (a, b) = two();
    let output = run(
        &["--exit-policy=first"],
        &[
            (&a, "--name=first", "list / , read /proc/self/mountinfo"),
            (&b, "", "sleep 60000"),
        ],
    );
    output.code(0);
    let second = b.file_name().and_then(|name| name.to_str());
    output.lacks(second.expect("a name")).lacks("/app");
    output.lacks("rootfs");
    // pid 1 is nobody's to look into.
    run(
        &["--exit-policy=first"],
        &[
            (&a, "--name=first", "list /proc/1/root"),
            (&b, "", "sleep 60000"),
        ],
    )
    .has("EACCES");
    Ok(())
}

fn no_way_out() -> TestResult {
    let (a, b) = two();
    for pod in [
        &["--exit-policy=first"][..],
        &["--exit-policy=first", "--insecure-options=all"],
    ] {
        let words = [
            (a.as_path(), "--name=first", "chroot-escape , list /"),
            (b.as_path(), "", "sleep 60000"),
        ];
        run(pod, &words)
            .code(0)
            .has("chroot-escape: contained\n")
            .has("name")
            .lacks("app\n");
    }
    Ok(())
}

fn users_of_its_own_passwd() -> TestResult {
    let (a, b) = two();
    fs::write(a.join("etc/passwd"), "web:x:33:34::/srv/a:/bin/a\n").expect("users");
    fs::write(b.join("etc/passwd"), "web:x:43:44::/srv/b:\n").expect("users");
    fs::write(b.join("etc/group"), "logs:x:90:web\n").expect("groups");
    let report = "report uid gid groups env";
    for options in ["", "--ephemeral"] {
        let output = run(
            &["--user=web", "--exit-policy=all", "--log=prefix"],
            &[
                (&a, options, report),
                (&b, &format!("--log=prefix {options}"), report),
            ],
        );
        output.code(0);
        for line in [
            "app-0: uid=33",
            "app-0: gid=34",
            "app-0: env.HOME=/srv/a",
            "app-0: env.SHELL=/bin/a",
            "app-1: uid=43",
            "app-1: gid=44",
            "app-1: groups=90",
            "app-1: env.HOME=/srv/b",
            "app-1: env.SHELL=/bin/sh",
        ] {
            assert!(output.stderr.contains(line), "{line}: {}", output.stderr);
        }
    }
    fs::write(b.join("etc/passwd"), "db:x:43:44::/srv/b:\n").expect("users");
    run(&["--user=web"], &[(&a, "", "exit 0"), (&b, "", "exit 0")]).refused(&[
        "look up user",
        "web",
        "no such user",
    ]);
    Ok(())
}

/// `--rootfs` is for those who name none.
fn a_default_root_and_another() -> TestResult {
    let (a, b) = two();
    let output = Run::ours("stage0")
        .args(["run", "--exit-policy=all", "--log=prefix", "--rootfs"])
        .arg(&a)
        .args(["--", "/bin/probe", "read", "/name", "---"])
        .arg(format!("dir:{}", b.display()))
        .args(["--log=prefix", "--", "/bin/probe", "read", "/name"])
        .output();
    output.code(0);
    for line in ["app-0: first", "app-1: second"] {
        assert!(output.stderr.contains(line), "{}", output.stderr);
    }
    Ok(())
}

fn streams_and_logs() -> TestResult {
    let (a, b) = two();
    fs::write(b.join("tmp/in"), "from b").expect("a file");
    let log = "--log=file:/tmp/log";
    run(
        &["--exit-policy=all"],
        &[
            (
                &a,
                "--log=file:/tmp/log --stderr=file:/tmp/err",
                "echo of a , error x",
            ),
            (
                &b,
                &format!("{log} --stdin=file:/tmp/in"),
                "cat , echo of b",
            ),
        ],
    )
    .code(0)
    .printed("")
    .quiet();
    assert_eq!(text(a.join("tmp/log")), "of a\n");
    assert_eq!(text(a.join("tmp/err")), "x\n");
    assert_eq!(text(b.join("tmp/log")), "from bof b\n");
    // In one directory they would rotate each other's file.
    run(&[], &[(&a, log, "exit 0"), (&a, log, "exit 0")]).refused(&["/tmp/log", "another program"]);
    // No link of a root leads pid 1 into another one.
    symlink("/app/app-1/rootfs/tmp", a.join("link")).expect("a link");
    run(
        &[],
        &[(&a, "--log=file:/link/log2", "exit 0"), (&b, "", "exit 0")],
    )
    .code(254);
    assert!(!b.join("tmp/log2").exists());
    Ok(())
}

fn ready_by_a_file() -> TestResult {
    let (a, b) = two();
    run(
        &["--exit-policy=app-1"],
        &[
            (
                &a,
                "--ready=file:/tmp/ready",
                "echo one , write /tmp/ready x , sleep 60000",
            ),
            (&b, "--after=app-0", "lstat /tmp/ready , echo two , exit 0"),
        ],
    )
    .code(0)
    .has("lstat /tmp/ready: ENOENT\ntwo\n");
    Ok(())
}

fn ready_by_notification() -> TestResult {
    let (a, b) = two();
    run(
        &["--exit-policy=app-1", "--user=1000"],
        &[
            (
                &a,
                "--ready=notify",
                "echo one , notify READY=1 , sleep 60000",
            ),
            (&b, "--after=app-0", "echo two"),
        ],
    )
    .code(0)
    .has("notify READY=1: ok\n")
    .has("two\n");
    Ok(())
}

fn hooks_and_restarts() -> TestResult {
    let (a, b) = two();
    let output = run(
        &["--exit-policy=all"],
        &[
            (
                &a,
                "--restart=on-failure:1",
                "append /tmp/starts x , exit 1",
            ),
            (&b, "", "exit 0"),
        ],
    );
    output.code(1);
    assert_eq!(text(a.join("tmp/starts")), "xx");
    let run = Run::ours("stage0").args(["run", "--exit-policy=all"]);
    run.arg(format!("dir:{}", a.display()))
        .args(["--pre-start", "/bin/probe write /tmp/before x"])
        .args(["--post-stop", "/bin/probe rename /tmp/main /tmp/after"])
        .args([
            "--",
            "/bin/probe",
            "rename",
            "/tmp/before",
            "/tmp/main",
            "---",
        ])
        .arg(format!("dir:{}", b.display()))
        .args(["--", "/bin/probe", "exit", "0"])
        .output()
        .code(0)
        .quiet();
    assert_eq!(text(a.join("tmp/after")), "x");
    assert!(!b.join("tmp/after").exists());
    Ok(())
}

fn pid_namespaces() -> TestResult {
    let (a, b) = two();
    let look = "read /name , report pid , processes , chroot-escape";
    for (root, name) in [(&a, "first"), (&b, "second")] {
        let output = run(
            &["--exit-policy=it"],
            &[
                (&named("x"), "", "sleep 60000"),
                (root, "--name=it --pid-namespace", look),
            ],
        );
        output.code(0).has(name).has("pid=1\n").has("contained");
        // The name, the pid, the one process, and the escape.
        assert_eq!(output.stdout.lines().count(), 3, "{}", output.stdout);
    }
    let output = run(
        &["--exit-policy=it"],
        &[
            (
                &a,
                "--name=it --pid-namespace",
                "write /proc/sys/kernel/core_pattern x",
            ),
            (&b, "", "sleep 60000"),
        ],
    );
    output.has("write /proc/sys/kernel/core_pattern: EROFS");
    Ok(())
}

fn pipes() -> TestResult {
    let (a, b) = two();
    run(
        &["--exit-policy=all"],
        &[
            (&a, "--stdout=pipe:reader", "read /name"),
            (&b, "--name=reader", "cat , read /name"),
        ],
    )
    .code(0)
    .printed("firstsecond");
    Ok(())
}

fn a_terminal() -> TestResult {
    let (a, b) = two();
    let terminal = Terminal::new(24, 80);
    let look = "open /dev/console rw , open /dev/tty rw , report tty , echo end";
    let pod = terminal.start(command(
        "run",
        &["--exit-policy=all", "--tty"],
        &[(&a, "--after=app-1", look), (&b, "--ready=exit", "exit 0")],
    ));
    terminal.wait_for("end");
    pod.finish().code(0);
    let shown = terminal.shown();
    for line in ["open /dev/console: ok", "open /dev/tty: ok", "tty.0=yes"] {
        assert!(shown.contains(line), "{line}: {shown:?}");
    }
    Ok(())
}

/// Only pid 1 may mount.
fn privileges() -> TestResult {
    let (a, b) = two();
    let (first, look) = ("--name=it", "report status , mount none /tmp tmpfs");
    let one = run(&[], &[(&a, first, look)]);
    let output = run(
        &["--exit-policy=it"],
        &[(&a, first, look), (&b, "", "sleep 60000")],
    );
    output.has("mount none: EPERM");
    assert_eq!(output.stdout, one.stdout);
    Ok(())
}

fn variables() -> TestResult {
    let (a, b) = two();
    let report = "report env";
    let output = run(
        &["--exit-policy=all", "--log=prefix", "--set-env=USER=me"],
        &[
            (&a, "--name=one --user=alice", report),
            (&b, "--log=prefix --user=4000 --set-env=SHELL=/x", report),
        ],
    );
    output.code(0);
    for line in [
        "one: env.AC_APP_NAME=one\n",
        "one: env.USER=me\n",
        "one: env.LOGNAME=alice\n",
        "one: env.HOME=/home/alice\n",
        "one: env.SHELL=/bin/sh\n",
        "app-1: env.AC_APP_NAME=app-1\n",
        "app-1: env.LOGNAME=4000\n",
        "app-1: env.SHELL=/x\n",
    ] {
        assert!(output.stderr.contains(line), "{line}: {}", output.stderr);
    }
    Ok(())
}

fn nothing_is_added() -> TestResult {
    let (a, b) = two();
    let directory = roots::fresh("pod");
    let option = format!("--pod-dir={}", directory.display());
    let running = command(
        "run",
        &[&option, "--exit-policy=never"],
        &[(&a, "", "sleep 60000"), (&b, "", "sleep 60000")],
    )
    .limit(Duration::from_secs(50))
    .start();
    // Who asks it to add a program wants to know its pid, too, which stage0 tells.
    for name in ["ready", "pid"] {
        wait_until(name, || directory.join(name).exists());
    }
    control::app("add", &directory, &["--name=x", "--", "/bin/probe"]).refused(&[
        "ask",
        "x",
        "roots of their own",
    ]);
    let word = format!("dir:{}", a.display());
    control::app("add", &directory, &[&word, "--", "/bin/probe"])
        .refused(&["read root", "not for a program that is added"]);
    for option in ["--ephemeral", "--tmpfs=/tmp"] {
        control::app("add", &directory, &[option, "--", "/bin/probe"])
            .refused(&[option, "not for a program that is added"]);
    }
    control::app("list", &directory, &[]).code(0).has("app-1");
    control::app("stop", &directory, &["app-0"]).code(0);
    control::app("start", &directory, &["app-0"]).code(0);
    running.signal(15);
    running.finish().code(0);
    Ok(())
}

fn what_needs_one_root() -> TestResult {
    let (a, b) = two();
    let both = [(a.as_path(), "", "exit 0"), (&b, "", "exit 0")];
    for (option, cause) in [
        ("--stage1=fly", "not with --stage1=fly"),
        ("--stage1=/bin/other", "only with --stage1=init"),
        ("--status-dir=/tmp", "roots of their own"),
    ] {
        run(&[option], &both).refused(&[cause]);
    }
    let output = roots::fresh("machine");
    let option = format!("--output={}", output.display());
    command("plan", &[&option], &both)
        .output()
        .refused(&["not with --output"]);
    assert!(!output.exists());
    // As the flavour is for one program, so is a root.
    let one = [(a.as_path(), "--readonly-rootfs", "read /name")];
    run(&["--stage1=fly"], &one).code(0).printed("first");
    Ok(())
}

fn roots_that_are_none() -> TestResult {
    let (a, _) = two();
    let file = a.join("name");
    let end = "exit 0";
    for option in ["", "--ephemeral"] {
        let second = |path: &Path| run(&[], &[(&a, "", end), (path, option, end)]);
        second(Path::new("/none/root")).refused(&["/none/root", "No such file"]);
        second(&file).refused(&["/name", "Not a directory", "must be a directory"]);
    }
    for name in ["..", ".", "a/b", ""] {
        let option = format!("--name={name}");
        run(&[], &[(&a, &option, end), (&a, "", end)]).refused(&["--name", "no slash"]);
    }
    run(&[], &[(&a, "--name=x", end), (&a, "--name=x", end)]).refused(&["the same name"]);
    Ok(())
}
