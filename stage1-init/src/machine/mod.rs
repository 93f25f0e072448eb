//! The init of a machine: the first process of a kernel.
//!
//! It mounts what programs expect, loads modules, replaces an initramfs by the root
//! of a disk if it is told to, enters the root that the plan names, runs the plan's
//! apps as those of a pod, and switches the machine off when they have ended. It
//! never returns: the kernel panics when its first process ends.

use core::{
    ffi::CStr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use fly::{
    error::{Cause, Error, FAILURE, MACHINE_TEXTS, What, Why},
    launch::{self, app},
    plan::{Kind, List, Plan, Record},
    sys::{self, clone, descriptor, entry::Start, signal, time, wait},
    text::Line,
};
use linux_raw_sys::general as raw;
use rustix::{
    fs::{self, Mode},
    io::Errno,
    mount::{self, MountFlags, UnmountFlags},
    process,
    system::{self, RebootCommand},
};

use crate::{NAME, pod, stamps::Stamps};

mod end;
mod modules;
mod mounts;
mod network;
mod root;
mod settings;
mod watchdog;

use settings::Settings;

/// The inode of /proc/self/ns/pid in the first pid namespace
/// (PROC_PID_INIT_INO, linux/proc_ns.h).
const FIRST_NAMESPACE: u64 = 0xeffffffc;
const PLANS: [&CStr; 2] = [c"/etc/kickstage/plan", c"/plan"];

/// Whether this is a machine, and the signal that has asked for its end. Static,
/// since the pod's loop asks and has nothing of a machine; in the pod's program
/// nobody writes them, so that it has nothing of [`hear`].
static MACHINE: AtomicBool = AtomicBool::new(false);
static ORDER: AtomicU32 = AtomicU32::new(0);

/// What a signal is to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It ends the machine in order: SIGINT, which is what the kernel makes of
    /// ctrl-alt-del (reboot(2)), SIGTERM and SIGPWR.
    Order,
    /// The machine itself has asked for it.
    Own,
    /// It is for the apps.
    Other,
}

/// What `signal` is to the machine, if this is one.
#[must_use]
pub fn hear(signal: u32) -> Heard {
    if !MACHINE.load(Relaxed) {
        return Heard::Other;
    }
    match signal {
        raw::SIGINT | raw::SIGTERM | raw::SIGPWR => {
            ORDER.store(signal, Relaxed);
            Heard::Order
        }
        raw::SIGALRM if watchdog::runs() => {
            watchdog::tell();
            Heard::Own
        }
        _ => Heard::Other,
    }
}

/// Waits for a signal, or for so many nanoseconds; the watchdog is told meanwhile.
fn pause(timeout: Option<u64>) {
    if signal::wait(signal::SUPERVISED, timeout) == Some(raw::SIGALRM) {
        watchdog::tell();
    }
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
            let mounted = mounts::one(c"proc", c"/proc", MountFlags::empty(), c"").is_ok();
            let first = inode() == Ok(FIRST_NAMESPACE);
            if mounted && !first {
                let _ = mount::unmount(c"/proc", UnmountFlags::DETACH);
            }
            first
        }
    }
}

/// Runs the machine; returns only if it can't be switched off.
#[inline(never)]
pub fn run(stamps: Stamps, mut start: Start) -> i32 {
    let begin = time::monotonic();
    MACHINE.store(true, Relaxed);
    mounts::all();
    mounts::console();
    let mut room = [0; settings::ROOM];
    let settings = Settings::read(&mut room);
    // An initramfs of ours has been before us, and has told of the kernel.
    let root = settings.root.filter(|_| root::is_in_memory());
    let is_second = settings.root.is_some() && root.is_none();
    told_at(&settings, if is_second { "root" } else { "kernel" }, begin);
    mounts::cgroups(settings.old_cgroups);
    told(&settings, "mounts");
    let failed = system::reboot(RebootCommand::CadOff);
    warn(failed.map_err(|errno| Error::new(What::Set, c"ctrl-alt-del", errno)));
    warn(sys::network::loopback_up().map_err(|errno| Error::new(What::Set, c"lo", errno)));
    modules::load();
    told(&settings, "modules");
    let done = match root {
        Some(root) => Err(root::replace(&settings, root, &mut start)),
        None => apps(&settings, stamps, start.bytes, start.words),
    };
    let code = done.unwrap_or_else(|error| {
        error.print(NAME, MACHINE_TEXTS);
        if settings.rescue {
            rescue(start.words);
        }
        FAILURE
    });
    end::end(&settings, code)
}

/// Prints an error, which is not the end of the start.
fn warn(done: Result<(), Error<'_>>) {
    if let Err(error) = done {
        error.print(NAME, MACHINE_TEXTS);
    }
}

/// The cause behind an error number of networks, which no other program has to tell.
fn cause(errno: Errno) -> Cause {
    match errno {
        Errno::CONNRESET => Why::NobodyListens.into(),
        Errno::NETUNREACH => Why::NoWay.into(),
        Errno::TIMEDOUT => Why::TooLate.into(),
        errno => errno.into(),
    }
}

/// With `stage1.log=steps`: how long the kernel has been running after this step.
fn told(settings: &Settings<'_>, step: &str) {
    told_at(settings, step, time::monotonic());
}

fn told_at(settings: &Settings<'_>, step: &str, moment: u64) {
    if settings.steps {
        let mut line = Line::new(2);
        line.text(NAME).text(": ").text(step).text(" done at ");
        line.number(moment / 1_000_000).text(" ms").end();
    }
}

/// Sets up the network and the watchdog, reads the plan, enters its root and runs its
/// apps; returns the pod's code.
fn apps<'b>(
    settings: &Settings<'b>,
    stamps: Stamps,
    bytes: &'b mut [u8],
    words: &mut [usize],
) -> Result<i32, Error<'b>> {
    network::addresses(settings);
    launch::block_signals();
    if let Some(seconds) = settings.watchdog {
        watchdog::start(seconds);
    }
    let [first, second] = PLANS;
    let path = settings.plan.unwrap_or(first);
    let mut opened = descriptor::open(path, raw::O_RDONLY);
    if settings.plan.is_none() && opened == Err(Errno::NOENT) {
        opened = descriptor::open(second, raw::O_RDONLY);
    }
    let number = opened.map_err(|errno| Error::new(What::Read, path, errno))?;
    let plan = pod::read(number, bytes)?;
    enter(&plan, settings)?;
    told(settings, "plan");
    Ok(pod::start(&plan, pod::Source::NONE, None, stamps, words))
}

/// Carries out what the plan says of the machine.
fn enter<'p>(plan: &Plan<'p>, settings: &Settings<'_>) -> Result<(), Error<'p>> {
    let mut root = c"/";
    // By their kinds: only what is named here is known to the program.
    for record in plan.steps().records() {
        let text = record.list.first();
        if record.is(Kind::App) {
            break;
        } else if record.is(Kind::OpenDirectory) {
            root = text;
        } else if record.is(Kind::Chroot) {
            root::switch(root, settings)?;
        } else if record.is(Kind::Hostname) {
            system::sethostname(text.to_bytes())
                .map_err(|errno| Error::new(What::Set, c"the host name", errno))?;
        } else {
            return Err(Error::new(What::Carry, c"", Errno::INVAL));
        }
    }
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
                _ => pause(None),
            }
        },
        (Ok(_), Some(error)) => error.print(NAME, MACHINE_TEXTS),
        (Err(errno), _) => warn(Err(Error::new(What::Start, c"/bin/sh", errno))),
    }
}
