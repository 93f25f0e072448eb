//! From the kernel's answer to what a person can do. Nothing here runs on a
//! start that works.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::BorrowedFd,
    fs::{self, AtFlags, FileType},
    io::Errno,
};

use super::root::is_symbolic_link;
use crate::{
    error::{Advice, Cause, Error, What},
    sys::path,
};

/// A path of the host could not be opened.
#[cold]
pub(super) fn host_path<'p>(step: What, path: &'p CStr, errno: Errno) -> Error<'p> {
    Error::new(step, path, errno).advice(match errno {
        Errno::NOTDIR => Advice::MustBeDirectory,
        Errno::PERM => Advice::NeedsRoot,
        Errno::MFILE => Advice::RaiseOpenFiles,
        _ => Advice::None,
    })
}

/// The root could not be mounted: only a directory can be one.
#[cold]
pub(super) fn root(path: &CStr, errno: Errno) -> Error<'_> {
    match fs::stat(path) {
        Ok(status) if FileType::from_raw_mode(status.st_mode) != FileType::Directory => {
            Error::new(What::Mount, path, Errno::NOTDIR).advice(Advice::RootMustBeDirectory)
        }
        _ => Error::new(What::Mount, path, errno),
    }
}

#[cold]
pub(super) fn clone<'p>(namespaces: u64, errno: Errno) -> Error<'p> {
    const USER: u64 = raw::CLONE_NEWUSER as u64;
    Error::new(What::MakeNamespaces, c"", errno).advice(match errno {
        Errno::PERM if namespaces & USER == 0 => Advice::NeedsRoot,
        Errno::PERM => Advice::NoUserNamespaces,
        Errno::NOSPC => Advice::NamespaceLimit,
        Errno::AGAIN => Advice::ProcessLimit,
        Errno::INVAL => Advice::NoSuchNamespace,
        _ => Advice::None,
    })
}

#[cold]
pub(super) fn file_system(name: &CStr, errno: Errno) -> Error<'_> {
    Error::new(What::Mount, name, errno).advice(match errno {
        Errno::NODEV => Advice::NoSuchFileSystem,
        Errno::PERM => Advice::NeedsPrivilegedContainer,
        Errno::MFILE => Advice::RaiseOpenFiles,
        _ => Advice::None,
    })
}

#[cold]
pub(super) fn overlay(path: &CStr, errno: Errno) -> Error<'_> {
    Error::new(What::Layer, path, errno).advice(match errno {
        Errno::NODEV => Advice::NoOverlay,
        Errno::INVAL => Advice::NoLowerFileSystem,
        _ => Advice::None,
    })
}

/// The mount point is missing, and could not be made.
#[cold]
pub(super) fn missing_mount_point(path: &CStr, errno: Errno) -> Error<'_> {
    Error::new(What::MakeMountPoint, path, errno).advice(match errno {
        Errno::ROFS | Errno::NOSPC | Errno::DQUOT | Errno::ACCESS | Errno::PERM => {
            Advice::MakeBeforehand
        }
        Errno::NOENT => Advice::MissingInRoot,
        Errno::NOTDIR => Advice::ComponentNoDirectory,
        _ => Advice::None,
    })
}

#[cold]
pub(super) fn mounted_on(path: &CStr, errno: Errno) -> Error<'_> {
    Error::new(What::MountOn, path, errno).advice(match errno {
        Errno::NOTDIR => Advice::SameKind,
        _ => Advice::None,
    })
}

/// One of our own file systems could not be put in its place.
#[cold]
pub(super) fn mount_point<'p>(under: BorrowedFd<'_>, name: &'p CStr, errno: Errno) -> Error<'p> {
    let kind = fs::statat(under, name, AtFlags::SYMLINK_NOFOLLOW)
        .map(|status| FileType::from_raw_mode(status.st_mode));
    match kind {
        Ok(FileType::Symlink) => is_symbolic_link(name),
        Err(Errno::NOENT) => missing_mount_point(name, Errno::NOENT),
        _ => mounted_on(name, errno),
    }
}

#[cold]
pub(super) fn credentials<'p>(step: What, errno: Errno) -> Error<'p> {
    Error::new(step, c"", errno).advice(match errno {
        Errno::PERM => Advice::NeedsSetid,
        Errno::INVAL => Advice::NotMapped,
        _ => Advice::None,
    })
}

/// Whether there is a file at all: exec's ENOENT may mean its interpreter.
#[cold]
pub(super) fn exists(path: &CStr) -> bool {
    fs::access(path, fs::Access::EXISTS).is_ok()
}

/// `name` is what the user asked for, `file` what was tried.
#[cold]
pub(super) fn exec<'p>(name: &'p CStr, file: &CStr, errno: Errno) -> Error<'p> {
    let error = Error::new(What::Exec, name, errno);
    match errno {
        Errno::NOENT if exists(file) => Error {
            cause: Cause::Interpreter,
            ..error
        },
        Errno::NOENT => error.advice(Advice::NoSuchProgram),
        Errno::ACCESS => error.advice(match fs::stat(file) {
            Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::Directory => {
                Advice::IsDirectory
            }
            Ok(status) if status.st_mode & 0o111 == 0 => Advice::NotExecutable,
            _ => Advice::NotExecutableHere,
        }),
        Errno::NOEXEC => error.advice(Advice::NotExecutableFormat),
        Errno::TOOBIG => error.advice(Advice::TooLarge),
        _ => error,
    }
}

/// Calls `each` with the interpreter that `file` names: after `#!`, or as an
/// ELF program's loader (PT_INTERP, elf(5)).
#[cold]
pub fn interpreter(file: &CStr, each: &mut dyn FnMut(&[u8])) {
    let mut head = [0; 1024];
    let count = path::read_at(file, 0, &mut head).unwrap_or(0);
    let head = head.get(..count).unwrap_or_default();
    let mut name = [0; 128];
    let end = |byte: &u8| matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n');
    let text = match (head.strip_prefix(b"#!"), loader(head)) {
        (Some(line), _) => line.trim_ascii_start(),
        (None, Some(at)) => {
            let count = path::read_at(file, at, &mut name).unwrap_or(0);
            name.get(..count).unwrap_or_default()
        }
        (None, None) => return,
    };
    if let Some(name) = text.split(end).next() {
        each(name);
    }
}

/// Where in an ELF file the name of its loader is.
fn loader(head: &[u8]) -> Option<u64> {
    const PT_INTERP: u64 = 3;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(size)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |value, byte| (value << 8) | u64::from(*byte)),
        )
    };
    let table = usize::try_from(number(32, 8)?).ok()?;
    let size = usize::try_from(number(54, 2)?).ok()?;
    let entries = usize::try_from(number(56, 2)?).ok()?;
    (0..entries.min(64)).find_map(|entry| {
        let at = table.checked_add(entry.checked_mul(size)?)?;
        (number(at, 4)? == PT_INTERP).then(|| number(at.checked_add(8)?, 8))?
    })
}
