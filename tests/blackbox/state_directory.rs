//! `--state-dir`: all commands for registered pods take it, before what they are about and
//! behind it.

use std::path::Path;

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    registered::{Registry, one_line},
    roots, tests,
};

tests![
    of_every_command,
    of_apps,
    of_entering,
    without_a_value,
    of_directories,
    before_the_variable,
    with_a_long_path,
];

/// These words; `@` stands for the option, once as one word and once as two.
fn ask(pods: &Registry, line: &str) -> [Output; 2] {
    let path = pods.path().display();
    [format!("--state-dir={path}"), format!("--state-dir {path}")].map(|option| {
        let line = line.replace('@', &option);
        Run::ours("stage0").args(line.split(' ')).output()
    })
}

fn detached(pods: &Registry, name: &str) -> String {
    pods.detach(&[&format!("--name={name}")])
}

fn of_every_command() -> TestResult {
    let pods = Registry::new();
    let uuid = detached(&pods, "web");
    let archive = roots::fresh("archive").display().to_string();
    for (line, text) in [
        ("list --full @", uuid.as_str()),
        ("list @ --full", &uuid),
        ("status @ web", "running"),
        ("status web @", "running"),
        ("logs @ web", ""),
        ("logs web @", ""),
        ("cat-manifest @ web", "web"),
        ("cat-manifest web @", "web"),
        ("gc @ --mark-only", ""),
        ("config @", pods.path().to_str().expect("UTF-8")),
    ] {
        for output in ask(&pods, line) {
            output.code(0).quiet().has(text);
        }
    }
    for line in [
        format!("export @ web {archive}"),
        format!("export web {archive} @"),
    ] {
        for output in ask(&pods, &line) {
            output.code(0).quiet();
            assert!(Path::new(&archive).exists());
        }
    }
    for output in ask(&pods, "stop @ web") {
        output.code(0).quiet();
    }
    for output in ask(&pods, "attach web @") {
        output.refused(&["attach to pod web"]);
    }
    let [first, second] = ask(&pods, "rm web @");
    first.code(0).quiet();
    second.refused(&["no matches found"]);
    let root = pods.root.display();
    let prepared = ask(
        &pods,
        &format!("prepare @ --rootfs {root} -- /bin/probe exit 7"),
    );
    for output in prepared {
        let uuid = one_line(output.code(0).quiet());
        let [first, second] = ask(&pods, &format!("run-prepared @ {uuid}"));
        first.code(7).quiet();
        second.refused(&["no such prepared pod"]);
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn of_apps() -> TestResult {
    let pods = Registry::new();
    let uuid = detached(&pods, "web");
    for line in [
        "app @ list web",
        "app list @ web",
        "app list web @",
        "app @ status web web",
        "app status @ web web",
        "app status web @ web",
        "app status web web @",
    ] {
        for output in ask(&pods, line) {
            output.code(0).quiet().has("running");
        }
    }
    for places in [["@ ", "", ""], ["", "@ ", ""], ["", "", "@ "]] {
        let [first, second, third] = places;
        for (command, behind) in [
            ("add", "--name=other -- /bin/probe exit 0"),
            ("stop", "other"),
            ("start", "other"),
            ("stop", "other"),
            ("rm", "other"),
        ] {
            let line = format!("app {first}{command} {second}web {third}{behind}");
            let line = line.replace('@', &format!("--state-dir={}", pods.path().display()));
            let output = Run::ours("stage0").args(line.split(' ')).output();
            output.code(0).quiet();
        }
    }
    ask(&pods, "app kill web web TERM @")[0].code(0).quiet();
    pods.ask("status", &["--wait", &uuid]).code(0);
    pods.ask("rm", &[&uuid]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn of_entering() -> TestResult {
    let pods = Registry::new();
    let uuid = detached(&pods, "web");
    let program = "/bin/probe report env.A";
    for before in [
        format!("enter @ {uuid} --set-env A=b"),
        format!("enter {uuid} @ --set-env A=b --"),
        format!("enter --app web @ {uuid} --set-env A=b --"),
        format!("enter @ --app web {uuid} --set-env A=b @ --"),
        "app exec @ web --set-env A=b --".to_owned(),
        "app @ exec web web --set-env A=b --".to_owned(),
        "app exec web @ web --set-env A=b --".to_owned(),
        "app exec web @ --set-env A=b --".to_owned(),
        "app exec web web --set-env A=b @ --".to_owned(),
    ] {
        for output in ask(&pods, &format!("{before} {program}")) {
            output.code(0).quiet().has("env.A=b");
        }
    }
    // What is behind the dashes is of the program.
    let [output, _] = ask(&pods, "enter @ web -- /bin/probe echo --state-dir");
    output.code(0).quiet().printed("--state-dir\n");
    // Elsewhere it is not.
    Run::ours("stage0")
        .args([
            "enter",
            &uuid,
            "--state-dir=/no/such/directory",
            "/bin/probe",
        ])
        .output()
        .refused(&["no matches found"]);
    pods.ask("stop", &["web"]).code(0).quiet();
    pods.ask("rm", &["web"]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn without_a_value() -> TestResult {
    for line in [
        "list --state-dir",
        "enter --state-dir",
        "enter --app x --state-dir",
        "enter some --state-dir",
        "app --state-dir",
        "app list --state-dir",
        "app list some --state-dir",
        "app status some main --state-dir",
        "app exec some --state-dir",
        "app add some --state-dir",
        "app release --state-dir",
        "pool --state-dir",
        "pool jobs --state-dir",
    ] {
        let output = Run::ours("stage0").args(line.split(' ')).output();
        output.refused(&["read option --state-dir", "value"]);
    }
    for line in ["enter --state-dir=a some", "app list some --state-dir=a"] {
        let output = Run::ours("stage0").args(line.split(' ')).output();
        output.refused(&["absolute"]);
    }
    Ok(())
}

/// A pod that is named by its directory is there, whatever is said.
fn of_directories() -> TestResult {
    let pods = Registry::new();
    let uuid = detached(&pods, "web");
    let directory = pods.place("run", &uuid).display().to_string();
    for words in [
        ["app", "list", "--state-dir=/no/such/directory", &directory],
        ["app", "list", &directory, "--state-dir=/no/such/directory"],
    ] {
        let output = Run::ours("stage0").args(words).output();
        output.code(0).quiet().has("running");
    }
    pods.ask("stop", &["web"]).code(0).quiet();
    pods.ask("rm", &["web"]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// What is said counts, not what the environment has.
fn before_the_variable() -> TestResult {
    let (pods, others) = (Registry::new(), Registry::new());
    let uuid = pods.prepare(&[], &["exit", "0"]);
    let option = format!("--state-dir={}", pods.path().display());
    others.ask("rm", &[&option, &uuid]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Longer than what most pods have, up to what is refused.
fn with_a_long_path() -> TestResult {
    let pods = Registry::new();
    let mut path = pods.path().to_owned();
    for _ in 0..6 {
        path.push("a".repeat(200));
    }
    std::fs::create_dir_all(&path).expect("directories");
    let option = format!("--state-dir={}", path.display());
    let prepare = |options: &[&str]| {
        let options = [options, &[&option]].concat();
        let output = pods.pod("prepare", &options, &["exit", "5"]).output();
        one_line(output.code(0).quiet())
    };
    let list = |text: &str| {
        let output = pods.ask("list", &[&option, "--no-legend"]);
        output.code(0).quiet().has(text);
        assert_eq!(output.stdout.is_empty(), text.is_empty());
    };
    for options in [&[][..], &["--warm"]] {
        for keep in ["--keep", "--rm"] {
            let uuid = prepare(options);
            let words = [keep, &option, &uuid];
            pods.ask("run-prepared", &words).code(5).quiet();
            if keep == "--keep" {
                list("exited");
                pods.ask("rm", &[&option, &uuid]).code(0).quiet();
            }
            list("");
        }
    }
    for register in ["--register", "--keep"] {
        let run = pods.pod("run", &[register, &option], &["exit", "5"]);
        run.output().code(5).quiet();
    }
    list("exited");
    pods.ask("gc", &[&option, "--grace-period=0"]).code(0);
    list("");
    let long = format!("--state-dir=/{}", "a/".repeat(1000));
    for command in ["list", "gc", "config"] {
        pods.ask(command, &[&long]).refused(&["too long"]);
    }
    pods.pod("run", &["--keep", &long], &["exit", "0"])
        .output()
        .refused(&["too long"]);
    Ok(())
}
