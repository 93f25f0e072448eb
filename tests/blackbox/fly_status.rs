//! What fly tells of a program that it supervises, and the cgroup that it puts
//! it in.

use std::{
    fs::{self, File},
    path::Path,
};

use kickstage_tests::{
    TestResult,
    command::Output,
    pod::Pod,
    report::Report,
    requirement::{self, Requirement},
    roots, sys, tests,
};

use crate::{cgroup::Cgroup, fly_namespaces::ALL};

tests![
    status,
    status_on_standard_output,
    status_of_a_closed_pipe,
    bad_status,
    cgroup_version_1,
    cgroup_version_2,
    bad_cgroups,
];

/// Runs with descriptor 9 as the status; returns its lines.
fn with_status(pod: &Pod, script: &[&str]) -> (Output, Vec<String>) {
    let path = roots::fresh("status");
    let file = File::create(&path).expect("a file");
    let output = pod
        .clone()
        .options(["--json-status-fd", "9"])
        .probe_command(script)
        .hook(move || sys::duplicate_onto(&file, 9))
        .output();
    let text = fs::read_to_string(&path).expect("a file");
    (output, text.lines().map(str::to_owned).collect())
}

/// The number behind a key of a line.
fn number(line: &str, key: &str) -> Option<u64> {
    let (_, rest) = line.split_once(&format!("\"{key}\": "))?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
    rest[..end].parse().ok()
}

fn status() -> TestResult {
    let root = roots::probe();
    for (options, kinds) in [
        (&["--unshare-pid"][..], &["mnt", "pid"][..]),
        (&["--unshare-all"], &ALL[..]),
        (&["--unshare-all", "--confine"], &ALL[..]),
    ] {
        let pod = Pod::fly(&root).options(options);
        let (output, lines) = with_status(&pod, &["report", "ns", "fd", ",", "exit", "7"]);
        output.code(7).quiet().lacks("fd.9=").lacks("fd.3=");
        let report = Report::new(&output.stdout);
        let [started, ended] = &lines[..] else {
            panic!("two lines, not {lines:?}");
        };
        assert!(started.starts_with("{ ") && started.ends_with(" }"));
        assert!(number(started, "child-pid").is_some_and(|pid| pid > 1));
        for kind in ALL {
            let seen = number(started, &format!("{kind}-namespace"));
            let seen = seen.map(|inode| format!("{kind}:[{inode}]"));
            let own = kinds
                .contains(&kind)
                .then(|| report.get(&format!("ns.{kind}")));
            assert_eq!(seen.as_deref(), own, "{kind} in {started}");
        }
        assert_eq!(ended, "{ \"exit-code\": 7 }");
    }
    // Nothing was started: nothing is said.
    let pod = Pod::fly(&root).flag("--unshare-pid");
    let (output, lines) = with_status(&pod.options(["--chdir", "/no"]), &["exit", "0"]);
    output.refused(&["/no"]);
    assert!(lines.is_empty(), "{lines:?}");
    Ok(())
}

/// Which is the program's, too.
fn status_on_standard_output() -> TestResult {
    Pod::fly(roots::probe())
        .options(["--unshare-pid", "--json-status-fd", "1"])
        .probe(["echo", "hello"])
        .code(0)
        .quiet()
        .has("\"child-pid\": ")
        .has("hello\n")
        .has("{ \"exit-code\": 0 }\n");
    Ok(())
}

/// Nobody reads it: the program does not notice.
fn status_of_a_closed_pipe() -> TestResult {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    Pod::fly(roots::probe())
        .options(["--unshare-pid", "--json-status-fd", "9"])
        .probe_command(["sleep", "50", ",", "exit", "3"])
        .hook(move || sys::duplicate_onto(&writer, 9))
        .output()
        .code(3)
        .quiet();
    Ok(())
}

fn bad_status() -> TestResult {
    let root = roots::probe();
    let with = |options: &[&str]| Pod::fly(&root).options(options).probe(["exit", "0"]);
    with(&["--json-status-fd", "2"]).refused(&["--json-status-fd", "--unshare-pid"]);
    for bad in ["", "-1", "x", "99999999999"] {
        with(&["--unshare-pid", "--json-status-fd", bad]).refused(&["descriptor"]);
    }
    with(&["--unshare-pid", "--json-status-fd", "77"]).refused(&[
        "--json-status-fd",
        "Bad file descriptor",
        "open",
    ]);
    Ok(())
}

fn is_in(cgroup: &Cgroup) {
    let root = roots::probe();
    for options in [&[][..], &["--unshare-pid"], &["--confine"]] {
        Pod::fly(&root)
            .options(["--cgroup", cgroup.path()])
            .options(options)
            .probe(["read", "/proc/self/cgroup", ",", "exit", "7"])
            .code(7)
            .has(&format!("{}\n", cgroup.name()))
            .quiet();
    }
    // With a namespace of its own the cgroup is the root.
    Pod::fly(&root)
        .options(["--cgroup", cgroup.path(), "--unshare-cgroup"])
        .probe(["read", "/proc/self/cgroup", ",", "exit", "7"])
        .code(7)
        .has(":/\n")
        .lacks(&cgroup.name());
}

fn cgroup_version_1() -> TestResult {
    Requirement::CgroupV1.require()?;
    is_in(&Cgroup::new(Path::new(requirement::CGROUP_V1)));
    Ok(())
}

fn cgroup_version_2() -> TestResult {
    Requirement::CgroupV2.require()?;
    is_in(&Cgroup::new(
        &requirement::cgroup_v2().expect("a cgroup2 mount"),
    ));
    Ok(())
}

fn bad_cgroups() -> TestResult {
    let root = roots::probe();
    let directory = roots::directory("plain");
    for (path, words) in [
        (directory.to_str().expect("UTF-8"), &["join"][..]),
        ("/does/not/exist", &["/does/not/exist", "No such file"]),
    ] {
        Pod::fly(&root)
            .options(["--cgroup", path])
            .probe(["exit", "0"])
            .refused(words);
    }
    Ok(())
}
