//! `fly --seccomp` and `fly-seccomp`: the command lines, profiles and filters as
//! files, and what is wrong with them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, program},
    filter,
    pod::Pod,
    roots, sys, tests,
};

tests![
    default_filter,
    unconfined,
    part_of_confine,
    part_of_pods,
    insecure_pods_have_none,
    no_new_privileges,
    the_last_one_counts,
    compiled_filters,
    profiles,
    profiles_depend_on_capabilities,
    pipes_as_profiles,
    without_the_compiler,
    compiler_in_libexec,
    seccomp_is_a_command,
    refused_calls,
    clone_and_clone3,
    other_architectures,
    filters_stack,
    users_and_namespaces,
    exec_must_be_allowed,
    explains,
    explains_what_depends,
    compile_command,
    command_lines,
    as_the_plan_has_it,
    keys_of_the_caller,
];

pub const ALLOW_ALL: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#;
/// mkdir fails with EXDEV (18), a chmod to 0700 with ENOLINK (67).
const EXAMPLE: &str = r#"{
  "defaultAction": "SCMP_ACT_ALLOW",
  "syscalls": [
    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18},
    {"names": ["uname"], "action": "SCMP_ACT_KILL_PROCESS"}
  ]
}"#;

pub fn file(text: impl AsRef<[u8]>) -> PathBuf {
    let path = roots::fresh("profile");
    fs::write(&path, text).expect("a file");
    path
}

fn seccomp(words: &[&str]) -> Output {
    Run::ours("fly-seccomp").args(words).output()
}

fn compiled(profile: &str) -> Vec<u8> {
    let path = file(profile);
    let output = Run::ours("fly-seccomp").arg("compile").arg(path).output();
    output.code(0).quiet();
    output.bytes
}

pub fn with(filter: impl AsRef<Path>) -> Pod {
    let filter = filter.as_ref().as_os_str();
    Pod::fly(roots::probe()).options(["--seccomp".as_ref(), filter])
}

const STATE: [&str; 3] = ["report", "Seccomp", "NoNewPrivs"];

#[track_caller]
pub fn has_filter(pod: &Pod, filter: bool, no_new_privileges: bool) {
    let report = pod.probe(STATE).report();
    report
        .is("Seccomp", if filter { "2" } else { "0" })
        .is("NoNewPrivs", if no_new_privileges { "1" } else { "0" });
}

fn default_filter() -> TestResult {
    has_filter(&with("default"), true, true);
    let equals = Pod::fly(roots::probe()).flag("--seccomp=default");
    has_filter(&equals, true, true);
    Ok(())
}

fn unconfined() -> TestResult {
    has_filter(&Pod::fly(roots::probe()), false, false);
    has_filter(&with("unconfined"), false, false);
    has_filter(&with("unconfined").flag("--confine"), false, true);
    Ok(())
}

fn part_of_confine() -> TestResult {
    let root = roots::probe();
    for options in [
        &[][..],
        &["--unshare-all"],
        &["--user", "1000"],
        &["--unshare-pid"],
    ] {
        has_filter(
            &Pod::fly(&root).flag("--confine").options(options),
            true,
            true,
        );
    }
    Ok(())
}

fn part_of_pods() -> TestResult {
    let root = roots::probe();
    has_filter(&Pod::new(&root), true, true);
    has_filter(&Pod::new(&root).options(["--user", "1000"]), true, true);
    has_filter(&Pod::new(&root).flag("--stage1=fly"), true, true);
    Ok(())
}

fn insecure_pods_have_none() -> TestResult {
    let pod = Pod::new(roots::probe()).flag("--insecure-options=all");
    has_filter(&pod, false, false);
    Ok(())
}

fn no_new_privileges() -> TestResult {
    for filter in [file(ALLOW_ALL), file(compiled(ALLOW_ALL))] {
        has_filter(&with(filter), true, true);
    }
    Ok(())
}

