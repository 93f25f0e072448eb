//! Help, version, debug, plan: what people and machines read.

use kickstage_tests::{
    TestResult,
    command::{Output, Run, program},
    pod::Pod,
    roots, tests,
};

tests![
    help,
    help_of_commands,
    version,
    full_output_is_an_error,
    plan_of_fly_does_nothing,
    debug_of_fly,
    plan_does_nothing,
    plan_ends_with_the_program,
    debug_is_quiet_where_nothing_is_missing,
    repeated_options,
    nothing_on_stderr,
    unprivileged,
    control_characters,
    did_you_mean,
    empty_words,
    without_proc,
];

/// All of them; of some what `app` has.
const COMMANDS: [&str; 28] = [
    "run",
    "plan",
    "prepare",
    "run-prepared",
    "pool",
    "list",
    "ps",
    "status",
    "stop",
    "rm",
    "gc",
    "logs",
    "attach",
    "enter",
    "exec",
    "export",
    "cat-manifest",
    "config",
    "completion",
    "app",
    "app list",
    "app status",
    "app add",
    "app start",
    "app stop",
    "app rm",
    "app exec",
    "app release",
];

fn help() -> TestResult {
    for words in [&["help"][..], &["--help"]] {
        Run::ours("stage0")
            .args(words)
            .output()
            .code(0)
            .has("--rootfs")
            .has("--volume")
            .quiet();
    }
    Run::ours("fly")
        .arg("--help")
        .output()
        .code(0)
        .has("--ro-bind")
        .quiet();
    Run::ours("stage0")
        .args(["run", "--help"])
        .output()
        .code(0)
        .has("--rootfs")
        .quiet();
    Ok(())
}

/// Wherever options of a command stand, and no others.
fn help_of_commands() -> TestResult {
    let ask = |words: &[&str]| Run::ours("stage0").args(words).output();
    let whole = ask(&["help"]).stdout;
    for command in COMMANDS {
        let command: Vec<&str> = command.split(' ').collect();
        for option in ["--help", "-h"] {
            let output = ask(&[&command[..], &[option]].concat());
            output.code(0).quiet().printed(&whole);
        }
    }
    for words in [
        "status some --format json --help",
        "logs --app name pod -h",
        "stop --no-such-option --help",
        "pool --networks 3 --help",
        "pool jobs --help",
        "pool jobs 3 --set-env A=b --help",
        "enter --app name --help",
        "enter some --set-env A=b --tty --help",
        "app list some --help",
        "app stop some main --help",
        "app add some --name=x -h",
        "app exec some main --help",
        "app release some --help",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        ask(&words).code(0).quiet().printed(&whole);
    }
    // That is a name, the value of an option, or belongs to a program.
    let nowhere = "--state-dir=/no/such/directory";
    for words in [
        &["status", nowhere, "--", "--help"][..],
        &["logs", nowhere, "--app", "--help", "some"],
        &["enter", nowhere, "some", "--", "--help"],
        &["enter", nowhere, "some", "sh", "--help"],
        &["app", "exec", nowhere, "some", "main", "--", "--help"],
        &["app", "add", nowhere, "some", "sh", "--help"],
        &["app", "release", nowhere, "some", "--", "--help"],
    ] {
        ask(words).refused(&["no matches found"]);
    }
    Ok(())
}

fn version() -> TestResult {
    let expected = env!("CARGO_PKG_VERSION");
    for words in [&["version"][..], &["--version"]] {
        Run::ours("stage0")
            .args(words)
            .output()
            .code(0)
            .has(expected)
            .has("stage0")
            .quiet();
    }
    Run::ours("fly")
        .arg("--version")
        .output()
        .code(0)
        .has(expected)
        .has("fly")
        .quiet();
    Ok(())
}

/// Text that could not be written is no success.
fn full_output_is_an_error() -> TestResult {
    for (program, words) in [
        ("stage0", &["help"][..]),
        ("stage0", &["version"]),
        ("stage0", &["list"]),
        ("stage0", &["config"]),
        ("stage0", &["completion", "bash"]),
        ("stage0", &["plan", "--rootfs", "/", "/bin/true"]),
        ("fly", &["--help"]),
        ("fly", &["--version"]),
        ("fly", &["--completion=bash"]),
        ("fly", &["--plan", "/", "/bin/true"]),
        ("fly", &["seccomp", "--help"]),
        ("fly", &["seccomp", "explain", "default", "read"]),
    ] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .expect("a device");
        let output = Run::ours(program)
            .args(words)
            .hook(move || kickstage_tests::sys::duplicate_onto(&full, 1))
            .output();
        output.refused(&["write standard output", "not all of it could be written"]);
    }
    Ok(())
}

