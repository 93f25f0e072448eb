//! Exact ids or an error (CVE-2026-30892).

use kickstage_tests::{TestResult, pod::Pod, report::Report, roots, sys, tests};

tests![
    root_by_default,
    numbers,
    names_of_the_image,
    groups,
    supplementary_groups,
    pairs_of_fly,
    bad_strings,
    bad_groups,
    callers_groups_are_gone,
    no_user_database,
    strange_user_database,
    groups_with_many_members,
    the_hosts_users_do_not_count,
];

const KEYS: [&str; 6] = ["report", "uid", "euid", "gid", "egid", "groups"];

#[track_caller]
fn ids(report: &Report, user: u32, group: u32, groups: &str) {
    let (user, group) = (user.to_string(), group.to_string());
    report
        .is("uid", &user)
        .is("euid", &user)
        .is("gid", &group)
        .is("egid", &group);
    assert_eq!(report.get("groups"), groups);
}

fn root_by_default() -> TestResult {
    let root = roots::probe();
    ids(&Pod::new(&root).probe(KEYS).report(), 0, 0, "");
    ids(&Pod::fly(&root).probe(KEYS).report(), 0, 0, "");
    Ok(())
}

fn numbers() -> TestResult {
    let root = roots::probe();
    for (user, expected) in [
        ("0", (0, 0)),
        ("1", (1, 0)),
        ("1000", (1000, 1000)),
        ("4294967294", (u32::MAX - 1, 0)),
    ] {
        for pod in [Pod::new(&root), Pod::fly(&root)] {
            let report = pod.options(["--user", user]).probe(KEYS).report();
            report
                .is("uid", &expected.0.to_string())
                .is("gid", &expected.1.to_string());
        }
    }
    Ok(())
}

fn names_of_the_image() -> TestResult {
    let root = roots::probe();
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        let report = |user: &str| pod.clone().options(["--user", user]).probe(KEYS).report();
        ids(&report("root"), 0, 0, "");
        ids(&report("alice"), 1000, 1000, "50");
        ids(&report("bob"), 1001, 100, "50");
    }
    Ok(())
}

fn groups() -> TestResult {
    let root = roots::probe();
    let run = |user: &str, group: &str| {
        Pod::new(&root)
            .options(["--user", user, "--group", group])
            .probe(KEYS)
            .report()
    };
    ids(&run("alice", "users"), 1000, 100, "");
    ids(&run("alice", "7"), 1000, 7, "");
    ids(&run("0", "staff"), 0, 50, "");
    ids(&run("4000", "4001"), 4000, 4001, "");
    let report = Pod::new(&root)
        .options(["--group", "staff"])
        .probe(KEYS)
        .report();
    ids(&report, 0, 50, "");
    Ok(())
}

/// Those of the image that list the user; a group that is asked for has none.
fn supplementary_groups() -> TestResult {
    let root = roots::probe();
    std::fs::write(
        root.join("etc/group"),
        "a:x:1:alice\nb:x:2:bob,alice,carol\nc:x:3:alicea\nd:x:1000:alice\n",
    )
    .expect("a file");
    let report = Pod::new(&root)
        .options(["--user", "alice"])
        .probe(KEYS)
        .report();
    ids(&report, 1000, 1000, "1 2");
    Ok(())
}

fn pairs_of_fly() -> TestResult {
    let root = roots::probe();
    let run = |pair: &str| {
        Pod::fly(&root)
            .options(["--user", pair])
            .probe(KEYS)
            .report()
    };
    ids(&run("1000:0"), 1000, 0, "");
    ids(&run("alice:staff"), 1000, 50, "");
    ids(&run("5:6"), 5, 6, "");
    ids(&run("0:0"), 0, 0, "");
    Ok(())
}

/// Never another user than the one that was named: above all not root.
fn bad_strings() -> TestResult {
    let root = roots::probe();
    const BAD: &[&str] = &[
        "",
        ":",
        "1:",
        ":1",
        "::",
        "1::1",
        "1:1:1",
        "+1",
        "-1",
        "-0",
        "00",
        "01",
        " 1",
        "1 ",
        "1\n",
        "\n1",
        "0x1",
        "1e3",
        "1.0",
        "4294967295",
        "4294967296",
        "18446744073709551616",
        "99999999999999999999999",
        "nobody-knows-me",
        "root:",
        "root ",
        "ROOT",
        "broken",
        "alice:nogroup",
        "alice:",
        "１",
    ];
    for bad in BAD {
        Pod::fly(&root)
            .options(["--user", bad])
            .probe(KEYS)
            .refused(&[]);
        // stage0 takes the group by an option of its own.
        Pod::new(&root)
            .options(["--user", bad])
            .probe(KEYS)
            .refused(&[]);
        Pod::new(&root)
            .flag(&format!("--user={bad}"))
            .probe(KEYS)
            .refused(&[]);
    }
    // A line of the database whose name is a number does not redefine it.
    let report = Pod::new(&root)
        .options(["--user", "7"])
        .probe(KEYS)
        .report();
    ids(&report, 7, 0, "");
    Ok(())
}

