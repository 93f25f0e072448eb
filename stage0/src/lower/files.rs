//! The root of a pod, its /dev, /proc and /sys, and what of them is hidden.

use core::ffi::CStr;

use fly::{
    lower as common,
    plan::{List, Step},
};

use super::{
    DEV, LAYER, Lowering, NODEV, NOEXEC, NOSUID, PEER, PROC, PTS, RDONLY, ROOT, SHM, SYS, names,
};

/// Device numbers are small: 8 bits each (makedev(3)).
const DEVICES: [(&CStr, u64); 6] = [
    (c"null", (1 << 8) | 3),
    (c"zero", (1 << 8) | 5),
    (c"full", (1 << 8) | 7),
    (c"random", (1 << 8) | 8),
    (c"urandom", (1 << 8) | 9),
    (c"tty", 5 << 8),
];

const LINKS: [(&CStr, &CStr); 5] = [
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
/// Files and directories of /proc that root of the pod may read only.
const READ_ONLY: [&CStr; 5] = [c"bus", c"fs", c"irq", c"sys", c"sysrq-trigger"];

/// What covers a masked file, and a masked directory.
const NO_FILE: &CStr = c"pts/no-file";
const NO_DIRECTORY: &CStr = c"pts/no-directory";

impl<'a, I> Lowering<'_, 'a, '_, '_, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    pub(super) fn root(&mut self) {
        let path = self.options.rootfs;
        // A device node of the image's would reach the host's device: those of
        // /dev are enough.
        let mut attributes = if self.options.insecure { 0 } else { NODEV };
        if self.options.read_only_root {
            attributes |= RDONLY;
        }
        if self.options.ephemeral {
            common::tmpfs(self.plan, LAYER, NOSUID, b"0755");
            self.plan.push(Step::Overlay {
                into: ROOT,
                layer: LAYER,
                attributes,
                path,
            });
        } else {
            self.plan.push(Step::OpenTree {
                into: ROOT,
                flags: Step::RECURSIVE,
                attributes,
                path,
            });
        }
        self.plan.push(Step::AttachRoot { mount: ROOT });
    }

    pub(super) fn proc_and_sys(&mut self) {
        let own = |into, target| Step::Attach {
            mount: into,
            under: ROOT,
            flags: Step::NO_FOLLOW | Step::CREATE,
            target,
        };
        let plan = &mut *self.plan;
        for (into, name, attributes, target) in [
            (PROC, c"proc", NOSUID | NODEV | NOEXEC, c"proc"),
            (SYS, c"sysfs", RDONLY | NOSUID | NODEV | NOEXEC, c"sys"),
        ] {
            plan.begin_list(Step::FileSystem {
                into,
                attributes,
                options: List::EMPTY,
            })
            .string(name)
            .end()
            .push(own(into, target));
        }
        if self.options.insecure {
            return;
        }
        names(
            plan.begin_list(Step::ReadOnly {
                under: PROC,
                names: List::EMPTY,
            }),
            &READ_ONLY,
        );
        for (under, cover, masked) in [
            (PROC, NO_FILE, &MASKED_FILES[..]),
            (PROC, NO_DIRECTORY, &MASKED_DIRECTORIES[..]),
            (SYS, NO_DIRECTORY, &MASKED_SYS[..]),
        ] {
            let step = plan.begin_list(Step::Mask {
                under,
                covers: DEV,
                names: List::EMPTY,
            });
            names(step.string(cover), masked);
        }
    }

    /// One tmpfs serves for /dev, /dev/shm and the covers of what is masked: a
    /// file system costs 13 µs, a clone of a directory 3. The covers lie below
    /// the mount point of devpts, which hides them from the pod.
    pub(super) fn dev(&mut self) {
        common::tmpfs(self.plan, DEV, NOSUID | NOEXEC, b"0755");
        let confined = !self.options.insecure;
        let plan = &mut *self.plan;
        for (name, device) in DEVICES {
            plan.push(Step::Device {
                under: DEV,
                device,
                name,
            });
        }
        for (name, target) in LINKS {
            plan.push(Step::Link {
                under: DEV,
                name,
                target,
            });
        }
        for (name, mode) in [(c"pts", 0o755), (c"shm", 0o1777)] {
            plan.push(Step::Directory {
                under: DEV,
                mode,
                name,
            });
        }
        if confined {
            plan.push(Step::Directory {
                under: DEV,
                mode: 0o555,
                name: NO_DIRECTORY,
            })
            .push(Step::File {
                under: DEV,
                mode: 0o444,
                name: NO_FILE,
            });
        }
        plan.push(Step::Attach {
            mount: DEV,
            under: ROOT,
            flags: Step::NO_FOLLOW | Step::CREATE,
            target: c"dev",
        });
    }

    pub(super) fn pts_and_shm(&mut self) {
        let terminal = self.host.terminal;
        let plan = &mut *self.plan;
        if !terminal {
            let step = plan.begin_list(Step::FileSystem {
                into: PTS,
                attributes: common::DEVPTS_ATTRIBUTES,
                options: List::EMPTY,
            });
            names(step, &common::DEVPTS);
        }
        plan.push(Step::Bind {
            into: SHM,
            under: DEV,
            attributes: NOSUID | NODEV | NOEXEC,
            name: c"shm",
        });
        for (mount, target) in [(PTS, c"pts"), (SHM, c"shm")] {
            plan.push(Step::Attach {
                mount,
                under: DEV,
                flags: Step::NO_FOLLOW,
                target,
            });
        }
        if terminal {
            plan.push(Step::File {
                under: DEV,
                mode: 0o600,
                name: c"console",
            })
            .push(Step::Console {
                peer: PEER,
                under: DEV,
                name: c"console",
            });
        }
    }
}
