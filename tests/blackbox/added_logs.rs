//! Programs that are added to a pod whose logs somebody reads already.

use std::fs;

use kickstage_tests::{
    TestResult,
    command::Running,
    registered::{Registry, wait_until},
    tests,
};

use crate::logs::watches;

tests![
    followed,
    followed_alone,
    in_a_pod_without_logs,
    gone_before_they_are_seen,
    the_last_lines,
    attached,
    more_than_are_known,
    old_files_beside_them,
    long_names,
];

/// Adds a program that says `words`, and waits for its end.
fn say(pods: &Registry, uuid: &str, name: &str, words: &str) {
    let words = [
        "add",
        uuid,
        "--name",
        name,
        "--",
        "/bin/probe",
        "echo",
        words,
    ];
    pods.ask("app", &words).code(0).quiet();
    let code = pods.place("run", uuid).join("status").join(name);
    wait_until("it has ended", || code.exists());
}

fn remove(pods: &Registry, uuid: &str, name: &str) {
    pods.ask("app", &["rm", uuid, name]).code(0).quiet();
}

/// A pod in the background that goes on without a program.
fn start(pods: &Registry) -> String {
    pods.detach(&["--name=main", "--exit-policy=never"])
}

fn follow(pods: &Registry, words: &[&str]) -> Running {
    let reader = pods.command("logs").arg("--follow").args(words).start();
    wait_until("it watches", || watches(reader.pid()));
    reader
}

/// The pod is stopped; these are the lines of the reader, each once.
fn ends(pods: &Registry, uuid: &str, reader: Running, lines: &[&str]) {
    pods.ask("stop", &[uuid]).code(0);
    told(pods, reader, lines);
}

fn told(pods: &Registry, reader: Running, lines: &[&str]) {
    let output = reader.finish();
    output.code(0).quiet();
    let mut told: Vec<&str> = output.stdout.lines().collect();
    let mut lines = lines.to_vec();
    told.sort_unstable();
    lines.sort_unstable();
    assert_eq!(told, lines, "{}", output.stdout);
    pods.collected();
}

/// The lines of the first one have its name as soon as it is not the only one.
fn followed() -> TestResult {
    let pods = Registry::new();
    let uuid = start(&pods);
    let reader = follow(&pods, &[&uuid]);
    reader.wait_for("catch: waiting\n");
    for (name, words, line) in [
        ("one", "1", "\none | 1\n"),
        ("two", "2", "\ntwo | 2\n"),
        ("three", "3", "\nthree | 3\n"),
    ] {
        say(&pods, &uuid, name, words);
        reader.wait_for(line);
    }
    // The log goes on where it was.
    for words in ["again", "once more"] {
        remove(&pods, &uuid, "two");
        say(&pods, &uuid, "two", words);
        reader.wait_for(&format!("\ntwo | {words}\n"));
    }
    let lines = [
        "catch: waiting",
        "one | 1",
        "two | 2",
        "three | 3",
        "two | again",
        "two | once more",
        "main | catch: SIGTERM",
    ];
    ends(&pods, &uuid, reader, &lines);
    Ok(())
}

fn followed_alone() -> TestResult {
    let pods = Registry::new();
    let uuid = start(&pods);
    for words in [&["--app=one", &uuid][..], &["-f", "--app=one", &uuid]] {
        pods.ask("logs", words)
            .refused(&["the pod has no such app"]);
    }
    say(&pods, &uuid, "one", "1");
    let reader = follow(&pods, &["--app=one", &uuid]);
    say(&pods, &uuid, "other", "not this");
    remove(&pods, &uuid, "one");
    for words in [&["--app=one", &uuid][..], &["-f", "--app=one", &uuid]] {
        pods.ask("logs", words)
            .refused(&["the pod has no such app"]);
    }
    say(&pods, &uuid, "one", "2");
    reader.wait_for("1\n2\n");
    ends(&pods, &uuid, reader, &["1", "2"]);
    Ok(())
}

/// The place of the logs is made with the first one.
fn in_a_pod_without_logs() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&["--name=main", "--exit-policy=never"]);
    assert!(!pods.place("run", &pod.uuid).join("logs").exists());
    let reader = follow(&pods, &[&pod.uuid]);
    for name in ["one", "two"] {
        let words = ["add", &pod.uuid, "--name", name, "--log=pod"];
        let words = [&words[..], &["--", "/bin/probe", "echo", name]].concat();
        pods.ask("app", &words).code(0).quiet();
        reader.wait_for(&format!("{name} | {name}\n"));
    }
    pod.end();
    reader.finish().code(0).printed("one | one\ntwo | two\n");
    pods.collected();
    Ok(())
}

