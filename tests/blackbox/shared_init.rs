//! The copy of pid 1's program that the launcher of a detached pod holds, and which pods
//! share that are started beside it.

use std::{
    fs,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kickstage_tests::{
    TestResult,
    command::{Run, program},
    fault,
    init::wait_for_state,
    isolate,
    message::memory_file_with,
    registered::{Registry, lives, one_line, wait_until},
    requirement::Requirement,
    roots, sys, tests,
};

const SIGKILL: i32 = 9;

tests![
    pods_share_one,
    whatever_they_are,
    nobody_writes_to_it,
    it_goes_with_its_holder,
    its_holder_is_killed,
    another_program_is_not_shared,
    one_that_has_just_changed_is_not_held,
    a_link_to_something_else,
    a_link_that_leads_to_no_copy,
    the_copy_has_to_be_sealed,
    somebody_has_it_open,
    who_comes_later_holds_what_is_missing,
    where_none_can_be_made,
    below_a_long_path,
];

/// With a pod whose launcher holds a copy; its uuid.
fn held(options: &[&str]) -> Result<(Registry, String), kickstage_tests::Skip> {
    Requirement::DetachedMounts.require()?;
    let pods = Registry::new();
    settle(&program("stage1-init"));
    let uuid = pods.detach(options);
    wait_until("a copy is held", || copy(&pods).is_some());
    Ok((pods, uuid))
}

/// The inode of the copy that is held, and the process that does.
fn copy(pods: &Registry) -> Option<(u64, i32)> {
    let text = fs::read_link(pods.shared_init()).ok()?;
    let path = text.to_str().expect("UTF-8").split(' ').next()?.to_owned();
    let holder = path.split('/').nth(2)?.parse().ok()?;
    Some((fs::metadata(path).ok()?.ino(), holder))
}

/// The inode of the program that is pid 1 of a pod.
fn init(pods: &Registry, uuid: &str) -> u64 {
    let pid = fs::read_to_string(pods.place("run", uuid).join("pid")).expect("a pid");
    let program = format!("/proc/{}/exe", pid.trim_end());
    fs::metadata(program).expect("a process").ino()
}

/// The same of one that is started for that, and holds nothing itself.
fn init_of_another(pods: &Registry, options: &[&str]) -> u64 {
    let running = pods.start(options);
    let init = init(pods, &running.uuid);
    running.end();
    init
}

fn end(pods: &Registry, uuid: &str) -> TestResult {
    pods.ask("stop", &[uuid]).code(0).quiet();
    pods.collected();
    Ok(())
}

/// A program of the test's own to be pid 1: since it is a copy, it has changed just now.
fn own_program() -> (PathBuf, String) {
    let place = roots::directory("own").join("stage1-init");
    fs::copy(program("stage1-init"), &place).expect("the test's own files");
    let option = format!("--stage1=init:{}", place.display());
    (place, option)
}

/// Waits until a change of the program would be told from its last one.
fn settle(program: &Path) {
    wait_until("its last change is over", || {
        let changed = fs::metadata(program).expect("a program").ctime();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("a time").as_secs() >= changed.unsigned_abs() + 3
    });
}

fn pods_share_one() -> TestResult {
    let (pods, first) = held(&[])?;
    let (held, _) = copy(&pods).expect("a copy");
    // It began when there was none.
    assert_ne!(init(&pods, &first), held);
    let [second, third] = [pods.detach(&[]), pods.detach(&["--memory=64M"])];
    assert_eq!([init(&pods, &second), init(&pods, &third)], [held; 2]);
    // Each has the plan of its own.
    for (uuid, name) in [(&second, "one"), (&third, "other")] {
        let words = [uuid.as_str(), "--", "/bin/probe", "echo", name];
        let output = pods.ask("enter", &words);
        output.code(0).quiet().has(name);
    }
    pods.ask("stop", &[&second, &third]).code(0).quiet();
    end(&pods, &first)
}

/// The programs, their codes and what they see are as ever.
fn whatever_they_are() -> TestResult {
    Requirement::DetachedMounts.require()?;
    let pods = Registry::new();
    let kinds: [&[&str]; 5] = [
        &[],
        &["--ephemeral"],
        &["--net=host", "--pids=20"],
        &["--insecure-options=all"],
        &["--set-env=A=b", "--readonly-rootfs"],
    ];
    let all = || -> Vec<(Option<i32>, String, String)> {
        let run = |options: &&[&str]| {
            let probe = ["report", "cap", "env", "fd", ",", "exit", "7"];
            let output = pods.pod("run", options, &probe).output();
            (output.code, without_numbers(&output.stdout), output.stderr)
        };
        kinds.iter().map(run).collect()
    };
    let before = all();
    settle(&program("stage1-init"));
    let uuid = pods.detach(&[]);
    wait_until("a copy is held", || copy(&pods).is_some());
    assert_eq!(all(), before);
    let (held, _) = copy(&pods).expect("a copy");
    let parked = one_line(&pods.pod("prepare", &["--warm"], &["exit", "7"]).output());
    let pid = fs::read_to_string(pods.place("prepared", &parked).join("pid")).expect("a pid");
    let exe = format!("/proc/{}/exe", pid.trim_end());
    assert_eq!(fs::metadata(exe).expect("a process").ino(), held);
    pods.ask("run-prepared", &[&parked]).code(7).quiet();
    end(&pods, &uuid)
}

/// Pipes have other numbers each time.
fn without_numbers(text: &str) -> String {
    text.split('[')
        .map(|part| part.trim_start_matches(|letter: char| letter.is_ascii_digit()))
        .collect::<Vec<_>>()
        .join("[")
}

/// Not even with all capabilities.
fn nobody_writes_to_it() -> TestResult {
    let (pods, uuid) = held(&[])?;
    let before = copy(&pods);
    let text = fs::read_link(pods.shared_init()).expect("a link");
    let path = text.to_str().and_then(|text| text.split(' ').next());
    // Nor who is no root, and finds it open.
    let status = fs::metadata(path.expect("a path")).expect("a copy");
    assert_eq!(status.mode() & 0o7777, 0o555);
    let probe = ["open", "/proc/1/exe", "w", ",", "write", "/proc/1/exe", "x"];
    let output = pods
        .pod("run", &["--insecure-options=all"], &probe)
        .output();
    output.code(1).lacks(": ok");
    assert_eq!(copy(&pods), before);
    assert_eq!(init_of_another(&pods, &[]), before.expect("a copy").0);
    end(&pods, &uuid)
}

/// The pods that have it go on; the next that is detached holds another one.
fn it_goes_with_its_holder() -> TestResult {
    let (pods, first) = held(&[])?;
    let (before, holder) = copy(&pods).expect("a copy");
    let second = pods.detach(&[]);
    pods.ask("gc", &[]).code(0);
    assert_eq!(copy(&pods), Some((before, holder)), "one is enough");
    pods.ask("stop", &[&first]).code(0).quiet();
    wait_until("its link is gone", || {
        fs::symlink_metadata(pods.shared_init()).is_err()
    });
    assert_eq!(init(&pods, &second), before);
    pods.ask("enter", &[&second, "--", "/bin/probe", "exit", "3"])
        .code(3)
        .quiet();
    let third = pods.detach(&[]);
    wait_until("a copy is held", || copy(&pods).is_some());
    assert_ne!(init(&pods, &third), before);
    assert_ne!(copy(&pods).expect("a copy").1, holder);
    pods.ask("stop", &[&second, &third]).code(0).quiet();
    pods.collected();
    Ok(())
}

fn its_holder_is_killed() -> TestResult {
    let (pods, uuid) = held(&[])?;
    let (_, holder) = copy(&pods).expect("a copy");
    sys::kill(holder, SIGKILL).expect("the test's own files");
    wait_until("it has ended", || !lives(holder.to_string()));
    assert!(fs::symlink_metadata(pods.shared_init()).is_ok());
    pods.pod("run", &[], &["exit", "3"])
        .output()
        .code(3)
        .quiet();
    wait_until("its pod has ended", || pods.state(&uuid) != "running");
    // This takes the links away, too.
    pods.collected();
    wait_until("no process is left", || isolate::processes().len() <= 2);
    Ok(())
}

/// Neither one in its place, nor one that was written to.
fn another_program_is_not_shared() -> TestResult {
    let (place, option) = own_program();
    settle(&place);
    let (pods, uuid) = held(&[&option])?;
    let (held, _) = copy(&pods).expect("a copy");
    assert_eq!(init_of_another(&pods, &[&option]), held);
    assert_ne!(init_of_another(&pods, &[]), held, "that of another path");
    let other = place.with_extension("new");
    fs::copy(&place, &other).expect("the test's own files");
    let before = place.with_extension("before");
    fs::rename(&place, &before).expect("the test's own files");
    fs::rename(&other, &place).expect("the test's own files");
    assert_ne!(init_of_another(&pods, &[&option]), held, "another file");
    fs::rename(&before, &place).expect("the test's own files");
    let bytes = fs::read(&place).expect("the test's own files");
    fs::write(&place, bytes).expect("the test's own files");
    assert_ne!(init_of_another(&pods, &[&option]), held, "written to");
    // What is no program any more is refused as ever.
    fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).expect("the test's own files");
    pods.pod("run", &[&option], &["exit", "0"])
        .output()
        .refused(&[place.to_str().expect("UTF-8")]);
    end(&pods, &uuid)
}

