//! Programs that were added to a pod that runs are as its own: they are entered, and their
//! logs are read.

use std::{fs, os::unix::fs::symlink, thread};

use kickstage_tests::{
    TestResult,
    command::Output,
    pod::Pod,
    registered::{Registry, wait_until},
    roots, tests,
};

use crate::{
    control::Controlled,
    enter::{exec, probe},
};

tests![
    entered,
    confined_as_the_added_one,
    removed_and_added_again,
    one_that_was_not_added,
    another_pod_in_the_directory,
    at_the_same_moment,
    logs,
    logs_of_who_does_not_detach,
    what_is_refused,
];

/// The program says `waiting` and stays.
const STAYS: [&str; 4] = ["--", "/bin/probe", "catch", "TERM"];

fn add(pods: &Registry, uuid: &str, words: &[&str]) -> Output {
    pods.ask("app", &[&["add", uuid], words].concat())
}

fn entered() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.detach(&["--name=main", "--set-env=OF=main"]);
    add(
        &pods,
        &uuid,
        &[&["--name=more", "--set-env=OF=more"], &STAYS[..]].concat(),
    )
    .code(0)
    .quiet();
    let enter = |words: &[&str]| {
        let words = [words, &["--", "/bin/probe", "report", "env.OF"]].concat();
        pods.ask("enter", &words)
    };
    enter(&[&uuid]).code(0).quiet().has("env.OF=main\n");
    enter(&["--app=more", &uuid])
        .code(0)
        .quiet()
        .has("env.OF=more\n");
    enter(&["--app=main", "main"]).code(0).has("env.OF=main\n");
    let words = ["exec", "main", "more", "--", "/bin/probe", "exit", "9"];
    pods.ask("app", &words).code(9).quiet();
    enter(&["--app=less", &uuid]).refused(&["no such app, but main, more"]);
    for name in ["", ".", "..", "../added/more", "/more"] {
        enter(&["--app", name, &uuid]).refused(&["no such app, but main, more"]);
    }
    let plan = pods.place("run", &uuid).join("added/more");
    let mode = |path| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(path).expect("a file").mode() & 0o777
    };
    assert_eq!(mode(plan), 0o600);
    assert_eq!(mode(pods.place("run", &uuid).join("added")), 0o700);
    pods.ask("stop", &[&uuid]).code(0);
    pods.collected();
    Ok(())
}

/// What is the same of two processes that are confined in the same way.
fn lines(text: &str) -> Vec<String> {
    const OTHERS: [&str; 16] = [
        "Pid:",
        "Ngid:",
        "Tgid:",
        "PPid:",
        "NSpid",
        "NStgid",
        "NSpgid",
        "NSsid",
        "Vm",
        "Rss",
        "voluntary",
        "nonvoluntary",
        "SigPnd",
        // Those of all processes of the user on the machine.
        "SigQ",
        "Cpus_allowed",
        "Mems",
    ];
    let is_same = |line: &&str| !OTHERS.iter().any(|other| line.starts_with(other));
    text.lines().filter(is_same).map(str::to_owned).collect()
}

fn confined_as_the_added_one() -> TestResult {
    let seen: Vec<&str> = "read /proc/self/status , limits , report cwd env ns"
        .split(' ')
        .collect();
    let pod = Controlled::with(
        &["--exit-policy=never", "--cap-add=NET_ADMIN"],
        &["catch", "TERM"],
    );
    let options = [
        "--name=more",
        "--user=1000",
        "--group=1001",
        "--groups=5,6",
        "--umask=077",
        "--cap-drop=CHOWN",
        "--cap-add=NET_ADMIN",
        "--rlimit=nofile=64:128",
        "--working-dir=/tmp",
        "--set-env=A=b",
        "--seccomp=unconfined",
    ];
    let own = [&["--", "/bin/probe"], &seen[..], &[",", "catch", "TERM"]].concat();
    pod.app("add", &[&options[..], &own].concat()).code(0);
    pod.running.wait_for("ns.uts");
    let entered = exec(
        &pod.directory,
        &[&["more", "--", "/bin/probe"], &seen[..]].concat(),
    )
    .output();
    entered.code(0).quiet();
    let output = pod.end();
    let entered = lines(&entered.stdout);
    assert!(entered.len() > 30, "{entered:?}");
    let own = lines(&output.stdout);
    for line in &entered {
        assert!(own.contains(line), "{line}\n{own:?}");
    }
    for expected in ["Uid:\t1000\t1000\t1000\t1000", "Seccomp:\t0", "cwd=/tmp"] {
        assert!(entered.iter().any(|line| line == expected), "{expected}");
    }
    Ok(())
}

