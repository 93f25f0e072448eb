//! Published attacks by images: links where mounts and files belong. One test
//! each, named after the row of the table of attacks.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use kickstage_tests::{TestResult, compare, pod::Pod, roots, terminal::Terminal, tests};

tests![
    cve_2019_16884_proc_is_a_symlink,
    cve_2019_16884_proc_is_covered_by_a_volume,
    cve_2019_16884_what_is_masked_is_covered,
    cve_2026_41579_dev_is_a_symlink,
    cve_2019_18837_parent_is_a_symlink,
    cve_2025_31133_dev_null_is_a_symlink,
    cve_2025_52565_console_is_a_symlink,
    cve_2025_52881_procfs_writes,
    cve_2018_15664_mount_points_inside,
    mount_points_are_unmade_inside,
    mount_points_with_a_content_stay,
];

/// Replaces `name` in `root` by a link to `target`.
fn replace(root: &Path, name: &str, target: impl AsRef<Path>) {
    let path = root.join(name);
    if path.exists() {
        fs::remove_dir(&path).expect("an empty directory");
    }
    symlink(target, path).expect("a link");
}

/// CVE-2019-16884, CVE-2023-27561, CVE-2025-54867.
fn cve_2019_16884_proc_is_a_symlink() -> TestResult {
    for name in ["proc", "sys"] {
        let decoy = roots::directory("decoy");
        for target in [
            decoy.to_str().expect("UTF-8"),
            "/tmp",
            "tmp",
            "/nowhere",
            ".",
        ] {
            let root = roots::probe();
            replace(&root, name, target);
            for pod in [
                Pod::new(&root),
                Pod::new(&root).flag("--ephemeral"),
                Pod::fly(&root),
            ] {
                pod.probe(["exit", "0"]).refused(&[name, "symbolic link"]);
            }
        }
        assert!(compare::names(&decoy).is_empty());
    }
    Ok(())
}

fn cve_2019_16884_proc_is_covered_by_a_volume() -> TestResult {
    let source = roots::directory("source");
    for target in [
        "/proc",
        "/proc/self",
        "/sys",
        "/sys/kernel",
        "/dev",
        "/proc/sys/kernel",
        "proc",
        "/tmp/../proc",
    ] {
        let root = roots::probe();
        Pod::new(&root)
            .volume(&source, target)
            .probe(["exit", "0"])
            .refused(&[target]);
        Pod::new(&root)
            .options(["--tmpfs", target])
            .probe(["exit", "0"])
            .refused(&[target]);
    }
    // By a link of the image.
    let root = roots::probe();
    symlink("/proc", root.join("link")).expect("a link");
    Pod::new(&root)
        .volume(&source, "/link")
        .probe(["exit", "0"])
        .refused(&["/link"]);
    Pod::new(&root)
        .volume(&source, "/link/self")
        .probe(["exit", "0"])
        .refused(&["/link"]);
    assert!(compare::names(&source).is_empty());
    Ok(())
}

/// What is masked there is of another file system, to which a link of the image leads, too.
fn cve_2019_16884_what_is_masked_is_covered() -> TestResult {
    let source = roots::directory("source");
    let root = roots::probe();
    let file = root.join("file");
    fs::write(&file, "").expect("a file");
    // All kernels have the first of them.
    for (name, masked, source) in [
        ("firmware", "sys/firmware", &source),
        ("kcore", "proc/kcore", &file),
        ("keys", "proc/keys", &file),
        ("acpi", "proc/acpi", &source),
    ] {
        let is_there = Path::new("/").join(masked).exists();
        assert!(is_there || name != "firmware");
        symlink(masked, root.join(name)).expect("a link");
        let name = format!("/{name}");
        for pod in [Pod::new(&root), Pod::new(&root).flag("--ephemeral")] {
            let output = pod.volume(source, &name).probe(["exit", "0"]);
            output.refused(&[
                name.as_str(),
                if is_there { "in /proc or /sys" } else { "" },
            ]);
        }
    }
    // What is not masked may be covered, though it is of the same.
    symlink("dev/shm", root.join("shared")).expect("a link");
    let output = Pod::new(&root).volume(&source, "/shared").probe([
        "list",
        "/dev/shm",
        ",",
        "create",
        "/dev/shm/there",
    ]);
    output.code(0).has("/dev/shm/there: ok");
    assert_eq!(compare::names(&source), ["there"]);
    fs::remove_file(source.join("there")).expect("a file");
    Ok(())
}

