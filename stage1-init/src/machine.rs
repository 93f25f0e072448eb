//! The init of a machine: the first process of a kernel.
//!
//! It mounts what programs expect, loads modules, enters the root that the plan
//! names, runs the plan's apps as those of a pod, and switches the machine off
//! when they have ended. It never returns: the kernel panics when its first
//! process ends.

use core::{
    ffi::CStr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use fly::{
    error::{Error, FAILURE, MACHINE_TEXTS, What, Why},
    launch::{self, app},
    plan::{Kind, List, Plan, Record},
    sys::{clone, descriptor, network, port, signal, time, wait},
    text::{Line, decimal, split},
};
use linux_raw_sys::general as raw;
use rustix::{
    fs::{self, AtFlags, Mode},
    io::Errno,
    mount::{self, MountFlags, UnmountFlags},
    process,
    system::{self, RebootCommand},
};

use crate::{NAME, pod, stamps::Stamps};

/// The inode of /proc/self/ns/pid in the first pid namespace
/// (PROC_PID_INIT_INO, linux/proc_ns.h).
const FIRST_NAMESPACE: u64 = 0xeffffffc;
/// The kernel's own bound is 2048 on x86_64 (COMMAND_LINE_SIZE, asm/setup.h).
const COMMAND_LINE: usize = 4096;
/// The longest list of modules.
const LIST: usize = 4096;
const MODULES: &CStr = c"/etc/kickstage/modules";
const PLANS: [&CStr; 2] = [c"/etc/kickstage/plan", c"/plan"];

/// The signal that has asked for the end; [`NOT_A_MACHINE`] elsewhere. Static,
/// since the pod's loop asks and has nothing of a machine.
static ORDER: AtomicU32 = AtomicU32::new(NOT_A_MACHINE);
const NOT_A_MACHINE: u32 = u32::MAX;

/// Whether `signal` ends the machine in order: SIGINT, which is what the kernel
/// makes of ctrl-alt-del (reboot(2)), SIGTERM and SIGPWR.
#[must_use]
pub fn is_order(signal: u32) -> bool {
    let ends = ORDER.load(Relaxed) != NOT_A_MACHINE
        && matches!(signal, raw::SIGINT | raw::SIGTERM | raw::SIGPWR);
    if ends {
        ORDER.store(signal, Relaxed);
    }
    ends
}

/// Whether this is the first process of a kernel: of the first pid namespace,
/// which its /proc tells; it is mounted if it is not there.
#[must_use]
pub fn is_first() -> bool {
    if process::getpid().as_raw_nonzero().get() != 1 {
        return false;
    }
    let inode = || fs::stat(c"/proc/self/ns/pid").map(|status| status.st_ino);
    match inode() {
        Ok(inode) => inode == FIRST_NAMESPACE,
        Err(_) => {
            let _ = fs::mkdir(c"/proc", Mode::from_raw_mode(0o755));
            let mounted = mount_one(c"proc", c"/proc", MountFlags::empty(), c"").is_ok();
            let first = inode() == Ok(FIRST_NAMESPACE);
            if mounted && !first {
                let _ = mount::unmount(c"/proc", UnmountFlags::DETACH);
            }
            first
        }
    }
}

/// What the kernel's command line asks for.
#[derive(Default)]
struct Settings<'c> {
    plan: Option<&'c CStr>,
    exit_port: Option<u16>,
    steps: bool,
    rescue: bool,
}

