//! The plan that is printed is what is done: each of its lines against the
//! system calls of that start, as strace(1) shows them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    requirement::Requirement,
    roots, tests,
};

use crate::limits::Parent;

tests![
    of_a_default_pod,
    of_an_insecure_pod,
    of_a_pod_with_everything,
    of_an_ephemeral_pod,
    of_a_pod_with_limits,
    of_a_pod_with_names,
    of_the_fly_flavour,
    of_fly,
    of_fly_confined,
    of_fly_in_namespaces,
    of_fly_with_files,
    of_fly_with_a_layer,
];

/// A call that a line of the plan stands for: its name, and what its
/// arguments must hold.
#[derive(Debug)]
struct Call {
    name: &'static str,
    parts: Vec<String>,
}

fn call(name: &'static str, parts: &[&str]) -> Call {
    Call {
        name,
        parts: parts.iter().map(|part| (*part).to_owned()).collect(),
    }
}

/// The calls that do something to the outside; others only look, or handle
/// descriptors. open_tree_attr is newer than strace, which shows a number.
const TELLING: &[&str] = &[
    "capset",
    "chroot",
    "clone",
    "clone3",
    "close_range",
    "dup3",
    "execve",
    "execveat",
    "fsopen",
    "memfd_create",
    "mkdirat",
    "mknodat",
    "mount",
    "move_mount",
    "openat2",
    "pipe2",
    "pivot_root",
    "seccomp",
    "setgroups",
    "sethostname",
    "setns",
    "setpgid",
    "setresgid",
    "setresuid",
    "setsid",
    "symlinkat",
    "umask",
    "umount2",
    "unshare",
];

/// Calls of which only some tell.
const TELLING_WITH: &[(&str, &str)] = &[
    ("ioctl", "SIOCSIFFLAGS"),
    ("ioctl", "TIOCGPTPEER"),
    ("ioctl", "TIOCSCTTY"),
    ("open", "O_WRONLY"),
    ("openat", "O_EXCL"),
    ("prctl", "PR_CAPBSET_DROP"),
    ("prctl", "PR_SET_NO_NEW_PRIVS"),
    ("prctl", "PR_SET_PDEATHSIG"),
    ("rt_sigprocmask", "SIG_SETMASK, []"),
];

/// The telling calls of a start, in the order of the plan: the launcher's, then
/// pid 1's, then the app's. A series of the same kind counts once.
fn done(folder: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a directory")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    // strace names them by pid; each process is started by the one before.
    files.sort_by_key(|path| {
        let number = path
            .extension()
            .and_then(|number| number.to_str()?.parse::<u32>().ok());
        number.expect("a pid")
    });
    let mut calls: Vec<String> = Vec::new();
    for (index, path) in files.iter().enumerate() {
        let text = fs::read_to_string(path).expect("a file");
        let mut own = false;
        for line in text.lines() {
            let name = line.split('(').next().unwrap_or_default();
            let tells = TELLING.contains(&name)
                || TELLING_WITH
                    .iter()
                    .any(|(wanted, part)| *wanted == name && line.contains(part));
            // What pid 1 does between its exec and the app is its own affair.
            if !tells || (own && !name.starts_with("clone")) {
                continue;
            }
            let again = calls
                .last()
                .is_some_and(|last| last.starts_with(&format!("{name}(")));
            let series = ["umount2", "capset"].contains(&name) || line.contains("PR_CAPBSET_DROP");
            if !(again && series) {
                calls.push(line.to_owned());
            }
            own |= index == 1 && name == "execveat";
        }
    }
    // Before the first step the command line is read and users are looked up;
    // after the last one the program runs.
    let first = calls
        .iter()
        .position(|line| line.starts_with("close_range"))
        .expect("a first step");
    let last = calls
        .iter()
        .rposition(|line| line.starts_with("execve("))
        .expect("a last step");
    calls[first..=last].to_vec()
}