/// CVE-2026-41579, CVE-2026-47766.
fn cve_2026_41579_dev_is_a_symlink() -> TestResult {
    let decoy = roots::directory("decoy");
    fs::write(decoy.join("null"), "decoy").expect("a file");
    let before = compare::tree(&decoy);
    for target in [
        decoy.to_str().expect("UTF-8"),
        "../../../../../../../../dev",
        "/tmp",
        "/",
    ] {
        let root = roots::probe();
        replace(&root, "dev", target);
        let tree = compare::tree(&root);
        for pod in [
            Pod::new(&root),
            Pod::new(&root).flag("--ephemeral"),
            Pod::fly(&root),
        ] {
            pod.probe(["exit", "0"]).refused(&["dev", "symbolic link"]);
        }
        assert_eq!(compare::tree(&root), tree);
        assert_eq!(compare::tree(&decoy), before);
    }
    Ok(())
}

/// CVE-2019-18837, CVE-2026-87766: files made on the host.
fn cve_2019_18837_parent_is_a_symlink() -> TestResult {
    let (decoy, source) = (roots::directory("decoy"), roots::directory("source"));
    let file = source.join("file");
    fs::write(&file, "").expect("a file");
    let root = roots::probe();
    symlink(&decoy, root.join("link")).expect("a link");
    symlink("../../../../../../../../../../..", root.join("up")).expect("a link");
    let up = format!("/up{}/below", decoy.display());
    for pod in [
        Pod::new(&root),
        Pod::new(&root).flag("--ephemeral"),
        Pod::fly(&root),
    ] {
        for target in ["/link/new/folder", up.as_str()] {
            pod.clone()
                .volume(&source, target)
                .probe(["exit", "0"])
                .code(0);
            pod.clone()
                .options(["--tmpfs", target])
                .probe(["exit", "0"])
                .code(0);
        }
        pod.volume(&file, "/link/new/file")
            .probe(["exit", "0"])
            .code(0);
        assert!(compare::names(&decoy).is_empty(), "the host was written");
    }
    Ok(())
}

/// CVE-2025-31133, CVE-2025-62161: what masks is not the image's /dev/null.
fn cve_2025_31133_dev_null_is_a_symlink() -> TestResult {
    let root = roots::probe();
    let decoy = roots::directory("decoy").join("file");
    fs::write(&decoy, "decoy").expect("a file");
    symlink(&decoy, root.join("dev/null")).expect("a link");
    symlink("/proc/sys/kernel/core_pattern", root.join("dev/zero")).expect("a link");
    let script = [
        "stat",
        "/dev/null",
        ",",
        "write",
        "/dev/null",
        "x",
        ",",
        "read",
        "/proc/timer_list",
        ",",
        "read",
        "/proc/keys",
    ];
    for pod in [Pod::new(&root), Pod::fly(&root).flag("--confine")] {
        let output = pod.probe(script);
        assert!(
            output.stdout.starts_with("stat /dev/null: type=char"),
            "{}",
            output.everything()
        );
        assert!(
            output.stdout.lines().count() <= 4,
            "a masked path has contents\n{}",
            output.everything()
        );
    }
    assert_eq!(fs::read_to_string(&decoy).expect("a file"), "decoy");
    Ok(())
}

fn cve_2025_52565_console_is_a_symlink() -> TestResult {
    let root = roots::probe();
    let decoy = roots::directory("decoy").join("file");
    fs::write(&decoy, "decoy").expect("a file");
    symlink(&decoy, root.join("dev/console")).expect("a link");
    fs::create_dir(root.join("dev/pts")).expect("a directory");
    symlink(&decoy, root.join("dev/pts/0")).expect("a link");
    let terminal = Terminal::new(24, 80);
    let script = [
        "stat",
        "/dev/console",
        ",",
        "write",
        "/dev/console",
        "to the console",
        ",",
        "echo",
        "end",
    ];
    let pod = terminal.start(Pod::new(&root).probe_command(script));
    terminal.wait_for("end");
    pod.finish().code(0);
    assert!(
        terminal.shown().contains("stat /dev/console: type=char"),
        "{:?}",
        terminal.shown()
    );
    assert_eq!(fs::read_to_string(&decoy).expect("a file"), "decoy");
    Ok(())
}

