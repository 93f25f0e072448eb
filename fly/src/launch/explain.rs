//! From the kernel's answer to what a person can do. Nothing here runs on a
//! start that works.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::BorrowedFd,
    fs::{self, AtFlags, FileType, Stat},
    io::Errno,
};

use super::root::is_symbolic_link;
use crate::{
    error::{Advice, Cause, Error, What},
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
        (Errno::MFILE, Advice::RaiseOpenFiles),
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
    let not_permitted = if namespaces & USER == 0 {
        Advice::NeedsRoot
    } else {
        Advice::NoUserNamespaces
    };
    let advices = [
        (Errno::PERM, not_permitted),
        (Errno::NOSPC, Advice::NamespaceLimit),
        (Errno::AGAIN, Advice::ProcessLimit),
        (Errno::INVAL, Advice::NoSuchNamespace),
    ];
    error(What::MakeNamespaces, c"", errno, &advices)
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
        (Errno::INVAL, Advice::NoLowerFileSystem),
    ];
    error(What::Layer, path, errno, ADVICES)
}

/// The mount point is missing, and could not be made.
#[cold]
#[inline(never)]
pub(super) fn missing_mount_point(path: &CStr, errno: Errno) -> Error<'_> {
    const ADVICES: &Advices = &[
        (Errno::ROFS, Advice::MakeBeforehand),
        (Errno::NOSPC, Advice::MakeBeforehand),
        (Errno::DQUOT, Advice::MakeBeforehand),
        (Errno::ACCESS, Advice::MakeBeforehand),
        (Errno::PERM, Advice::MakeBeforehand),
        (Errno::NOENT, Advice::MissingInRoot),
        (Errno::NOTDIR, Advice::ComponentNoDirectory),
    ];
    error(What::MakeMountPoint, path, errno, ADVICES)
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
pub(super) fn exists(path: &CStr) -> bool {
    fs::access(path, fs::Access::EXISTS).is_ok()
}

/// `name` is what the user asked for, `file` what was tried.
#[cold]
#[inline(never)]
pub(super) fn exec<'p>(name: &'p CStr, file: &CStr, errno: Errno) -> Error<'p> {
    let status = fs::stat(file);
    if errno == Errno::NOENT && status.is_ok() {
        return Error::new(What::Exec, name, Cause::INTERPRETER);
    }
    let not_allowed = match status {
        Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::Directory => {
            Advice::IsDirectory
        }
        Ok(status) if status.st_mode & 0o111 == 0 => Advice::NotExecutable,
        _ => Advice::NotExecutableHere,
    };
    let advices = [
        (Errno::NOENT, Advice::NoSuchProgram),
        (Errno::ACCESS, not_allowed),
        (Errno::NOEXEC, Advice::NotExecutableFormat),
        (Errno::TOOBIG, Advice::TooLarge),
    ];
    error(What::Exec, name, errno, &advices)
}

/// Calls `each` with the interpreter that `file` names: after `#!`, or as an
/// ELF program's loader (PT_INTERP, elf(5)).
#[cold]
pub fn interpreter(file: &CStr, each: &mut dyn FnMut(&[u8])) {
    let mut head = [0; 1024];
    let count = path::read_at(file, 0, &mut head).unwrap_or(0);
    let head = head.get(..count).unwrap_or_default();
    let mut name = [0; 128];
    let text = match (head.strip_prefix(b"#!"), loader(head)) {
        (Some(line), _) => line.trim_ascii_start(),
        (None, Some(at)) => {
            let count = path::read_at(file, at, &mut name).unwrap_or(0);
            name.get(..count).unwrap_or_default()
        }
        (None, None) => return,
    };
    let end = |byte: &u8| matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n');
    let length = text.iter().position(end).unwrap_or(text.len());
    each(text.get(..length).unwrap_or_default());
}

/// Where in an ELF file the name of its loader is.
#[inline(never)]
fn loader(head: &[u8]) -> Option<u64> {
    const PT_INTERP: u64 = 3;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let number = |at: usize| Some(u64::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let table = usize::try_from(number(32)?).ok()?;
    let size = usize::from(u16_of(number(54)?));
    let entries = u16_of(number(56)?).min(64);
    for entry in 0..usize::from(entries) {
        let at = table.checked_add(entry * size)?;
        // The type is the first half, the flags the other.
        if number(at)? & 0xffff_ffff == PT_INTERP {
            return number(at.checked_add(8)?);
        }
    }
    None
}

/// The first two bytes of a little-endian number.
fn u16_of(number: u64) -> u16 {
    let [low, high, ..] = number.to_le_bytes();
    u16::from_le_bytes([low, high])
}
