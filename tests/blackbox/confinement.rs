//! What a pod can't do by default, and what `--insecure-options` gives back.

use std::{fs, path::Path};

use kickstage_tests::{TestResult, pod::Pod, roots, sys, tests};

tests![
    capabilities_of_root,
    capabilities_of_a_user,
    capabilities_of_a_careless_caller,
    no_new_privileges,
    insecure,
    insecure_by_name,
    bad_names_of_insecure_options,
    masked_files,
    masked_directories,
    read_only_paths,
    sys_is_read_only,
    what_root_of_a_pod_cannot_do,
    what_root_of_a_pod_can_do,
    inherited_descriptors,
    inherited_descriptors_of_fly,
    pid_one_is_closed,
    working_directory,
    bad_working_directories,
    fly_keeps_what_the_caller_has,
    fly_of_a_user,
];

const CAPS: [&str; 8] = [
    "report",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
];

/// chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
/// net_bind_service, net_raw, sys_chroot, audit_write, setfcap: rkt's and
/// Docker's 14 without mknod.
const DEFAULT: &str = "00000000a00425fb";
const NONE: &str = "0000000000000000";

fn capabilities_of_root() -> TestResult {
    let report = Pod::new(roots::probe()).probe(CAPS).report();
    report
        .is("CapPrm", DEFAULT)
        .is("CapEff", DEFAULT)
        .is("CapBnd", DEFAULT)
        .is("CapInh", NONE)
        .is("CapAmb", NONE);
    Ok(())
}

fn capabilities_of_a_user() -> TestResult {
    let report = Pod::new(roots::probe())
        .options(["--user", "1000"])
        .probe(CAPS)
        .report();
    report
        .is("CapPrm", NONE)
        .is("CapEff", NONE)
        .is("CapBnd", DEFAULT)
        .is("CapInh", NONE)
        .is("CapAmb", NONE);
    Ok(())
}

/// A caller with inheritable and ambient sets, as some CI runners have.
fn capabilities_of_a_careless_caller() -> TestResult {
    const NET_RAW: u32 = 13;
    let root = roots::probe();
    for (user, own) in [("0", DEFAULT), ("1000", NONE)] {
        for pod in [Pod::new(&root), Pod::new(&root).flag("--stage1=fly")] {
            let command = pod.options(["--user", user]).probe_command(CAPS);
            let report = command
                .hook(|| sys::make_ambient(NET_RAW))
                .output()
                .report();
            report
                .is("CapInh", NONE)
                .is("CapAmb", NONE)
                .is("CapPrm", own)
                .is("CapEff", own)
                .is("CapBnd", DEFAULT);
        }
    }
    Ok(())
}

fn no_new_privileges() -> TestResult {
    let root = roots::probe();
    for user in ["0", "1000"] {
        Pod::new(&root)
            .options(["--user", user])
            .probe(CAPS)
            .report()
            .is("NoNewPrivs", "1");
    }
    Ok(())
}

/// The value of a line of our own /proc/self/status.
fn own(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").expect("a file");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("a line").trim().to_owned()
}

fn insecure() -> TestResult {
    let root = roots::probe();
    let report = Pod::new(&root)
        .flag("--insecure-options=all")
        .probe(CAPS)
        .report();
    report
        .is("CapEff", &own("CapEff"))
        .is("CapBnd", &own("CapBnd"))
        .is("NoNewPrivs", "0")
        .is("CapInh", NONE);
    // Nothing is masked: the same names as on the host.
    let seen = Pod::new(&root).flag("--insecure-options=all").probe([
        "list",
        "/sys/firmware",
        ",",
        "list",
        "/proc/irq",
    ]);
    seen.code(0);
    let count = |path: &str| fs::read_dir(path).map_or(0, Iterator::count);
    assert_eq!(
        seen.stdout.lines().count(),
        count("/sys/firmware") + count("/proc/irq")
    );
    let script = [
        "read",
        "/sys/power/x",
        ",",
        "mkdir",
        "/sys/fs/cgroup/x",
        ",",
        "remount-rw",
        "/sys",
    ];
    Pod::new(&root)
        .flag("--insecure-options=all")
        .probe(script)
        .code(1)
        .has("mkdir /sys/fs/cgroup/x: E");
    Ok(())
}

