//! `stage0 app exec` where pid 1 of the pod does not go on: signals end who waits for it.

use std::{fs, os::unix::net::UnixDatagram};

use kickstage_tests::{
    TestResult, command::Running, init, registered::wait_until, sys, terminal::Terminal, tests,
};

use crate::{control::Controlled, enter::probe};

tests![
    before_the_program,
    behind_its_start,
    many_requests,
    at_a_terminal,
];

const SLEEP: [&str; 5] = ["echo", "on", ",", "sleep", "60000"];

/// Whether a process waits in one of these system calls, and has no signal to take.
fn waits(pid: i32, calls: &[i64]) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let number = call.split(' ').next().and_then(|text| text.parse().ok());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let has = |line: &str| status.lines().any(|other| other == line);
    let none = ["SigPnd:\t0000000000000000", "ShdPnd:\t0000000000000000"];
    number.is_some_and(|number| calls.contains(&number)) && none.into_iter().all(has)
}

/// Waits until a client waits for its program, and has taken its signals.
fn wait_for_client(client: &Running) {
    #[cfg(target_arch = "x86_64")]
    const POLL: &[i64] = &[libc::SYS_poll, libc::SYS_ppoll];
    #[cfg(not(target_arch = "x86_64"))]
    const POLL: &[i64] = &[libc::SYS_ppoll];
    wait_until("it waits", || waits(client.pid(), POLL));
}

/// What was asked for is done when pid 1 goes on, and the signal comes behind it.
fn before_the_program() -> TestResult {
    let pod = Controlled::new();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        sys::kill(pod.pid(), libc::SIGSTOP).expect("it is there");
        let client = probe(&pod.directory, &SLEEP).start();
        wait_for_client(&client);
        client.signal(signal);
        init::wait_for_state(client.pid(), 'Z');
        sys::kill(pod.pid(), libc::SIGCONT).expect("it is there");
        client.finish().code(128 + signal).quiet();
    }
    // What may mean something else to the program does not.
    sys::kill(pod.pid(), libc::SIGSTOP).expect("it is there");
    let mut client = probe(&pod.directory, &SLEEP).start();
    wait_for_client(&client);
    for _ in 0..3 {
        client.signal(libc::SIGUSR1);
        wait_for_client(&client);
    }
    assert!(client.runs());
    sys::kill(pod.pid(), libc::SIGCONT).expect("it is there");
    client.finish().code(128 + libc::SIGUSR1).quiet();
    assert!(pod.is("main", "running", "0"));
    pod.end().code(0);
    Ok(())
}

/// The first signal waits for it, as the program may live; the second one does not.
fn behind_its_start() -> TestResult {
    let pod = Controlled::new();
    for seconds in [true, false] {
        let mut client = probe(&pod.directory, &SLEEP).start();
        client.wait_for("on");
        sys::kill(pod.pid(), libc::SIGSTOP).expect("it is there");
        client.signal(libc::SIGTERM);
        wait_for_client(&client);
        assert!(client.runs());
        if seconds {
            client.signal(libc::SIGINT);
            init::wait_for_state(client.pid(), 'Z');
        }
        sys::kill(pod.pid(), libc::SIGCONT).expect("it is there");
        let expected = if seconds { libc::SIGINT } else { libc::SIGTERM };
        client.finish().code(128 + expected).quiet();
    }
    // Two in a row where it goes on are the program's.
    let words = ["catch", "TERM", ",", "catch", "INT", ",", "exit", "3"];
    let client = probe(&pod.directory, &words).start();
    client.wait_for("waiting");
    client.signal(libc::SIGTERM);
    client.wait_for_times("waiting", 2);
    client.signal(libc::SIGINT);
    client.finish().code(3).quiet();
    pod.end().code(0);
    Ok(())
}

/// A request that can't even be sent holds no signal back.
fn many_requests() -> TestResult {
    let pod = Controlled::new();
    sys::kill(pod.pid(), libc::SIGSTOP).expect("it is there");
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.set_nonblocking(true).expect("a flag");
    std::env::set_current_dir(&pod.directory).expect("the pod");
    while socket.send_to(b"full", "control").is_ok() {}
    std::env::set_current_dir("/").expect("a directory");
    let client = probe(&pod.directory, &SLEEP).start();
    wait_until("it sends", || waits(client.pid(), &[libc::SYS_sendmsg]));
    client.signal(libc::SIGTERM);
    client.finish().killed(libc::SIGTERM).quiet();
    // One that waits has what it asked for.
    let client = probe(&pod.directory, &["exit", "7"]).start();
    wait_until("it sends", || waits(client.pid(), &[libc::SYS_sendmsg]));
    sys::kill(pod.pid(), libc::SIGCONT).expect("it is there");
    client.finish().code(7).quiet();
    pod.end().code(0);
    Ok(())
}

fn at_a_terminal() -> TestResult {
    let pod = Controlled::new();
    for first in [true, false] {
        let screen = Terminal::new(24, 80);
        if first {
            sys::kill(pod.pid(), libc::SIGSTOP).expect("it is there");
        }
        let client = screen.start(probe(&pod.directory, &SLEEP));
        if !first {
            screen.wait_for("on\r\n");
            sys::kill(pod.pid(), libc::SIGSTOP).expect("it is there");
            wait_for_client(&client);
            client.signal(libc::SIGTERM);
        }
        wait_for_client(&client);
        client.signal(libc::SIGTERM);
        init::wait_for_state(client.pid(), 'Z');
        sys::kill(pod.pid(), libc::SIGCONT).expect("it is there");
        client.finish().code(128 + libc::SIGTERM);
    }
    assert!(pod.is("main", "running", "0"));
    pod.end().code(0);
    Ok(())
}
