//! Commands about processes, signals and time.

use core::ffi::CStr;

use core::net::{Ipv4Addr, SocketAddrV4};
use fly::sys::{
    clone::{self, Child},
    exec::{Pointers, execve},
    signal, time,
};
use rustix::{
    io::Errno,
    net::{self, AddressFamily, SendFlags, SocketAddrUnix, SocketType},
    process::{
        Pid, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid, setsid, wait as wait_child,
        waitid, waitpid,
    },
    thread::{NanosleepRelativeResult, Timespec, nanosleep},
};

use crate::{Command, Probe, Row, names};

/// The commands of this file.
pub const COMMANDS: &[Row] = &[
    ("exec", 1, "PATH [ARG...]: replaces the probe", exec),
    (
        "fork",
        1,
        "N: so many children that exit at once, reaped",
        fork,
    ),
    (
        "orphan",
        1,
        "N: so many grandchildren whose parents exit: pid 1 inherits them",
        orphan,
    ),
    (
        "zombie",
        1,
        "N: so many grandchildren that have ended when pid 1 inherits them",
        zombie,
    ),
    (
        "background",
        1,
        "COMMAND...: a second probe beside this one",
        background,
    ),
    ("wait", 0, "reaps the children, prints how each ended", wait),
    ("session", 0, "starts a session of its own", session),
    ("sleep", 1, "MS", sleep),
    ("spin", 1, "MS: uses the processor for so long", spin),
    (
        "ignore",
        1,
        "SIGNAL...|all: from here on (blocks it, and never looks)",
        ignore,
    ),
    (
        "catch",
        1,
        "SIGNAL...|all: says so, waits for one of them, prints it",
        catch,
    ),
    ("kill", 2, "PID SIGNAL", kill),
    (
        "notify",
        1,
        "TEXT: a datagram to the socket NOTIFY_SOCKET",
        notify,
    ),
    ("listen", 1, "PORT: on TCP of 127.0.0.1, to the end", listen),
    (
        "accept",
        2,
        "FD TEXT: takes a connection of the socket FD, sends TEXT, closes it",
        accept,
    ),
    (
        "raise",
        1,
        "SIGNAL: to the probe itself, with its default action",
        raise,
    ),
];

/// The path and name under which a probe starts another one.
const SELF: &CStr = c"/proc/self/exe";

/// Writes the array of pointers that exec takes; returns the room that is left.
fn pointers<'a>(
    room: &'a mut [usize],
    strings: impl Iterator<Item = &'static CStr>,
) -> Result<(Pointers<'a>, &'a mut [usize]), Errno> {
    Pointers::write(room, &mut strings.map(|string| -> &'a CStr { string })).ok_or(Errno::TOOBIG)
}

fn exec(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    probe.out.flush();
    let path = command.argument(1)?;
    let (arguments, rest) = pointers(probe.words, command.from(1))?;
    let (environment, _) = pointers(rest, probe.environment.iter())?;
    Err(execve(path, arguments, environment))
}

/// Starts `path` with `arguments` beside this program.
fn spawn(
    probe: &mut Probe,
    arguments: impl Iterator<Item = &'static CStr>,
) -> Result<Child, Errno> {
    let (arguments, rest) = pointers(probe.words, core::iter::once(c"probe").chain(arguments))?;
    let (environment, _) = pointers(rest, probe.environment.iter())?;
    let mut failure = None;
    let child = clone::vfork(0, None, |_| {
        signal::set_mask(signal::Set::EMPTY);
        failure = Some(execve(SELF, arguments, environment));
        127
    })?;
    match failure {
        Some(errno) => {
            reap(&child)?;
            Err(errno)
        }
        None => Ok(child),
    }
}

fn reap(child: &Child) -> Result<(), Errno> {
    let pid = i32::try_from(child.pid).ok().and_then(Pid::from_raw);
    loop {
        match waitpid(pid, WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            done => return done.map(drop),
        }
    }
}

fn fork(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    probe.out.flush();
    for _ in 0..command.number(1)? {
        let child = clone::vfork(0, None, |_| 0)?;
        reap(&child)?;
    }
    probe.ok(command)
}

/// The parent between is gone before its child is: the grandchild is handed to
/// pid 1, ends 20 ms later, and stays a zombie unless pid 1 reaps it.
fn orphan(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    probe.out.flush();
    let arguments = [c"probe", c"sleep", c"20"];
    let (arguments, rest) = pointers(probe.words, arguments.into_iter())?;
    let (environment, _) = pointers(rest, probe.environment.iter())?;
    for _ in 0..command.number(1)? {
        let mut failure = None;
        let parent = clone::vfork(0, None, |_| {
            let child = clone::vfork(0, None, |_| {
                failure = Some(execve(SELF, arguments, environment));
                127
            });
            if let Err(errno) = child {
                failure = Some(errno);
            }
            0
        })?;
        reap(&parent)?;
        if let Some(errno) = failure {
            return Err(errno);
        }
    }
    probe.ok(command)
}

/// The parent between waits for the grandchild's end, and does not reap: that is left to
/// pid 1.
fn zombie(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    probe.out.flush();
    for _ in 0..command.number(1)? {
        let parent = clone::vfork(0, None, |_| {
            let grandchild = clone::vfork_by_pid(|_| 0);
            i32::from(grandchild.and_then(becomes_zombie).is_err())
        })?;
        reap(&parent)?;
    }
    probe.ok(command)
}

/// vfork(2) returns a moment before.
fn becomes_zombie(pid: u32) -> Result<(), Errno> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid.ok_or(Errno::CHILD)?), options).map(drop)
}

