//! What each program of a pod has of its own: user, groups, variables, limits,
//! capabilities.

use std::{fs, path::PathBuf};

use kickstage_tests::{TestResult, command::Output, pod::Pod, roots, tests};

use crate::pods::programs;

tests![
    users,
    groups,
    variables,
    working_directories,
    limits,
    limits_of_hooks,
    a_priority_is_raised,
    capabilities,
    capabilities_of_a_user,
    what_one_program_has_no_other_has,
    values_that_are_none,
    in_the_root_of_fly,
];

/// What the program number `index` said: programs start in order, but they write
/// when they like, so each marks its lines.
#[track_caller]
fn of(output: &Output, index: usize) -> String {
    let mark = format!("app-{index}: ");
    let lines = output.stderr.lines();
    let own = lines.filter_map(|line| line.strip_prefix(&mark));
    own.map(|line| format!("{line}\n")).collect()
}

/// Runs them with marked lines.
#[track_caller]
fn run(pod: &Pod, words: &[&str]) -> Output {
    let marked: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(index, words)| match words.split_once(" | ") {
            Some((options, program)) => format!("--log=prefix {options} | {program}"),
            None if index == 0 => (*words).to_owned(),
            None => format!("--log=prefix | {words}"),
        })
        .collect();
    let marked: Vec<&str> = marked.iter().map(String::as_str).collect();
    let output = pod.clone().flag("--log=prefix").run(programs(&marked));
    output.code(0);
    output
}

#[track_caller]
fn has(text: &str, part: &str) {
    assert!(text.contains(part), "{part:?} is not in {text:?}");
}

#[track_caller]
fn lacks(text: &str, part: &str) {
    assert!(!text.contains(part), "{part:?} is in {text:?}");
}

/// A root with two users.
fn with_users() -> PathBuf {
    let root = roots::probe();
    fs::write(
        root.join("etc/passwd"),
        "web:x:33:33::/srv/web:\ndb:x:70:71::/srv/db:\n",
    )
    .expect("users");
    fs::write(root.join("etc/group"), "www:x:33:\nlogs:x:90:web,db\n").expect("groups");
    root
}

fn users() -> TestResult {
    let root = with_users();
    let report = "report uid gid groups env.HOME";
    let words = [
        report,
        &format!("--user=db | {report}"),
        &format!("--group=5 | {report}"),
        &format!("--user=0 | {report}"),
    ];
    let output = run(&Pod::new(&root).flag("--user=web"), &words);
    for (index, uid, gid, groups, home) in [
        (0, 33, 33, "90", "/srv/web"),
        (1, 70, 71, "90", "/srv/db"),
        (2, 33, 5, "", "/srv/web"),
        (3, 0, 0, "", "/root"),
    ] {
        let text = of(&output, index);
        has(&text, &format!("uid={uid}\n"));
        has(&text, &format!("gid={gid}\n"));
        has(&text, &format!("groups={groups}"));
        has(&text, &format!("env.HOME={home}\n"));
    }
    // The group that is said for all is not one of another user's.
    let output = run(
        &Pod::new(&root).options(["--user=web", "--group=5"]),
        &[report, words[1]],
    );
    has(&of(&output, 0), "gid=5\n");
    has(&of(&output, 1), "gid=71\n");
    Ok(())
}

fn groups() -> TestResult {
    let root = with_users();
    let words = [
        "report groups",
        "--groups=7,logs | report groups",
        "--user=db | report groups",
    ];
    let output = run(&Pod::new(&root).options(["--groups", "www,4"]), &words);
    has(&of(&output, 0), "groups=4 33");
    has(&of(&output, 1), "groups=7 90");
    has(&of(&output, 2), "groups=90");
    Pod::new(&root)
        .flag("--groups=none")
        .probe(["exit", "0"])
        .refused(&["none", "no such group"]);
    Ok(())
}

