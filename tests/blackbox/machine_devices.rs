//! Devices of machines: the watchdog, a network card, and channels for the code.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kickstage_tests::{
    TestResult,
    command::Run,
    guest::{self, image, kernel},
    requirement::Requirement,
    tests,
};

tests![watchdog, network_and_channel, code_by_vsock];

const OPTIONS: [&str; 6] = ["--", "--rootfs", "/app", "/bin/busybox", "sh", "-c"];

/// It is told of pid 1's life for longer than its time, and starts the machine again
/// when pid 1 does nothing more, here since it is frozen. QEMU then ends.
fn watchdog() -> TestResult {
    Requirement::Guest.require()?;
    let script = "busybox sleep 8; echo survived; cd /sys/fs/cgroup; busybox mkdir x
        echo 1 > x/cgroup.procs; echo frozen; echo 1 > x/cgroup.freeze; busybox sleep 1000";
    let image = image::initramfs(kernel::DEVICES, &[&OPTIONS[..], &[script]].concat());
    guest::boot(&image, "stage1.watchdog=5")
        .args(["-device", "i6300esb", "-watchdog-action", "reset"])
        .output()
        .code(0)
        .has("survived")
        .has("frozen")
        .lacks("the pod ended")
        .lacks("panic");
    Ok(())
}

/// A program reaches the host by the address it was given, there is a way to
/// everywhere else, and the code 0 arrives through a virtio port, which an exit device
/// could not tell. A watchdog that is not needed any more is stopped.
fn network_and_channel() -> TestResult {
    Requirement::Guest.require()?;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heard = thread::spawn(move || {
        let mut text = String::new();
        let (mut peer, _) = listener.accept().expect("the guest");
        peer.read_to_string(&mut text).expect("its words");
        text
    });
    let script = format!(
        "echo hello | busybox nc -w 20 10.0.2.2 {port}; busybox route -n; busybox ifconfig eth0"
    );
    let image = image::initramfs(kernel::DEVICES, &[&OPTIONS[..], &[&script]].concat());
    let code = image::channel();
    let settings = "stage1.address=eth0:10.0.2.15/24,10.0.2.3 stage1.address=lo:192.0.2.1/32 \
        stage1.address=none:10.0.0.1/8 stage1.address=lo:192.0.2.2/32,203.0.113.1 stage1.watchdog=60 stage1.exit=/dev/vport1p1";
    let output = guest::boot(&image, settings)
        .args([
            "-netdev",
            "user,id=net",
            "-device",
            "virtio-net-pci,netdev=net",
        ])
        .args([
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtserialport,chardev=code",
        ])
        .args(["-chardev", &format!("file,id=code,path={}", code.display())])
        .args(["-device", "i6300esb"])
        .output();
    output
        .code(0)
        .has("inet addr:10.0.2.15  Bcast:10.0.2.255  Mask:255.255.255.0")
        .has("0.0.0.0         10.0.2.3        0.0.0.0         UG")
        .has("stage1-init: set none:10.0.0.1/8: No such device")
        .has("stage1-init: set lo:192.0.2.2/32,203.0.113.1: no interface leads there")
        .has("stage1-init: the pod ended with code 0")
        .lacks("report the code")
        .lacks("did not stop")
        .lacks("panic");
    assert_eq!(heard.join().expect("no panic"), "hello\n");
    assert_eq!(fs::read_to_string(code).expect("the code"), "0\n");
    Ok(())
}

/// All 8 bits of the code, by a connection to the host.
fn code_by_vsock() -> TestResult {
    Requirement::Guest.require()?;
    Requirement::Vsock.require()?;
    // A port and a context of nobody else's, also not of a run beside this one.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let own = 10_000 + now.expect("a clock").subsec_micros();
    let listener = Run::new("socat")
        .args(["-u", &format!("VSOCK-LISTEN:{own}"), "STDOUT"])
        .limit(Duration::from_secs(60))
        .start();
    let image = image::initramfs(kernel::VSOCK_HOST, &[&OPTIONS[..], &["exit 213"]].concat());
    guest::boot(&image, &format!("stage1.exit=vsock:{own}"))
        .args(["-device", &format!("vhost-vsock-pci,guest-cid={own}")])
        .output()
        .code(0)
        .has("stage1-init: the pod ended with code 213")
        .lacks("report the code");
    listener.finish().code(0).printed("213\n");
    Ok(())
}
