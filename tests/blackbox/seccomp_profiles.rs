//! Every number of a system call under the filters of whole profiles, in the
//! kernel, against what the profile says. What it says is read by the tests' own
//! code, of which the compiler knows nothing.

use std::fs;

use kickstage_tests::{
    TestResult,
    command::Run,
    filter::{self, ALLOWED, Call},
    pod::Pod,
    profile::{LAST, Profile, Verdict, numbers},
    roots, tests,
};

tests![
    default_profile,
    default_profile_with_capabilities,
    profile_of_podman,
    profile_of_docker,
    cve_2022_0492_default,
    one_filter_for_all,
];

const DEFAULT: &str = include_str!("../../fly/src/seccomp/default.json");
const PODMAN: &str = include_str!("../data/podman-0.50.json");
const DOCKER: &str = include_str!("../data/docker-20.10.json");

/// The capabilities of a confined program.
const CAPABILITIES: [&str; 13] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
];

/// The filter that fly-seccomp makes of `text`.
fn compiled(text: &str, capabilities: &[&str]) -> Vec<u8> {
    let path = roots::fresh("profile");
    fs::write(&path, text).expect("a file");
    let mut run = Run::ours("fly-seccomp").arg("compile").arg(path);
    for name in capabilities {
        run = run.args(["--cap", name]);
    }
    let output = run.output();
    output.code(0).quiet();
    output.bytes
}

/// Each number, with arguments at which the profile may say something else.
fn calls(profile: &Profile) -> Vec<Call> {
    let mut calls = Vec::new();
    let beyond = [
        500,
        1000,
        0xffff,
        0x3fff_ffff,
        0x4000_0000,
        0x4000_0029,
        0x7fff_ffff,
    ];
    // The kernel asks no filter about the two of probes (since Linux 6.14), which
    // are answered by SIGILL where it has placed none.
    let probes = 335..=336;
    let all = (0..u32::from(LAST) + 10).chain(beyond);
    for number in all.filter(|number| !probes.contains(number)) {
        for value in [0, u64::MAX, 1 << 32, 0x7fff_ffff] {
            calls.push((number, [value; 6]));
        }
        let edges = profile.edges(number);
        for (index, value) in &edges {
            for rest in [0, u64::MAX] {
                let mut arguments = [rest; 6];
                arguments[*index] = *value;
                calls.push((number, arguments));
                // Rules may look at two.
                for (other, value) in edges.iter().step_by(5) {
                    let mut arguments = arguments;
                    arguments[*other] = *value;
                    calls.push((number, arguments));
                }
            }
        }
    }
    calls
}

#[track_caller]
fn same(filter: &[u8], profile: &Profile) {
    let calls = calls(profile);
    assert!(calls.len() > 1900, "{} calls", calls.len());
    let (mut allowed, mut wrong) = (0, Vec::new());
    for (call, found) in calls.iter().zip(filter::verdicts(filter, &calls)) {
        let (number, arguments) = call;
        let expected = match profile.verdict(*number, arguments) {
            Verdict::Allowed => ALLOWED,
            Verdict::Refused(errno) => errno,
            Verdict::Other => panic!("{number}: neither allowed nor refused"),
        };
        allowed += usize::from(found == ALLOWED);
        if found != expected {
            wrong.push(format!(
                "{number} {arguments:x?}: {found}, expected {expected}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}: {:#?}",
        wrong.len(),
        calls.len(),
        &wrong[..wrong.len().min(20)]
    );
    assert!(allowed > 300 && allowed < calls.len(), "{allowed} allowed");
}

/// The filter that programs really have.
fn default_profile() -> TestResult {
    let profile = Profile::read(DEFAULT, &CAPABILITIES);
    same(
        &of_pod(&Pod::fly(roots::probe()).flag("--confine")),
        &profile,
    );
    same(&compiled(DEFAULT, &["default"]), &profile);
    Ok(())
}

fn default_profile_with_capabilities() -> TestResult {
    for capability in ["CAP_SYS_ADMIN", "CAP_SYS_TIME", "CAP_SYS_NICE", "CAP_BPF"] {
        let mut all = CAPABILITIES.to_vec();
        all.push(capability);
        let profile = Profile::read(DEFAULT, &all);
        same(&compiled(DEFAULT, &["default", capability]), &profile);
    }
    same(&compiled(DEFAULT, &["none"]), &Profile::read(DEFAULT, &[]));
    Ok(())
}

fn profile_of_podman() -> TestResult {
    same(
        &compiled(PODMAN, &["default"]),
        &Profile::read(PODMAN, &CAPABILITIES),
    );
    same(&compiled(PODMAN, &["none"]), &Profile::read(PODMAN, &[]));
    Ok(())
}

fn profile_of_docker() -> TestResult {
    same(
        &compiled(DOCKER, &["default"]),
        &Profile::read(DOCKER, &CAPABILITIES),
    );
    Ok(())
}

/// What reaches beyond a container.
const REFUSED: &[&str] = &[
    "mount",
    "umount2",
    "pivot_root",
    "unshare",
    "setns",
    "bpf",
    "keyctl",
    "add_key",
    "request_key",
    "open_by_handle_at",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "reboot",
    "swapon",
    "swapoff",
    "sethostname",
    "settimeofday",
    "clock_settime",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsmount",
    "fspick",
    "fsconfig",
    "mount_setattr",
    "syslog",
    "acct",
    "quotactl",
    "iopl",
    "ioperm",
    "pidfd_getfd",
    "kcmp",
    "move_pages",
    "migrate_pages",
    "fanotify_init",
    "lookup_dcookie",
    "nfsservctl",
    "vhangup",
    "uselib",
    "ustat",
    "sysfs",
    "_sysctl",
];

/// What programs need.
const NEEDED: &[&str] = &[
    "read", "execve", "clone", "fork", "socket", "ptrace", "chroot", "mknod", "futex",
];

/// By name, whatever the profile says.
fn cve_2022_0492_default() -> TestResult {
    let numbers = numbers();
    let filter = of_pod(&Pod::fly(roots::probe()).flag("--confine"));
    for (names, expected) in [(REFUSED, 1), (NEEDED, ALLOWED)] {
        let calls: Vec<Call> = names.iter().map(|name| (numbers[name], [0; 6])).collect();
        for (name, found) in names.iter().zip(filter::verdicts(&filter, &calls)) {
            assert_eq!(found, expected, "{name}");
        }
    }
    Ok(())
}

fn of_pod(pod: &Pod) -> Vec<u8> {
    let running = pod
        .probe_command(["echo", "runs", ",", "sleep", "5000"])
        .start();
    running.wait_for("runs");
    let pid = kickstage_tests::isolate::processes()
        .into_iter()
        .filter(|pid| *pid != 1)
        .max()
        .expect("the program");
    let filter = filter::of_process(pid).expect("a filter");
    running.signal(15);
    let _ = running.finish();
    filter
}

/// `fly --seccomp default`, `--confine` and pods have the same.
fn one_filter_for_all() -> TestResult {
    let root = roots::probe();
    let confined = of_pod(&Pod::fly(&root).flag("--confine"));
    assert_eq!(
        of_pod(&Pod::fly(&root).options(["--seccomp", "default"])),
        confined
    );
    assert_eq!(of_pod(&Pod::new(&root)), confined);
    assert_eq!(of_pod(&Pod::new(&root).flag("--stage1=fly")), confined);
    Ok(())
}
