//! `stage0 stop`: registered pods are told to end, in order or at once.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kickstage_tests::{
    TestResult,
    command::{Run, Running},
    init, lock,
    registered::{Registered, Registry, lives, wait_until},
    requirement::{Requirement, cgroup_v2, controller},
    roots, sys, tests,
};

tests![
    in_order,
    by_uuid_file,
    force,
    that_has_ended,
    prepared_and_unknown,
    several,
    that_is_not_kept,
    deaf,
    apps_that_wait_for_others,
    without_its_socket,
    killed_meanwhile,
    stopped_init,
    stopped_init_with_many_requests,
    many_requests_for_a_moment,
    init_in_a_frozen_cgroup,
    init_that_no_signal_reaches,
    stopped_launcher,
    number_of_another_process,
    wrong_number,
    number_that_comes_late,
    directory_that_is_removed,
    command_lines,
];

/// The app dies of the signal, which is no failure; `stop` returns when the pod has ended.
fn in_order() -> TestResult {
    let pods = Registry::new();
    for probe in [
        ["catch", "TERM"].as_slice(),
        &["echo", "waiting", ",", "sleep", "60000"],
    ] {
        let pod = pods.start_probe(&[], probe);
        pods.ask("stop", &[&pod.uuid]).code(0).quiet().printed("");
        assert_eq!(pods.state(&pod.uuid), "exited");
        assert_eq!(pods.in_folder("run"), Vec::<String>::new());
        assert_eq!(pods.status(&pod.uuid).get("code").number(), Some(0));
        pod.running.finish().code(0).quiet();
    }
    pods.collected();
    Ok(())
}

fn by_uuid_file() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&[]);
    let file = roots::fresh("file");
    let path = file.to_str().expect("UTF-8");
    fs::write(&file, format!("{}\n", pod.uuid)).expect("a file");
    pods.ask("stop", &["--uuid-file", path]).code(0).quiet();
    pod.running.finish().code(0);
    // Relative to where it was called, also behind another one.
    for (command, words) in [("stop", &[][..]), ("rm", &["--force"])] {
        let (first, second) = (pods.start(&[]), pods.start(&[]));
        fs::write(&file, format!("{}\n", second.uuid)).expect("a file");
        let name = file.file_name().and_then(|name| name.to_str());
        let (folder, name) = (file.parent().expect("a folder"), name.expect("a name"));
        let output = pods
            .command(command)
            .args(words)
            .args([&first.uuid, "--uuid-file", name])
            .directory(folder)
            .output();
        output.code(0).quiet();
        let _ = (first.running.finish(), second.running.finish());
    }
    // What holds none is named.
    for text in ["", "\n", "abc\n", &pod.uuid[..35], "../../../../etc/passwd"] {
        fs::write(&file, text).expect("a file");
        pods.ask("stop", &["--uuid-file", path])
            .refused(&[path, "uuid"]);
    }
    let fifo = roots::fresh("fifo");
    Run::new("mkfifo").arg(&fifo).output().code(0);
    let fifo = fifo.to_str().expect("UTF-8");
    for (path, cause) in [
        ("/no/such/file", "No such file"),
        ("/", "Is a directory"),
        ("/dev/zero", "no uuid"),
        (fifo, "no uuid"),
    ] {
        pods.ask("stop", &["--uuid-file", path])
            .refused(&[path, cause]);
    }
    // What is to be written is waited for.
    let pod = pods.start(&[]);
    let mut writer = fs::File::options().read(true).write(true).open(fifo);
    let writer = writer.as_mut().expect("a FIFO");
    let stop = pods.command("stop").args(["--uuid-file", fifo]).start();
    wait_until("it reads", || is_in(stop.pid(), &[libc::SYS_read]));
    writeln!(writer, "{}", pod.uuid).expect("a reader");
    stop.finish().code(0).quiet();
    pod.running.finish().code(0);
    Ok(())
}

/// Nobody is asked; 254, since pid 1 was killed.
fn force() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start_probe(
        &[],
        &[
            "ignore", "all", ",", "echo", "waiting", ",", "sleep", "60000",
        ],
    );
    let pid = fs::read_to_string(pods.place("run", &pod.uuid).join("pid")).expect("a pid");
    pods.ask("stop", &["--force", &pod.uuid]).code(0).quiet();
    assert!(!lives(pid.trim_end()), "pid 1 is there");
    assert_eq!(pods.state(&pod.uuid), "exited");
    pod.running.finish().code(254);
    assert_eq!(pods.status(&pod.uuid).get("code").number(), Some(254));
    pods.collected();
    Ok(())
}

