//! The /dev, /proc and /sys of a confined root, and what of them is hidden.

use core::ffi::CStr;

use linux_raw_sys::general as raw;

use super::{DEVPTS, DEVPTS_ATTRIBUTES, tmpfs};
use crate::plan::{Builder, List, Slot, Step};

/// Device numbers are small: 8 bits each (makedev(3)). The path is the host's.
static DEVICES: [(&CStr, &CStr, u64); 6] = [
    (c"null", c"/dev/null", (1 << 8) | 3),
    (c"zero", c"/dev/zero", (1 << 8) | 5),
    (c"full", c"/dev/full", (1 << 8) | 7),
    (c"random", c"/dev/random", (1 << 8) | 8),
    (c"urandom", c"/dev/urandom", (1 << 8) | 9),
    (c"tty", c"/dev/tty", 5 << 8),
];

static LINKS: [(&CStr, &CStr); 5] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"ptmx", c"pts/ptmx"),
];

/// Files of /proc that tell about the host or reach its kernel: the set that
/// Docker and containerd hide.
///
/// What nearly every kernel has comes last, here and below: a cover that is left
/// over when a list ends costs a grace period of the kernel, 6 to 30 µs.
const MASKED_FILES: [&CStr; 6] = [
    c"kcore",
    c"latency_stats",
    c"timer_stats",
    c"sched_debug",
    c"keys",
    c"timer_list",
];
/// The same, directories.
const MASKED_DIRECTORIES: [&CStr; 3] = [c"asound", c"scsi", c"acpi"];
/// Directories of /sys.
const MASKED_SYS: [&CStr; 2] = [c"devices/virtual/powercap", c"firmware"];
/// Files and directories of /proc that root inside may read only.
const READ_ONLY: [&CStr; 5] = [c"bus", c"fs", c"irq", c"sys", c"sysrq-trigger"];

/// What covers a masked file, and a masked directory.
const NO_FILE: &CStr = c"pts/no-file";
const NO_DIRECTORY: &CStr = c"pts/no-directory";

const RDONLY: u64 = raw::MOUNT_ATTR_RDONLY as u64;
const NOSUID: u64 = raw::MOUNT_ATTR_NOSUID as u64;
const NODEV: u64 = raw::MOUNT_ATTR_NODEV as u64;
const NOEXEC: u64 = raw::MOUNT_ATTR_NOEXEC as u64;

/// The attributes of the tmpfs of /dev.
pub const DEV_ATTRIBUTES: u64 = NOSUID | NOEXEC;

/// What of /proc is hidden or may be read only.
pub fn covered() -> impl Iterator<Item = &'static CStr> {
    let lists = [&READ_ONLY[..], &MASKED_FILES, &MASKED_DIRECTORIES];
    lists.into_iter().flatten().copied()
}

/// How the files are made; the slots are where their descriptors go.
#[derive(Clone, Copy, Debug)]
pub struct KernelFiles {
    /// The root that they are attached in.
    pub root: Slot,
    /// /dev.
    pub dev: Slot,
    /// /proc.
    pub proc: Slot,
    /// /sys.
    pub sys: Slot,
    /// /dev/pts.
    pub pts: Slot,
    /// /dev/shm, and what is opened and mounted at once.
    pub shm: Slot,
    /// Paths are hidden and read-only.
    pub masked: bool,
    /// Devices are bound, since none may be made in a user namespace, and its
    /// devpts knows no group tty.
    pub in_user_namespace: bool,
    /// /proc is a new one, of this pid namespace; otherwise the host's,
    /// read-only.
    pub own_proc: bool,
    /// /sys is a new one, of this network namespace; otherwise the host's.
    pub own_sys: bool,
}

impl KernelFiles {
    /// One tmpfs serves for /dev, /dev/shm and the covers of what is masked: a
    /// file system costs 13 µs, a clone of a directory 3. The covers lie below
    /// the mount point of devpts, which hides them from the program.
    pub fn dev(&self, plan: &mut Builder<'_>) {
        tmpfs(plan, self.dev, DEV_ATTRIBUTES, b"0755");
        self.attach(plan, self.dev, c"dev");
        self.fill_dev(plan);
        if self.masked {
            plan.push(Step::Directory {
                under: self.dev,
                mode: 0o555,
                name: NO_DIRECTORY,
            })
            .push(Step::File {
                under: self.dev,
                mode: 0o444,
                name: NO_FILE,
            });
        }
    }

