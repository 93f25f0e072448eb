//! Files that `fly --landlock` leaves to a program.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use kickstage_tests::{TestResult, fault, pod::Pod, roots, sys, tests};

tests![
    reads_and_executes_only,
    writes,
    everything_else_is_denied,
    files_and_links,
    the_program_has_to_be_allowed,
    nobody_gets_out,
    implies_no_new_privileges,
    without_root,
    with_confine_and_a_user,
    hostile_roots,
    bad_rules,
    a_kernel_without_it,
];

fn root() -> PathBuf {
    let root = roots::probe();
    for name in ["data", "other"] {
        fs::create_dir(root.join(name)).expect("a directory");
        fs::write(root.join(name).join("file"), "text").expect("a file");
    }
    root
}

fn rules(pod: Pod, rules: &[&str]) -> Pod {
    rules
        .iter()
        .fold(pod, |pod, rule| pod.options(["--landlock", rule]))
}

fn reads_and_executes_only() -> TestResult {
    let pod = rules(Pod::fly(root()), &["ro=/data", "ro=/bin"]);
    let output = pod.probe([
        "read",
        "/data/file",
        ",",
        "list",
        "/data",
        ",",
        "create",
        "/data/new",
        ",",
        "append",
        "/data/file",
        "x",
        ",",
        "unlink",
        "/data/file",
        ",",
        "mkdir",
        "/data/dir",
        ",",
        "symlink",
        "x",
        "/data/link",
        ",",
        "exec",
        "/bin/probe",
        "echo",
        "executed",
    ]);
    output
        .code(0)
        .has("textfile\n")
        .has("create /data/new: EACCES")
        .has("append /data/file: EACCES")
        .has("unlink /data/file: EACCES")
        .has("mkdir /data/dir: EACCES")
        .has("symlink x: EACCES")
        .has("executed\n");
    Ok(())
}

fn writes() -> TestResult {
    let pod = rules(Pod::fly(root()), &["ro=/bin", "rw=/data"]);
    let output = pod.probe([
        "create",
        "/data/new",
        ",",
        "append",
        "/data/new",
        "x",
        ",",
        "write",
        "/data/new",
        "y",
        ",",
        "mkdir",
        "/data/dir",
        ",",
        "symlink",
        "x",
        "/data/link",
        ",",
        "rename",
        "/data/new",
        "/data/dir/moved",
        ",",
        "read",
        "/data/dir/moved",
        ",",
        "unlink",
        "/data/dir/moved",
        ",",
        "rmdir",
        "/data/dir",
    ]);
    output.code(0).lacks("EACCES").lacks("EXDEV");
    Ok(())
}

fn everything_else_is_denied() -> TestResult {
    let pod = rules(Pod::fly(root()), &["ro=/bin", "rw=/data"]);
    let output = pod.probe([
        "read",
        "/other/file",
        ",",
        "list",
        "/",
        ",",
        "create",
        "/tmp/x",
        ",",
        "open",
        "/dev/null",
        "w",
        ",",
        "read",
        "/proc/self/stat",
        ",",
        "read",
        "/data/../other/file",
        ",",
        "rename",
        "/data/file",
        "/other/x",
    ]);
    output
        .code(1)
        .has("read /other/file: EACCES")
        .has("list /: EACCES")
        .has("create /tmp/x: EACCES")
        .has("open /dev/null: EACCES")
        .has("read /proc/self/stat: EACCES")
        .has("read /data/../other/file: EACCES");
    assert!(
        output.stdout.contains("rename /data/file: EACCES")
            || output.stdout.contains("rename /data/file: EXDEV"),
        "{}",
        output.everything()
    );
    Ok(())
}

fn files_and_links() -> TestResult {
    let root = root();
    symlink("/data", root.join("link")).expect("a link");
    let pod = rules(
        Pod::fly(&root),
        &["ro=/bin", "rw=/other/file", "ro=/link", "rw=/dev/null"],
    );
    let output = pod.probe([
        "append",
        "/other/file",
        "more",
        ",",
        "read",
        "/other/file",
        ",",
        "read",
        "/data/file",
        ",",
        "list",
        "/other",
        ",",
        "append",
        "/data/file",
        "x",
        ",",
        "append",
        "/dev/null",
        "x",
    ]);
    output
        .code(1)
        .has("textmore")
        .has("list /other: EACCES")
        .has("append /data/file: EACCES")
        .has("append /dev/null: ok");
    Ok(())
}

