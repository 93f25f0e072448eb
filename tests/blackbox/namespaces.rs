//! Which namespaces are the pod's own, and what is in them.

use std::fs;

use kickstage_tests::{TestResult, pod::Pod, report::Report, roots, tests};

tests![
    of_a_pod,
    of_fly,
    of_two_pods,
    network_none,
    network_host,
    bad_networks,
    hostname,
    bad_hostnames,
    own_proc,
    sys_of_the_network_namespace,
    mounts_of_a_pod,
    from_a_private_mount_table,
];

const ALL: [&str; 7] = ["mnt", "pid", "ipc", "uts", "net", "user", "cgroup"];

/// Which namespaces are not the test's own.
fn differing(report: &Report) -> Vec<&'static str> {
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
    let differs = |name: &&str| report.get(&format!("ns.{name}")) != own(name).to_string_lossy();
    ALL.into_iter().filter(|name| differs(name)).collect()
}

fn of_a_pod() -> TestResult {
    let report = Pod::new(roots::probe()).probe(["report", "ns"]).report();
    assert_eq!(differing(&report), ["mnt", "pid", "ipc", "uts", "cgroup"]);
    Ok(())
}

fn of_fly() -> TestResult {
    let report = Pod::fly(roots::probe()).probe(["report", "ns"]).report();
    assert_eq!(differing(&report), ["mnt"]);
    Ok(())
}

fn of_two_pods() -> TestResult {
    let root = roots::probe();
    let mut first = Pod::new(&root)
        .probe_command(["report", "ns", ",", "echo", "ready", ",", "line"])
        .open_input()
        .start();
    first.wait_for("ready");
    let second = Pod::new(&root).probe(["report", "ns"]).report();
    first.send("\n");
    let first = first.finish().report();
    for name in ["ns.mnt", "ns.pid", "ns.ipc", "ns.uts", "ns.cgroup"] {
        assert_ne!(first.get(name), second.get(name), "{name}");
    }
    Ok(())
}

fn network_none() -> TestResult {
    for options in [&["--net=none"][..], &["--net", "none"]] {
        let script = [
            "report",
            "ns",
            ",",
            "list",
            "/sys/class/net",
            ",",
            "read",
            "/sys/class/net/lo/flags",
            ",",
            "read",
            "/proc/net/dev",
        ];
        let output = Pod::new(roots::probe()).options(options).probe(script);
        let report = output.report();
        assert_eq!(
            differing(&report),
            ["mnt", "pid", "ipc", "uts", "net", "cgroup"]
        );
        let interfaces: Vec<&str> = output
            .stdout
            .lines()
            .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim()))
            .filter(|name| !name.contains(['=', '|', '.']))
            .collect();
        assert_eq!(interfaces, ["lo"], "{}", output.stdout);
        // IFF_UP | IFF_LOOPBACK.
        output.has("\n0x9\n");
    }
    Ok(())
}

fn network_host() -> TestResult {
    let report = Pod::new(roots::probe())
        .options(["--net=host"])
        .probe(["report", "ns"])
        .report();
    assert_eq!(differing(&report), ["mnt", "pid", "ipc", "uts", "cgroup"]);
    Ok(())
}

fn bad_networks() -> TestResult {
    let root = roots::probe();
    for bad in ["", "nothing", "HOST", "host,none"] {
        Pod::new(&root)
            .options(["--net", bad])
            .probe(["exit", "0"])
            .refused(&["--net"]);
    }
    Ok(())
}

fn hostname() -> TestResult {
    let root = roots::probe();
    let before = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let longest = "h".repeat(64);
    for name in ["pod", "a.long-er.name1", &longest] {
        let report = Pod::new(&root)
            .options(["--hostname", name])
            .probe(["report", "hostname"])
            .report();
        report.is("hostname", name);
    }
    let after = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    assert_eq!(before, after);
    Ok(())
}

fn bad_hostnames() -> TestResult {
    let root = roots::probe();
    for bad in ["", &"h".repeat(65)] {
        Pod::new(&root)
            .options(["--hostname", bad])
            .probe(["exit", "0"])
            .refused(&["host name"]);
    }
    Ok(())
}

/// /proc shows the pod's processes, not the host's.
fn own_proc() -> TestResult {
    let output = Pod::new(roots::probe()).probe(["list", "/proc"]);
    output.code(0);
    let pids: Vec<&str> = output
        .stdout
        .lines()
        .filter(|name| name.parse::<u32>().is_ok())
        .collect();
    assert_eq!(pids, ["1", "2"]);
    Ok(())
}

fn sys_of_the_network_namespace() -> TestResult {
    let root = roots::probe();
    Pod::new(&root)
        .options(["--net=none"])
        .probe(["list", "/sys/class/net"])
        .code(0)
        .printed("lo\n");
    Ok(())
}

/// All of the pod's mounts, and none of the host's.
fn mounts_of_a_pod() -> TestResult {
    let report = Pod::new(roots::probe())
        .flag("--insecure-options=all")
        .probe(["report", "mount"])
        .report();
    let mut targets: Vec<String> = report
        .mounts()
        .into_iter()
        .map(|mount| mount.target)
        .collect();
    targets.sort();
    assert_eq!(
        targets,
        ["/", "/dev", "/dev/pts", "/dev/shm", "/proc", "/sys"]
    );
    let options = |target: &str| report.mount(target);
    for (target, kind) in [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
    ] {
        let mount = options(target);
        assert_eq!(mount.kind, kind, "{mount:?}");
        assert!(mount.has("nosuid"), "{mount:?}");
        assert_eq!(mount.propagation, "-", "{mount:?}");
    }
    for target in ["/proc", "/sys"] {
        assert!(
            options(target).has("nodev") && options(target).has("noexec"),
            "{target}"
        );
    }
    assert!(options("/sys").has("ro"));
    assert!(options("/").has("rw"));
    Ok(())
}

/// The tests run on shared mounts, as systemd's machines have them; this one
/// on private ones, as an initramfs has them.
fn from_a_private_mount_table() -> TestResult {
    use kickstage_tests::sys;
    let root = roots::probe();
    for pod in [
        Pod::new(&root),
        Pod::fly(&root),
        Pod::new(&root).flag("--ephemeral"),
    ] {
        let command = pod.volume("/etc", "/host").probe_command(["exit", "3"]);
        command
            .hook(|| sys::unshare(libc::CLONE_NEWNS))
            .hook(|| sys::make_mounts("/", libc::MS_PRIVATE))
            .output()
            .code(3);
    }
    Ok(())
}
