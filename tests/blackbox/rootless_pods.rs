//! `stage0 run` of a user that is not root.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run},
    fault,
    ids::{Ids, words},
    pod::Pod,
    registered::wait_until,
    requirement::{Requirement, linux},
    roots, sys,
    terminal::Terminal,
    tests,
};

tests![
    root_inside,
    nobody_else,
    everything_else_works,
    an_ephemeral_root,
    a_terminal,
    a_directory_on_the_host,
    more_ids,
    terminals_of_more_ids,
    ids_that_are_refused,
    what_needs_root,
    switched_off,
    user_namespaces_refused,
    a_proc_that_is_covered,
    no_capability_outside,
];

/// A root that belongs to user 1000.
fn root() -> PathBuf {
    let root = roots::probe();
    give(&root);
    root
}

fn give(path: &Path) {
    chown(path, Some(1000), Some(1000)).expect("root");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            give(&entry.expect("an entry").path());
        }
    }
}

/// Without ids but its own.
fn alone() -> Ids {
    Ids::both("alice:0:1\nbob:100000:65536\n")
}

fn run(ids: &Ids, pod: &Pod, probe: &[&str]) -> Output {
    ids.unprivileged(pod.probe_command(probe)).output()
}

const MAPS: [&str; 8] = [
    "read",
    "/proc/self/uid_map",
    ",",
    "read",
    "/proc/self/gid_map",
    ",",
    "read",
    "/proc/self/setgroups",
];

fn owner(path: &Path) -> (u32, u32) {
    let status = fs::symlink_metadata(path).expect("a file");
    (status.uid(), status.gid())
}

fn root_inside() -> TestResult {
    let (ids, root) = (alone(), root());
    let pod = Pod::new(&root);
    let script = words("report uid euid gid pid , stat / , create /new");
    run(&ids, &pod, &script)
        .code(0)
        .has("uid=0\neuid=0\ngid=0\n")
        .has("pid=2\n")
        .has("uid=0 gid=0");
    assert_eq!(owner(&root.join("new")), (1000, 1000));
    let line = "         0       1000          1\n";
    run(&ids, &pod, &MAPS)
        .code(0)
        .printed(&format!("{line}{line}deny\n"));
    // The same if it is said.
    run(&ids, &pod.flag("--private-users"), &MAPS)
        .code(0)
        .has(line);
    assert!(!ids.run.join("kickstage").exists());
    Ok(())
}

fn nobody_else() -> TestResult {
    let (ids, root) = (alone(), root());
    for (option, object) in [
        ("--user=5", "user 5"),
        ("--user=alice", "user alice"),
        ("--group=5", "group 5"),
        ("--groups=5", "group 5"),
    ] {
        let pod = Pod::new(&root).flag(option);
        let why = &[
            object,
            "nobody is in the pod but root",
            "newuidmap",
            "/etc/subuid",
        ];
        run(&ids, &pod, &["exit", "0"]).refused(why);
    }
    for option in ["--user=0", "--user=root", "--group=0"] {
        let pod = Pod::new(&root).flag(option);
        run(&ids, &pod, &["report", "uid"]).code(0).has("uid=0\n");
    }
    Ok(())
}

fn everything_else_works() -> TestResult {
    let (ids, root, volume) = (alone(), root(), roots::directory("volume"));
    give(&volume);
    let pod = Pod::new(&root)
        .options([
            "--net=none",
            "--hostname=inside",
            "--tmpfs=/tmp",
            "--volume=box,kind=empty",
            "--mount=volume=box,target=/root",
        ])
        .volume(&volume, "/made/here")
        .options(["--volume", &format!("{}:/etc:ro", volume.display())]);
    let script = words(
        "report hostname NoNewPrivs Seccomp , create /etc/x , create /tmp/x , create /root/x , create /made/here/x , write /dev/null x , write /dev/shm/x x , write /proc/sys/kernel/hostname x , list /sys/class/net , list /sys/firmware , readlink /proc/1/exe",
    );
    run(&ids, &pod, &script)
        .code(1)
        .has("hostname=inside\n")
        .has("NoNewPrivs=1\n")
        .has("Seccomp=2\n")
        .has("create /etc/x: EROFS\n")
        .has("create /tmp/x: ok\n")
        .has("create /root/x: ok\n")
        .has("create /made/here/x: ok\n")
        .has("write /proc/sys/kernel/hostname: EROFS\n")
        .has("lo\n")
        .has("readlink /proc/1/exe: EACCES\n");
    assert_eq!(owner(&volume.join("x")), (1000, 1000));
    for options in [
        &["--insecure-options=all"][..],
        &["--pid-namespace"],
        &["--readonly-rootfs"],
        &["--rlimit=nofile=64", "--nice=5"],
        &["--timings"],
    ] {
        let pod = Pod::new(&root).options(options);
        run(&ids, &pod, &["report", "uid"]).code(0).has("uid=0\n");
    }
    // Several programs.
    let pod = Pod::new(&root);
    let words = [
        "report",
        "pid",
        "---",
        "--after=app-0",
        "/bin/probe",
        "report",
        "uid",
    ];
    run(&ids, &pod, &words).code(0).has("uid=0\n");
    Ok(())
}

