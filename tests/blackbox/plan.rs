//! The plan that is printed is what is done: each line of `stage0 plan` against
//! the system calls that strace(1) sees of the same start, in their order, with
//! nothing between them.

use std::{collections::BTreeMap, fs, path::Path};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    requirement::Requirement,
    roots, tests,
};

tests![
    printed_is_done,
    printed_is_done_without_confinement,
    printed_is_done_with_volumes_and_a_user,
    nothing_is_done
];

/// What a line of the plan must be seen as. `*` stands for any number of calls
/// that name what the line names.
fn expected(line: &str, in_app: bool) -> Vec<String> {
    let mut words = line.split_whitespace();
    let verb = words.next().unwrap_or_default();
    let words: Vec<&str> = words.collect();
    let first = words.first().copied().unwrap_or_default();
    let calls: Vec<String> = match (verb, in_app) {
        ("close", _) => vec!["close_range(3".into()],
        ("supervise", _) => std::iter::once("rt_sigprocmask".to_owned())
            .chain((0..7).map(|_| "rt_sigaction".to_owned()))
            .collect(),
        ("seal", _) => [
            "memfd_create",
            &format!("open(\"{first}\""),
            "fstat",
            "sendfile",
            "writev",
            "fcntl",
            "close",
        ]
        .map(str::to_owned)
        .into(),
        ("watch", _) => ["getpid", "pidfd_open"].map(str::to_owned).into(),
        ("clone", _) => vec!["clone3".into()],
        ("die", _) => ["prctl(PR_SET_PDEATHSIG", "ppoll"]
            .map(str::to_owned)
            .into(),
        ("session", false) => vec!["setsid".into()],
        ("session", true) => vec!["setpgid".into()],
        ("private", _) => vec!["mount(NULL, \"/\", NULL, MS_REC|MS_PRIVATE".into()],
        ("umask", _) => vec![format!("umask({first}")],
        ("tree", _) => vec!["open_tree".into()],
        ("root", _) => vec!["move_mount".into()],
        ("mount", _) => {
            let options = words.iter().filter(|word| word.contains('=')).count();
            std::iter::once(format!("fsopen(\"{first}\""))
                .chain((0..=options).map(|_| "fsconfig".to_owned()))
                .chain(["fsmount".to_owned(), "close".to_owned()])
                .collect()
        }
        ("device" | "file", _) => vec![format!("mknodat *\"{first}\"")],
        ("link", _) => vec![format!("symlinkat *\"{first}\"")],
        ("mkdir", _) => vec![format!("mkdirat *\"{first}\"")],
        ("attach", _) => attach(words[2]),
        ("readonly" | "mask", _) => vec![format!("{verb}*")],
        ("bind", _) => vec!["open_tree".into()],
        ("hostname", _) => vec![format!("sethostname(\"{first}\"")],
        ("loopback", _) => ["socket", "ioctl", "close"].map(str::to_owned).into(),
        ("pivot", _) => ["fchdir", "pivot_root", "umount2"]
            .map(str::to_owned)
            .into(),
        ("bounding", _) => vec!["bounding*".into()],
        ("init", _) => ["fcntl(3, F_SETFD", "execveat"].map(str::to_owned).into(),
        ("app" | "stop", _) => vec![],
        ("chdir", _) => ["openat2", "fchdir", "close"].map(str::to_owned).into(),
        ("groups", _) => vec!["setgroups".into()],
        ("group", _) => vec![format!("setresgid({first}")],
        ("user", _) => vec![format!("setresuid({first}")],
        ("capabilities", _) => vec!["capset*".into()],
        ("nnp", _) => vec!["prctl(PR_SET_NO_NEW_PRIVS".into()],
        ("unblock", _) => vec!["rt_sigprocmask".into()],
        ("exec", _) => vec![format!("execve(\"{first}\"")],
        _ => panic!("a line of no known step: {line}"),
    };
    calls
}

/// One of our own names is mounted on as it is; any other target is walked
/// first, and looked at.
fn attach(target: &str) -> Vec<String> {
    if target.starts_with('/') {
        [
            &format!("openat2 *\"{target}\""),
            "fstatfs",
            "fstat",
            "fstat",
            "move_mount",
            "close",
            "close",
        ]
        .map(str::to_owned)
        .into()
    } else {
        vec![format!("move_mount *\"{target}\"")]
    }
}

/// Whether `call`, a line of strace, is what `pattern` says.
fn is(call: &str, pattern: &str) -> bool {
    // strace of Debian 12 does not know open_tree_attr (467).
    let call = call.replace("syscall_0x1d3(", "open_tree_attr(");
    match pattern.split_once(" *") {
        Some((name, part)) => call.starts_with(&format!("{name}(")) && call.contains(part),
        None => call.starts_with(pattern),
    }
}

/// Takes the next call, which must be `pattern`.
fn take<'c>(calls: &mut &'c [String], pattern: &str, line: &str) -> &'c str {
    let call = calls
        .first()
        .unwrap_or_else(|| panic!("no call is left for: {line}"));
    assert!(
        is(call, pattern),
        "the plan says: {line}\nexpected: {pattern}\nfound: {call}"
    );
    *calls = &calls[1..];
    call
}

