//! What fly mounts and makes in a root besides binds.

use std::{fs, fs::File, path::Path};

use kickstage_tests::{
    TestResult,
    command::Output,
    compare,
    fault::{MODERN, failing},
    pod::Pod,
    report::Report,
    roots, sys, tests,
};

tests![
    tmpfs_size_and_mode,
    bad_sizes_and_modes,
    modifiers_that_nothing_takes,
    directories,
    files_from_descriptors,
    many_files_from_descriptors,
    files_must_be_new,
    bad_descriptors,
    descriptors_are_closed,
    symbolic_links,
    remount_read_only,
    remount_of_no_mount,
    failures_leave_nothing,
    modes_are_exact,
    without_newer_calls,
];

pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs fly with these options and commands of the probe.
pub fn fly(options: &[&str], script: &[&str]) -> Output {
    Pod::fly(roots::probe()).options(options).probe(script)
}

fn tmpfs_size_and_mode() -> TestResult {
    for (size, shown) in [
        ("4096", "size=4k"),
        ("64K", "size=64k"),
        ("2M", "size=2048k"),
        ("1G", "size=1048576k"),
    ] {
        let report = fly(&["--size", size, "--tmpfs", "/tmp"], &["report", "mount"]).report();
        let mount = report.mount("/tmp");
        assert!(mount.super_options.contains(&shown.to_owned()), "{mount:?}");
        assert!(mount.has("nosuid") && mount.has("nodev"), "{mount:?}");
    }
    fly(
        &["--size", "64K", "--tmpfs", "/tmp"],
        &["fill", "/tmp/x", "100000"],
    )
    .code(1)
    .has("ENOSPC");
    let options = ["--perms", "1777", "--tmpfs", "/tmp", "--tmpfs", "/root"];
    fly(&options, &["stat", "/tmp", ",", "stat", "/root"])
        .code(0)
        .has("stat /tmp: type=dir mode=01777")
        .has("stat /root: type=dir mode=0755");
    Ok(())
}

fn bad_sizes_and_modes() -> TestResult {
    for size in ["", "0", "K", "1T", "-1", "1.5M", "99999999999G", "1 M"] {
        fly(&["--size", size, "--tmpfs", "/tmp"], &["exit", "0"]).refused(&["--size", "bytes"]);
    }
    for mode in ["", "8", "01x", "2000", "4755", "-1", "1777777"] {
        fly(&["--perms", mode, "--dir", "/x"], &["exit", "0"]).refused(&["--perms", "octal"]);
    }
    Ok(())
}

fn modifiers_that_nothing_takes() -> TestResult {
    for (options, name) in [
        (&["--size", "1M", "--dir", "/x"][..], "--size"),
        (&["--size", "1M", "--bind", "/etc", "/x"], "--size"),
        (&["--size", "1M"], "--size"),
        (&["--perms", "755", "--bind", "/etc", "/x"], "--perms"),
        (&["--perms", "755", "--symlink", "a", "/x"], "--perms"),
        (&["--perms", "755", "--dev", "/dev"], "--perms"),
        (&["--tmpfs", "/tmp", "--perms", "755"], "--perms"),
        (&["--no-recurse", "--tmpfs", "/tmp"], "--no-recurse"),
        (&["--no-recurse", "--proc", "/proc"], "--no-recurse"),
        (&["--no-recurse"], "--no-recurse"),
    ] {
        fly(options, &["exit", "0"]).refused(&[
            "option",
            name,
            "does not take it",
            "--perms is for",
        ]);
    }
    // Other options do not stand in between.
    fly(
        &["--perms", "700", "--setenv", "A", "1", "--dir", "/x"],
        &["stat", "/x"],
    )
    .code(0)
    .has("mode=0700");
    Ok(())
}