/// The one that has the name now counts, also if the pod had one of that name before.
fn removed_and_added_again() -> TestResult {
    let pod = Controlled::new();
    let uid = |name| {
        let words = [name, "--", "/bin/probe", "report", "uid"];
        exec(&pod.directory, &words).output()
    };
    let start = |name: &str, user: &str| {
        let options = ["--name", name, "--user", user];
        pod.app("add", &[&options[..], &STAYS].concat())
    };
    let end = |name: &str| {
        pod.app("stop", &[name]).code(0);
        pod.app("rm", &[name]).code(0).quiet();
    };
    for user in ["7", "8"] {
        start("more", user).code(0);
        uid("more").code(0).has(&format!("uid={user}"));
        // What is refused changes nothing.
        start("more", "9").refused(&["the pod has an app of that name"]);
        pod.app("rm", &["more"]).refused(&["it has not ended"]);
        uid("more").code(0).has(&format!("uid={user}"));
        end("more");
        uid("more").refused(&["no such app, but main"]);
    }
    uid("main").code(0).has("uid=0");
    end("main");
    start("main", "5").code(0);
    uid("main").code(0).has("uid=5");
    end("main");
    assert_eq!(
        fs::read_dir(pod.path("added"))
            .expect("a directory")
            .count(),
        0
    );
    assert!(!pod.path(".added").exists());
    pod.end().code(0);
    Ok(())
}

fn one_that_was_not_added() -> TestResult {
    let pod = Controlled::new();
    for words in [
        &["--name=more", "--cap-add=SYS_ADMIN", "--", "/bin/probe"][..],
        &["--name=more", "--no-such", "--", "/bin/probe"],
    ] {
        pod.app("add", words).code(254);
        assert!(!pod.path("added/more").exists());
        assert!(!pod.path(".added").exists());
    }
    // One that pid 1 refuses.
    pod.app("add", &["--name=main", "--", "/bin/probe"])
        .refused(&["the pod has an app of that name"]);
    assert!(!pod.path(".added").exists());
    // Nothing is written where a link leads.
    let (link, elsewhere) = (pod.path(".added"), roots::fresh("plan"));
    symlink(&elsewhere, &link).expect("a link");
    let words = ["--name=more", "--", "/bin/probe"];
    pod.app("add", &words).refused(&["symbolic links"]);
    assert!(!elsewhere.exists());
    fs::remove_file(link).expect("a link");
    // One that can't be started is there all the same.
    pod.app("add", &["--name=more", "--", "/bin/missing"])
        .code(0);
    pod.wait_for("more", "exited", "254");
    exec(&pod.directory, &["more", "--", "/bin/probe", "exit", "3"])
        .output()
        .code(3);
    pod.end();
    Ok(())
}

/// It has nothing of the pod before.
fn another_pod_in_the_directory() -> TestResult {
    let pod = Controlled::new();
    for name in ["more", "main2"] {
        let words = [&["--name", name, "--user=7"], &STAYS[..]].concat();
        pod.app("add", &words).code(0);
    }
    let directory = pod.directory.clone();
    pod.end().code(0);
    assert!(directory.join("added/more").exists());
    let again = Pod::new(roots::probe())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .flag("--name=main2")
        .probe_command(["catch", "TERM"])
        .start();
    again.wait_for("waiting");
    wait_until("its pid is told", || directory.join("pid").exists());
    exec(&directory, &["more", "--", "/bin/probe", "exit", "3"])
        .output()
        .refused(&["no such app, but main2"]);
    exec(&directory, &["main2", "--", "/bin/probe", "report", "uid"])
        .output()
        .code(0)
        .has("uid=0");
    again.signal(libc::SIGTERM);
    again.finish().code(0);
    Ok(())
}

