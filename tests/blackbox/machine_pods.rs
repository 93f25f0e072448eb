//! Pods of machines: several apps, and how long it takes until the first one speaks.

use std::time::Instant;

use kickstage_tests::{
    TestResult,
    guest::{self, image, kernel},
    requirement::Requirement,
    runner::SHOWN,
    tests,
};

tests![three_apps, time_to_the_first_line];

const BUSYBOX: &str = "/bin/busybox";

/// Ready, after, again after a failure, and stopped in the order: those that have
/// waited first. From a compressed image; the code arrives although one of the two
/// ways to tell it is not there.
fn three_apps() -> TestResult {
    Requirement::Guest.require()?;
    Requirement::Zstd.require()?;
    let database = "busybox sleep 0.5; echo db ready; echo > /run/ready
        trap 'echo db stopped; exit 0' TERM; while :; do busybox sleep 0.1; done";
    let web = "echo web finds $(busybox ls /run/ready)
        while ! busybox test -e /run/again; do busybox sleep 0.1; done; exit 5";
    let worker = "if busybox test -e /run/once; then echo worker again; else
            echo worker fails; echo > /run/once; exit 9; fi
        trap 'echo worker stopped; exit 0' TERM
        echo > /run/again; while :; do busybox sleep 0.1; done";
    let options = ["--zstd", "--", "--rootfs", "/app"];
    let programs = [
        &[
            "--name=db",
            "--ready=file:/run/ready",
            BUSYBOX,
            "sh",
            "-c",
            database,
        ][..],
        &["---", "--name=web", "--after=db", BUSYBOX, "sh", "-c", web],
        &[
            "---",
            "--name=worker",
            "--after=db",
            "--restart=on-failure:3",
        ],
        &[BUSYBOX, "sh", "-c", worker],
    ];
    let image = image::initramfs(kernel::VSOCK, &[&options[..], &programs.concat()].concat());
    let output = guest::boot(&image, "stage1.exit=vsock:5000 stage1.exit-port=244").output();
    output
        .code(5 * 2 + 1)
        .has("web finds /run/ready")
        .lacks("panic")
        .has("report the code to the host's vsock: nobody listens there");
    let mut rest = output.stdout.as_str();
    for text in [
        "db ready",
        "worker fails",
        "worker again",
        "worker stopped",
        "db stopped",
        "stage1-init: the pod ended with code 5",
    ] {
        rest = rest
            .split_once(text)
            .unwrap_or_else(|| panic!("{text}: {}", output.stdout))
            .1;
    }
    Ok(())
}

/// From power-on to the app's first line, by stage, as the guest's clock has it; what
/// the host saw beyond that is QEMU's and the firmware's.
fn time_to_the_first_line() -> TestResult {
    Requirement::Guest.require()?;
    let script = "read up idle < /proc/uptime; echo app at $up s";
    let image = image::initramfs(
        &[],
        &["--", "--rootfs", "/app", BUSYBOX, "sh", "-c", script],
    );
    let start = Instant::now();
    let running = guest::boot(&image, "stage1.log=steps").start();
    running.wait_for("app at ");
    let seen = start.elapsed().as_millis();
    let output = running.finish();
    output.code(0).has("all done at ");
    let number = |name: &str, end: &str| -> f64 {
        let (_, rest) = output.stdout.split_once(name).expect(name);
        let (number, _) = rest.split_once(end).expect("an end");
        number.parse().expect("a number")
    };
    let mut last = 0.0;
    let mut split = String::new();
    for stage in ["kernel", "mounts", "modules", "plan", "app"] {
        let at = match stage {
            "app" => number("app at ", " s") * 1000.0,
            _ => number(&format!("stage1-init: {stage} done at "), " ms"),
        };
        // The shell's clock has hundredths of a second.
        assert!(at + 10.0 >= last, "{stage} at {at}, before {last}");
        split += &format!(", {stage} {:.0}", at - last);
        last = at;
    }
    println!("{SHOWN}from power-on to the app's first line: {seen} ms; of the guest's{split}");
    Ok(())
}
