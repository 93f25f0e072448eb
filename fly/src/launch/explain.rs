//! From the kernel's answer to what a person can do. Nothing here runs on a
//! start that works.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::BorrowedFd,
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::root;
use crate::error::{Cause, Error};

/// A path of the host could not be opened.
#[cold]
pub(super) fn host_path<'p>(step: &'p str, path: &'p CStr, errno: Errno) -> Error<'p> {
    Error::new(step, path, errno).advice(match errno {
        Errno::NOTDIR => "it must be a directory",
        Errno::PERM => "needs root: the capability sys_admin",
        Errno::MFILE => "raise the limit of open files",
        _ => "",
    })
}

#[cold]
pub(super) fn clone<'p>(namespaces: u64, errno: Errno) -> Error<'p> {
    const USER: u64 = raw::CLONE_NEWUSER as u64;
    Error::new("make new namespaces", c"", errno).advice(match errno {
        Errno::PERM if namespaces & USER == 0 => "needs root: the capability sys_admin",
        Errno::PERM => "user namespaces are switched off here",
        Errno::NOSPC => "a limit in /proc/sys/user/max_*_namespaces is reached",
        Errno::AGAIN => "a limit of processes is reached",
        Errno::INVAL => "this kernel lacks a kind of namespace",
        _ => "",
    })
}

#[cold]
pub(super) fn file_system(name: &CStr, errno: Errno) -> Error<'_> {
    Error::new("mount", name, errno).advice(match errno {
        Errno::NODEV => "this kernel lacks the file system",
        Errno::PERM => "needs root, or in a container: a privileged one",
        Errno::MFILE => "raise the limit of open files",
        _ => "",
    })
}

#[cold]
pub(super) fn overlay(path: &CStr, errno: Errno) -> Error<'_> {
    Error::new("put a writable layer over", path, errno).advice(match errno {
        Errno::NODEV => "this kernel lacks overlay",
        Errno::INVAL => "overlay can't use this file system as its lower one",
        _ => "",
    })
}

/// The mount point is missing, and could not be made.
#[cold]
pub(super) fn missing_mount_point(path: &CStr, errno: Errno) -> Error<'_> {
    Error::new("make mount point", path, errno).advice(match errno {
        Errno::ROFS | Errno::NOSPC | Errno::DQUOT | Errno::ACCESS | Errno::PERM => {
            "make it in the root file system beforehand"
        }
        Errno::NOENT => "it is missing in the root file system",
        Errno::NOTDIR => "a component of the path is not a directory",
        _ => "",
    })
}

#[cold]
pub(super) fn mounted_on(path: &CStr, errno: Errno) -> Error<'_> {
    Error::new("mount on", path, errno).advice(match errno {
        Errno::NOTDIR => "a directory goes on a directory, a file on a file",
        _ => "",
    })
}

/// One of our own file systems could not be put in its place.
#[cold]
pub(super) fn mount_point<'p>(under: BorrowedFd<'_>, name: &'p CStr, errno: Errno) -> Error<'p> {
    let kind = fs::statat(under, name, AtFlags::SYMLINK_NOFOLLOW)
        .map(|status| FileType::from_raw_mode(status.st_mode));
    match kind {
        Ok(FileType::Symlink) => root::is_symbolic_link(name),
        Err(Errno::NOENT) => missing_mount_point(name, Errno::NOENT),
        _ => mounted_on(name, errno),
    }
}

#[cold]
pub(super) fn credentials<'p>(step: &'p str, errno: Errno) -> Error<'p> {
    Error::new(step, c"", errno).advice(match errno {
        Errno::PERM => "needs root: the capabilities setuid, setgid and setpcap",
        Errno::INVAL => "the id is not mapped in this user namespace",
        _ => "",
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
    let error = Error::new("exec", name, errno);
    match errno {
        Errno::NOENT if exists(file) => Error {
            cause: Cause::Interpreter,
            ..error
        },
        Errno::NOENT => error.advice("no such program in the root file system"),
        Errno::ACCESS => error.advice(match fs::stat(file) {
            Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::Directory => {
                "it is a directory"
            }
            Ok(status) if status.st_mode & 0o111 == 0 => "it is not executable: chmod +x",
            _ => "not executable for this user, or on a file system mounted noexec",
        }),
        Errno::NOEXEC => error.advice("no program for this machine, or a script without #!"),
        Errno::TOOBIG => error.advice("arguments and environment are too large"),
        _ => error,
    }
}

/// Calls `each` with the interpreter that `file` names: after `#!`, or as an
/// ELF program's loader (PT_INTERP, elf(5)).
#[cold]
pub fn interpreter(file: &CStr, each: &mut dyn FnMut(&[u8])) {
    let mut head = [0; 1024];
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(program) = fs::open(file, flags, Mode::empty()) else {
        return;
    };
    let count = rustix::io::read(&program, &mut head).unwrap_or(0);
    let head = head.get(..count).unwrap_or_default();
    let mut name = [0; 128];
    let end = |byte: &u8| matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n');
    let text = match (head.strip_prefix(b"#!"), loader(head)) {
        (Some(line), _) => line.trim_ascii_start(),
        (None, Some(at)) => {
            let count = rustix::io::pread(&program, &mut name, at).unwrap_or(0);
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
        Some(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    };
    let table = usize::try_from(number(32, 8)?).ok()?;
    let size = usize::try_from(number(54, 2)?).ok()?;
    let entries = usize::try_from(number(56, 2)?).ok()?;
    (0..entries.min(64)).find_map(|entry| {
        let at = table.checked_add(entry.checked_mul(size)?)?;
        (number(at, 4)? == PT_INTERP).then(|| number(at.checked_add(8)?, 8))?
    })
}