fn the_last_one_counts() -> TestResult {
    has_filter(
        &with("default").options(["--seccomp", "unconfined"]),
        false,
        false,
    );
    has_filter(
        &with("/nowhere").options(["--seccomp", "default"]),
        true,
        true,
    );
    Ok(())
}

#[track_caller]
fn is_example(pod: &Pod) {
    pod.probe(["mkdir", "/tmp/x", ",", "echo", "on"])
        .code(1)
        .has("EXDEV")
        .has("on\n");
}

fn compiled_filters() -> TestResult {
    is_example(&with(file(compiled(EXAMPLE))));
    is_example(&with(file(compiled(EXAMPLE))).flag("--confine"));
    Ok(())
}

fn profiles() -> TestResult {
    is_example(&with(file(EXAMPLE)));
    is_example(&with(file(EXAMPLE)).flag("--confine"));
    is_example(&with(file(EXAMPLE)).flag("--unshare-all"));
    Ok(())
}

/// Without --confine the program has the caller's capabilities.
fn profiles_depend_on_capabilities() -> TestResult {
    let profile = file(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],
        "action":"SCMP_ACT_ERRNO","errnoRet":18,"includes":{"caps":["CAP_SYS_ADMIN"]}}]}"#,
    );
    is_example(&with(&profile));
    with(&profile)
        .flag("--confine")
        .probe(["mkdir", "/tmp/y"])
        .code(0);
    is_example(&with(&profile).options(["--confine", "--cap-add", "sys_admin"]));
    with(&profile)
        .options(["--cap-drop", "sys_admin"])
        .probe(["mkdir", "/tmp/z"])
        .code(0);
    Ok(())
}

/// What can be read once only is no profile: it is looked at, then compiled.
fn pipes_as_profiles() -> TestResult {
    let output = Pod::fly(roots::probe())
        .options(["--seccomp", "/dev/stdin"])
        .probe_command(["echo"])
        .input(ALLOW_ALL)
        .output();
    output.refused(&["fly: read the system call filter /dev/stdin: "]);
    Ok(())
}

/// A copy of fly that has nothing beside it.
fn lonely() -> PathBuf {
    let folder = roots::directory("alone").join("bin");
    fs::create_dir(&folder).expect("a directory");
    fs::copy(program("fly"), folder.join("fly")).expect("a copy");
    folder.join("fly")
}

fn without_the_compiler() -> TestResult {
    let (fly, root) = (lonely(), roots::probe());
    let run = |filter: &Path| {
        let run = Run::new(&fly).arg("--seccomp").arg(filter).arg(&root);
        run.args(["/bin/probe", "echo", "on"]).output()
    };
    let missing = &["fly: start fly-seccomp: No such file or directory (install it"];
    run(&file(ALLOW_ALL)).refused(missing);
    run(&file(compiled(ALLOW_ALL))).code(0).printed("on\n");
    run(Path::new("default")).code(0).printed("on\n");
    Run::new(&fly)
        .args(["seccomp", "--help"])
        .output()
        .refused(missing);
    Ok(())
}

fn compiler_in_libexec() -> TestResult {
    let fly = lonely();
    let prefix = fly.parent().and_then(Path::parent).expect("a folder");
    let libexec = prefix.join("libexec/kickstage");
    fs::create_dir_all(&libexec).expect("a directory");
    symlink(program("fly-seccomp"), libexec.join("fly-seccomp")).expect("a link");
    let output = Run::new(&fly).args(["seccomp", "--version"]).output();
    output.code(0).has("fly-seccomp ");
    let run = Run::new(&fly).arg("--seccomp").arg(file(ALLOW_ALL));
    let output = run.arg(roots::probe()).args(["/bin/probe", "echo", "on"]);
    output.output().code(0).printed("on\n");
    Ok(())
}

