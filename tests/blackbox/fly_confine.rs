//! `fly --confine`: the safe preset.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use kickstage_tests::{TestResult, command::program, pod::Pod, roots, sys, tests};

use super::confinement::MASKED;

tests![
    no_child,
    capabilities_of_root,
    capabilities_of_a_user,
    no_new_privileges,
    masked,
    proc_is_read_only,
    proc_of_a_pid_namespace,
    sys_is_read_only,
    devices,
    device_nodes_of_the_root,
    nothing_of_the_host_is_left,
    what_root_cannot_do,
    what_root_can_do,
    mask_and_modes,
    read_only_root,
    mounts,
    the_host_is_unchanged,
    cve_2019_5736_program,
    cve_2019_5736_behind_as_many_scripts_as_run,
    on_an_initramfs_or_not,
];

const CAPS: [&str; 7] = [
    "report",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
];
/// As in a pod: rkt's and Docker's 14 without mknod.
const DEFAULT: &str = "00000000a00425fb";
const NONE: &str = "0000000000000000";

fn confined(root: &Path) -> Pod {
    Pod::fly(root).flag("--confine")
}

/// The process that was called becomes the program here, too.
fn no_child() -> TestResult {
    let running = confined(&roots::probe())
        .probe_command(["report", "pid"])
        .start();
    let pid = running.pid();
    running.finish().report().is("pid", &pid.to_string());
    Ok(())
}

fn capabilities_of_root() -> TestResult {
    let root = roots::probe();
    for options in [
        &[][..],
        &["--unshare-pid"],
        &["--user", "0:0"],
        &["--unshare-all"],
    ] {
        let report = confined(&root).options(options).probe(CAPS).report();
        report
            .is("CapPrm", DEFAULT)
            .is("CapEff", DEFAULT)
            .is("CapBnd", DEFAULT)
            .is("CapInh", NONE)
            .is("CapAmb", NONE);
    }
    Ok(())
}

fn capabilities_of_a_user() -> TestResult {
    let root = roots::probe();
    let report = confined(&root)
        .options(["--user", "1000"])
        .probe_command(CAPS)
        .hook(|| sys::make_ambient(13))
        .output()
        .report();
    report
        .is("CapPrm", NONE)
        .is("CapEff", NONE)
        .is("CapBnd", DEFAULT)
        .is("CapInh", NONE)
        .is("CapAmb", NONE);
    Ok(())
}

fn no_new_privileges() -> TestResult {
    let root = roots::probe();
    confined(&root).probe(CAPS).report().is("NoNewPrivs", "1");
    Pod::fly(&root).probe(CAPS).report().is("NoNewPrivs", "0");
    Ok(())
}

fn masked() -> TestResult {
    let root = roots::probe();
    let there: Vec<&str> = MASKED
        .into_iter()
        .filter(|path| Path::new(path).exists())
        .collect();
    assert!(!there.is_empty(), "no path to mask on this kernel");
    for options in [&[][..], &["--unshare-pid"], &["--unshare-all"]] {
        for path in &there {
            let pod = confined(&root).options(options);
            if Path::new(path).is_dir() {
                pod.probe(["list", path, ",", "echo", "done"])
                    .code(0)
                    .printed("done\n");
            } else {
                pod.probe(["read", path, ",", "echo", "done"])
                    .code(0)
                    .printed("done\n");
            }
            pod.probe(["umount", path]).code(1).has("EPERM");
        }
    }
    Ok(())
}

fn proc_is_read_only() -> TestResult {
    let root = roots::probe();
    let script = [
        "open",
        "/proc/sys/kernel/hostname",
        "w",
        ",",
        "open",
        "/proc/self/oom_score_adj",
        "w",
        ",",
        "remount-rw",
        "/proc",
    ];
    let output = confined(&root).probe(script);
    output
        .code(1)
        .has("open /proc/sys/kernel/hostname: EROFS\n")
        .has("open /proc/self/oom_score_adj: EROFS\n")
        .has("remount-rw /proc: EPERM\n");
    let report = confined(&root).probe(["report", "mount"]).report();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(report.mount("/proc").has(option), "{option}");
    }
    Ok(())
}

/// A process may change what is its own there; the rest is as in a pod.
fn proc_of_a_pid_namespace() -> TestResult {
    let script = [
        "open",
        "/proc/sys/kernel/hostname",
        "w",
        ",",
        "open",
        "/proc/self/oom_score_adj",
        "w",
        ",",
        "processes",
    ];
    let output = confined(&roots::probe())
        .flag("--unshare-pid")
        .probe(script);
    output
        .code(1)
        .has("open /proc/sys/kernel/hostname: EROFS\n")
        .has("open /proc/self/oom_score_adj: ok\n")
        .has("process=1 0 R ");
    assert_eq!(output.stdout.matches("process=").count(), 1);
    Ok(())
}

