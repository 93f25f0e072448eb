//! What a confined program may not be: this launcher itself.
//!
//! At the exec /proc/self/exe is still the launcher, a file of the host. A program
//! that is a link to it, or that names it as its interpreter, would run it in the
//! root, where somebody could open it, and write to it when nobody runs it any
//! more (CVE-2019-5736).

use core::ffi::CStr;

use rustix::io::Errno;

use super::elf::{MAX_NAME, Name, interpreter};
use crate::sys::{memory::c_str, path};

/// How many interpreters of interpreters the kernel runs (exec_binprm of
/// fs/exec.c).
pub(super) const DEPTH: usize = 5;

/// Looks at `file` and its interpreters.
///
/// # Errors
/// ELOOP for a magic link on the way to one of them; ENOEXEC and ENAMETOOLONG for
/// what can't be looked at. What exec will refuse is no error here.
#[cold]
#[inline(never)]
pub(super) fn refuse_magic_links(file: &CStr) -> Result<(), Errno> {
    each(file, &mut |file| match path::walk_to(file) {
        // Under a low limit of descriptors nothing could be looked at.
        Err(errno @ (Errno::LOOP | Errno::MFILE)) => Err(errno),
        _ => Ok(()),
    })
}

/// Looks at `file` and its interpreters, one after the other.
///
/// # Errors
/// What `look` says; ENOEXEC and ENAMETOOLONG for what can't be looked at.
#[cold]
#[inline(never)]
pub(super) fn each(
    file: &CStr,
    look: &mut dyn FnMut(&CStr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut name = [0; MAX_NAME];
    let mut current: Name;
    let mut file = file;
    // The last one may be a program, and its loader is not counted.
    for _ in 0..=DEPTH + 1 {
        look(file)?;
        interpreter(file, &mut name)?;
        current = name;
        file = c_str(&current).ok_or(Errno::NAMETOOLONG)?;
        if file.is_empty() {
            break;
        }
    }
    Ok(())
}
