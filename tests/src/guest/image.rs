//! Initramfs images by our builder, and disks, for machines.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::kernel;
use crate::{
    command::{Run, program},
    roots::{self, BUSYBOX, directory},
};

/// An initramfs with busybox in /app and these modules; `options` are the builder's,
/// what follows `--` among them is the plan's.
///
/// # Panics
/// If it can't be packed.
#[must_use]
pub fn initramfs(modules: &[&str], options: &[&str]) -> PathBuf {
    let output = directory("machine").join("image.cpio");
    let tree = format!("{BUSYBOX}:/app/bin/busybox");
    let modules = kernel::files(modules).expect("the kernel's modules");
    let modules = modules
        .into_iter()
        .flat_map(|path| ["--module".into(), path]);
    Run::ours("kickstage-initramfs")
        .arg("--output")
        .arg(&output)
        .args(["--tree", &tree])
        .args(modules)
        .args(options)
        .output()
        .code(0)
        .quiet();
    output
}

/// A disk of 16 MB with ext4: busybox in /bin, our init as /sbin/init, and the plan
/// that these options of `stage0 plan` make.
///
/// # Panics
/// If it can't be made.
#[must_use]
pub fn disk(plan: &[&str]) -> PathBuf {
    let folder = directory("disk");
    let tree = folder.join("tree");
    for name in [
        "bin",
        "sbin",
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "etc/kickstage",
    ] {
        fs::create_dir_all(tree.join(name)).expect("a directory");
    }
    fs::copy(BUSYBOX, tree.join("bin/busybox")).expect("busybox");
    fs::copy(program("stage1-machine"), tree.join("sbin/stage1-machine")).expect("our init");
    // By way of a link that only the root of the disk can follow.
    symlink("/sbin/stage1-machine", tree.join("sbin/init")).expect("a link");
    Run::ours("stage0")
        .args(["plan", "--output"])
        .arg(tree.join("etc/kickstage/plan"))
        .args(["--rootfs", "/"])
        .args(plan)
        .output()
        .code(0)
        .quiet();
    let image = folder.join("disk.img");
    Run::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([&tree, &image])
        .arg("16M")
        .output()
        .code(0);
    image
}

/// The contents of a file on a disk that no machine uses.
#[must_use]
pub fn file_of(disk: &Path, path: &str) -> String {
    let output = Run::new("debugfs")
        .args(["-R", &format!("cat {path}")])
        .arg(disk)
        .output();
    output.code(0);
    output.stdout
}

/// A new file for what a device of the machine writes.
#[must_use]
pub fn channel() -> PathBuf {
    roots::fresh("channel")
}
