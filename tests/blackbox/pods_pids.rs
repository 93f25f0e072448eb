//! Programs that are pid 1 of a pid namespace of their own.

use std::time::Duration;

use kickstage_tests::{TestResult, command::Output, pod::Pod, roots, tests};

use crate::pods::programs;

tests![
    it_is_pid_1,
    proc_shows_its_namespace,
    proc_is_covered,
    proc_of_the_pod_is_as_before,
    without_confinement,
    privileges_are_few,
    what_it_has_started_ends_with_it,
    exit_codes,
    stopped_if_it_listens,
    stopped_if_it_does_not,
    stopped_if_it_ignores,
    stopped_by_a_signal_of_its_own,
    signals_that_are_passed_on,
    hooks_and_restarts,
    files_and_logs,
    not_in_the_host,
    only_one_of_several,
];

fn pod() -> Pod {
    Pod::new(roots::probe()).flag("--pid-namespace")
}

#[track_caller]
fn quick(output: &Output) {
    assert!(
        output.elapsed < Duration::from_secs(10),
        "{:?}",
        output.elapsed
    );
}

fn it_is_pid_1() -> TestResult {
    pod()
        .probe(["report", "pid", "ppid", "pgid", "tty"])
        .code(0)
        .has("pid=1\nppid=0\npgid=1\n");
    pod()
        .sh_in_busybox("echo $$; /bin/sh -c 'echo $$; true'; true")?
        .code(0)
        .printed("1\n2\n");
    Pod::new(roots::probe())
        .flag("--pid-namespace=false")
        .probe(["report", "pid"])
        .code(0)
        .printed("pid=2\n");
    Ok(())
}

/// `Pod` with a shell.
trait Shell {
    fn sh_in_busybox(&self, script: &str) -> Result<Output, kickstage_tests::Skip>;
}

impl Shell for Pod {
    fn sh_in_busybox(&self, script: &str) -> Result<Output, kickstage_tests::Skip> {
        Ok(Self::new(roots::busybox()?)
            .flag("--pid-namespace")
            .sh(script))
    }
}

fn proc_shows_its_namespace() -> TestResult {
    let output = pod().probe(["processes"]);
    output.code(0);
    assert_eq!(output.stdout.lines().count(), 1, "{}", output.stdout);
    pod()
        .probe(["report", "exe"])
        .code(0)
        .printed("exe=/bin/probe\n");
    Ok(())
}

/// The lines of mountinfo below /proc: path and options.
fn mounts(output: &Output) -> Vec<(String, String)> {
    output.code(0);
    let fields = |line: &str| -> Option<(String, String)> {
        let mut words = line.split(' ').skip(4);
        let path = words.next()?;
        let below = path.strip_prefix("/proc")?;
        Some((below.to_owned(), words.next()?.to_owned()))
    };
    let mut found: Vec<_> = output.stdout.lines().filter_map(fields).collect();
    found.sort();
    found
}

/// As /proc of a pod is without the option.
fn proc_is_covered() -> TestResult {
    let root = roots::probe();
    let read = ["read", "/proc/self/mountinfo"];
    let pods = mounts(&Pod::new(&root).probe(read));
    assert!(pods.len() > 6, "{pods:?}");
    let mut own = mounts(&Pod::new(&root).flag("--pid-namespace").probe(read));
    // The pod's own is below it, with the same.
    for mount in &pods {
        let at = own.iter().position(|other| other == mount);
        own.remove(at.unwrap_or_else(|| panic!("{mount:?} is missing: {own:?}")));
    }
    assert_eq!(own, pods);
    for (words, answer) in [
        (["list", "/proc/acpi"], "list /proc/acpi:"),
        (["write", "/proc/sys/kernel/core_pattern"], "EROFS"),
        (["write", "/proc/sysrq-trigger"], "EROFS"),
    ] {
        let with = pod().probe(words);
        let without = Pod::new(&root).probe(words);
        assert_eq!(with.stdout, without.stdout, "{answer}");
    }
    Ok(())
}

fn proc_of_the_pod_is_as_before() -> TestResult {
    let words = programs(&["write /tmp/a x , sleep 60000", "--after=app-0 | processes"]);
    let output = pod()
        .options(["--ready=file:/tmp/a", "--exit-policy=app-1"])
        .flag("--stop-signal=KILL")
        .run(words);
    output.code(0);
    let lines = output.stdout.lines();
    let processes = lines.filter(|line| line.starts_with("process"));
    // pid 1, the one in its namespace, and this one.
    assert_eq!(processes.count(), 3, "{}", output.stdout);
    Ok(())
}

fn without_confinement() -> TestResult {
    let output = pod()
        .flag("--insecure-options=all")
        .probe(["read", "/proc/self/mountinfo"]);
    let mounts = mounts(&output);
    assert_eq!(mounts.len(), 2, "{mounts:?}");
    Ok(())
}

