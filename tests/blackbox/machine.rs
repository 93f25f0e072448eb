//! stage1-init as the first process of a kernel, from an initramfs of our builder.

use std::{fs, path::PathBuf};

use kickstage_tests::{
    TestResult,
    command::Run,
    guest::{self, image},
    requirement::Requirement,
    roots, tests,
};

tests![
    boots_and_reports_the_code,
    end_without_a_failure,
    an_unreadable_plan,
    ctrl_alt_del,
    plans_of_machines,
    same_bytes_twice,
];

/// An initramfs with busybox in /app, where `programs` run.
fn pack(programs: &[&str]) -> PathBuf {
    let options = ["--", "--rootfs", "/app", "--hostname", "board", "--"];
    image::initramfs(&[], &[&options, programs].concat())
}

/// Three apps: one fails with 7 and ends the machine, in order.
fn boots_and_reports_the_code() -> TestResult {
    Requirement::Guest.require()?;
    let bb = "/bin/busybox";
    let image = pack(&[
        bb,
        "sh",
        "-c",
        "busybox sleep 1; busybox hostname; exit 7",
        "---",
        bb,
        "sh",
        "-c",
        "busybox mount; echo pid $(busybox cat /proc/1/comm)",
        "---",
        bb,
        "sleep",
        "1000",
    ]);
    let output = guest::boot(&image, "stage1.exit-port=244 stage1.log=steps").output();
    // The device makes twice the code and one of it (QEMU, hw/misc/debugexit.c).
    output
        .code(7 * 2 + 1)
        .has("board")
        .has("pid init")
        .has("on /proc type proc")
        .has("on /dev type devtmpfs")
        .has("on /run type tmpfs")
        .has("on /sys/fs/cgroup type cgroup2")
        .has("stage1-init: plan done at ")
        .has("stage1-init: the pod ended with code 7")
        .lacks("panic");
    Ok(())
}

/// Code 0, and the machine is off without an exit device.
fn end_without_a_failure() -> TestResult {
    Requirement::Guest.require()?;
    let image = pack(&["/bin/busybox", "sh", "-c", "echo alive; busybox mount"]);
    let settings =
        "stage1.wrong stage1.watchdog=0 stage1.cgroup=1 stage1.address=eth0:10.0.0.256/8";
    // As long as the kernel's bound: what is longer is cut by it, or it does not even
    // start.
    let left = 2047 - guest::command_line(settings).len() - 1;
    guest::boot(&image, &format!("{settings} {}", "x".repeat(left)))
        .output()
        .code(0)
        .has("stage1-init: read /proc/cmdline: File too large")
        .has("stage1-init: read option stage1.wrong: there is no such setting")
        .has("stage1-init: read option stage1.watchdog=0: there is no such setting")
        .has("stage1-init: read option stage1.address=eth0:10.0.0.256/8: there is no")
        .has("cgroup on /sys/fs/cgroup/memory type cgroup")
        .has("cgroup on /sys/fs/cgroup/pids type cgroup")
        .lacks("cgroup2")
        .has("alive")
        .has("stage1-init: the pod ended with code 0")
        .lacks("panic");
    Ok(())
}

fn an_unreadable_plan() -> TestResult {
    Requirement::Guest.require()?;
    let image = pack(&["/bin/busybox", "echo", "alive"]);
    guest::boot(&image, "stage1.plan=/init stage1.exit-port=244")
        .output()
        .code((254 * 2 + 1) & 0xff)
        .has("stage1-init: read the plan: ")
        .has("stage1-init: the pod ended with code 254")
        .lacks("alive")
        .lacks("panic");
    guest::boot(&image, "stage1.plan=/none")
        .output()
        .code(0)
        .has("stage1-init: read /none: No such file or directory")
        .has("stage1-init: the pod ended with code 254")
        .lacks("panic");
    Ok(())
}

/// SIGINT, which ctrl-alt-del is: the apps are stopped, and the machine starts again.
fn ctrl_alt_del() -> TestResult {
    Requirement::Guest.require()?;
    let bb = "/bin/busybox";
    let script = "busybox kill -INT 1; busybox sleep 1000";
    let image = pack(&[bb, "sh", "-c", script, "---", bb, "sleep", "1000"]);
    guest::boot(&image, "")
        .output()
        .code(0)
        .has("stage1-init: the pod ended with code 0")
        .has("reboot: Restarting system");
    Ok(())
}

/// What belongs to pods is refused.
fn plans_of_machines() -> TestResult {
    let plan = roots::directory("machine").join("plan");
    let stage0 = |options: &[&str]| {
        Run::ours("stage0")
            .args(["plan", "--output"])
            .arg(&plan)
            .args(options)
            .args(["--rootfs", "/app", "/bin/true"])
            .output()
    };
    stage0(&[]).code(0).quiet();
    assert!(fs::metadata(&plan).expect("a plan").len() > 100);
    for option in [
        "--ephemeral",
        "--tty",
        "--net=none",
        "--tmpfs=/x",
        "--stage1=fly",
    ] {
        stage0(&[option]).refused(&["not with --output, which is for machines"]);
    }
    Run::ours("stage0")
        .args(["run", "--output", "x", "--rootfs", "/app", "/bin/true"])
        .output()
        .refused(&["--output", "only for plan"]);
    Ok(())
}

fn same_bytes_twice() -> TestResult {
    let [one, two] = [(); 2].map(|()| fs::read(pack(&["/bin/busybox", "true"])).expect("an image"));
    assert!(one == two, "two archives of the same files differ");
    Ok(())
}
