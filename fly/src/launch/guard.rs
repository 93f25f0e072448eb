//! What a confined program may not be: this launcher itself.
//!
//! At the exec /proc/self/exe is still the launcher, a file of the host. A program
//! that is a link to it, or that names it as its interpreter, would run it in the
//! root, where somebody could open it, and write to it when nobody runs it any
//! more (CVE-2019-5736).

use core::ffi::CStr;

use rustix::io::Errno;

use crate::{sys::path, text::copy};

/// How many interpreters of interpreters the kernel runs (exec_binprm of
/// fs/exec.c).
const DEPTH: usize = 5;
/// Longer names of interpreters are refused.
const MAX_NAME: usize = 128;

/// Looks at `file` and its interpreters.
///
/// # Errors
/// ELOOP for a magic link on the way to one of them; ENOEXEC and ENAMETOOLONG for
/// what can't be looked at. What exec will refuse is no error here.
#[cold]
#[inline(never)]
pub(super) fn refuse_magic_links(file: &CStr) -> Result<(), Errno> {
    let mut name = [0; MAX_NAME];
    look(file, &mut name)?;
    for _ in 0..DEPTH {
        let current = name;
        let current = CStr::from_bytes_until_nul(&current).map_err(|_| Errno::NAMETOOLONG)?;
        if current.is_empty() {
            break;
        }
        look(current, &mut name)?;
    }
    Ok(())
}

/// Looks at one file; its interpreter's name goes to `name`, or an empty one.
fn look(file: &CStr, name: &mut [u8; MAX_NAME]) -> Result<(), Errno> {
    // Under a low limit of descriptors nothing could be looked at.
    if let Err(errno @ (Errno::LOOP | Errno::MFILE)) = path::walk_to(file) {
        return Err(errno);
    }
    *name = [0; MAX_NAME];
    let mut head = [0; 1024];
    // Exec says better what is wrong with a file that can't be read.
    let count = path::read_at(file, 0, &mut head).unwrap_or(0);
    let head = head.get(..count).unwrap_or_default();
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.trim_ascii_start();
        let end = line.iter().position(u8::is_ascii_whitespace);
        copy(
            name,
            line.get(..end.unwrap_or(line.len())).unwrap_or_default(),
        );
        return Ok(());
    }
    match loader(head)? {
        Some(at) => path::read_at(file, at, name).map(drop),
        None => Ok(()),
    }
}

/// The kind of entry that names the loader.
const PT_INTERP: usize = 3;

/// Where in an ELF file the name of its loader is (PT_INTERP, elf(5)): of both
/// classes, since 32-bit programs may run too.
fn loader(head: &[u8]) -> Result<Option<u64>, Errno> {
    let wide = match head {
        [0x7f, b'E', b'L', b'F', 1, ..] => false,
        [0x7f, b'E', b'L', b'F', ..] => true,
        _ => return Ok(None),
    };
    // A table that is not at the beginning hides something.
    entry(head, wide).ok_or(Errno::NOEXEC)
}

/// The offset of the loader's name; `None` if the table is beyond `head`.
fn entry(head: &[u8], wide: bool) -> Option<Option<u64>> {
    // Where the head has the table's place, the size of its entries and their
    // count, and where an entry has its offset.
    let [table, size, count, offset, bytes] = if wide {
        [32, 54, 56, 8, 8]
    } else {
        [28, 42, 44, 4, 4]
    };
    let mut at = number(head, table, bytes)?;
    for _ in 0..number(head, count, 2)? {
        if number(head, at, 4)? == PT_INTERP {
            return Some(Some(number(head, at.checked_add(offset)?, bytes)? as u64));
        }
        at = at.checked_add(number(head, size, 2)?)?;
    }
    Some(None)
}

/// A little-endian number of so many bytes.
#[inline(never)]
fn number(head: &[u8], at: usize, bytes: usize) -> Option<usize> {
    let bytes = head.get(at..at.checked_add(bytes)?)?;
    let shifted = |value: usize, byte: &u8| (value << 8) | usize::from(*byte);
    Some(bytes.iter().rev().fold(0, shifted))
}
