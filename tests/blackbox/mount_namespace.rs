//! The empty mount namespace that the launcher of a detached pod holds, and what pods have
//! that get a copy of it.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use kickstage_tests::{
    TestResult,
    command::Run,
    compare,
    fault::{self, SYS_OPEN_TREE_ATTR},
    isolate,
    registered::{Registry, lives, wait_until},
    report::Mount,
    requirement::Requirement,
    roots, sys, tests,
};

const SIGKILL: i32 = 9;

tests![
    the_same_mounts,
    nothing_of_the_host_below,
    nothing_is_handed_on,
    it_ends_with_its_holder,
    its_holder_is_killed,
    a_link_to_something_else,
    a_namespace_that_is_not_empty,
    what_can_not_be_cloned,
    a_layer_is_as_its_root,
    errors_are_the_same,
    older_kernels,
];

/// With a pod whose launcher holds a namespace; its uuid.
fn held() -> Result<(Registry, String), kickstage_tests::Skip> {
    Requirement::DetachedMounts.require()?;
    let pods = Registry::new();
    let uuid = pods.detach(&[]);
    pods.wait_for_namespace();
    Ok((pods, uuid))
}

/// Without a pod, but with the folders that the first one makes.
fn with_a_state_directory() -> Registry {
    let pods = Registry::new();
    pods.pod("run", &["--register"], &["exit", "0"])
        .output()
        .code(0)
        .quiet();
    pods
}

/// A pod that can't call pivot_root, and so is started only if it gets a copy.
fn by_copy(run: Run) -> Run {
    run.hook(fault::failing(&[libc::SYS_pivot_root], libc::EPERM))
}

fn end(pods: &Registry, uuid: &str) -> TestResult {
    pods.ask("stop", &[uuid]).code(0).quiet();
    pods.collected();
    Ok(())
}

/// A mount but for what an overlay tells of its parts.
fn without_parts(mut mount: Mount) -> Mount {
    if mount.kind == "overlay" {
        mount.super_options.clear();
    }
    mount
}

fn the_same_mounts() -> TestResult {
    Requirement::DetachedMounts.require()?;
    let pods = Registry::new();
    let volume = roots::directory("volume");
    let volume = format!("--volume=data,source={},kind=host", volume.display());
    let kinds: [&[&str]; 6] = [
        &[],
        &["--ephemeral"],
        &["--net=host"],
        &["--insecure-options=all"],
        &["--memory=64M", "--pids=20"],
        &[&volume, "--mount=volume=data,target=/data"],
    ];
    let seen = |run: Run| -> Vec<Mount> {
        let output = run.output();
        output.code(0).quiet();
        output
            .report()
            .mounts()
            .into_iter()
            .map(without_parts)
            .collect()
    };
    let all = |copied: bool| -> Vec<Vec<Mount>> {
        kinds
            .iter()
            .map(|options| pods.pod("run", options, &["report", "mount"]))
            .map(|run| seen(if copied { by_copy(run) } else { run }))
            .collect()
    };
    let before = all(false);
    // None is held: it can't be started so.
    let run = pods.pod("run", &[], &["exit", "0"]);
    by_copy(run).output().refused(&["pivot into"]);
    let uuid = pods.detach(&[]);
    pods.wait_for_namespace();
    assert_eq!(all(true), before);
    // What is prepared for later gets one, too.
    let prepared = by_copy(pods.pod("prepare", &["--warm"], &["exit", "7"])).output();
    let prepared = kickstage_tests::registered::one_line(&prepared);
    pods.ask("run-prepared", &[&prepared]).code(7).quiet();
    end(&pods, &uuid)
}

