//! `--private-users` of root: pods with ids of their own.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    time::Duration,
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, Running},
    ids::{Ids, words},
    networks::Pool,
    pod::Pod,
    registered::wait_until,
    requirement::Requirement,
    roots, sys,
    terminal::Terminal,
    tests,
};

use crate::limits::Parent;

tests![
    ids_inside_and_outside,
    files_have_the_ids_of_the_host,
    everything_else_works,
    other_options_work,
    an_ephemeral_root,
    a_terminal,
    a_directory_on_the_host,
    limits_of_the_pod,
    files_of_the_real_root,
    capabilities_of_the_namespace_only,
    pid_one_is_sealed,
    file_systems_that_cannot,
    too_many_mounts,
    several_roots,
    networks_of_others,
    keys_of_the_caller,
    without_it,
    other_flavours,
    in_a_user_namespace,
    nothing_is_left,
];

/// The ids of a file on disk.
fn owner(path: &Path) -> (u32, u32) {
    let status = fs::symlink_metadata(path).expect("a file");
    (status.uid(), status.gid())
}

pub fn private(root: &Path) -> Pod {
    Pod::new(root).flag("--private-users")
}

pub const MAP: [&str; 5] = [
    "read",
    "/proc/self/uid_map",
    ",",
    "read",
    "/proc/self/gid_map",
];

/// The map of `count` ids from `start` on, as the kernel prints it.
pub fn map(start: u32, count: u32) -> String {
    format!("{:>10} {start:>10} {count:>10}\n", 0)
}

pub fn twice(start: u32, count: u32) -> String {
    map(start, count).repeat(2)
}

/// With only the words that matter.
pub fn run(ids: &Ids, pod: &Pod, probe: &[&str]) -> Output {
    ids.with(pod.probe_command(probe)).output()
}

/// A pod that runs until it gets SIGTERM, and has started.
pub fn running(ids: &Ids, pod: &Pod) -> Running {
    let script = [&MAP[..3], &["catch", "TERM"]].concat();
    let running = ids
        .with(pod.probe_command(script))
        .limit(Duration::from_secs(50))
        .start();
    running.wait_for("waiting");
    running
}

pub fn stop(running: Running) -> Output {
    running.signal(libc::SIGTERM);
    let output = running.finish();
    output.code(0);
    output
}

fn ids_inside_and_outside() -> TestResult {
    let ids = Ids::both("kickstage:700000:65536\n");
    let pod = private(&roots::probe());
    let keys = ["report", "uid", "euid", "gid", "egid", "groups"];
    run(&ids, &pod, &[&keys[..], &[","], &MAP].concat())
        .code(0)
        .has("uid=0\neuid=0\ngid=0\negid=0\n")
        .has("groups=\n")
        .has(&twice(700_000, 65_536));
    let pod = pod.options(["--user=alice", "--groups=7,9"]);
    run(&ids, &pod, &keys)
        .report()
        .is("uid", "1000")
        .is("gid", "1000")
        .is("groups", "7 9");
    // As the host sees them.
    let pod = private(&roots::probe()).options(["--user", "5", "--group", "6"]);
    let running = running(&ids, &pod);
    let of_pod = |uid: &str| {
        children(running.pid())
            .iter()
            .flat_map(|pid| children(*pid))
            .any(|pid| status(pid, "Uid:") == uid)
    };
    assert!(of_pod("700005"), "the program");
    // Its helper is collected when pid 1 has begun, perhaps a moment behind the program.
    wait_until("no helper is left", || children(running.pid()).len() == 1);
    let first = children(running.pid());
    assert_eq!(status(first[0], "Uid:"), "700000", "pid 1");
    stop(running);
    Ok(())
}