fn bad_groups() -> TestResult {
    let root = roots::probe();
    for bad in [
        "",
        "+1",
        "-1",
        "01",
        "1 ",
        "4294967295",
        "4294967296",
        "nogroup",
        "root:x",
        ":",
    ] {
        Pod::new(&root)
            .options(["--user", "alice", "--group", bad])
            .probe(KEYS)
            .refused(&[]);
    }
    Ok(())
}

fn callers_groups_are_gone() -> TestResult {
    let root = roots::probe();
    let groups = || sys::set_groups(&[4, 24, 27]);
    let report = Pod::new(&root)
        .probe_command(KEYS)
        .hook(groups)
        .output()
        .report();
    ids(&report, 0, 0, "");
    let report = Pod::new(&root)
        .options(["--user", "5"])
        .probe_command(KEYS)
        .hook(groups)
        .output()
        .report();
    ids(&report, 5, 0, "");
    let report = Pod::fly(&root)
        .options(["--user", "5:5"])
        .probe_command(KEYS)
        .hook(groups)
        .output()
        .report();
    ids(&report, 5, 5, "");
    Ok(())
}

fn no_user_database() -> TestResult {
    let root = roots::probe();
    std::fs::remove_dir_all(root.join("etc")).expect("a directory");
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        ids(&pod.probe(KEYS).report(), 0, 0, "");
        ids(
            &pod.clone().options(["--user", "12"]).probe(KEYS).report(),
            12,
            0,
            "",
        );
        pod.options(["--user", "alice"])
            .probe(KEYS)
            .refused(&["alice", "passwd"]);
    }
    Ok(())
}

fn strange_user_database() -> TestResult {
    let root = roots::probe();
    let long = "x".repeat(100_000);
    let text = format!(
        "\n\n#comment\nshort:x\n:x:0:0::/:\n{long}:x:0:0::/:\nalice:x:+0:0::/:\nalice:x:00:0::/:\nalice:x:4294967295:0::/:\nalice:x:1000:4294967296::/:\n\
         alice:x:1000:1000:gecos:/home/alice:/bin/sh\nlast:x:77:78::/:/bin/sh"
    );
    std::fs::write(root.join("etc/passwd"), text).expect("a file");
    ids(
        &Pod::new(&root)
            .options(["--user", "alice"])
            .probe(KEYS)
            .report(),
        1000,
        1000,
        "50",
    );
    ids(
        &Pod::new(&root)
            .options(["--user", "last"])
            .probe(KEYS)
            .report(),
        77,
        78,
        "",
    );
    // A database that is no file: an error, not a wait for ever.
    std::fs::remove_file(root.join("etc/passwd")).expect("a file");
    std::fs::create_dir(root.join("etc/passwd")).expect("a directory");
    Pod::new(&root)
        .options(["--user", "alice"])
        .probe(KEYS)
        .refused(&["alice"]);
    Ok(())
}

/// Whoever is one of many is in the group; of too many it is not known.
fn groups_with_many_members() -> TestResult {
    let root = roots::probe();
    let many = |count: usize| {
        let members: String = (0..count).map(|number| format!("user{number},")).collect();
        let text = format!("big:x:7000:{members}alice\nsmall:x:50:bob\n");
        std::fs::write(root.join("etc/group"), text).expect("a file");
        let pod = Pod::new(&root).options(["--user", "alice"]);
        let fly = Pod::fly(&root).options(["--user", "alice"]);
        [pod, fly].map(|pod| pod.probe(KEYS))
    };
    for output in many(1000) {
        ids(&output.report(), 1000, 1000, "7000");
    }
    for output in many(3000) {
        output.refused(&["read /etc/group for user alice", "File too large"]);
    }
    Ok(())
}

/// A link to the host's file is followed inside the root.
fn the_hosts_users_do_not_count() -> TestResult {
    let root = roots::probe();
    let decoy = roots::directory("decoy").join("passwd");
    std::fs::write(&decoy, "mallory:x:6666:6666::/:\n").expect("a file");
    std::fs::remove_file(root.join("etc/passwd")).expect("a file");
    std::os::unix::fs::symlink(&decoy, root.join("etc/passwd")).expect("a link");
    for pod in [Pod::new(&root), Pod::fly(&root)] {
        pod.clone()
            .options(["--user", "mallory"])
            .probe(KEYS)
            .refused(&["mallory"]);
        pod.options(["--user", "daemon"])
            .probe(KEYS)
            .refused(&["daemon"]);
    }
    Ok(())
}
