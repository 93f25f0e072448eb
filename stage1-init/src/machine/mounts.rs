//! What programs expect to be mounted, and the console.

use core::ffi::CStr;

use fly::{
    error::{Error, What},
    sys::descriptor,
};
use linux_raw_sys::general as raw;
use rustix::{
    fs::{self, AtFlags, Mode},
    io::Errno,
    mount::{self, MountFlags},
    process,
};

use super::{
    settings::{next_word, words_of},
    warn,
};

const CGROUPS: &CStr = c"/sys/fs/cgroup";
/// Flags of file systems without programs.
const FILES: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NODEV);

pub fn one(kind: &CStr, target: &CStr, flags: MountFlags, data: &CStr) -> Result<(), Errno> {
    match mount::mount(kind, target, kind, flags, data) {
        // The kernel, or an initramfs before us, has done it.
        Err(Errno::BUSY) => Ok(()),
        done => done,
    }
}

/// What programs expect, but for cgroups. What fails is told, and the start goes on:
/// the plan's programs may not need it.
pub fn all() {
    let safe = MountFlags::NOSUID | MountFlags::NOEXEC;
    let temporary = MountFlags::NOSUID | MountFlags::NODEV;
    for (kind, target, flags, data) in [
        (c"proc", c"/proc", FILES, c""),
        (c"sysfs", c"/sys", FILES, c""),
        (c"devtmpfs", c"/dev", safe, c"mode=755"),
        (c"devpts", c"/dev/pts", safe, c"mode=620,ptmxmode=666"),
        (c"tmpfs", c"/dev/shm", temporary, c"mode=1777"),
        (c"tmpfs", c"/run", temporary, c"mode=755"),
        (c"tmpfs", c"/tmp", temporary, c"mode=1777"),
    ] {
        if !is_mounted(target) {
            // Not possible in /sys, and not needed: mount tells it.
            let _ = fs::mkdir(target, Mode::from_raw_mode(0o755));
            tell(target, one(kind, target, flags, data));
        }
    }
}

/// Cgroups of version 2, or with `old`, or where the kernel has no others, those of
/// version 1: a hierarchy for each controller, below its name.
pub fn cgroups(old: bool) {
    if is_mounted(CGROUPS) {
        return;
    }
    if !old {
        let done = one(c"cgroup2", CGROUPS, FILES, c"");
        if done != Err(Errno::NODEV) {
            return tell(CGROUPS, done);
        }
    }
    let made = one(c"tmpfs", CGROUPS, FILES, c"mode=755").and_then(|()| process::chdir(CGROUPS));
    if made.is_err() {
        return tell(CGROUPS, made);
    }
    // Lines of four words: the controller, its hierarchy, how many cgroups there are,
    // and whether it is enabled (cgroups(7)).
    let mut room = [0; 2048];
    let mut rest = words_of(c"/proc/cgroups", &mut room);
    while let Some(name) = next_word(&mut rest) {
        let _ = (next_word(&mut rest), next_word(&mut rest));
        if next_word(&mut rest) == Some(c"1") {
            let _ = fs::mkdir(name, Mode::from_raw_mode(0o755));
            tell(name, mount::mount(c"cgroup", name, c"cgroup", FILES, name));
        }
    }
    tell(c"/", process::chdir(c"/"));
}

fn tell(target: &CStr, done: Result<(), Errno>) {
    warn(done.map_err(|errno| Error::new(What::MountFor, target, errno)));
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
pub fn console() {
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