fn directories() -> TestResult {
    let root = roots::probe();
    let pod = Pod::fly(&root).options([
        "--dir",
        "/a/b/c",
        "--perms",
        "1700",
        "--dir",
        "/d",
        "--dir",
        "/etc",
        "--dir",
        "/tmp/../e",
    ]);
    for _ in 0..2 {
        // The second time all are there.
        pod.probe(["stat", "/a/b", ",", "stat", "/d", ",", "stat", "/e"])
            .code(0)
            .has("stat /a/b: type=dir mode=0755 uid=0 gid=0")
            .has("stat /d: type=dir mode=01700")
            .has("stat /e: type=dir mode=0755");
    }
    Pod::fly(&root)
        .options(["--dir", "/etc/passwd"])
        .probe(["exit", "0"])
        .refused(&["make directory /etc/passwd", "Not a directory"]);
    Pod::fly(&root)
        .options(["--dir", "/etc/passwd/below"])
        .probe(["exit", "0"])
        .refused(&["make directory /etc/passwd/below", "Not a directory"]);
    Ok(())
}

/// A file of the host with this text, to be read through a descriptor.
fn source(text: &str) -> File {
    let path = roots::fresh("input");
    fs::write(&path, text).expect("a file");
    File::open(path).expect("a file")
}

fn files_from_descriptors() -> TestResult {
    let root = roots::probe();
    let large = "0123456789abcdef".repeat(5000);
    let input = source(&large);
    let pod = Pod::fly(&root).options([
        "--file",
        "7",
        "/new/large",
        "--perms",
        "600",
        "--file",
        "0",
        "/tmp/piped",
    ]);
    let command = pod.probe_command([
        "stat",
        "/new/large",
        ",",
        "stat",
        "/tmp/piped",
        ",",
        "read",
        "/tmp/piped",
        ",",
        "report",
        "fd",
    ]);
    let output = command
        .input("from a pipe")
        .hook(move || sys::duplicate_onto(&input, 7))
        .output();
    output
        .code(0)
        .has("stat /new/large: type=file mode=0644 uid=0 gid=0 size=80000")
        .has("stat /tmp/piped: type=file mode=0600")
        .has("from a pipe")
        .lacks("fd.7=");
    assert_eq!(
        fs::read_to_string(root.join("new/large")).expect("a file"),
        large
    );
    Ok(())
}

/// Descriptors between those that are read are closed, whatever the order.
fn many_files_from_descriptors() -> TestResult {
    let root = roots::probe();
    let inputs: Vec<(i32, File)> = [140, 103, 190, 104, 141, 200]
        .into_iter()
        .map(|number| (number, source(&format!("file {number}"))))
        .collect();
    let directory = File::open("/").expect("a directory");
    let mut pod = Pod::fly(&root);
    for (number, _) in &inputs {
        pod = pod.options(["--file", &number.to_string(), &format!("/tmp/{number}")]);
    }
    let output = pod
        .probe_command(["report", "fd", ",", "list", "/tmp"])
        .hook(move || {
            for number in [105, 139, 142, 150, 300] {
                sys::duplicate_onto(&directory, number)?;
            }
            inputs
                .iter()
                .try_for_each(|(number, file)| sys::duplicate_onto(file, *number))
        })
        .output();
    output.code(0);
    let report = Report::new(&output.stdout);
    assert_eq!(report.below("fd").len(), 3, "{}", output.everything());
    for number in [140, 103, 190, 104, 141, 200] {
        let text = fs::read_to_string(root.join(format!("tmp/{number}"))).expect("a file");
        assert_eq!(text, format!("file {number}"));
    }
    Ok(())
}

fn files_must_be_new() -> TestResult {
    let root = roots::probe();
    std::os::unix::fs::symlink("/tmp/elsewhere", root.join("link")).expect("a link");
    let before = compare::tree(&root);
    for path in ["/etc/passwd", "/link", "/etc"] {
        Pod::fly(&root)
            .options(["--file", "0", path])
            .probe_command(["exit", "0"])
            .input("text")
            .output()
            .refused(&["make file", path, "File exists", "--tmpfs"]);
    }
    for path in ["/", "/etc/..", "."] {
        Pod::fly(&root)
            .options(["--file", "0", path])
            .probe(["exit", "0"])
            .refused(&["make file", "Is a directory"]);
    }
    assert_eq!(compare::tree(&root), before);
    Ok(())
}

