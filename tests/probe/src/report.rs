//! What the program sees.

use core::ffi::CStr;

use fly::text::{Digits, Line};
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd},
    fs::{self, CWD, Mode, OFlags},
    io::Errno,
    process::{Pid, getegid, geteuid, getgid, getpgrp, getpid, getppid, getsid, getuid, umask},
    system::uname,
    termios::{isatty, tcgetwinsize},
    thread::{Timespec, nanosleep},
};

use crate::{Command, Probe, files, names, standard};

/// The lines that a report prints: all, or those that the command names.
struct Report<'a> {
    out: &'a mut Line,
    command: &'a Command,
}

impl Report<'_> {
    /// Whether a line `key.more=` is asked for; starts it if so. A name of the
    /// command covers the key itself and all keys below it.
    fn start(&mut self, key: &str, more: &[u8]) -> bool {
        let wanted = |name: &CStr| {
            let name = name.to_bytes();
            match name.strip_prefix(key.as_bytes()) {
                Some([]) => true,
                Some([b'.', rest @ ..]) => rest == more,
                _ => key
                    .as_bytes()
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.first() == Some(&b'.')),
            }
        };
        let all = self.command.count < 2;
        if !all && !self.command.from(1).any(wanted) {
            return false;
        }
        self.out.text(key);
        if !more.is_empty() {
            self.out.text(".").bytes(more);
        }
        self.out.text("=");
        true
    }

    fn bytes(&mut self, key: &str, more: &[u8], value: &[u8]) {
        if self.start(key, more) {
            self.out.bytes(value).text("\n");
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.bytes(key, b"", Digits::new(value, 10).as_bytes());
    }

    /// The value, or the name of the error that came in its place.
    fn result(&mut self, key: &str, more: &[u8], value: Result<&[u8], Errno>) {
        match value {
            Ok(value) => self.bytes(key, more, value),
            Err(errno) => {
                if self.start(key, more) {
                    names::errno(self.out, errno);
                    self.out.text("\n");
                }
            }
        }
    }

    /// Where a link leads.
    fn link(&mut self, key: &str, more: &[u8], directory: BorrowedFd<'_>, path: &CStr) {
        let mut buffer = [0; 4096];
        let target = fs::readlinkat_raw(directory, path, &mut buffer)
            .map(|count| buffer.get(..count).unwrap_or_default());
        self.result(key, more, target);
    }
}

/// `report [KEY...]`.
pub fn report(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let mut report = Report {
        out: &mut probe.out,
        command,
    };
    identity(&mut report);
    status(&mut report, probe.room);
    pid_one(&mut report, probe.room);
    places(&mut report);
    namespaces(&mut report);
    cgroups(&mut report, probe.room);
    descriptors(&mut report);
    for entry in probe.environment.iter() {
        let entry = entry.to_bytes();
        let at = entry.iter().position(|byte| *byte == b'=');
        let (name, value) = entry.split_at(at.unwrap_or(entry.len()));
        report.bytes("env", name, value.get(1..).unwrap_or_default());
    }
    for (index, argument) in probe.arguments.iter().enumerate() {
        let index = Digits::new(u64::try_from(index).unwrap_or(0), 10);
        report.bytes("arg", index.as_bytes(), argument.to_bytes());
    }
    mounts(&mut report, probe.room);
    Ok(())
}

fn identity(report: &mut Report<'_>) {
    report.number("uid", u64::from(getuid().as_raw()));
    report.number("euid", u64::from(geteuid().as_raw()));
    report.number("gid", u64::from(getgid().as_raw()));
    report.number("egid", u64::from(getegid().as_raw()));
    let number = |pid: Option<Pid>| u64::from(Pid::as_raw(pid).unsigned_abs());
    report.number("pid", number(Some(getpid())));
    // 0 where the parent is outside the pid namespace.
    report.number("ppid", number(getppid()));
    report.number("sid", number(getsid(None).ok()));
    report.number("pgid", number(Some(getpgrp())));
    let mask = umask(Mode::empty());
    umask(mask);
    if report.start("umask", b"") {
        report.out.octal(u64::from(mask.bits())).text("\n");
    }
}

/// The lines of /proc/self/status that say what the process may do.
const STATUS: &[&str] = &[
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "SigBlk",
    "SigIgn",
];

fn status(report: &mut Report<'_>, room: &mut [u8]) {
    let text = match files::contents(c"/proc/self/status", room) {
        Ok(text) => text,
        Err(errno) => return report.result("status", b"", Err(errno)),
    };
    for line in text.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        for key in STATUS {
            if key.as_bytes() == name {
                let key = if *key == "Groups" { "groups" } else { key };
                report.bytes(key, b"", value);
            }
        }
    }
}

fn pid_one(report: &mut Report<'_>, room: &mut [u8]) {
    let comm = files::contents(c"/proc/1/comm", room).map(<[u8]>::trim_ascii_end);
    report.result("pid1.comm", b"", comm);
    report.link("pid1.exe", b"", CWD, c"/proc/1/exe");
}

fn places(report: &mut Report<'_>) {
    let name = uname();
    report.bytes("hostname", b"", name.nodename().to_bytes());
    report.bytes("domainname", b"", name.domainname().to_bytes());
    report.link("cwd", b"", CWD, c"/proc/self/cwd");
    report.link("root", b"", CWD, c"/proc/self/root");
    report.link("exe", b"", CWD, c"/proc/self/exe");
}

