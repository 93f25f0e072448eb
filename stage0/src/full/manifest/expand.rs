//! `--pod-manifest FILE` on a command line: it becomes the words that the manifest
//! stands for.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    sys::{descriptor, entry::Start},
    text::Line,
};
use rustix::{
    fd::{AsRawFd, IntoRawFd},
    fs::{self, MemfdFlags, Mode, OFlags},
    io::Errno,
};

use super::{Arena, Beside, Filter, MAX_BYTES, Problem, Words, words};
use crate::{
    NAME,
    options::{Choice, Choices, Insecure, Limit},
};

/// Room for the words: a plan has no room for more.
const WORDS: usize = fly::plan::MAX_BYTES;
/// The file, and a byte that tells one that is too large.
const FILE: usize = MAX_BYTES + 1;

/// Scratch memory that this takes of [`Start::bytes`].
pub const ROOM: usize = WORDS + FILE;

/// The words behind the command: those that were given, unless they name a manifest.
///
/// # Errors
/// An option that is the manifest's; a file that can't be read. What is wrong with the
/// manifest has been told.
#[cold]
#[inline(never)]
pub fn expand(given: Words<'static>, start: &mut Start) -> Result<Words<'static>, Error<'static>> {
    let Some((path, beside)) = named(given.clone())? else {
        return Ok(given);
    };
    let bytes = core::mem::take(&mut start.bytes);
    let (room, rest) = bytes.split_at_mut_checked(ROOM).unwrap_or_default();
    start.bytes = rest;
    let (room, file) = room.split_at_mut_checked(WORDS).unwrap_or_default();
    let json = read(path, file).map_err(|errno| Error::new(What::ReadManifest, path, errno))?;
    let mut arena = Arena::new(room);
    let mut keep = |arena: &mut Arena<'_>| keep(given.clone(), arena);
    let done = words(json, &mut arena, beside, &mut keep, &mut |filter| {
        store(filter).ok()
    });
    if let Err(problem) = done {
        tell(path, &problem);
        return Err(Error::told());
    }
    let too_large = Error::new(What::ReadManifest, path, Why::TooManyStrings);
    arena.words().ok_or(too_large)
}

/// The manifest that the options name, and what they say about the same as it. Of what only
/// it can say they say nothing.
fn named(given: Words<'static>) -> Result<Option<(&'static CStr, Beside)>, Error<'static>> {
    let mut choices = Choices::new(given.clone());
    let mut path = None;
    while let Some(choice) = choices.take()? {
        match choice {
            // The rest does not matter.
            Choice::Help => return Ok(None),
            Choice::PodManifest(file) => path = Some(file),
            _ => {}
        }
    }
    let Some(path) = path else {
        return Ok(None);
    };
    if choices.operands().next().is_some() {
        let error = Error::new(What::Read, c"the command line", Why::ProgramsOfManifest);
        return Err(error.advice(Advice::SeeHelp));
    }
    let mut choices = Choices::new(given);
    let mut beside = Beside::default();
    loop {
        let word = choices.words().next().unwrap_or_default();
        let Some(choice) = choices.take()? else {
            return Ok(Some((path, beside)));
        };
        beside.read_only_root |= matches!(choice, Choice::ReadOnlyRoot(_));
        // Of what stands in for a filter of devices, and of what comes without it.
        beside.device_nodes |= match choice {
            Choice::PodLimit(Limit::Devices, ..) | Choice::Output(_) => true,
            Choice::Insecure(parts) => parts.has(Insecure::CAPABILITIES),
            _ => false,
        };
        let is_of_all = matches!(choice, Choice::Ephemeral(_) | Choice::ReadOnlyRoot(_));
        let is_of_manifest = match choice {
            Choice::Rootfs(_) | Choice::Volume(_) => true,
            choice => choice.is_of_a_program() || choice.is_of_a_root(),
        };
        if is_of_manifest && !is_of_all {
            return Err(Error::new(What::ReadOption, word, Why::NotWithManifest));
        }
    }
}

/// The options that were given, behind those of the manifest: of two the last one counts.
fn keep(given: Words<'static>, arena: &mut Arena<'_>) {
    let mut choices = Choices::new(given);
    loop {
        let mut words = choices.words();
        let Ok(Some(choice)) = choices.take() else {
            return;
        };
        if matches!(choice, Choice::PodManifest(_)) {
            continue;
        }
        let count = length(&words).saturating_sub(length(&choices.words()));
        for word in words.by_ref().take(count) {
            arena.word(word.to_bytes());
        }
    }
}

/// How many words there are.
fn length(words: &Words<'_>) -> usize {
    match words {
        Words::Given(words) => words.rest().len(),
        Words::Made(_) => 0,
    }
}

/// What of the file fits.
fn read<'b>(path: &CStr, room: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = fs::open(path, flags, Mode::empty())?;
    let mut used = 0;
    loop {
        let free = room.get_mut(used..).unwrap_or_default();
        if free.is_empty() {
            break;
        }
        match descriptor::read(file.as_raw_fd(), free) {
            Ok(0) => break,
            Ok(count) => used += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(room.get(..used).unwrap_or_default())
}

/// Writes a profile into a memory file, which fly-seccomp inherits, and the pod does not.
fn store(filter: &Filter<'_>) -> Result<u64, Errno> {
    let file = fs::memfd_create(c"filter", MemfdFlags::empty())?;
    let mut line = Line::new(file.as_raw_fd());
    filter.write(&mut |bytes| _ = line.bytes(bytes));
    line.flush();
    u64::try_from(file.into_raw_fd()).map_err(|_| Errno::BADF)
}

/// One line: the path of the value, what is wrong with it, and at which byte.
fn tell(path: &CStr, problem: &Problem<'_>) {
    let mut line = Line::new(2);
    line.text(NAME).text(": read manifest ");
    line.quoted(path.to_bytes()).text(": ");
    if !problem.path.is_empty() {
        problem.path.add_to(&mut line);
        line.text(": ");
    }
    line.text(problem.text).text(" (at byte ");
    line.number(problem.at as u64).text(")").end();
}
