//! What a test may need of the machine beyond Linux, root and our programs.

use std::{env, fmt, fs::OpenOptions, path::Path};

/// Something that a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Debian's package busybox-static.
    Busybox,
    /// A Debian root, or mmdebstrap to make one.
    DebianRoot,
    /// A cgroup v1 hierarchy of memory, and one of pids.
    CgroupV1,
    /// A cgroup v2 hierarchy.
    CgroupV2,
    /// The controllers memory, cpu and pids, of either version.
    Controllers,
    /// Mounts that are attached to mounts which are attached nowhere (Linux 6.15).
    DetachedMounts,
    /// The controller cpu of cgroup v1 that has real-time processes of its own
    /// (CONFIG_RT_GROUP_SCHED), and a caller who may become one.
    RealTimeGroups,
    /// The freezer of cgroup v1.
    Freezer,
    /// A filter of devices for cgroups, and a device that no pod has by default.
    Devices,
    /// The cgroup controller io, of either version, and a block device.
    Disk,
    /// Debian's package dumb-init.
    DumbInit,
    /// Debian's package catatonit.
    Catatonit,
    /// QEMU, and a guest kernel or apt-get to fetch one.
    Guest,
    /// mke2fs(8) and debugfs(8), for disks of guests.
    Ext4,
    /// chattr(1), and a tmpfs that knows of it (Linux 6.0).
    Immutable,
    /// zstd(1).
    Zstd,
    /// newuidmap(1) and newgidmap(1).
    Newuidmap,
    /// podman(1), which can run a container.
    Podman,
    /// fish(1).
    Fish,
    /// openrc-run(8).
    Openrc,
    /// strace(1).
    Strace,
    /// systemd-nspawn(1), and systemd in a /usr that can be booted from.
    Systemd,
    /// Debian's package tini: a small init, linked statically and not.
    Tini,
    /// `dev.tty.legacy_tiocsti = 1`: the kernel still has TIOCSTI.
    Tiocsti,
    /// vsock to guests of this machine, and socat(1).
    Vsock,
    /// zsh(1).
    Zsh,
}

impl Requirement {
    /// Whether the machine has it.
    #[must_use]
    pub fn present(self) -> bool {
        match self {
            Self::Busybox => Path::new(crate::roots::BUSYBOX).exists(),
            Self::DebianRoot => crate::roots::debian_possible(),
            Self::CgroupV1 => {
                Path::new(CGROUP_V1).join("tasks").exists()
                    && Path::new(CGROUP_V1_PIDS).join("tasks").exists()
            }
            Self::CgroupV2 => cgroup_v2().is_some(),
            Self::Controllers => ["memory", "cpu", "pids"]
                .iter()
                .all(|name| controller(name).is_some()),
            Self::DetachedMounts => linux() >= (6, 15),
            Self::RealTimeGroups => {
                matches!(controller("cpu"), Some((mount, false))
                    if mount.join("cpu.rt_runtime_us").exists())
                    // Of the thread alone.
                    && std::thread::spawn(|| crate::policy::real_time().is_ok())
                        .join()
                        .unwrap_or(false)
            }
            Self::Freezer => matches!(controller("freezer"), Some((_, false))),
            Self::Devices => controller("devices").is_some() && device().is_some(),
            Self::Disk => controller("io").is_some() && disk().is_some(),
            Self::Guest => crate::guest::possible(),
            Self::Ext4 => in_path("mke2fs") && in_path("debugfs"),
            Self::Immutable => in_path("chattr") && linux() >= (6, 0),
            Self::Zstd => in_path("zstd"),
            Self::Newuidmap => in_path("/usr/bin/newuidmap") && in_path("/usr/bin/newgidmap"),
            Self::Podman => in_path("podman") && in_path("crun"),
            Self::Fish => in_path("fish"),
            Self::Vsock => Path::new("/dev/vhost-vsock").exists() && in_path("socat"),
            Self::Zsh => in_path("zsh"),
            Self::Openrc => in_path("openrc-run") && in_path("supervise-daemon"),
            Self::Strace => in_path("strace"),
            Self::Systemd => crate::booted::possible(),
            Self::DumbInit => in_path("dumb-init"),
            Self::Catatonit => in_path("catatonit"),
            Self::Tini => in_path("tini-static") && in_path("tini"),
            Self::Tiocsti => std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti")
                // Before Linux 6.2 there was no switch, and the call worked.
                .map_or(true, |text| text.trim() == "1"),
        }
    }

    /// Skips the test if the machine lacks it.
    ///
    /// # Errors
    /// The skip.
    pub fn require(self) -> Result<(), crate::Skip> {
        if self.present() {
            Ok(())
        } else {
            Err(crate::Skip(self))
        }
    }
}