fn that_has_ended() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.exited("7");
    pods.ask("stop", &[&uuid]).code(0).quiet().printed("");
    pods.ask("stop", &["--force", &uuid]).code(0).quiet();
    assert_eq!(pods.status(&uuid).get("code").number(), Some(7));
    Ok(())
}

fn prepared_and_unknown() -> TestResult {
    let pods = Registry::new();
    let uuid = pods.prepare(&[], &["exit", "0"]);
    for words in [vec![uuid.as_str()], vec!["--force", &uuid]] {
        pods.ask("stop", &words).refused(&[&uuid, "prepared"]);
    }
    assert_eq!(pods.state(&uuid), "prepared");
    pods.ask("stop", &["deadbeef"])
        .refused(&["no matches found for \"deadbeef\""]);
    pods.ask("stop", &[""]).refused(&["UUID cannot be empty"]);
    Ok(())
}

/// All are told before one is waited for; what can't be stopped keeps no other from it.
fn several() -> TestResult {
    let pods = Registry::new();
    let all: Vec<Registered> = (0..5).map(|_| pods.start(&[])).collect();
    let mut words: Vec<&str> = all.iter().map(|pod| pod.uuid.as_str()).collect();
    words.insert(2, "ffff-none");
    let output = pods.ask("stop", &words);
    output.refused(&["ffff-none"]);
    for pod in all {
        pod.running.finish().code(0);
    }
    let states: Vec<String> = pods.list().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["exited"; 5]);
    pods.collected();
    Ok(())
}

/// What is gone when it has ended was stopped all the same.
fn that_is_not_kept() -> TestResult {
    let pods = Registry::new();
    let uuids = [
        pods.detach(&["--rm"]),
        pods.detach(&["--rm"]),
        pods.detach(&[]),
    ];
    let words: Vec<&str> = uuids.iter().map(String::as_str).collect();
    pods.ask("stop", &words).code(0).quiet();
    wait_until("two are gone", || pods.left().len() == 1);
    // By a name that the next one has, too.
    let named = pods.detach(&["--rm", "--name=web"]);
    pods.ask("stop", &["web"]).code(0).quiet();
    wait_until("it is gone", || pods.left().len() == 1);
    pods.ask("stop", &[&named]).refused(&["no matches"]);
    pods.collected();
    Ok(())
}

/// An app that ignores SIGTERM is killed at its deadline: 137.
fn deaf() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start_probe(
        &["--stop-timeout=100ms"],
        &[
            "ignore", "TERM", ",", "echo", "waiting", ",", "sleep", "60000",
        ],
    );
    pods.ask("stop", &[&pod.uuid]).code(0).quiet();
    pod.running.finish().code(137);
    let status = pods.status(&pod.uuid);
    assert_eq!(status.get("code").number(), Some(137));
    assert_eq!(status.get("apps").get("app-0").number(), Some(137));
    Ok(())
}

/// Those that came last are stopped first.
fn apps_that_wait_for_others() -> TestResult {
    let pods = Registry::new();
    let box_ = roots::directory("box");
    let volume = format!("{}:/box", box_.display());
    let file = roots::fresh("uuid");
    let words = "--name=first --ready=file:/box/ready -- /bin/probe write /box/ready x , catch TERM , \
         append /box/log first --- --name=second --after=first -- /bin/probe echo waiting , catch TERM , \
         append /box/log second";
    let running = pods
        .command("run")
        .args(["--keep", "--uuid-file-save"])
        .arg(&file)
        .args(["--volume", &volume, "--rootfs"])
        .arg(&pods.root)
        .args(words.split_whitespace())
        .start();
    let uuid = || fs::read_to_string(&file).unwrap_or_default();
    wait_until("its uuid is told", || !uuid().is_empty());
    let uuid = uuid().trim_end().to_owned();
    pods.ask("status", &["--wait-ready", &uuid]).code(0);
    // Both have said that they wait.
    wait_until("both wait", || box_.join("ready").exists());
    pods.ask("stop", &[&uuid]).code(0).quiet();
    running.finish().code(0);
    let log = fs::read_to_string(box_.join("log")).unwrap_or_default();
    assert!(
        log.is_empty() || log.find("second") <= log.find("first"),
        "{log}"
    );
    let status = pods.status(&uuid);
    assert_eq!(status.get("apps").get("first").number(), Some(0));
    assert_eq!(status.get("apps").get("second").number(), Some(0));
    Ok(())
}