/// Without the pod's root there is an empty directory, which stays empty.
fn nothing_of_the_host_below() -> TestResult {
    let (pods, uuid) = held()?;
    let copied = pods.detach(&[]);
    let pid =
        fs::read_to_string(pods.place("run", &copied).join("pid")).expect("the test's own files");
    let inside =
        fs::File::open(format!("/proc/{}/ns/mnt", pid.trim_end())).expect("the test's own files");
    let own = fs::File::open("/proc/self/ns/mnt").expect("the test's own files");
    let look = move || {
        sys::enter(&inside)?;
        sys::unmount("/")?;
        sys::enter(&inside)?;
        let is_empty = fs::read_dir("/")?.next().is_none();
        let written = fs::write("/file", "").map_err(|error| error.kind());
        sys::enter(&own)?;
        match (is_empty, written) {
            (true, Err(io::ErrorKind::ReadOnlyFilesystem)) => Ok(()),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    };
    Run::new("true").hook(look).output().code(0).quiet();
    pods.ask("stop", &["--force", &copied]).code(0).quiet();
    end(&pods, &uuid)
}

/// Neither is what is mounted on the host seen in the pod, nor the other way round.
fn nothing_is_handed_on() -> TestResult {
    let (pods, uuid) = held()?;
    let shared = roots::directory("shared");
    let text = shared.to_str().expect("UTF-8");
    sys::mount_tmpfs(text, "mode=0755").expect("the test's own files");
    sys::make_mounts(text, libc::MS_SHARED).expect("the test's own files");
    fs::create_dir(shared.join("below")).expect("the test's own files");
    let volume = format!("--volume=data,source={text},kind=host,recursive=true");
    let options = [&volume, "--mount=volume=data,target=/data"];
    let before = compare::mounts();
    let probe = ["catch", "TERM", ",", "report", "mount"];
    let running = by_copy(pods.pod("run", &options, &probe)).start();
    running.wait_for("waiting");
    assert_eq!(compare::mounts(), before);
    let below = format!("{text}/below");
    sys::mount_tmpfs(&below, "mode=0700").expect("the test's own files");
    running.signal(libc::SIGTERM);
    let output = running.finish();
    let mounts = output.report().mounts();
    assert!(mounts.iter().any(|mount| mount.target == "/data"));
    for mount in mounts {
        assert_eq!(mount.propagation, "-", "{}", mount.target);
        assert_ne!(mount.target, "/data/below");
    }
    sys::unmount(&below).expect("the test's own files");
    sys::unmount(text).expect("the test's own files");
    end(&pods, &uuid)
}

/// The one that has it goes; the next that is detached makes another one.
fn it_ends_with_its_holder() -> TestResult {
    let (pods, first) = held()?;
    let before = pods.holder();
    let second = pods.detach(&[]);
    assert_eq!(pods.holder(), before, "one is enough");
    pods.ask("stop", &[&first]).code(0).quiet();
    wait_until("its link is gone", || {
        fs::symlink_metadata(pods.mount_namespace()).is_err()
    });
    pods.pod("run", &[], &["exit", "3"])
        .output()
        .code(3)
        .quiet();
    let third = pods.detach(&[]);
    pods.wait_for_namespace();
    assert_ne!(pods.holder(), before);
    pods.ask("stop", &[&second, &third]).code(0).quiet();
    pods.collected();
    Ok(())
}

fn its_holder_is_killed() -> TestResult {
    let (pods, uuid) = held()?;
    let link = pods.mount_namespace();
    let pid = pods.holder();
    sys::kill(pid, SIGKILL).expect("the test's own files");
    wait_until("it has ended", || !lives(pid.to_string()));
    assert!(fs::symlink_metadata(&link).is_ok() && fs::metadata(&link).is_err());
    pods.pod("run", &[], &["exit", "3"])
        .output()
        .code(3)
        .quiet();
    // The next one replaces what it has left.
    let next = pods.detach(&[]);
    pods.wait_for_namespace();
    let run = pods.pod("run", &[], &["exit", "4"]);
    by_copy(run).output().code(4).quiet();
    let pid = pods.holder();
    sys::kill(pid, SIGKILL).expect("the test's own files");
    wait_until("it has ended", || !lives(pid.to_string()));
    for uuid in [uuid, next] {
        wait_until("its pod has ended", || pods.state(&uuid) != "running");
    }
    pods.collected();
    wait_until("no process is left", || isolate::processes().len() <= 2);
    Ok(())
}

/// Starts go on as ever, and nothing is done to what is found.
fn a_link_to_something_else() -> TestResult {
    Requirement::DetachedMounts.require()?;
    let pods = with_a_state_directory();
    let (link, folder) = (pods.mount_namespace(), roots::directory("others"));
    let (file, fifo) = (folder.join("file"), folder.join("fifo"));
    fs::write(&file, "kept").expect("the test's own files");
    Run::new("mkfifo").arg(&fifo).output().code(0);
    let others: [&Path; 8] = [
        Path::new("/proc/self/ns/mnt"),
        Path::new("/proc/self/ns/net"),
        Path::new("/proc/self/fd/0"),
        Path::new("/dev/null"),
        Path::new("nowhere"),
        &link,
        &file,
        &fifo,
    ];
    for other in others {
        symlink(other, &link).expect("the test's own files");
        let run = pods.pod("run", &[], &["report", "ns"]);
        let output = run.output();
        output.code(0).quiet();
        assert_ne!(
            output.report().get("ns.mnt"),
            fs::read_link("/proc/self/ns/mnt")
                .expect("the test's own files")
                .to_string_lossy()
        );
        fs::remove_file(&link).expect("the test's own files");
    }
    // Who holds one takes such a link away.
    symlink(&file, &link).expect("the test's own files");
    let uuid = pods.detach(&[]);
    wait_until("it leads elsewhere", || {
        fs::read_link(&link).is_ok_and(|path| path != file)
    });
    assert_eq!(
        fs::read_to_string(&file).expect("the test's own files"),
        "kept"
    );
    end(&pods, &uuid)
}

/// One with a single mount, as ours, but with files in it.
fn a_namespace_that_is_not_empty() -> TestResult {
    Requirement::DetachedMounts.require()?;
    let pods = with_a_state_directory();
    let root = pods.root.display().to_string();
    let script = format!(
        "mount --make-rprivate / && mount --bind {root} {root} && cd {root} && \
         pivot_root . . && exec ./bin/probe umount . , catch TERM"
    );
    let other = Run::new("unshare")
        .args(["--mount", "/bin/sh", "-c", &script])
        .start();
    other.wait_for("waiting");
    let link = pods.mount_namespace();
    symlink(format!("/proc/{}/ns/mnt", other.pid()), &link).expect("the test's own files");
    let run = pods.pod("run", &[], &["exit", "6"]);
    run.output().code(6).quiet();
    // It was not that it could not be found.
    let run = pods.pod("run", &[], &["exit", "6"]);
    by_copy(run).output().refused(&["pivot into"]);
    other.signal(libc::SIGTERM);
    let _ = other.finish();
    fs::remove_file(&link).expect("the test's own files");
    pods.collected();
    Ok(())
}

/// A mount of the host that may be seen, but not cloned from its namespace: the start does
/// without a copy.
fn what_can_not_be_cloned() -> TestResult {
    let (pods, uuid) = held()?;
    let folder = roots::directory("unbindable");
    let text = folder.to_str().expect("UTF-8");
    sys::mount_tmpfs(text, "mode=0755").expect("the test's own files");
    fs::write(folder.join("file"), "text").expect("the test's own files");
    sys::make_mounts(text, libc::MS_UNBINDABLE).expect("the test's own files");
    let options = [
        &format!("--volume=data,source={text},kind=host"),
        "--mount=volume=data,target=/data",
    ];
    let run = pods.pod("run", &options, &["read", "/data/file"]);
    run.output().code(0).quiet().has("text");
    sys::unmount(text).expect("the test's own files");
    end(&pods, &uuid)
}

/// What fails is told as without, and what was made is unmade.
fn errors_are_the_same() -> TestResult {
    Requirement::DetachedMounts.require()?;
    let pods = Registry::new();
    let file = roots::fresh("file");
    fs::write(&file, "").expect("the test's own files");
    let file = file.to_str().expect("UTF-8").to_owned();
    let (bare, missing) = (roots::bare(), roots::fresh("missing"));
    let tree = compare::tree(&bare);
    let cases = [
        vec!["--rootfs", &file],
        vec!["--rootfs", missing.to_str().expect("UTF-8")],
        vec![
            "--rootfs",
            bare.to_str().expect("UTF-8"),
            "--volume=data,source=/nowhere,kind=host",
            "--mount=volume=data,target=/new/data",
        ],
    ];
    let told = || -> Vec<String> {
        let run = |words: &Vec<&str>| {
            let output = pods.ask("run", &[words, &["--", "/bin/probe"][..]].concat());
            output.code(254);
            output.stderr.clone()
        };
        cases.iter().map(run).collect()
    };
    let before = told();
    let uuid = pods.detach(&[]);
    pods.wait_for_namespace();
    assert_eq!(told(), before);
    assert_eq!(compare::tree(&bare), tree);
    end(&pods, &uuid)
}

/// Where mounts can't be put together before, nothing is held.
fn older_kernels() -> TestResult {
    let pods = Registry::new();
    let run = pods.pod("run", &["--detach"], &["catch", "TERM"]);
    let calls = [SYS_OPEN_TREE_ATTR];
    let output = run.hook(fault::failing(&calls, libc::ENOSYS)).output();
    output.code(0).quiet();
    let uuid = kickstage_tests::registered::one_line(&output);
    // It is made, if at all, before it is waited for the pod's end.
    let pid =
        fs::read_to_string(pods.place("run", &uuid).join("pid")).expect("the test's own files");
    let launcher = kickstage_tests::init::status(pid.trim_end().parse().expect("a pid"), "PPid");
    kickstage_tests::init::wait_for_state(launcher.parse().expect("a pid"), 'S');
    assert!(fs::symlink_metadata(pods.mount_namespace()).is_err());
    end(&pods, &uuid)
}

/// Its owner and its mode.
fn a_layer_is_as_its_root() -> TestResult {
    let (pods, uuid) = held()?;
    let root = roots::probe();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).expect("a mode");
    chown(&root, Some(1), Some(2)).expect("an owner");
    let run = pods.command("run").args(["--ephemeral", "--rootfs"]);
    by_copy(run.arg(root).args(["--", "/bin/probe", "stat", "/"]))
        .output()
        .code(0)
        .has("mode=0711 uid=1 gid=2");
    end(&pods, &uuid)
}
