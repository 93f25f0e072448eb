//! OCI bundles for crun and runc: the namespaces and mounts of a bare start.

use std::{fs, io, path::Path};

use crate::json::Value;

/// Names by number, without CAP_ (capabilities(7)).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The system call filter of a bundle with limits: the product's own default.
const FILTER: &str = include_str!("../../fly/src/seccomp/default.json");
/// The limits of such a bundle, and of the product's case: memory in bytes, a quota of
/// processor time in microseconds, processes.
pub const MEMORY: u64 = 64 << 20;
const QUOTA: u64 = 100_000;
const PIDS: u64 = 100;

/// Writes the bundle `folder` that runs `words` in `root`, with limits and a filter if it
/// is `limited`.
///
/// # Errors
/// As mkdir(2) and write(2).
pub fn write(folder: &Path, root: &Path, words: &[&str], limited: bool) -> io::Result<()> {
    fs::create_dir(folder)?;
    let config = config(root, words, limited).to_string();
    fs::write(folder.join("config.json"), config)
}

/// The same limits as options of stage0.
pub const LIMITS: [&str; 3] = ["--memory=64M", "--cpus=1", "--pids=100"];

fn linux(limited: bool) -> Value {
    let namespaces =
        ["pid", "mount", "ipc", "uts"].map(|kind| Value::object([("type", kind.into())]));
    let mut members = vec![("namespaces", Value::list(namespaces))];
    if limited {
        let one = |name, value: u64| Value::object([(name, value.into())]);
        let cpu = Value::object([("quota", QUOTA.into()), ("period", QUOTA.into())]);
        let resources = [
            ("memory", one("limit", MEMORY)),
            ("cpu", cpu),
            ("pids", one("limit", PIDS)),
        ];
        members.push(("resources", Value::object(resources)));
        members.push(("seccomp", Value::Raw(FILTER)));
    }
    Value::object(members)
}

fn config(root: &Path, words: &[&str], limited: bool) -> Value {
    let root = root.to_string_lossy();
    Value::object([
        ("ociVersion", "1.0.2".into()),
        ("hostname", "pod".into()),
        (
            "root",
            Value::object([("path", root.as_ref().into()), ("readonly", false.into())]),
        ),
        ("process", process(words)),
        ("mounts", Value::list(mounts())),
        ("linux", linux(limited)),
    ])
}

fn process(words: &[&str]) -> Value {
    let held = bounding_set(&fs::read_to_string("/proc/self/status").unwrap_or_default());
    let all = || {
        let names = CAPABILITIES.iter().enumerate();
        let names = names.filter(|(number, _)| held & (1 << number) != 0);
        Value::list(names.map(|(_, name)| format!("CAP_{name}").into()))
    };
    Value::object([
        ("terminal", false.into()),
        ("cwd", "/".into()),
        (
            "user",
            Value::object([("uid", 0_u64.into()), ("gid", 0_u64.into())]),
        ),
        ("args", Value::list(words.iter().map(|word| (*word).into()))),
        ("env", Value::list(["PATH=/bin".into()])),
        ("noNewPrivileges", false.into()),
        (
            "capabilities",
            Value::object(["bounding", "effective", "permitted"].map(|set| (set, all()))),
        ),
    ])
}

/// What there is to be kept: runtimes fail where they are asked for more.
fn bounding_set(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(u64::MAX)
}

fn mounts() -> [Value; 5] {
    let quiet = ["nosuid", "nodev", "noexec"];
    [
        mount("/proc", "proc", &quiet),
        mount("/sys", "sysfs", &["nosuid", "nodev", "noexec", "ro"]),
        mount("/dev", "tmpfs", &["nosuid", "noexec", "mode=755"]),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "nodev", "noexec", "mode=1777"],
        ),
    ]
}

fn mount(target: &str, kind: &str, options: &[&str]) -> Value {
    Value::object([
        ("destination", target.into()),
        ("type", kind.into()),
        ("source", kind.into()),
        (
            "options",
            Value::list(options.iter().map(|option| (*option).into())),
        ),
    ])
}