    /// The devices, links and directories of a tmpfs that is attached: where a
    /// device must not be made, the host's is bound, which kernels before 6.15
    /// do not do in a mount that is detached.
    pub fn fill_dev(&self, plan: &mut Builder<'_>) {
        self.devices(plan);
        for &(name, target) in &LINKS {
            plan.push(Step::Link {
                under: self.dev,
                name,
                target,
            });
        }
        for (name, mode) in [(c"pts", 0o755), (c"shm", 0o1777)] {
            plan.push(Step::Directory {
                under: self.dev,
                mode,
                name,
            });
        }
    }

    fn devices(&self, plan: &mut Builder<'_>) {
        for &(name, path, device) in &DEVICES {
            if !self.in_user_namespace {
                plan.push(Step::Device {
                    under: self.dev,
                    device,
                    name,
                });
                continue;
            }
            plan.push(Step::File {
                under: self.dev,
                mode: 0o444,
                name,
            })
            .push(Step::OpenTree {
                into: self.shm,
                flags: 0,
                attributes: NOSUID | NOEXEC,
                path,
            })
            .push(Step::Attach {
                mount: self.shm,
                under: self.dev,
                flags: Step::NO_FOLLOW | Step::CLOSE,
                target: name,
            });
        }
    }

    fn attach(&self, plan: &mut Builder<'_>, mount: Slot, target: &CStr) {
        plan.push(Step::Attach {
            mount,
            under: self.root,
            flags: Step::NO_FOLLOW | Step::CREATE,
            target,
        });
    }

    /// /proc and /sys; [`KernelFiles::dev`] comes before.
    pub fn proc_and_sys(&self, plan: &mut Builder<'_>) {
        const QUIET: u64 = NOSUID | NODEV | NOEXEC;
        for (into, own, name, path, attributes, target) in [
            (self.proc, self.own_proc, c"proc", c"/proc", 0, c"proc"),
            (self.sys, self.own_sys, c"sysfs", c"/sys", RDONLY, c"sys"),
        ] {
            if own {
                plan.begin_list(Step::FileSystem {
                    into,
                    attributes: attributes | QUIET,
                    options: List::EMPTY,
                })
                .string(name)
                .end();
            } else {
                plan.push(Step::OpenTree {
                    into,
                    flags: Step::RECURSIVE,
                    attributes: RDONLY | QUIET,
                    path,
                });
            }
            self.attach(plan, into, target);
        }
        if self.masked {
            self.masks(plan);
        }
    }

    fn masks(&self, plan: &mut Builder<'_>) {
        if self.own_proc {
            names(
                plan.begin_list(Step::ReadOnly {
                    under: self.proc,
                    names: List::EMPTY,
                }),
                &READ_ONLY,
            );
        }
        self.mask(plan, self.proc, NO_FILE, &MASKED_FILES);
        self.mask(plan, self.proc, NO_DIRECTORY, &MASKED_DIRECTORIES);
        self.mask(plan, self.sys, NO_DIRECTORY, &MASKED_SYS);
    }

    #[inline(never)]
    fn mask(&self, plan: &mut Builder<'_>, under: Slot, cover: &CStr, masked: &[&CStr]) {
        let step = plan.begin_list(Step::Mask {
            under,
            covers: self.dev,
            names: List::EMPTY,
        });
        names(step.string(cover), masked);
    }

    /// /dev/pts and /dev/shm; without `own_pts` a step before has made the
    /// former. [`KernelFiles::proc_and_sys`] comes before: what this mounts hides
    /// the covers.
    pub fn pts_and_shm(&self, plan: &mut Builder<'_>, own_pts: bool) {
        if own_pts {
            let step = plan.begin_list(Step::FileSystem {
                into: self.pts,
                attributes: DEVPTS_ATTRIBUTES,
                options: List::EMPTY,
            });
            if self.in_user_namespace {
                names(step, &[c"devpts", c"mode", c"0600", c"ptmxmode", c"0666"]);
            } else {
                names(step, &DEVPTS);
            }
        }
        plan.push(Step::Bind {
            into: self.shm,
            under: self.dev,
            flags: 0,
            attributes: NOSUID | NODEV | NOEXEC,
            name: c"shm",
        });
        for (mount, target) in [(self.pts, c"pts"), (self.shm, c"shm")] {
            plan.push(Step::Attach {
                mount,
                under: self.dev,
                flags: Step::NO_FOLLOW,
                target,
            });
        }
    }
}

/// The strings of the step that is open, and its end.
fn names(step: &mut Builder<'_>, names: &[&CStr]) {
    for name in names {
        step.string(name);
    }
    step.end();
}