fn seccomp_is_a_command() -> TestResult {
    let fly = |words: &[&str]| Run::ours("fly").arg("seccomp").args(words).output();
    fly(&["--help"]).code(0).has("Usage: fly-seccomp compile");
    fly(&["explain", "default", "read"])
        .code(0)
        .printed("read (0): allowed\n");
    fly(&[]).refused(&["no command is named"]);
    // A root of this name needs a slash.
    let root = roots::probe();
    fs::rename(&root, root.with_file_name("seccomp")).expect("a name");
    let run = Run::ours("fly").directory(root.parent().expect("a folder"));
    let output = run.args(["./seccomp", "/bin/probe", "echo", "on"]).output();
    output.code(0).printed("on\n");
    Ok(())
}

/// Root in a user namespace, without a mount namespace, is where the kernel alone
/// would allow some of these.
fn refused_calls() -> TestResult {
    let pod = with("default");
    pod.probe(["umount", "/proc"])
        .code(1)
        .has("umount /proc: EPERM");
    let unconfined = with("unconfined").probe(["umount", "/proc"]);
    assert!(
        !unconfined.stdout.contains("EPERM"),
        "{}",
        unconfined.stdout
    );
    Ok(())
}

/// The verdicts of the real kernel on the default filter, sampled.
fn clone_and_clone3() -> TestResult {
    let compiled = running_filter(&with("default"));
    let clone = |flags| (56, [flags, 0, 0, 0, 0, 0]);
    let calls = [
        (435, [0; 6]),
        clone(17),
        clone(0x1000_0000 | 17),
        clone(0x0002_0000),
        clone(0x0200_0000),
        clone(0x4000_0000),
        clone(0x8000_0000),
        clone(1 << 60 | 17),
        (272, [0x1000_0000, 0, 0, 0, 0, 0]),
        (165, [0; 6]),
        (250, [0; 6]),
        (321, [0; 6]),
        (425, [0; 6]),
    ];
    let verdicts = filter::verdicts(&compiled, &calls);
    const OK: i32 = filter::ALLOWED;
    assert_eq!(verdicts, [38, OK, 1, 1, 1, 1, OK, OK, 1, 1, 1, 1, 1]);
    Ok(())
}

/// The filter of a program that runs.
fn running_filter(pod: &Pod) -> Vec<u8> {
    let running = pod
        .probe_command(["echo", "runs", ",", "sleep", "5000"])
        .start();
    running.wait_for("runs");
    let filter = filter::of_process(running.pid()).expect("a filter");
    running.signal(9);
    let _ = running.finish();
    filter
}

fn other_architectures() -> TestResult {
    let default = running_filter(&with("default"));
    let open = compiled(
        r#"{"defaultAction":"SCMP_ACT_ALLOW",
        "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"]}"#,
    );
    for one in [&default, &open] {
        assert_eq!(filter::ending_of_i386(one), 128 + 31, "SIGSYS");
        let x32 = [0x4000_0000, 0x4000_0001, 0x4000_0027, 0x7fff_ffff];
        let calls = x32.map(|number| (number, [0; 6]));
        assert_eq!(filter::verdicts(one, &calls), [38; 4]);
    }
    Ok(())
}

/// A confined program can confine what it starts further.
fn filters_stack() -> TestResult {
    let root = roots::probe();
    fs::copy(program("fly"), root.join("bin/fly")).expect("a copy");
    let pod = Pod::fly(&root).options(["--seccomp", "default"]);
    let output = pod.run([
        "/bin/fly",
        "--seccomp",
        "default",
        "/",
        "/bin/probe",
        "echo",
    ]);
    // New mounts are refused.
    output.refused(&["Operation not permitted"]);
    Ok(())
}

fn users_and_namespaces() -> TestResult {
    for options in [
        &["--user", "1000:1000"][..],
        &["--unshare-user"],
        &["--unshare-all"],
        &["--unshare-user", "--confine"],
        &["--unshare-pid", "--die-with-parent"],
    ] {
        has_filter(&with("default").options(options), true, true);
        has_filter(&with(file(ALLOW_ALL)).options(options), true, true);
    }
    Ok(())
}