fn background(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    probe.out.flush();
    let child = spawn(probe, command.from(1))?;
    probe
        .out
        .text("background: pid=")
        .number(u64::from(child.pid))
        .text("\n");
    Ok(())
}

fn wait(probe: &mut Probe, _: &Command) -> Result<(), Errno> {
    probe.out.flush();
    loop {
        match wait_child(WaitOptions::empty()) {
            Ok(Some((pid, status))) => print_end(probe, pid, status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

fn print_end(probe: &mut Probe, pid: Pid, status: WaitStatus) {
    let out = &mut probe.out;
    let number = |value: i32| u64::from(value.unsigned_abs());
    out.text("wait: pid=")
        .number(number(pid.as_raw_nonzero().get()));
    if let Some(code) = status.exit_status() {
        out.text(" exit=").number(number(code));
    }
    if let Some(signal) = status.terminating_signal() {
        out.text(" signal=");
        names::signal(out, signal.unsigned_abs());
    }
    out.text("\n");
}

fn session(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    setsid()?;
    probe.ok(command)
}

fn sleep(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    probe.out.flush();
    let milliseconds = command.number(1)?;
    let mut time = Timespec {
        tv_sec: i64::try_from(milliseconds / 1000).map_err(|_| Errno::RANGE)?,
        tv_nsec: i64::try_from(milliseconds % 1000 * 1_000_000).map_err(|_| Errno::RANGE)?,
    };
    loop {
        match nanosleep(&time) {
            NanosleepRelativeResult::Ok => return Ok(()),
            NanosleepRelativeResult::Interrupted(rest) => time = rest,
            NanosleepRelativeResult::Err(errno) => return Err(errno),
        }
    }
}

fn spin(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    probe.out.flush();
    let end = time::monotonic() + command.number(1)?.saturating_mul(1_000_000);
    while time::monotonic() < end {
        core::hint::spin_loop();
    }
    Ok(())
}

/// Adds the signals that the command names to those blocked; returns them.
fn block(probe: &mut Probe, command: &Command) -> Result<signal::Set, Errno> {
    let mut named = signal::Set::EMPTY;
    for text in command.from(1) {
        if text == c"all" {
            named = signal::SUPERVISED;
            continue;
        }
        let signal = names::parse_signal(text.to_bytes()).ok_or(Errno::INVAL)?;
        named = with(named, signal);
    }
    for signal in 1..=64 {
        if contains(named, signal) {
            probe.blocked = with(probe.blocked, signal);
        }
    }
    signal::set_mask(probe.blocked);
    Ok(named)
}

/// `set` and `signal`.
fn with(set: signal::Set, signal: u32) -> signal::Set {
    // All but those that are neither `signal` nor in `set`.
    (1..=64)
        .filter(|other| *other != signal && !contains(set, *other))
        .fold(signal::Set::ALL, signal::Set::without)
}

fn contains(set: signal::Set, signal: u32) -> bool {
    set.without(signal) != set
}

fn ignore(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    block(probe, command)?;
    probe.ok(command)
}

fn catch(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let set = block(probe, command)?;
    // Said after the signals are blocked: whoever reads it may send.
    probe.out.text("catch: waiting\n").flush();
    loop {
        if let Some(signal) = signal::wait(set, None) {
            probe.out.text("catch: ");
            names::signal(&mut probe.out, signal);
            probe.out.text("\n");
            probe.out.flush();
            return Ok(());
        }
    }
}

fn notify(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    // Whoever is told may write, too.
    probe.out.flush();
    probe.out.flush();
    let path = probe.environment.value("NOTIFY_SOCKET");
    let address = SocketAddrUnix::new(path.ok_or(Errno::DESTADDRREQ)?)?;
    let socket = net::socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    let text = command.argument(1)?.to_bytes();
    net::sendto(&socket, text, SendFlags::empty(), &address)?;
    probe.ok(command)
}

fn listen(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    probe.out.flush();
    let port = fly::text::decimal(command.argument(1)?.to_bytes()).ok_or(Errno::INVAL)?;
    let port = u16::try_from(port).map_err(|_| Errno::RANGE)?;
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    net::listen(&socket, 5)?;
    core::mem::forget(socket);
    probe.ok(command)
}

fn accept(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    probe.out.flush();
    let number = i32::try_from(command.number(1)?).map_err(|_| Errno::RANGE)?;
    let socket = fly::sys::descriptor::borrow(number).ok_or(Errno::BADF)?;
    let connection = net::accept(socket)?;
    rustix::io::write(&connection, command.argument(2)?.to_bytes())?;
    probe.ok(command)
}

fn kill(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    probe.out.flush();
    let text = command.argument(1)?.to_bytes();
    let (text, sign) = match text.strip_prefix(b"-") {
        Some(rest) => (rest, -1),
        None => (text, 1),
    };
    let pid = fly::text::decimal(text).ok_or(Errno::INVAL)?;
    let pid = i32::try_from(pid).map_err(|_| Errno::RANGE)? * sign;
    let signal = names::parse_signal(command.argument(2)?.to_bytes()).ok_or(Errno::INVAL)?;
    signal::send(pid, signal)?;
    probe.ok(command)
}

fn raise(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let signal = names::parse_signal(command.argument(1)?.to_bytes()).ok_or(Errno::INVAL)?;
    probe.out.flush();
    signal::set_default(signal);
    signal::set_mask(signal::Set::EMPTY);
    signal::send(getpid().as_raw_nonzero().get(), signal)?;
    // Only for pid 1 and for signals whose default is to be ignored.
    probe.subject(command);
    probe.out.text("survived\n");
    Ok(())
}
