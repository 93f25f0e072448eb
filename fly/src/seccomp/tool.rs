//! Filters from files, and their compiler, the program `fly-seccomp`: few starts
//! need it, so it is a program of its own.

use core::ffi::CStr;

use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{self, MemfdFlags, Mode, OFlags},
    io::Errno,
    process::{self, Pid, WaitOptions},
};

use super::{MAX_BYTES, is_filter};
use crate::{
    beside,
    command::NAME,
    error::{Advice, Error, FAILURE, FLY_TEXTS, What, Why},
    sys::{clone, descriptor},
    text::{Digits, copy},
};

/// The compiler.
pub const PROGRAM: &CStr = c"fly-seccomp";

/// Calls `take` with the filter of the file `path`: a filter, or a profile, which
/// is compiled, for a program with the capabilities `keep`, or with those that this
/// process can have. The compiler's errors begin with the name of the `caller`.
///
/// # Errors
/// The file can't be read, or is neither.
#[cold]
#[inline(never)]
pub fn read<'a>(
    caller: &'static CStr,
    path: &'a CStr,
    keep: Option<u64>,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), Error<'a>> {
    let failed = |errno| Error::new(What::ReadFilter, path, errno);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = fs::open(path, flags, Mode::empty()).map_err(failed)?;
    // One byte more: it tells a file that is too large.
    let mut bytes = [0; MAX_BYTES + 1];
    let mut filter = contents(&file, &mut bytes).map_err(failed)?;
    // An instruction's code is below 256, its second byte zero: no text has that.
    if !matches!(filter, [_, 0, ..] | []) {
        let output = compile(caller, path, keep)?;
        filter = contents(&output, &mut bytes).map_err(failed)?;
        if filter.is_empty() {
            return Err(Error::told());
        }
    }
    if !is_filter(filter) {
        return Err(Error::new(What::ReadFilter, path, Why::NoFilter).advice(Advice::SeeHelp));
    }
    take(filter);
    Ok(())
}

/// What of a file fits into `bytes`.
fn contents<'b>(file: &OwnedFd, bytes: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let mut used = 0;
    loop {
        let room = bytes.get_mut(used..).unwrap_or_default();
        match descriptor::read_at(file.as_raw_fd(), used, room)? {
            0 => return Ok(bytes.get(..used).unwrap_or_default()),
            count => used += count,
        }
    }
}

/// The output of `fly-seccomp compile PATH`; empty if it failed, and has said so.
fn compile<'a>(
    caller: &'static CStr,
    path: &'a CStr,
    keep: Option<u64>,
) -> Result<OwnedFd, Error<'a>> {
    let program = beside::find(PROGRAM)?;
    let output = fs::memfd_create(c"filter", MemfdFlags::CLOEXEC).map_err(missing)?;
    let mut number = [0; 24];
    let digits = Digits::new(keep.unwrap_or(0), 10);
    copy(&mut number, digits.as_bytes());
    let number = crate::sys::memory::c_str(&number).unwrap_or_default();
    let count = if keep.is_some() { 5 } else { 3 };
    let pid = clone::fork(0, || {
        let mut words = [0; 8];
        // Its errors begin with the name by which it was called.
        let mut arguments = [caller, c"compile", path, c"--cap", number]
            .into_iter()
            .take(count);
        let errno = match descriptor::duplicate_onto(output.as_fd(), 1) {
            Ok(()) => beside::execute(
                &program,
                &mut arguments,
                &mut core::iter::empty(),
                &mut words,
            ),
            Err(errno) => errno,
        };
        missing(errno).print(NAME, FLY_TEXTS);
        FAILURE
    });
    // Its output tells how it ended.
    let pid = Pid::from_raw(pid.map_err(missing)?);
    let _ = process::waitpid(pid, WaitOptions::empty());
    Ok(output)
}

fn missing<'a>(errno: Errno) -> Error<'a> {
    beside::missing(PROGRAM, errno)
}
