//! What a program's file says that it needs: its interpreter, and its machine
//! (elf(5), execve(2)). The file is an image's, and may be made to mislead: what is
//! read is bounded, and no number of it is trusted.

use core::ffi::CStr;

use rustix::io::Errno;

use crate::{
    sys::path,
    text::{copy, split},
};

/// Longer names of interpreters are refused.
pub(super) const MAX_NAME: usize = 128;

/// A name in place, empty or zero-terminated.
pub(super) type Name = [u8; MAX_NAME];

/// The kind of entry that names the loader.
const PT_INTERP: usize = 3;

/// The machine that this is built for: EM_X86_64 (linux/elf-em.h).
const MACHINE: usize = 62;

/// Machines by number (linux/elf-em.h), a line each.
const MACHINES: &[u8] =
    b"3 i386\n8 mips\n21 ppc64\n22 s390\n40 arm\n62 x86_64\n183 aarch64\n243 riscv\n258 loongarch";

/// The interpreter that `file` names: after `#!`, or as an ELF program's loader
/// (PT_INTERP), of both classes, since 32-bit programs may run too. It goes to
/// `name`; an empty one if there is none, or if the file can't be read: exec says
/// better what is wrong with that.
///
/// # Errors
/// ENOEXEC for an ELF file whose table of entries is not in its first KiB.
#[inline(never)]
pub(super) fn interpreter(file: &CStr, name: &mut Name) -> Result<(), Errno> {
    *name = [0; MAX_NAME];
    let mut head = [0; 1024];
    let count = path::read_at(file, 0, &mut head).unwrap_or(0);
    let head = head.get(..count).unwrap_or_default();
    if let Some(line) = head.strip_prefix(b"#!") {
        // As fs/binfmt_script.c: only these end a name, a carriage return is of it.
        let line = split(line, b'\n').next().unwrap_or_default();
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | 0));
        copy(
            name,
            words.find(|word| !word.is_empty()).unwrap_or_default(),
        );
        return Ok(());
    }
    match loader(head)? {
        Some(at) => path::read_at(file, at, name).map(drop),
        None => Ok(()),
    }
}

/// Where in an ELF file the name of its loader is.
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

/// The name of the machine that the ELF program `file` is for, if that is not this
/// one; `?` for one without a name here.
#[cold]
#[inline(never)]
pub(super) fn other_machine(file: &CStr) -> Option<&'static [u8]> {
    let mut head = [0; 20];
    if path::read_at(file, 0, &mut head) != Ok(head.len()) || !head.starts_with(b"\x7fELF") {
        return None;
    }
    // The byte order: ELFDATA2MSB is 2.
    if head.get(5) == Some(&2) {
        head.get_mut(18..)?.reverse();
    }
    let machine = number(&head, 18, 2)?;
    // Of the class of 64 bits: x32 is another machine, too.
    if machine == MACHINE && head.get(4) == Some(&2) {
        return None;
    }
    let name = split(MACHINES, b'\n').find_map(|line| {
        let mut words = split(line, b' ');
        let is_this = crate::text::decimal(words.next()?)? == machine as u64;
        is_this.then(|| words.rest())
    });
    Some(name.unwrap_or(b"?"))
}