/// Runs the machine; returns only if it can't be switched off.
#[inline(never)]
pub fn run(stamps: &Stamps, bytes: &mut [u8], words: &mut [usize]) -> i32 {
    ORDER.store(0, Relaxed);
    mount_all();
    console();
    let mut line = [0; COMMAND_LINE];
    let settings = settings(words_of(c"/proc/cmdline", &mut line));
    told(&settings, "mounts");
    let failed = system::reboot(RebootCommand::CadOff);
    warn(failed.map_err(|errno| Error::new(What::Set, c"ctrl-alt-del", errno)));
    warn(network::loopback_up().map_err(|errno| Error::new(What::Set, c"lo", errno)));
    modules();
    told(&settings, "modules");
    let code = match apps(&settings, stamps, bytes, words) {
        Ok(code) => code,
        Err(error) => {
            error.print(NAME, MACHINE_TEXTS);
            if settings.rescue {
                rescue(words);
            }
            FAILURE
        }
    };
    end(&settings, code)
}

/// Prints an error, which is not the end of the start.
fn warn(done: Result<(), Error<'_>>) {
    if let Err(error) = done {
        error.print(NAME, MACHINE_TEXTS);
    }
}

/// With `stage1.log=steps`: how long the kernel has been running after this step.
fn told(settings: &Settings<'_>, step: &str) {
    if settings.steps {
        let mut line = Line::new(2);
        line.text(NAME).text(": ").text(step).text(" done at ");
        line.number(time::monotonic() / 1_000_000).text(" ms").end();
    }
}

/// A file's words; blanks and ends of lines become terminators in `room`.
fn words_of<'r>(path: &CStr, room: &'r mut [u8]) -> &'r [u8] {
    let length = descriptor::read_file(path, room).len();
    let words = room.get_mut(..length).unwrap_or_default();
    for byte in words.iter_mut() {
        if matches!(byte, b' ' | b'\n') {
            *byte = 0;
        }
    }
    words
}

/// The next word of [`words_of`]; the last one is terminated, too.
fn next_word<'w>(rest: &mut &'w [u8]) -> Option<&'w CStr> {
    loop {
        let word = CStr::from_bytes_until_nul(rest).ok()?;
        *rest = rest.get(word.count_bytes() + 1..).unwrap_or_default();
        if !word.is_empty() {
            return Some(word);
        }
    }
}

fn settings(mut line: &[u8]) -> Settings<'_> {
    let mut settings = Settings::default();
    while let Some(word) = next_word(&mut line) {
        let Some(setting) = word.to_bytes().strip_prefix(b"stage1.") else {
            continue;
        };
        let value = word.to_bytes().iter().position(|byte| *byte == b'=');
        let value = value.and_then(|at| word.to_bytes_with_nul().get(at + 1..));
        let value = value.and_then(|value| CStr::from_bytes_until_nul(value).ok());
        let port = value.and_then(|value| u16::try_from(decimal(value.to_bytes())?).ok());
        match split(setting, b'=').next().unwrap_or_default() {
            b"plan" if value.is_some() => settings.plan = value,
            b"exit-port" if port.is_some() => settings.exit_port = port,
            b"log" if value == Some(c"steps") => settings.steps = true,
            b"rescue" if value.is_none() => settings.rescue = true,
            // Another program may not need it, but its writer wanted something.
            _ => Error::new(What::ReadArgument, word, Why::NoSetting).print(NAME, MACHINE_TEXTS),
        }
    }
    settings
}

fn mount_one(kind: &CStr, target: &CStr, flags: MountFlags, data: &CStr) -> Result<(), Errno> {
    match mount::mount(kind, target, kind, flags, data) {
        // The kernel, or an initramfs before us, has done it.
        Err(Errno::BUSY) => Ok(()),
        done => done,
    }
}