fn bad_descriptors() -> TestResult {
    let root = roots::probe();
    let before = compare::tree(&root);
    for number in ["", "x", "-1", "2147483648", "99999999999999999999", "+5"] {
        Pod::fly(&root)
            .options(["--file", number, "/tmp/x"])
            .probe(["exit", "0"])
            .refused(&["descriptor", "it is no number"]);
    }
    // Not open, and what can't be read.
    Pod::fly(&root)
        .options(["--file", "77", "/tmp/x"])
        .probe(["exit", "0"])
        .refused(&["/tmp/x", "Bad file descriptor", "open it for reading"]);
    let directory = File::open("/").expect("a directory");
    Pod::fly(&root)
        .options(["--file", "9", "/new/x"])
        .probe_command(["exit", "0"])
        .hook(move || sys::duplicate_onto(&directory, 9))
        .output()
        .refused(&["/new/x", "Is a directory"]);
    assert_eq!(compare::tree(&root), before, "nothing is left");
    Ok(())
}

/// A start that fails, or whose program looks, has no descriptor of a directory
/// (CVE-2024-21626).
fn descriptors_are_closed() -> TestResult {
    let input = source("text");
    let output = Pod::fly(roots::probe())
        .options(["--ro", "--tmpfs", "/tmp", "--file", "8", "/tmp/x"])
        .probe_command(["report", "fd"])
        .hook(move || sys::duplicate_onto(&input, 8))
        .output();
    let report = output.report();
    let numbers: Vec<&str> = report
        .below("fd")
        .into_iter()
        .map(|(number, _)| number)
        .collect();
    assert_eq!(numbers, ["0", "1", "2"]);
    Ok(())
}

fn symbolic_links() -> TestResult {
    let root = roots::probe();
    let options = [
        "--symlink",
        "/etc/passwd",
        "/new/link",
        "--symlink",
        "../no/where",
        "/tmp/dangling",
        "--symlink",
        "usr",
        "/lib64/",
    ];
    let pod = Pod::fly(&root).options(options);
    for _ in 0..2 {
        // The second time they are there, as asked for.
        pod.probe([
            "readlink",
            "/new/link",
            ",",
            "readlink",
            "/tmp/dangling",
            ",",
            "readlink",
            "/lib64",
        ])
        .code(0)
        .printed("/etc/passwd\n../no/where\nusr\n");
    }
    for (target, path) in [("other", "/new/link"), ("x", "/etc"), ("x", "/etc/passwd")] {
        Pod::fly(&root)
            .options(["--symlink", target, path])
            .probe(["exit", "0"])
            .refused(&["make link", path, "File exists"]);
    }
    Ok(())
}

fn remount_read_only() -> TestResult {
    let (root, source) = (roots::probe(), roots::directory("source"));
    fs::create_dir(source.join("sub")).expect("a directory");
    let options = [
        "--bind",
        text(&source),
        "/data",
        "--tmpfs",
        "/data/sub",
        "--remount-ro",
        "/data",
        "--remount-ro",
        "/sys",
        "--tmpfs",
        "/tmp",
        "--dir",
        "/tmp/kept",
        "--remount-ro",
        "/tmp",
    ];
    let script = [
        "create",
        "/data/x",
        ",",
        "create",
        "/data/sub/x",
        ",",
        "create",
        "/tmp/x",
        ",",
        "list",
        "/tmp",
    ];
    let pod = Pod::fly(&root).options(options);
    pod.probe(script)
        .code(1)
        .has("create /data/x: EROFS")
        .has("create /data/sub/x: ok")
        .has("create /tmp/x: EROFS")
        .has("kept");
    let report = pod.probe(["report", "mount"]).report();
    assert!(report.mount("/sys").has("ro"));
    // The other attributes stay, and the host's mounts are as they were.
    assert!(report.mount("/data").has("nodev"));
    fs::write(source.join("x"), "").expect("the host may write");
    Ok(())
}

fn remount_of_no_mount() -> TestResult {
    for path in ["/etc", "/etc/passwd", "/"] {
        fly(&["--remount-ro", path], &["exit", "0"]).refused(&[
            "make read-only",
            path,
            "nothing mounted",
            "--ro",
        ]);
    }
    fly(&["--remount-ro", "/not/there"], &["exit", "0"])
        .refused(&["/not/there", "No such file or directory"]);
    Ok(())
}