fn exec_must_be_allowed() -> TestResult {
    let profile = file(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"names":["write","exit_group"],"action":"SCMP_ACT_ALLOW"}]}"#,
    );
    let output = with(profile).probe(["echo"]);
    output.refused(&["fly: exec /bin/probe: Operation not permitted"]);
    let killing = r#"{"defaultAction":"SCMP_ACT_KILL_PROCESS"}"#;
    with(file(killing)).probe(["echo"]).killed(31);
    // Not even the end is allowed.
    let profile = file(r#"{"defaultAction":"SCMP_ACT_ERRNO"}"#);
    with(profile).probe(["echo"]).killed(4);
    Ok(())
}

fn explains() -> TestResult {
    for (words, text) in [
        (&["default", "read"][..], "read (0): allowed\n"),
        (&["default", "0"], "read (0): allowed\n"),
        (
            &["default", "0x1b3"],
            "clone3 (435): refused: Function not implemented (error 38)\n",
        ),
        (
            &["default", "mount"],
            "mount (165): refused: Operation not permitted (error 1)\n",
        ),
        (
            &["default", "999"],
            "call (999): refused: Function not implemented (error 38)\n",
        ),
        (&["default", "clone", "17"], "clone (56): allowed\n"),
        (
            &["default", "clone", "0x10000000"],
            "clone (56): refused: Operation not permitted (error 1)\n",
        ),
        (
            &["default", "--", "personality", "0xffffffff"],
            "personality (135): allowed\n",
        ),
    ] {
        seccomp(&[&["explain"], words].concat())
            .code(0)
            .quiet()
            .printed(text);
    }
    let profile = file(EXAMPLE);
    let explain = |path: &Path, call: &str| {
        let run = Run::ours("fly-seccomp").arg("explain").arg(path).arg(call);
        run.output()
    };
    for path in [profile, file(compiled(EXAMPLE))] {
        explain(&path, "mkdir")
            .printed("mkdir (83): refused: Invalid cross-device link (error 18)\n");
        explain(&path, "uname").printed("uname (63): the process is killed\n");
        explain(&path, "read").printed("read (0): allowed\n");
    }
    for (action, text) in [
        ("SCMP_ACT_LOG", "allowed and logged"),
        ("SCMP_ACT_TRACE", "told to a tracer"),
        ("SCMP_ACT_TRAP", "SIGSYS"),
        ("SCMP_ACT_KILL", "the thread is killed"),
        ("SCMP_ACT_KILL_THREAD", "the thread is killed"),
    ] {
        let profile = file(format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"name":"read","action":"{action}"}}]}}"#
        ));
        explain(&profile, "read").printed(&format!("read (0): {text}\n"));
    }
    Ok(())
}

fn explains_what_depends() -> TestResult {
    let refused = "refused: Operation not permitted (error 1)";
    seccomp(&["explain", "default", "socket"])
        .code(0)
        .has("socket (41): ")
        .has(refused)
        .has("allowed")
        .has("; by argument 0\n");
    seccomp(&["explain", "default", "socket", "2"]).printed("socket (41): allowed\n");
    seccomp(&["explain", "default", "socket", "40"]).printed(&format!("socket (41): {refused}\n"));
    Ok(())
}

fn compile_command() -> TestResult {
    let profile = file(EXAMPLE);
    let output = roots::fresh("filter");
    fs::write(&output, "x".repeat(100_000)).expect("a file");
    let run = Run::ours("fly-seccomp")
        .arg("compile")
        .arg("--output")
        .arg(&output);
    run.arg(&profile).output().code(0).quiet().printed("");
    assert_eq!(fs::read(&output).expect("the filter"), compiled(EXAMPLE));
    // A profile that is wrong leaves what is there.
    let run = Run::ours("fly-seccomp")
        .arg("compile")
        .arg("--output")
        .arg(&output);
    run.arg(file("{}"))
        .output()
        .refused(&["defaultAction: it is missing"]);
    assert_eq!(fs::read(&output).expect("the filter"), compiled(EXAMPLE));
    let run = Run::ours("fly-seccomp").arg("compile").arg(&profile);
    let nowhere = run.args(["--output", "/nowhere/x"]).output();
    nowhere.refused(&["fly-seccomp: write /nowhere/x: No such file or directory"]);
    Run::ours("fly-seccomp")
        .args(["compile", "/proc/self/fd/0"])
        .input(EXAMPLE)
        .output()
        .code(0);
    Ok(())
}

