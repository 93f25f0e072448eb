//! Who a program of fly is, its session, its mask, its descriptors.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
};

use kickstage_tests::{
    TestResult, pod::Pod, report::Report, requirement::linux, roots, sys, terminal::Terminal, tests,
};

tests![
    owner_of_a_file,
    cve_2026_30892_owner,
    groups,
    bad_groups,
    groups_without_root,
    mask,
    bad_masks,
    new_session,
    new_session_has_no_terminal,
    new_session_and_signals,
    kept_descriptors,
    cve_2024_21626_kept_descriptors,
    bad_descriptors,
    no_new_privileges,
    values_are_needed,
    everything_together,
];

const WHO: [&str; 6] = ["report", "uid", "euid", "gid", "egid", "groups"];

#[track_caller]
fn ids(report: &Report, user: &str, group: &str, groups: &str) {
    report.is("uid", user).is("euid", user);
    report.is("gid", group).is("egid", group);
    report.is("groups", groups);
}

fn owner_of_a_file() -> TestResult {
    let root = roots::probe();
    let directory = root.join("srv/data");
    fs::create_dir_all(&directory).expect("a directory");
    std::os::unix::fs::chown(&directory, Some(4000), Some(4001)).expect("an owner");
    symlink("/srv/data", root.join("link")).expect("a link");
    symlink("../../../../srv/data", root.join("tmp/up")).expect("a link");
    for path in [
        "@/srv/data",
        "@srv/data",
        "@/link",
        "@/tmp/up",
        "@/../srv/data",
    ] {
        let pod = Pod::fly(&root).options(["--user", path]);
        ids(&pod.probe(WHO).report(), "4000", "4001", "");
    }
    let pod = Pod::fly(&root).options(["--user", "@/"]);
    ids(&pod.probe(WHO).report(), "0", "0", "");
    Ok(())
}

/// Never the owner of a file of the host, and never root for want of a file.
fn cve_2026_30892_owner() -> TestResult {
    let root = roots::probe();
    let decoy = roots::directory("decoy");
    symlink(&decoy, root.join("out")).expect("a link");
    symlink("/proc/self/root", root.join("magic")).expect("a link");
    symlink("loop", root.join("loop")).expect("a link");
    for path in [
        "@",
        "@/nothing",
        "@/out",
        "@/magic",
        "@/loop",
        "@/etc/passwd/x",
        "@:0",
        "@/:0",
    ] {
        Pod::fly(&root)
            .options(["--user", path])
            .probe(WHO)
            .refused(&["look up user", path]);
    }
    Ok(())
}

fn groups() -> TestResult {
    let root = roots::probe();
    for (groups, expected) in [
        ("staff", "50"),
        ("50,users,7", "7 50 100"),
        ("0", "0"),
        ("4294967294", "4294967294"),
    ] {
        let pod = Pod::fly(&root).options(["--groups", groups]);
        ids(&pod.probe(WHO).report(), "0", "0", expected);
        // In place of those of the user.
        let pod = pod.options(["--user", "alice"]);
        ids(&pod.probe(WHO).report(), "1000", "1000", expected);
    }
    let most: Vec<String> = (1..=64).map(|id| id.to_string()).collect();
    let pod = Pod::fly(&root).options(["--groups", &most.join(",")]);
    ids(&pod.probe(WHO).report(), "0", "0", &most.join(" "));
    Ok(())
}

fn bad_groups() -> TestResult {
    let root = roots::probe();
    for bad in [
        "",
        ",",
        "1,",
        ",1",
        "+1",
        "-1",
        "01",
        " 1",
        "1 ",
        "0x1",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "nogroup",
        "staff,nogroup",
        "staff:users",
    ] {
        Pod::fly(&root)
            .options(["--groups", bad])
            .probe(WHO)
            .refused(&["look up group"]);
    }
    let many: Vec<String> = (1..=65).map(|id| id.to_string()).collect();
    Pod::fly(&root)
        .options(["--groups", &many.join(",")])
        .probe(WHO)
        .refused(&["look up group", "64"]);
    Ok(())
}

/// The kernel lets nobody set them there.
fn groups_without_root() -> TestResult {
    Pod::fly(roots::probe())
        .options(["--unshare-user", "--groups", "5"])
        .probe_command(WHO)
        .hook(|| sys::become_user(1000, 1000))
        .output()
        .refused(&["set supplementary groups", "Operation not permitted"]);
    Ok(())
}