/// Takes the calls of a step whose number depends on what the kernel has.
fn take_many(calls: &mut &[String], pattern: &str, line: &str) {
    let paths: Vec<&str> = line
        .split_whitespace()
        .skip(1)
        .take_while(|word| *word != "of")
        .collect();
    match pattern {
        "bounding*" => {
            // One call a capability that is dropped, and one that finds the end.
            while take(calls, "prctl(PR_CAPBSET_DROP", line).ends_with("= 0") {}
        }
        "capset*" => {
            // Not all of them are held here: then those that are.
            if take(calls, "capset", line).contains("EPERM") {
                take(calls, "capget", line);
                take(calls, "capset", line);
            }
        }
        "readonly*" => {
            for path in paths {
                if take(calls, "open_tree", line).contains("ENOENT") {
                    continue;
                }
                take(calls, &format!("move_mount *\"{path}\""), line);
                take(calls, "close", line);
            }
        }
        "mask*" => {
            // A cover that was not used serves for the next path.
            let mut cover = false;
            for path in paths {
                if !cover {
                    take(calls, "open_tree", line);
                }
                let moved = take(calls, &format!("move_mount *\"{path}\""), line);
                cover = moved.contains("ENOENT");
                if !cover {
                    take(calls, "close", line);
                }
            }
            if cover {
                take(calls, "close", line);
            }
        }
        _ => panic!("no such pattern: {pattern}"),
    }
}

/// The calls of a start by process, in the order of the processes' first calls.
fn traced(arguments: &[String], log: &Path) -> Vec<Vec<String>> {
    Run::new("strace")
        .args(["-f", "-s", "200", "-o"])
        .arg(log)
        .arg(program("stage0"))
        .arg("run")
        .args(arguments)
        .output()
        .code(0);
    let text = fs::read_to_string(log).expect("a log of strace");
    let mut order = Vec::new();
    let mut processes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let (pid, call) = line.split_once(' ').expect("a pid");
        let call = call.trim_start();
        if call.starts_with("<...") || call.starts_with("+++") || call.starts_with("---") {
            continue;
        }
        if !processes.contains_key(pid) {
            order.push(pid.to_owned());
        }
        processes
            .entry(pid.to_owned())
            .or_default()
            .push(call.to_owned());
    }
    order
        .iter()
        .filter_map(|pid| processes.remove(pid))
        .collect()
}

fn compare(options: &[&str]) -> TestResult {
    Requirement::Strace.require()?;
    let root = roots::probe();
    let log = roots::directory("log").join("strace");
    let mut arguments: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    arguments.extend(["--tty=false", "--hostname", "fixed", "--rootfs"].map(str::to_owned));
    arguments.push(root.display().to_string());
    arguments.extend(["/bin/probe", "exit", "0"].map(str::to_owned));
    let plan = Run::ours("stage0").arg("plan").args(&arguments).output();
    plan.code(0);
    let processes = traced(&arguments, &log);
    assert_eq!(processes.len(), 3, "the launcher, pid 1 and the program");
    // Before its first step the launcher only looks for pid 1's program.
    let begin = processes[0]
        .iter()
        .position(|call| is(call, "close_range"))
        .expect("a first step");
    let before = &processes[0][1..begin];
    assert!(
        before.iter().all(|call| [
            "readlink", "access", "openat", "open(", "fstat", "read(", "close("
        ]
        .iter()
        .any(|name| call.starts_with(name))),
        "{before:#?}"
    );
    let mut own = [&processes[0][begin..], &processes[1][..], &processes[2][..]];
    let mut at = 0;
    for line in plan.stdout.lines() {
        let verb = line.split_whitespace().next().unwrap_or_default();
        if verb == "app" {
            at = 2;
        }
        for pattern in expected(line, at == 2) {
            let calls = &mut own[at];
            if pattern.ends_with('*') {
                take_many(calls, &pattern, line);
                continue;
            }
            take(calls, &pattern, line);
        }
        if verb == "clone" {
            at = 1;
        }
    }
    // What follows the last step in the launcher is waiting, in pid 1 its own
    // program, in the app the app.
    let left: Vec<&String> = own[0].iter().collect();
    assert!(
        left.iter()
            .all(|call| ["close(", "rt_sigtimedwait", "waitid", "exit_group"]
                .iter()
                .any(|name| call.starts_with(name))),
        "{left:#?}"
    );
    Ok(())
}

fn printed_is_done() -> TestResult {
    compare(&[])
}

fn printed_is_done_without_confinement() -> TestResult {
    compare(&["--insecure-options=all", "--net=none"])
}

fn printed_is_done_with_volumes_and_a_user() -> TestResult {
    let source = roots::directory("source");
    let volume = format!("{}:/tmp:ro", source.display());
    compare(&[
        "--volume",
        &volume,
        "--user",
        "7",
        "--group",
        "8",
        "--working-dir",
        "/bin",
    ])
}

/// `plan` does nothing but read.
fn nothing_is_done() -> TestResult {
    Requirement::Strace.require()?;
    let root = roots::bare();
    let log = roots::directory("log").join("strace");
    Run::new("strace")
        .args(["-f", "-o"])
        .arg(&log)
        .arg(program("stage0"))
        .args(["plan", "--ephemeral", "--rootfs"])
        .arg(&root)
        .arg("/nothing")
        .output()
        .code(0);
    let text = fs::read_to_string(&log).expect("a log of strace");
    for word in [
        "clone",
        "mount",
        "unshare",
        "mkdir",
        "memfd",
        "fsopen",
        "open_tree",
    ] {
        let done = text
            .lines()
            .filter(|line| !line.contains("write("))
            .any(|line| line.contains(word));
        assert!(!done, "{word}: {text}");
    }
    Ok(())
}
