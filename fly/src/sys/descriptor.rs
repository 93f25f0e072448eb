//! File descriptors: closing the inherited ones, duplicating to a number.

use super::{arch, result};
use crate::text::split;
use core::ffi::CStr;
use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    io::Errno,
};

/// Sets the close-on-exec flag of an inherited descriptor.
///
/// # Errors
/// EBADF if it is not open.
pub fn close_on_exec(number: RawFd) -> Result<(), Errno> {
    // SAFETY: F_SETFD takes no pointer.
    result(unsafe {
        arch::syscall(
            raw::__NR_fcntl,
            [
                number.cast_unsigned() as usize,
                raw::F_SETFD as usize,
                raw::FD_CLOEXEC as usize,
            ],
        )
    })
    .map(drop)
}

/// Takes a descriptor over by its number: it is closed when the value is
/// dropped. The caller must have owned it, or another owner would find it
/// closed (EBADF), or find another file under its number.
#[must_use]
pub fn own(number: RawFd) -> Option<OwnedFd> {
    if number < 0 {
        return None;
    }
    // SAFETY: not -1. That nobody else owns it is the caller's word; a breach
    // is a wrong descriptor, nothing in this crate keeps memory safe by one.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Borrows a descriptor that lives as long as the program, such as one of the
/// standard three or a slot of the launcher.
///
/// A wrong number is an EBADF of the next call, not undefined behaviour of
/// ours: nothing in this crate relies on what a descriptor refers to.
#[must_use]
pub fn borrow(number: RawFd) -> Option<BorrowedFd<'static>> {
    if number < 0 {
        return None;
    }
    // SAFETY: not -1; see above for its lifetime.
    Some(unsafe { BorrowedFd::borrow_raw(number) })
}

/// The same; for -1, which is none, [`NONE`].
#[must_use]
pub fn get(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: not -1, as it is not negative; see above for its lifetime.
    unsafe { BorrowedFd::borrow_raw(number & RawFd::MAX) }
}

/// A descriptor that is never open: its number is beyond every limit (NR_OPEN is
/// at most a multiple of a page below it).
pub const NONE: BorrowedFd<'static> = {
    // SAFETY: not -1; as for `borrow`, a call answers EBADF.
    unsafe { BorrowedFd::borrow_raw(RawFd::MAX) }
};

/// `close_range(first, last, 0)` (Linux 5.9).
///
/// # Errors
/// ENOSYS, EPERM where the call is missing or refused.
pub fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: no pointers. Closing descriptors that somebody owns is a bug of
    // the caller's, seen as EBADF, not a memory error.
    result(unsafe { arch::syscall(raw::__NR_close_range, [first as usize, last as usize, 0]) })
        .map(drop)
}

/// Closes one descriptor by number; used where `close_range` is missing.
///
/// # Errors
/// EBADF.
pub fn close(number: RawFd) -> Result<(), Errno> {
    // SAFETY: as for `close_range`.
    result(unsafe { arch::syscall(raw::__NR_close, [number.cast_unsigned() as usize, 0, 0]) })
        .map(drop)
}

/// `dup3(from, to, 0)`: `to` then refers to what `from` does and survives exec.
/// If both are the same number its close-on-exec flag is cleared instead.
///
/// # Errors
/// EBADF, EMFILE.
pub fn duplicate_onto(from: BorrowedFd<'_>, to: RawFd) -> Result<(), Errno> {
    duplicate(from, to, 0, 0)
}

/// The same of one that is open, but it does not survive exec.
///
/// # Errors
/// EMFILE if this process may not have that many.
#[inline(never)]
pub fn keep_as(from: BorrowedFd<'_>, to: RawFd) -> Result<(), Errno> {
    // Only the number can be wrong, for which the kernel says EBADF (dup3(2)).
    duplicate(from, to, raw::O_CLOEXEC, raw::FD_CLOEXEC).map_err(|_| Errno::MFILE)
}

