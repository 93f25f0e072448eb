//! Which ids the pods of `--private-users` get: ranges that nobody else has.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, time::Duration};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, Running},
    ids::Ids,
    pod::Pod,
    registered::wait_until,
    roots, sys, tests,
};

use crate::private_users::{MAP, children, private, run, running, stop, twice};

tests![
    each_pod_has_its_own,
    a_killed_launcher_frees_them,
    chosen_ids,
    where_ids_come_from,
    all_in_use,
    hostile_lines,
    bad_values,
    a_plan_takes_nothing,
    prepared_pods,
];

/// The starts of the maps of these pods.
fn starts(outputs: impl IntoIterator<Item = Output>) -> BTreeSet<String> {
    let start = |output: Output| {
        let mut words = output.stdout.split_whitespace();
        words.nth(1).expect("a map").to_owned()
    };
    outputs.into_iter().map(start).collect()
}

fn each_pod_has_its_own() -> TestResult {
    let ids = Ids::both("");
    let pod = private(&roots::probe());
    // At the same time, so that they want the same ones.
    let pods: Vec<Running> = (0..8)
        .map(|_| {
            let script = [&MAP[..3], &["catch", "TERM"]].concat();
            ids.with(pod.probe_command(script))
                .limit(Duration::from_secs(50))
                .start()
        })
        .collect();
    for pod in &pods {
        pod.wait_for("waiting");
    }
    let mode = fs::metadata(ids.run.join("kickstage/users"))
        .expect("a file")
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let starts = starts(pods.into_iter().map(stop));
    let expected: BTreeSet<String> = (8..16).map(|block| (block * 65_536).to_string()).collect();
    assert_eq!(starts, expected);
    // They are free again.
    run(&ids, &pod, &MAP)
        .code(0)
        .printed(&twice(524_288, 65_536));
    Ok(())
}

fn a_killed_launcher_frees_them() -> TestResult {
    let ids = Ids::both("kickstage:200000:65536");
    let pod = private(&roots::probe());
    let running = running(&ids, &pod);
    run(&ids, &pod, &MAP).refused(&["/etc/subuid", "in use"]);
    running.signal(libc::SIGKILL);
    running.finish().killed(libc::SIGKILL);
    run(&ids, &pod, &MAP)
        .code(0)
        .printed(&twice(200_000, 65_536));
    // So does pid 1.
    let running = self::running(&ids, &pod);
    // Its helper, which was there before it, is collected when pid 1 has begun.
    wait_until("no helper is left", || children(running.pid()).len() == 1);
    let first = children(running.pid());
    sys::kill(first[0], libc::SIGKILL).expect("pid 1");
    let output = running.finish();
    output.code(254);
    assert!(output.stderr.contains("it was killed"), "{}", output.stderr);
    run(&ids, &pod, &MAP).code(0);
    // A start that fails, too.
    run(&ids, &pod.clone().options(["--tmpfs=/proc"]), &MAP).refused(&["/proc"]);
    ids.with(pod.command(["/no/such"]))
        .output()
        .refused(&["/no/such"]);
    run(&ids, &pod, &MAP).code(0);
    Ok(())
}

fn chosen_ids() -> TestResult {
    let ids = Ids::both("");
    let root = roots::probe();
    let with = |range: &str| Pod::new(&root).options([format!("--private-users={range}")]);
    run(&ids, &with("1000000:1000"), &MAP)
        .code(0)
        .printed(&twice(1_000_000, 1000));
    run(&ids, &with("1:4294967294"), &MAP).code(0);
    // Only who has these ids can be somebody.
    run(
        &ids,
        &with("1000000:1000").flag("--user=999"),
        &["report", "uid"],
    )
    .code(0)
    .has("uid=999\n");
    run(
        &ids,
        &with("1000000:1000").flag("--user=1000"),
        &["report", "uid"],
    )
    .refused(&["Invalid argument", "not mapped"]);
    // Overlaps are refused, and passed over.
    let running = running(&ids, &with("589823:2"));
    for range in ["589824:1", "589823:1", "1:4294967294", "500000:100000"] {
        run(&ids, &with(range), &MAP).refused(&["--private-users", "another pod"]);
    }
    run(&ids, &with("589825:1"), &MAP).code(0);
    run(&ids, &with("auto"), &MAP)
        .code(0)
        .printed(&twice(655_360, 65_536));
    stop(running);
    run(&ids, &with("true"), &MAP)
        .code(0)
        .printed(&twice(524_288, 65_536));
    Ok(())
}

fn where_ids_come_from() -> TestResult {
    let pod = private(&roots::probe());
    let first = |users: &str, groups: &str| run(&Ids::new(users, groups), &pod, &MAP);
    for (lines, start) in [
        ("root:100000:65536\n", 100_000),
        ("0:100000:65536\n", 100_000),
        ("root:100000:65536\nkickstage:300000:65536\n", 300_000),
        ("kickstage:300000:100\nkickstage:400000:200000", 400_000),
        // Those of others are not taken, whose ever they are.
        ("alice:524288:65536\n", 589_824),
        ("alice:524287:2\nbob:589824:1\n", 655_360),
        ("alice:1:524288\n", 589_824),
    ] {
        first(lines, lines).code(0).printed(&twice(start, 65_536));
    }
    // What both files give.
    first("root:100000:200000\n", "root:150000:200000\n")
        .code(0)
        .printed(&twice(150_000, 65_536));
    for (users, groups) in [
        ("root:100000:65536\n", ""),
        ("", "root:100000:65536\n"),
        ("root:100000:65535\n", "root:100000:65536\n"),
        ("root:100000:65536\n", "root:165536:65536\n"),
    ] {
        first(users, groups).refused(&["/etc/subuid", "/etc/subgid", "65536"]);
    }
    // Of a machine that has none of these files.
    let ids = Ids::both("");
    let remove = ids.with(Run::new("/bin/rm").args(["/etc/subuid", "/etc/subgid"]));
    remove.output().code(0);
    run(&ids, &pod, &MAP)
        .code(0)
        .printed(&twice(524_288, 65_536));
    Ok(())
}