/// Also of a root that is somebody else's.
fn an_ephemeral_root() -> TestResult {
    let ids = alone();
    let theirs = roots::probe();
    for (root, owner) in [(root(), "uid=0 gid=0"), (theirs, "uid=65534 gid=65534")] {
        let pod = Pod::new(&root).flag("--ephemeral");
        let script = words("stat /bin/probe , create /new");
        let output = run(&ids, &pod, &script);
        if linux() < (5, 11) {
            output.refused(&["writable layer", "Linux 5.11"]);
            continue;
        }
        output.code(0).has(owner).has("create /new: ok");
        assert!(!root.join("new").exists());
    }
    Ok(())
}

fn a_terminal() -> TestResult {
    with_terminal(&alone(), "uid=0 gid=65534");
    Ok(())
}

fn with_terminal(ids: &Ids, owner: &str) {
    let terminal = Terminal::new(33, 101);
    let script = words(
        "report tty , write /dev/console written , open /dev/tty rw , open /dev/pts/0 rw , winsize , stat /dev/console , echo end",
    );
    let command = ids.with(Pod::new(root()).flag("--tty").probe_command(script));
    // The terminal is root's, so that it is passed on before.
    let pod = terminal.start(command.hook(|| sys::become_user(1000, 1000)));
    terminal.wait_for("end\r");
    pod.finish().code(0);
    let shown = terminal.shown();
    for line in [
        "tty.0=yes",
        "written",
        "open /dev/tty: ok",
        "open /dev/pts/0: ok",
        "winsize=33x101",
    ] {
        assert!(shown.contains(line), "{line} in {shown:?}");
    }
    assert!(
        shown.contains(owner) || shown.contains("uid=0 gid=0"),
        "{shown:?}"
    );
}

fn a_directory_on_the_host() -> TestResult {
    let ids = alone();
    let folder = roots::directory("pods");
    give(&folder);
    let directory = folder.join("pod");
    let pod = Pod::new(root())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .options(["--name=main", "--exit-policy=never"]);
    let running = ids
        .unprivileged(pod.probe_command(["catch", "TERM"]))
        .start();
    running.wait_for("waiting");
    wait_until("the pod is ready", || directory.join("ready").exists());
    wait_until("its pid is told", || directory.join("pid").exists());
    for name in ["ready", "control", "status", "pid"] {
        assert_eq!(owner(&directory.join(name)), (1000, 1000), "{name}");
    }
    let app = |command: &str, words: &[&str]| {
        let run = Run::ours("stage0").args(["app", command]).arg(&directory);
        ids.unprivileged(run.args(words)).output()
    };
    app("list", &[]).code(0).has("main");
    let probe = ["--name=more", "--", "/bin/probe", "report", "uid"];
    app("add", &probe).code(0);
    running.wait_for("uid=0\n");
    app("add", &["--name=other", "--user=7", "--", "/bin/probe"])
        .refused(&["nobody is in the pod"]);
    running.signal(libc::SIGTERM);
    running.finish().code(0);
    Ok(())
}

/// By newuidmap and newgidmap.
fn more_ids() -> TestResult {
    Requirement::Newuidmap.require()?;
    let (root, volume) = (root(), roots::directory("volume"));
    give(&volume);
    let pod = Pod::new(&root).volume(&volume, "/volume");
    for lines in [
        "alice:200000:65536\n",
        "1000:200000:65536\n",
        "bob:5:5\nalice:200000:65536\nalice:300000:5\n",
    ] {
        let ids = Ids::both(lines);
        let expected = "         0       1000          1\n         1     200000      65536\n";
        run(&ids, &pod, &MAPS)
            .code(0)
            .printed(&format!("{expected}{expected}allow\n"));
    }
    let ids = Ids::new("alice:200000:65536\n", "alice:300000:100\n");
    let script = words(
        "report uid gid groups , create /volume/own , create /volume/given , chown /volume/given 5 6",
    );
    run(&ids, &pod, &script)
        .code(0)
        .has("uid=0\n")
        .has("groups=\n");
    assert_eq!(owner(&volume.join("own")), (1000, 1000));
    assert_eq!(owner(&volume.join("given")), (200_004, 300_005));
    let other = Pod::new(&root).options(["--user=alice", "--groups=7,9"]);
    let keys = ["report", "uid", "gid", "groups"];
    let output = run(&Ids::both("alice:200000:65536\n"), &other, &keys);
    output
        .report()
        .is("uid", "1000")
        .is("gid", "1000")
        .is("groups", "7 9");
    // One that is not among the ids.
    run(&ids, &other, &keys).refused(&["Invalid argument", "not mapped"]);
    // No helper is left, and none becomes the pod's.
    let script = words("zombies , processes");
    run(&Ids::both("alice:200000:65536\n"), &pod, &script)
        .code(0)
        .has("zombies=0");
    Ok(())
}