/// Where cgroup v1 hierarchies are mounted, by custom.
pub const CGROUP_V1: &str = "/sys/fs/cgroup/memory";
/// The same, of pids.
pub const CGROUP_V1_PIDS: &str = "/sys/fs/cgroup/pids";

/// Where the cgroup v2 hierarchy is mounted: beside those of version 1, or alone.
#[must_use]
pub fn cgroup_v2() -> Option<std::path::PathBuf> {
    ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .map(std::path::PathBuf::from)
        .find(|path| path.join("cgroup.controllers").exists())
}

/// Where the hierarchy of the controller `name` is mounted, and whether it is of version 2.
#[must_use]
pub fn controller(name: &str) -> Option<(std::path::PathBuf, bool)> {
    let folder = if name == "io" { "blkio" } else { name };
    let own = Path::new("/sys/fs/cgroup").join(folder);
    if own.join("tasks").exists() {
        return Some((own, false));
    }
    let unified = cgroup_v2()?;
    let all = std::fs::read_to_string(unified.join("cgroup.controllers")).ok()?;
    // Of devices there is none: programs decide.
    (all.split_whitespace().chain(["devices"]))
        .any(|other| other == name)
        .then_some((unified, true))
}

/// The version of the kernel.
#[must_use]
pub fn linux() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = text.split(|byte: char| !byte.is_ascii_digit());
    let mut next = || {
        numbers
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    (next(), next())
}

/// A device that no pod has by default, and that root may open.
#[must_use]
pub fn device() -> Option<&'static str> {
    let open = |path: &str| OpenOptions::new().read(true).write(true).open(path);
    ["/dev/cpu_dma_latency", "/dev/fuse", "/dev/loop-control"]
        .into_iter()
        .find(|path| open(path).is_ok())
}

/// A block device, and its number as the kernel writes it.
#[must_use]
pub fn disk() -> Option<(String, String)> {
    let entries = std::fs::read_dir("/sys/block").ok()?;
    entries.filter_map(Result::ok).find_map(|entry| {
        let path = format!("/dev/{}", entry.file_name().to_string_lossy());
        let number = std::fs::read_to_string(entry.path().join("dev")).ok()?;
        Path::new(&path)
            .exists()
            .then(|| (path, number.trim().to_owned()))
    })
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busybox => "busybox-static (apt-get install busybox-static)",
            Self::DebianRoot => "a Debian root (apt-get install mmdebstrap)",
            Self::CgroupV1 => "cgroup v1 hierarchies of memory and pids",
            Self::CgroupV2 => "a cgroup v2 hierarchy",
            Self::Controllers => "the cgroup controllers memory, cpu and pids",
            Self::DetachedMounts => "Linux 6.15, for mounts on mounts that are detached",
            Self::RealTimeGroups => {
                "cgroup v1 with CONFIG_RT_GROUP_SCHED, and real-time policies (ulimit -r)"
            }
            Self::Freezer => "a cgroup v1 hierarchy of freezer",
            Self::Devices => "a cgroup filter of devices, and one of some devices (modprobe fuse)",
            Self::Disk => "the cgroup controller io, and a block device (modprobe loop)",
            Self::Guest => "a guest (apt-get install qemu-system-x86 busybox-static xz-utils)",
            Self::DumbInit => "dumb-init (apt-get install dumb-init)",
            Self::Catatonit => "catatonit (apt-get install catatonit)",
            Self::Tini => "tini (apt-get install tini)",
            Self::Ext4 => "mke2fs and debugfs (apt-get install e2fsprogs)",
            Self::Zstd => "zstd (apt-get install zstd)",
            Self::Newuidmap => "newuidmap (apt-get install uidmap)",
            Self::Podman => "podman and crun (apt-get install podman crun)",
            Self::Fish => "fish (apt-get install fish)",
            Self::Vsock => {
                "/dev/vhost-vsock (modprobe vhost_vsock) and socat (apt-get install socat)"
            }
            Self::Immutable => "chattr and Linux 6.0 (apt-get install e2fsprogs)",
            Self::Zsh => "zsh (apt-get install zsh)",
            Self::Openrc => "OpenRC (apt-get install openrc)",
            Self::Strace => "strace (apt-get install strace)",
            Self::Systemd => {
                "systemd-nspawn, a merged /usr, a cgroup v2 hierarchy (apt-get install systemd-container)"
            }
            Self::Tiocsti => "TIOCSTI (sysctl dev.tty.legacy_tiocsti=1)",
        })
    }
}

/// Whether a program can be found in PATH.
#[must_use]
pub fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).exists())
}