/// Nothing but the plan: it needs no rights, and makes nothing.
fn plan_of_fly_does_nothing() -> TestResult {
    let root = roots::bare();
    let run = Run::ours("fly").args(["--plan", "--bind", "/etc", "/new", "--dir", "/made"]);
    let output = run
        .arg(&root)
        .args(["/bin/probe", "create", "/x"])
        .hook(|| kickstage_tests::sys::become_user(1000, 1000))
        .output();
    output.code(0).quiet().has("\nchroot ").has(" /new of ");
    assert_eq!(kickstage_tests::compare::names(&root), ["bin"]);
    // What cannot be a plan is refused, as it is at a start.
    let run = Run::ours("fly").args(["--plan", "--chdir", "x"]).arg(&root);
    run.arg("/bin/probe")
        .output()
        .refused(&["working directory x"]);
    Ok(())
}

fn debug_of_fly() -> TestResult {
    let root = roots::probe();
    for option in ["--clearenv", "--unshare-pid"] {
        let output = Pod::fly(&root)
            .options([option, "--debug"])
            .probe(["exit", "3"]);
        output.code(3);
        for line in output.stderr.lines() {
            let text = line.strip_prefix("fly: ").unwrap_or_default();
            assert!(text.contains("not "), "{line}");
        }
    }
    Ok(())
}

fn plan(root: &std::path::Path, options: &[&str]) -> Output {
    Run::ours("stage0")
        .arg("plan")
        .args(options)
        .arg("--rootfs")
        .arg(root)
        .args(["--", "/bin/probe", "create", "/made"])
        .output()
}

fn plan_does_nothing() -> TestResult {
    let root = roots::bare();
    let options = [
        "--volume",
        "/etc:/new/host:ro",
        "--tmpfs",
        "/scratch",
        "--hostname",
        "named",
        "--ephemeral",
    ];
    let output = plan(&root, &options);
    output
        .code(0)
        .quiet()
        .has("named")
        .has("/scratch")
        .has("/new/host");
    assert_eq!(kickstage_tests::compare::names(&root), ["bin"]);
    Ok(())
}

fn plan_ends_with_the_program() -> TestResult {
    let output = plan(&roots::probe(), &["--set-env", "A=1", "--user", "alice"]);
    let last = output
        .code(0)
        .stdout
        .lines()
        .last()
        .expect("a line")
        .to_owned();
    assert!(
        last.starts_with("exec") && last.contains("/bin/probe") && last.contains("A=1"),
        "{last}"
    );
    // One line a step, and each begins with a word.
    for line in output.stdout.lines() {
        assert!(
            line.starts_with(|c: char| c.is_ascii_lowercase()),
            "{line:?}"
        );
    }
    // The same options give the same plan (but for random names).
    let again = plan(&roots::probe(), &["--set-env", "A=1", "--user", "alice"]);
    assert_eq!(output.stdout.lines().count(), again.stdout.lines().count());
    Ok(())
}

fn debug_is_quiet_where_nothing_is_missing() -> TestResult {
    let root = roots::probe();
    let output = Pod::new(&root).flag("--debug").probe(["echo", "hi"]);
    output.code(0).printed("hi\n");
    for line in output.stderr.lines() {
        assert!(
            line.starts_with("stage0: ") && line.contains("not "),
            "{line}"
        );
    }
    Ok(())
}

/// Of options that can have one value only the last counts, or they are
/// refused; never a mixture.
fn repeated_options() -> TestResult {
    let (one, two) = (roots::probe(), roots::probe());
    std::fs::write(two.join("mark"), "two").expect("a file");
    let output = Run::ours("stage0")
        .args(["run", "--hostname", "a", "--hostname", "b", "--rootfs"])
        .arg(&one)
        .arg("--rootfs")
        .arg(&two)
        .args([
            "--",
            "/bin/probe",
            "read",
            "/mark",
            ",",
            "report",
            "hostname",
        ])
        .output();
    if output.code != Some(254) {
        output.code(0).has("two").has("hostname=b\n");
    }
    Ok(())
}

fn nothing_on_stderr() -> TestResult {
    let root = roots::probe();
    for pod in [
        Pod::new(&root),
        Pod::fly(&root),
        Pod::new(&root).flag("--ephemeral"),
        Pod::new(&root).flag("--net=none"),
    ] {
        pod.probe(["exit", "0"]).code(0).printed("").quiet();
    }
    Ok(())
}

fn unprivileged() -> TestResult {
    use kickstage_tests::sys;
    let root = roots::probe();
    for pod in [
        Pod::new(&root).flag("--private-users=false"),
        Pod::new(&root).flag("--stage1=fly"),
        Pod::new(&root).options(["--private-users=false", "--net=none"]),
    ] {
        let command = pod.probe_command(["exit", "0"]);
        command
            .hook(|| sys::become_user(1000, 1000))
            .output()
            .refused(&["Operation not permitted"]);
    }
    // What needs no privilege works.
    let command = Run::ours("stage0")
        .arg("plan")
        .arg("--rootfs")
        .arg(&root)
        .args(["--", "/bin/probe"]);
    command
        .hook(|| sys::become_user(1000, 1000))
        .output()
        .code(0);
    Run::ours("stage0")
        .arg("version")
        .hook(|| sys::become_user(1000, 1000))
        .output()
        .code(0);
    Ok(())
}

