//! Logs of the programs of a pod in files, rotated by their size.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use kickstage_tests::{TestResult, pod::Pod, roots, sys, tests};

use crate::pods::programs;

tests![
    output_and_error,
    of_each_program,
    goes_on_at_the_end,
    rotated_by_size,
    sizes,
    whole_lines,
    a_line_longer_than_a_file,
    a_line_in_parts,
    old_ones_that_are_missing,
    over_restarts,
    one_stream_elsewhere,
    who_writes_without_end,
    no_other_process,
    a_file_that_is_emptied,
    a_line_that_another_one_ends,
    a_full_disk,
    a_disk_that_is_almost_full,
    no_inode_for_the_next_file,
    a_file_that_cannot_be_renamed,
    files_that_cannot_be_opened,
    a_folder_that_is_moved,
    a_folder_that_becomes_a_link,
    values_that_are_none,
];

#[track_caller]
fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a log, the oldest first.
fn files(path: &Path) -> Vec<PathBuf> {
    let old = |number: usize| PathBuf::from(format!("{}.{number}", path.display()));
    let mut found: Vec<PathBuf> = (1..=9).map(old).filter(|path| path.exists()).collect();
    found.reverse();
    found.push(path.to_owned());
    found
}

fn output_and_error() -> TestResult {
    let root = roots::probe();
    Pod::new(&root)
        .flag("--log=file:/tmp/log")
        .probe(["error", "one", ",", "echo", "two"])
        .code(0)
        .printed("")
        .quiet();
    assert_eq!(text(root.join("tmp/log")), "one\ntwo\n");
    let file = fs::metadata(root.join("tmp/log")).expect("a file");
    assert_eq!((file.mode() & 0o7777, file.uid()), (0o640, 0));
    Ok(())
}

fn of_each_program() -> TestResult {
    let root = roots::probe();
    let words = programs(&[
        "echo one",
        "--user=1000 --log=file:/etc/two | echo two",
        "--log=prefix | echo three",
        "echo four",
    ]);
    let output = Pod::new(&root).flag("--log=file:/one").run(words);
    output.code(0).printed("four\n");
    assert_eq!(output.stderr, "app-2: three\n");
    assert_eq!(text(root.join("one")), "one\n");
    assert_eq!(text(root.join("etc/two")), "two\n");
    Ok(())
}

fn goes_on_at_the_end() -> TestResult {
    let root = roots::probe();
    for _ in 0..3 {
        Pod::new(&root)
            .flag("--log=file:/tmp/log,size=10,keep=2")
            .probe(["echo", "hello"])
            .code(0);
    }
    assert_eq!(text(root.join("tmp/log.1")), "hello\nhello\n");
    assert_eq!(text(root.join("tmp/log")), "hello\n");
    Ok(())
}

/// None is lost, none is in two files.
fn rotated_by_size() -> TestResult {
    let root = roots::busybox()?;
    Pod::new(&root)
        .flag("--log=file:/tmp/log,size=100K,keep=9")
        .sh("seq 100000")
        .code(0)
        .quiet();
    let files = files(&root.join("tmp/log"));
    let all: String = files.iter().map(text).collect();
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert!(all == expected, "{} bytes of {}", all.len(), expected.len());
    assert_eq!(files.len(), 6);
    let (_, full) = files.split_last().expect("files");
    for path in full {
        let text = text(path);
        assert!(text.ends_with('\n'), "{}", path.display());
        assert!((100 << 10..(100 << 10) + 7).contains(&text.len()));
        assert_eq!(fs::metadata(path).expect("a file").mode() & 0o777, 0o640);
    }
    Ok(())
}

fn sizes() -> TestResult {
    let root = roots::busybox()?;
    for (index, (options, sizes)) in [
        // Without a size it is 1M, and four are kept.
        ("", &[1 << 20, 1 << 20, 1 << 20, 1 << 20, 0][..]),
        (",keep=1,size=64K", &[64 << 10, 0]),
        (",size=2M,keep=2", &[2 << 20, 2 << 20, 0]),
    ]
    .into_iter()
    .enumerate()
    {
        // Lines of 16 bytes, 8 MiB of them, make a file full without a rest.
        Pod::new(&root)
            .flag(&format!("--log=file:/tmp/log{index}{options}"))
            .sh("yes 123456789012345 | head -c 8388624")
            .code(0)
            .quiet();
        let files = files(&root.join(format!("tmp/log{index}")));
        let lengths = files.iter().map(|path| text(path).len());
        let expected: Vec<usize> = sizes.iter().map(|size| *size.max(&16)).collect();
        assert_eq!(lengths.collect::<Vec<_>>(), expected, "{options}");
    }
    Ok(())
}