/// pid 1 gets a SIGTERM then.
fn without_its_socket() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&[]);
    fs::remove_file(pods.place("run", &pod.uuid).join("control")).expect("a socket");
    pods.ask("stop", &[&pod.uuid]).code(0).quiet();
    pod.running.finish().code(0);
    assert_eq!(pods.state(&pod.uuid), "exited");
    Ok(())
}

/// Who waits for the end is not kept waiting when the pod's stage0 is killed.
fn killed_meanwhile() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start_probe(
        &[],
        &[
            "ignore", "TERM", ",", "echo", "waiting", ",", "sleep", "60000",
        ],
    );
    let stop = pods.command("stop").arg(&pod.uuid).start();
    pod.running.signal(libc::SIGKILL);
    pod.running.finish().killed(libc::SIGKILL);
    stop.finish().code(0).quiet();
    assert_eq!(pods.state(&pod.uuid), "exited");
    pods.collected();
    Ok(())
}

/// The number of its pid 1.
fn pid_of(pods: &Registry, uuid: &str) -> i32 {
    let pid = fs::read_to_string(pods.place("run", uuid).join("pid")).expect("a pid");
    pid.trim_end().parse().expect("a number")
}

/// pid 1 keeps no deadline then, and is killed when that is over; with `--force` at once.
fn stopped_init() -> TestResult {
    let pods = Registry::new();
    for (options, words) in [
        (&["--stop-timeout=100ms"][..], &["stop"][..]),
        (&["--stop-timeout=3600"], &["stop", "--force"]),
        (&["--stop-timeout=3600"], &["rm", "--force"]),
    ] {
        let pod = pods.start(options);
        let pid = pid_of(&pods, &pod.uuid);
        sys::kill(pid, libc::SIGSTOP).expect("it is there");
        let [command, words @ ..] = words else {
            unreachable!()
        };
        pods.ask(command, &[words, &[&pod.uuid]].concat())
            .code(0)
            .quiet();
        assert!(!lives(pid.to_string()));
        pod.running.finish().code(254);
    }
    pods.collected();
    // One that goes on meanwhile does what it was asked for.
    let pod = pods.start(&["--stop-timeout=3600"]);
    let pid = pid_of(&pods, &pod.uuid);
    sys::kill(pid, libc::SIGSTOP).expect("it is there");
    let stop = pods.command("stop").arg(&pod.uuid).start();
    wait_until("it waits", || polls(stop.pid()));
    sys::kill(pid, libc::SIGCONT).expect("it is there");
    stop.finish().code(0).quiet();
    pod.running.finish().code(0);
    pods.collected();
    Ok(())
}

/// Whether a process is in this system call.
fn is_in(pid: i32, wanted: &[i64]) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let number = call.split(' ').next().and_then(|text| text.parse().ok());
    number.is_some_and(|number| wanted.contains(&number))
}

/// Whether it sleeps in poll(2), and has the pidfd of another process.
fn polls(pid: i32) -> bool {
    is_in(pid, POLL) && init::descriptors(pid).contains("NSpid:")
}

#[cfg(target_arch = "x86_64")]
const POLL: &[i64] = &[libc::SYS_poll, libc::SYS_ppoll];
#[cfg(not(target_arch = "x86_64"))]
const POLL: &[i64] = &[libc::SYS_ppoll];

/// Fills the queue of its requests.
fn fill(pods: &Registry, uuid: &str) {
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.set_nonblocking(true).expect("a flag");
    std::env::set_current_dir(pods.place("run", uuid)).expect("the pod");
    let mut count = 0;
    while socket.send_to(b"full", "control").is_ok() {
        count += 1;
    }
    assert!(count > 0);
    std::env::set_current_dir("/").expect("a directory");
}

/// No more can be sent to it.
fn stopped_init_with_many_requests() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&["--stop-timeout=100ms"]);
    sys::kill(pid_of(&pods, &pod.uuid), libc::SIGSTOP).expect("it is there");
    fill(&pods, &pod.uuid);
    pods.ask("stop", &[&pod.uuid]).code(0).quiet();
    pod.running.finish().code(254);
    pods.collected();
    Ok(())
}