fn terminals_of_more_ids() -> TestResult {
    Requirement::Newuidmap.require()?;
    with_terminal(&Ids::both("alice:200000:65536\n"), "uid=0 gid=5");
    Ok(())
}

/// What the files say is what newuidmap(1) goes by; it says so itself to nobody.
fn ids_that_are_refused() -> TestResult {
    Requirement::Newuidmap.require()?;
    let pod = Pod::new(root());
    let ids = Ids::both("alice:200000:65536\n");
    let command = ids.with(pod.probe_command(["exit", "0"]));
    command
        .hook(|| {
            // Which says something.
            sys::bind("/bin/ls", "/usr/bin/newgidmap")?;
            sys::become_user(1000, 1000)
        })
        .output()
        .refused(&["map ids", "Operation not permitted", "newuidmap"]);
    // Ids that can't be are nobody's.
    for lines in [
        "alice:0:65536\n",
        "alice:1:0\n",
        "alice:4294967295:5\n",
        "al:ice:5:5\n",
        "alice\n",
        ":1:1\n",
    ] {
        run(&Ids::both(lines), &pod, &MAPS).code(0).has("deny\n");
    }
    Ok(())
}

fn what_needs_root() -> TestResult {
    let (ids, root) = (alone(), root());
    let with = |options: &[&str]| run(&ids, &Pod::new(&root).options(options), &["exit", "0"]);
    if Requirement::Controllers.present() {
        with(&["--pids=5"]).refused(&["make cgroup", "Permission denied", "needs root"]);
    }
    with(&["--private-users=100000:65536"]).refused(&["--private-users", "only root"]);
    with(&["--nice=-5"]).refused(&["nice", "needs root"]);
    for network in ["--net=pool", "--net=/proc/self/ns/net"] {
        with(&[network]).refused(&["--net", "user namespace", "needs root"]);
    }
    with(&["--pod-dir=/no/such"]).refused(&["/no/such"]);
    // Tests have no variables.
    with(&["--register"]).refused(&["XDG_RUNTIME_DIR", "is missing", "--state-dir"]);
    Ok(())
}

fn switched_off() -> TestResult {
    let (ids, root) = (alone(), root());
    for flag in ["--private-users=false", "--stage1=fly"] {
        let pod = Pod::new(&root).flag(flag);
        run(&ids, &pod, &["exit", "0"]).refused(&["Operation not permitted", "needs root"]);
    }
    Ok(())
}

/// As by the filter of a container engine.
fn user_namespaces_refused() -> TestResult {
    let (ids, root) = (alone(), root());
    let calls = [libc::SYS_clone3, libc::SYS_clone];
    // The filter is loaded by root.
    ids.with(Pod::new(&root).probe_command(["exit", "0"]))
        .hook(fault::failing(&calls, libc::EPERM))
        .hook(|| sys::become_user(1000, 1000))
        .output()
        .refused(&["make new namespaces", "--privileged", "seccomp=unconfined"]);
    Ok(())
}

/// As in a container: with a part of /proc covered, no new one may be mounted.
fn a_proc_that_is_covered() -> TestResult {
    let (ids, root) = (alone(), root());
    let empty = roots::fresh("empty");
    fs::write(&empty, "").expect("a file");
    let empty = empty.to_str().expect("UTF-8").to_owned();
    let command = ids.with(Pod::new(&root).probe_command(["exit", "0"]));
    command
        .hook(move || {
            sys::bind(&empty, "/proc/kallsyms")?;
            sys::become_user(1000, 1000)
        })
        .output()
        .refused(&["mount proc", "unmask=ALL", "systempaths=unconfined"]);
    Ok(())
}

fn no_capability_outside() -> TestResult {
    let (ids, root) = (alone(), root());
    let secret = root.join("tmp/secret");
    fs::write(&secret, "secret").expect("a file");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("a mode");
    let pod = Pod::new(&root).flag("--insecure-options=all");
    let script = words(
        "read /tmp/secret , mknod /tmp/null c 1 3 , chown /bin/probe 5 5 , write /proc/sys/kernel/core_pattern x",
    );
    run(&ids, &pod, &script)
        .code(1)
        .has("read /tmp/secret: EACCES\n")
        .has("mknod /tmp/null: EPERM\n")
        .has("chown /bin/probe: EINVAL\n")
        .has("write /proc/sys/kernel/core_pattern: EACCES\n");
    Ok(())
}
