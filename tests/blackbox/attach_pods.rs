//! Pods with `--stdin=stream`: of all kinds, and what nobody gets of them.

use std::{fs, os::unix::fs::chown};

use kickstage_tests::{
    TestResult,
    command::Run,
    ids::Ids,
    registered::{one_line, wait_until},
    roots, sys, tests,
};

use crate::attach::{ECHO, Pods};

tests![
    as_another_user,
    in_other_pods,
    without_root,
    prepared_and_parked,
    what_the_pod_has,
    what_is_refused,
];

/// Who may not read the pod is told so; who may look only sees no more than before.
fn as_another_user() -> TestResult {
    let pods = Pods::new()?;
    let uuid = pods.start(&[], ECHO);
    let other = |words: &[&str]| {
        pods.attach(words)
            .input("secret\n")
            .hook(|| sys::become_user(1000, 1000))
            .output()
    };
    other(&[&uuid]).refused(&["directory of the pods", "ermission"]);
    let state = pods.registry.path().to_str().expect("UTF-8").to_owned();
    let open = |path: &str, mode: &str| {
        Run::new("chgrp")
            .args(["-R", "1000", path])
            .output()
            .code(0);
        Run::new("chmod").args(["-R", mode, path]).output().code(0);
    };
    open(&state, "g+rX");
    let own = pods.registry.place("run", &uuid);
    fs::set_permissions(
        own.join("streams"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .expect("a mode");
    other(&["--close", &uuid]).refused(&["attach to pod"]);
    // Only the plan says whose the logs and inputs are.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(own.join("plan"), private).expect("a mode");
    for words in [&["--close", &uuid][..], &[&uuid], &["--app=x", &uuid]] {
        other(words).refused(&["attach to pod", "ermission"]);
    }
    assert_eq!(pods.registry.state(&uuid), "running");
    pods.fed(&["--close", &uuid], "").code(7).lacks("secret");
    pods.registry.collected();
    Ok(())
}

/// With ids of their own, as another user, with roots of their own, with limits.
fn in_other_pods() -> TestResult {
    let pods = Pods::new()?;
    let root = format!("dir:{}", pods.root.display());
    for options in [
        &["--private-users"][..],
        &["--user=alice"],
        &["--private-users", "--user=alice"],
        &["--ephemeral", "--pid-namespace"],
        &["--readonly-rootfs", "--net=none"],
    ] {
        let uuid = pods.start(options, ECHO);
        let output = pods.fed(&["--close", &uuid], "one\n");
        output.code(7).quiet().printed("got one\nend\n");
    }
    let output = pods
        .registry
        .command("run")
        .args(["--detach", "--exit-policy=all"])
        .args([&root, "--name=a", "--stdin=stream", "--", "/bin/sh", "-c"])
        .arg(ECHO)
        .args(["---", &root, "--name=b", "--", "/bin/true"])
        .output();
    output.code(0).quiet();
    let output = pods.fed(&["--close", "--app=a", "a"], "one\n");
    output.code(7).quiet().printed("got one\nend\n");
    // In the foreground: the input is the stream all the same.
    let running = pods
        .command(&["run", "--register", "--name=front"], &[], ECHO)
        .args(["---", "--name=x", "/bin/true"])
        .start();
    running.finish().code(7);
    let running = pods
        .command(
            &["run", "--keep", "--name=front", "--stdin=stream"],
            &[],
            ECHO,
        )
        .input("not this\n")
        .start();
    wait_until("it runs", || {
        let list = pods.registry.list();
        list.iter().any(|(_, state)| state == "running")
    });
    // At once: its input was there before it was seen.
    pods.fed(&["--close", "front"], "this\n").code(7);
    running.finish().code(7).printed("got this\nend\n");
    pods.registry.collected();
    Ok(())
}

/// Of a user who is the pod's root.
fn without_root() -> TestResult {
    let pods = Pods::new()?;
    let ids = Ids::both("alice:0:1\nbob:100000:65536\n");
    let state = roots::directory("own");
    chown(&state, Some(1000), Some(1000)).expect("root");
    let stage0 = |words: &[&str]| {
        let run = Run::ours("stage0").env("KICKSTAGE_STATE_DIR", &state);
        ids.unprivileged(run.args(words))
    };
    let root = pods.root.to_str().expect("UTF-8");
    let start = ["run", "--detach", "--stdin=stream", "--rootfs", root];
    let start = [&start[..], &["--", "/bin/sh", "-c", ECHO]].concat();
    let output = stage0(&start).output();
    output.code(0).quiet();
    let uuid = one_line(&output);
    let attach = stage0(&["attach", "--close", &uuid]).input("one\n");
    attach.output().code(7).quiet().printed("got one\nend\n");
    stage0(&["rm", &uuid]).output().code(0).quiet();
    Ok(())
}

fn prepared_and_parked() -> TestResult {
    let pods = Pods::new()?;
    let options = ["--stdin=stream", "--log=pod"];
    for kind in [&["prepare"][..], &["prepare", "--warm"]] {
        let output = pods.command(kind, &options, ECHO).output();
        output.code(0).quiet();
        let uuid = one_line(&output);
        pods.attach(&[&uuid]).output().refused(&["it is p"]);
        let running = pods
            .registry
            .command("run-prepared")
            .args(["--keep", &uuid])
            .input("not this\n")
            .start();
        wait_until("it runs", || pods.registry.state(&uuid) == "running");
        let mut attached = pods.attached(&[&uuid]);
        attached.send("one\n");
        attached.wait_for("got one\n");
        attached.close_input();
        let output = pods.fed(&["--close", &uuid], "two\n");
        output.code(7).quiet();
        attached.finish().code(7).quiet().has("got two\nend\n");
        running.finish().code(7).quiet();
    }
    let output = pods.command(&["prepare"], &options, ECHO).output();
    let uuid = one_line(&output);
    pods.registry
        .ask("run-prepared", &["--detach", &uuid])
        .code(0);
    pods.fed(&["--close", &uuid], "one\n")
        .code(7)
        .has("got one");
    pods.registry.collected();
    Ok(())
}

/// The program has one end and nothing else; nobody in the pod can change it.
fn what_the_pod_has() -> TestResult {
    let pods = Pods::new()?;
    let script = "exec 2> /dev/null; ls /proc/self/fd; chmod 666 /dev/streams/app-0 || echo fixed; \
        rm /dev/streams/app-0 || echo there; stat -c %F:%a:%u /dev/streams/app-0; \
        ls /dev/streams; read line";
    let uuid = pods.start(&[], script);
    let logs = || pods.registry.ask("logs", &[&uuid]).stdout;
    wait_until("it has looked", || logs().ends_with("\napp-0\n"));
    assert_eq!(
        logs(),
        "0\n1\n2\n3\nfixed\nthere\nfifo:600:0\napp-0\n",
        "3 is the directory that is listed"
    );
    let manifest = pods.registry.ask("cat-manifest", &[&uuid]);
    manifest.code(0).quiet().has("\"volumes\": []");
    // stage0 holds the other end.
    let process = kickstage_tests::isolate::processes()
        .into_iter()
        .find(|pid| {
            let link = fs::read_link(format!("/proc/{pid}/fd/94")).unwrap_or_default();
            link.ends_with("streams/app-0")
        });
    assert!(process.is_some(), "nobody holds it");
    let entered = pods
        .registry
        .command("enter")
        .args([&uuid, "--", "/bin/cat"])
        .input("own\n")
        .output();
    entered.code(0).printed("own\n");
    pods.fed(&[&uuid], "\n").code(0);
    pods.registry.collected();
    Ok(())
}

fn what_is_refused() -> TestResult {
    let pods = Pods::new()?;
    for (options, told) in [
        (&["--stdin=stream"][..], "only a registered pod"),
        (&["--stdin=streams"], "pipe or stream"),
        (&["--register", "--stdout=stream"], "pipe or stream"),
        (&["--register", "--stdin=stream", "--tty"], "--tty"),
        (&["--register", "--stdin=stream", "--stage1=fly"], "fly"),
    ] {
        let output = pods.command(&["run"], options, "true").output();
        output.refused(&[told]);
    }
    let uuid = pods.registry.detach(&[]);
    let add = ["add", &uuid, "--stdin=stream", "--", "/bin/probe"];
    pods.registry
        .ask("app", &add)
        .refused(&["--stdin=stream", "not for a program that is added"]);
    for (words, told) in [
        (&["--close=x", &uuid][..], "it takes no value"),
        (&["--follow", &uuid], "there is no such option"),
        (&["--app=x", &uuid], "the pod has no such app"),
    ] {
        pods.attach(words).output().refused(&[told]);
    }
    pods.end(&uuid);
    // Where there is a terminal the pod has none.
    let (_caller, peer) = sys::terminal(24, 80).expect("a terminal");
    let running = pods
        .command(&["run", "--keep", "--stdin=stream", "--name=t"], &[], ECHO)
        .terminal(&peer)
        .expect("descriptors")
        .spawn();
    wait_until("it runs", || {
        pods.registry.list().iter().any(|(_, is)| is == "running")
    });
    pods.fed(&["--close", "t"], "one\n").code(7);
    running.finish().code(7);
    pods.registry.collected();
    Ok(())
}