fn command_lines() -> TestResult {
    for (words, parts) in [
        (&[][..], &["no command is named", "--help"][..]),
        (
            &["nothing"],
            &["read command nothing: there is no such command"],
        ),
        (&["compile"], &["no profile is named"]),
        (
            &["compile", "--output"],
            &["read option --output: its value is missing"],
        ),
        (
            &["compile", "--nothing"],
            &["read option --nothing: there is no such option"],
        ),
        (&["compile", "--cap"], &["its value is missing"]),
        (
            &["compile", "--cap", "sys_nothing", "x"],
            &["capability sys_nothing: there is no such"],
        ),
        (
            &["compile", "a", "b"],
            &["read argument b: there are too many"],
        ),
        (&["explain", "default"], &["no system call is named"]),
        (
            &["explain", "default", "nothing"],
            &["read system call nothing: there is no such call"],
        ),
        (
            &["explain", "default", "read", "x"],
            &["read argument x: it is no number"],
        ),
        (&["explain", "default", "read", "0x"], &["it is no number"]),
        (
            &["explain", "default", "read", "0x11112222333344445"],
            &["it is no number"],
        ),
        (
            &[
                "explain", "default", "read", "1", "2", "3", "4", "5", "6", "7",
            ],
            &["too many"],
        ),
        (
            &["compile", "/nowhere"],
            &["read /nowhere: No such file or directory"],
        ),
        (&["compile", "/tmp"], &["read /tmp: Is a directory"]),
    ] {
        seccomp(words).refused(parts);
    }
    seccomp(&["--version"]).code(0).has("fly-seccomp 0.");
    let help = seccomp(&["--help"]);
    help.code(0).has("compile").has("explain");
    assert!(help.stdout.lines().all(|line| line.len() <= 80));
    Ok(())
}

/// The filter that a program has is the one of the file, bit by bit.
fn as_the_plan_has_it() -> TestResult {
    let filter = compiled(EXAMPLE);
    assert_eq!(running_filter(&with(file(&filter))), filter);
    assert_eq!(running_filter(&with(file(EXAMPLE))), filter);
    let output = Run::ours("stage0")
        .args(["plan", "--rootfs"])
        .arg(roots::probe())
        .arg("/bin/probe")
        .output();
    let count = running_filter(&with("default")).len() / 8;
    output
        .code(0)
        .has(&format!("\nseccomp       {count} instructions\nexec "));
    Ok(())
}

/// Who may ask for keys at all possesses none of the caller's.
fn keys_of_the_caller() -> TestResult {
    const NAME: &str = "kickstage-test";
    let root = roots::probe();
    let empty = roots::directory("filters").join("none.json");
    fs::write(&empty, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).expect("a file");
    let empty = format!("--seccomp={}", empty.display());
    for (options, seen) in [
        (&["--insecure-options=all"][..], true),
        (&["--insecure-options=seccomp,paths"], false),
        (&["--insecure-options=paths", "--seccomp=unconfined"], false),
        (&["--insecure-options=paths", &empty], false),
    ] {
        let pod = Pod::new(&root).options(options);
        let output = pod
            .probe_command(["read", "/proc/keys"])
            .hook(|| sys::session_key(c"kickstage-test"))
            .output();
        output.code(0);
        assert_eq!(
            output.stdout.contains(NAME),
            seen,
            "{options:?}: {}",
            output.stdout
        );
    }
    Ok(())
}
