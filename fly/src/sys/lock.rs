//! Locks on bytes of a file that belong to the open file (fcntl(2), F_OFD_SETLK,
//! Linux 3.15): the kernel drops them when the last descriptor of it is closed, by
//! whatever death. Who may only read the file can see them, and can hold none that
//! would look the same.

use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsRawFd, BorrowedFd},
    io::Errno,
};

use super::{arch, result};

/// Locks `count` bytes of `file` from `start` on for itself alone.
///
/// # Errors
/// EAGAIN if somebody else holds one of them, EBADF if it is not open for writing.
pub fn take(file: BorrowedFd<'_>, start: u8, count: u8) -> Result<(), Errno> {
    call(file, raw::F_OFD_SETLK, raw::F_WRLCK, start, count).map(drop)
}

/// Gives them back.
///
/// # Errors
/// EBADF.
pub fn give_back(file: BorrowedFd<'_>, start: u8, count: u8) -> Result<(), Errno> {
    call(file, raw::F_OFD_SETLK, raw::F_UNLCK, start, count).map(drop)
}

/// Whether somebody else has locked one of the first `count` bytes. For this `file` may
/// be open for reading only.
///
/// # Errors
/// As fcntl(2): ENOLCK, EINVAL where the file system has no such locks.
pub fn is_taken(file: BorrowedFd<'_>, count: u8) -> Result<bool, Errno> {
    is_taken_from(file, 0, count)
}

/// The same of `count` bytes from `start` on.
///
/// # Errors
/// As [`is_taken`].
#[inline]
pub fn is_taken_from(file: BorrowedFd<'_>, start: u8, count: u8) -> Result<bool, Errno> {
    let found = call(file, raw::F_OFD_GETLK, raw::F_RDLCK, start, count)?;
    Ok(u32::try_from(found) != Ok(raw::F_UNLCK))
}

/// Waits until nobody has locked one of the first `count` bytes.
///
/// # Errors
/// EINTR, and as [`is_taken`].
pub fn wait(file: BorrowedFd<'_>, count: u8) -> Result<(), Errno> {
    call(file, raw::F_OFD_SETLKW, raw::F_RDLCK, 0, count)?;
    give_back(file, 0, count)
}

/// Locks a range of bytes, which need not exist; false if somebody else holds one of
/// them.
///
/// # Errors
/// EBADF if the file is not open for writing, ENOLCK.
#[cold]
pub fn take_range(file: BorrowedFd<'_>, start: u64, count: u64) -> Result<bool, Errno> {
    match ask(file, raw::F_OFD_SETLK, raw::F_WRLCK, start, count) {
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        done => done.map(|_| true),
    }
}

/// The same, as soon as nobody else has locked one of them.
///
/// # Errors
/// EINTR, EBADF if the file is not open for writing.
#[cold]
pub fn await_range(file: BorrowedFd<'_>, start: u64, count: u64) -> Result<(), Errno> {
    ask(file, raw::F_OFD_SETLKW, raw::F_WRLCK, start, count).map(drop)
}

/// The first byte behind what somebody else has locked in this range, if there is such.
///
/// # Errors
/// EBADF.
#[cold]
pub fn taken_until(file: BorrowedFd<'_>, start: u64, count: u64) -> Result<Option<u64>, Errno> {
    let lock = ask(file, raw::F_OFD_GETLK, raw::F_WRLCK, start, count)?;
    if u32::try_from(lock.l_type) == Ok(raw::F_UNLCK) {
        return Ok(None);
    }
    let end = match lock.l_len {
        // To the end of the file.
        0 => i64::MAX,
        count => lock.l_start.saturating_add(count),
    };
    Ok(u64::try_from(end).ok())
}