fn whole_lines() -> TestResult {
    let root = roots::busybox()?;
    Pod::new(&root)
        .flag("--log=file:/tmp/log,size=10")
        .sh("echo 123456789; echo 1; echo 2; echo 34567; echo 1234567; echo x; echo y")
        .code(0);
    let files = files(&root.join("tmp/log"));
    let texts: Vec<String> = files.iter().map(text).collect();
    assert_eq!(
        texts,
        ["123456789\n", "1\n2\n34567\n", "1234567\nx\n", "y\n"]
    );
    Ok(())
}

/// It must not make a file grow for ever.
fn a_line_longer_than_a_file() -> TestResult {
    let root = roots::busybox()?;
    Pod::new(&root)
        .flag("--log=file:/tmp/log,size=8K,keep=9")
        .sh("head -c 100000 /dev/zero | tr '\\0' x; echo; echo end")
        .code(0);
    let files = files(&root.join("tmp/log"));
    let texts: Vec<String> = files.iter().map(text).collect();
    assert!(texts.iter().all(|text| text.len() <= 18 << 10), "{files:?}");
    let all = texts.concat();
    assert_eq!(all.len(), 100_000 + 5);
    assert!(all.ends_with("x\nend\n"));
    assert!(texts.len() > 4);
    Ok(())
}

fn a_line_in_parts() -> TestResult {
    let root = roots::busybox()?;
    Pod::new(&root)
        .flag("--log=file:/tmp/log,size=5")
        .sh("printf 1234; sleep 0.2; printf 567; sleep 0.2; echo 8; echo next")
        .code(0);
    assert_eq!(text(root.join("tmp/log.1")), "12345678\n");
    assert_eq!(text(root.join("tmp/log")), "next\n");
    Ok(())
}

fn old_ones_that_are_missing() -> TestResult {
    let root = roots::busybox()?;
    fs::write(root.join("tmp/log.2"), "old\n").expect("a file");
    Pod::new(&root)
        .flag("--log=file:/tmp/log,size=1,keep=3")
        .sh("echo a; echo b")
        .code(0);
    assert_eq!(text(root.join("tmp/log.3")), "old\n");
    assert_eq!(text(root.join("tmp/log.1")), "a\n");
    assert_eq!(text(root.join("tmp/log")), "b\n");
    assert!(!root.join("tmp/log.2").exists());
    Ok(())
}

fn over_restarts() -> TestResult {
    let root = roots::busybox()?;
    Pod::new(&root)
        .options(["--log=file:/tmp/log", "--restart=on-failure:2"])
        .flag("--pre-start=/bin/busybox echo before")
        .sh("echo main; exit 1")
        .code(1);
    assert_eq!(text(root.join("tmp/log")), "before\nmain\n".repeat(3));
    Ok(())
}

fn one_stream_elsewhere() -> TestResult {
    let root = roots::probe();
    Pod::new(&root)
        .options(["--log=file:/tmp/log", "--stdout=null"])
        .probe(["echo", "out", ",", "error", "err"])
        .code(0)
        .printed("")
        .quiet();
    assert_eq!(text(root.join("tmp/log")), "err\n");
    Ok(())
}

/// The pod ends all the same, and the files stay small.
fn who_writes_without_end() -> TestResult {
    let root = roots::busybox()?;
    let output = Pod::new(&root)
        .options(["--log=file:/tmp/log,size=10K,keep=2", "--stop-timeout=1"])
        .run([
            "/bin/sh",
            "-c",
            "while :; do echo x; done",
            "---",
            "/bin/probe",
            "sleep",
            "300",
            ",",
            "exit",
            "5",
        ]);
    output.code(5);
    assert!(
        output.elapsed < Duration::from_secs(5),
        "{:?}",
        output.elapsed
    );
    for path in files(&root.join("tmp/log")) {
        assert!(text(&path).len() <= 10 << 10, "{}", path.display());
    }
    Ok(())
}

/// pid 1 writes it.
fn no_other_process() -> TestResult {
    let root = roots::probe();
    Pod::new(&root)
        .flag("--log=file:/tmp/log")
        .probe(["processes"])
        .code(0);
    let processes = text(root.join("tmp/log"));
    assert_eq!(processes.lines().count(), 2, "{processes}");
    Ok(())
}

