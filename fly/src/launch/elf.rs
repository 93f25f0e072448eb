//! What a program's file says that it needs: its interpreter, and its machine
//! (elf(5), execve(2)). The file is an image's, and may be made to mislead: what is
//! read is bounded, and no number of it is trusted.

use core::ffi::CStr;

use rustix::io::Errno;

use crate::{packed::Packed, sys::path, text::numbered};

/// Longer names of interpreters are refused.
pub(super) const MAX_NAME: usize = 128;

/// A name in place, empty or zero-terminated.
pub(super) type Name = [u8; MAX_NAME];

const MAGIC: &[u8] = b"\x7fELF";

/// The kind of entry that names the loader.
const PT_INTERP: usize = 3;

/// The machine that this is built for: EM_X86_64 (linux/elf-em.h).
const MACHINE: usize = 62;

/// Machines by number (linux/elf-em.h), a line each for the number and the name.
const MACHINES: &[u8] = b"3\ni386\n8\nmips\n21\nppc64\n22\ns390\n40\narm\n62\nx86_64\n\
183\naarch64\n243\nriscv\n258\nloongarch";

/// The beginning of a file; what it does not have, or what can't be read, is 0: exec
/// says better what is wrong with that.
type Head = [u8; 1024];

#[inline(never)]
fn read(file: &CStr) -> Head {
    let mut head = [0; 1024];
    let _ = path::read_at(file, 0, &mut head);
    head
}

/// The interpreter that `file` names: after `#!`, or as an ELF program's loader
/// (PT_INTERP), of both classes, since 32-bit programs may run too. It goes to
/// `name`; an empty one if there is none.
///
/// # Errors
/// ENOEXEC for an ELF file whose table of entries is not in its first KiB.
#[inline(never)]
pub(super) fn interpreter(file: &CStr, name: &mut Name) -> Result<(), Errno> {
    *name = [0; MAX_NAME];
    let head = read(file);
    if let [b'#', b'!', rest @ ..] = &head {
        let mut used = 0;
        for byte in rest {
            match byte {
                // As fs/binfmt_script.c: only these end a name, a carriage return is
                // of it.
                b'\n' => break,
                b' ' | b'\t' | 0 if used != 0 => break,
                b' ' | b'\t' | 0 => {}
                _ => {
                    if let Some(place) = name.get_mut(used) {
                        *place = *byte;
                    }
                    used += 1;
                }
            }
        }
    } else if head.starts_with(MAGIC) {
        // A table that is not at the beginning hides something.
        if let Some(at) = loader(&head).ok_or(Errno::NOEXEC)? {
            path::read_at(file, at as u64, name)?;
        }
    }
    Ok(())
}

/// The offset of the loader's name; `None` if the table is beyond `head`.
#[inline]
fn loader(head: &Head) -> Option<Option<usize>> {
    // Where the head has the table's place, the size of its entries and their
    // count, and where an entry has its offset.
    let [table, size, count, offset] = if is_wide(head) {
        [32, 54, 56, 8]
    } else {
        [28, 42, 44, 4]
    };
    // The offset is behind one number of its own size, or of half of it.
    let bytes = offset;
    let mut at = number(head, table, bytes);
    for _ in 0..number(head, count, 2) {
        match number(head, at, 4) {
            BEYOND => return None,
            PT_INTERP => {
                let place = number(head, at.checked_add(offset)?, bytes);
                return (place != BEYOND).then_some(Some(place));
            }
            _ => at = at.checked_add(number(head, size, 2))?,
        }
    }
    Some(None)
}

/// Whether the file is of the class of 64 bits; the kernel takes for that what is not of
/// the other one.
fn is_wide(head: &Head) -> bool {
    head.get(4) != Some(&1)
}

/// A number that is not in the head; what is at that place isn't either.
const BEYOND: usize = usize::MAX;

/// A little-endian number of so many bytes, or [`BEYOND`].
#[inline(never)]
fn number(head: &Head, at: usize, bytes: usize) -> usize {
    let Some(bytes) = head.get(at..at.saturating_add(bytes)) else {
        return BEYOND;
    };
    let shifted = |value: usize, byte: &u8| (value << 8) | usize::from(*byte);
    bytes.iter().rev().fold(0, shifted)
}

/// The name of the machine that the ELF program `file` is for, if that is not this
/// one; `?` for one without a name here.
#[cold]
#[inline(never)]
pub(super) fn other_machine(file: &CStr) -> Option<&'static [u8]> {
    let mut head = read(file);
    if !head.starts_with(MAGIC) {
        return None;
    }
    // The byte order: ELFDATA2MSB is 2.
    if head.get(5) == Some(&2) {
        head.get_mut(18..20)?.reverse();
    }
    let machine = number(&head, 18, 2);
    // None at all is no other one. Of the class of 64 bits: x32 is another machine, too.
    if machine == 0 || (machine == MACHINE && is_wide(&head)) {
        return None;
    }
    match numbered(Packed(MACHINES), u16::try_from(machine).ok()?).0 {
        b"" => Some(b"?"),
        name => Some(name),
    }
}