/// Each part of the confinement alone, and the others stay.
fn insecure_by_name() -> TestResult {
    let root = roots::probe();
    let all = own("CapBnd");
    for (list, capabilities, no_new_privileges, seccomp, paths) in [
        ("none", false, false, false, false),
        ("capabilities", true, false, false, false),
        ("no-new-privs", false, true, false, false),
        ("seccomp", false, false, true, false),
        ("paths", false, false, false, true),
        ("paths,seccomp", false, false, true, true),
        ("capabilities,no-new-privs", true, true, false, false),
        ("all-run", true, true, true, true),
    ] {
        for flavour in ["init", "fly"] {
            for user in ["0", "1000"] {
                let pod = Pod::new(&root).options([
                    &format!("--insecure-options={list}"),
                    &format!("--stage1={flavour}"),
                    &format!("--user={user}"),
                ]);
                let report = pod.probe(CAPS).report();
                report
                    .is("CapBnd", if capabilities { &all } else { DEFAULT })
                    .is("NoNewPrivs", if no_new_privileges { "0" } else { "1" })
                    .is("Seccomp", if seccomp { "0" } else { "2" })
                    .is("CapInh", NONE)
                    .is("CapAmb", NONE);
                let held = match user {
                    "0" if capabilities => &all,
                    "0" => DEFAULT,
                    _ => NONE,
                };
                report.is("CapEff", held).is("CapPrm", held);
            }
        }
        let output = Pod::new(&root)
            .flag(&format!("--insecure-options={list}"))
            .probe(["open", "/proc/sys/kernel/hostname", "w"]);
        let is_read_only = output.stdout.contains("EROFS");
        assert_eq!(is_read_only, !paths, "{list}: {}", output.everything());
    }
    // Named more than once, all count.
    let report = Pod::new(&root)
        .options(["--insecure-options=seccomp", "--insecure-options=none"])
        .flag("--insecure-options=no-new-privs")
        .probe(CAPS)
        .report();
    report.is("Seccomp", "0").is("NoNewPrivs", "0");
    report.is("CapBnd", DEFAULT);
    Ok(())
}

fn bad_names_of_insecure_options() -> TestResult {
    let root = roots::probe();
    for bad in ["nonsense", "", "seccomp,", "ALL", "seccomp paths"] {
        Pod::new(&root)
            .options(["--insecure-options", bad])
            .probe(["exit", "0"])
            .refused(&["--insecure-options", "no-new-privs"]);
    }
    for unknown in ["image", "tls", "http", "ondisk", "pubkey", "paths,image"] {
        Pod::new(&root)
            .options(["--insecure-options", unknown])
            .probe(["exit", "0"])
            .refused(&[unknown, "is checked here yet"]);
    }
    Ok(())
}

/// What of /proc and /sys is hidden.
pub const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

fn masked_files() -> TestResult {
    let root = roots::probe();
    let mut seen = 0;
    for path in MASKED.into_iter().filter(|path| Path::new(path).is_file()) {
        let output = Pod::new(&root).probe(["read", path]);
        assert!(
            output.stdout.is_empty() || output.stdout == format!("read {path}: EACCES\n"),
            "{path} has contents\n{}",
            output.everything()
        );
        let output = Pod::new(&root).probe([
            "open", path, "w", ",", "umount", path, ",", "chmod", path, "777",
        ]);
        output.code(1).has(&format!("umount {path}: EPERM"));
        seen += 1;
    }
    // At least kcore or timer_list exist on every kernel that we know.
    assert!(seen > 0, "no path to mask on this kernel");
    Ok(())
}

fn masked_directories() -> TestResult {
    let root = roots::probe();
    for path in MASKED.into_iter().filter(|path| Path::new(path).is_dir()) {
        let output = Pod::new(&root).probe(["list", path, ",", "echo", "done"]);
        output.code(0).printed("done\n");
        let script = [
            "create",
            &format!("{path}/x"),
            ",",
            "umount",
            path,
            ",",
            "remount-rw",
            path,
        ];
        let output = Pod::new(&root).probe(script);
        output
            .code(1)
            .lacks(": ok")
            .has("EROFS")
            .has(&format!("remount-rw {path}: EPERM"));
    }
    Ok(())
}

