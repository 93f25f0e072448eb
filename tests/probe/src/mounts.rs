//! Commands that try what a confined program must not be able to do.

use core::mem::MaybeUninit;

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, RawDir, Stat, makedev, mknodat, open, stat},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change,
        mount_remount, unmount,
    },
    process::{chdir, chroot, fchdir},
    system::sethostname,
    thread::{Gid, Uid, set_thread_gid, set_thread_uid},
};

use crate::{Command, Probe, Row};

/// The commands of this file.
pub const COMMANDS: &[Row] = &[
    ("mount", 3, "SOURCE TARGET TYPE", mount_type),
    ("bind", 2, "SOURCE TARGET", bind),
    (
        "remount-rw",
        1,
        "PATH: clears the read-only flag of the mount",
        remount,
    ),
    (
        "private",
        1,
        "PATH: makes the mount's propagation private",
        private,
    ),
    ("umount", 1, "PATH", detach),
    ("mknod", 4, "PATH c|b MAJOR MINOR", make_node),
    ("hostname", 1, "NAME: sets it", set_hostname),
    (
        "chroot",
        1,
        "PATH: changes the root and goes there",
        change_root,
    ),
    (
        "chroot-escape",
        0,
        "tries to leave the root by a second chroot; needs a writable /tmp or /",
        escape,
    ),
    ("setuid", 1, "UID", become_user),
    ("setgid", 1, "GID", become_group),
];

fn mount_type(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    mount(
        command.argument(1)?,
        command.argument(2)?,
        command.argument(3)?,
        MountFlags::empty(),
        None,
    )?;
    probe.ok(command)
}

fn bind(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    mount_bind(command.argument(1)?, command.argument(2)?)?;
    probe.ok(command)
}

fn remount(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    mount_remount(command.argument(1)?, MountFlags::BIND, c"")?;
    probe.ok(command)
}

fn private(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    mount_change(command.argument(1)?, MountPropagationFlags::PRIVATE)?;
    probe.ok(command)
}

fn detach(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    unmount(command.argument(1)?, UnmountFlags::DETACH)?;
    probe.ok(command)
}

fn make_node(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let kind = match command.argument(2)?.to_bytes() {
        b"c" => FileType::CharacterDevice,
        b"b" => FileType::BlockDevice,
        _ => return Err(Errno::INVAL),
    };
    let number = |index| u32::try_from(command.number(index)?).map_err(|_| Errno::RANGE);
    let device = makedev(number(3)?, number(4)?);
    mknodat(
        CWD,
        command.argument(1)?,
        kind,
        Mode::from_raw_mode(0o600),
        device,
    )?;
    probe.ok(command)
}

fn set_hostname(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    sethostname(command.argument(1)?.to_bytes())?;
    probe.ok(command)
}

fn change_root(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    chroot(command.argument(1)?)?;
    chdir(c"/")?;
    probe.ok(command)
}

/// The classic: a directory kept open, a second root below it, then `..` from
/// a working directory that is above the root. In a pivoted root the top is
/// the same; under a plain chroot it is the host's.
fn escape(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let before = stat(c"/")?;
    let top = open(
        c"/",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let inner = [c"/tmp/.escape", c"/.escape"]
        .into_iter()
        .find(|path| rustix::fs::mkdir(*path, Mode::RWXU).is_ok())
        .ok_or(Errno::ROFS)?;
    let changed = chroot(inner);
    if let Err(errno) = changed {
        let _ = rustix::fs::rmdir(inner);
        return Err(errno);
    }
    fchdir(&top)?;
    // Still reachable by its name, since the root is now `inner` itself.
    let _ = rustix::fs::unlinkat(&top, relative(inner), rustix::fs::AtFlags::REMOVEDIR);
    for _ in 0..64 {
        chdir(c"..")?;
    }
    chroot(c".")?;
    let after = stat(c"/")?;
    probe.subject(command);
    if same(&before, &after) {
        probe.out.text("contained\n");
        return Ok(());
    }
    probe.out.text("ESCAPED to");
    let directory = open(
        c"/",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        probe.out.text(" ").bytes(entry?.file_name().to_bytes());
    }
    probe.out.text("\n");
    probe.failed = true;
    Ok(())
}

fn relative(path: &core::ffi::CStr) -> &core::ffi::CStr {
    path.to_bytes_with_nul()
        .get(1..)
        .and_then(|bytes| core::ffi::CStr::from_bytes_with_nul(bytes).ok())
        .unwrap_or_default()
}

fn same(a: &Stat, b: &Stat) -> bool {
    a.st_dev == b.st_dev && a.st_ino == b.st_ino
}

fn become_user(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let id = u32::try_from(command.number(1)?).map_err(|_| Errno::RANGE)?;
    set_thread_uid(Uid::from_raw(id))?;
    probe.ok(command)
}

fn become_group(probe: &mut Probe, command: &Command) -> Result<(), Errno> {
    let id = u32::try_from(command.number(1)?).map_err(|_| Errno::RANGE)?;
    set_thread_gid(Gid::from_raw(id))?;
    probe.ok(command)
}
