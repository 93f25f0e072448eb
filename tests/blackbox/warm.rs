//! Warm pods: prepared as a whole, but for their programs; and pools of them.

use std::{
    fs,
    io::{self, Write},
    os::{fd::AsRawFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    time::Duration,
};

use kickstage_tests::{
    TestResult, isolate, message,
    registered::{Parent, Registry, wait_until},
    requirement::{Requirement, controller},
    sys, tests,
};

use crate::warm_pools::{in_pool, pool_of};

const SIGKILL: i32 = 9;

tests![
    released,
    last_moment,
    with_limits,
    with_limits_and_a_damaged_plan,
    time_limit,
    at_the_same_moment,
    killed_ones,
    ended_ones,
    stopped_and_released,
    refused_by_its_init,
    what_is_refused,
    without_standard_input,
    without_standard_streams,
    codes_of_programs_that_ended,
    released_before_it_is_told,
    untold,
    not_for_app_release,
];

fn park(pods: &Registry, options: &[&str], probe: &[&str]) -> String {
    let uuid = pods.prepare(&[&["--warm"], options].concat(), probe);
    assert_eq!(pods.state(&uuid), "parked");
    uuid
}

/// The program has the streams of who runs it, and nothing has run before.
fn released() -> TestResult {
    let pods = Registry::new();
    let uuid = park(&pods, &["--name=main"], &["line"]);
    let code = pods.place("prepared", &uuid).join("status/main");
    assert!(!code.exists());
    let run = pods.command("run-prepared").arg(&uuid).input("text\n");
    run.output().code(0).quiet().printed("text\n");
    assert_eq!(pods.left(), Vec::<String>::new());
    // By its name, and kept.
    park(&pods, &["--name=other"], &["exit", "7"]);
    pods.ask("run-prepared", &["--keep", "other"])
        .code(7)
        .quiet();
    let status = pods.ask("status", &["other"]);
    status
        .code(0)
        .has("code=7")
        .has("app-other=7")
        .has("state=exited");
    pods.collected();
    Ok(())
}

fn last_moment() -> TestResult {
    let pods = Registry::new();
    for warm in [true, false] {
        let options: &[&str] = if warm { &["--warm"] } else { &[] };
        let uuid = pods.prepare(&[options, &["--set-env=A=old"]].concat(), &["exit", "1"]);
        let words = ["--set-env=A=new", &uuid, "--", "report", "env.A"];
        pods.ask("run-prepared", &words).code(0).quiet().has("new");
        let uuid = pods.prepare(options, &["exit", "3"]);
        pods.ask("run-prepared", &[&uuid]).code(3).quiet();
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn with_limits() -> TestResult {
    Requirement::Controllers.require()?;
    let pods = Registry::new();
    let uuid = park(
        &pods,
        &["--memory=64M", "--pids=2"],
        &["fork", "1", ",", "exit", "9"],
    );
    let own = |name| {
        let (mount, _) = controller(name).expect("the requirement");
        mount.join("kickstage").join(format!("uuid-{uuid}"))
    };
    assert!(own("memory").exists() && own("pids").exists());
    pods.ask("run-prepared", &[&uuid]).code(9).has("EAGAIN");
    assert!(!own("memory").exists() && !own("pids").exists());
    // One that is never run, also if nobody can read its plan, as after an upgrade.
    for damage in [None, Some("no plan")] {
        let uuid = park(&pods, &["--memory=64M"], &["exit", "0"]);
        let (mount, _) = controller("memory").expect("the requirement");
        let own = mount.join("kickstage").join(format!("uuid-{uuid}"));
        assert!(own.exists());
        if let Some(damage) = damage {
            let plan = pods.place("prepared", &uuid).join("plan");
            fs::write(plan, damage).expect("a plan");
        }
        pods.ask("rm", &[&uuid]).code(0).quiet();
        assert!(!own.exists());
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// The cgroups are found without it, below another parent, too.
fn with_limits_and_a_damaged_plan() -> TestResult {
    Requirement::Controllers.require()?;
    let (pods, parent) = (Registry::new(), Parent::new());
    let limits = ["--memory=64M", "--pids=20", "--cpus=1"];
    let elsewhere = [&limits[..], &["--cgroup-parent", &parent.path]].concat();
    for (options, keeps) in [
        (&limits[..], false),
        (&elsewhere, false),
        (&elsewhere, true),
    ] {
        // The plan of a parked pod is read when its programs run already.
        for damage in [&b""[..], b"no plan", &[0; 4096]] {
            let uuid = park(&pods, options, &["exit", "9"]);
            let place = |name| {
                let (mount, _) = controller(name).expect("the requirement");
                let folder = options.last().filter(|word| word.starts_with('/'));
                let folder = folder.map_or("kickstage", |path| path.trim_start_matches('/'));
                mount.join(folder).join(format!("uuid-{uuid}"))
            };
            let own = ["memory", "pids", "cpu"].map(place);
            assert!(own.iter().all(|path| path.is_dir()), "{own:?}");
            let plan = pods.place("prepared", &uuid).join("plan");
            fs::write(plan, damage).expect("a plan");
            let words: &[&str] = if keeps { &["--keep", &uuid] } else { &[&uuid] };
            pods.ask("run-prepared", words).code(9).quiet();
            assert!(!own.iter().any(|path| path.exists()), "{own:?}");
        }
    }
    pods.collected();
    Ok(())
}

fn time_limit() -> TestResult {
    let pods = Registry::new();
    let uuid = park(&pods, &[], &["sleep", "60000"]);
    pods.ask("run-prepared", &["--timeout=50ms", &uuid])
        .code(124);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// One of them gets it.
fn at_the_same_moment() -> TestResult {
    let pods = Registry::new();
    for _ in 0..20 {
        let uuid = park(&pods, &[], &["exit", "5"]);
        let start = || pods.command("run-prepared").arg(&uuid).start();
        let runs = [start(), start(), start()];
        let codes = runs.map(|run| run.finish().code);
        let count = |wanted| codes.iter().filter(|code| **code == Some(wanted)).count();
        assert_eq!((count(5), count(254)), (1, 2), "{codes:?}");
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Of pid 1 while it waits, and of who has released it.
fn killed_ones() -> TestResult {
    let pods = Registry::new();
    let uuid = park(&pods, &[], &["exit", "0"]);
    let pid = fs::read_to_string(pods.place("prepared", &uuid).join("pid")).expect("its pid");
    sys::kill(pid.trim_end().parse().expect("a number"), SIGKILL).expect("it is there");
    wait_until("it has ended", || pods.state(&uuid) != "parked");
    pods.ask("run-prepared", &[&uuid])
        .refused(&["there is no such prepared pod"]);
    pods.collected();
    let uuid = park(&pods, &[], &["print", "waiting", ",", "catch", "TERM"]);
    let running = pods.command("run-prepared").arg(&uuid).start();
    running.wait_for("waiting");
    sys::kill(running.pid(), SIGKILL).expect("it is there");
    drop(running.finish());
    wait_until("the pod has ended", || pods.state(&uuid) == "exited");
    pods.collected();
    Ok(())
}

/// The pid 1 of a parked pod.
fn pid_one(pods: &Registry, uuid: &str) -> i32 {
    let pid = fs::read_to_string(pods.place("prepared", uuid).join("pid")).expect("its pid");
    pid.trim_end().parse().expect("a number")
}

/// A parked pod that was stopped has ended, for everybody.
fn ended_ones() -> TestResult {
    let pods = Registry::new();
    let uuid = park(&pods, &[], &["exit", "0"]);
    for _ in 0..2 {
        pods.ask("stop", &[&uuid]).code(0).quiet();
        assert_eq!(pods.state(&uuid), "exited");
        assert_eq!(pods.list(), [(uuid.clone(), "exited".to_owned())]);
    }
    pods.ask("run-prepared", &[&uuid])
        .refused(&["there is no such prepared pod"]);
    pods.ask("rm", &[&uuid]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Who releases a pod that was told to end is told that, and not that all went well.
fn stopped_and_released() -> TestResult {
    let pods = Registry::new();
    for words in [&[][..], &["--set-env=A=1"]] {
        let uuid = park(&pods, &[], &["echo", "it ran"]);
        let init = pid_one(&pods, &uuid);
        sys::kill(init, libc::SIGSTOP).expect("it is there");
        let stop = pods.command("stop").arg(&uuid).start();
        // It has asked, and waits: by ppoll.
        let call = format!("/proc/{}/syscall", stop.pid());
        let waits = || fs::read_to_string(&call).is_ok_and(|text| text.starts_with("271 "));
        wait_until("stop waits", waits);
        // Without changes its process is told at the same time, and may go first.
        let release = pods.command("run-prepared").args(words).arg(&uuid).start();
        let call = format!("/proc/{}/syscall", release.pid());
        let waits = || {
            !Path::new(&call).exists()
                || fs::read_to_string(&call).is_ok_and(|text| text.starts_with("271 "))
        };
        wait_until("the release waits", waits);
        sys::kill(init, libc::SIGCONT).expect("it is there");
        stop.finish().code(0);
        let output = release.finish();
        // Its process may have gone first: then it was stopped as any other.
        if words.is_empty() && output.code == Some(0) {
            assert!(["", "it ran\n"].contains(&output.stdout.as_str()));
        } else {
            output.refused(&["the pod is ending"]);
        }
        pods.collected();
    }
    Ok(())
}

/// Answers in place of pid 1, which lives on.
struct FakeInit {
    socket: UnixDatagram,
    /// The directory, wherever it has been moved.
    folder: fs::File,
}

impl FakeInit {
    fn path(folder: &fs::File, name: &str) -> PathBuf {
        // The address of a socket has 107 bytes only.
        Path::new("/proc/self/fd").join(format!("{}/{name}", folder.as_raw_fd()))
    }

    fn of(directory: &Path) -> Self {
        let folder = fs::File::open(directory).expect("the pod");
        let path = Self::path(&folder, "control");
        fs::rename(&path, Self::path(&folder, "real")).expect("moved");
        fs::rename(Self::path(&folder, "gate"), Self::path(&folder, "shut")).expect("moved");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let limit = Some(Duration::from_secs(10));
        socket.set_read_timeout(limit).expect("a timeout");
        Self { socket, folder }
    }

    /// The next request gets this reply.
    fn answer(&self, magic: &[u8; 4], errno: i32) {
        let mut bytes = [0; 512];
        let descriptors = message::receive(&self.socket, &mut bytes).expect("a request");
        let mut reply = magic.to_vec();
        reply.extend(errno.to_ne_bytes());
        reply.resize(32 + 256, 0);
        let to = descriptors.into_iter().next().expect("a socket");
        UnixDatagram::from(to).send(&reply).expect("sent");
    }

    fn leave(self) {
        let real = Self::path(&self.folder, "real");
        fs::rename(real, Self::path(&self.folder, "control")).expect("moved back");
        let shut = Self::path(&self.folder, "shut");
        fs::rename(shut, Self::path(&self.folder, "gate")).expect("moved back");
    }
}

/// A pod whose pid 1 refuses to go on lives, and stays as it was.
fn refused_by_its_init() -> TestResult {
    let pods = Registry::new();
    let options: &[&str] = if Requirement::Controllers.require().is_ok() {
        &["--memory=64M"]
    } else {
        &[]
    };
    let uuid = park(&pods, options, &["exit", "6"]);
    let place = pods.place("prepared", &uuid);
    let mode = || {
        use std::os::unix::fs::PermissionsExt;
        let status = fs::metadata(place.join("lock")).expect("its lock");
        status.permissions().mode()
    };
    let before = mode();
    for (magic, errno, words, text) in [
        (b"kst1", libc::EPROTONOSUPPORT, &[][..], "another version"),
        (b"kst9", 0, &[], "another version"),
        (
            b"kst1",
            libc::EINVAL,
            &["--set-env=A=1"],
            "Invalid argument",
        ),
        (b"kst1", libc::ESHUTDOWN, &["--keep"], "the pod is ending"),
        (b"kst1", libc::EALREADY, &["--rm"], "not parked"),
    ] {
        let fake = FakeInit::of(&place);
        let run = pods.command("run-prepared").args(words).arg(&uuid).start();
        fake.answer(magic, errno);
        run.finish().refused(&[text]);
        fake.leave();
        assert_eq!(pods.left(), [format!("prepared/{uuid}")]);
        assert_eq!(pods.state(&uuid), "parked");
        assert_eq!(mode(), before);
    }
    pods.ask("run-prepared", &[&uuid]).code(6).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

fn what_is_refused() -> TestResult {
    let pods = Registry::new();
    for (command, options, text) in [
        ("run", "--warm", "it is of the preparation"),
        ("run", "--pool=a", "only what is prepared with --warm"),
        ("prepare", "--pool=a", "only what is prepared with --warm"),
    ] {
        let output = pods.pod(command, &[options], &["exit", "0"]).output();
        output.refused(&[text]);
    }
    let output = pods
        .pod("prepare", &["--warm", "--tty"], &["exit", "0"])
        .output();
    output.refused(&["--tty"]);
    // Who prepares it would hold them, and does not stay.
    let options = ["--warm", "--private-users=600000:65536"];
    let output = pods.pod("prepare", &options, &["exit", "0"]).output();
    output.refused(&["--private-users", "--warm", "pool"]);
    let uuid = park(&pods, &[], &["exit", "0"]);
    for (option, text) in [
        ("--detach", "not with"),
        ("--timings", "not with"),
        ("--warm", "it is of the preparation"),
    ] {
        pods.ask("run-prepared", &[option, &uuid])
            .refused(&[option, text]);
    }
    assert_eq!(pods.state(&uuid), "parked");
    pods.ask("run-prepared", &[&uuid]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// CVE-2024-21626: what stage0-full opens is not the standard input of the pod.
fn without_standard_input() -> TestResult {
    let pods = Registry::new();
    let uuid = park(&pods, &[], &["report", "fd.0"]);
    let run = pods.command("run-prepared").args(["--set-env=A=1", &uuid]);
    let output = run.hook(|| sys::close(0)).output();
    output.code(0).has("/dev/null");
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Nothing that is opened meanwhile becomes one of the program's.
fn without_standard_streams() -> TestResult {
    let pods = Registry::new();
    for closed in [&[0][..], &[1, 2], &[0, 1, 2]] {
        let uuid = park(&pods, &[], &["catch", "TERM"]);
        let run = pods.command("run-prepared").arg(&uuid);
        let running = run
            .hook(move || closed.iter().try_for_each(|number| sys::close(*number)))
            .start();
        let program = || {
            isolate::processes().into_iter().find(|process| {
                fs::read_to_string(format!("/proc/{process}/comm"))
                    .is_ok_and(|name| name == "probe\n")
            })
        };
        wait_until("the program runs", || program().is_some());
        let folder = format!("/proc/{}/fd", program().expect("it runs"));
        for number in closed {
            let target = fs::read_link(format!("{folder}/{number}")).expect("a descriptor");
            assert_eq!(target, Path::new("/dev/null"), "{number} of {closed:?}");
        }
        pods.ask("stop", &[&uuid]).code(0);
        running.finish().code(0);
    }
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// The last code is for who has released the pod alone, but not where the pod goes on, or
/// nobody is there who removes it.
fn codes_of_programs_that_ended() -> TestResult {
    let pods = Registry::new();
    let uuid = park(
        &pods,
        &["--exit-policy=never", "--name=main"],
        &["exit", "3"],
    );
    let running = pods.command("run-prepared").arg(&uuid).start();
    let code = pods.place("run", &uuid).join("status/main");
    wait_until("the code is there", || {
        fs::read_to_string(&code).is_ok_and(|text| text == "3\n")
    });
    assert_eq!(pods.state(&uuid), "running");
    pods.ask("stop", &[&uuid]).code(0);
    running.finish().code(0);
    // Its releaser is killed: the pod is stopped.
    let uuid = park(
        &pods,
        &["--name=main"],
        &["catch", "TERM", ",", "exit", "4"],
    );
    let running = pods.command("run-prepared").arg(&uuid).start();
    running.wait_for("catch");
    running.signal(SIGKILL);
    wait_until("it has ended", || pods.state(&uuid) == "exited");
    pods.ask("status", &[&uuid]).code(0).has("app-main=4");
    pods.collected();
    Ok(())
}

/// Who parks one does not get in the way of who takes it, however long it lives.
fn released_before_it_is_told() -> TestResult {
    let pods = Registry::new();
    pool_of(&pods, "1", "4");
    let (reader, mut writer) = io::pipe().expect("a pipe");
    writer.write_all(&[b'-'; 65536]).expect("room for it");
    let mut preparation = pods
        .pod("prepare", &["--warm", "--pool=jobs"], &["exit", "4"])
        .hook(move || sys::duplicate_onto(&writer, 1))
        .start();
    wait_until("it is in the pool", || in_pool(&pods) == 2);
    for _ in 0..2 {
        pods.ask("run-prepared", &["--pool=jobs"]).code(4).quiet();
    }
    assert!(preparation.runs(), "nobody reads what it says");
    drop(reader);
    // There is nothing left to take away.
    preparation.finish().refused(&["write standard output"]);
    pods.ask("pool", &["jobs", "0"]).code(0).quiet();
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// Nobody could ever name it.
fn untold() -> TestResult {
    let pods = Registry::new();
    fs::create_dir_all(pods.path().join("pods/pools/jobs")).expect("a directory");
    for options in [&[][..], &["--warm"], &["--warm", "--pool=jobs"]] {
        let full = fs::File::options().write(true).open("/dev/full");
        let full = full.expect("a device");
        pods.pod("prepare", options, &["exit", "4"])
            .hook(move || sys::duplicate_onto(&full, 1))
            .output()
            .refused(&["write standard output"]);
        assert_eq!(pods.left(), Vec::<String>::new(), "{options:?}");
    }
    Ok(())
}

/// That is for a pod with a directory of somebody's own: a registered one would be released
/// by who does not take care of its end.
fn not_for_app_release() -> TestResult {
    let pods = Registry::new();
    let uuid = park(&pods, &["--name=web"], &["exit", "4"]);
    let path = pods.place("prepared", &uuid).display().to_string();
    for words in [
        &["release", "web"][..],
        &["release", &uuid],
        &["release", &path],
        &["release", &path, "--"],
    ] {
        pods.ask("app", words)
            .refused(&["registered", "stage0 run-prepared"]);
    }
    pods.ask("run-prepared", &[&uuid]).code(4).quiet();
    Ok(())
}
