//! A booted systemd, as the machine's own programs make it: systemd-nspawn with this
//! machine's /usr, and nothing of its configuration.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use crate::{
    command::{Output, Run, program},
    requirement::{Requirement, cgroup_v2, in_path},
    roots,
};

/// What starts it: in a mount namespace of its own, with an empty /run and a cgroup
/// tree of version 2, as the machines that run systemd today have it.
const START: &str = "set -e
mount -t tmpfs tmpfs /run
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo 0 >/sys/fs/cgroup/$CGROUP/cgroup.procs
exec systemd-nspawn --quiet --register=no --keep-unit --console=passive --private-network \
    --resolv-conf=off --timezone=off --link-journal=no --system-call-filter=bpf \
    --directory=\"$1\" --bind-ro=/usr \
    --bind-ro=\"$2\":/usr/local/bin --boot -- --unit=driver.service";

/// Runs the test's script, and then ends the machine with its code.
const DRIVER: &str = "[Unit]
Description=Runs the test
Wants=systemd-journald.socket
After=systemd-journald.socket basic.target
Requires=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /test/driver
";

/// What the service of the driver runs.
const DRIVER_SCRIPT: &str = "/bin/bash -eu /test/script >/test/out 2>/test/log
code=$?
[ $code = 0 ] || journalctl -o cat -t stage0 -t web -t worker -t limited >>/test/log
systemctl exit $code
";

/// Units that take time and that no test needs.
const MASKED: &[&str] = &[
    "ldconfig.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-random-seed.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-setup.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
    "dev-hugepages.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "tmp.mount",
];

/// A machine that is not booted yet.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    cgroup: PathBuf,
}

/// Whether one can be booted here: systemd is in a /usr that is all there is of
/// programs.
#[must_use]
pub fn possible() -> bool {
    let merged = |name: &str| fs::symlink_metadata(name).is_ok_and(|data| data.is_symlink());
    in_path("systemd-nspawn")
        && Path::new("/usr/lib/systemd/systemd").exists()
        && merged("/bin")
        && merged("/lib")
        && cgroup_v2().is_some()
}

impl Machine {
    /// A machine with nothing but systemd.
    ///
    /// # Errors
    /// The skip, where none can be booted.
    pub fn new() -> Result<Self, crate::Skip> {
        Requirement::Systemd.require()?;
        let root = roots::directory("machine");
        for name in [
            "usr",
            "etc/systemd/system",
            "var",
            "run",
            "tmp",
            "proc",
            "sys",
            "dev",
            "srv",
        ] {
            fs::create_dir_all(root.join(name)).expect("a directory");
        }
        fs::create_dir(root.join("test")).expect("a directory");
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{name}"), root.join(name)).expect("a link");
        }
        let file = |path: &str, text: &str| fs::write(root.join(path), text).expect("a file");
        file("etc/os-release", "NAME=test\nID=test\n");
        // With an id it is not the first boot, which would enable all units.
        file("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        file("etc/group", "root:x:0:\n");
        file("etc/systemd/system/driver.service", DRIVER);
        file("test/driver", DRIVER_SCRIPT);
        for name in MASKED {
            symlink("/dev/null", root.join("etc/systemd/system").join(name)).expect("a link");
        }
        let own = roots::fresh("cgroup").display().to_string();
        let own = own.replace('/', "-").replace("kickstage", "");
        let cgroup = cgroup_v2()
            .expect("the requirement")
            .join(format!("booted{own}"));
        fs::create_dir(&cgroup).expect("a cgroup");
        Ok(Self { root, cgroup })
    }

    /// A path inside, on the outside.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// Adds a unit, or a part of one.
    pub fn unit(&self, name: &str, text: &str) {
        let path = self.path("etc/systemd/system").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a directory");
        fs::write(path, text).expect("a unit");
    }

    /// Makes `/srv/NAME` a root for pods, with busybox and the probe.
    ///
    /// # Errors
    /// The skip, where there is no busybox.
    pub fn pod_root(&self, name: &str) -> Result<PathBuf, crate::Skip> {
        let root = self.path("srv").join(name);
        fs::rename(roots::busybox()?, &root).expect("one file system");
        fs::create_dir_all(root.join("usr/bin")).expect("a directory");
        fs::create_dir(root.join("run")).expect("a directory");
        Ok(root)
    }

    /// Boots, runs the script by bash, and ends; what the script has printed, and its code.
    #[track_caller]
    #[must_use]
    pub fn boot(&self, script: &str) -> Output {
        fs::write(self.path("test/script"), script).expect("a script");
        let name = self.cgroup.file_name().expect("a name");
        let programs = program("stage0");
        let mut output = Run::new("unshare")
            .args([
                "--mount",
                "--propagation=private",
                "/bin/bash",
                "-c",
                START,
                "boot",
            ])
            .arg(&self.root)
            .arg(programs.parent().expect("a folder"))
            .env("CGROUP", name)
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .limit(Duration::from_secs(50))
            .output();
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap_or_default();
        let console = std::mem::replace(&mut output.stdout, read("test/out"));
        let _ = write!(
            output.stderr,
            "\n--- log\n{}--- console\n{console}",
            read("test/log")
        );
        output
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        }
        remove(&self.cgroup);
    }
}

/// Removes a cgroup and those below it, as soon as the kernel has forgotten the last
/// process.
fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    for _ in 0..1000 {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(1));
            }
            _ => return,
        }
    }
    println!(
        "left behind: {} in process {}",
        folder.display(),
        process::id()
    );
}