fn sys_is_read_only() -> TestResult {
    let output = confined(&roots::probe()).probe([
        "report",
        "mount",
        ",",
        "mkdir",
        "/sys/x",
        ",",
        "list",
        "/sys/fs/cgroup",
        ",",
        "remount-rw",
        "/sys",
    ]);
    output
        .code(1)
        .has("mkdir /sys/x: E")
        .has("remount-rw /sys: EPERM\n");
    let report = kickstage_tests::report::Report::new(&output.stdout);
    let sys = report.mount("/sys");
    assert!(sys.kind == "sysfs" && sys.has("ro") && sys.has("nosuid"));
    assert!(
        !report
            .mounts()
            .iter()
            .any(|mount| mount.target.starts_with("/sys/fs"))
    );
    Ok(())
}

fn devices() -> TestResult {
    let root = roots::probe();
    for options in [&[][..], &["--unshare-pid"], &["--unshare-all"]] {
        let output = confined(&root).options(options).probe(["list", "/dev"]);
        output.code(0);
        let mut names: Vec<&str> = output.stdout.lines().collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
                "tty", "urandom", "zero"
            ]
        );
        confined(&root)
            .options(options)
            .probe([
                "open",
                "/dev/null",
                "w",
                ",",
                "open",
                "/dev/zero",
                "r",
                ",",
                "open",
                "/dev/urandom",
                "r",
                ",",
                "create",
                "/dev/shm/x",
                ",",
                "open",
                "/dev/ptmx",
                "r",
            ])
            .code(0)
            .quiet();
    }
    Ok(())
}

fn device_nodes_of_the_root() -> TestResult {
    let root = roots::probe();
    sys::make_device(&root.join("tmp/null"), 1, 3).expect("a device");
    Pod::fly(&root).probe(["open", "/tmp/null", "w"]).code(0);
    confined(&root)
        .probe([
            "open",
            "/tmp/null",
            "w",
            ",",
            "mknod",
            "/tmp/other",
            "c",
            "1",
            "3",
        ])
        .code(1)
        .has("open /tmp/null: EACCES\n")
        .has("mknod /tmp/other: EPERM\n");
    Ok(())
}

/// The old root is let go of: no mount of it is left, and chroot(2) leads nowhere.
fn nothing_of_the_host_is_left() -> TestResult {
    let root = roots::probe();
    let report = confined(&root)
        .probe(["report", "mount", "fd", "root"])
        .report();
    let targets: Vec<String> = report
        .mounts()
        .into_iter()
        .map(|mount| mount.target)
        .collect();
    for target in &targets {
        let own = ["/", "/dev", "/proc", "/sys"].contains(&target.as_str())
            || ["/dev/", "/proc/", "/sys/"]
                .iter()
                .any(|top| target.starts_with(top));
        assert!(own, "{target} is mounted");
    }
    assert_eq!(report.below("fd").len(), 3);
    report.is("root", "/");
    Ok(())
}

fn what_root_cannot_do() -> TestResult {
    let script = [
        "mount-tmpfs",
        "/tmp",
        ",",
        "umount",
        "/proc",
        ",",
        "remount-rw",
        "/sys",
        ",",
        "mknod",
        "/tmp/x",
        "b",
        "254",
        "0",
    ];
    let output = confined(&roots::probe()).probe(script);
    output.code(1).lacks(": ok");
    Ok(())
}

fn what_root_can_do() -> TestResult {
    let script = [
        "create", "/tmp/x", ",", "chmod", "/tmp/x", "600", ",", "unlink", "/tmp/x",
    ];
    confined(&roots::probe()).probe(script).code(0);
    Ok(())
}

/// The program has the caller's mask; ours have the modes that they are to have.
fn mask_and_modes() -> TestResult {
    let root = roots::probe();
    let output = confined(&root)
        .probe_command([
            "report",
            "umask",
            ",",
            "stat",
            "/dev/null",
            ",",
            "stat",
            "/dev/shm",
        ])
        .hook(|| {
            sys::mask(0o077);
            Ok(())
        })
        .output();
    output
        .code(0)
        .has("umask=077\n")
        .has("mode=0666")
        .has("mode=01777");
    Ok(())
}

fn read_only_root() -> TestResult {
    confined(&roots::probe())
        .flag("--ro")
        .probe([
            "create",
            "/x",
            ",",
            "create",
            "/dev/shm/x",
            ",",
            "remount-rw",
            "/",
        ])
        .code(1)
        .has("create /x: EROFS\n")
        .has("create /dev/shm/x: ok\n")
        .has("remount-rw /: EPERM\n");
    Ok(())
}

fn mounts() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    fs::write(source.join("mark"), "here").expect("a file");
    let source = source.to_str().expect("UTF-8");
    confined(&root)
        .options([
            "--ro-bind",
            source,
            "/a/b",
            "--tmpfs",
            "/tmp",
            "--chdir",
            "/a/b",
        ])
        .probe([
            "read", "mark", ",", "create", "new", ",", "create", "/tmp/x",
        ])
        .code(1)
        .has("here")
        .has("create new: EROFS\n")
        .has("create /tmp/x: ok\n");
    confined(&root)
        .options(["--bind", source, "/proc/x"])
        .probe(["exit", "0"])
        .refused(&["/proc"]);
    Ok(())
}