fn namespaces(report: &mut Report<'_>) {
    for (key, path) in [
        ("ns.mnt", c"/proc/self/ns/mnt"),
        ("ns.pid", c"/proc/self/ns/pid"),
        ("ns.ipc", c"/proc/self/ns/ipc"),
        ("ns.uts", c"/proc/self/ns/uts"),
        ("ns.net", c"/proc/self/ns/net"),
        ("ns.user", c"/proc/self/ns/user"),
        ("ns.cgroup", c"/proc/self/ns/cgroup"),
    ] {
        report.link(key, b"", CWD, path);
    }
}

fn cgroups(report: &mut Report<'_>, room: &mut [u8]) {
    match files::contents(c"/proc/self/cgroup", room) {
        Ok(text) => {
            for line in text
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                report.bytes("cgroup", b"", line);
            }
        }
        Err(errno) => report.result("cgroup", b"", Err(errno)),
    }
}

fn descriptors(report: &mut Report<'_>) {
    for (number, name) in [(0, b"0"), (1, b"1"), (2, b"2")] {
        let terminal = standard(number).is_ok_and(isatty);
        let answer: &[u8] = if terminal { b"yes" } else { b"no" };
        report.bytes("tty", name, answer);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match fs::open(c"/proc/self/fd", flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(errno) => return report.result("fd", b"", Err(errno)),
    };
    let own = Digits::new(u64::from(directory.as_raw_fd().unsigned_abs()), 10);
    let listed = files::names(directory.as_fd(), |name| {
        if name.to_bytes() != own.as_bytes() {
            report.link("fd", name.to_bytes(), directory.as_fd(), name);
        }
    });
    if let Err(errno) = listed {
        report.result("fd", b"", Err(errno));
    }
}

/// `mount=TARGET TYPE OPTIONS SOURCE SUPER PROPAGATION`: the fields of
/// mountinfo (proc_pid_mountinfo(5)); PROPAGATION is `-` for a private mount.
fn mounts(report: &mut Report<'_>, room: &mut [u8]) {
    let text = match files::contents(c"/proc/self/mountinfo", room) {
        Ok(text) => text,
        Err(errno) => return report.result("mount", b"", Err(errno)),
    };
    for line in text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        if !report.start("mount", b"") {
            return;
        }
        let fields = || line.split(|byte| *byte == b' ');
        let field = |index: usize| fields().nth(index).unwrap_or_default();
        // Optional fields end at the first lone `-` after the sixth.
        let dash = fields().skip(6).take_while(|field| *field != b"-").count() + 6;
        let out = &mut *report.out;
        out.bytes(field(4)).text(" ").bytes(field(dash + 1));
        out.text(" ")
            .bytes(field(5))
            .text(" ")
            .bytes(field(dash + 2));
        out.text(" ").bytes(field(dash + 3)).text(" ");
        if dash == 6 {
            out.text("-");
        }
        for index in 6..dash {
            if index > 6 {
                out.text(";");
            }
            out.bytes(field(index));
        }
        out.text("\n");
    }
}

/// `winsize`.
pub fn winsize(probe: &mut Probe, _: &Command) -> Result<(), Errno> {
    let size = tcgetwinsize(standard(0)?)?;
    probe
        .out
        .text("winsize=")
        .number(u64::from(size.ws_row))
        .text("x")
        .number(u64::from(size.ws_col))
        .text("\n");
    Ok(())
}

/// `zombies`. One that has just ended is one until its parent has run: they get time to
/// become none.
pub fn zombies(probe: &mut Probe, _: &Command) -> Result<(), Errno> {
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 5_000_000,
    };
    let mut count = 0;
    for _ in 0..1000 {
        count = 0;
        each_process(|_, _, state, _| count += u64::from(state == b'Z'))?;
        if count == 0 {
            break;
        }
        let _ = nanosleep(&pause);
    }
    probe.out.text("zombies=").number(count).text("\n");
    Ok(())
}

/// `processes`.
pub fn processes(probe: &mut Probe, _: &Command) -> Result<(), Errno> {
    let out = &mut probe.out;
    each_process(|pid, parent, state, name| {
        out.text("process=")
            .bytes(pid)
            .text(" ")
            .bytes(parent)
            .text(" ");
        out.bytes(&[state]).text(" ").bytes(name).text("\n");
    })
}

/// Calls `each` with pid, parent, state and name of every process in /proc.
fn each_process(mut each: impl FnMut(&[u8], &[u8], u8, &[u8])) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = fs::open(c"/proc", flags, Mode::empty())?;
    files::names(proc.as_fd(), |pid| {
        let pid = pid.to_bytes();
        if !pid.iter().all(u8::is_ascii_digit) {
            return;
        }
        let mut path = [0_u8; 64];
        let mut used = 0;
        for byte in b"/proc/".iter().chain(pid).chain(b"/stat") {
            if let Some(place) = path.get_mut(used) {
                *place = *byte;
                used += 1;
            }
        }
        let mut room = [0; 1024];
        // A process that has just gone is none.
        let Some(text) = CStr::from_bytes_until_nul(&path)
            .ok()
            .and_then(|path| files::contents(path, &mut room).ok())
        else {
            return;
        };
        // `PID (NAME) STATE PPID ...`; the name may hold brackets.
        let open = text.iter().position(|byte| *byte == b'(').unwrap_or(0);
        let close = text.iter().rposition(|byte| *byte == b')').unwrap_or(0);
        let name = text.get(open + 1..close).unwrap_or_default();
        let rest = text.get(close + 2..).unwrap_or_default();
        let mut fields = rest.split(|byte| *byte == b' ');
        let state = fields.next().and_then(|field| field.first()).copied();
        let parent = fields.next().unwrap_or_default();
        each(pid, parent, state.unwrap_or(b'?'), name);
    })
}