fn the_program_has_to_be_allowed() -> TestResult {
    let root = root();
    rules(Pod::fly(&root), &["ro=/data"])
        .probe(["exit", "0"])
        .refused(&["exec /bin/probe", "Permission denied", "--landlock"]);
    rules(Pod::fly(&root), &["ro=/bin/probe"])
        .probe(["exit", "3"])
        .code(3);
    Ok(())
}

/// What is denied stays so, for the children and after more rules.
fn nobody_gets_out() -> TestResult {
    let pod = rules(Pod::fly(root()), &["ro=/bin", "ro=/proc"]);
    let output = pod.probe([
        "chroot",
        "/proc/self/root",
        ",",
        "read",
        "/proc/self/root/data/file",
        ",",
        "read",
        "/data/file",
        ",",
        "mount-tmpfs",
        "/data",
        ",",
        "umount",
        "/proc",
    ]);
    output
        .code(1)
        .has("read /proc/self/root/data/file: EACCES")
        .has("read /data/file: EACCES")
        .has("umount /proc: EPERM");
    Ok(())
}

fn implies_no_new_privileges() -> TestResult {
    let pod = rules(Pod::fly(root()), &["ro=/"]);
    pod.probe(["report", "NoNewPrivs"])
        .report()
        .is("NoNewPrivs", "1");
    Ok(())
}

fn without_root() -> TestResult {
    let pod = rules(Pod::fly(root()).flag("--unshare-user"), &["ro=/bin"]);
    pod.probe_command(["read", "/data/file", ",", "exit", "4"])
        .hook(|| sys::become_user(1000, 1000))
        .output()
        .code(4)
        .has("read /data/file: EACCES");
    Ok(())
}

fn with_confine_and_a_user() -> TestResult {
    let root = root();
    for options in [
        &["--confine"][..],
        &["--confine", "--unshare-pid"],
        &["--confine", "--unshare-all", "--new-session"],
    ] {
        for user in ["0", "1000"] {
            let pod = Pod::fly(&root).options(options).options(["--user", user]);
            rules(pod, &["ro=/bin", "ro=/proc"])
                .probe(["report", "uid", ",", "read", "/data/file", ",", "exit", "5"])
                .code(5)
                .has(&format!("uid={user}\n"))
                .has("read /data/file: EACCES");
        }
    }
    Ok(())
}

/// A path is one of the root, whatever its links say.
fn hostile_roots() -> TestResult {
    let root = root();
    let decoy = roots::directory("decoy");
    fs::write(decoy.join("secret"), "secret").expect("a file");
    symlink(&decoy, root.join("out")).expect("a link");
    symlink("/proc/self/root", root.join("magic")).expect("a link");
    symlink("loop", root.join("loop")).expect("a link");
    for (path, errno) in [
        ("/out", "No such file"),
        ("/magic", "symbolic links"),
        ("/loop", "symbolic links"),
        ("/nothing", "No such file"),
    ] {
        rules(Pod::fly(&root), &["ro=/bin", &format!("ro={path}")])
            .probe(["exit", "0"])
            .refused(&["allow files", path, errno]);
    }
    symlink("../../../..", root.join("tmp/up")).expect("a link");
    rules(Pod::fly(&root), &["ro=/tmp/up"])
        .probe(["list", "/"])
        .code(0)
        .has("other\n")
        .lacks("secret");
    Ok(())
}

fn bad_rules() -> TestResult {
    let root = root();
    for bad in [
        "",
        "ro",
        "ro=",
        "rw=",
        "ro=data",
        "/data",
        "rx=/data",
        "RO=/data",
        "ro:/data",
        "=/data",
        "ro= /data",
    ] {
        rules(Pod::fly(&root), &[bad])
            .probe(["exit", "0"])
            .refused(&["read option", "ro=PATH"]);
    }
    let long = format!("ro=/{}", "x".repeat(5000));
    rules(Pod::fly(&root), &[&long])
        .probe(["exit", "0"])
        .refused(&["path"]);
    Ok(())
}

fn a_kernel_without_it() -> TestResult {
    let root = root();
    for errno in [libc::ENOSYS, libc::EOPNOTSUPP] {
        rules(Pod::fly(&root), &["ro=/"])
            .probe_command(["exit", "0"])
            .hook(fault::failing(&[libc::SYS_landlock_create_ruleset], errno))
            .output()
            .refused(&["landlock", "this kernel lacks landlock"]);
    }
    Ok(())
}
