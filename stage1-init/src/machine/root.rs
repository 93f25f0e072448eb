//! The machine's root: that of the plan, or a disk's in place of an initramfs.

use core::{ffi::CStr, iter};

use fly::{
    error::{Error, What},
    sys::{
        descriptor,
        entry::Start,
        exec::{self, Pointers},
        memory, signal,
    },
    text::{copy, split},
};
use linux_raw_sys::general as raw;
use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode},
    io::Errno,
    mount::{self, MountFlags, UnmountFlags},
    process,
};

use super::{
    mounts,
    settings::{Settings, next_word, words_of},
};

/// Where the new root is mounted before it is the root.
const NEW: &CStr = c"/root.new";
/// The first program of the new root, unless `init=` names another.
const INIT: &CStr = c"/sbin/init";
/// How long a device is waited for, and between two looks, in nanoseconds: disks are
/// found while we run.
const PATIENCE: u64 = 10_000_000_000;
const PAUSE: u64 = 10_000_000;
/// The magic numbers of file systems in memory (statfs(2)).
const IN_MEMORY: [i64; 2] = [0x858458f6, 0x01021994];
/// How deep directories of an initramfs are emptied.
const DEPTH: u8 = 32;

/// Makes `root` the root of the machine. It is moved over /, since pivot_root(2) is
/// not possible from an initramfs; the first root stays below it, as the programs
/// in it may be in memory only.
pub fn switch<'p>(root: &'p CStr, settings: &Settings<'_>) -> Result<(), Error<'p>> {
    let failed = |errno| Error::new(What::Enter, root, errno);
    mount::mount_bind_recursive(root, root).map_err(failed)?;
    process::chdir(root).map_err(failed)?;
    over().map_err(failed)?;
    mounts::all();
    mounts::cgroups(settings.old_cgroups);
    mounts::console();
    Ok(())
}

/// Moves the mount that is the working directory over / and makes it the root.
fn over() -> Result<(), Errno> {
    mount::mount_move(c".", c"/")?;
    process::chroot(c".")
}

/// Whether the root is in memory, as that of an initramfs is.
pub fn is_in_memory() -> bool {
    fs::statfs(c"/").is_ok_and(|status| IN_MEMORY.contains(&status.f_type))
}

/// Replaces an initramfs by the root that the settings name, as switch_root(8) does,
/// and this program by the init there: returns only if that failed. The initramfs'
/// files are deleted, since they take memory that nobody could use.
pub fn replace<'c>(settings: &Settings<'c>, root: &'c CStr, start: &mut Start) -> Error<'c> {
    let init = settings.init.unwrap_or(INIT);
    if let Err(errno) = mount_new(root, settings.writable) {
        return Error::new(What::MountFor, root, errno);
    }
    // While there is something left to go back to.
    if let Err(errno) = look_for(init) {
        return Error::new(What::Exec, init, errno);
    }
    if let Err(errno) = enter_new() {
        return Error::new(What::Enter, root, errno);
    }
    let mut first = Some(init);
    let mut others = start.arguments.without_first().iter();
    let mut arguments = iter::from_fn(|| first.take().or_else(|| others.next()));
    let errno = match Pointers::write(&mut *start.words, &mut arguments) {
        Some((arguments, _)) => exec::execve(init, arguments, start.environment.pointers()),
        None => Errno::TOOBIG,
    };
    Error::new(What::Exec, init, errno)
}

/// Mounts `[TYPE:]SOURCE`. Without a type, all types of disks that the kernel knows
/// are tried, as it does itself; a source that is a path is waited for.
fn mount_new(root: &CStr, writable: bool) -> Result<(), Errno> {
    let _ = fs::mkdir(NEW, Mode::from_raw_mode(0o755));
    let flags = if writable {
        MountFlags::empty()
    } else {
        MountFlags::RDONLY
    };
    let mut parts = split(root.to_bytes_with_nul(), b':');
    let first = parts.next().unwrap_or_default();
    let source = memory::c_str(parts.rest()).filter(|_| !first.starts_with(b"/"));
    let device = source.unwrap_or(root);
    if device.to_bytes().starts_with(b"/") {
        wait_for(device)?;
    }
    if source.is_some() {
        let mut kind = [0; 32];
        copy(&mut kind, first);
        let kind = memory::c_str(&kind).ok_or(Errno::NODEV)?;
        return mount::mount(device, NEW, kind, flags, c"");
    }
    let mut room = [0; 2048];
    let mut rest = words_of(c"/proc/filesystems", &mut room);
    let mut failure = Errno::INVAL;
    while let Some(kind) = next_word(&mut rest) {
        if kind == c"nodev" {
            let _ = next_word(&mut rest);
            continue;
        }
        match mount::mount(device, NEW, kind, flags, c"") {
            // It is of another type.
            Err(Errno::INVAL) => {}
            Err(errno) => failure = errno,
            Ok(()) => return Ok(()),
        }
    }
    Err(failure)
}

fn wait_for(device: &CStr) -> Result<(), Errno> {
    for _ in 0..PATIENCE / PAUSE {
        match descriptor::open(device, raw::O_PATH) {
            Err(Errno::NOENT) => _ = signal::wait(signal::Set::EMPTY, Some(PAUSE)),
            Err(errno) => return Err(errno),
            Ok(number) => return descriptor::close(number),
        }
    }
    Err(Errno::NOENT)
}

/// Whether the new root has this program; links lead where they will then.
fn look_for(init: &CStr) -> Result<(), Errno> {
    process::chroot(NEW)?;
    let found = fs::stat(init);
    // The working directory is the first root still.
    process::chroot(c".")?;
    found.map(drop)
}

fn enter_new() -> Result<(), Errno> {
    process::chdir(NEW)?;
    for (from, to) in [
        (c"/dev", c"dev"),
        (c"/proc", c"proc"),
        (c"/sys", c"sys"),
        (c"/run", c"run"),
        (c"/tmp", c"tmp"),
    ] {
        if mount::mount_move(from, to).is_err() {
            // The new init mounts it if there is a directory for it.
            let _ = mount::unmount(from, UnmountFlags::DETACH);
        }
    }
    process::chdir(c"/")?;
    let device = fs::stat(c"/")?.st_dev;
    empty(device, DEPTH);
    process::chdir(NEW)?;
    over()
}

/// Deletes what is in the working directory and below it on the same device. What
/// can't be deleted stays: it costs memory, nothing else.
fn empty(device: u64, depth: u8) {
    descriptor::each_name(c".", &mut |name| {
        let mut room = [0; 256];
        copy(&mut room, name);
        let Some(name) = memory::c_str(&room) else {
            return;
        };
        if matches!(name.to_bytes(), b"." | b"..") {
            return;
        }
        let Ok(status) = fs::statat(CWD, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
            let _ = fs::unlinkat(CWD, name, AtFlags::empty());
        } else if status.st_dev == device && depth > 0 && process::chdir(name).is_ok() {
            empty(device, depth - 1);
            if process::chdir(c"..").is_ok() {
                let _ = fs::unlinkat(CWD, name, AtFlags::REMOVEDIR);
            }
        }
    });
}
