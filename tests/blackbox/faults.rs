//! Faults: each ends as if nothing was, or in 254 with one line, and leaves
//! nothing behind (the runner compares mounts and processes after each test).

use std::{fs, io, os::unix::fs::symlink, path::Path};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, program},
    compare,
    fault::{MODERN, SYS_OPEN_TREE_ATTR, failing},
    pod::Pod,
    roots, sys, tests,
    trace::{self, Plan},
};

tests![
    modern_calls_missing,
    modern_calls_refused,
    all_modern_calls_missing,
    all_modern_calls_refused,
    a_filter_without_pivot_root,
    fallbacks_are_told,
    fallbacks_keep_volumes_read_only,
    fallbacks_know_all_mounts,
    fallbacks_stay_inside,
    as_many_links_as_the_kernel_follows,
    executable_memory_files_are_forbidden,
    clone3_by_its_flags,
    too_many_files,
    no_more_namespaces,
    without_proc,
    bad_stage1_plan,
    stage1_init_without_a_plan,
];

/// What a pod is, in a form that can be compared.
fn view(output: &Output) -> String {
    output.code(0);
    output
        .stdout
        .lines()
        .filter(|line| !line.starts_with("ns.") && !line.starts_with("hostname="))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Starts of different kinds, which between them make every call.
pub fn pods(root: &Path, source: &Path) -> Vec<Pod> {
    let read_only = format!("{}:/data:ro", source.display());
    vec![
        Pod::new(root),
        Pod::new(root)
            .flag("--ephemeral")
            .options(["--volume", &read_only]),
        Pod::new(root).options([
            "--readonly-rootfs",
            "--tmpfs",
            "/tmp",
            "--net=none",
            "--user",
            "alice",
        ]),
        Pod::new(root)
            .flag("--insecure-options=all")
            .volume(source, "/new/folder"),
        Pod::new(root).options(["--stage1=fly", "--volume", &read_only]),
        Pod::fly(root)
            .options(["--ro", "--tmpfs", "/tmp", "--user", "1000:1000"])
            .volume(source, "/data"),
    ]
}

const SCRIPT: [&str; 15] = [
    "report",
    "uid",
    "gid",
    "groups",
    "pid1",
    "cwd",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "mount",
    "fd",
    "env",
];

/// Every start sees the same with `calls` failing as without.
#[track_caller]
fn same_without(calls: &[i64], errno: i32) {
    let (root, source) = (roots::probe(), roots::directory("source"));
    fs::write(source.join("mark"), "").expect("a file");
    fs::create_dir_all(root.join("data")).expect("a directory");
    for pod in pods(&root, &source) {
        // The first start may have made mount points.
        let normal = view(&pod.probe(SCRIPT));
        let output = pod
            .probe_command(SCRIPT)
            .hook(failing(calls, errno))
            .output();
        assert_eq!(
            strip(&view(&output)),
            strip(&normal),
            "calls {calls:?}, errno {errno}\n{}",
            output.everything()
        );
    }
}

/// Device numbers of anonymous file systems and inodes of pipes differ.
fn strip(view: &str) -> String {
    view.lines()
        .map(|line| line.split("pipe:[").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn modern_calls_missing() -> TestResult {
    for (_, call) in MODERN {
        same_without(&[*call], libc::ENOSYS);
    }
    Ok(())
}

/// As old filters of container engines answer.
fn modern_calls_refused() -> TestResult {
    for (_, call) in MODERN {
        same_without(&[*call], libc::EPERM);
    }
    Ok(())
}

fn all() -> Vec<i64> {
    MODERN.iter().map(|(_, call)| *call).collect()
}

fn all_modern_calls_missing() -> TestResult {
    same_without(&all(), libc::ENOSYS);
    Ok(())
}

fn all_modern_calls_refused() -> TestResult {
    same_without(&all(), libc::EPERM);
    Ok(())
}

/// As in a container of Docker's with the capability sys_admin, whose filter lets it mount.
fn a_filter_without_pivot_root() -> TestResult {
    let refused = || failing(&[libc::SYS_pivot_root], libc::EPERM);
    let advice = ["pivot", "a filter forbids it", "seccomp=unconfined"];
    Pod::new(roots::probe())
        .probe_command(["exit", "0"])
        .hook(refused())
        .output()
        .refused(&advice);
    Run::ours("fly")
        .arg("--confine")
        .arg(roots::probe())
        .args(["/bin/probe", "exit", "0"])
        .hook(refused())
        .output()
        .refused(&advice);
    Ok(())
}

fn fallbacks_are_told() -> TestResult {
    let root = roots::probe();
    for (name, call) in MODERN {
        let pods = [
            Pod::new(&root).options(["--debug", "--volume", "/etc:/new/host:ro"]),
            Pod::fly(&root)
                .options(["--debug", "--unshare-pid"])
                .options(["--ro-bind", "/etc", "/new/host"]),
        ];
        // mount_setattr is only asked where open_tree_attr is missing, too.
        let calls = match *name {
            "mount_setattr" => vec![SYS_OPEN_TREE_ATTR, *call],
            _ => vec![*call],
        };
        for pod in pods {
            let output = pod
                .probe_command(["exit", "0"])
                .hook(failing(&calls, libc::ENOSYS))
                .output();
            output.code(0);
            assert!(
                output.stderr.contains(name),
                "{name} is not told\n{}",
                output.everything()
            );
        }
    }
    Ok(())
}

fn fallbacks_keep_volumes_read_only() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    // The kernel's table of mounts has it with an escape.
    let sub = source.join("s ub");
    fs::create_dir(&sub).expect("a directory");
    let sub = sub.to_str().expect("UTF-8");
    sys::mount_tmpfs(sub, "").expect("a tmpfs");
    let calls = [
        vec![SYS_OPEN_TREE_ATTR],
        vec![libc::SYS_mount_setattr],
        vec![SYS_OPEN_TREE_ATTR, libc::SYS_mount_setattr],
        all(),
    ];
    let script = ["create", "/data/x", ",", "create", "/data/s ub/x"];
    let read_only = format!("{}:/data:ro", source.display());
    let bind = source.to_str().expect("UTF-8");
    for calls in calls {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let pods = [
                Pod::new(&root).options(["--volume", &read_only]),
                Pod::fly(&root).options(["--ro-bind", bind, "/data"]),
            ];
            for pod in pods {
                let output = pod
                    .probe_command(script)
                    .hook(failing(&calls, errno))
                    .output();
                output
                    .code(1)
                    .printed("create /data/x: EROFS\ncreate /data/s ub/x: EROFS\n");
            }
            // Only the mount itself, if that was asked for.
            let pod = Pod::fly(&root).options(["--bind", bind, "/data", "--remount-ro", "/data"]);
            let command = pod.probe_command(script);
            command
                .hook(failing(&calls, errno))
                .output()
                .printed("create /data/x: EROFS\ncreate /data/s ub/x: ok\n");
            fs::remove_file(Path::new(sub).join("x")).expect("a file");
        }
    }
    sys::unmount(sub).expect("an unmount");
    Ok(())
}

/// Or refuse: a line of the kernel's table that is too long would hide one that is written to.
fn fallbacks_know_all_mounts() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    // Each blank is four bytes there.
    let blanks = " ".repeat(250);
    let long = source.join([blanks.as_str(); 9].join("/"));
    fs::create_dir_all(&long).expect("a directory");
    let sub = long.to_str().expect("UTF-8");
    sys::mount_tmpfs(sub, "").expect("a tmpfs");
    let bind = source.to_str().expect("UTF-8");
    let pod = Pod::fly(&root).options(["--ro-bind", bind, "/data"]);
    let output = pod
        .probe_command(["exit", "0"])
        .hook(failing(
            &[SYS_OPEN_TREE_ATTR, libc::SYS_mount_setattr],
            libc::ENOSYS,
        ))
        .output();
    sys::unmount(sub).expect("an unmount");
    output.refused(&["change mount", "File name too long"]);
    Ok(())
}