fn read_only_paths() -> TestResult {
    let root = roots::probe();
    for (path, file) in [
        ("/proc/bus", None),
        ("/proc/fs", None),
        ("/proc/irq", Some("/proc/irq/default_smp_affinity")),
        ("/proc/sys", Some("/proc/sys/kernel/hostname")),
        ("/proc/sysrq-trigger", Some("/proc/sysrq-trigger")),
    ] {
        if !Path::new(path).exists() {
            continue;
        }
        let report = Pod::new(&root).probe(["report", "mount"]).report();
        assert!(report.mount(path).has("ro"), "{path}");
        if let Some(file) = file.filter(|file| Path::new(file).exists()) {
            let output = Pod::new(&root).probe([
                "open",
                file,
                "w",
                ",",
                "umount",
                path,
                ",",
                "remount-rw",
                path,
            ]);
            output
                .code(1)
                .has(&format!("open {file}: EROFS"))
                .has(&format!("umount {path}: EPERM"));
            output.has(&format!("remount-rw {path}: EPERM"));
        }
    }
    Ok(())
}

fn sys_is_read_only() -> TestResult {
    let script = [
        "open",
        "/sys/kernel/uevent_seqnum",
        "w",
        ",",
        "mkdir",
        "/sys/fs/cgroup/x",
        ",",
        "remount-rw",
        "/sys",
    ];
    let output = Pod::new(roots::probe()).probe(script);
    output.code(1).lacks(": ok").has("remount-rw /sys: EPERM");
    Ok(())
}

fn what_root_of_a_pod_cannot_do() -> TestResult {
    let script = [
        "mount",
        "none",
        "/tmp",
        "tmpfs",
        ",",
        "bind",
        "/etc",
        "/tmp",
        ",",
        "remount-rw",
        "/sys",
        ",",
        "umount",
        "/proc",
        ",",
        "mknod",
        "/tmp/n",
        "c",
        "1",
        "3",
        ",",
        "hostname",
        "other",
        ",",
        "private",
        "/",
        ",",
        "kill",
        "1",
        "KILL",
        ",",
        "sleep",
        "1",
        ",",
        "write",
        "/proc/sys/kernel/core_pattern",
        "x",
    ];
    let output = Pod::new(roots::probe()).probe(script);
    output
        .code(1)
        .has("write /proc/sys/kernel/core_pattern: EROFS");
    for command in [
        "mount none",
        "bind /etc",
        "remount-rw /sys",
        "umount /proc",
        "mknod /tmp/n",
        "hostname other",
        "private /",
    ] {
        output.has(&format!("{command}: EPERM"));
    }
    Ok(())
}

fn what_root_of_a_pod_can_do() -> TestResult {
    let script = [
        "create", "/tmp/x", ",", "chown", "/tmp/x", "1000", "1000", ",", "chmod", "/tmp/x", "4755",
        ",", "mkdir", "/opt", ",", "setgid", "5", ",", "setuid", "1000", ",", "open", "/tmp/x",
        "w", ",", "report", "uid", "gid", "CapEff",
    ];
    let report = Pod::new(roots::probe()).probe(script).report();
    report.is("uid", "1000").is("gid", "5").is("CapEff", NONE);
    Ok(())
}

/// CVE-2024-21626's first half: directories of the host at 3 to 20.
fn inherited_descriptors() -> TestResult {
    let root = roots::probe();
    for pod in [
        Pod::new(&root),
        Pod::new(&root).flag("--stage1=fly"),
        Pod::new(&root).flag("--ephemeral"),
    ] {
        only_three(&pod);
    }
    Ok(())
}

fn inherited_descriptors_of_fly() -> TestResult {
    only_three(&Pod::fly(roots::probe()));
    Ok(())
}

#[track_caller]
fn only_three(pod: &Pod) {
    let directory = fs::File::open("/etc").expect("a directory");
    let command = pod.probe_command(["report", "fd"]).hook(move || {
        for number in (3..=20).chain([255, 700]) {
            sys::duplicate_onto(&directory, number)?;
        }
        Ok(())
    });
    let report = command.output().report();
    let numbers: Vec<&str> = report
        .below("fd")
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    assert_eq!(numbers, ["0", "1", "2"], "{:?}", report.below("fd"));
}