/// One that has gone on is asked again, and not killed: what its program, which ignores
/// the signal that came instead, does with its deadline is told.
fn many_requests_for_a_moment() -> TestResult {
    let pods = Registry::new();
    let program = [
        "ignore", "TERM", ",", "echo", "waiting", ",", "sleep", "60000",
    ];
    let pod = pods.start_probe(&["--stop-timeout=100ms"], &program);
    let pid = pid_of(&pods, &pod.uuid);
    sys::kill(pid, libc::SIGSTOP).expect("it is there");
    fill(&pods, &pod.uuid);
    let stop = pods.command("stop").arg(&pod.uuid).start();
    wait_until("it waits", || polls(stop.pid()));
    sys::kill(pid, libc::SIGCONT).expect("it is there");
    stop.finish().code(0).quiet();
    pod.running.finish().code(137);
    pods.collected();
    Ok(())
}

/// A stage0 that is stopped keeps nobody waiting for ever.
fn stopped_launcher() -> TestResult {
    let pods = Registry::new();
    let pod = pods.start(&["--stop-timeout=100ms"]);
    pod.running.signal(libc::SIGSTOP);
    // Its program has ended when its end is waited for.
    let stop = pods.command("stop").arg(&pod.uuid).start();
    wait_until("pid 1 has ended", || {
        !lives(pid_of(&pods, &pod.uuid).to_string())
    });
    pods.ask("rm", &["--force", &pod.uuid])
        .refused(&[&pod.uuid, "the time to wait is over"]);
    stop.finish()
        .refused(&[&pod.uuid, "the time to wait is over"]);
    pod.running.signal(libc::SIGCONT);
    pod.running.finish().code(0);
    pods.ask("rm", &[&pod.uuid]).code(0).quiet();
    pods.collected();
    Ok(())
}

/// The directory of a pod whose stage0 is this test, and its pid 1 none.
fn only_a_directory(pods: &Registry) -> (String, PathBuf, File) {
    let uuid = "00112233-4455-4677-8899-aabbccddeeff".to_owned();
    let place = pods.place("run", &uuid);
    fs::create_dir_all(&place).expect("a directory");
    let held = File::create(place.join("lock")).expect("a lock");
    lock::as_stage0(&held).expect("nobody has it");
    (uuid, place, held)
}

/// pid 1 has ended, and its number is that of another process, before its stage0 has
/// written that down.
fn number_of_another_process() -> TestResult {
    let pods = Registry::new();
    let (uuid, place, held) = only_a_directory(&pods);
    let mut other = Run::new("sleep").arg("60000").start();
    fs::write(place.join("pid"), format!("{}\n", other.pid())).expect("a file");
    drop(UnixDatagram::bind(place.join("control")).expect("a socket"));
    let stops: Vec<Running> = [&["stop"][..], &["stop", "--force"], &["rm", "--force"]]
        .iter()
        .map(|words| pods.command(words[0]).args(&words[1..]).arg(&uuid).start())
        .collect();
    for stop in &stops {
        wait_until("it waits", || waits_for_a_lock(stop.pid()));
    }
    drop(held);
    for stop in stops {
        stop.finish().code(0).quiet();
    }
    assert!(other.runs());
    other.signal(libc::SIGKILL);
    other.finish().killed(libc::SIGKILL);
    assert_eq!(pods.left(), Vec::<String>::new());
    Ok(())
}

/// What has nothing to do with the pod is not killed, whatever the file says.
fn wrong_number() -> TestResult {
    let pods = Registry::new();
    let mut other = Run::new("sleep").arg("60000").start();
    let pod = pods.start(&["--stop-timeout=100ms"]);
    let own = pid_of(&pods, &pod.uuid);
    let file = pods.place("run", &pod.uuid).join("pid");
    fs::write(&file, format!("{}\n", other.pid())).expect("a file");
    pods.ask("stop", &["--force", &pod.uuid])
        .refused(&[&pod.uuid, "the time to wait is over"]);
    assert!(other.runs() && lives(own.to_string()));
    // Its socket leads to the right one.
    pods.ask("stop", &[&pod.uuid]).code(0).quiet();
    pod.running.finish().code(0);
    // The right number is good enough where pid 1 can't say anything.
    let pod = pods.start(&["--stop-timeout=3600"]);
    let own = pid_of(&pods, &pod.uuid);
    sys::kill(own, libc::SIGSTOP).expect("it is there");
    pods.ask("stop", &["--force", &pod.uuid]).code(0).quiet();
    pod.running.finish().code(254);
    assert!(other.runs());
    other.signal(libc::SIGKILL);
    other.finish().killed(libc::SIGKILL);
    pods.collected();
    Ok(())
}