fn mask() -> TestResult {
    let root = roots::probe();
    for (value, mask) in [("0", "00"), ("027", "027"), ("777", "0777")] {
        for options in [&[][..], &["--confine"], &["--unshare-pid"]] {
            let pod = Pod::fly(&root).options(options).options(["--umask", value]);
            pod.probe(["report", "umask"]).report().is("umask", mask);
        }
    }
    // What fly makes has the modes that it is to have.
    let pod = Pod::fly(&root).options(["--umask", "777", "--dir", "/tmp/made"]);
    pod.probe(["stat", "/tmp/made"]).code(0).has("mode=0755");
    Ok(())
}

fn bad_masks() -> TestResult {
    let root = roots::probe();
    for bad in [
        "", "8", "1000", "1777", "-1", "0x1", "u=rwx", " 22", "22 ", "000000",
    ] {
        Pod::fly(&root)
            .options(["--umask", bad])
            .probe(["exit", "0"])
            .refused(&["read option", "octal"]);
    }
    Ok(())
}

fn new_session() -> TestResult {
    let root = roots::probe();
    for options in [
        &[][..],
        &["--unshare-pid"],
        &["--confine"],
        &["--user", "1000"],
    ] {
        let pod = Pod::fly(&root).options(options).flag("--new-session");
        let report = pod.probe(["report", "pid", "sid", "pgid"]).report();
        let pid = report.get("pid");
        report.is("sid", pid).is("pgid", pid);
        pod.probe(["exit", "7"]).code(7);
    }
    Ok(())
}

/// CVE-2017-5226: who has no controlling terminal can't type into one. The caller
/// is the leader of its process group there, as in every interactive shell.
fn new_session_has_no_terminal() -> TestResult {
    let root = roots::probe();
    for (option, tty) in [
        ("--ro", "open /dev/tty: ok"),
        ("--new-session", "open /dev/tty: ENXIO"),
    ] {
        let terminal = Terminal::new(24, 80);
        let pod = Pod::fly(&root).flag(option);
        let running = terminal.start(pod.probe_command([
            "report", "tty", ",", "open", "/dev/tty", "rw", ",", "echo", "end",
        ]));
        terminal.wait_for("end");
        let _ = running.finish();
        let shown = terminal.shown();
        assert!(shown.contains("tty.0=yes"), "{shown}");
        assert!(shown.contains(tty), "{option}: {shown}");
    }
    Ok(())
}

fn new_session_and_signals() -> TestResult {
    let pod = Pod::fly(roots::probe()).flag("--new-session");
    for (signal, name) in [
        (libc::SIGTERM, "TERM"),
        (libc::SIGHUP, "HUP"),
        (libc::SIGUSR1, "USR1"),
    ] {
        let running = pod.probe_command(["catch", "all"]).start();
        running.wait_for("catch: waiting");
        running.signal(signal);
        running.finish().code(0).has(name);
    }
    pod.probe(["raise", "KILL"]).code(137);
    let running = pod
        .flag("--die-with-parent")
        .probe_command(["echo", "up", ",", "sleep", "60000"])
        .start();
    running.wait_for("up");
    running.signal(libc::SIGKILL);
    running.finish().killed(libc::SIGKILL);
    Ok(())
}

fn kept(text: &str) -> File {
    let path = roots::fresh("kept");
    fs::write(&path, text).expect("a file");
    File::open(path).expect("a file")
}

fn kept_descriptors() -> TestResult {
    let root = roots::probe();
    for options in [
        &[][..],
        &["--confine"],
        &["--unshare-pid"],
        &["--new-session", "--user", "1000"],
        &["--ephemeral"],
    ] {
        let (seven, high) = (kept("seven"), kept("high"));
        let other = kept("other");
        let output = Pod::fly(&root)
            .options(options)
            .options([
                "--keep-fd",
                "7",
                "--keep-fd",
                "300",
                "--keep-fd",
                "1",
                "--keep-fd",
                "7",
            ])
            .probe_command(["read", "/proc/self/fd/7", ",", "echo", ",", "report", "fd"])
            .hook(move || {
                sys::duplicate_onto(&seven, 7)?;
                sys::duplicate_onto(&other, 9)?;
                sys::duplicate_onto(&high, 300)
            })
            .output();
        let report = Report::new(&output.stdout);
        let mut numbers: Vec<&str> = report.below("fd").iter().map(|(name, _)| *name).collect();
        numbers.sort_unstable();
        assert_eq!(
            numbers,
            ["0", "1", "2", "300", "7"],
            "{}",
            output.everything()
        );
    }
    Ok(())
}