/// It is told once, and the program goes on to its end.
/// By whom it is read: it goes on at its end, wherever that is.
fn a_file_that_is_emptied() -> TestResult {
    let root = roots::busybox()?;
    let script = "echo first; while ! grep -q first /tmp/log; do sleep 0.02; done; \
        >/tmp/log; echo second";
    let pod = Pod::new(&root).flag("--log=file:/tmp/log");
    pod.sh(script).code(0).quiet();
    assert_eq!(text(root.join("tmp/log")), "second\n");
    Ok(())
}

/// Each begins with its name, also where the other one has not come to its end.
fn a_line_that_another_one_ends() -> TestResult {
    let first = "printf begun; >/tmp/begun; while ! test -e /tmp/said; do sleep 0.02; done";
    let output = Pod::new(roots::busybox()?)
        .options(["--log=prefix", "--ready=file:/tmp/begun"])
        .run([
            "/bin/sh",
            "-c",
            first,
            "---",
            "--log=prefix",
            "--after=app-0",
            "/bin/sh",
            "-c",
            "echo said; >/tmp/said",
        ]);
    output.code(0);
    assert_eq!(output.stderr, "app-0: begun\napp-1: said\n");
    Ok(())
}

fn a_full_disk() -> TestResult {
    let root = roots::busybox()?;
    let folder = root.join("small");
    fs::create_dir(&folder).expect("a directory");
    sys::mount_tmpfs(folder.to_str().expect("a path"), "size=64k").expect("a tmpfs");
    let output = Pod::new(&root)
        .flag("--log=file:/small/log,size=1M")
        .sh("seq 100000; echo end > /tmp/end");
    let used = text(folder.join("log"));
    sys::unmount(folder.to_str().expect("a path")).expect("unmounted");
    output.code(0);
    assert_eq!(
        output.stderr,
        "stage1-init: log to log: No space left on device\n"
    );
    assert_eq!(text(root.join("tmp/end")), "end\n");
    assert!(used.starts_with("1\n2\n3\n"));
    Ok(())
}

/// What has no room on it is told, also if some of it had.
fn a_disk_that_is_almost_full() -> TestResult {
    let root = roots::busybox()?;
    let folder = root.join("small");
    fs::create_dir(&folder).expect("a directory");
    sys::mount_tmpfs(folder.to_str().expect("a path"), "size=4k").expect("a tmpfs");
    fs::write(folder.join("log"), "before\n").expect("a file");
    let output = Pod::new(&root)
        .flag("--log=file:/small/log,size=1M")
        .sh("head -c 4096 /dev/zero");
    let size = fs::metadata(folder.join("log")).expect("a file").len();
    sys::unmount(folder.to_str().expect("a path")).expect("unmounted");
    output.code(0);
    assert_eq!(
        output.stderr,
        "stage1-init: log to log: No space left on device\n"
    );
    assert_eq!(size, 4096);
    Ok(())
}

/// It is told once, and what was written before stays: a file is given up only where that
/// makes room for the next one.
fn no_inode_for_the_next_file() -> TestResult {
    let root = roots::busybox()?;
    let folder = root.join("small");
    fs::create_dir(&folder).expect("a directory");
    sys::mount_tmpfs(folder.to_str().expect("a path"), "nr_inodes=8").expect("a tmpfs");
    let output = Pod::new(&root)
        .flag("--log=file:/small/log,size=2,keep=4")
        .sh("seq 4; until test -e /small/log.3; do sleep 0.01; done; \
         number=0; while touch /small/$number 2>/dev/null; do number=$((number + 1)); done; \
         seq 5 8");
    let texts: Vec<String> = files(&folder.join("log")).iter().map(text).collect();
    sys::unmount(folder.to_str().expect("a path")).expect("unmounted");
    output.code(0);
    assert_eq!(
        output.stderr,
        "stage1-init: log to log: No space left on device\n"
    );
    assert_eq!(texts, ["3\n", "4\n5\n", "6\n", "7\n8\n"]);
    Ok(())
}

/// It is told once, and rather grows than that a line is lost.
fn a_file_that_cannot_be_renamed() -> TestResult {
    let root = roots::busybox()?;
    fs::create_dir_all(root.join("tmp/log.1/x")).expect("a directory");
    let output = Pod::new(&root)
        .flag("--log=file:/tmp/log,size=10,keep=1")
        .sh("seq 1000");
    output.code(0);
    assert_eq!(output.stderr, "stage1-init: log to log: Is a directory\n");
    let expected: String = (1..=1000).map(|number| format!("{number}\n")).collect();
    assert_eq!(text(root.join("tmp/log")), expected);
    Ok(())
}

