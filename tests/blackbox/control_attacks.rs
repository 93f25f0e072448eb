//! Clients of the control socket that do all they can to bring pid 1 down: killed at
//! any moment, with plans that are none, by garbage, and by many apps.

use std::{
    fs,
    os::{fd::AsRawFd, unix::net::UnixDatagram},
    path::Path,
    time::Duration,
};

use kickstage_tests::{
    TestResult, command::Run, init, message, random::Random, registered::wait_until, roots, tests,
};

use crate::control::Controlled;

tests![
    clients_that_are_killed,
    plans_that_are_none,
    garbage,
    ten_thousand_apps,
];

/// At any moment of a request.
fn clients_that_are_killed() -> TestResult {
    let pod = Controlled::new();
    pod.add_deaf("--stop-timeout=60");
    let before = open_files(pod.pid());
    for delay in 0..200 {
        let words: &[&str] = if delay % 2 == 0 {
            &["stop"]
        } else {
            &["status"]
        };
        let client = Run::ours("stage0")
            .args(["app"])
            .args(words)
            .arg(&pod.directory)
            .arg("deaf")
            .start();
        std::thread::sleep(Duration::from_micros(delay * 20));
        client.signal(libc::SIGKILL);
        let _ = client.finish();
    }
    // The last one that waited may still be kept.
    wait_until("the others are not", || open_files(pod.pid()) <= before + 1);
    pod.app("kill", &["deaf", "KILL"]).code(0);
    pod.wait_for("deaf", "exited", "137");
    wait_until("all is closed", || open_files(pod.pid()) == before);
    pod.end().code(0);
    Ok(())
}

pub fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("a process")
        .count()
}

pub fn resident(pid: i32) -> u64 {
    let text = init::status(pid, "VmRSS");
    text.trim_end_matches(" kB").parse().expect("a size")
}

/// A request as the protocol has it.
pub fn request(operation: u32, flags: u32, number: u32, name: &str) -> Vec<u8> {
    let mut bytes = b"kst1".to_vec();
    for number in [operation, flags, number] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend(name.bytes());
    bytes.resize(16 + 256, 0);
    bytes
}

const STATUS: u32 = 1;
const ADD: u32 = 2;

/// What the pod answers: the first numbers of the reply.
fn ask(pod: &Controlled, bytes: &[u8], file: Option<&fs::File>) -> [u32; 8] {
    ask_by(&pod.path("control"), bytes, file)
}

fn ask_by(control: &Path, bytes: &[u8], file: Option<&fs::File>) -> [u32; 8] {
    reply(&send(control, bytes, file))
}

/// Where the answer to such a request comes.
pub fn send_at(control: &Path, operation: u32, flags: u32, name: &str) -> UnixDatagram {
    send(control, &request(operation, flags, 0, name), None)
}

fn send(control: &Path, bytes: &[u8], file: Option<&fs::File>) -> UnixDatagram {
    let (own, other) = UnixDatagram::pair().expect("a pair");
    own.set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    let socket = UnixDatagram::unbound().expect("a socket");
    let mut descriptors = vec![other.as_raw_fd()];
    descriptors.extend(file.map(AsRawFd::as_raw_fd));
    message::send(&socket, control, bytes, &descriptors).expect("sent");
    own
}

pub fn reply(own: &UnixDatagram) -> [u32; 8] {
    let mut reply = [0; 512];
    assert_eq!(own.recv(&mut reply).expect("a reply"), 32 + 256);
    assert_eq!(&reply[..4], b"kst1");
    let mut numbers = [0; 8];
    for (place, chunk) in numbers.iter_mut().zip(reply.chunks(4)) {
        *place = u32::from_ne_bytes(chunk.try_into().expect("four bytes"));
    }
    numbers
}

fn error(errno: i32) -> u32 {
    errno.unsigned_abs()
}

/// The client's files are read as what they are: an unsealed one might change, and one
/// that is no plan of one app of that name is none.
fn plans_that_are_none() -> TestResult {
    let pod = Controlled::new();
    let plan = roots::directory("plans").join("plan");
    let write = |programs: &[&str]| {
        let written = Run::ours("stage0")
            .args(["plan", "--output"])
            .arg(&plan)
            .args([
                "--exit-policy=never",
                "--rootfs",
                "/",
                "--name",
                "one",
                "--",
            ])
            .args(programs)
            .output();
        written.code(0);
        fs::read(&plan).expect("a plan")
    };
    let one = write(&["/bin/probe", "exit", "6"]);
    let two = write(&["/bin/probe", "---", "/bin/probe"]);
    let add = |bytes: &[u8], sealed: bool, name: &str| {
        let file = message::memory_file(bytes, sealed).expect("a file");
        let [_, errno, ..] = ask(&pod, &request(ADD, 2, 0, name), Some(&file));
        errno
    };
    assert_eq!(add(&one, false, "one"), error(libc::EPERM));
    assert_eq!(add(&two, true, "one"), error(libc::EINVAL));
    assert_eq!(add(&one, true, "other"), error(libc::EINVAL));
    assert_eq!(add(&one, true, ""), error(libc::EEXIST));
    assert_eq!(add(b"", true, "one"), error(libc::EINVAL));
    assert_eq!(add(&one[..one.len() - 8], true, "one"), error(libc::EINVAL));
    assert_eq!(add(&[7; 100_000], true, "one"), error(libc::EINVAL));
    let file = fs::File::open(&plan).expect("a plan");
    let [_, errno, ..] = ask(&pod, &request(ADD, 2, 0, "one"), Some(&file));
    assert_eq!(errno, error(libc::EINVAL));
    let [_, errno, ..] = ask(&pod, &request(ADD, 2, 0, "one"), None);
    assert_eq!(errno, error(libc::EBADF));
    assert_eq!(pod.app("list", &[]).stdout.lines().count(), 2);
    // And this is one.
    assert_eq!(add(&one, true, "one"), 0);
    pod.wait_for("one", "exited", "6");
    pod.end().code(0);
    Ok(())
}