fn as_many_links_as_the_kernel_follows() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    for number in 1..=41 {
        let link = root.join(number.to_string());
        symlink(format!("/{}", number - 1), link).expect("a link");
    }
    fs::create_dir(root.join("0")).expect("a directory");
    for calls in [&[][..], &[libc::SYS_openat2]] {
        let pod = |target: &str| {
            let pod = Pod::fly(&root).volume(&source, target);
            let command = pod.probe_command(["exit", "0"]);
            command.hook(failing(calls, libc::ENOSYS)).output()
        };
        pod("/40").code(0);
        pod("/41").refused(&["/41", "Too many levels"]);
    }
    Ok(())
}

/// Without openat2 every path is walked by hand: links still end inside.
fn fallbacks_stay_inside() -> TestResult {
    let (root, source, decoy) = (
        roots::probe(),
        roots::directory("source"),
        roots::directory("decoy"),
    );
    fs::write(source.join("mark"), "here").expect("a file");
    symlink(&decoy, root.join("absolute")).expect("a link");
    symlink("../../../../../../../../real", root.join("relative")).expect("a link");
    symlink("/loop", root.join("loop")).expect("a link");
    let inside = decoy.to_str().expect("UTF-8").to_owned();
    for (target, seen) in [
        ("/absolute", inside.clone()),
        ("/absolute/below", format!("{inside}/below")),
        ("/relative", "/real".to_owned()),
        ("/../../real", "/real".to_owned()),
        ("/etc/../new/./folder", "/new/folder".to_owned()),
    ] {
        for pod in [Pod::new(&root), Pod::fly(&root)] {
            let command = pod
                .volume(&source, target)
                .probe_command(["read", &format!("{seen}/mark")]);
            command
                .hook(failing(&[libc::SYS_openat2], libc::ENOSYS))
                .output()
                .code(0)
                .printed("here");
        }
    }
    let looping = Pod::new(&root)
        .volume(&source, "/loop")
        .probe_command(["exit", "0"]);
    looping
        .hook(failing(&[libc::SYS_openat2], libc::ENOSYS))
        .output()
        .refused(&["/loop", "Too many levels"]);
    for name in ["proc", "sys", "dev"] {
        let root = roots::probe();
        fs::remove_dir(root.join(name)).expect("a directory");
        symlink(&decoy, root.join(name)).expect("a link");
        let command = Pod::new(&root).probe_command(["exit", "0"]);
        command
            .hook(failing(&[libc::SYS_openat2], libc::ENOSYS))
            .output()
            .refused(&[name, "symbolic link"]);
    }
    let command = Pod::new(&root)
        .options(["--working-dir", "/proc/self/fd/0"])
        .probe_command(["exit", "0"]);
    command
        .hook(failing(&[libc::SYS_openat2], libc::ENOSYS))
        .output()
        .refused(&["/proc/self/fd/0"]);
    assert!(compare::names(&decoy).is_empty());
    Ok(())
}