fn duplicate(from: BorrowedFd<'_>, to: RawFd, open: u32, own: u32) -> Result<(), Errno> {
    let (from, to) = (from.as_raw_fd(), to.cast_unsigned() as usize);
    let (number, arguments) = if from.cast_unsigned() as usize == to {
        (
            raw::__NR_fcntl,
            [to, raw::F_SETFD as usize, own as usize, 0, 0, 0],
        )
    } else {
        (
            raw::__NR_dup3,
            [from.cast_unsigned() as usize, to, open as usize, 0, 0, 0],
        )
    };
    // SAFETY: neither call takes a pointer.
    result(unsafe { arch::syscall(number, arguments) }).map(drop)
}

/// Reads from descriptor `number`; 0 is its end.
///
/// # Errors
/// As read(2).
pub fn read(number: RawFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the buffer's length.
    result(unsafe {
        arch::syscall(
            raw::__NR_read,
            [
                number.cast_unsigned() as usize,
                buffer.as_mut_ptr().expose_provenance(),
                buffer.len(),
            ],
        )
    })
}

/// Reads from descriptor `number` to its end, or until `buffer` is full; returns what came.
///
/// # Errors
/// As read(2), but for EINTR.
#[inline(never)]
pub fn read_all(number: RawFd, buffer: &mut [u8]) -> Result<&[u8], Errno> {
    let mut used = 0;
    while let Some(rest @ [_, ..]) = buffer.get_mut(used..) {
        match read(number, rest) {
            Ok(0) => break,
            Ok(count) => used += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(buffer.get(..used).unwrap_or_default())
}

/// Opens `path` (open(2)) with O_CLOEXEC; returns the number, which is the caller's
/// to close.
///
/// # Errors
/// As open(2).
#[inline]
pub fn open(path: &CStr, flags: u32) -> Result<RawFd, Errno> {
    open_at(raw::AT_FDCWD, path, flags, 0)
}

/// The same from the directory `folder` on; `mode` is that of a file that it makes.
///
/// # Errors
/// As openat(2).
#[inline(never)]
pub fn open_at(folder: RawFd, path: &CStr, flags: u32, mode: u16) -> Result<RawFd, Errno> {
    // SAFETY: the path is zero-terminated and lives across the call.
    let number = result(unsafe {
        arch::syscall(
            raw::__NR_openat,
            [
                folder.cast_unsigned() as usize,
                path.as_ptr().expose_provenance(),
                (flags | raw::O_CLOEXEC) as usize,
                usize::from(mode),
                0,
                0,
            ],
        )
    })?;
    RawFd::try_from(number).map_err(|_| Errno::BADF)
}

/// Has the kernel tell by SIGIO that a name has gone from the directory `number` (F_NOTIFY,
/// fcntl(2)), as long as that is open.
///
/// # Errors
/// EINVAL where the kernel is built without CONFIG_DNOTIFY.
#[cold]
pub fn tell_removals(number: RawFd) -> Result<(), Errno> {
    let number = number.cast_unsigned() as usize;
    let events = raw::DN_DELETE | raw::DN_RENAME | raw::DN_MULTISHOT;
    let arguments = [number, raw::F_NOTIFY as usize, events as usize, 0, 0, 0];
    // SAFETY: F_NOTIFY takes no pointer.
    result(unsafe { arch::syscall(raw::__NR_fcntl, arguments) }).map(drop)
}

/// Sets those flags of the open file of `number` that can be changed (F_SETFL,
/// fcntl(2)): O_APPEND, O_NONBLOCK and the like, and no others.
///
/// # Errors
/// EBADF.
#[cold]
pub fn set_status(number: RawFd, flags: u32) -> Result<(), Errno> {
    let number = number.cast_unsigned() as usize;
    let arguments = [number, raw::F_SETFL as usize, flags as usize, 0, 0, 0];
    // SAFETY: F_SETFL takes no pointer.
    result(unsafe { arch::syscall(raw::__NR_fcntl, arguments) }).map(drop)
}

/// The beginning of the file `path`, by one read(2): all of a small file of /proc
/// or /sys. Empty if it can't be read.
#[inline(never)]
pub fn read_file<'b>(path: &CStr, buffer: &'b mut [u8]) -> &'b [u8] {
    let Ok(number) = open(path, raw::O_RDONLY) else {
        return &[];
    };
    let count = read(number, buffer).unwrap_or(0);
    let _ = close(number);
    buffer.get(..count).unwrap_or_default()
}

