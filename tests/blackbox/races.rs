//! CVE-2021-30465, CVE-2024-45310: a mount target is swapped for a link while
//! a pod starts.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kickstage_tests::{TestResult, command::program, compare, roots, tests};

tests![
    cve_2021_30465_target_on_a_shared_volume,
    cve_2021_30465_mount_points_of_the_root
];

/// Starts that race; KICKSTAGE_STARTS changes it.
fn starts() -> usize {
    std::env::var("KICKSTAGE_STARTS")
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(10_000)
}

/// Swaps both names as fast as it can, for as long as it lives.
struct Attacker(Child);

impl Attacker {
    fn start(a: &Path, b: &Path) -> Self {
        let child = Command::new(program("probe"))
            .arg("swap")
            .args([a, b])
            .arg("600000")
            .stdout(Stdio::null())
            .spawn()
            .expect("the probe");
        Self(child)
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.0.kill().expect("our child");
        self.0.wait().expect("our child");
    }
}

/// On a machine that is busy with other things a race ends after this time.
const PATIENCE: Duration = Duration::from_secs(75);

/// Runs `count` starts, some of which must work.
fn race(count: usize, arguments: &[&str]) {
    let stage0 = program("stage0");
    let end = Instant::now() + PATIENCE;
    let starts = (0..count).take_while(|_| Instant::now() < end);
    let worked = starts.filter(|_| {
        let status = Command::new(&stage0)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("stage0");
        match status.code() {
            Some(0) => true,
            Some(254) => false,
            _ => panic!("{status}"),
        }
    });
    assert!(worked.count() > 0, "no start worked: nothing was raced");
}

/// Another pod shares the volume and swaps a directory in it with a link to
/// a directory of the host, by its path from there.
fn cve_2021_30465_target_on_a_shared_volume() -> TestResult {
    let (root, shared, extra) = (
        roots::probe(),
        roots::directory("shared"),
        roots::directory("extra"),
    );
    let decoy = roots::directory("decoy");
    let before = compare::tree(&decoy);
    fs::create_dir(shared.join("a")).expect("a directory");
    symlink(&decoy, shared.join("b")).expect("a link");
    let attacker = Attacker::start(&shared.join("a"), &shared.join("b"));
    let (volume, inner) = (
        format!("{}:/data", shared.display()),
        format!("{}:/data/a/new", extra.display()),
    );
    let root = root.to_str().expect("UTF-8");
    let words = [
        "run",
        "--volume",
        &volume,
        "--volume",
        &inner,
        "--rootfs",
        root,
        "--",
        "/bin/probe",
        "exit",
        "0",
    ];
    race(starts() * 4 / 5, &words);
    drop(attacker);
    assert_eq!(compare::tree(&decoy), before, "the host was written");
    assert!(compare::names(&extra).is_empty());
    Ok(())
}

/// The same for the mount points of every start, in a root that is shared and
/// written: /proc, /dev.
fn cve_2021_30465_mount_points_of_the_root() -> TestResult {
    for name in ["proc", "dev"] {
        let root = roots::probe();
        let decoy = roots::directory("decoy");
        fs::write(decoy.join("null"), "decoy").expect("a file");
        let before = compare::tree(&decoy);
        symlink(&decoy, root.join("other")).expect("a link");
        let attacker = Attacker::start(&root.join(name), &root.join("other"));
        let path = root.to_str().expect("UTF-8");
        let words = ["run", "--rootfs", path, "--", "/bin/probe", "exit", "0"];
        race(starts() / 10, &words);
        drop(attacker);
        assert_eq!(compare::tree(&decoy), before, "the host was written");
    }
    Ok(())
}