/// vm.memfd_noexec = 2, a setting of this test's pid namespace (Linux 6.3).
fn executable_memory_files_are_forbidden() -> TestResult {
    let setting = Path::new("/proc/sys/vm/memfd_noexec");
    if !setting.exists() {
        return Ok(());
    }
    let root = roots::probe();
    let normal = Pod::new(&root).probe(["report", "mount"]).stdout;
    for value in ["1", "2"] {
        fs::write(setting, value).expect("a setting of our own namespace");
        let output = Pod::new(&root).probe(["report", "mount"]);
        output.code(0).printed(&normal);
        let script = ["open", "/proc/1/exe", "w", ",", "write", "/proc/1/exe", "x"];
        Pod::new(&root)
            .flag("--insecure-options=all")
            .probe(script)
            .code(1)
            .lacks(": ok");
    }
    Ok(())
}

/// Its flags are in memory, where a filter can't see them; an old structure
/// (E2BIG) or flag (EINVAL) is answered by the kernel itself.
fn clone3_by_its_flags() -> TestResult {
    let root = roots::probe();
    let root = root.to_str().expect("UTF-8");
    let output = roots::fresh("output");
    let arguments = ["run", "--rootfs", root, "--", "/bin/probe", "exit", "7"];
    let run = |when, errno| {
        trace::run(
            &program("stage0"),
            &arguments,
            &output,
            Plan::Fail { when, errno },
        )
    };
    let traced = run(|_, call| call.call() == libc::SYS_clone3, libc::ENOSYS);
    assert!(
        traced.acted && traced.code == 7 && traced.stuck.is_empty(),
        "{traced:?}"
    );
    // Refused for its namespaces: nothing can help.
    for errno in [libc::ENOSPC, libc::EPERM, libc::EAGAIN, libc::ENOMEM] {
        let traced = run(with_namespaces, errno);
        assert!(traced.acted && traced.stuck.is_empty(), "{traced:?}");
        let text = fs::read_to_string(&output).expect("a file");
        assert!(
            traced.code == 254 && text.lines().count() == 1 && text.starts_with("stage0: "),
            "{traced:?}: {text}"
        );
    }
    Ok(())
}

