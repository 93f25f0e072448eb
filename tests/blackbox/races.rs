//! CVE-2021-30465, CVE-2024-45310: a mount target is swapped for a link while
//! a pod starts.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kickstage_tests::{TestResult, command::program, compare, fault::failing, roots, sys, tests};

tests![
    cve_2021_30465_target_on_a_shared_volume,
    cve_2021_30465_mount_points_of_the_root,
    cve_2024_45310_fly_on_a_shared_volume,
    cve_2024_45310_fly_without_openat2,
    cve_2024_45310_fly_mount_points_of_the_root,
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
    race_of("stage0", count, PATIENCE, arguments, &[]);
}

/// The same of one of our programs, where `missing` calls are missing.
fn race_of(name: &str, count: usize, patience: Duration, arguments: &[&str], missing: &[i64]) {
    let path = program(name);
    let end = Instant::now() + patience;
    let starts = (0..count).take_while(|_| Instant::now() < end);
    let worked = starts.filter(|_| {
        let mut command = Command::new(&path);
        command
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if !missing.is_empty() {
            sys::before_exec(&mut command, failing(missing, libc::ENOSYS));
        }
        let status = command.status().expect("one of ours");
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

/// fly mounts and makes things on a volume that somebody else swaps: each of
/// its ways to walk, to make and to mount.
fn race_on_a_shared_volume(count: usize, missing: &[i64]) {
    let (root, shared, extra) = (
        roots::probe(),
        roots::directory("shared"),
        roots::directory("extra"),
    );
    let decoy = roots::directory("decoy");
    fs::create_dir(decoy.join("there")).expect("a directory");
    let before = compare::tree(&decoy);
    fs::create_dir(shared.join("a")).expect("a directory");
    fs::create_dir(shared.join("a/there")).expect("a directory");
    symlink(&decoy, shared.join("b")).expect("a link");
    let attacker = Attacker::start(&shared.join("a"), &shared.join("b"));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (root, shared, source) = (text(&root), text(&shared), text(&extra));
    let ways: [&[&str]; 6] = [
        &["--bind", &source, "/data/a/new"],
        &["--tmpfs", "/data/a/there"],
        &["--dir", "/data/a/made/deep"],
        &["--symlink", "target", "/data/a/link"],
        &["--file", "0", "/data/a/file"],
        &[
            "--remount-ro",
            "/data",
            "--ro-bind",
            &source,
            "/data/b/there",
        ],
    ];
    for way in ways {
        // Nothing of ours is in the way of a file that must be new.
        let _ = fs::remove_file(Path::new(&shared).join("a/file"));
        let mut words = vec!["--bind", &shared, "/data"];
        words.extend(way);
        words.extend([root.as_str(), "--", "/bin/probe", "exit", "0"]);
        let patience = PATIENCE / 6;
        race_of("fly", count / ways.len(), patience, &words, missing);
    }
    drop(attacker);
    assert_eq!(compare::tree(&decoy), before, "the host was written");
    assert!(compare::names(&extra).is_empty());
}

fn cve_2024_45310_fly_on_a_shared_volume() -> TestResult {
    race_on_a_shared_volume(starts() * 8 / 10, &[]);
    Ok(())
}

fn cve_2024_45310_fly_without_openat2() -> TestResult {
    race_on_a_shared_volume(starts() / 10, &[libc::SYS_openat2]);
    Ok(())
}

fn cve_2024_45310_fly_mount_points_of_the_root() -> TestResult {
    for name in ["proc", "dev"] {
        let root = roots::probe();
        let decoy = roots::directory("decoy");
        fs::write(decoy.join("null"), "decoy").expect("a file");
        let before = compare::tree(&decoy);
        symlink(&decoy, root.join("other")).expect("a link");
        let attacker = Attacker::start(&root.join(name), &root.join("other"));
        let path = root.to_str().expect("UTF-8");
        let (option, place) = (format!("--{name}"), format!("/{name}"));
        for words in [
            &[path, "--", "/bin/probe", "exit", "0"][..],
            &[&option, &place, path, "--", "/bin/probe", "exit", "0"],
        ] {
            race_of("fly", starts() / 40, PATIENCE / 2, words, &[]);
        }
        drop(attacker);
        assert_eq!(compare::tree(&decoy), before, "the host was written");
    }
    Ok(())
}