/// One of them is added, and that one's plan is kept.
fn at_the_same_moment() -> TestResult {
    let pod = Controlled::new();
    for _ in 0..10 {
        let codes: Vec<Option<i32>> = thread::scope(|scope| {
            let users = ["1", "2", "3", "4"].map(|user| {
                let pod = &pod;
                scope.spawn(move || {
                    let options = ["--name=more", "--user", user];
                    let words = [&options[..], &STAYS].concat();
                    pod.app("add", &words).code
                })
            });
            users.map(|user| user.join().expect("no panic")).into()
        });
        let added: Vec<usize> = (0..4).filter(|index| codes[*index] == Some(0)).collect();
        assert_eq!(added.len(), 1, "{codes:?}");
        let words = ["more", "--", "/bin/probe", "report", "uid"];
        exec(&pod.directory, &words)
            .output()
            .code(0)
            .has(&format!("uid={}\n", added[0] + 1));
        pod.app("stop", &["more"]).code(0);
        pod.app("rm", &["more"]).code(0);
    }
    probe(&pod.directory, &["exit", "4"]).output().code(4);
    pod.end().code(0);
    Ok(())
}

fn logs() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.detach(&["--name=main", "--exit-policy=never"]);
    for (name, option) in [("one", "--log=pod,size=1M"), ("two", "--umask=022")] {
        let words = ["--name", name, option, "--", "/bin/probe", "echo", name];
        add(&pods, &uuid, &words).code(0).quiet();
        let code = pods.place("run", &uuid).join("status").join(name);
        wait_until("it has ended", || code.exists());
    }
    let all = "main | catch: waiting\none | one\ntwo | two\n";
    let told = |words: &[&str]| {
        let output = pods.ask("logs", &[words, &[&uuid]].concat());
        output.code(0).quiet();
        let mut lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines.join("\n") + "\n"
    };
    // The code of an app may be written before its log is.
    wait_until("it is logged", || told(&[]) == all);
    assert_eq!(told(&["--app=one"]), "one\n");
    assert_eq!(told(&["--app=two", "--tail=1"]), "two\n");
    pods.ask("logs", &["--app=main.1", &uuid])
        .refused(&["the pod has no such app"]);
    pods.ask("app", &["rm", &uuid, "two"]).code(0);
    pods.ask("logs", &["--app=two", &uuid])
        .refused(&["the pod has no such app"]);
    pods.ask("stop", &[&uuid]).code(0);
    assert_eq!(told(&["--app=one"]), "one\n");
    assert_eq!(told(&["-f", "--app=one"]), "one\n");
    pods.collected();
    Ok(())
}

/// Their output is that of the pod, unless they say otherwise.
fn logs_of_who_does_not_detach() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&["--name=main", "--exit-policy=never"]);
    for (name, options) in [("one", &["--log=pod"][..]), ("two", &[])] {
        let words = ["--", "/bin/probe", "echo", name];
        let words = [&["--name", name], options, &words].concat();
        add(&pods, &pod.uuid, &words).code(0).quiet();
    }
    pod.running.wait_for("two\n");
    let code = pods.place("run", &pod.uuid).join("status/one");
    wait_until("it has ended", || code.exists());
    wait_until("it is logged", || {
        let output = pods.ask("logs", &["--app=one", &pod.uuid]);
        output.code(0);
        output.stdout == "one\n"
    });
    pods.ask("logs", &["--app=two", &pod.uuid])
        .code(0)
        .printed("");
    pod.end();
    pods.collected();
    Ok(())
}

fn what_is_refused() -> TestResult {
    let pod = Controlled::new();
    pod.app("add", &["--log=pod", "--", "/bin/probe", "echo", "x"])
        .refused(&["only a registered pod"]);
    pod.end().code(0);
    Ok(())
}