fn variables() -> TestResult {
    let words = [
        "report env",
        "--set-env=A=2 --set-env=C=3 --set-env=PATH=/own | report env",
        "report env",
    ];
    let pod = Pod::new(roots::probe()).options(["--set-env=A=1", "--set-env=B=1"]);
    let output = run(&pod, &words);
    for index in [0, 2] {
        let text = of(&output, index);
        has(&text, "env.A=1\nenv.B=1\n");
        lacks(&text, "env.C");
        lacks(&text, "/own");
    }
    let text = of(&output, 1);
    has(&text, "env.B=1\nenv.A=2\nenv.C=3\nenv.PATH=/own\n");
    lacks(&text, "env.A=1");
    assert_eq!(text.matches("env.PATH").count(), 1, "{text}");
    let words = programs(&["exit 0", "--set-env=A | exit 0"]);
    pod.run(words).refused(&["read variable A", "NAME=VALUE"]);
    Ok(())
}

fn working_directories() -> TestResult {
    let words = [
        "report cwd",
        "--working-dir=/tmp --umask=0 | report cwd umask",
        "report umask",
    ];
    let pod = Pod::new(roots::probe()).options(["--working-dir=/etc", "--umask=077"]);
    let output = run(&pod, &words);
    has(&of(&output, 0), "cwd=/etc\n");
    has(&of(&output, 1), "cwd=/tmp\n");
    has(&of(&output, 1), "umask=00\n");
    has(&of(&output, 2), "umask=077\n");
    pod.run(programs(&["exit 0", "--working-dir=x | exit 0"]))
        .refused(&["x", "not absolute"]);
    Ok(())
}

/// The soft and the hard limit of a title of /proc/self/limits.
fn limit(text: &str, title: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(title));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    words.get(..2).unwrap_or_default().join(" ")
}

fn limits() -> TestResult {
    let read = "read /proc/self/limits , read /proc/self/stat , report Cpus_allowed_list";
    let words = [
        read,
        &format!("--rlimit=nofile=50:60 --nice=7 --sched=batch | {read}"),
        &format!("--rlimit=NOFILE=200 --rlimit=core=3 --cpu-affinity=0 | {read}"),
    ];
    let pod =
        Pod::new(roots::probe()).options(["--rlimit=nofile=100", "--rlimit=core=0", "--nice=3"]);
    let output = run(&pod, &words);
    for (index, files, core, nice, policy) in [
        (0, "100 100", "0 0", "3", "0"),
        (1, "50 60", "0 0", "7", "3"),
        (2, "200 200", "3 3", "3", "0"),
    ] {
        let text = of(&output, index);
        assert_eq!(limit(&text, "Max open files"), files, "{text}");
        assert_eq!(limit(&text, "Max core file size"), core, "{text}");
        let (_, stat) = text.rsplit_once(") ").expect("a name");
        let field = |number: usize| stat.split_whitespace().nth(number - 3);
        assert_eq!(field(19), Some(nice), "{text}");
        assert_eq!(field(41), Some(policy), "{text}");
    }
    Ok(())
}

fn limits_of_hooks() -> TestResult {
    let output = Pod::new(roots::probe())
        .options([
            "--rlimit=nofile=50",
            "--pre-start=/bin/probe read /proc/self/limits",
        ])
        .probe(["exit", "0"]);
    output.code(0);
    assert_eq!(limit(&output.stdout, "Max open files"), "50 50");
    Ok(())
}

/// pid 1 may, though its programs may not.
fn a_priority_is_raised() -> TestResult {
    let words = [
        "report CapEff CapBnd",
        "--nice=-5 | read /proc/self/stat , report CapEff CapBnd",
    ];
    let output = run(&Pod::new(roots::probe()), &words);
    let text = of(&output, 1);
    let (_, stat) = text.rsplit_once(") ").expect("a name");
    assert_eq!(stat.split_whitespace().nth(19 - 3), Some("-5"), "{text}");
    for index in [0, 1] {
        let text = of(&output, index).to_lowercase();
        has(&text, "capeff=00000000a00425fb\n");
        has(&text, "capbnd=00000000a00425fb\n");
    }
    Ok(())
}

