//! Limits of a program of fly: resources, priorities, processors, memory.

use std::path::Path;

use kickstage_tests::{TestResult, pod::Pod, roots, sys, tests};

tests![
    resources,
    bad_resources,
    few_descriptors,
    small_limits_do_not_hinder_the_start,
    limits_of_a_child_only,
    raising_without_root,
    nice_values,
    bad_nice_values,
    processors,
    bad_processors,
    policies,
    bad_policies,
    oom_scores,
    bad_oom_scores,
    a_hostile_root_sees_nothing_of_it,
];

/// The lines of /proc/self/limits by the names of --rlimit.
const RESOURCES: [(&str, &str); 16] = [
    ("cpu", "Max cpu time"),
    ("fsize", "Max file size"),
    ("data", "Max data size"),
    ("stack", "Max stack size"),
    ("core", "Max core file size"),
    ("rss", "Max resident set"),
    ("nproc", "Max processes"),
    ("nofile", "Max open files"),
    ("memlock", "Max locked memory"),
    ("as", "Max address space"),
    ("locks", "Max file locks"),
    ("sigpending", "Max pending signals"),
    ("msgqueue", "Max msgqueue size"),
    ("nice", "Max nice priority"),
    ("rtprio", "Max realtime priority"),
    ("rttime", "Max realtime timeout"),
];

/// Soft and hard limit, as the program sees them.
#[track_caller]
fn limits(pod: &Pod, title: &str) -> (String, String) {
    let output = pod.probe(["read", "/proc/self/limits"]);
    output.code(0);
    let line = output
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix(title));
    let mut words = line.expect("a line of this limit").split_whitespace();
    let mut next = || words.next().expect("a limit").to_owned();
    (next(), next())
}

/// A field of /proc/self/stat, numbered as in proc_pid_stat(5).
#[track_caller]
fn stat(pod: &Pod, field: usize) -> String {
    let output = pod.probe(["read", "/proc/self/stat"]);
    output.code(0);
    let (_, rest) = output.stdout.rsplit_once(") ").expect("a name");
    rest.split(' ')
        .nth(field - 3)
        .expect("a field")
        .trim()
        .to_owned()
}

const NICE: usize = 19;
const PRIORITY: usize = 40;
const POLICY: usize = 41;

fn resources() -> TestResult {
    let root = roots::probe();
    for (name, title) in RESOURCES {
        // As much as the caller has, which need not be allowed to raise it.
        let (_, hard) = limits(&Pod::fly(&root), title);
        let hard = hard.parse().unwrap_or(100_000_000_u64);
        let soft = hard / 2;
        for (value, soft) in [
            (format!("{name}={hard}"), hard),
            (format!("{name}={soft}:{hard}"), soft),
        ] {
            let pod = Pod::fly(&root).options(["--rlimit", &value]);
            let seen = limits(&pod, title);
            assert_eq!(seen, (soft.to_string(), hard.to_string()), "{value}");
        }
    }
    for (value, hard) in [
        ("core=0:unlimited", "unlimited"),
        ("core=0:infinity", "unlimited"),
    ] {
        let pod = Pod::fly(&root).options(["--rlimit", value]);
        assert_eq!(
            limits(&pod, "Max core file size"),
            ("0".to_owned(), hard.to_owned())
        );
    }
    // The last one counts; both are in the order given.
    let pod = Pod::fly(&root).options(["--rlimit", "core=5", "--rlimit", "core=1:3"]);
    assert_eq!(
        limits(&pod, "Max core file size"),
        ("1".to_owned(), "3".to_owned())
    );
    Ok(())
}

fn bad_resources() -> TestResult {
    let root = roots::probe();
    for bad in [
        "",
        "nofile",
        "nofile=",
        "=1",
        "nofile=:",
        "nofile=1:",
        "nofile=:1",
        "nofile=2:1",
        "nofile=unlimited:1",
        "nofile=1:2:3",
        "nofile=1K",
        "nofile=-1",
        "nofile=01",
        "nofile=+1",
        "nofile=18446744073709551616",
        "files=1",
        "nofile =1",
    ] {
        Pod::fly(&root)
            .options(["--rlimit", bad])
            .probe(["exit", "0"])
            .refused(&["read option", "NAME=SOFT[:HARD]"]);
    }
    // More than the kernel allows.
    Pod::fly(&root)
        .options(["--rlimit", "nofile=unlimited"])
        .probe(["exit", "0"])
        .refused(&["set limit nofile=unlimited", "Operation not permitted"]);
    Ok(())
}