fn one_that_has_just_changed_is_not_held() -> TestResult {
    Requirement::DetachedMounts.require()?;
    let pods = Registry::new();
    // Unless the machine is too slow for that.
    for _ in 0..5 {
        let start = Instant::now();
        let (_, option) = own_program();
        let uuid = pods.detach(&[&option]);
        wait_for_launcher(&pods);
        let is_held = fs::symlink_metadata(pods.shared_init()).is_ok();
        let in_time = start.elapsed() < Duration::from_secs(2);
        end(&pods, &uuid)?;
        if in_time {
            assert!(!is_held);
            return Ok(());
        }
    }
    panic!("no pod was started within 2 s");
}

/// Waits until the launcher of the only pod has held what it could.
fn wait_for_launcher(pods: &Registry) {
    pods.wait_for_namespace();
    wait_for_state(pods.holder(), 'S');
}

/// What the link of a copy says that is held as descriptor `number` of this process.
fn text(source: &Path, number: i32, held: &fs::Metadata) -> String {
    let mut text = format!("/proc/{}/fd/{number}", std::process::id());
    for file in [&fs::metadata(source).expect("a program"), held] {
        let time = file.ctime() * 1_000_000_000 + file.ctime_nsec();
        let (device, inode, size) = (file.dev(), file.ino(), file.size());
        text.push_str(&format!(" {device} {inode} {time} {size}"));
    }
    text
}

