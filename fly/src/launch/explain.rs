//! From the kernel's answer to what a person can do. Nothing here runs on a
//! start that works.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::BorrowedFd,
    fs::{self, AtFlags, FileType, Stat},
    io::Errno,
};

use super::{elf, guard, root::is_symbolic_link};
use crate::{
    error::{Advice, Error, What, Why, keep},
    sys::path,
};

/// The advice for each answer of the kernel that has one.
pub(super) type Advices = [(Errno, Advice)];

/// An error with the advice for `errno`.
#[cold]
#[inline(never)]
pub(super) fn error<'p>(
    what: What,
    object: &'p CStr,
    errno: Errno,
    advices: &Advices,
) -> Error<'p> {
    let error = Error::new(what, object, errno);
    match advices.iter().find(|(of, _)| *of == errno) {
        Some((_, advice)) => error.advice(*advice),
        None => error,
    }
}

/// A path of the host could not be opened.
#[cold]
pub(super) fn host_path(path: &CStr, errno: Errno) -> Error<'_> {
    const ADVICES: &Advices = &[
        (Errno::NOTDIR, Advice::MustBeDirectory),
        (Errno::PERM, Advice::NeedsRoot),
        (Errno::ACCESS, Advice::MayNotEnter),
        (Errno::MFILE, Advice::RaiseOpenFiles),
        (Errno::NOENT, Advice::MissingOnHost),
    ];
    error(What::Open, path, errno, ADVICES)
}

/// The root could not be mounted: only a directory can be one.
#[cold]
pub(super) fn root(path: &CStr, errno: Errno) -> Error<'_> {
    if kind_of(fs::stat(path)).is_ok_and(|kind| kind != FileType::Directory) {
        return Error::new(What::Mount, path, Errno::NOTDIR).advice(Advice::RootMustBeDirectory);
    }
    Error::new(What::Mount, path, errno)
}

fn kind_of(status: Result<Stat, Errno>) -> Result<FileType, Errno> {
    status.map(|status| FileType::from_raw_mode(status.st_mode))
}

#[cold]
pub(super) fn clone<'p>(namespaces: u64, errno: Errno) -> Error<'p> {
    const USER: u64 = raw::CLONE_NEWUSER as u64;
    let (not_permitted, no_space) = if namespaces & USER == 0 {
        (Advice::NeedsRoot, Advice::NamespaceLimit)
    } else {
        user_namespaces_off()
    };
    let advices = [
        (Errno::PERM, not_permitted),
        (Errno::NOSPC, no_space),
        (Errno::AGAIN, Advice::ProcessLimit),
        (Errno::INVAL, Advice::NoSuchNamespace),
        // Its cgroup is of version 2, and where it is controllers are enabled nevertheless.
        (Errno::OPNOTSUPP, Advice::HoldsProcesses),
    ];
    error(What::MakeNamespaces, c"", errno, &advices)
}

/// What EPERM and ENOSPC mean for a user namespace: which switch is off.
#[cold]
#[inline(never)]
fn user_namespaces_off() -> (Advice, Advice) {
    let is_off = |file: &CStr| first_byte(file) == Some(b'0');
    let not_permitted = if is_off(c"/proc/sys/kernel/unprivileged_userns_clone") {
        Advice::UserNamespacesOff
    } else {
        Advice::NoUserNamespaces
    };
    let no_space = if is_off(c"/proc/sys/user/max_user_namespaces") {
        Advice::NoneAllowed
    } else {
        Advice::NamespaceLimit
    };
    (not_permitted, no_space)
}

/// The maps of a user namespace could not be written; `own` if the process did
/// that by itself.
#[cold]
#[inline(never)]
pub(super) fn maps<'p>(own: bool, errno: Errno) -> Error<'p> {
    let restricted = first_byte(c"/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    let not_permitted = match (own, restricted) {
        (true, Some(b'1')) => Advice::AppArmorRestricts,
        (true, _) => Advice::NoUserNamespaces,
        (false, _) => Advice::NeedsSetidOutside,
    };
    let advices = [
        (Errno::PERM, not_permitted),
        (Errno::ACCESS, not_permitted),
        (Errno::INVAL, Advice::Overlaps),
        (Errno::NOENT, Advice::NeedsProc),
    ];
    error(What::MapIds, c"", errno, &advices)
}

fn first_byte(file: &CStr) -> Option<u8> {
    let mut byte = [0];
    match path::read_at(file, 0, &mut byte) {
        Ok(1) => byte.first().copied(),
        _ => None,
    }
}

#[cold]
pub(super) fn file_system(name: &CStr, errno: Errno) -> Error<'_> {
    const ADVICES: &Advices = &[
        (Errno::NODEV, Advice::NoSuchFileSystem),
        (Errno::PERM, Advice::NeedsPrivilegedContainer),
        (Errno::MFILE, Advice::RaiseOpenFiles),
    ];
    error(What::Mount, name, errno, ADVICES)
}

#[cold]
pub(super) fn overlay(path: &CStr, errno: Errno) -> Error<'_> {
    const ADVICES: &Advices = &[
        (Errno::NODEV, Advice::NoOverlay),
        (Errno::PERM, Advice::NoOverlay),
        (Errno::INVAL, Advice::NoLowerFileSystem),
    ];
    error(What::Layer, path, errno, ADVICES)
}