/// A start needs none of its own, and what it can't do without is an error, not
/// something that is left out.
fn few_descriptors() -> TestResult {
    let root = roots::probe();
    for count in 0..12 {
        let limit = format!("nofile={count}");
        let pod = Pod::fly(&root).options(["--rlimit", &limit, "--chdir", "/tmp"]);
        pod.probe(["limits"])
            .code(0)
            .has(&format!("nofile={count}:{count}\n"));
        // A working directory outside of the root is still refused.
        Pod::fly(&root)
            .options(["--rlimit", &limit, "--chdir", "/proc/1/root"])
            .probe(["exit", "0"])
            .refused(&["enter /proc/1/root", "magic link"]);
        // CVE-2019-5736: so is fly itself as a program.
        let confined = Pod::fly(&root).options(["--confine", "--rlimit", &limit]);
        let output = confined.run(["/proc/self/exe", "--version"]);
        output.code(254);
        assert!(output.stdout.is_empty(), "{}", output.everything());
    }
    Ok(())
}

fn small_limits_do_not_hinder_the_start() -> TestResult {
    let root = roots::probe();
    for limit in [
        "fsize=0",
        "core=0",
        "locks=0",
        "sigpending=0",
        "memlock=0",
        "nproc=1",
        "msgqueue=0",
    ] {
        Pod::fly(&root)
            .options(["--rlimit", limit, "--dir", "/tmp/made"])
            .probe(["echo", "here"])
            .code(0)
            .printed("here\n");
    }
    Ok(())
}

/// fly itself waits without them.
fn limits_of_a_child_only() -> TestResult {
    let running = Pod::fly(roots::probe())
        .options([
            "--unshare-pid",
            "--rlimit",
            "nofile=77",
            "--die-with-parent",
        ])
        .probe_command(["echo", "up", ",", "sleep", "60000"])
        .start();
    running.wait_for("up");
    let own = std::fs::read_to_string(format!("/proc/{}/limits", running.pid())).expect("limits");
    assert!(!own.contains(" 77 "), "{own}");
    running.signal(libc::SIGKILL);
    let _ = running.finish();
    Ok(())
}

/// As root in a user namespace nobody may raise what the caller has.
fn raising_without_root() -> TestResult {
    let root = roots::probe();
    let pod = |options: &[&str]| Pod::fly(&root).flag("--unshare-user").options(options);
    let run = |options: &[&str]| {
        pod(options)
            .probe_command(["limits"])
            .hook(|| {
                sys::limit(libc::RLIMIT_NOFILE, 100)?;
                sys::become_user(1000, 1000)
            })
            .output()
    };
    run(&["--rlimit", "nofile=50"])
        .code(0)
        .has("nofile=50:50\n");
    run(&["--rlimit", "nofile=101"]).refused(&["set limit nofile=101", "not permitted", "root"]);
    run(&[
        "--nice",
        "5",
        "--sched",
        "batch",
        "--cpu-affinity",
        "0",
        "--oom-score-adj",
        "500",
    ])
    .code(0);
    run(&["--nice", "-5"]).refused(&["set nice value -5", "Permission denied", "sys_nice"]);
    run(&["--sched", "fifo:1"]).refused(&["set scheduling policy fifo:1", "root"]);
    run(&["--oom-score-adj", "-500"]).refused(&["OOM score", "-500", "Permission denied", "root"]);
    Ok(())
}

fn nice_values() -> TestResult {
    let root = roots::probe();
    for value in ["0", "19", "-20", "5", "-1"] {
        let pod = Pod::fly(&root).options(["--nice", value]);
        assert_eq!(stat(&pod, NICE), value);
        // The ids change behind it.
        assert_eq!(stat(&pod.options(["--user", "1000"]), NICE), value);
    }
    Ok(())
}

fn bad_nice_values() -> TestResult {
    let root = roots::probe();
    for bad in [
        "",
        "-",
        "20",
        "-21",
        "+1",
        "1.0",
        "01",
        "--1",
        "1 ",
        "18446744073709551617",
    ] {
        Pod::fly(&root)
            .options(["--nice", bad])
            .probe(["exit", "0"])
            .refused(&["read option", "-20 to 19"]);
    }
    Ok(())
}