fn files_that_cannot_be_opened() -> TestResult {
    let root = roots::busybox()?;
    symlink("/etc/other", root.join("tmp/link")).expect("a link");
    symlink("/proc/self/cwd", root.join("tmp/magic")).expect("a link");
    fs::create_dir(root.join("tmp/folder")).expect("a directory");
    let busybox = ["/bin/busybox", "mkfifo", "/tmp/fifo"];
    Pod::new(&root).run(busybox).code(0);
    for path in [
        "/none/log",
        "/tmp/link",
        "/tmp/folder",
        "/tmp/fifo",
        "/tmp/magic/log",
        "/proc/self/fd/1",
        "/proc/1/cwd/log",
        "/dev/stdout",
    ] {
        let name = path.rsplit('/').next().expect("a name");
        Pod::new(&root)
            .flag(&format!("--log=file:{path}"))
            .probe(["echo", "never"])
            .refused(&[&format!("log to {name}: ")]);
    }
    assert!(!root.join("etc/other").exists());
    Ok(())
}

/// The files stay together.
fn a_folder_that_is_moved() -> TestResult {
    let root = roots::busybox()?;
    fs::create_dir(root.join("logs")).expect("a directory");
    Pod::new(&root)
        .flag("--log=file:/logs/log,size=1")
        .sh("echo a; sleep 0.3; mv /logs /moved; mkdir /logs; echo b")
        .code(0);
    assert_eq!(text(root.join("moved/log.1")), "a\n");
    assert_eq!(text(root.join("moved/log")), "b\n");
    assert_eq!(
        fs::read_dir(root.join("logs"))
            .expect("a directory")
            .count(),
        0
    );
    Ok(())
}

/// A program can't make pid 1 rename what is not its own.
fn a_folder_that_becomes_a_link() -> TestResult {
    let root = roots::busybox()?;
    fs::create_dir(root.join("own")).expect("a directory");
    std::os::unix::fs::chown(root.join("own"), Some(1000), None).expect("an owner");
    std::os::unix::fs::chown(&root, Some(1000), None).expect("an owner");
    fs::write(root.join("etc/passwd"), "secret\n").expect("a file");
    Pod::new(&root)
        .options(["--user=1000", "--log=file:/own/passwd,size=1"])
        .sh("echo a; sleep 0.3; mv /own /other; ln -s /etc /own; echo b; echo c")
        .code(0);
    assert_eq!(text(root.join("etc/passwd")), "secret\n");
    assert!(!root.join("etc/passwd.1").exists());
    assert_eq!(text(root.join("other/passwd")), "c\n");
    Ok(())
}

fn values_that_are_none() -> TestResult {
    let pod = Pod::new(roots::probe());
    for value in [
        "file",
        "file:",
        "file:log",
        "file:/",
        "file:/tmp/",
        "file:/tmp/..",
        "file:/x,size=0",
        "file:/x,size=",
        "file:/x,size=1T",
        "file:/x,size=-1",
        "file:/x,keep=10",
        "file:/x,keep=0",
        "file:/x,keep=a",
        "file:/x,kept=1",
        "file:/x,",
    ] {
        pod.clone()
            .options(["--log", value])
            .probe(["exit", "0"])
            .refused(&[value, "none, prefix or file:PATH"]);
    }
    let words = programs(&["exit 0", "--log=file:/tmp/x,size=5 | exit 0"]);
    pod.clone()
        .flag("--log=file:/tmp/x")
        .run(words)
        .refused(&["file:/tmp/x,size=5", "another program logs"]);
    let words = programs(&["exit 0", "--log=file:/tmp/x.1 | exit 0"]);
    pod.clone()
        .flag("--log=file:/tmp/x")
        .run(words)
        .refused(&["file:/tmp/x.1", "another program logs"]);
    for (one, other) in [("a", "a.1"), ("a.9", "a")] {
        let other = format!("--name={other} --log=pod | exit 0");
        let words = programs(&["exit 0", &other]);
        pod.clone()
            .options(["--register", "--log=pod", "--name", one])
            .run(words)
            .refused(&["pod", "another program logs"]);
    }
    Ok(())
}
