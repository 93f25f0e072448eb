//! What moves between a pod's terminal and the caller's streams: neither side, nor signals,
//! wait for the other one.

use std::{
    fs,
    fs::File,
    io::{Read, pipe},
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use kickstage_tests::{
    TestResult,
    command::{Output, Run, Running},
    pod::Pod,
    registered::wait_until,
    roots, sys, tests,
};

tests![
    much_input,
    the_end_of_input,
    an_end_within_a_line,
    nobody_reads_the_output,
    signals_meanwhile,
    time_is_over_and_nobody_reads,
    output_that_is_lost,
    input_that_is_none,
    closed_streams,
    output_that_never_waits,
];

const SIGTERM: i32 = 15;

fn pod(probe: &[&str]) -> Run {
    Pod::new(roots::probe()).flag("--tty").probe_command(probe)
}

fn end(running: Running) -> Output {
    running.finish()
}

/// More than the terminal and the pipes hold, both ways: most of it is echoed, too.
fn much_input() -> TestResult {
    let text = "y\n".repeat(100_000);
    let output = pod(&["cat"]).input(text).output();
    output.code(0).quiet();
    let lines = output.stdout.matches("y\r\n").count();
    assert!(lines >= 100_000, "{lines} lines");
    Ok(())
}

/// It is waited for the end of the pod, and for nothing else, when there is no more input.
fn the_end_of_input() -> TestResult {
    let mut running = pod(&["catch", "TERM"]).start();
    running.wait_for("catch: waiting");
    running.close_input();
    let ticks = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let behind = text.rsplit(')').next().expect("a name").to_owned();
        let fields = behind.split_whitespace().skip(11).take(2);
        fields
            .map(|field| field.parse::<u64>().expect("ticks"))
            .sum::<u64>()
    };
    let before = ticks(running.pid());
    thread::sleep(Duration::from_millis(500));
    assert!(ticks(running.pid()) - before < 10, "it does not sleep");
    running.signal(SIGTERM);
    end(running);
    Ok(())
}

/// The key that ends the input of a terminal ends but the line, if one has begun.
fn an_end_within_a_line() -> TestResult {
    for text in ["", "abc", "line\nabc", "line\n"] {
        let output = pod(&["cat"]).input(text).output();
        output.code(0).quiet();
        let lines = text.replace('\n', "\r\n");
        assert!(output.stdout.ends_with(&lines), "{:?}", output.stdout);
    }
    Ok(())
}

/// A signal reaches the pod all the same, and the next one ends who still has output.
fn nobody_reads_the_output() -> TestResult {
    let (reader, writer) = pipe().expect("a pipe");
    let run = pod(&["flood", "100000000"]);
    let mut running = run.hook(move || sys::duplicate_onto(&writer, 1)).spawn();
    let children = format!("/proc/{0}/task/{0}/children", running.pid());
    let has_child = || fs::read_to_string(&children).is_ok_and(|text| !text.is_empty());
    wait_until("the pod runs", has_child);
    thread::sleep(Duration::from_millis(300));
    assert!(running.runs());
    let pid = fs::read_to_string(&children).expect("it runs");
    let pid: i32 = pid.trim().parse().expect("a pid");
    running.signal(SIGTERM);
    // It is reaped at the very end only.
    let is_dead = || {
        let status = fs::read_to_string(format!("/proc/{pid}/stat"));
        status.is_ok_and(|status| status.contains(") Z "))
    };
    wait_until("the pod has ended", is_dead);
    running.signal(SIGTERM);
    end(running).code(128 + SIGTERM);
    drop(reader);
    Ok(())
}

/// Of those that end nobody nothing is lost, however many come and whenever.
fn signals_meanwhile() -> TestResult {
    let (mut reader, writer) = pipe().expect("a pipe");
    let run = pod(&["flood", "400000"]);
    let running = run.hook(move || sys::duplicate_onto(&writer, 1)).spawn();
    let pid = running.pid();
    let is_over = AtomicBool::new(false);
    let mut shown = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for signal in [libc::SIGWINCH, libc::SIGCONT, libc::SIGURG].iter().cycle() {
                if is_over.load(Relaxed) || sys::kill(pid, *signal).is_err() {
                    break;
                }
            }
        });
        let mut chunk = [0; 4096];
        loop {
            thread::sleep(Duration::from_micros(500));
            match reader.read(&mut chunk).expect("bytes") {
                0 => break,
                count => shown.extend_from_slice(&chunk[..count]),
            }
        }
        is_over.store(true, Relaxed);
    });
    end(running).code(0);
    assert_eq!(shown.iter().filter(|byte| **byte == b'x').count(), 400_000);
    Ok(())
}

/// A pipe that nobody reads, and a terminal that has room for some of what is written.
fn time_is_over_and_nobody_reads() -> TestResult {
    let words = ["flood", "100000000"];
    let stopped = |run: Run, output: OwnedFd| {
        let running = run.hook(move || sys::duplicate_onto(&output, 1)).spawn();
        end(running).code(124);
    };
    let limited = || {
        let options = ["--tty", "--timeout=200ms", "--stop-timeout=100ms"];
        Pod::new(roots::probe())
            .options(options)
            .probe_command(words)
    };
    let (reader, writer) = pipe().expect("a pipe");
    stopped(limited(), writer.into());
    drop(reader);
    let (master, slave) = sys::terminal(24, 80).expect("a terminal");
    stopped(limited(), slave);
    drop(master);
    Ok(())
}

fn output_that_is_lost() -> TestResult {
    let full = File::options()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    let run = pod(&["echo", "hello", ",", "exit", "3"]);
    let output = run.hook(move || sys::duplicate_onto(&full, 1)).output();
    output.code(3);
    let expected = "stage0: relay the terminal: No space left on device\n";
    assert_eq!(output.stderr, expected);
    Ok(())
}

/// What can't be read is at its end, and signals are passed on all the same.
fn input_that_is_none() -> TestResult {
    let running = pod(&["catch", "TERM"])
        .stdin(File::open("/tmp").expect("a directory"))
        .start();
    running.wait_for("catch: waiting");
    running.signal(SIGTERM);
    end(running).quiet();
    Ok(())
}

/// Of the caller any may be closed: the pod has its terminal instead.
fn closed_streams() -> TestResult {
    for closed in [vec![0], vec![1], vec![2], vec![0, 1], vec![0, 1, 2]] {
        let numbers = closed.clone();
        let run = pod(&["report", "tty", ",", "exit", "5"]);
        let close = move || numbers.iter().try_for_each(|number| sys::close(*number));
        let output = run.hook(close).output();
        assert_eq!(output.code, Some(5), "{closed:?}: {}", output.everything());
    }
    Ok(())
}

/// A pipe that would rather fail than wait (O_NONBLOCK), and a reader who is slow.
fn output_that_never_waits() -> TestResult {
    let (mut reader, writer) = pipe().expect("a pipe");
    sys::never_wait(&writer).expect("a flag");
    let run = pod(&["flood", "500000"]);
    let running = run.hook(move || sys::duplicate_onto(&writer, 1)).spawn();
    thread::sleep(Duration::from_millis(200));
    let mut shown = Vec::new();
    reader.read_to_end(&mut shown).expect("bytes");
    end(running).code(0);
    assert_eq!(shown.iter().filter(|byte| **byte == b'x').count(), 500_000);
    Ok(())
}