fn processors() -> TestResult {
    let root = roots::probe();
    for value in ["0", "0-0", "0,0", "0,1023", "0-1023"] {
        let pod = Pod::fly(&root).options(["--cpu-affinity", value]);
        let output = pod.probe(["read", "/proc/self/status"]);
        output.code(0);
        if !value.ends_with("-1023") {
            output.has("Cpus_allowed_list:\t0\n");
        }
    }
    Ok(())
}

fn bad_processors() -> TestResult {
    let root = roots::probe();
    for bad in [
        "",
        ",",
        "0,",
        "1-0",
        "-1",
        "1-",
        "0-1-2",
        "1024",
        "0-1024",
        "a",
        "0 1",
        "01",
        "18446744073709551615",
    ] {
        Pod::fly(&root)
            .options(["--cpu-affinity", bad])
            .probe(["exit", "0"])
            .refused(&["read option", "list of processors"]);
    }
    Pod::fly(&root)
        .options(["--cpu-affinity", "1023"])
        .probe(["exit", "0"])
        .refused(&["run on processors 1023", "Invalid argument"]);
    Ok(())
}

fn policies() -> TestResult {
    let root = roots::probe();
    for (value, policy, priority) in [
        ("other", "0", "0"),
        ("batch", "3", "0"),
        ("idle", "5", "0"),
        ("fifo:1", "1", "1"),
        ("rr:99", "2", "99"),
    ] {
        let pod = Pod::fly(&root).options(["--sched", value, "--user", "1000"]);
        let output = pod.probe(["exit", "0"]);
        if output.code == Some(254) && value.contains(':') {
            // A cgroup without time for such tasks (CONFIG_RT_GROUP_SCHED).
            output.refused(&["set scheduling policy", "Operation not permitted"]);
            continue;
        }
        assert_eq!(stat(&pod, POLICY), policy, "{value}");
        assert_eq!(stat(&pod, PRIORITY), priority, "{value}");
    }
    Ok(())
}

fn bad_policies() -> TestResult {
    let root = roots::probe();
    for bad in [
        "", ":", "fifo", "fifo:", "fifo:0", "fifo:100", "fifo:1:2", "other:1", "idle:", "deadline",
        "-",
    ] {
        Pod::fly(&root)
            .options(["--sched", bad])
            .probe(["exit", "0"])
            .refused(&["read option", "fifo:N"]);
    }
    Ok(())
}

fn oom_scores() -> TestResult {
    let root = roots::probe();
    // In a container root may lack it.
    let held = Pod::fly(&root).probe(["report", "CapEff"]).report();
    let held = u64::from_str_radix(held.get("CapEff"), 16).expect("a set");
    let sys_resource = held & (1 << 24) != 0;
    for value in ["0", "1000", "-1000", "-17", "300"] {
        for options in [
            &[][..],
            &["--confine"],
            &["--unshare-all", "--user", "1000"],
            &["--minimal", "--proc", "/proc"],
        ] {
            let output = Pod::fly(&root)
                .options(["--oom-score-adj", value])
                .options(options)
                .probe(["read", "/proc/self/oom_score_adj"]);
            if value.starts_with('-') && !sys_resource {
                output.refused(&["OOM score", value, "sys_resource"]);
            } else {
                output.code(0).printed(&format!("{value}\n"));
            }
        }
    }
    Ok(())
}

fn bad_oom_scores() -> TestResult {
    let root = roots::probe();
    for bad in [
        "",
        "-",
        "1001",
        "-1001",
        "+1",
        "x",
        "1 ",
        "01",
        "4294967296",
    ] {
        Pod::fly(&root)
            .options(["--oom-score-adj", bad])
            .probe(["exit", "0"])
            .refused(&["read option", "-1000 to 1000"]);
    }
    Ok(())
}

/// CVE-2025-52881: a file of the root in the place of the kernel's is not written.
fn a_hostile_root_sees_nothing_of_it() -> TestResult {
    let root = roots::probe();
    let decoy = root.join("proc/self");
    std::fs::create_dir_all(&decoy).expect("a directory");
    std::fs::write(decoy.join("oom_score_adj"), "decoy").expect("a file");
    Pod::fly(&root)
        .options(["--minimal", "--oom-score-adj", "500"])
        .probe(["read", "/proc/self/oom_score_adj"])
        .code(0)
        .printed("decoy");
    let unchanged = std::fs::read(Path::new(&decoy).join("oom_score_adj")).expect("a file");
    assert_eq!(unchanged, b"decoy");
    Ok(())
}