fn capabilities() -> TestResult {
    let report = "report CapPrm CapEff CapBnd CapInh CapAmb NoNewPrivs";
    let words = [
        report,
        &format!("--cap-add=net_admin | {report}"),
        &format!("--cap-drop=all | {report}"),
        &format!("--cap-keep=chown,sys_time | {report}"),
    ];
    let output = run(&Pod::new(roots::probe()).flag("--cap-drop=kill"), &words);
    for (index, set) in [
        (0, "00000000a00425db"),
        (1, "00000000a00435db"),
        (2, "0000000000000000"),
        (3, "0000000000000001"),
    ] {
        let text = of(&output, index);
        for name in ["CapPrm", "CapEff", "CapBnd"] {
            has(&text, &format!("{name}={set}\n"));
        }
        for name in ["CapInh", "CapAmb"] {
            has(&text, &format!("{name}=0000000000000000\n"));
        }
        has(&text, "NoNewPrivs=1\n");
    }
    Ok(())
}

fn capabilities_of_a_user() -> TestResult {
    let report = "report CapPrm CapEff CapBnd CapAmb uid";
    let words = [
        report,
        &format!("--cap-add=net_bind_service | {report}"),
        &format!("--user=0 | {report}"),
    ];
    let output = run(&Pod::new(roots::probe()).flag("--user=1000"), &words);
    for (index, set, ambient) in [
        (0, "0000000000000000", "0000000000000000"),
        (1, "0000000000000400", "0000000000000400"),
        (2, "00000000a00425fb", "0000000000000000"),
    ] {
        let text = of(&output, index);
        has(&text, &format!("CapPrm={set}\nCapEff={set}\n"));
        has(&text, "CapBnd=00000000a00425fb\n");
        has(&text, &format!("CapAmb={ambient}\n"));
    }
    Ok(())
}

/// pid 1 has it then, but whoever it starts loses it.
fn what_one_program_has_no_other_has() -> TestResult {
    let words = [
        "report CapEff CapBnd",
        "--cap-add=sys_admin | report CapEff CapBnd",
        "--user=5 | report CapEff CapBnd",
    ];
    let output = run(&Pod::new(roots::probe()), &words);
    has(
        &of(&output, 0),
        "CapEff=00000000a00425fb\nCapBnd=00000000a00425fb\n",
    );
    has(&of(&output, 1), "CapEff=00000000a02425fb\n");
    has(
        &of(&output, 2),
        "CapEff=0000000000000000\nCapBnd=00000000a00425fb\n",
    );
    Ok(())
}

fn values_that_are_none() -> TestResult {
    let pod = Pod::new(roots::probe());
    for (option, words) in [
        ("--rlimit=nofile", "NAME=SOFT[:HARD]"),
        ("--nice=40", "-20 to 19"),
        ("--cpu-affinity=a", "list of processors"),
        ("--sched=fifo", "fifo:N"),
        ("--umask=8", "octal mask"),
        ("--umask=", "octal mask"),
        ("--umask=1000", "octal mask"),
        ("--cap-add=fly", "no such capability"),
        ("--user=nobody", "no such user"),
    ] {
        let second = format!("{option} | exit 0");
        pod.run(programs(&["exit 0", &second])).refused(&[words]);
        let pod = pod.clone().flag(option);
        pod.probe(["exit", "0"]).refused(&[words]);
    }
    Ok(())
}

/// All of it without a pod.
fn in_the_root_of_fly() -> TestResult {
    Pod::new(roots::probe())
        .options([
            "--stage1=fly",
            "--rlimit=nofile=50",
            "--nice=4",
            "--umask=027",
        ])
        .options(["--user=1000", "--groups=7,8", "--cap-add=kill"])
        .probe([
            "report",
            "umask",
            "groups",
            "CapEff",
            ",",
            "read",
            "/proc/self/limits",
        ])
        .code(0)
        .has("umask=027\n")
        .has("groups=7 8")
        .has("CapEff=0000000000000020\n");
    Ok(())
}