fn failures_leave_nothing() -> TestResult {
    let root = roots::probe();
    let before = compare::tree(&root);
    let options = [
        "--dir",
        "/a/b",
        "--perms",
        "700",
        "--dir",
        "/a/c",
        "--symlink",
        "x",
        "/a/link",
        "--file",
        "0",
        "/a/b/file",
        "--tmpfs",
        "/a/b/t",
        "--dir",
        "/a/b/t/in",
        "--bind",
        "/etc/passwd",
        "/a/f",
        "--dev",
        "/d/dev",
        "--proc",
        "/d/proc",
        "--sys",
        "/d/sys",
    ];
    let pod = Pod::fly(&root).options(options);
    let failing = pod.clone().options(["--bind", "/not/there", "/e"]);
    failing
        .probe_command(["exit", "0"])
        .input("")
        .output()
        .refused(&["/not/there"]);
    assert_eq!(compare::tree(&root), before);
    // The program is the last that can fail.
    pod.command(["/bin/none"])
        .input("")
        .output()
        .refused(&["/bin/none"]);
    assert_eq!(compare::tree(&root), before);
    Ok(())
}

/// Whatever the caller's umask is, which the program gets unchanged.
fn modes_are_exact() -> TestResult {
    let root = roots::probe();
    let output = Pod::fly(&root)
        .options([
            "--dir", "/made/a", "--perms", "1777", "--dir", "/made/b", "--file", "0", "/made/c",
            "--perms", "666", "--file", "0", "/made/d",
        ])
        .probe_command([
            "stat", "/made", ",", "stat", "/made/a", ",", "stat", "/made/b", ",", "stat",
            "/made/c", ",", "stat", "/made/d", ",", "report", "umask",
        ])
        .hook(|| {
            sys::mask(0o077);
            Ok(())
        })
        .output();
    for line in [
        "stat /made: type=dir mode=0755",
        "stat /made/a: type=dir mode=0755",
        "stat /made/b: type=dir mode=01777",
        "stat /made/c: type=file mode=0644",
        "stat /made/d: type=file mode=0666",
        "umask=077",
    ] {
        output.code(0).has(line);
    }
    Ok(())
}

/// As on a kernel that lacks the newer calls, and under a filter that refuses
/// them.
fn without_newer_calls() -> TestResult {
    let source = roots::directory("source");
    fs::create_dir(source.join("sub")).expect("a directory");
    fs::write(source.join("mark"), "here").expect("a file");
    let source = text(&source);
    let options = format!(
        "--ephemeral --dir /new/a --file 9 /new/b --symlink b /new/c --ro-bind {source} /data \
         --bind {source} /rw --remount-ro /rw --dev /dev --bind-try /not/there /none"
    );
    let script = "create /data/x , create /rw/x , read /new/c , stat /dev/null , report fd , \
                  list /new , open /none r";
    let mut sets: Vec<Vec<i64>> = MODERN.iter().map(|(_, call)| vec![*call]).collect();
    sets.push(sets.concat());
    for calls in sets {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let (input, directory) = (source_file(), File::open("/").expect("a directory"));
            let filter = std::sync::Mutex::new(failing(&calls, errno));
            let output = Pod::fly(roots::probe())
                .options(options.split(' '))
                .probe_command(script.split(' '))
                .hook(move || {
                    sys::duplicate_onto(&input, 9)?;
                    sys::duplicate_onto(&directory, 8)?;
                    sys::duplicate_onto(&directory, 10)?;
                    filter.lock().expect("no panic")()
                })
                .output();
            output
                .code(1)
                .has("create /data/x: EROFS")
                .has("create /rw/x: EROFS")
                .has("from a file")
                .has("rdev=1:3")
                .has("open /none: ENOENT");
            let report = Report::new(&output.stdout);
            assert_eq!(report.below("fd").len(), 3, "{}", output.everything());
        }
    }
    Ok(())
}

fn source_file() -> File {
    source("from a file")
}