/// CVE-2025-52881, CVE-2025-62596: a /proc of the image with files in it that
/// a careless launcher would write to.
fn cve_2025_52881_procfs_writes() -> TestResult {
    let root = roots::probe();
    let target = roots::directory("decoy").join("file");
    fs::write(&target, "decoy").expect("a file");
    for folder in [
        "proc/self/attr",
        "proc/self/task",
        "proc/thread-self/attr",
        "proc/sys/kernel",
    ] {
        fs::create_dir_all(root.join(folder)).expect("a directory");
    }
    for name in [
        "proc/self/attr/exec",
        "proc/thread-self/attr/exec",
        "proc/self/setgroups",
        "proc/sys/kernel/hostname",
    ] {
        symlink(&target, root.join(name)).expect("a link");
    }
    for pod in [
        Pod::new(&root).options(["--hostname", "x"]),
        Pod::new(&root).flag("--ephemeral"),
        Pod::fly(&root),
    ] {
        pod.probe(["exit", "0"]).code(0);
        assert_eq!(fs::read_to_string(&target).expect("a file"), "decoy");
    }
    Ok(())
}

/// Nothing is written into a rootfs by path: the mount points of a default
/// start too are made inside it.
fn cve_2018_15664_mount_points_inside() -> TestResult {
    let decoy = roots::directory("decoy");
    let root = roots::bare();
    for name in ["proc", "sys", "dev", "tmp"] {
        symlink(decoy.join(name), root.join(name)).expect("a link");
    }
    for pod in [
        Pod::new(&root),
        Pod::new(&root).flag("--ephemeral"),
        Pod::fly(&root),
    ] {
        pod.options(["--tmpfs", "/tmp"])
            .probe(["exit", "0"])
            .refused(&[]);
    }
    assert!(compare::names(&decoy).is_empty());
    Ok(())
}

/// A pod that makes the mount point `/data/f`, and then fails; and its root.
fn failing(launcher: fn(PathBuf) -> Pod) -> (Pod, PathBuf) {
    let (root, source) = (roots::probe(), roots::directory("source"));
    fs::write(source.join("f"), "source").expect("a file");
    symlink("/proc/sys", root.join("link")).expect("a link");
    let pod = launcher(root.clone())
        .volume(source.join("f"), "/data/f")
        .volume(&source, "/link/kernel");
    (pod, root)
}

const LAUNCHERS: [fn(PathBuf) -> Pod; 2] = [
    |root| Pod::new(root),
    |root| Pod::fly(root).flag("--confine"),
];

/// Who can write in a root puts links in the place of directories in which a start has made
/// mount points, and the start fails: nothing of the host goes in their place.
fn mount_points_are_unmade_inside() -> TestResult {
    for launcher in LAUNCHERS {
        let decoy = roots::directory("decoy");
        fs::write(decoy.join("f"), "").expect("a file");
        let (pod, root) = failing(launcher);
        let (data, old) = (root.join("data"), root.join("old"));
        let (is_over, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
        let swap = || {
            while !is_over.load(Relaxed) {
                if data.join("f").exists()
                    && fs::rename(&data, &old).is_ok()
                    && symlink(&decoy, &data).is_ok()
                {
                    swaps.fetch_add(1, Relaxed);
                    thread::sleep(Duration::from_millis(3));
                }
                let _ = fs::remove_file(&data);
                let _ = fs::remove_dir_all(&old);
                let _ = fs::remove_dir_all(&data);
            }
        };
        thread::scope(|scope| {
            scope.spawn(swap);
            while swaps.load(Relaxed) < 10 {
                pod.probe(["exit", "0"]).code(254);
            }
            is_over.store(true, Relaxed);
        });
        assert!(decoy.join("f").exists(), "a file of the host was removed");
    }
    Ok(())
}

/// What somebody has written meanwhile into a file that was made as a mount point.
fn mount_points_with_a_content_stay() -> TestResult {
    for launcher in LAUNCHERS {
        let (pod, root) = failing(launcher);
        let (file, new) = (root.join("data/f"), root.join("new"));
        let is_over = AtomicBool::new(false);
        let write = || {
            while !is_over.load(Relaxed) {
                if file.exists() && !new.exists() {
                    fs::write(&new, "content").expect("a file");
                    let _ = fs::rename(&new, &file);
                    let _ = fs::remove_file(&new);
                }
            }
        };
        thread::scope(|scope| {
            scope.spawn(write);
            // It may have come too late.
            while !file.exists() {
                pod.probe(["exit", "0"]).code(254);
            }
            is_over.store(true, Relaxed);
        });
        assert_eq!(fs::read_to_string(&file).expect("a file"), "content");
        // And as before when nobody interferes.
        fs::remove_dir_all(root.join("data")).expect("a directory");
        pod.probe(["exit", "0"]).code(254);
        assert!(!root.join("data").exists());
    }
    Ok(())
}