/// What programs expect. What fails is told, and the start goes on: a kernel may
/// lack cgroups, and the plan's programs may not need them.
fn mount_all() {
    let safe = MountFlags::NOSUID | MountFlags::NOEXEC;
    let files = safe | MountFlags::NODEV;
    let temporary = MountFlags::NOSUID | MountFlags::NODEV;
    for (kind, target, flags, data) in [
        (c"proc", c"/proc", files, c""),
        (c"sysfs", c"/sys", files, c""),
        (c"cgroup2", c"/sys/fs/cgroup", files, c""),
        (c"devtmpfs", c"/dev", safe, c"mode=755"),
        (c"devpts", c"/dev/pts", safe, c"mode=620,ptmxmode=666"),
        (c"tmpfs", c"/dev/shm", temporary, c"mode=1777"),
        (c"tmpfs", c"/run", temporary, c"mode=755"),
        (c"tmpfs", c"/tmp", temporary, c"mode=1777"),
    ] {
        if !is_mounted(target) {
            // Not possible in /sys, and not needed: mount tells it.
            let _ = fs::mkdir(target, Mode::from_raw_mode(0o755));
            let done = mount_one(kind, target, flags, data);
            warn(done.map_err(|errno| Error::new(What::MountFor, target, errno)));
        }
    }
}

/// Whether something is mounted there: it is on another device than its parent.
fn is_mounted(target: &CStr) -> bool {
    let device = |status: fs::Stat| status.st_dev;
    let parent = descriptor::open(target, raw::O_PATH | raw::O_DIRECTORY).and_then(|number| {
        // Not owned: rustix' owner holds a check that can panic.
        let directory = descriptor::borrow(number).ok_or(Errno::BADF)?;
        let status = fs::statat(directory, c"..", AtFlags::empty());
        descriptor::close(number)?;
        status
    });
    let Ok(parent) = parent.map(device) else {
        return false;
    };
    fs::stat(target).map(device).is_ok_and(|own| own != parent)
}

/// Makes /dev/console standard input, output and error; without it the kernel's
/// descriptors stay, if there are any.
fn console() {
    let opened = descriptor::open(c"/dev/console", raw::O_RDWR | raw::O_NOCTTY);
    let done = opened.and_then(|number| {
        for standard in 0..3 {
            if let Some(console) = descriptor::borrow(number) {
                descriptor::duplicate_onto(console, standard)?;
            }
        }
        if number > 2 {
            descriptor::close(number)?;
        }
        Ok(())
    });
    warn(done.map_err(|errno| Error::new(What::Read, c"/dev/console", errno)));
}

/// Loads the modules of the list, paths of files, in its order. One that can't be
/// loaded is told.
fn modules() {
    let mut room = [0; LIST];
    let list = words_of(MODULES, &mut room);
    let mut rest = list;
    while let Some(path) = next_word(&mut rest) {
        let done = descriptor::open(path, raw::O_RDONLY).and_then(|number| {
            let file = descriptor::borrow(number).ok_or(Errno::BADF)?;
            let done = system::finit_module(file, c"", 0);
            descriptor::close(number)?;
            match done {
                Err(Errno::EXIST) => Ok(()),
                done => done,
            }
        });
        warn(done.map_err(|errno| Error::new(What::LoadModule, path, errno)));
    }
    // The end of a list that is too long, or has no end of its last line.
    if !rest.is_empty() || list.len() == LIST {
        Error::new(What::Read, MODULES, Errno::FBIG).print(NAME, MACHINE_TEXTS);
    }
}

/// Reads the plan, enters its root and runs its apps; returns the pod's code.
fn apps<'b>(
    settings: &Settings<'b>,
    stamps: &Stamps,
    bytes: &'b mut [u8],
    words: &mut [usize],
) -> Result<i32, Error<'b>> {
    let [first, second] = PLANS;
    let path = settings.plan.unwrap_or(first);
    let mut opened = descriptor::open(path, raw::O_RDONLY);
    if settings.plan.is_none() && opened == Err(Errno::NOENT) {
        opened = descriptor::open(second, raw::O_RDONLY);
    }
    let number = opened.map_err(|errno| Error::new(What::Read, path, errno))?;
    let plan = pod::read(number, 0, &mut [], bytes, Plan::check)?;
    enter(&plan)?;
    told(settings, "plan");
    launch::block_signals();
    Ok(pod::start(&plan, stamps, words))
}