/// Keeps the open file, and with it its locks, for as long as this process lives, also
/// when all descriptors of it are closed: a mapping refers to it, too (mmap(2)). A
/// process that is forked off has a part in it; an exec lets go.
///
/// # Errors
/// ENOMEM.
#[cold]
pub fn keep(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let number = file.as_raw_fd().cast_unsigned() as usize;
    let (kind, access) = (raw::MAP_PRIVATE as usize, raw::PROT_NONE as usize);
    // SAFETY: the kernel chooses the place, and nobody can look at it.
    result(unsafe { arch::syscall(raw::__NR_mmap, [0, 4096, access, kind, number, 0]) }).map(drop)
}

/// Returns the kind of lock that the kernel tells.
fn call(file: BorrowedFd<'_>, command: u32, kind: u32, start: u8, count: u8) -> Result<i16, Errno> {
    ask(file, command, kind, start.into(), count.into()).map(|lock| lock.l_type)
}

/// Returns what the kernel tells.
#[cold]
#[inline(never)]
fn ask(
    file: BorrowedFd<'_>,
    command: u32,
    kind: u32,
    start: u64,
    count: u64,
) -> Result<raw::flock, Errno> {
    let place = |value: u64| i64::try_from(value).map_err(|_| Errno::OVERFLOW);
    let mut lock = raw::flock {
        l_type: i16::try_from(kind).map_err(|_| Errno::INVAL)?,
        l_whence: 0,
        l_start: place(start)?,
        l_len: place(count)?,
        l_pid: 0,
    };
    let number = file.as_raw_fd().cast_unsigned() as usize;
    let place = (&raw mut lock).expose_provenance();
    // SAFETY: the kernel reads one struct flock, and writes to it, during the call.
    result(unsafe { arch::syscall(raw::__NR_fcntl, [number, command as usize, place]) })?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::descriptor;
    use std::{fs::File, os::fd::AsRawFd as _};

    /// Of the kind that rustix takes with std and without.
    fn fd(file: &File) -> BorrowedFd<'static> {
        descriptor::borrow(file.as_raw_fd()).expect("a descriptor")
    }

    #[test]
    fn locks() {
        let path = std::env::temp_dir().join(format!("kickstage-lock-{}", std::process::id()));
        let first = File::create(&path).expect("a file");
        let reader = File::open(&path).expect("the same file");
        assert_eq!(is_taken(fd(&reader), 2), Ok(false));
        take(fd(&first), 1, 1).expect("a lock");
        assert_eq!(is_taken(fd(&reader), 2), Ok(true));
        assert_eq!(is_taken(fd(&reader), 1), Ok(false));
        assert_eq!(is_taken_from(fd(&reader), 1, 2), Ok(true));
        assert_eq!(is_taken_from(fd(&reader), 2, 1), Ok(false));
        let other = File::options().write(true).open(&path).expect("it again");
        assert_eq!(take(fd(&other), 0, 2), Err(Errno::AGAIN));
        assert_eq!(take(fd(&other), 0, 1), Ok(()));
        assert_eq!(take(fd(&reader), 0, 1), Err(Errno::BADF));
        drop((first, other));
        assert_eq!(is_taken(fd(&reader), 2), Ok(false));
        assert_eq!(wait(fd(&reader), 2), Ok(()));
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn ranges_are_kept_without_a_descriptor() {
        let path = std::env::temp_dir().join(format!("kickstage-range-{}", std::process::id()));
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let (one, other) = (options.open(&path).unwrap(), options.open(&path).unwrap());
        assert_eq!(take_range(fd(&one), 100, 50), Ok(true));
        assert_eq!(take_range(fd(&other), 149, 1), Ok(false));
        assert_eq!(take_range(fd(&other), 150, 50), Ok(true));
        assert_eq!(taken_until(fd(&other), 0, 1000), Ok(Some(150)));
        assert_eq!(taken_until(fd(&other), 0, 100), Ok(None));
        drop(one);
        assert_eq!(take_range(fd(&other), 100, 50), Ok(true));
        keep(fd(&other)).unwrap();
        drop(other);
        let third = options.open(&path).unwrap();
        assert_eq!(take_range(fd(&third), 100, 1), Ok(false));
        std::fs::remove_file(path).unwrap();
    }
}