/// A message that is no request, or asks for what there is not; `None` of one that
/// would stop the app that is there.
fn nonsense(random: &mut Random) -> Option<Vec<u8>> {
    let operation = [STATUS, ADD, 3, 4, 5, 6, 7, 0, u32::MAX][random.below(9)];
    let name = ["", "main", "nobody", "one", "\u{7f}\n"][random.below(5)];
    let mut number = || u32::try_from(random.below(70)).expect("small");
    let (flags, number) = (number() % 5, number());
    let mut bytes = request(operation, flags, number, name);
    match random.below(4) {
        0 => bytes.truncate(random.below(272)),
        1 => {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        2 => bytes.resize(272 + random.below(5000), 1),
        _ => {}
    }
    let stops = bytes
        .get(4)
        .is_some_and(|operation| matches!(operation, 4 | 6));
    (!stops).then_some(bytes)
}

/// A million of messages that are no requests, or ask for what there is not; some with
/// descriptors. pid 1 stays as it is.
fn garbage() -> TestResult {
    let pod = Controlled::new();
    let socket = UnixDatagram::unbound().expect("a socket");
    let path = pod.path("control");
    let null = fs::File::open("/dev/null").expect("a device");
    let file = message::memory_file(&[1; 5000], true).expect("a file");
    let (before, memory) = (open_files(pod.pid()), resident(pod.pid()));
    let mut random = Random::new(0x2545_f491_4f6c_dd1d);
    let mut sent = 0;
    while sent < 1_000_000 {
        let Some(bytes) = nonsense(&mut random) else {
            continue;
        };
        let descriptors: &[_] = match random.below(50) {
            0 => &[null.as_raw_fd()],
            1 => &[null.as_raw_fd(), file.as_raw_fd()],
            2 => &[file.as_raw_fd(); 7],
            _ => &[],
        };
        message::send(&socket, &path, &bytes, descriptors).expect("pid 1 takes them");
        sent += 1;
    }
    assert!(pod.is("main", "running", "0"), "{:?}", pod.line("main"));
    wait_until("all is closed", || open_files(pod.pid()) == before);
    assert!(
        resident(pod.pid()) <= memory + 16,
        "{} KB, then {}",
        memory,
        resident(pod.pid())
    );
    assert_eq!(pod.app("list", &[]).stdout.lines().count(), 2);
    pod.end().code(0).quiet();
    Ok(())
}

/// Plans of an app `nnnnn` that exits with 0, 1, ... 249.
fn plans() -> Vec<Vec<u8>> {
    let plan = roots::directory("plans").join("plan");
    (0..250)
        .map(|code: u32| {
            let words = "--exit-policy=never --rootfs / --name nnnnn -- /bin/probe exit";
            let written = Run::ours("stage0")
                .args(["plan", "--output"])
                .arg(&plan)
                .args(words.split(' '))
                .arg(code.to_string())
                .output();
            written.code(0);
            fs::read(&plan).expect("a plan")
        })
        .collect()
}

/// Each with a code of its own, 50 at once; none is lost, and nothing grows.
fn ten_thousand_apps() -> TestResult {
    let pod = Controlled::new();
    let plans = plans();
    let place = |plan: &[u8]| {
        plan.windows(5)
            .position(|name| name == b"nnnnn")
            .expect("a name")
    };
    std::thread::sleep(Duration::from_millis(20));
    let mut first = None;
    for batch in 0..200_usize {
        let numbers = batch * 50..batch * 50 + 50;
        let names: Vec<_> = numbers
            .map(|number| (number % 250, format!("{number:05}")))
            .collect();
        for (code, name) in &names {
            let mut plan = plans[*code].clone();
            let at = place(&plan);
            plan[at..at + 5].copy_from_slice(name.as_bytes());
            let file = message::memory_file(&plan, true).expect("a file");
            let [_, errno, ..] = ask(&pod, &request(ADD, 2, 0, name), Some(&file));
            assert_eq!(errno, 0, "{name}");
        }
        for (code, name) in &names {
            wait_until(name, || {
                pod.code(name)
                    .is_some_and(|told| told == format!("{code}\n"))
            });
            let [_, errno, _, state, _, _, told, _] = ask(&pod, &request(STATUS, 0, 0, name), None);
            assert_eq!((errno, state, told as usize), (0, 5, *code), "{name}");
            let [_, errno, ..] = ask(&pod, &request(5, 0, 0, name), None);
            assert_eq!(errno, 0, "{name}");
        }
        // The socket of the last reply is closed behind it.
        let (numbers, memory) =
            *first.get_or_insert_with(|| (open_files(pod.pid()), resident(pod.pid())));
        wait_until("all is closed", || open_files(pod.pid()) <= numbers);
        let now = resident(pod.pid());
        assert!(now <= memory + 16, "{memory} KB, then {now}, batch {batch}");
    }
    pod.end().code(0).quiet();
    Ok(())
}