/// Carries out what the plan says of the machine.
fn enter<'p>(plan: &Plan<'p>) -> Result<(), Error<'p>> {
    let mut root = c"/";
    // By their kinds: only what is named here is known to the program.
    for record in plan.steps().records() {
        let text = record.list.first();
        if record.is(Kind::App) {
            break;
        } else if record.is(Kind::OpenDirectory) {
            root = text;
        } else if record.is(Kind::Chroot) {
            switch(root)?;
        } else if record.is(Kind::Hostname) {
            system::sethostname(text.to_bytes())
                .map_err(|errno| Error::new(What::Set, c"the host name", errno))?;
        } else {
            return Err(Error::new(What::Carry, c"", Errno::INVAL));
        }
    }
    Ok(())
}

/// Makes `root` the root of the machine. It is moved over /, since pivot_root(2) is
/// not possible from an initramfs; the first root stays below it, as the programs
/// in it may be in memory only.
fn switch(root: &CStr) -> Result<(), Error<'_>> {
    let failed = |errno| Error::new(What::Enter, root, errno);
    mount::mount_bind_recursive(root, root).map_err(failed)?;
    process::chdir(root).map_err(failed)?;
    mount::mount_move(c".", c"/").map_err(failed)?;
    process::chroot(c".").map_err(failed)?;
    mount_all();
    console();
    Ok(())
}

/// A shell on the console, before the machine is switched off.
#[cold]
fn rescue(words: &mut [usize]) {
    launch::block_signals();
    let shell = Record {
        kind: Kind::Exec as u16,
        number: 1,
        list: List::of(3, b"/bin/sh\0sh\0PATH=/usr/sbin:/usr/bin:/sbin:/bin\0"),
        ..Record::default()
    };
    let mut failure = None;
    let started = clone::vfork_by_pid(|_| {
        signal::set_mask(signal::Set::EMPTY);
        failure = app::step(&shell, words).err();
        FAILURE
    });
    match (started, failure) {
        (Ok(pid), None) => loop {
            match wait::any() {
                Ok(Some((ended, _))) if ended == pid => break,
                Ok(Some(_)) => {}
                Err(Errno::CHILD) => break,
                _ => _ = signal::wait(signal::SUPERVISED, None),
            }
        },
        (Ok(_), Some(error)) => error.print(NAME, MACHINE_TEXTS),
        (Err(errno), _) => warn(Err(Error::new(What::Start, c"/bin/sh", errno))),
    }
}

/// Ends what is left, brings the disks up to date, tells the code and switches the
/// machine off, or starts it again after ctrl-alt-del.
fn end(settings: &Settings<'_>, code: i32) -> i32 {
    let _ = signal::send(-1, raw::SIGKILL);
    // Until there is no child; those of others become ours as they end.
    loop {
        match wait::any() {
            Err(Errno::CHILD) => break,
            Ok(Some(_)) => {}
            _ => _ = signal::wait(signal::SUPERVISED, Some(100_000_000)),
        }
    }
    fs::sync();
    // A root in memory can't be, and need not be.
    let _ = mount::mount_remount(c"/", MountFlags::RDONLY, c"");
    let mut line = Line::new(2);
    line.text(NAME).text(": the pod ended with code ");
    line.number(u64::from(code.unsigned_abs())).end();
    told(settings, "all");
    if let Some(number) = settings.exit_port {
        let [low, ..] = code.to_le_bytes();
        let done = port::write(number, low);
        warn(done.map_err(|errno| Error::new(What::Set, c"the exit port", errno)));
    }
    let command = if ORDER.load(Relaxed) == raw::SIGINT {
        RebootCommand::Restart
    } else {
        RebootCommand::PowerOff
    };
    let done = system::reboot(command);
    warn(done.map_err(|errno| Error::new(What::End, c"", errno)));
    // The kernel would panic if we ended.
    loop {
        let _ = signal::wait(signal::SUPERVISED, None);
    }
}