/// Calls `each` for the names in the directory `path` (getdents64(2)); false if it
/// can't be read.
pub fn each_name(path: &CStr, each: &mut dyn FnMut(&[u8])) -> bool {
    // In struct linux_dirent64: the record's length, and where the name begins.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    let Ok(number) = open(path, raw::O_RDONLY | raw::O_DIRECTORY) else {
        return false;
    };
    let mut buffer = [0_u8; 2048];
    loop {
        // SAFETY: the kernel writes at most the buffer's length.
        let count = result(unsafe {
            arch::syscall(
                raw::__NR_getdents64,
                [
                    number.cast_unsigned() as usize,
                    buffer.as_mut_ptr().expose_provenance(),
                    buffer.len(),
                ],
            )
        });
        let mut rest = buffer.get(..count.unwrap_or(0)).unwrap_or_default();
        if rest.is_empty() {
            let _ = close(number);
            return count.is_ok();
        }
        while let Some([low, high]) = rest.get(LENGTH..LENGTH + 2) {
            let length = usize::from(u16::from_ne_bytes([*low, *high]));
            let name = rest.get(NAME..length).unwrap_or_default();
            each(split(name, 0).next().unwrap_or_default());
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// Reads from descriptor `number` at `offset` (pread(2)); 0 is its end.
///
/// # Errors
/// As pread(2).
pub fn read_at(number: RawFd, offset: usize, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the buffer's length.
    result(unsafe {
        arch::syscall(
            raw::__NR_pread64,
            [
                number.cast_unsigned() as usize,
                buffer.as_mut_ptr().expose_provenance(),
                buffer.len(),
                offset,
                0,
                0,
            ],
        )
    })
}

/// Writes all of `bytes` to standard error; failures have nowhere to go.
pub fn write_error(bytes: &[u8]) {
    write_all(2, bytes);
}

/// Writes to descriptor `number`; returns how much of `bytes`.
///
/// # Errors
/// As write(2).
pub fn write(number: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel reads `bytes`, which lives across the call.
    result(unsafe {
        arch::syscall(
            raw::__NR_write,
            [
                number.cast_unsigned() as usize,
                bytes.as_ptr().expose_provenance(),
                bytes.len(),
            ],
        )
    })
}

/// Writes all of `bytes` to descriptor `number`; false if it failed. A standard stream that
/// is O_NONBLOCK, as its other users may have made it, is waited for as any other: nobody
/// would write the rest.
pub fn write_all(number: RawFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match write(number, bytes) {
            Ok(count) if count > 0 => match bytes.get(count..) {
                Some(rest) => bytes = rest,
                None => return false,
            },
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if number < 3 => wait_for_room(number),
            _ => return false,
        }
    }
    true
}

/// Waits until descriptor `number` can be written to (ppoll(2)).
#[cold]
fn wait_for_room(number: RawFd) {
    // The kernel's struct pollfd: the number, then two halves, what is waited for and what
    // has come.
    let mut watched = [number, raw::POLLOUT.cast_signed()];
    // SAFETY: the kernel reads and writes one structure of 8 bytes; without a time and a
    // mask it takes no other pointer.
    let _ = unsafe {
        arch::syscall(
            raw::__NR_ppoll,
            [(&raw mut watched).expose_provenance(), 1, 0, 0, 0, 0],
        )
    };
}