/// Starts go on as ever, and nothing is done to what is found.
fn a_link_to_something_else() -> TestResult {
    let (pods, uuid) = held(&[])?;
    let (before, _) = copy(&pods).expect("a copy");
    let source = program("stage1-init");
    let good = fs::read_link(pods.shared_init()).expect("a link");
    let good = good.to_str().expect("UTF-8").to_owned();
    let bytes = fs::read(&source).expect("a program");
    let other = memory_file_with(&bytes, SEALS).expect("a memory file");
    let fifo = roots::directory("others").join("fifo");
    Run::new("mkfifo").arg(&fifo).output().code(0);
    let (_, marks) = good.split_once(' ').expect("marks");
    let number = other.as_raw_fd();
    let own = format!("/proc/{}/fd/{number}", std::process::id());
    let place = |path: &str| format!("{path} {marks}");
    // Another one's process may have the number, with the very same bytes: it is not ours.
    let others = [
        "nowhere".to_owned(),
        place(&own),
        place(&source.display().to_string()),
        place(&fifo.display().to_string()),
        place("/dev/null"),
        place("/dev/tty"),
        place("/proc/self/ns/net"),
        good.strip_suffix(|_: char| true)
            .expect("a text")
            .to_owned(),
        format!("{good} "),
        format!("{good}0"),
        own,
        "x".repeat(300),
    ];
    for other in others {
        fs::remove_file(pods.shared_init()).expect("the test's own files");
        symlink(&other, pods.shared_init()).expect("the test's own files");
        let init = init_of_another(&pods, &[]);
        assert!(
            init != before && init != inode_of(number),
            "{other}: shared all the same"
        );
    }
    fs::remove_file(pods.shared_init()).expect("the test's own files");
    symlink(&good, pods.shared_init()).expect("the test's own files");
    assert_eq!(init_of_another(&pods, &[]), before);
    end(&pods, &uuid)
}