/// clone or clone3 with CLONE_NEWPID.
fn with_namespaces(pid: i32, registers: &sys::Registers) -> bool {
    let flags = match registers.call() {
        libc::SYS_clone3 => sys::word(pid, registers.argument(0)).unwrap_or(0),
        libc::SYS_clone => registers.argument(0),
        _ => return false,
    };
    flags & u64::from(libc::CLONE_NEWPID.cast_unsigned()) != 0
}

fn too_many_files() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    fs::create_dir_all(root.join("data")).expect("a directory");
    for pod in pods(&root, &source) {
        let mut refused = 0;
        for limit in 3..24 {
            let command = pod
                .probe_command(["exit", "0"])
                .hook(move || sys::limit(libc::RLIMIT_NOFILE, limit));
            let output = command.output();
            if output.code != Some(0) {
                output.refused(&["Too many open files"]);
                refused += 1;
            }
        }
        assert!(refused > 0, "no limit was too low");
    }
    Ok(())
}

/// A user namespace of the test's own, where the limit can be set to 0.
fn no_more_namespaces() -> TestResult {
    let root = roots::probe();
    for (kind, options) in [
        ("mnt", &["--net=host"][..]),
        ("pid", &["--net=host"]),
        ("ipc", &["--net=host"]),
        ("uts", &["--net=host"]),
        ("net", &["--net=none"]),
    ] {
        let limit = move || -> io::Result<()> {
            sys::unshare(libc::CLONE_NEWUSER)?;
            fs::write("/proc/self/uid_map", "0 0 1")?;
            fs::write(format!("/proc/sys/user/max_{kind}_namespaces"), "0")
        };
        let output = Pod::new(&root)
            .options(options)
            .probe_command(["exit", "0"])
            .hook(limit)
            .output();
        output.refused(&["No space left on device", "/proc/sys/user"]);
        if kind == "mnt" {
            let output = Pod::fly(&root)
                .probe_command(["exit", "0"])
                .hook(limit)
                .output();
            output.refused(&["No space left on device", "/proc/sys/user"]);
        }
    }
    Ok(())
}

/// A caller in a root without /proc: one line, or it works.
fn without_proc() -> TestResult {
    let root = roots::probe();
    for name in ["stage0", "stage1-init", "fly"] {
        fs::copy(program(name), root.join("bin").join(name)).expect("a copy");
    }
    fs::create_dir_all(root.join("inner/bin")).expect("a directory");
    fs::copy(program("probe"), root.join("inner/bin/probe")).expect("a copy");
    let path = root.to_str().expect("UTF-8");
    let words = [
        "chroot",
        path,
        ",",
        "exec",
        "/bin/stage0",
        "run",
        "--rootfs",
        "/inner",
        "--",
        "/bin/probe",
        "exit",
        "5",
    ];
    let output = Run::ours("probe").args(words).output();
    let line = output.stdout.replace(&format!("chroot {path}: ok\n"), "");
    assert!(line.is_empty(), "{}", output.everything());
    if output.code != Some(5) {
        output.code(254);
        assert!(
            output.stderr.lines().count() == 1 && output.stderr.starts_with("stage0: "),
            "{}",
            output.everything()
        );
    }
    Ok(())
}

/// A plan that does not validate can't be run, whatever is in it.
fn bad_stage1_plan() -> TestResult {
    let plan = roots::fresh("plan");
    let mut contents: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0],
        vec![0; 8],
        vec![0; 4096],
        vec![0xff; 4096],
        b"text".repeat(1000),
    ];
    // A multiple of everything, with lengths that point outside.
    contents.push((0..65_536_u32).flat_map(u32::to_le_bytes).collect());
    contents.push(vec![0x7f; 1 << 20]);
    for bytes in contents {
        fs::write(&plan, &bytes).expect("a file");
        let file = fs::File::open(&plan).expect("a file");
        let command = Run::ours("stage1-init").env("STAGE1_PLAN_FD", "3");
        command
            .hook(move || sys::duplicate_onto(&file, 3))
            .output()
            .refused(&["plan"]);
    }
    for bad in ["", "x", "-1", "0", "99", "999999999999999999999"] {
        Run::ours("stage1-init")
            .env("STAGE1_PLAN_FD", bad)
            .output()
            .refused(&[]);
    }
    Ok(())
}

fn stage1_init_without_a_plan() -> TestResult {
    Run::ours("stage1-init").output().refused(&[]);
    Ok(())
}
