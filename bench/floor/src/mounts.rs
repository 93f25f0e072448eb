//! The mounts and files of a pod, in the calls of the default plan.

use core::ffi::CStr;

use crate::sys::{self, Fd, raw};

const NOSUID: u32 = raw::MOUNT_ATTR_NOSUID;
const NODEV: u32 = raw::MOUNT_ATTR_NODEV;
const NOEXEC: u32 = raw::MOUNT_ATTR_NOEXEC;
const RDONLY: u32 = raw::MOUNT_ATTR_RDONLY;

/// The root file system, without device files, over the old root.
///
/// # Safety
/// A C string.
#[inline(always)]
pub unsafe fn root(path: *const u8) -> Fd {
    // SAFETY: the caller's promise.
    let root = unsafe { sys::open_root(path, NODEV) };
    sys::attach(root, sys::HERE, c"/");
    root
}

const QUIET: u32 = NOSUID | NODEV | NOEXEC;

/// /proc and /sys, with what the default plan makes read-only and hides.
#[inline(always)]
pub fn kernel(root: Fd, dev: Fd) {
    let proc = sys::create(sys::fsopen(c"proc"), QUIET);
    sys::attach(proc, root, c"proc");
    let sysfs = sysfs(root);
    for name in [c"bus", c"fs", c"irq", c"sys", c"sysrq-trigger"] {
        let clone = sys::open_tree_attr(proc, name, raw::AT_RECURSIVE, RDONLY);
        if clone >= 0 {
            sys::attach(clone, proc, name);
        }
    }
    hide(proc, sysfs, dev);
}

/// The host's /proc, read-only, and /sys, with what is hidden of them.
#[inline(always)]
pub fn kernel_of_host(root: Fd, dev: Fd) {
    let proc = sys::open_tree_attr(sys::HERE, c"/proc", raw::AT_RECURSIVE, QUIET | RDONLY);
    sys::attach(proc, root, c"proc");
    let sysfs = sysfs(root);
    hide(proc, sysfs, dev);
}

#[inline(always)]
fn sysfs(root: Fd) -> Fd {
    let sysfs = sys::create(sys::fsopen(c"sysfs"), QUIET | RDONLY);
    sys::attach(sysfs, root, c"sys");
    sysfs
}

/// Covers what tells about the host.
#[inline(always)]
fn hide(proc: Fd, sysfs: Fd, dev: Fd) {
    // Names that are missing on most kernels come first: a clone that is left
    // over at the end would cost a grace period when it is closed.
    let files = [
        c"kcore",
        c"latency_stats",
        c"timer_stats",
        c"sched_debug",
        c"keys",
        c"timer_list",
    ];
    mask(proc, dev, c"pts/no-file", &files, -1);
    let directories = [c"asound", c"scsi", c"acpi"];
    let left = mask(proc, dev, c"pts/no-directory", &directories, -1);
    let directories = [c"devices/virtual/powercap", c"firmware"];
    mask(sysfs, dev, c"pts/no-directory", &directories, left);
}

/// Covers `names` with clones of one file or directory. A clone that found
/// nothing to cover covers the next name; the last one is given back, or a
/// negative number.
#[inline(always)]
fn mask(under: Fd, dev: Fd, cover: &CStr, names: &[&CStr], left: Fd) -> Fd {
    let mut clone = left;
    for name in names {
        if clone < 0 {
            clone = sys::open_tree_attr(dev, cover, 0, RDONLY | NOSUID | NODEV | NOEXEC);
        }
        if sys::attach(clone, under, name) {
            clone = -1;
        }
    }
    clone
}

/// /dev, and in it what covers masked paths: in pts, where the terminals
/// cover it in turn.
#[inline(always)]
pub fn dev(root: Fd) -> Fd {
    let context = sys::fsopen(c"tmpfs");
    sys::option(context, c"mode", c"0755");
    let dev = sys::create(context, NOSUID | NOEXEC);
    nodes(dev);
    sys::directory(dev, c"pts/no-directory", 0o555);
    sys::file(dev, c"pts/no-file");
    sys::attach(dev, root, c"dev");
    dev
}

/// Terminals and shared memory of /dev.
#[inline(always)]
pub fn below_dev(dev: Fd) {
    let context = sys::fsopen(c"devpts");
    sys::option(context, c"mode", c"0620");
    sys::option(context, c"gid", c"5");
    sys::option(context, c"ptmxmode", c"0666");
    let terminals = sys::create(context, NOSUID | NOEXEC);
    let shared = sys::open_tree_attr(dev, c"shm", 0, NOSUID | NODEV | NOEXEC);
    sys::attach(terminals, dev, c"pts");
    sys::attach(shared, dev, c"shm");
}

/// Devices, links and directories of /dev.
#[inline(always)]
pub fn nodes(dev: Fd) {
    for (name, major, minor) in [
        (c"null", 1, 3),
        (c"zero", 1, 5),
        (c"full", 1, 7),
        (c"random", 1, 8),
        (c"urandom", 1, 9),
        (c"tty", 5, 0),
    ] {
        sys::device(dev, name, major, minor);
    }
    for (name, target) in [
        (c"fd", c"/proc/self/fd"),
        (c"stdin", c"/proc/self/fd/0"),
        (c"stdout", c"/proc/self/fd/1"),
        (c"stderr", c"/proc/self/fd/2"),
        (c"ptmx", c"pts/ptmx"),
    ] {
        sys::link(dev, name, target);
    }
    sys::directory(dev, c"pts", 0o755);
    sys::directory(dev, c"shm", 0o1777);
}
