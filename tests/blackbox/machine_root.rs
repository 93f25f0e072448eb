//! Machines whose root is a disk: an initramfs of ours mounts it and makes room.

use std::fs;

use kickstage_tests::{
    TestResult,
    guest::{self, image, kernel},
    requirement::Requirement,
    tests,
};

tests![from_a_disk, a_disk_without_an_init];

/// The whole code arrives on the host by a serial line, also one that an exit device
/// can't tell from another; what was written is on the disk.
fn from_a_disk() -> TestResult {
    Requirement::Guest.require()?;
    Requirement::Ext4.require()?;
    let script = "echo was here > /proof; busybox mount; busybox ls /; exit 200";
    let disk = image::disk(&["--", "/bin/busybox", "sh", "-c", script]);
    let initramfs = image::initramfs(kernel::DISK, &[]);
    let code = image::channel();
    guest::boot(
        &initramfs,
        "rw stage1.root=/dev/vda stage1.log=steps stage1.exit=/dev/ttyS1",
    )
    .args(["-serial", &format!("file:{}", code.display())])
    .args([
        "-drive",
        &format!("file={},format=raw,if=virtio", disk.display()),
    ])
    .output()
    .code(0)
    .has("/dev/vda on / type ext4 (rw")
    .has("on /dev/pts type devpts")
    .has("on /sys/fs/cgroup type cgroup2")
    .has("stage1-init: kernel done at ")
    .has("stage1-init: root done at ")
    .has("stage1-init: the pod ended with code 200")
    .lacks("root.new")
    .lacks("modules.d")
    .lacks("panic");
    assert_eq!(
        fs::read_to_string(code).expect("the code").trim_end(),
        "200"
    );
    assert_eq!(image::file_of(&disk, "/proof"), "was here\n");
    Ok(())
}

/// Told, and the initramfs is still there for the shell that was asked for. The
/// type is named, and the disk read-only.
fn a_disk_without_an_init() -> TestResult {
    Requirement::Guest.require()?;
    Requirement::Ext4.require()?;
    let disk = image::disk(&["/bin/busybox", "true"]);
    let shell = format!("{}:/bin/sh", kickstage_tests::roots::BUSYBOX);
    let initramfs = image::initramfs(kernel::DISK, &["--tree", &shell]);
    let mut running = guest::boot(
        &initramfs,
        "stage1.root=ext4:/dev/vda init=/sbin/none stage1.rescue stage1.exit-port=244",
    )
    .args([
        "-drive",
        &format!("file={},format=raw,if=virtio", disk.display()),
    ])
    .open_input()
    .start();
    running.wait_for("stage1-init: exec /sbin/none: No such file or directory");
    running.wait_for("# ");
    running.send("busybox=/bin/sh; read type < /init && echo still here; mount; exit\n");
    running
        .finish()
        .code((254 * 2 + 1) & 0xff)
        .has("/dev/vda on /root.new type ext4 (ro")
        .has("stage1-init: the pod ended with code 254")
        .lacks("panic");
    Ok(())
}