/// The first word of a line of /proc/PID/status.
fn status(pid: i32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
    let line = lines.next().unwrap_or_default();
    line.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

pub fn children(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    let pids = text.split_whitespace();
    pids.map(|pid| pid.parse().expect("a pid")).collect()
}

/// Nothing is copied or given away: the mount maps the ids.
fn files_have_the_ids_of_the_host() -> TestResult {
    let ids = Ids::both("");
    let (root, volume) = (roots::probe(), roots::directory("volume"));
    fs::write(volume.join("given"), "").expect("a file");
    chown(volume.join("given"), Some(3), Some(4)).expect("root");
    fs::create_dir(root.join("read-only")).expect("a directory");
    let pod = private(&root)
        .volume(&volume, "/made/for/it")
        .options(["--volume", &format!("{}:/read-only:ro", volume.display())])
        .options([
            "--volume",
            &format!("box,kind=host,source={},recursive=false", volume.display()),
        ])
        .options(["--mount", "volume=box,target=/again"]);
    let script = words(
        "stat / , stat /made/for/it/given , create /tmp/new , write /made/for/it/file text , chown /made/for/it/file 7 8 , create /read-only/x , stat /again/file",
    );
    let output = run(&ids, &pod, &script);
    output
        .code(1)
        .has("uid=3 gid=4")
        .has("create /tmp/new: ok\n")
        .has("create /read-only/x: EROFS\n")
        .has("uid=7 gid=8");
    assert!(
        output
            .stdout
            .starts_with("stat /: type=dir mode=0755 uid=0 gid=0"),
        "{}",
        output.stdout
    );
    assert_eq!(owner(&root.join("tmp/new")), (0, 0));
    assert_eq!(owner(&root.join("made/for")), (0, 0));
    assert_eq!(owner(&root.join("bin/probe")), (0, 0));
    assert_eq!(owner(&volume.join("file")), (7, 8));
    assert_eq!(owner(&volume.join("given")), (3, 4));
    Ok(())
}

fn everything_else_works() -> TestResult {
    let ids = Ids::both("");
    let root = roots::probe();
    let pod = private(&root).options([
        "--net=none",
        "--hostname=inside",
        "--readonly-rootfs",
        "--tmpfs=/tmp",
        "--volume=box,kind=empty",
        "--mount=volume=box,target=/root",
        "--pid-namespace",
        "--log=file:/tmp/log",
        "--set-env=A=b",
    ]);
    let script = words(
        "report hostname pid uid NoNewPrivs Seccomp , create /etc/x , create /tmp/x , create /root/x , write /dev/null x , open /dev/zero r , write /dev/shm/x x , write /proc/sys/kernel/hostname x , read /proc/keys , list /sys/firmware , list /sys/class/net , read /tmp/log",
    );
    run(&ids, &pod, &script).code(1);
    let pod = private(&root).options([
        "--net=none",
        "--hostname=inside",
        "--readonly-rootfs",
        "--tmpfs=/tmp",
        "--volume=box,kind=empty",
        "--mount=volume=box,target=/root",
    ]);
    let output = run(&ids, &pod, &script);
    output
        .has("hostname=inside\n")
        .has("NoNewPrivs=1\n")
        .has("Seccomp=2\n")
        .has("create /etc/x: EROFS\n")
        .has("create /tmp/x: ok\n")
        .has("create /root/x: ok\n")
        .has("open /dev/zero: ok\n")
        .has("write /proc/sys/kernel/hostname: EROFS\n")
        .has("lo\n");
    Ok(())
}

fn other_options_work() -> TestResult {
    let ids = Ids::both("");
    let root = roots::probe();
    // The host's /sys, read-only.
    let pod = private(&root);
    run(
        &ids,
        &pod,
        &[
            "write",
            "/sys/kernel/profiling",
            "1",
            ",",
            "list",
            "/sys/firmware",
        ],
    )
    .code(1)
    .printed("write /sys/kernel/profiling: EROFS\n");
    // Other ways to a terminal, to limits of processes, to the confinement.
    for options in [
        &["--insecure-options=all"][..],
        &["--pid-namespace", "--cap-add=sys_admin"],
        &["--rlimit=nofile=64", "--nice=5", "--working-dir=/tmp"],
        &["--timings"],
        &["--debug"],
        &["--exit-policy=never", "--restart=no"],
    ] {
        let pod = private(&root).options(options);
        if options.contains(&"--exit-policy=never") {
            stop(running(&ids, &pod));
        } else {
            run(&ids, &pod, &["report", "uid"]).code(0).has("uid=0\n");
        }
    }
    Ok(())
}

fn an_ephemeral_root() -> TestResult {
    let ids = Ids::both("");
    let root = roots::probe();
    fs::create_dir(root.join("tmp/old")).expect("a directory");
    chown(root.join("etc/passwd"), Some(9), Some(9)).expect("root");
    let pod = private(&root)
        .flag("--ephemeral")
        .volume(root.join("etc"), "/root");
    let script = words(
        "stat / , stat /etc/passwd , rmdir /tmp/old , mkdir /tmp/old , write /tmp/old/x x , chown /tmp/old/x 7 8 , stat /tmp/old/x , append /etc/passwd x , unlink /bin/probe",
    );
    let output = run(&ids, &pod, &script);
    output
        .code(0)
        .has("uid=9 gid=9")
        .has("uid=7 gid=8")
        .has("mkdir /tmp/old: ok\n")
        .has("append /etc/passwd: ok\n")
        .has("unlink /bin/probe: ok\n");
    assert!(root.join("bin/probe").exists());
    assert!(!root.join("tmp/old/x").exists());
    run(&ids, &pod.flag("--readonly-rootfs"), &["create", "/tmp/x"])
        .code(1)
        .has("EROFS");
    Ok(())
}

/// It is the pod's: made in its user namespace, so that its ids are those of the pod.
fn a_terminal() -> TestResult {
    let ids = Ids::both("");
    let terminal = Terminal::new(33, 101);
    let script = words(
        "report tty fd , stat /dev/console , write /dev/console written , open /dev/tty rw , open /dev/pts/0 rw , winsize , echo end",
    );
    let pod = terminal.start(ids.with(private(&roots::probe()).probe_command(script)));
    terminal.wait_for("end\r");
    pod.finish().code(0);
    let shown = terminal.shown();
    for line in [
        "tty.0=yes",
        "uid=0 gid=5",
        "written",
        "open /dev/tty: ok",
        "open /dev/pts/0: ok",
        "winsize=33x101",
    ] {
        assert!(shown.contains(line), "{line} in {shown:?}");
    }
    Ok(())
}

fn app(ids: &Ids, directory: &Path, command: &str, words: &[&str]) -> Output {
    let run = Run::ours("stage0").args(["app", command]).arg(directory);
    ids.with(run.args(words)).output()
}

/// What pid 1 writes there is root's; it is controlled as others are.
fn a_directory_on_the_host() -> TestResult {
    let ids = Ids::both("");
    let directory = roots::fresh("pod");
    let pod = private(&roots::probe())
        .options(["--pod-dir".as_ref(), directory.as_os_str()])
        .options(["--name=main", "--exit-policy=never"]);
    let running = running(&ids, &pod);
    wait_until("the pod is ready", || directory.join("ready").exists());
    for name in ["ready", "control", "status"] {
        assert_eq!(owner(&directory.join(name)), (0, 0), "{name}");
    }
    app(&ids, &directory, "list", &[]).code(0).has("main");
    let words = [
        "--name=more",
        "--user=7",
        "--",
        "/bin/probe",
        "report",
        "uid",
    ];
    app(&ids, &directory, "add", &words).code(0);
    running.wait_for("uid=7\n");
    stop(running);
    assert_eq!(owner(&directory.join("status/more")), (0, 0));
    assert!(!directory.join("control").exists());
    Ok(())
}

fn limits_of_the_pod() -> TestResult {
    Requirement::Controllers.require()?;
    let (ids, parent) = (Ids::both(""), Parent::new());
    let pod = |options: &[&str]| parent.pod(options).flag("--private-users");
    run(&ids, &pod(&["--memory=64M", "--cpus=1", "--pids=9"]), &MAP)
        .code(0)
        .has("65536");
    run(&ids, &pod(&["--pids=2"]), &["fork", "1"])
        .code(1)
        .has("EAGAIN");
    parent.is_gone();
    Ok(())
}

/// Root of the pod is nobody on the host, whatever it finds.
fn files_of_the_real_root() -> TestResult {
    let ids = Ids::both("");
    let outside = roots::directory("outside");
    let secret = outside.join("secret");
    fs::write(&secret, "secret").expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("a mode");
    // A descriptor of a file that is no mount of the pod's.
    let script = words(
        "open /proc/self/fd/0 r , open /proc/self/fd/0 rw , write /proc/sys/kernel/core_pattern x , open /sys/kernel/debug r , mknod /tmp/null c 1 3 , mknod /tmp/disk b 8 0",
    );
    let pod = private(&roots::probe()).options(["--insecure-options=all"]);
    let run = pod
        .probe_command(script)
        .stdin(fs::File::open(&secret).expect("root"));
    ids.with(run)
        .output()
        .code(1)
        .has("open /proc/self/fd/0: EACCES\nopen /proc/self/fd/0: EACCES\n")
        .has("write /proc/sys/kernel/core_pattern: EACCES\n")
        .has("mknod /tmp/null: EPERM\n")
        .has("mknod /tmp/disk: EPERM\n");
    assert_eq!(fs::read_to_string(&secret).expect("a file"), "secret");
    Ok(())
}

fn capabilities_of_the_namespace_only() -> TestResult {
    let ids = Ids::both("");
    let root = roots::probe();
    let pod = private(&root).options(["--insecure-options=all"]);
    let output = run(&ids, &pod, &["report", "CapEff", "CapBnd"]);
    let report = output.report();
    assert!(
        report.get("CapEff").starts_with("000001ff"),
        "all of the namespace's"
    );
    // None of them counts outside: no priority, no limit, no clock, no name of the host.
    let pod = pod.options(["--nice=-5"]);
    run(&ids, &pod, &["report"]).refused(&["nice", "Permission denied"]);
    let pod = private(&root).options(["--cap-add=all"]);
    run(&ids, &pod, &["mount", "/tmp", "/tmp", "ext4"]).code(1);
    Ok(())
}

/// Nobody in the pod may look into pid 1.
fn pid_one_is_sealed() -> TestResult {
    let ids = Ids::both("");
    let pod = private(&roots::probe());
    let script = words(
        "readlink /proc/1/exe , readlink /proc/1/fd/0 , read /proc/1/environ , readlink /proc/1/root , read /proc/1/comm",
    );
    run(&ids, &pod, &script)
        .code(1)
        .has("readlink /proc/1/exe: EACCES\n")
        .has("readlink /proc/1/fd/0: EACCES\n")
        .has("read /proc/1/environ: EACCES\n")
        .has("readlink /proc/1/root: EACCES\n")
        .has("stage1-init\n");
    // Also where it is a file on a tmpfs of nobody's.
    let command = ids
        .with(pod.probe_command(MAP))
        .hook(kickstage_tests::fault::failing(
            &[libc::SYS_memfd_create],
            libc::EACCES,
        ));
    command.output().code(0);
    Ok(())
}

fn file_systems_that_cannot() -> TestResult {
    let ids = Ids::both("");
    let root = roots::probe();
    let pod = private(&root).volume("/proc", "/tmp");
    run(&ids, &pod, &MAP).refused(&["map ids /proc", "can't map ids", "--private-users=false"]);
    let pod = private(Path::new("/proc"));
    run(&ids, &pod, &MAP).refused(&["map ids /proc", "can't map ids"]);
    let pod = private(Path::new("/no/such"));
    run(&ids, &pod, &MAP).refused(&["/no/such", "No such file"]);
    Ok(())
}

fn too_many_mounts() -> TestResult {
    let ids = Ids::both("");
    let (root, volume) = (roots::probe(), roots::directory("volume"));
    fs::write(volume.join("file"), "here").expect("a file");
    let with = |count: usize| {
        let mut pod =
            private(&root).options(["--volume=box,kind=empty", "--mount=volume=box,target=/box"]);
        for index in 0..count {
            pod = pod.volume(&volume, &format!("/v{index}"));
        }
        pod
    };
    let script = words("read /v0/file , read /v14/file , create /box/x");
    run(&ids, &with(15), &script).code(0).has("herehere");
    run(&ids, &with(16), &script).refused(&["volume", "16"]);
    Ok(())
}

/// Each program's root and volumes have ids of the same map.
fn several_roots() -> TestResult {
    let ids = Ids::both("");
    let (one, other, volume) = (roots::probe(), roots::probe(), roots::directory("volume"));
    chown(other.join("etc/passwd"), Some(9), Some(9)).expect("root");
    let root = |path: &Path| format!("dir:{}", path.display());
    let volume_option = format!("--volume={}:/volume", volume.display());
    for ephemeral in [false, true] {
        let layer = format!("--ephemeral={ephemeral}");
        ids.with(Run::ours("stage0"))
            .args(["run", "--private-users"])
            .args([&root(&one), "--name=one", &layer, &volume_option])
            .args(["--", "/bin/probe", "create", "/made", ",", "report", "uid"])
            .args(["---", &root(&other), "--name=other", "--after=one"])
            .args([&layer, &volume_option])
            .args(["--", "/bin/probe", "stat", "/etc/passwd", ",", "write"])
            .args(["/volume/file", "x", ",", "read", "/proc/self/uid_map"])
            .output()
            .code(0)
            .has("create /made: ok\nuid=0\n")
            .has("uid=9 gid=9")
            .has(&map(524_288, 65_536));
        assert_eq!(owner(&volume.join("file")), (0, 0));
        assert_eq!(one.join("made").exists(), !ephemeral);
        let _ = fs::remove_file(one.join("made"));
    }
    Ok(())
}

/// Root joins it before it makes the user namespace, whose root may change nothing of it.
fn networks_of_others() -> TestResult {
    let ids = Ids::both("");
    let pool = Pool::new(1);
    let holder = pool.entries().remove(0);
    let path = format!("--net=/proc/{}/ns/net", holder.pid);
    let script = [
        &["report", "ns.net", "uid", ",", "read", "/proc/net/dev", ","],
        &MAP[..3],
    ];
    let pod = |network: &str| {
        pool.pods
            .pod("run", &[network, "--private-users"], &script.concat())
    };
    for network in [path.as_str(), "--net=pool"] {
        let output = ids.with(pod(network)).output();
        output
            .code(0)
            .has(&format!("ns.net={}", holder.namespace))
            .has("lo:")
            .has(&map(524_288, 65_536));
        // The names of the two lines above, and one network.
        let networks = output.stdout.lines().filter(|line| line.contains(": "));
        assert_eq!(networks.count(), 1, "{}", output.stdout);
    }
    pool.wait_for(1);
    ids.with(pod("--net=/no/such"))
        .output()
        .refused(&["/no/such", "No such file"]);
    pool.wait_for(1);
    pool.end();
    Ok(())
}

/// Possession is not a matter of ids.
fn keys_of_the_caller() -> TestResult {
    let pod = private(&roots::probe()).flag("--insecure-options=seccomp,paths");
    let command = Ids::both("").with(pod.probe_command(["read", "/proc/keys"]));
    let output = command
        .hook(|| sys::session_key(c"kickstage-test"))
        .output();
    output.code(0).lacks("kickstage-test");
    Ok(())
}

/// Nothing of it in other pods, and no trace in /run.
fn without_it() -> TestResult {
    let ids = Ids::both("");
    for pod in [
        Pod::new(roots::probe()),
        Pod::new(roots::probe()).flag("--private-users=false"),
    ] {
        run(&ids, &pod, &MAP)
            .code(0)
            .printed(&twice(0, 4_294_967_295));
    }
    assert!(!ids.run.join("kickstage").exists());
    Ok(())
}

fn other_flavours() -> TestResult {
    let pod = private(&roots::probe());
    pod.clone()
        .flag("--stage1=fly")
        .probe(["exit", "0"])
        .refused(&["--private-users"]);
    pod.flag("--stage1=/no/such")
        .probe(["exit", "0"])
        .refused(&["--private-users", "--stage1=init"]);
    Ok(())
}

/// Where ids of mounts can't be mapped, as in some containers.
fn in_a_user_namespace() -> TestResult {
    let ids = Ids::both("");
    let root = roots::probe();
    for flag in ["--private-users", "--private-users=5:1"] {
        let command = ids.with(Pod::new(&root).flag(flag).probe_command(MAP));
        command
            .hook(|| {
                sys::unshare(libc::CLONE_NEWUSER)?;
                fs::write("/proc/self/uid_map", "0 0 1")?;
                fs::write("/proc/self/setgroups", "deny")?;
                fs::write("/proc/self/gid_map", "0 0 1")
            })
            .output()
            .refused(&[
                "map ids",
                "Operation not permitted",
                "leave --private-users out",
            ]);
    }
    Ok(())
}

fn nothing_is_left() -> TestResult {
    let ids = Ids::both("");
    let root = roots::bare();
    let pod = private(&root).options(["--tmpfs=/a/b", "--tmpfs=/bin/probe"]);
    run(&ids, &pod, &MAP).refused(&["/bin/probe"]);
    assert!(!root.join("a").exists());
    assert!(!root.join("proc").exists());
    Ok(())
}