/// As of a launcher that was killed, and whose number somebody else has.
fn a_link_that_leads_to_no_copy() -> TestResult {
    let pods = Registry::new();
    pods.pod("run", &["--register"], &["exit", "0"])
        .output()
        .code(0);
    let link = pods.shared_init();
    for path in ["/etc/passwd", "/nonexistent"] {
        symlink(format!("{path} 1 2 3 4 5 6 7 8"), &link).expect("a link");
        pods.ask("gc", &[]).code(0);
        assert!(fs::symlink_metadata(&link).is_err(), "{path}");
    }
    pods.collected();
    Ok(())
}

fn inode_of(number: i32) -> u64 {
    let path = format!("/proc/self/fd/{number}");
    fs::metadata(path).expect("the test's own files").ino()
}

/// All that a shared copy has; that of F_SEAL_EXEC has no name in libc.
const SEALS: i32 =
    libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | F_SEAL_EXEC;
const F_SEAL_EXEC: i32 = 0x20;

/// Whatever the link says of it.
fn the_copy_has_to_be_sealed() -> TestResult {
    let (pods, uuid) = held(&[])?;
    let source = program("stage1-init");
    let bytes = fs::read(&source).expect("a program");
    for seals in [
        SEALS,
        SEALS & !F_SEAL_EXEC,
        SEALS & !libc::F_SEAL_WRITE & !F_SEAL_EXEC,
        0,
    ] {
        let file = memory_file_with(&bytes, seals).expect("a memory file");
        let status = file.metadata().expect("a memory file");
        fs::remove_file(pods.shared_init()).expect("the test's own files");
        symlink(text(&source, file.as_raw_fd(), &status), pods.shared_init())
            .expect("the test's own files");
        let is_shared = init_of_another(&pods, &[]) == status.ino();
        assert_eq!(is_shared, seals == SEALS, "{seals:#x}");
    }
    fs::remove_file(pods.shared_init()).expect("the test's own files");
    end(&pods, &uuid)
}

/// As a pod can that may trace its pid 1, and whoever it gives the file to.
fn somebody_has_it_open() -> TestResult {
    let (pods, uuid) = held(&[])?;
    let held = fs::read_link(pods.shared_init()).expect("a link");
    let held = held
        .to_str()
        .expect("UTF-8")
        .split(' ')
        .next()
        .expect("a path")
        .to_owned();
    // No exec of what is open for writing begins (ETXTBSY): the start does without it.
    let open = fs::OpenOptions::new().write(true).open(&held);
    let open = open.expect("root may open it");
    for option in ["--ephemeral", "--memory=64M"] {
        let run = pods.pod("run", &[option], &["exit", "3"]);
        run.output().code(3).quiet();
    }
    drop(open);
    // Who is no root can't open it so.
    let other = held.clone();
    let hook = move || {
        sys::become_user(1000, 1000)?;
        match fs::OpenOptions::new().write(true).open(&other) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
            other => Err(std::io::Error::other(format!("{other:?}"))),
        }
    };
    Run::new("true").hook(hook).output().code(0).quiet();
    // It stays a program. Another mode is another time: the next one holds another copy.
    let before = copy(&pods);
    let set = |mode| fs::set_permissions(&held, fs::Permissions::from_mode(mode));
    let refused = set(0).expect_err("sealed");
    assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    assert_eq!(
        Some(init_of_another(&pods, &[])),
        before.map(|(inode, _)| inode)
    );
    set(0o755).expect("what else the mode says is not sealed");
    assert_ne!(
        Some(init_of_another(&pods, &[])),
        before.map(|(inode, _)| inode)
    );
    let next = pods.detach(&[]);
    wait_until("another copy is held", || copy(&pods) != before);
    let (inode, _) = copy(&pods).expect("a copy");
    assert_eq!(init_of_another(&pods, &[]), inode);
    pods.ask("stop", &[&next]).code(0).quiet();
    end(&pods, &uuid)
}

