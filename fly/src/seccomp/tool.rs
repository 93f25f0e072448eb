//! Filters from files, and the program `fly-seccomp`, which compiles profiles:
//! few starts need it, so it is a program of its own.

use core::ffi::CStr;

use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{self, Access, MemfdFlags, Mode, OFlags},
    io::Errno,
    process::{self, Pid, WaitOptions},
};

use super::{MAX_BYTES, is_filter};
use crate::{
    error::{Advice, Error, What, Why},
    launch::path::Path,
    sys::{
        clone, descriptor,
        exec::{Pointers, execve},
    },
    text::{Digits, copy},
};

/// Becomes fly-seccomp with these arguments; returns only if it could not.
#[cold]
#[inline(never)]
pub fn run(
    arguments: &mut dyn Iterator<Item = &'static CStr>,
    environment: &mut dyn Iterator<Item = &'static CStr>,
    words: &'static mut [usize],
) -> Error<'static> {
    let mut arguments = core::iter::once(c"fly-seccomp").chain(arguments);
    missing(match find() {
        Ok(program) => execute(&program, &mut arguments, environment, words),
        Err(errno) => errno,
    })
}

/// Becomes `program`; returns only if it could not.
#[inline(never)]
fn execute<'a>(
    program: &Path,
    arguments: &mut dyn Iterator<Item = &'a CStr>,
    environment: &mut dyn Iterator<Item = &'a CStr>,
    words: &'a mut [usize],
) -> Errno {
    if let Some((arguments, rest)) = Pointers::write(words, arguments)
        && let Some((environment, _)) = Pointers::write(rest, environment)
    {
        return execve(program.as_c_str(), arguments, environment);
    }
    Errno::TOOBIG
}

/// Calls `take` with the filter of the file `path`: a filter, or a profile, which
/// is compiled, for a program with the capabilities `keep`, or with those that this
/// process can have.
///
/// # Errors
/// The file can't be read, or is neither.
#[cold]
#[inline(never)]
pub fn read<'a>(
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
        let output = compile(path, keep)?;
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
fn compile<'a>(path: &'a CStr, keep: Option<u64>) -> Result<OwnedFd, Error<'a>> {
    let program = find().map_err(missing)?;
    let output = fs::memfd_create(c"filter", MemfdFlags::CLOEXEC).map_err(missing)?;
    let mut number = [0; 24];
    let digits = Digits::new(keep.unwrap_or(0), 10);
    copy(&mut number, digits.as_bytes());
    let number = CStr::from_bytes_until_nul(&number).unwrap_or_default();
    let count = if keep.is_some() { 5 } else { 3 };
    let mut failure = None;
    let pid = clone::vfork_by_pid(|_| {
        let mut words = [0; 8];
        // Its errors begin with the name by which it was called.
        let mut arguments = [c"fly", c"compile", path, c"--cap", number]
            .into_iter()
            .take(count);
        failure = Some(match descriptor::duplicate_onto(output.as_fd(), 1) {
            Ok(()) => execute(
                &program,
                &mut arguments,
                &mut core::iter::empty(),
                &mut words,
            ),
            Err(errno) => errno,
        });
        1
    });
    let pid = pid.map_err(missing)?;
    // Its output tells how it ended.
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let _ = process::waitpid(pid, WaitOptions::empty());
    match failure {
        Some(errno) => Err(missing(errno)),
        None => Ok(output),
    }
}

/// Beside the running program, or in libexec of the same installation.
fn find() -> Result<Path, Errno> {
    const PLACES: [&[u8]; 2] = [b"/fly-seccomp", b"/../libexec/kickstage/fly-seccomp"];
    let mut path = Path::new();
    let length = fs::readlinkat_raw(fs::CWD, c"/proc/self/exe", path.buffer())?;
    path.cut(length);
    let folder = path.as_bytes().iter().rposition(|byte| *byte == b'/');
    for place in PLACES {
        path.cut(folder.unwrap_or(0));
        path.append(&[place])?;
        if fs::access(path.as_c_str(), Access::EXEC_OK).is_ok() {
            return Ok(path);
        }
    }
    Err(Errno::NOENT)
}

fn missing<'a>(errno: Errno) -> Error<'a> {
    Error::new(What::Start, c"fly-seccomp", errno).advice(Advice::InstallSeccomp)
}