/// Nothing of pid 1 can be read or traced by root of the pod (CVE-2016-9962),
/// so that what it holds of the host stays its own.
fn pid_one_is_closed() -> TestResult {
    let script = [
        "readlink",
        "/proc/1/fd/0",
        ",",
        "readlink",
        "/proc/1/exe",
        ",",
        "readlink",
        "/proc/1/root",
        ",",
        "read",
        "/proc/1/environ",
        ",",
        "open",
        "/proc/1/mem",
        "rw",
        ",",
        "list",
        "/proc/1/map_files",
        ",",
        "readlink",
        "/proc/1/cwd",
    ];
    for user in ["0", "1000"] {
        let output = Pod::new(roots::probe())
            .options(["--user", user])
            .probe(script);
        output.code(1).lacks(": ok");
        assert_eq!(output.stdout.lines().count(), 7, "{}", output.everything());
        for line in output.stdout.lines() {
            assert!(
                line.ends_with(": EACCES") || line.ends_with(": EPERM"),
                "{line}"
            );
        }
        // That it has the three is no secret; that it has no more is the point,
        // once it has let go of the app's pidfd.
        let mut told = Vec::new();
        let is_so = ["20", "200", "2000"].iter().any(|wait| {
            let pod = Pod::new(roots::probe()).options(["--user", user]);
            let output = pod.probe(["sleep", wait, ",", "list", "/proc/1/fd"]);
            told.push(output.stdout);
            let last = told.last().map(String::as_str);
            [Some("list /proc/1/fd: EACCES\n"), Some("0\n1\n2\n")].contains(&last)
        });
        assert!(is_so, "{told:?}");
    }
    Ok(())
}

fn working_directory() -> TestResult {
    let root = roots::probe();
    fs::create_dir_all(root.join("a/b")).expect("directories");
    std::os::unix::fs::symlink("/a/b", root.join("link")).expect("a link");
    Pod::new(&root)
        .probe(["report", "cwd"])
        .report()
        .is("cwd", "/");
    Pod::fly(&root)
        .probe(["report", "cwd"])
        .report()
        .is("cwd", "/");
    for (given, seen) in [
        ("/a/b", "/a/b"),
        ("/a/../a/b/..", "/a"),
        ("/link", "/a/b"),
        ("/../../a", "/a"),
    ] {
        let stage0 = Pod::new(&root).options(["--working-dir", given]);
        let fly = Pod::fly(&root).options(["--chdir", given]);
        for pod in [stage0, fly] {
            pod.probe(["report", "cwd"]).report().is("cwd", seen);
        }
    }
    Ok(())
}

/// CVE-2024-21626's second half is in `security`.
fn bad_working_directories() -> TestResult {
    let root = roots::probe();
    for (bad, cause) in [
        ("/nope", "No such file or directory"),
        ("/etc/passwd", "Not a directory"),
        ("", ""),
        ("a", "absolute"),
    ] {
        Pod::new(&root)
            .options(["--working-dir", bad])
            .probe(["exit", "0"])
            .refused(&[bad, cause]);
        Pod::fly(&root)
            .options(["--chdir", bad])
            .probe(["exit", "0"])
            .refused(&[bad, cause]);
    }
    Ok(())
}

fn fly_keeps_what_the_caller_has() -> TestResult {
    let report = Pod::fly(roots::probe()).probe(CAPS).report();
    report
        .is("CapEff", &own("CapEff"))
        .is("CapBnd", &own("CapBnd"))
        .is("CapInh", NONE)
        .is("CapAmb", NONE);
    Ok(())
}

fn fly_of_a_user() -> TestResult {
    let report = Pod::fly(roots::probe())
        .options(["--user", "1000"])
        .probe(CAPS)
        .report();
    report
        .is("CapEff", NONE)
        .is("CapPrm", NONE)
        .is("CapInh", NONE)
        .is("CapAmb", NONE);
    Ok(())
}