/// The root of a confined program and the host's /dev are as before.
fn the_host_is_unchanged() -> TestResult {
    let root = roots::probe();
    let names = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path)
            .expect("a directory")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        names.sort();
        names
    };
    let before = (
        names(Path::new("/dev")),
        names(&root),
        names(&root.join("dev")),
    );
    for options in [&[][..], &["--unshare-all"]] {
        confined(&root)
            .options(options)
            .probe(["create", "/dev/shm/x"])
            .code(0);
    }
    let after = (
        names(Path::new("/dev")),
        names(&root),
        names(&root.join("dev")),
    );
    assert_eq!(before, after);
    Ok(())
}

/// A program that is `/proc/self/exe`, or names that as its interpreter, would be
/// fly itself: a file of the host that somebody inside could then find.
fn cve_2019_5736_program() -> TestResult {
    let (root, fly) = (roots::probe(), program("fly"));
    let before = fs::read(&fly).expect("fly");
    std::os::unix::fs::symlink("/proc/self/exe", root.join("bin/link")).expect("a link");
    std::os::unix::fs::symlink("link", root.join("bin/link2")).expect("a link");
    std::os::unix::fs::symlink("link", root.join("bin/link3\r")).expect("a link");
    fs::create_dir(root.join("\x0c")).expect("a directory");
    for (name, text) in [
        ("script", "#!/proc/self/exe\n"),
        ("script2", "#! /bin/link2 x\n"),
        ("script3", "#!/bin/script\n"),
        // Of these signs the kernel takes a name's end for none.
        ("script4", "#!/bin/link3\r\n"),
        ("script5", "#!\x0c/../bin/link2\n"),
    ] {
        let path = root.join("bin").join(name);
        fs::write(&path, text).expect("a script");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    for options in [&[][..], &["--unshare-pid"], &["--unshare-all"]] {
        for name in [
            "/proc/self/exe",
            "/bin/link",
            "/bin/link2",
            "/bin/script",
            "/bin/script2",
            "/bin/script3",
            "/bin/script4",
            "/bin/script5",
            "script",
        ] {
            confined(&root)
                .options(options)
                .command([name, "/", "/bin/probe", "exit", "0"])
                .output()
                .refused(&["exec", name, "magic link"]);
        }
    }
    assert!(fs::read(&fly).expect("fly") == before, "fly was changed");
    Ok(())
}

/// The probe, with the loader `/proc/self/exe` in place of what it says of its stack.
fn loaded_by_itself() -> Vec<u8> {
    const PT_GNU_STACK: u32 = 0x6474_e551;
    const PT_INTERP: u32 = 3;
    let name = b"/proc/self/exe\0";
    let mut bytes = fs::read(program("probe")).expect("a program");
    let end = bytes.len() as u64;
    let at = bytes
        .windows(4)
        .position(|four| four == PT_GNU_STACK.to_ne_bytes());
    let entry = &mut bytes[at.expect("it says so")..][..56];
    entry[..4].copy_from_slice(&PT_INTERP.to_ne_bytes());
    entry[8..16].copy_from_slice(&end.to_ne_bytes());
    entry[32..40].copy_from_slice(&(name.len() as u64).to_ne_bytes());
    bytes.extend(name);
    bytes
}

/// The kernel runs five scripts in a row, and the loader of the program behind them.
fn cve_2019_5736_behind_as_many_scripts_as_run() -> TestResult {
    let root = roots::probe();
    let mut before = "/bin/program".to_owned();
    fs::write(root.join("bin/program"), loaded_by_itself()).expect("a program");
    for name in ["1", "2", "3", "4", "5"] {
        let path = root.join("bin").join(name);
        fs::write(&path, format!("#!{before}\n")).expect("a script");
        before = format!("/bin/{name}");
    }
    for name in ["program", "1", "2", "3", "4", "5"] {
        let (path, open) = (
            root.join("bin").join(name),
            fs::Permissions::from_mode(0o755),
        );
        fs::set_permissions(path, open).expect("a mode");
        confined(&root)
            .command([&format!("/bin/{name}"), "/", "/bin/probe", "exit", "0"])
            .output()
            .refused(&["exec", name, "magic link"]);
    }
    Ok(())
}

/// Where the root is an initramfs it can't be moved: our tree covers it.
fn on_an_initramfs_or_not() -> TestResult {
    confined(&roots::probe())
        .probe_command(["report", "cwd", "root"])
        .hook(kickstage_tests::fault::failing(
            &[libc::SYS_pivot_root],
            libc::EINVAL,
        ))
        .output()
        .report()
        .is("cwd", "/")
        .is("root", "/");
    Ok(())
}
