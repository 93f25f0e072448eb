//! `stage0 config`, and `stage0 cat-manifest`.

use kickstage_tests::{TestResult, command::Run, json::Value, roots, sys, tests};

use crate::logs::Pods;

tests![paths, checks, checks_of_a_user, a_manifest, what_is_refused];

fn config(words: &[&str]) -> kickstage_tests::command::Output {
    Run::ours("stage0").arg("config").args(words).output()
}

fn paths() -> TestResult {
    let output = config(&["--state-dir", "/a\tb"]);
    output.code(0).quiet().has("state-directory=/a\\x09b\n");
    let value = Value::read(&config(&["--format=json", "--state-dir=/x"]).stdout);
    assert_eq!(value.get("state-directory").text(), Some("/x"));
    let init = value.get("stage1-init").text().expect("a path");
    assert!(init.ends_with("/stage1-init"), "{init}");
    assert_eq!(value.get("checks"), &Value::Null);
    Ok(())
}

/// Where these tests run a default pod can be started.
fn checks() -> TestResult {
    let output = config(&["--check"]);
    output.code(0).quiet().has("fsopen yes (");
    let value = Value::read(&config(&["--check", "--format=json"]).stdout);
    let checks = value.get("checks").list();
    assert!(checks.len() > 20);
    for check in checks {
        let is = check.get("is").text().expect("a text");
        assert!(["yes", "no", "fallback"].contains(&is), "{check:?}");
        let name = check.get("name").text().expect("a text");
        output.has(&format!("{name} {is} ("));
    }
    Ok(())
}

/// Who is not root may not mount, until there is a user namespace: that is no call that is
/// missing.
fn checks_of_a_user() -> TestResult {
    let output = Run::ours("stage0")
        .args(["config", "--check", "--state-dir=/x"])
        .hook(|| sys::become_user(1000, 1000))
        .output();
    output.code(0).quiet();
    for name in ["open_tree", "move_mount", "fsopen"] {
        output.has(&format!("\n{name} yes ("));
    }
    Ok(())
}

fn a_manifest() -> TestResult {
    let pods = Pods::new(roots::probe());
    let source = roots::directory("source");
    let volume = format!("--volume={}:/tmp:ro", source.display());
    let words = "/bin/probe exit 0 --- --name=two --user=7 --groups=8,9 --set-env=A=b=c \
                 --working-dir=/etc -- /bin/probe echo aXb";
    let words: Vec<&str> = words.split_whitespace().collect();
    let uuid = pods.ended(&["--name=one", &volume], &words);
    let output = pods.stage0(&["cat-manifest", &uuid]);
    output.code(0).quiet();
    let value = Value::read(&output.stdout);
    assert_eq!(value.get("acKind").text(), Some("PodManifest"));
    let [volume] = value.get("volumes").list() else {
        panic!("{}", output.everything());
    };
    assert_eq!(volume.get("source").text(), source.to_str());
    assert_eq!(volume.get("readOnly"), &Value::Bool(true));
    let [one, two] = value.get("apps").list() else {
        panic!("{}", output.everything());
    };
    assert_eq!(one.get("name").text(), Some("one"));
    let app = one.get("app");
    assert_eq!(app.get("exec").texts(), ["/bin/probe", "exit", "0"]);
    assert_eq!(app.get("user").text(), Some("0"));
    let isolators = app.get("isolators").list();
    let set = isolators[0].get("value").get("set").texts();
    assert!(set.contains(&"CAP_CHOWN") && !set.contains(&"CAP_SYS_ADMIN"));
    assert_eq!(isolators[1].get("value"), &Value::Bool(true));
    let app = two.get("app");
    assert_eq!(app.get("exec").texts(), ["/bin/probe", "echo", "aXb"]);
    assert_eq!(app.get("user").text(), Some("7"));
    let groups = app.get("supplementaryGIDs").list();
    assert_eq!(groups, [Value::Number(8), Value::Number(9)]);
    assert_eq!(app.get("workingDirectory").text(), Some("/etc"));
    let variables = app.get("environment").list();
    let is_it = |one: &&Value| one.get("name").text() == Some("A");
    let variable = variables.iter().find(is_it).expect("the variable");
    assert_eq!(variable.get("value").text(), Some("b=c"));
    let [mount] = two.get("mounts").list() else {
        panic!("{}", output.everything());
    };
    assert_eq!(mount.get("volume"), volume.get("name"));
    assert_eq!(mount.get("path").text(), Some("/tmp"));
    Ok(())
}

fn what_is_refused() -> TestResult {
    config(&["x"]).refused(&["too many words"]);
    config(&["--tail=1"]).refused(&["--tail", "no such option"]);
    let pods = Pods::new(roots::probe());
    pods.stage0(&["cat-manifest"]).refused(&["no pod is named"]);
    let uuid = pods.ended(&[], &["/bin/probe", "exit", "0"]);
    std::fs::write(pods.directory(&uuid).join("plan"), "KICKPLAN").expect("a file");
    pods.stage0(&["cat-manifest", &uuid])
        .refused(&["the plan of the pod"]);
    Ok(())
}