/// Only what is named, though there are directories of the host beside it.
fn cve_2024_21626_kept_descriptors() -> TestResult {
    let root = roots::probe();
    let directory = File::open("/").expect("a directory");
    let file = kept("kept");
    let output = Pod::fly(&root)
        .options(["--keep-fd", "10"])
        .probe_command(["report", "fd", ",", "list", "/proc/self/fd/8/"])
        .hook(move || {
            for number in (3..20).filter(|number| *number != 10) {
                sys::duplicate_onto(&directory, number)?;
            }
            sys::duplicate_onto(&file, 10)
        })
        .output();
    output.code(1).has("list /proc/self/fd/8/: ENOENT");
    assert_eq!(
        Report::new(&output.stdout).below("fd").len(),
        4,
        "{}",
        output.everything()
    );
    // A magic link to one that is kept is no working directory either.
    let directory = File::open("/").expect("a directory");
    Pod::fly(&root)
        .options(["--keep-fd", "10", "--chdir", "/proc/self/fd/10"])
        .probe_command(["exit", "0"])
        .hook(move || sys::duplicate_onto(&directory, 10))
        .output()
        .refused(&["/proc/self/fd/10", "magic link"]);
    Ok(())
}

fn bad_descriptors() -> TestResult {
    let root = roots::probe();
    for bad in [
        "",
        "x",
        "-1",
        "01",
        "+3",
        "3 ",
        "2147483648",
        "4294967299",
        "18446744073709551616",
    ] {
        Pod::fly(&root)
            .options(["--keep-fd", bad])
            .probe(["exit", "0"])
            .refused(&["descriptor"]);
    }
    for closed in ["9", "2147483647"] {
        Pod::fly(&root)
            .options(["--keep-fd", closed])
            .probe(["exit", "0"])
            .refused(&["descriptor", closed, "not open"]);
    }
    // What another option reads, or keeps from the program.
    for other in [
        &["--file", "9", "/tmp/x"][..],
        &["--unshare-pid", "--json-status-fd", "9"],
    ] {
        let file = kept("text");
        Pod::fly(&root)
            .options(["--keep-fd", "9"])
            .options(other)
            .probe_command(["exit", "0"])
            .hook(move || sys::duplicate_onto(&file, 9))
            .output()
            .refused(&["descriptor", "9", "another option"]);
    }
    Ok(())
}

fn no_new_privileges() -> TestResult {
    let root = roots::probe();
    let keys = ["report", "NoNewPrivs", "CapBnd"];
    let plain = Pod::fly(&root).probe(keys).report();
    let report = Pod::fly(&root).flag("--no-new-privs").probe(keys).report();
    report
        .is("NoNewPrivs", "1")
        .is("CapBnd", plain.get("CapBnd"));
    plain.is("NoNewPrivs", "0");
    Pod::fly(&root)
        .options(["--no-new-privs", "--user", "1000"])
        .probe(keys)
        .report()
        .is("NoNewPrivs", "1");
    Ok(())
}

fn values_are_needed() -> TestResult {
    let root = roots::probe();
    for option in [
        "--groups",
        "--umask",
        "--cap-add",
        "--cap-drop",
        "--cap-keep",
        "--landlock",
        "--rlimit",
        "--oom-score-adj",
        "--nice",
        "--cpu-affinity",
        "--sched",
        "--keep-fd",
        "--env-file",
    ] {
        kickstage_tests::command::Run::ours("fly")
            .arg(option)
            .output()
            .refused(&[option, "value is missing"]);
    }
    for option in ["--no-new-privs=1", "--new-session=x"] {
        Pod::fly(&root)
            .flag(option)
            .probe(["exit", "0"])
            .refused(&["takes no value"]);
    }
    Ok(())
}

fn everything_together() -> TestResult {
    let root = roots::probe();
    let variables = roots::fresh("variables");
    fs::write(&variables, "FROM=file\n").expect("a file");
    let (file, variables) = (kept("kept"), variables.to_str().expect("UTF-8"));
    let options = "--confine --new-session --user alice --groups staff,7 --umask 077 --cap-add net_raw \
        --no-new-privs --keep-fd 5 --rlimit nofile=64:128 --nice 3 --sched batch --cpu-affinity 0 \
        --oom-score-adj 100 --landlock ro=/ --env-file";
    let script = "report uid groups umask CapEff CapBnd NoNewPrivs env.FROM , limits , read /proc/self/fd/5 , create /tmp/x";
    let output = Pod::fly(&root)
        .options(options.split_whitespace())
        .options([variables])
        .probe_command(script.split(' '))
        .hook(move || sys::duplicate_onto(&file, 5))
        .output();
    if linux() < (5, 13) {
        output.refused(&["landlock", "Linux 5.13"]);
        return Ok(());
    }
    output.code(1);
    for line in [
        "uid=1000",
        "groups=7 50",
        "umask=077",
        "CapEff=0000000000002000",
        "CapBnd=00000000a00425fb",
        "NoNewPrivs=1",
        "env.FROM=file",
        "nofile=64:128",
        "create /tmp/x: EACCES",
    ] {
        output.has(&format!("{line}\n"));
    }
    Ok(())
}
