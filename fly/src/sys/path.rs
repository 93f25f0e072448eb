//! Paths by plain descriptor numbers, for code that pid 1 runs: rustix's
//! descriptor types check for -1 at run time, and could panic there.

use super::{arch, descriptor, result};
use core::ffi::CStr;
use linux_raw_sys::general as raw;
use rustix::io::Errno;

/// openat2's EAGAIN (a rename or a mount raced with the walk) is retried this
/// often, then refused.
const RETRIES: u32 = 128;

const fn cwd() -> usize {
    (raw::AT_FDCWD as isize).cast_unsigned()
}

/// Makes `path` the working directory, by a walk that follows no magic link of
/// a procfs: none of the descriptors that lead out of the root can be named
/// (CVE-2024-21626).
///
/// # Errors
/// As chdir(2); ELOOP for a magic link.
pub fn enter(path: &CStr) -> Result<(), Errno> {
    match open(path, raw::O_DIRECTORY) {
        // Before Linux 5.6, or refused by a filter, or no descriptor is left.
        Err(Errno::NOSYS | Errno::PERM | Errno::MFILE) => enter_and_look(path),
        Err(errno) => Err(errno),
        Ok(directory) => {
            let number = directory.cast_unsigned() as usize;
            // SAFETY: no pointer.
            let entered = result(unsafe { arch::syscall(raw::__NR_fchdir, [number, 0, 0]) });
            let _ = descriptor::close(directory);
            entered.map(drop)
        }
    }
}

/// Walks to the file `path` as [`enter`] does.
///
/// # Errors
/// As openat2(2); ELOOP for a magic link; ENOSYS and EPERM where the call is
/// missing or refused.
#[cold]
pub fn walk_to(path: &CStr) -> Result<(), Errno> {
    open(path, 0).and_then(descriptor::close)
}

/// Opens `path` as [`enter`] does, with O_PATH and `flags`; nobody else owns the
/// descriptor.
///
/// # Errors
/// As [`walk_to`].
#[inline(never)]
pub fn open(path: &CStr, flags: u32) -> Result<i32, Errno> {
    open_in(None, path, raw::O_PATH | flags, 0)
}

/// Opens `path` below the directory `folder`, or below the working directory, as
/// [`enter`] walks, with O_CLOEXEC and `flags`; `mode` is that of a file that it
/// makes. Nobody else owns the descriptor.
///
/// # Errors
/// As openat2(2); ELOOP for a magic link.
#[cold]
#[inline(never)]
pub fn open_in(folder: Option<i32>, path: &CStr, flags: u32, mode: u64) -> Result<i32, Errno> {
    let folder = folder.unwrap_or(raw::AT_FDCWD);
    open_by(folder, path, flags, (mode, raw::RESOLVE_NO_MAGICLINKS))
}

/// The same through no symbolic link at all.
///
/// # Errors
/// As [`open_in`]; ELOOP for any link.
#[cold]
#[inline(never)]
pub fn open_safely(folder: Option<i32>, path: &CStr, flags: u32, mode: u64) -> Result<i32, Errno> {
    let folder = folder.unwrap_or(raw::AT_FDCWD);
    open_by(folder, path, flags, (mode, raw::RESOLVE_NO_SYMLINKS))
}

/// The same below `folder`, or AT_FDCWD, with `resolve` of openat2(2) beside the mode.
///
/// # Errors
/// As openat2(2).
#[inline(never)]
pub fn open_by(
    folder: i32,
    path: &CStr,
    flags: u32,
    (mode, resolve): (u64, u32),
) -> Result<i32, Errno> {
    let how = raw::open_how {
        flags: u64::from(raw::O_CLOEXEC | flags),
        mode,
        resolve: u64::from(resolve),
    };
    const AGAIN: isize = -(Errno::AGAIN.raw_os_error() as isize);
    let mut tries = RETRIES;
    loop {
        // SAFETY: the path is zero-terminated, the structure has the size given.
        let value = unsafe {
            arch::syscall(
                raw::__NR_openat2,
                [
                    folder.cast_unsigned() as usize,
                    path.as_ptr().expose_provenance(),
                    (&raw const how).expose_provenance(),
                    size_of_val(&how),
                    0,
                    0,
                ],
            )
        };
        tries -= 1;
        if value != AGAIN || tries == 0 {
            return result(value).map(|number| i32::try_from(number).unwrap_or(-1));
        }
    }
}

/// A directory outside of the root has no path in it: getcwd(2) then answers
/// with something that is not absolute.
#[cold]
#[inline(never)]
fn enter_and_look(path: &CStr) -> Result<(), Errno> {
    let mut buffer = [0_u8; 4096];
    // SAFETY: the path is zero-terminated.
    result(unsafe {
        arch::syscall(
            raw::__NR_chdir,
            [path.as_ptr().expose_provenance(), 0, 0, 0, 0, 0],
        )
    })?;
    working_directory(&mut buffer)?;
    if buffer.first() == Some(&b'/') {
        Ok(())
    } else {
        Err(Errno::LOOP)
    }
}

/// Writes the path of the working directory into `buffer`, with its terminator,
/// and returns the length of both. The path is not absolute where the directory
/// is outside of the root.
///
/// # Errors
/// As getcwd(2): ERANGE if the buffer is too small, ENOENT if it was removed.
pub fn working_directory(buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the kernel writes at most the buffer's length.
    result(unsafe {
        arch::syscall(
            raw::__NR_getcwd,
            [
                buffer.as_mut_ptr().expose_provenance(),
                buffer.len(),
                0,
                0,
                0,
                0,
            ],
        )
    })
}

/// Reads the file `path` from `offset` into `buffer`; returns how much there
/// was.
///
/// # Errors
/// As openat(2) and pread(2).
pub fn read_at(path: &CStr, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the path is zero-terminated.
    let file = result(unsafe {
        arch::syscall(
            raw::__NR_openat,
            [
                cwd(),
                path.as_ptr().expose_provenance(),
                (raw::O_RDONLY | raw::O_NONBLOCK | raw::O_CLOEXEC) as usize,
            ],
        )
    })?;
    let number = i32::try_from(file).map_err(|_| Errno::BADF)?;
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let count = descriptor::read_at(number, offset, buffer);
    let _ = descriptor::close(number);
    count
}