/// pid 1 can mount; nobody else.
fn privileges_are_few() -> TestResult {
    let report = "report CapEff CapBnd CapPrm NoNewPrivs";
    let output = pod().run(programs(&[report, report]));
    output.code(0);
    let set = "00000000a00425fb";
    let all = format!("CapPrm={set}\nCapEff={set}\nCapBnd={set}\nNoNewPrivs=1\n");
    for line in all.lines() {
        assert_eq!(output.stdout.matches(line).count(), 2, "{}", output.stdout);
    }
    pod()
        .flag("--user=1000")
        .probe(["report", "CapEff", "CapBnd", "uid"])
        .code(0)
        .has("uid=1000\n")
        .has(&format!("CapEff=0000000000000000\nCapBnd={set}\n"));
    Ok(())
}

fn what_it_has_started_ends_with_it() -> TestResult {
    let words = programs(&[
        "background sleep 60000 , background ignore TERM , sleep 100 , exit 0",
        "--after=app-0 | processes",
    ]);
    let output = pod().flag("--ready=exit").run(words);
    output.code(0);
    quick(&output);
    assert_eq!(
        output.stdout.matches("probe").count(),
        1,
        "{}",
        output.stdout
    );
    Ok(())
}

fn exit_codes() -> TestResult {
    pod().probe(["exit", "7"]).code(7);
    pod().probe(["exit", "0"]).code(0);
    Pod::new(roots::probe())
        .flag("--pid-namespace")
        .run(["/none"])
        .refused(&["/none", "No such file"]);
    Ok(())
}

fn stopped_if_it_listens() -> TestResult {
    // It listens before it is told to stop: it blocks the signal first.
    let words = programs(&[
        "ignore TERM , write /tmp/a x , catch TERM , echo caught , exit 6",
        "--after=app-0 | exit 5",
    ]);
    let output = pod().flag("--ready=file:/tmp/a").run(words);
    output.code(5).has("catch: SIGTERM").has("caught\n");
    quick(&output);
    Ok(())
}

/// It never sees the signal: then it is the deadline's affair, or SIGKILL is its stop
/// signal.
fn stopped_if_it_does_not() -> TestResult {
    let words = programs(&["sleep 60000", "sleep 300 , exit 5"]);
    let output = pod().flag("--stop-timeout=500ms").run(words.clone());
    output.code(5);
    quick(&output);
    let words = programs(&["sleep 60000", "--name=main | sleep 300 , exit 0"]);
    let output = pod()
        .options(["--exit-policy=main", "--stop-signal=KILL"])
        .run(words);
    output.code(0);
    quick(&output);
    Ok(())
}

fn stopped_if_it_ignores() -> TestResult {
    let words = programs(&["ignore TERM , sleep 60000", "sleep 300 , exit 5"]);
    let output = pod().flag("--stop-timeout=700ms").run(words);
    output.code(5);
    quick(&output);
    assert!(output.elapsed > Duration::from_millis(990));
    Ok(())
}

fn stopped_by_a_signal_of_its_own() -> TestResult {
    let words = programs(&[
        "ignore USR1 , write /tmp/a x , catch USR1 , exit 0",
        "--after=app-0 | exit 5",
    ]);
    pod()
        .options(["--stop-signal=USR1", "--ready=file:/tmp/a"])
        .run(words)
        .code(5)
        .has("catch: SIGUSR1");
    Ok(())
}

/// The kernel keeps from it what it does not handle.
fn signals_that_are_passed_on() -> TestResult {
    let running = pod()
        .probe_command(["echo", "ready", ",", "catch", "INT", ",", "exit", "4"])
        .start();
    running.wait_for("ready");
    running.signal(15);
    running.signal(2);
    running.finish().code(4).has("catch: SIGINT");
    Ok(())
}

fn hooks_and_restarts() -> TestResult {
    let output = pod()
        .options([
            "--pre-start=/bin/probe report pid",
            "--post-stop=/bin/probe report pid",
        ])
        .options(["--restart=on-failure:1"])
        .probe(["report", "pid", ",", "exit", "3"]);
    output.code(3);
    assert_eq!(output.stdout, "pid=1\n".repeat(6));
    Ok(())
}

fn files_and_logs() -> TestResult {
    let root = roots::probe();
    Pod::new(&root)
        .options([
            "--pid-namespace",
            "--log=file:/tmp/log",
            "--working-dir=/tmp",
        ])
        .options(["--stderr=file:/tmp/err", "--ready=notify", "--tmpfs=/run"])
        .probe([
            "report", "cwd", "pid", ",", "notify", "READY=1", ",", "error", "x",
        ])
        .code(0);
    let text = |name: &str| std::fs::read_to_string(root.join(name)).expect("a file");
    assert_eq!(text("tmp/log"), "pid=1\ncwd=/tmp\nnotify READY=1: ok\n");
    assert_eq!(text("tmp/err"), "x\n");
    Ok(())
}

/// Its mounts are gone with it, and were never the caller's.
fn not_in_the_host() -> TestResult {
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let before = mounts();
    pod().probe(["exit", "0"]).code(0);
    assert_eq!(mounts(), before);
    Ok(())
}

fn only_one_of_several() -> TestResult {
    let words = programs(&["report pid", "--pid-namespace | report pid", "report pid"]);
    let output = Pod::new(roots::probe()).run(words);
    output.code(0);
    let mut lines: Vec<&str> = output.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["pid=1", "pid=2", "pid=4"]);
    Ok(())
}