/// Names that others chose can't move the cursor of who reads the error.
fn control_characters() -> TestResult {
    let root = roots::probe();
    for word in [
        "/no\x1b[2Jpe",
        "/no\npe",
        "/no\rpe",
        "/no\x07pe",
        "/no\x7fpe",
        "/no\u{9b}2Jpe",
    ] {
        let output = Pod::new(&root).run([word]);
        output.refused(&["/no"]);
        let line = output.stderr.trim_end_matches('\n');
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    }
    // Other letters are as they are.
    let output = Pod::new(&root).run(["/no\u{a0}\u{e9}\u{9b}"]);
    output.refused(&["/no\u{a0}\u{e9}"]);
    assert!(output.stderr.contains("\\x9b"), "{:?}", output.stderr);
    // What an error tells beside its object, too.
    let output = Run::ours("stage0")
        .args(["stop", "no\u{9b}2J\u{e9}pe"])
        .output();
    output.refused(&["\\x9b2J\u{e9}pe\""]);
    assert!(!output.stderr.contains('\u{9b}'), "{:?}", output.stderr);
    let output = Pod::new("/no\x1b[2J\nroot").probe(["exit", "0"]);
    output.refused(&["/no"]);
    assert!(
        !output.stderr.trim_end().contains(|c: char| c.is_control()),
        "{:?}",
        output.stderr
    );
    Ok(())
}

/// A misspelt option or command is answered with the one that was meant.
fn did_you_mean() -> TestResult {
    for (program, words, meant) in [
        ("fly", &["--bnid", "/a", "/b"][..], "did you mean --bind?"),
        ("fly", &["--unshare-nte"], "did you mean --unshare-net?"),
        (
            "fly",
            &["--ro_bind=/etc", "/etc"],
            "did you mean --ro-bind?",
        ),
        ("fly", &["--versio"], "did you mean --version?"),
        ("stage0", &["rum"], "did you mean run?"),
        ("stage0", &["run", "--rootf", "/"], "did you mean --rootfs?"),
        ("stage0", &["plan", "--tempfs=/t"], "did you mean --tmpfs?"),
        ("stage0", &["list", "--ful"], "did you mean --full?"),
        ("stage0", &["status", "--wiat"], "did you mean --wait?"),
    ] {
        Run::ours(program)
            .args(words)
            .output()
            .refused(&[meant, "see --help"]);
    }
    for (word, text) in [
        ("--set-evn=A=b", "did you mean --set-env?"),
        ("--set-env=A=b", "no pod is named"),
    ] {
        let output = Run::ours("stage0").args(["enter", word, "some"]).output();
        output.refused(&[word, text]);
    }
    // That is known, but not here.
    for (program, words) in [
        ("stage0", &["list", "--rootfs=/"][..]),
        ("stage0", &["list", "--forc"]),
        ("stage0", &["list", "--rotfs"]),
        ("stage0", &["--user"]),
    ] {
        let output = Run::ours(program).args(words).output();
        output.refused(&["no such", "see --help"]);
        assert!(!output.stderr.contains("mean"), "{}", output.everything());
    }
    let long = format!("--{}", "x".repeat(5000));
    for word in ["--xyz", "-x", long.as_str()] {
        let output = Run::ours("fly").arg(word).output();
        output.refused(&["no such option", "see --help"]);
        assert!(!output.stderr.contains("mean"), "{}", output.everything());
    }
    Ok(())
}

fn empty_words() -> TestResult {
    let fly = |words: [&str; 3]| Run::ours("fly").args(words).output();
    fly(["/", "--", ""]).refused(&["no program is named"]);
    fly(["", "--", "sh"]).refused(&["no root file system is named"]);
    for command in ["run", "plan"] {
        let words = [command, "--rootfs", "/", "--", ""];
        let output = Run::ours("stage0").args(words).output();
        output.refused(&["no program is named"]);
    }
    Ok(())
}

/// Where the programs beside are is told by /proc.
fn without_proc() -> TestResult {
    let root = roots::probe();
    let copy = |name: &str| {
        std::fs::copy(program(name), root.join("bin").join(name)).expect("a program");
    };
    for name in ["stage0", "stage0-full", "fly", "fly-full"] {
        copy(name);
    }
    let run = |flag: &str, words: [&str; 2]| Pod::fly(&root).flag(flag).command(words).output();
    for words in [["/bin/stage0", "list"], ["/bin/fly", "--completion=bash"]] {
        run("--minimal", words).refused(&["/proc/self/exe", "needs /proc"]);
        run("--debug", words).code(0);
    }
    for name in ["stage0-full", "fly-full"] {
        std::fs::remove_file(root.join("bin").join(name)).expect("it");
    }
    for words in [["/bin/stage0", "list"], ["/bin/fly", "--completion=bash"]] {
        let output = run("--debug", words);
        output.refused(&["-full", "install it beside this"]);
    }
    Ok(())
}
