//! `--check`: what a program lacks, without starting it. Its libraries are looked
//! for as ld.so(8) does, without what ld.so.conf adds: that is in a cache of its
//! own format.

use core::ffi::CStr;

use rustix::{
    fs::{self, Access, AtFlags, FileType},
    io::Errno,
};

use super::{app, elf, explain, guard, path::Path};
use crate::{
    error::{Error, What, Why, keep},
    plan::List,
    sys::path,
    text::{holds, split},
};

/// Where ld.so looks last: of Debian and its kin, of Fedora, of musl.
const DIRECTORIES: &[u8] = b"/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu:/lib64:/usr/lib64:\
/lib:/usr/lib:/usr/local/lib";

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// How many entries of each table are read, and how many libraries looked for.
const MOST: u64 = 512;
const MOST_LIBRARIES: u64 = 64;

/// What exec would say of the program of `strings`, or that a library is missing,
/// or that nothing is.
#[cold]
#[inline(never)]
pub(super) fn check<'p>(arguments: u64, strings: List<'p>) -> Error<'p> {
    let directories = app::variable(arguments, strings, b"LD_LIBRARY_PATH=");
    let mut found = None;
    let error = app::find(arguments, strings, &mut |file| match look(
        file,
        directories.unwrap_or_default(),
    ) {
        Ok(why) => {
            found = Some(why);
            Errno::CANCELED
        }
        Err(errno) => errno,
    });
    found.map_or(error, |why| Error::new(What::Exec, strings.first(), why))
}

/// What the program at `file` lacks: [`Why::Complete`] if that is nothing. Where
/// libraries are looked for begins with `directories`, as in `LD_LIBRARY_PATH`.
///
/// # Errors
/// As execve(2).
#[cold]
pub fn look(file: &CStr, directories: &[u8]) -> Result<Why, Errno> {
    is_program(file, false)?;
    if explain::missing_interpreter(file).is_some() {
        return Err(Errno::NOENT);
    }
    let mut depth = 0;
    let mut is_complete = true;
    guard::each(file, &mut |file| {
        is_program(file, depth == guard::DEPTH)?;
        depth += 1;
        // The first one is told.
        is_complete = is_complete && missing(file, directories) != Some(true);
        Ok(())
    })?;
    Ok(if is_complete {
        Why::Complete
    } else {
        Why::Library
    })
}

/// Whether the kernel executes it, or has it run a script; `is_last` if that can't be one
/// more script.
fn is_program(file: &CStr, is_last: bool) -> Result<(), Errno> {
    if FileType::from_raw_mode(fs::stat(file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    fs::accessat(fs::CWD, file, Access::EXEC_OK, AtFlags::EACCESS)?;
    let mut magic = [0; 4];
    path::read_at(file, 0, &mut magic)?;
    match magic {
        [b'#', b'!', ..] if is_last => Err(Errno::LOOP),
        [b'#', b'!', ..] => {
            let mut name = [0; elf::MAX_NAME];
            elf::interpreter(file, &mut name)?;
            // `#!` and nothing.
            if name == [0; elf::MAX_NAME] {
                return Err(Errno::NOEXEC);
            }
            Ok(())
        }
        _ if magic == *b"\x7fELF" && elf::other_machine(file).is_none() => Ok(()),
        _ => Err(Errno::NOEXEC),
    }
}

/// Whether a library of `file` is missing, which is then kept for the text; `None`
/// if it needs none, or if that can't be read.
fn missing(file: &CStr, directories: &[u8]) -> Option<bool> {
    let dynamic = segment(file, PT_DYNAMIC, 0)?;
    let strings = segment(file, PT_LOAD, tagged(file, dynamic, DT_STRTAB, 0)?)?;
    let mut own = [0; 1024];
    let at = tagged(file, dynamic, DT_RUNPATH, 0).or_else(|| tagged(file, dynamic, DT_RPATH, 0));
    if let Some(at) = at {
        path::read_at(file, strings.checked_add(at)?, &mut own).ok()?;
    }
    let own = split(&own, 0).next()?;
    for index in 0..MOST_LIBRARIES {
        let at = tagged(file, dynamic, DT_NEEDED, index)?;
        let mut name = [0; elf::MAX_NAME];
        path::read_at(file, strings.checked_add(at)?, &mut name).ok()?;
        let name = split(&name, 0).next()?;
        if !is_there(file, &[own, directories, DIRECTORIES], name) {
            keep(name);
            return Some(true);
        }
    }
    None
}

#[inline(never)]
fn is_there(file: &CStr, lists: &[&[u8]], name: &[u8]) -> bool {
    for list in lists {
        for place in split(list, b':') {
            if is_in(file, place, name) {
                return true;
            }
        }
    }
    false
}

/// Whether there is a library `name` in `place`, or whether that can't be told.
fn is_in(file: &CStr, place: &[u8], name: &[u8]) -> bool {
    let file = file.to_bytes();
    let end = file.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let folder = file.get(..end).unwrap_or_default();
    let below = place
        .strip_prefix(b"$ORIGIN")
        .or_else(|| place.strip_prefix(b"${ORIGIN}"));
    let parts: [&[u8]; 4] = match below {
        _ if holds(name, b'/') => [name, b"", b"", b""],
        Some(below) => [folder, below, b"/", name],
        // $LIB and $PLATFORM are known to the loader alone.
        None if holds(place, b'$') => return true,
        None => [place, b"/", name, b""],
    };
    Path::of(&parts).is_ok_and(|path| explain::exists(path.as_c_str()))
}

/// Where in `file` the first entry of this kind has its content (elf(5)); of
/// those that are loaded, where `address` is.
#[inline(never)]
fn segment(file: &CStr, kind: u64, address: u64) -> Option<u64> {
    let (mut at, sizes) = (word(file, 32)?, word(file, 54)?);
    for _ in 0..((sizes >> 16) & 0xffff).min(MOST) {
        let offset = word(file, at.checked_add(8)?)?;
        let into = address.wrapping_sub(word(file, at.checked_add(16)?)?);
        // The type is the first half, the flags the other.
        if word(file, at)? & 0xffff_ffff == kind {
            if kind == PT_DYNAMIC {
                return Some(offset);
            }
            if into < word(file, at.checked_add(32)?)? {
                return offset.checked_add(into);
            }
        }
        at = at.checked_add(sizes & 0xffff)?;
    }
    None
}

/// The value of the `index`-th entry with this tag in the table at `at`.
#[inline(never)]
fn tagged(file: &CStr, mut at: u64, tag: u64, mut index: u64) -> Option<u64> {
    for _ in 0..MOST {
        match word(file, at)? {
            0 => return None,
            other if other != tag => {}
            _ if index == 0 => return word(file, at.checked_add(8)?),
            _ => index -= 1,
        }
        at = at.checked_add(16)?;
    }
    None
}

#[inline(never)]
fn word(file: &CStr, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    let count = path::read_at(file, at, &mut bytes).ok()?;
    (count == bytes.len()).then(|| u64::from_le_bytes(bytes))
}