/// A line of the plan: its first word, the rest, and the rest's words.
struct Line<'a> {
    verb: &'a str,
    rest: &'a str,
    words: Vec<&'a str>,
}

impl Line<'_> {
    fn word(&self, index: usize) -> &str {
        self.words.get(index).copied().unwrap_or_default()
    }

    /// A word as strace shows it in a string.
    fn quoted(&self, index: usize) -> String {
        quote(self.word(index))
    }

    /// The names before `of`.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.words.iter().copied().take_while(|word| *word != "of")
    }
}

/// The last component of a path, which is made one by one.
fn last(path: &str) -> String {
    quote(path.rsplit('/').next().unwrap_or_default())
}

fn quote(text: &str) -> String {
    format!("\"{text}\"")
}

/// What a line of the plan stands for.
fn expected(text: &str) -> Vec<Call> {
    let (verb, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let line = Line {
        verb,
        rest: rest.trim(),
        words: rest.split_whitespace().collect(),
    };
    let found = of_processes(&line)
        .or_else(|| of_files(&line))
        .or_else(|| of_mounts(&line))
        .or_else(|| of_an_app(&line));
    found.unwrap_or_else(|| panic!("teach this test the step {verb}: {text}"))
}

fn of_processes(line: &Line<'_>) -> Option<Vec<Call>> {
    Some(match line.verb {
        "close" => vec![call("close_range", &["(3, "])],
        "seal" => vec![call("memfd_create", &[])],
        "terminal" => vec![
            call("fsopen", &["\"devpts\""]),
            call("ioctl", &["TIOCGPTPEER"]),
        ],
        "clone" | "unshare" => {
            let flag = |name: &&str| match *name {
                "mount" => "CLONE_NEWNS".to_owned(),
                name => format!("CLONE_NEW{}", name.to_uppercase()),
            };
            let parts = line.words.iter().map(flag).collect();
            let name = match line.verb {
                "clone" => "clone3",
                _ => "unshare",
            };
            vec![Call { name, parts }]
        }
        "die" => vec![call("prctl", &["PR_SET_PDEATHSIG, SIGKILL"])],
        "hostname" => vec![call("sethostname", &[&line.quoted(0)])],
        "loopback" => vec![call("ioctl", &["SIOCSIFFLAGS", "\"lo\""])],
        "stdio" => (0..3)
            .map(|number| call("dup3", &[&format!(", {number}, 0)")]))
            .collect(),
        "init" => vec![call("execveat", &["AT_EMPTY_PATH"])],
        // Its name has a pid and a random number.
        "newcgroup" => vec![call("mkdirat", &[stem(line.word(0)), ", 0755)"])],
        "limit" => vec![call("open", &[stem(line.word(0)), &ending(line.word(0))])],
        "join" => vec![call("open", &[stem(line.word(0)), "/tasks\""])],
        "network" => vec![call("setns", &["CLONE_NEWNET"])],
        "cgroupns" => vec![call("unshare", &["CLONE_NEWCGROUP"])],
        // Preparations without a telling call.
        "supervise" | "open" | "tree" | "bind" | "status" | "note" | "maps" | "idmap" => Vec::new(),
        _ => return None,
    })
}

/// The path of a pod's cgroup up to what only its start knows.
fn stem(path: &str) -> &str {
    path.split_once("/pod-").expect("a cgroup of a pod").0
}

/// The name at the end of a path, as strace shows the latter.
fn ending(path: &str) -> String {
    format!("/{}\"", path.rsplit('/').next().unwrap_or_default())
}

/// A call whose mode is as it is written, whatever the caller's mask.
fn unmasked(made: Call) -> Vec<Call> {
    vec![call("umask", &["(000)"]), made, call("umask", &[])]
}

fn of_files(line: &Line<'_>) -> Option<Vec<Call>> {
    let name = line.quoted(0);
    Some(match line.verb {
        "device" => {
            let (major, minor) = line.word(1).split_once(':').unwrap_or_default();
            let device = format!("makedev({:#x}, {})", number(major), hexadecimal(minor));
            vec![call("mknodat", &[&name, "S_IFCHR|0666", &device])]
        }
        "file" => vec![call("mknodat", &[&name, line.word(1)])],
        "mkdir" => vec![call("mkdirat", &[&name, line.word(1)])],
        "link" => vec![call("symlinkat", &[&name, &line.quoted(2)])],
        "dir" => unmasked(call("mkdirat", &[&last(line.word(0)), line.word(1)])),
        "copy" => vec![call(
            "openat",
            &[&last(line.word(0)), "O_EXCL", line.word(1)],
        )],
        "symlink" => {
            let target = line.quoted(2);
            unmasked(call("symlinkat", &[&target, &last(line.word(0))]))
        }
        "write" => vec![call("openat", &[&name, "O_EXCL", line.word(1)])],
        // A root without them stays without.
        "hostfiles" => (line.words.iter())
            .filter(|word| word.starts_with('/'))
            .map(|path| call("openat2", &[&quote(path), "RESOLVE_IN_ROOT"]))
            .collect(),
        "remount" => vec![call("openat2", &[&name, "RESOLVE_IN_ROOT"])],
        "console" => vec![call("move_mount", &["\"console\""])],
        _ => return None,
    })
}

fn of_mounts(line: &Line<'_>) -> Option<Vec<Call>> {
    let cover = |name: &str| call("move_mount", &[&quote(name)]);
    Some(match line.verb {
        "private" => vec![call("mount", &["\"/\"", "MS_REC|MS_PRIVATE"])],
        "root" => vec![cover("/")],
        "mount" => vec![call("fsopen", &[&line.quoted(0)])],
        // The layer's tmpfs has to be mounted for the overlay to take it.
        "overlay" | "layer" => {
            let kept = line.verb == "layer";
            let mut calls = Vec::new();
            if kept {
                calls.push(call("mkdirat", &[&line.quoted(2)]));
            }
            calls.push(cover("/"));
            calls.push(call("mkdirat", &[&quote("lower")]));
            calls.push(cover("lower"));
            calls.push(call("mkdirat", &[&quote("layer")]));
            if kept {
                calls.push(cover("layer"));
            }
            for name in ["layer/upper", "layer/work"] {
                calls.push(call("mkdirat", &[&quote(name)]));
            }
            calls.push(call("fsopen", &["\"overlay\""]));
            calls
        }
        "attach" if line.word(2).starts_with('/') => vec![
            call("openat2", &[&line.quoted(2), "RESOLVE_IN_ROOT"]),
            call("move_mount", &[]),
        ],
        "attach" => vec![cover(line.word(2))],
        // Paths that this kernel lacks are seen when the copy is made.
        "readonly" => line
            .names()
            .filter(|name| Path::new("/proc").join(name).exists())
            .map(cover)
            .collect(),
        "mask" => line.names().map(cover).collect(),
        "pivot" => vec![call("pivot_root", &[]), call("umount2", &["MNT_DETACH"])],
        "chroot" => vec![call("chroot", &[])],
        _ => return None,
    })
}

fn of_an_app(line: &Line<'_>) -> Option<Vec<Call>> {
    Some(match line.verb {
        // Its child, where there is a pid 1: the caller adds it.
        "app" | "stop" => Vec::new(),
        "session" => match line.rest {
            "own" => vec![call("setsid", &[])],
            "own, with a terminal" => vec![call("setsid", &[]), call("ioctl", &["TIOCSCTTY"])],
            _ => vec![call("setpgid", &["(0, 0)"])],
        },
        "umask" => vec![call("umask", &[&format!("({})", octal(line.word(0)))])],
        "bounding" => vec![call("prctl", &["PR_CAPBSET_DROP"])],
        "groups" if line.rest == "none" => vec![call("setgroups", &["(0, "])],
        "groups" => vec![call("setgroups", &line.words)],
        "group" => vec![call("setresgid", &[line.word(0)])],
        "user" => vec![call("setresuid", &[line.word(0)])],
        "capabilities" => vec![call("capset", &["inheritable=0"])],
        "seccomp" => vec![call(
            "seccomp",
            &[
                "SECCOMP_SET_MODE_FILTER, 0",
                &format!("len={}", line.word(0)),
            ],
        )],
        "nnp" => vec![call("prctl", &["PR_SET_NO_NEW_PRIVS, 1"])],
        "unblock" => vec![call("rt_sigprocmask", &["SIG_SETMASK, []"])],
        "chdir" => vec![call("openat2", &[&line.quoted(0)])],
        // Of a static program: it has no interpreter to be looked at.
        "exec" if line.word(1) == "guarded" => vec![
            call("openat2", &[&line.quoted(0), "RESOLVE_NO_MAGICLINKS"]),
            call("execve", &[&line.quoted(0)]),
        ],
        "exec" => vec![call("execve", &[&line.quoted(0)])],
        _ => return None,
    })
}

/// An octal number as strace writes it: 022, but 000.
fn octal(text: &str) -> String {
    match text.trim_start_matches('0') {
        "" => "000".to_owned(),
        digits => format!("0{digits}"),
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

/// As strace writes it: 0x3, but 0.
fn hexadecimal(text: &str) -> String {
    match number(text) {
        0 => "0".to_owned(),
        number => format!("{number:#x}"),
    }
}

/// Compares the plan that `plan` prints with the start that `start` does.
fn compare(plan: Run, program_name: &str, start: &[String]) {
    let output = plan.output();
    output.code(0).quiet();
    let folder = roots::directory("strace");
    let strace = Run::new("strace")
        .args(["-ff", "-qq", "-s", "4096", "-o"])
        .arg(folder.join("calls"))
        .arg(program(program_name))
        .args(start)
        .output();
    strace.code(0);
    let done = done(&folder);
    let mut expected_calls = Vec::new();
    let mut covered = false;
    let forks = output.stdout.lines().any(|line| line.starts_with("init"));
    for line in output.stdout.lines() {
        let mut calls = expected(line);
        if forks && line.starts_with("app") {
            calls.push(call("clone", &["CLONE_VFORK"]));
        }
        // With the root mounted over /, a path of the host is walked so that it
        // can't lead into the root.
        if covered && line.starts_with("tree") {
            let path = line.split_whitespace().nth(1).unwrap_or_default();
            calls.push(call("openat2", &[&quote(path), "RESOLVE_NO_SYMLINKS"]));
        }
        covered |= line.starts_with("root");
        expected_calls.extend(calls.into_iter().map(|call| (line.to_owned(), call)));
    }
    for index in 0..expected_calls.len().max(done.len()) {
        let wanted = expected_calls.get(index);
        let seen = done.get(index).map_or("nothing", String::as_str);
        let same = wanted.is_some_and(|(_, call)| {
            seen.starts_with(&format!("{}(", call.name))
                && call.parts.iter().all(|part| seen.contains(part.as_str()))
        });
        assert!(
            same,
            "call {index}: the plan says {wanted:?}\nstrace says {seen}\n{}",
            done.join("\n")
        );
    }
}

/// The same for a pod with these options.
fn compare_pod(options: &[&str]) -> TestResult {
    compare_pod_in(&roots::probe(), options)
}

fn compare_pod_in(root: &Path, options: &[&str]) -> TestResult {
    Requirement::Strace.require()?;
    fs::create_dir(root.join("data")).expect("a directory");
    let words = |command: &str| -> Vec<String> {
        let head = [command].into_iter().chain(options.iter().copied());
        let tail = [
            "--rootfs",
            root.to_str().expect("UTF-8"),
            "--",
            "/bin/probe",
            "exit",
            "0",
        ];
        head.chain(tail).map(str::to_owned).collect()
    };
    compare(
        Run::ours("stage0").args(words("plan")),
        "stage0",
        &words("run"),
    );
    Ok(())
}

fn of_a_default_pod() -> TestResult {
    compare_pod(&["--hostname", "named"])
}

fn of_an_insecure_pod() -> TestResult {
    compare_pod(&["--hostname", "named", "--insecure-options=all"])
}

fn of_a_pod_with_everything() -> TestResult {
    compare_pod(&[
        "--hostname",
        "named",
        "--net=none",
        "--tty=true",
        "--readonly-rootfs",
        "--volume",
        "/etc:/data:ro",
        "--tmpfs",
        "/tmp",
        "--user",
        "alice",
        "--working-dir",
        "/tmp",
        "--set-env",
        "A=1",
    ])
}

fn of_an_ephemeral_pod() -> TestResult {
    compare_pod(&[
        "--hostname",
        "named",
        "--ephemeral",
        "--volume",
        "/etc:/data",
    ])
}

/// In a parent that is there: what is not is found by trying.
fn of_a_pod_with_limits() -> TestResult {
    Requirement::CgroupV1.require()?;
    let parent = Parent::new();
    parent.make();
    compare_pod(&[
        "--hostname",
        "named",
        "--cgroup-parent",
        parent.path(),
        "--memory=64M",
        "--cpus=1.5",
        "--cpu-weight=70",
        "--pids=50",
    ])
}

fn of_a_pod_with_names() -> TestResult {
    let root = roots::probe();
    for file in ["hosts", "resolv.conf"] {
        fs::write(root.join("etc").join(file), "").expect("a file");
    }
    compare_pod_in(
        &root,
        &[
            "--hostname",
            "named",
            "--net=/proc/self/ns/net",
            "--ipc=parent",
            "--dns=1.1.1.1",
            "--hosts-entry=1.1.1.1=a",
        ],
    )
}

fn of_the_fly_flavour() -> TestResult {
    compare_pod(&[
        "--stage1=fly",
        "--user",
        "bob",
        "--volume",
        "/etc:/data:ro",
        "--working-dir",
        "/data",
    ])
}

/// The same for `fly`, whose --plan takes the place of the start.
fn compare_fly(options: &[&str]) -> TestResult {
    Requirement::Strace.require()?;
    let root = roots::probe();
    fs::create_dir(root.join("data")).expect("a directory");
    let root = root.to_str().expect("UTF-8");
    let mut words: Vec<String> = options.iter().map(|word| (*word).to_owned()).collect();
    words.extend([root, "--", "/bin/probe", "exit", "0"].map(str::to_owned));
    let plan = Run::ours("fly").arg("--plan").args(&words);
    compare(plan, "fly", &words);
    Ok(())
}

fn of_fly() -> TestResult {
    compare_fly(&[
        "--user",
        "bob",
        "--ro-bind",
        "/etc",
        "/data",
        "--tmpfs",
        "/tmp",
        "--chdir",
        "/data",
    ])
}

fn of_fly_confined() -> TestResult {
    compare_fly(&["--confine", "--ro", "--setenv", "A", "1"])
}

fn of_fly_in_namespaces() -> TestResult {
    compare_fly(&[
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--hostname",
        "named",
        "--die-with-parent",
    ])
}

fn of_fly_with_files() -> TestResult {
    compare_fly(&[
        "--minimal",
        "--tmpfs",
        "/tmp",
        "--dir",
        "/tmp/made",
        "--symlink",
        "made",
        "/tmp/link",
        "--proc",
        "/proc",
    ])
}

fn of_fly_with_a_layer() -> TestResult {
    compare_fly(&["--ephemeral", "--bind", "/etc", "/data"])
}