/// Who waits for the end of what holds a lock does it by itself, or has a child for that.
pub fn waits_for_a_lock(pid: i32) -> bool {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    is_in(pid, &[libc::SYS_fcntl]) || !children.unwrap_or_default().is_empty()
}

/// A pod that is being started is killed as soon as its pid 1 is known.
fn number_that_comes_late() -> TestResult {
    let pods = Registry::new();
    let (uuid, place, held) = only_a_directory(&pods);
    let first = Run::new("sleep").arg("60000").start();
    let stop = pods.command("stop").args(["--force", &uuid]).start();
    wait_until("it waits", || init::waits_for_a_pod(stop.pid()));
    fs::write(place.join(".pid"), format!("{}\n", first.pid())).expect("a file");
    fs::rename(place.join(".pid"), place.join("pid")).expect("renamed");
    first.finish().killed(libc::SIGKILL);
    drop(held);
    stop.finish().code(0).quiet();
    pods.collected();
    Ok(())
}

/// Its stage0 is about to end, and holds the lock until then.
fn directory_that_is_removed() -> TestResult {
    let pods = Registry::new();
    for (command, words) in [
        ("stop", &[][..]),
        ("stop", &["--force"]),
        ("rm", &["--force"]),
    ] {
        let (uuid, place, held) = only_a_directory(&pods);
        let stop = pods.command(command).args(words).arg(&uuid).start();
        wait_until("it waits", || init::waits_for_a_pod(stop.pid()));
        fs::remove_dir_all(place).expect("removed");
        drop(held);
        stop.finish().code(0).quiet();
        assert_eq!(pods.left(), Vec::<String>::new());
    }
    Ok(())
}

/// A cgroup of the test's own, frozen by writing `text` to the file `name`.
struct Frozen {
    path: PathBuf,
    name: &'static str,
    thawed: &'static str,
}

impl Frozen {
    fn new(mount: &Path, [name, frozen, thawed]: [&'static str; 3], pid: i32) -> Self {
        // The test's own: its pid is that of each test.
        let own = roots::fresh("stop").display().to_string().replace('/', "-");
        let path = mount.join(own.trim_matches('-'));
        fs::create_dir(&path).expect("a cgroup");
        let cgroup = Self { path, name, thawed };
        cgroup.write("cgroup.procs", &pid.to_string());
        cgroup.write(name, frozen);
        cgroup
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path.join(name), text).expect("a file of the cgroup");
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(self.path.join(self.name), self.thawed);
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.path).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn init_in_a_frozen_cgroup() -> TestResult {
    Requirement::CgroupV2.require()?;
    let mount = cgroup_v2().expect("the requirement");
    let pods = Registry::new();
    let pod = pods.start(&["--stop-timeout=100ms"]);
    let names = ["cgroup.freeze", "1", "0"];
    let _frozen = Frozen::new(&mount, names, pid_of(&pods, &pod.uuid));
    pods.ask("stop", &[&pod.uuid]).code(0).quiet();
    pod.running.finish().code(254);
    pods.collected();
    Ok(())
}

/// The freezer of version 1 keeps a process also from dying: that is told.
fn init_that_no_signal_reaches() -> TestResult {
    Requirement::Freezer.require()?;
    let (mount, _) = controller("freezer").expect("the requirement");
    let pods = Registry::new();
    let pod = pods.start(&["--stop-timeout=100ms"]);
    let names = ["freezer.state", "FROZEN", "THAWED"];
    let frozen = Frozen::new(&mount, names, pid_of(&pods, &pod.uuid));
    for (command, words) in [
        ("stop", &[][..]),
        ("stop", &["--force"]),
        ("rm", &["--force"]),
    ] {
        let output = pods.ask(command, &[words, &[&pod.uuid]].concat());
        output.refused(&[&pod.uuid, "the time to wait is over"]);
    }
    assert_eq!(pods.state(&pod.uuid), "running");
    drop(frozen);
    pod.running.finish().code(254);
    pods.collected();
    Ok(())
}

fn command_lines() -> TestResult {
    let pods = Registry::new();
    pods.ask("stop", &[]).refused(&["no pod"]);
    pods.ask("stop", &["--no-such"]).refused(&["--no-such"]);
    pods.ask("stop", &["--uuid-file"]).refused(&["--uuid-file"]);
    pods.ask("stop", &["--force=yes", "x"])
        .refused(&["--force"]);
    pods.ask("stop", &["--state-dir=relative", "x"])
        .refused(&["relative"]);
    Ok(())
}
