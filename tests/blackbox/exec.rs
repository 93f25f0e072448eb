//! What is executed, and one line that says why not.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use kickstage_tests::{TestResult, pod::Pod, roots, sys, tests};

tests![
    missing_program,
    missing_in_path,
    directory,
    not_executable,
    missing_interpreter,
    missing_loader,
    missing_interpreter_of_an_interpreter,
    misleading_files,
    other_machine,
    mounted_noexec,
    missing_in_a_namespace,
    no_format,
    found_in_path,
    path_of_the_app_counts,
    relative_to_the_working_directory,
    arguments_arrive_as_they_are,
    options_end_at_the_program,
    script_with_interpreter,
    executable_only_for_its_owner,
    through_a_symlink,
    what_leads_to_itself,
];

/// Both ways to start the root.
fn both(root: &Path) -> [Pod; 2] {
    [Pod::new(root), Pod::fly(root)]
}

fn put(root: &Path, name: &str, text: &[u8], mode: u32) {
    let path = root.join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn missing_program() -> TestResult {
    for pod in both(&roots::probe()) {
        pod.run(["/nope"])
            .refused(&["/nope", "No such file or directory"]);
        pod.run(["/no/such/folder/nope"])
            .refused(&["/no/such/folder/nope", "No such file"]);
    }
    Ok(())
}

fn missing_in_path() -> TestResult {
    for pod in both(&roots::probe()) {
        pod.run(["nope"])
            .refused(&["nope", "No such file or directory"]);
    }
    Ok(())
}

fn directory() -> TestResult {
    for pod in both(&roots::probe()) {
        pod.run(["/tmp"]).refused(&["/tmp"]);
        pod.run(["/"]).refused(&["/"]);
    }
    Ok(())
}

fn not_executable() -> TestResult {
    let root = roots::probe();
    put(&root, "bin/data", b"text", 0o644);
    for pod in both(&root) {
        pod.run(["/bin/data"])
            .refused(&["/bin/data", "Permission denied"]);
    }
    Ok(())
}

fn missing_interpreter() -> TestResult {
    let root = roots::probe();
    put(&root, "bin/script", b"#!/no/such/interpreter\n", 0o755);
    for pod in both(&root) {
        pod.run(["/bin/script"])
            .refused(&["/bin/script", "interpreter", "/no/such/interpreter"]);
    }
    Ok(())
}

/// A dynamic program in a root without the loader: the kernel says ENOENT of a
/// file that is plainly there.
fn missing_loader() -> TestResult {
    let root = roots::probe();
    fs::copy("/bin/true", root.join("bin/dynamic")).expect("a dynamic program");
    for pod in both(&root) {
        pod.run(["/bin/dynamic"]).refused(&[
            "/bin/dynamic",
            "interpreter",
            "/lib64/ld-linux-x86-64.so.2",
        ]);
    }
    Ok(())
}

/// The one that is missing is named, and a carriage return is seen.
fn missing_interpreter_of_an_interpreter() -> TestResult {
    let root = roots::probe();
    fs::copy("/bin/true", root.join("bin/dynamic")).expect("a dynamic program");
    put(&root, "bin/one", b"#!/bin/two x\n", 0o755);
    put(&root, "bin/two", b"#! \t/bin/dynamic", 0o755);
    put(&root, "bin/dos", b"#!/bin/probe\r\n", 0o755);
    put(&root, "bin/data", b"#!/bin/file\n", 0o755);
    put(&root, "bin/file", b"text", 0o644);
    for pod in both(&root) {
        for (name, missing) in [
            ("/bin/one", "interpreter /lib64/ld-linux-x86-64.so.2 is"),
            ("/bin/dos", "interpreter /bin/probe\\x0d is"),
            ("/bin/data", "interpreter /bin/file is"),
        ] {
            pod.run([name]).refused(&["exec", name, missing]);
        }
    }
    Ok(())
}

/// The head of an ELF file: its class, byte order and machine.
fn head(class: u8, order: u8, machine: u16) -> Vec<u8> {
    let mut head = b"\x7fELF".to_vec();
    head.extend([class, order, 1]);
    head.resize(16, 0);
    let numbers = [2, machine];
    for number in numbers {
        head.extend(match order {
            2 => number.to_be_bytes(),
            _ => number.to_le_bytes(),
        });
    }
    head.resize(64, 0);
    head
}

/// Headers whose numbers lead nowhere: an error, whatever they say.
fn misleading_files() -> TestResult {
    let root = roots::probe();
    let mut heads = Vec::new();
    for at in [32, 40, 54, 56, 28, 42, 44] {
        let mut head = head(2, 1, 62);
        head[at..at + 2].fill(0xff);
        head.extend([3, 0, 0, 0].repeat(64));
        heads.push(head.clone());
        head[4] = 1;
        heads.push(head);
    }
    let length = heads.len();
    heads.extend((1..20).map(|length| head(2, 1, 62)[..length].to_vec()));
    for (index, head) in heads.iter().enumerate() {
        put(&root, "bin/bad", head, 0o755);
        // The start of a whole head is the same for the kernel, whatever follows.
        let pods = both(&root);
        let some = if index < length {
            &pods[..]
        } else {
            &pods[1..]
        };
        for pod in some {
            pod.run(["/bin/bad"]).refused(&["exec /bin/bad"]);
        }
    }
    Ok(())
}

fn other_machine() -> TestResult {
    let root = roots::probe();
    for pod in both(&root) {
        for (class, order, machine, name) in [
            (2, 1, 183, "aarch64"),
            (2, 1, 243, "riscv"),
            (1, 1, 40, "arm"),
            (2, 2, 22, "s390"),
            (2, 2, 21, "ppc64"),
            (2, 1, 0xfff0, "?"),
        ] {
            put(&root, "bin/other", &head(class, order, machine), 0o755);
            let text = format!("program for {name}, not for this x86_64");
            pod.run(["/bin/other"]).refused(&["exec /bin/other", &text]);
        }
    }
    Ok(())
}

fn mounted_noexec() -> TestResult {
    let root = roots::probe();
    let probe = fs::File::open(root.join("bin/probe")).expect("the probe");
    let options = [
        "--dev",
        "/dev",
        "--perms",
        "0755",
        "--file",
        "7",
        "/dev/shm/p",
    ];
    for program in ["/dev/shm/p", "p"] {
        let probe = probe.try_clone().expect("a copy");
        Pod::fly(&root)
            .flag("--minimal")
            .options(options)
            .options(["--setenv", "PATH", "/bin:/dev/shm"])
            .command([program, "exit", "0"])
            .hook(move || sys::duplicate_onto(&probe, 7))
            .output()
            .refused(&["exec", program, "Permission denied"]);
    }
    let probe = probe.try_clone().expect("a copy");
    Pod::fly(&root)
        .flag("--minimal")
        .options(options)
        .command(["/dev/shm/p", "exit", "0"])
        .hook(move || sys::duplicate_onto(&probe, 7))
        .output()
        .refused(&["mounted noexec"]);
    Ok(())
}

/// What is read is the root's, also where the launcher itself is outside.
fn missing_in_a_namespace() -> TestResult {
    let root = roots::probe();
    put(&root, "bin/script", b"#!/no/such/interpreter\n", 0o755);
    for options in [&["--unshare-pid"][..], &["--unshare-all"], &["--confine"]] {
        Pod::fly(&root)
            .options(options)
            .run(["/bin/script"])
            .refused(&["/bin/script", "interpreter /no/such/interpreter is"]);
    }
    Ok(())
}

fn no_format() -> TestResult {
    let root = roots::probe();
    put(&root, "bin/text", b"just text\n", 0o755);
    put(&root, "bin/empty", b"", 0o755);
    for pod in both(&root) {
        pod.run(["/bin/text"])
            .refused(&["/bin/text", "Exec format error"]);
        pod.run(["/bin/empty"])
            .refused(&["/bin/empty", "Exec format error"]);
    }
    Ok(())
}

fn found_in_path() -> TestResult {
    for pod in both(&roots::probe()) {
        pod.run(["probe", "exit", "3"]).code(3).quiet();
    }
    Ok(())
}

/// The PATH that the app gets is the one that it is searched in.
fn path_of_the_app_counts() -> TestResult {
    let root = roots::probe();
    fs::create_dir(root.join("opt")).expect("a directory");
    fs::rename(root.join("bin/probe"), root.join("opt/probe")).expect("a move");
    for (pod, option) in [
        (Pod::new(&root), vec!["--set-env", "PATH=/bin:/opt"]),
        (Pod::fly(&root), vec!["--setenv", "PATH", "/bin:/opt"]),
    ] {
        pod.clone()
            .options(&option)
            .run(["probe", "exit", "3"])
            .code(3)
            .quiet();
        let output = pod.run(["probe", "exit", "3"]);
        assert_eq!(output.code, Some(254), "{}", output.everything());
    }
    Ok(())
}

fn relative_to_the_working_directory() -> TestResult {
    let root = roots::probe();
    Pod::new(&root)
        .options(["--working-dir", "/bin"])
        .run(["./probe", "exit", "3"])
        .code(3);
    Pod::fly(&root)
        .options(["--chdir", "/bin"])
        .run(["./probe", "exit", "3"])
        .code(3);
    Pod::new(&root).run(["bin/probe", "exit", "4"]).code(4);
    Ok(())
}

fn arguments_arrive_as_they_are() -> TestResult {
    let words = [
        "",
        " ",
        "a b",
        "-x",
        "--",
        "--rootfs",
        "ü€",
        "tab\there",
        "$HOME",
        "'quote\"",
        "a=b",
        "*",
    ];
    for pod in both(&roots::probe()) {
        let output = pod.probe(
            ["report", "arg", "exe"]
                .into_iter()
                .chain([","])
                .chain(["echo"])
                .chain(words),
        );
        let report = output.report();
        for (index, word) in words.iter().enumerate() {
            // arg.0 is the name, then: report arg exe , echo.
            report.is(&format!("arg.{}", index + 6), word);
        }
        report.is("arg.0", "/bin/probe").is("exe", "/bin/probe");
    }
    Ok(())
}

fn options_end_at_the_program() -> TestResult {
    use kickstage_tests::command::Run;
    let root = roots::probe();
    let root = root.to_str().expect("UTF-8");
    let words = ["/bin/probe", "echo", "--help", "--rootfs", "/nope"];
    let expected = "--help --rootfs /nope\n";
    Run::ours("stage0")
        .args(["run", "--rootfs", root])
        .args(words)
        .output()
        .code(0)
        .printed(expected);
    Run::ours("stage0")
        .args(["run", "--rootfs", root, "--"])
        .args(words)
        .output()
        .code(0)
        .printed(expected);
    Run::ours("stage0")
        .args(["run", &format!("--rootfs={root}")])
        .args(words)
        .output()
        .code(0)
        .printed(expected);
    Run::ours("fly")
        .arg(root)
        .args(words)
        .output()
        .code(0)
        .printed(expected);
    Run::ours("fly")
        .args([root, "--"])
        .args(words)
        .output()
        .code(0)
        .printed(expected);
    // Only the first `--` is ours.
    Run::ours("fly")
        .args([root, "--", "/bin/probe", "echo", "--", "x"])
        .output()
        .code(0)
        .printed("-- x\n");
    Ok(())
}

fn script_with_interpreter() -> TestResult {
    let root = roots::busybox()?;
    put(
        &root,
        "bin/script",
        b"#!/bin/sh\necho \"$0 $1\"; exit 9\n",
        0o755,
    );
    for pod in both(&root) {
        pod.run(["/bin/script", "x"])
            .code(9)
            .printed("/bin/script x\n")
            .quiet();
    }
    Ok(())
}

/// The permission that counts is the app's user's, not root's.
fn executable_only_for_its_owner() -> TestResult {
    let root = roots::probe();
    fs::copy(root.join("bin/probe"), root.join("bin/own")).expect("a copy");
    fs::set_permissions(root.join("bin/own"), fs::Permissions::from_mode(0o700)).expect("a mode");
    for pod in both(&root) {
        pod.run(["/bin/own", "exit", "5"]).code(5);
        pod.options(["--user", "1000"])
            .run(["/bin/own", "exit", "5"])
            .refused(&["/bin/own", "Permission denied"]);
    }
    Ok(())
}

fn through_a_symlink() -> TestResult {
    let root = roots::probe();
    symlink("/bin/probe", root.join("absolute")).expect("a link");
    symlink("bin/probe", root.join("relative")).expect("a link");
    // What the link names on the host must not matter.
    symlink("/usr/bin/env", root.join("outside")).expect("a link");
    for pod in both(&root) {
        pod.run(["/absolute", "exit", "6"]).code(6);
        pod.run(["/relative", "exit", "6"]).code(6);
        pod.run(["/outside"]).refused(&["/outside"]);
    }
    Ok(())
}

/// No magic link of /proc is needed for that; and one is named like any other program.
fn what_leads_to_itself() -> TestResult {
    let root = roots::probe();
    symlink("circle", root.join("circle")).expect("a link");
    symlink("/proc/self/exe", root.join("magic")).expect("a link");
    put(&root, "script", b"#!/script\n", 0o755);
    let advice = "Too many levels of symbolic links (it or its interpreter leads to itself, or";
    for pod in both(&root) {
        pod.run(["/circle"]).refused(&["exec /circle: ", advice]);
        pod.run(["/script"]).refused(&["exec /script: ", advice]);
    }
    Pod::new(&root)
        .run(["/magic"])
        .refused(&["exec /magic: ", advice]);
    Ok(())
}
