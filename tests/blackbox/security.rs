//! Published attacks on launchers, one test each, named after the row.

use std::{fs, os::unix::fs::symlink, path::Path};

use kickstage_tests::{
    TestResult, compare, init, message, pod::Pod, roots, sys, terminal::Terminal, tests,
};

tests![
    cve_2019_5736_proc_1_exe,
    cve_2019_5736_the_copy_is_sealed,
    cve_2019_5736_proc_self_exe_as_program,
    cve_2024_21626_inherited_directories,
    cve_2024_21626_working_directory,
    cve_2022_29162_inheritable_capabilities,
    cve_2016_9962_pid_one_is_not_dumpable,
    cve_2017_5226_no_controlling_terminal,
    cve_2026_30892_user_as_number,
    cve_2020_15257_no_abstract_socket,
    cve_2021_43784_overlong,
    cve_2023_25809_cgroups,
    rkt_fly_read_only_bind,
    rkt_fly_mounts_do_not_leak,
];

/// Contents and metadata of our own programs.
fn programs() -> Vec<(Vec<u8>, String)> {
    ["fly", "stage0", "stage1-init", "probe"]
        .into_iter()
        .map(|name| {
            let path = kickstage_tests::command::program(name);
            let bytes = fs::read(&path).expect("a program");
            (
                bytes,
                format!("{:?}", fs::metadata(&path).expect("a program").modified()),
            )
        })
        .collect()
}

/// Also when nobody executes it any more.
fn cve_2019_5736_the_copy_is_sealed() -> TestResult {
    let pod = Pod::new(roots::probe())
        .probe_command(["catch", "TERM"])
        .start();
    pod.wait_for("waiting");
    let init = init::child_of(pod.pid());
    let copy = fs::File::open(format!("/proc/{init}/exe")).expect("a program");
    let all = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    assert_eq!(message::seals(&copy).expect("a memory file") & all, all);
    pod.signal(libc::SIGTERM);
    pod.finish().code(0);
    Ok(())
}

/// As uid 0 with all capabilities: what pid 1 runs is no file of the host.
fn cve_2019_5736_proc_1_exe() -> TestResult {
    let (root, before) = (roots::probe(), programs());
    for insecure in [false, true] {
        let mut pod = Pod::new(&root);
        if insecure {
            pod = pod.flag("--insecure-options=all");
        }
        let script = [
            "open",
            "/proc/1/exe",
            "w",
            ",",
            "write",
            "/proc/1/exe",
            "owned",
            ",",
            "append",
            "/proc/1/exe",
            "owned",
            ",",
            "remount-rw",
            "/proc/1/exe",
        ];
        pod.probe(script).code(1).lacks(": ok");
    }
    assert!(programs() == before, "a program of the host was changed");
    Ok(())
}

