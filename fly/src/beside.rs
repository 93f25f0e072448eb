//! Programs that are installed beside `fly`: what few starts need is none of its
//! size.

use core::ffi::CStr;

use rustix::{
    fs::{self, Access},
    io::Errno,
};

use crate::{
    error::{Advice, Error, What},
    launch::path::Path,
    sys::exec::{Pointers, execve},
};

/// Becomes the program `name` with these arguments, the first of which is its own
/// name; returns only if it could not.
#[cold]
#[inline(never)]
pub fn become_program(
    name: &'static CStr,
    arguments: &mut dyn Iterator<Item = &'static CStr>,
    environment: &mut dyn Iterator<Item = &'static CStr>,
    words: &'static mut [usize],
) -> Error<'static> {
    match find(name) {
        Ok(program) => missing(name, execute(&program, arguments, environment, words)),
        Err(error) => error,
    }
}

/// Becomes this program itself, with these words; returns only if it could not.
#[cold]
#[inline(never)]
pub fn execute_own(
    arguments: &mut dyn Iterator<Item = &CStr>,
    environment: &mut dyn Iterator<Item = &CStr>,
    words: &mut [usize],
) {
    if let Ok(own) = Path::of(&[b"/proc/self/exe"]) {
        // For no longer than the pointers live.
        let mut arguments = arguments.map(|word| -> &CStr { word });
        let mut environment = environment.map(|word| -> &CStr { word });
        if let Some((arguments, rest)) = Pointers::write(words, &mut arguments)
            && let Some((environment, _)) = Pointers::write(rest, &mut environment)
        {
            let _ = execve(own.as_c_str(), arguments, environment);
        }
    }
}

/// Becomes `program`; returns only if it could not.
#[inline(never)]
pub(crate) fn execute<'a>(
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

/// Beside the running program, or in libexec of the same installation.
#[inline(never)]
pub(crate) fn find<'a>(name: &'static CStr) -> Result<Path, Error<'a>> {
    const OWN: &CStr = c"/proc/self/exe";
    const PLACES: [&[u8]; 2] = [b"/", b"/../libexec/kickstage/"];
    let mut path = Path::new();
    let length = fs::readlinkat_raw(fs::CWD, OWN, path.buffer())
        .map_err(|errno| Error::new(What::Read, OWN, errno).advice(Advice::NeedsProc))?;
    path.cut(length);
    let folder = path.as_bytes().iter().rposition(|byte| *byte == b'/');
    for place in PLACES {
        path.cut(folder.unwrap_or(0));
        if path.append(&[place, name.to_bytes()]).is_ok()
            && fs::access(path.as_c_str(), Access::EXEC_OK).is_ok()
        {
            return Ok(path);
        }
    }
    Err(missing(name, Errno::NOENT))
}

pub(crate) fn missing<'a>(name: &'static CStr, errno: Errno) -> Error<'a> {
    Error::new(What::Start, name, errno).advice(Advice::InstallBeside)
}