fn all_in_use() -> TestResult {
    let ids = Ids::both("kickstage:200000:131072\nkickstage:400000:65536\n");
    let pod = private(&roots::probe());
    let pods: Vec<Running> = (0..3).map(|_| running(&ids, &pod)).collect();
    run(&ids, &pod, &MAP).refused(&["find ids", "/etc/subuid", "in use", "kickstage"]);
    let starts = starts(pods.into_iter().map(stop));
    let expected = ["200000", "265536", "400000"].map(str::to_owned);
    assert_eq!(starts, BTreeSet::from(expected));
    Ok(())
}

/// Lines that are none count as nothing.
fn hostile_lines() -> TestResult {
    let pod = private(&roots::probe());
    let long = format!("root:{}:65536\n", "1".repeat(5000));
    for lines in [
        "\n\n:\n::\n:::\n",
        "root\nroot:\nroot:1\nroot:1:\nroot::1\n:1:65536\n",
        "root:0:65536\nroot:0:4294967295\n",
        "root:4294967295:65536\nroot:4294901760:65536\nroot:1:4294967295\n",
        "root:18446744073709551615:65536\nroot:1:18446744073709551615\n",
        "root:18446744073709616316:65536\n",
        "root:-1:65536\nroot:+1:65536\nroot: 1:65536\nroot:1:65536 \nroot:01:65536\n",
        "root:1:65536:1\nroot:1:1:65536\nro:ot:1:65536\n",
        "root:1:0\n",
        " root:1:65536\nRoot:1:65536\nroot\0:1:65536\n#root:1:65536\n",
        &long,
        &"kickstage:5:5x\n".repeat(1000),
    ] {
        run(&Ids::both(lines), &pod, &MAP)
            .code(0)
            .printed(&twice(524_288, 65_536));
    }
    // More of one owner than are looked at, and of others.
    let many = "root:100:5\n".repeat(40) + "root:100000:65536\n";
    run(&Ids::both(&many), &pod, &MAP).refused(&["65536"]);
    let others = "alice:100000:65536\n".repeat(5000) + "root:200000:65536";
    run(&Ids::both(&others), &pod, &MAP)
        .code(0)
        .printed(&twice(200_000, 65_536));
    // A directory, a FIFO.
    for make in ["mkdir", "mkfifo"] {
        let ids = Ids::both("");
        let script = format!("rm /etc/subuid && {make} /etc/subuid");
        ids.with(Run::new("/bin/sh").args(["-c", &script]))
            .output()
            .code(0);
        run(&ids, &pod, &MAP).code(0);
    }
    Ok(())
}

fn bad_values() -> TestResult {
    let root = roots::probe();
    for bad in [
        "",
        "yes",
        "0",
        "1",
        "1:",
        ":1",
        "0:65536",
        "1:0",
        "1:1:1",
        "01:1",
        "1:01",
        "-1:1",
        "a:1",
        "4294967295:1",
        "1:4294967295",
        "18446744073709551615:1",
        "1:18446744073709551615",
    ] {
        Pod::new(&root)
            .options([format!("--private-users={bad}")])
            .probe(["exit", "0"])
            .refused(&["--private-users", "BASE:COUNT"]);
    }
    Ok(())
}

fn a_plan_takes_nothing() -> TestResult {
    let ids = Ids::both("");
    let plan = || {
        let run = Run::ours("stage0").args([
            "plan",
            "--private-users",
            "--rootfs",
            "/",
            "--",
            "/bin/true",
        ]);
        ids.with(run).output()
    };
    plan().code(0).has("uids 0:524288:65536");
    assert!(!ids.run.join("kickstage").exists());
    let running = running(&ids, &private(&roots::probe()));
    plan().code(0).has("uids 0:589824:65536");
    stop(running);
    Ok(())
}

/// A prepared pod has the ids that were named, if they are free when it is run.
fn prepared_pods() -> TestResult {
    let ids = Ids::both("");
    let root = roots::probe();
    let state = roots::directory("state");
    let prepare = |flag: &str| {
        let run = Run::ours("stage0")
            .args(["prepare", flag, "--state-dir"])
            .arg(&state);
        let run = run.arg("--rootfs").arg(&root).args(["--", "/bin/probe"]);
        ids.with(run.args(MAP)).output()
    };
    prepare("--private-users").refused(&["--private-users", "BASE:COUNT"]);
    let output = prepare("--private-users=700000:5000");
    output.code(0);
    let uuid = output.stdout.trim().to_owned();
    let start = || {
        let run = Run::ours("stage0")
            .args(["run-prepared", "--state-dir"])
            .arg(&state);
        ids.with(run.arg(&uuid)).output()
    };
    let running = running(&ids, &Pod::new(&root).flag("--private-users=704999:1"));
    start().refused(&["another pod"]);
    stop(running);
    start().code(0).printed(&twice(700_000, 5000));
    Ok(())
}