/// `kept` is the directory `directory` of the layer.
#[cold]
#[inline(never)]
pub(super) fn overlay_in<'p>(
    path: &'p CStr,
    directory: &'p CStr,
    kept: BorrowedFd<'_>,
    errno: Errno,
) -> Error<'p> {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    const ADVICES: &Advices = &[
        (Errno::ROFS, Advice::LayerMustBeWritable),
        (Errno::LOOP, Advice::LayerOverlaps),
        (Errno::BUSY, Advice::LayerBusy),
    ];
    if errno == Errno::INVAL
        && fs::fstatfs(kept).is_ok_and(|status| status.f_type == OVERLAYFS_SUPER_MAGIC)
    {
        return Error::new(What::KeepLayer, directory, errno).advice(Advice::NoUpperFileSystem);
    }
    match errno {
        Errno::NODEV | Errno::INVAL => overlay(path, errno),
        errno => error(What::KeepLayer, directory, errno, ADVICES),
    }
}

/// The mount point is missing, and could not be made.
#[cold]
pub(super) fn missing_mount_point(path: &CStr, errno: Errno) -> Error<'_> {
    made(What::MakeMountPoint, path, errno)
}

/// Something could not be made in the root.
#[cold]
#[inline(never)]
pub(super) fn made(what: What, path: &CStr, errno: Errno) -> Error<'_> {
    const ADVICES: &Advices = &[
        (Errno::ROFS, Advice::MakeBeforehand),
        (Errno::NOSPC, Advice::MakeBeforehand),
        (Errno::DQUOT, Advice::MakeBeforehand),
        (Errno::ACCESS, Advice::MakeBeforehand),
        (Errno::PERM, Advice::MakeBeforehand),
        (Errno::NOENT, Advice::MissingInRoot),
        (Errno::NOTDIR, Advice::ComponentNoDirectory),
        (Errno::XDEV, Advice::HostDev),
        (Errno::EXIST, Advice::MustBeNew),
    ];
    error(what, path, errno, ADVICES)
}

#[cold]
pub(super) fn mounted_on(path: &CStr, errno: Errno) -> Error<'_> {
    error(
        What::MountOn,
        path,
        errno,
        &[(Errno::NOTDIR, Advice::SameKind)],
    )
}

/// The kernel's EINVAL has many reasons; this one can be seen.
#[cold]
pub(super) fn mounted_on_place<'p>(
    path: &'p CStr,
    mount: BorrowedFd<'_>,
    place: BorrowedFd<'_>,
) -> Error<'p> {
    let is_directory = |file| kind_of(fs::fstat(file)) == Ok(FileType::Directory);
    let differ = is_directory(mount) != is_directory(place);
    mounted_on(path, if differ { Errno::NOTDIR } else { Errno::INVAL })
}

/// One of our own file systems could not be put in its place.
#[cold]
pub(super) fn mount_point<'p>(under: BorrowedFd<'_>, name: &'p CStr, errno: Errno) -> Error<'p> {
    match kind_of(fs::statat(under, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(FileType::Symlink) => is_symbolic_link(name),
        Err(Errno::NOENT) => missing_mount_point(name, Errno::NOENT),
        _ => mounted_on(name, errno),
    }
}

#[cold]
pub(super) fn credentials<'p>(step: What, errno: Errno) -> Error<'p> {
    const ADVICES: &Advices = &[
        (Errno::PERM, Advice::NeedsSetid),
        (Errno::INVAL, Advice::NotMapped),
    ];
    error(step, c"", errno, ADVICES)
}

/// Whether there is a file at all: exec's ENOENT may mean its interpreter.
#[cold]
#[inline(never)]
pub(super) fn exists(path: &CStr) -> bool {
    fs::access(path, fs::Access::EXISTS).is_ok()
}

/// `name` is what the user asked for, `file` what was tried.
#[cold]
#[inline(never)]
pub fn exec<'p>(name: &'p CStr, file: &CStr, errno: Errno) -> Error<'p> {
    let status = fs::stat(file);
    let not_allowed = match status {
        Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::Directory => {
            Advice::IsDirectory
        }
        Ok(status) if status.st_mode & 0o111 == 0 => Advice::NotExecutable,
        _ if fs::statfs(file).is_ok_and(|status| status.f_flags & NOEXEC != 0) => {
            Advice::MountedNoexec
        }
        _ => Advice::NotExecutableHere,
    };
    let why = match errno {
        Errno::NOENT if status.is_ok() => missing_interpreter(file),
        Errno::ACCESS if not_allowed == Advice::NotExecutableHere => missing_interpreter(file),
        Errno::NOEXEC => elf::other_machine(file).map(|machine| {
            keep(machine);
            Why::OtherMachine
        }),
        _ => None,
    };
    if let Some(why) = why {
        return Error::new(What::Exec, name, why);
    }
    let advices = [
        (Errno::NOENT, Advice::NoSuchProgram),
        (Errno::ACCESS, not_allowed),
        (Errno::NOEXEC, Advice::NotExecutableFormat),
        (Errno::TOOBIG, Advice::TooLarge),
        (Errno::LOOP, Advice::MagicProgram),
    ];
    error(What::Exec, name, errno, &advices)
}

/// ST_NOEXEC (statfs(2)).
const NOEXEC: i64 = 8;

/// Which of the interpreters of `file`, and of theirs, is not there or can't be
/// executed; it is kept for the text.
#[cold]
#[inline(never)]
pub(super) fn missing_interpreter(file: &CStr) -> Option<Why> {
    let mut found = None;
    let _ = guard::each(file, &mut |current| {
        if current.as_ptr() == file.as_ptr()
            || fs::accessat(fs::CWD, current, fs::Access::EXEC_OK, AtFlags::EACCESS).is_ok()
        {
            return Ok(());
        }
        keep(current.to_bytes());
        found = Some(Why::Interpreter);
        Err(Errno::NOENT)
    });
    found
}