/// The app is `/proc/self/exe`: whatever that is at the time of the exec, it
/// must not be a file of the host that can be opened for writing later.
fn cve_2019_5736_proc_self_exe_as_program() -> TestResult {
    let (root, before) = (roots::probe(), programs());
    symlink("/proc/self/exe", root.join("bin/link")).expect("a link");
    fs::write(root.join("bin/script"), "#!/proc/self/exe\n").expect("a script");
    fs::set_permissions(
        root.join("bin/script"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("a mode");
    for program in ["/proc/self/exe", "/proc/1/exe", "/bin/link", "/bin/script"] {
        for pod in [
            Pod::new(&root),
            Pod::new(&root).flag("--insecure-options=all"),
            Pod::new(&root).flag("--stage1=fly"),
        ] {
            let output = pod
                .command([program, "write", "/proc/self/exe", "owned"])
                .output();
            assert!(!output.late, "{}", output.everything());
            assert_ne!(output.code, Some(0), "{}", output.everything());
        }
    }
    assert!(programs() == before, "a program of the host was changed");
    Ok(())
}

fn cve_2024_21626_inherited_directories() -> TestResult {
    let root = roots::probe();
    let directory = fs::File::open("/").expect("a directory");
    for number in 3..=20 {
        let directory = directory.try_clone().expect("a descriptor");
        let script = [
            "report",
            "fd",
            ",",
            "list",
            &format!("/proc/self/fd/{number}/etc"),
        ];
        let command = Pod::new(&root).probe_command(script);
        let output = command
            .hook(move || sys::duplicate_onto(&directory, number))
            .output();
        output.code(1).has("ENOENT").lacks(&format!("fd.{number}="));
    }
    Ok(())
}

/// A working directory that leads through a descriptor of the launcher.
fn cve_2024_21626_working_directory() -> TestResult {
    let root = roots::probe();
    let directory = fs::File::open("/").expect("a directory");
    symlink("/proc/self/fd/7", root.join("link")).expect("a link");
    for number in (3..=9).chain([20]) {
        for path in [
            format!("/proc/self/fd/{number}"),
            format!("/proc/thread-self/fd/{number}/.."),
            format!("/proc/1/fd/{number}"),
        ] {
            for pod in [
                Pod::new(&root).options(["--working-dir", &path]),
                Pod::fly(&root).options(["--chdir", &path]),
            ] {
                let directory = directory.try_clone().expect("a descriptor");
                let command = pod.probe_command(["report", "cwd"]);
                let output = command
                    .hook(move || sys::duplicate_onto(&directory, 7))
                    .output();
                output.refused(&[&path]);
            }
        }
    }
    let output = Pod::new(&root)
        .options(["--working-dir", "/link"])
        .probe(["report", "cwd"]);
    output.refused(&["/link"]);
    Ok(())
}

/// CVE-2022-29162, CVE-2022-27650, CVE-2022-24769.
fn cve_2022_29162_inheritable_capabilities() -> TestResult {
    let root = roots::probe();
    for capability in [10, 13, 21] {
        for pod in [
            Pod::new(&root),
            Pod::new(&root).flag("--insecure-options=all"),
            Pod::fly(&root).options(["--user", "1000"]),
            Pod::fly(&root).flag("--confine"),
        ] {
            let command = pod.clone().probe_command(["report", "CapInh", "CapAmb"]);
            let report = command
                .hook(move || sys::make_ambient(capability))
                .output()
                .report();
            let sets = (report.get("CapInh"), report.get("CapAmb"));
            assert_eq!(sets, ("0000000000000000", "0000000000000000"), "{pod:?}");
        }
    }
    Ok(())
}

fn cve_2016_9962_pid_one_is_not_dumpable() -> TestResult {
    // With all capabilities too: then it may be read, and holds no directory
    // of the host.
    let root = roots::probe();
    Pod::new(&root)
        .probe(["readlink", "/proc/1/fd/0"])
        .code(1)
        .printed("readlink /proc/1/fd/0: EACCES\n");
    let script = [
        "list",
        "/proc/1/fd",
        ",",
        "readlink",
        "/proc/1/root",
        ",",
        "list",
        "/proc/1/cwd",
        ",",
        "list",
        "/proc/1/root",
    ];
    let output = Pod::new(&root).flag("--insecure-options=all").probe(script);
    for name in fs::read_dir("/").expect("a root").flatten() {
        let name = name.file_name();
        let name = name.to_string_lossy();
        let own = ["bin", "dev", "etc", "proc", "root", "sys", "tmp"].contains(&&*name);
        assert!(
            own || !output.stdout.lines().any(|line| line == name),
            "{name}\n{}",
            output.everything()
        );
    }
    Ok(())
}

/// CVE-2017-5226, CVE-2019-7303: without a session of its own a program could
/// type into its caller's terminal. `debian` tries TIOCSTI itself.
fn cve_2017_5226_no_controlling_terminal() -> TestResult {
    let root = roots::probe();
    let terminal = Terminal::new(24, 80);
    let script = ["open", "/dev/tty", "rw", ",", "echo", "end"];
    let pod = terminal.start(Pod::new(&root).flag("--tty=false").probe_command(script));
    terminal.wait_for("end");
    pod.finish().code(1);
    let shown = terminal.shown();
    assert!(shown.contains("open /dev/tty: ENXIO"), "{shown:?}");
    Ok(())
}

/// The whole table is in `user`.
fn cve_2026_30892_user_as_number() -> TestResult {
    let root = roots::probe();
    for user in 1..10 {
        let user = user.to_string();
        let report = Pod::new(&root)
            .options(["--user", &user])
            .probe(["report", "uid", "euid"])
            .report();
        report.is("uid", &user).is("euid", &user);
        let fly = Pod::fly(&root).options(["--user", &user]);
        let report = fly.probe(["report", "uid", "euid"]).report();
        report.is("uid", &user).is("euid", &user);
    }
    Ok(())
}

fn cve_2020_15257_no_abstract_socket() -> TestResult {
    // The table is that of the network namespace: nobody else may be in it.
    sys::unshare(libc::CLONE_NEWNET).expect("a network namespace");
    let root = roots::probe();
    let sockets = || {
        let text = fs::read_to_string("/proc/net/unix").expect("a table");
        text.lines()
            .filter_map(|line| line.split_whitespace().nth(7).map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let mut before = sockets();
    let mut pod = Pod::new(&root)
        .probe_command(["echo", "ready", ",", "line"])
        .open_input()
        .start();
    pod.wait_for("ready");
    let mut during = sockets();
    pod.send("\n");
    pod.finish().code(0);
    before.sort();
    during.sort();
    during.retain(|name| !before.contains(name));
    assert!(during.is_empty(), "{during:?}");
    Ok(())
}

/// Nothing is cut, nothing overflows: it works, or one line says why not.
fn cve_2021_43784_overlong() -> TestResult {
    let root = roots::probe();
    for length in [4096, 65_536, 131_000] {
        let long = "x".repeat(length);
        let words = [
            Pod::new(&root).options(["--set-env", &format!("A={long}")]),
            Pod::new(&root).options(["--working-dir", &format!("/{long}")]),
            Pod::new(&root).options(["--hostname", &long]),
            Pod::new(&root).options(["--user", &long]),
            Pod::new(&root).options(["--volume", &format!("/etc:/{long}")]),
            Pod::new(&root).options(["--volume", &format!("/{long}:/etc")]),
            Pod::new(&root).options(["--tmpfs", &format!("/{long}")]),
            Pod::new(&root).options([&format!("--stage1=/{long}")]),
            Pod::new(&root).options([&format!("--{long}")]),
            Pod::fly(&root).options(["--setenv", "A", &long]),
            Pod::fly(&root).options(["--setenv", &long, "A"]),
            Pod::fly(&root).options(["--chdir", &long]),
            Pod::fly(&root).options(["--user", &long]),
            Pod::fly(&root).options(["--tmpfs", &format!("/{long}")]),
            Pod::fly(&root).options(["--bind", &format!("/{long}"), "/etc"]),
            Pod::fly(&root).options(["--symlink", &long, "/link"]),
            Pod::fly(&root).options(["--unshare-uts", "--hostname", &long]),
            Pod::new(format!("/{long}")),
        ];
        for pod in words {
            let output = pod.probe(["report", "env"]);
            if output.code == Some(254) {
                output.refused(&[]);
                assert!(
                    output.stderr.len() < 200_000,
                    "{} bytes of error",
                    output.stderr.len()
                );
            } else {
                output.code(0).has(&long);
            }
        }
        // An argument.
        for pod in [Pod::new(&root), Pod::fly(&root)] {
            let output = pod.probe(["echo", &long]);
            if output.code == Some(254) {
                output.refused(&[]);
            } else {
                output.code(0).printed(&format!("{long}\n"));
            }
        }
    }
    many_options(&root);
    Ok(())
}

fn many_options(root: &Path) {
    let many: Vec<String> = (0..1000)
        .flat_map(|index| ["--set-env".to_owned(), format!("NAME{index}=value")])
        .collect();
    let output = Pod::new(root).options(&many).probe(["report", "env"]);
    if output.code == Some(254) {
        output.refused(&[]);
    } else {
        output.code(0).has("env.NAME999=value");
    }
    let many: Vec<String> = (0..2000)
        .flat_map(|index| ["--tmpfs".to_owned(), format!("/t/{index}")])
        .collect();
    let output = Pod::new(root).options(&many).probe(["exit", "0"]);
    if output.code != Some(0) {
        output.refused(&[]);
    }
}

/// The host's cgroup tree can't be written from inside.
fn cve_2023_25809_cgroups() -> TestResult {
    let root = roots::probe();
    let script = [
        "mkdir",
        "/sys/fs/cgroup/x",
        ",",
        "mkdir",
        "/sys/fs/cgroup/memory/x",
        ",",
        "mkdir",
        "/sys/fs/cgroup/unified/x",
        ",",
        "open",
        "/sys/fs/cgroup/cgroup.procs",
        "w",
        ",",
        "open",
        "/sys/fs/cgroup/memory/release_agent",
        "w",
    ];
    for pod in [
        Pod::new(&root),
        Pod::new(&root).flag("--insecure-options=all"),
        Pod::fly(&root).flag("--confine"),
    ] {
        pod.probe(script).code(1).lacks(": ok");
    }
    let made = compare::cgroups()
        .into_iter()
        .find(|path| path.ends_with("x"));
    assert_eq!(made, None);
    Ok(())
}

/// `MS_BIND|MS_RDONLY` in one call is writable.
fn rkt_fly_read_only_bind() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    let source = source.to_str().expect("UTF-8");
    let pods = [
        Pod::fly(&root).options(["--ro-bind", source, "/data"]),
        Pod::new(&root).options(["--stage1=fly", "--volume", &format!("{source}:/data:ro")]),
    ];
    for pod in pods {
        pod.probe(["create", "/data/x"])
            .code(1)
            .printed("create /data/x: EROFS\n");
    }
    Ok(())
}

/// The runner compares the mounts and removes the directories, which fails
/// where a mount is left.
fn rkt_fly_mounts_do_not_leak() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    let before = compare::mounts();
    for pod in [Pod::fly(&root), Pod::new(&root).flag("--stage1=fly")] {
        pod.volume(&source, "/data").probe(["exit", "0"]).code(0);
        assert_eq!(compare::mounts(), before);
    }
    fs::remove_dir_all(&root).expect("no mount holds it");
    Ok(())
}