/// The one of another program takes the place of one that nobody can use any more, and the
/// mount namespace is another pod's.
fn who_comes_later_holds_what_is_missing() -> TestResult {
    Requirement::DetachedMounts.require()?;
    let pods = Registry::new();
    let (place, option) = own_program();
    let first = pods.detach(&[&option]);
    wait_for_launcher(&pods);
    let namespace = fs::read_link(pods.mount_namespace()).expect("a link");
    settle(&place);
    let second = pods.detach(&[&option]);
    wait_until("a copy is held", || copy(&pods).is_some());
    let (inode, _) = copy(&pods).expect("a copy");
    assert_eq!(init_of_another(&pods, &[&option]), inode);
    // An upgrade.
    let other = place.with_extension("new");
    fs::copy(&place, &other).expect("the test's own files");
    fs::rename(&other, &place).expect("the test's own files");
    settle(&place);
    let third = pods.detach(&[&option]);
    wait_until("the new one is held", || {
        copy(&pods).is_some_and(|(held, _)| held != inode)
    });
    let (inode, _) = copy(&pods).expect("a copy");
    assert_eq!(init_of_another(&pods, &[&option]), inode);
    // Of each the link goes that it has made.
    pods.ask("stop", &[&second, &third]).code(0).quiet();
    wait_until("the link is gone", || {
        fs::symlink_metadata(pods.shared_init()).is_err()
    });
    let left = fs::read_link(pods.mount_namespace()).expect("a link");
    assert_eq!(left, namespace);
    end(&pods, &first)
}

/// Whose path is too long for it has no link, and takes that of the mount namespace away.
fn below_a_long_path() -> TestResult {
    Requirement::DetachedMounts.require()?;
    let pods = Registry::new();
    let long = pods.path().join("long".repeat(60));
    let state = format!("--state-dir={}", long.display());
    let ask = |words: &[&str]| {
        let output = pods.ask(words[0], &[&[state.as_str()], &words[1..]].concat());
        output.code(0);
        output
    };
    let root = pods.root.display().to_string();
    let run = ["run", "--detach", "--rootfs", &root, "--", "/bin/probe"];
    let uuid = one_line(&ask(&[&run[..], &["catch", "TERM"]].concat()));
    let link = long.join("pods/mount-namespace");
    wait_until("a namespace is held", || fs::metadata(&link).is_ok());
    ask(&["run", "--rootfs", &root, "--", "/bin/probe", "exit", "0"]).quiet();
    ask(&["stop", &uuid]).quiet();
    wait_until("its link is gone", || fs::symlink_metadata(&link).is_err());
    assert!(fs::symlink_metadata(long.join("pods/stage1-init")).is_err());
    ask(&["gc", "--grace-period=0"]).quiet();
    wait_until("no process is left", || isolate::processes().len() <= 2);
    Ok(())
}

/// Nothing is held then but the mount namespace, and nobody is told.
fn where_none_can_be_made() -> TestResult {
    Requirement::DetachedMounts.require()?;
    let pods = Registry::new();
    let run = pods.pod("run", &["--detach"], &["catch", "TERM"]);
    let output = run
        .hook(fault::failing(&[libc::SYS_memfd_create], libc::EACCES))
        .output();
    output.code(0).quiet();
    let uuid = one_line(&output);
    wait_for_launcher(&pods);
    assert!(fs::symlink_metadata(pods.shared_init()).is_err());
    pods.pod("run", &[], &["exit", "3"])
        .output()
        .code(3)
        .quiet();
    end(&pods, &uuid)
}