/// The reader is stopped meanwhile.
fn gone_before_they_are_seen() -> TestResult {
    let pods = Registry::new();
    let uuid = start(&pods);
    let reader = follow(&pods, &[&uuid]);
    // With the first one it is seen where the others will come.
    say(&pods, &uuid, "zero", "0");
    reader.wait_for("zero | 0\n");
    reader.signal(libc::SIGSTOP);
    for name in ["one", "two"] {
        for words in ["first", "second"] {
            say(&pods, &uuid, name, words);
            remove(&pods, &uuid, name);
        }
    }
    reader.signal(libc::SIGCONT);
    reader.wait_for("two | second\n");
    // One that is added at the end, too, and of which nothing else tells.
    reader.signal(libc::SIGSTOP);
    say(&pods, &uuid, "last", "x");
    pods.ask("stop", &[&uuid]).code(0);
    reader.signal(libc::SIGCONT);
    let lines = [
        "catch: waiting",
        "zero | 0",
        "one | first",
        "one | second",
        "two | first",
        "two | second",
        "main | catch: SIGTERM",
        "last | x",
    ];
    told(&pods, reader, &lines);
    Ok(())
}

/// What was written before by one that was removed is none of the last lines of another one.
fn the_last_lines() -> TestResult {
    let pods = Registry::new();
    let uuid = start(&pods);
    say(&pods, &uuid, "one", "before");
    remove(&pods, &uuid, "one");
    say(&pods, &uuid, "two", "before");
    let reader = follow(&pods, &["--tail=1", &uuid]);
    reader.wait_for("two | before\n");
    for name in ["one", "one.1", "three"] {
        say(&pods, &uuid, name, "after");
        reader.wait_for(&format!("{name} | after\n"));
    }
    let lines = [
        "main | catch: waiting",
        "two | before",
        "one | after",
        "one.1 | after",
        "three | after",
        "main | catch: SIGTERM",
    ];
    ends(&pods, &uuid, reader, &lines);
    Ok(())
}

fn attached() -> TestResult {
    let pods = Registry::new();
    let uuid = start(&pods);
    for name in ["one", "two"] {
        say(&pods, &uuid, name, "before");
    }
    remove(&pods, &uuid, "one");
    remove(&pods, &uuid, "two");
    let reader = pods.command("attach").arg(&uuid).start();
    wait_until("it watches", || watches(reader.pid()));
    for name in ["one", "three", "two"] {
        say(&pods, &uuid, name, "after");
        reader.wait_for(&format!("{name} | after\n"));
    }
    let lines = [
        "one | after",
        "two | after",
        "three | after",
        "main | catch: SIGTERM",
    ];
    ends(&pods, &uuid, reader, &lines);
    Ok(())
}

/// Those that are there are never forgotten, and of those that were removed the last ones.
fn more_than_are_known() -> TestResult {
    const COUNT: usize = 140;
    let pods = Registry::new();
    let uuid = start(&pods);
    let reader = follow(&pods, &[&uuid]);
    let words = ["add", &uuid, "--name=stays", "--", "/bin/probe"];
    let words = [&words[..], &["catch", "TERM"]].concat();
    pods.ask("app", &words).code(0).quiet();
    let mut lines = vec!["stays | catch: waiting".to_owned()];
    reader.wait_for("stays | catch: waiting\n");
    for number in 0..COUNT {
        let name = format!("job-{number}");
        say(&pods, &uuid, &name, "done");
        remove(&pods, &uuid, &name);
        lines.push(format!("{name} | done"));
    }
    let last = format!("job-{}", COUNT - 1);
    say(&pods, &uuid, &last, "again");
    lines.push(format!("{last} | again"));
    reader.wait_for(&format!("{last} | again\n"));
    lines.push("stays | catch: SIGTERM".to_owned());
    lines.push("main | catch: SIGTERM".to_owned());
    lines.push("catch: waiting".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    ends(&pods, &uuid, reader, &lines);
    Ok(())
}

/// However many of them there are, what was written before is known.
fn old_files_beside_them() -> TestResult {
    const COUNT: usize = 20;
    let pods = Registry::new();
    let uuid = start(&pods);
    let logs = pods.place("run", &uuid).join("logs");
    for number in 0..COUNT {
        let name = format!("job-{number}");
        say(&pods, &uuid, &name, "before");
        remove(&pods, &uuid, &name);
        for old in 1..=9 {
            fs::write(logs.join(format!("{name}.{old}")), "long before\n").expect("a file");
        }
    }
    let reader = follow(&pods, &["--tail=1", &uuid]);
    let mut lines = vec!["main | catch: SIGTERM".to_owned()];
    for number in 0..COUNT {
        let name = format!("job-{number}");
        say(&pods, &uuid, &name, "after");
        lines.push(format!("{name} | after"));
        reader.wait_for(&format!("{name} | after\n"));
    }
    lines.push("catch: waiting".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    ends(&pods, &uuid, reader, &lines);
    Ok(())
}

/// The names of old files have two bytes more.
fn long_names() -> TestResult {
    let pods = Registry::new();
    let [long, longer] = [253, 254].map(|length| "n".repeat(length));
    let options = ["--keep", "--log=pod,size=4,keep=2", "--name", &long];
    let words = ["echo", "one", ",", "echo", "two", ",", "echo", "three"];
    pods.pod("run", &options, &words).output().code(0).quiet();
    pods.ask("logs", &[&long])
        .code(0)
        .printed("one\ntwo\nthree\n");
    for words in [&["--detach"][..], &["--keep", "--log=pod"]] {
        let words = [words, &["--name", &longer]].concat();
        let output = pods.pod("run", &words, &["exit", "0"]).output();
        output.refused(&["--name", "File name too long"]);
    }
    Ok(())
}
