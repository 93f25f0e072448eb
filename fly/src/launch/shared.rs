//! A sealed copy of pid 1's program that pods share.
//!
//! One of its own takes its memory for as long as the pod runs. Where a process holds one
//! ([`hold`]), the start of a pod opens that, and its plan has a file of its own. The text of
//! a link says where the copy is, and of what program it is one. That process may have ended
//! by now and another one have its pid, so the text says as well what file the copy is:
//! nobody can make one with the same inode number and time.

use core::ffi::CStr;

use rustix::{
    fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd},
    fs::{self, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    Launcher,
    path::Path,
    seal::{self, SEALS},
};
use crate::{
    plan::{MAX_SLOTS, Slot},
    sys::{memory::c_str, time},
    text::{Digits, copy, split},
};

/// Where the plan is if it has a file of its own: no plan can name this one.
pub(super) const PLAN: Slot = Slot(MAX_SLOTS);

/// The name of the link, beside that of the empty mount namespace.
pub const NAME: &[u8] = b"stage1-init";

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// As long a program must not have changed before it is shared: until then it could change
/// without another time.
const SETTLED: u64 = 2 * SECOND;

/// Adds what a file is told by: its file system and number, its last change in nanoseconds,
/// and its size.
#[cold]
#[inline(never)]
fn tell(text: &mut Path, status: &Stat) -> Result<(), Errno> {
    let size = status.st_size.cast_unsigned();
    for number in [status.st_dev, status.st_ino, changed(status), size] {
        text.append(&[b" ", Digits::new(number, 10).as_bytes()])?;
    }
    Ok(())
}

fn changed(status: &Stat) -> u64 {
    let seconds = status.st_ctime.cast_unsigned().wrapping_mul(SECOND);
    seconds.wrapping_add(status.st_ctime_nsec)
}

/// Makes a copy of the program `source` that pods share as long as the descriptor is open
/// that is returned, and lets `link` say so. `text` is how links begin that lead to a
/// descriptor of this process, and becomes that of this one.
///
/// # Errors
/// As open(2), memfd_create(2), sendfile(2) and symlink(2); EAGAIN if the program has been
/// changed just now.
#[cold]
#[inline(never)]
pub fn hold(link: &CStr, source: &CStr, text: &mut Path) -> Result<RawFd, Errno> {
    let file = fs::open(source, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let status = fs::fstat(&file)?;
    let held = seal::executable_memory(c"stage1-init")?;
    seal::fill(&held, &file, status.st_size.cast_unsigned())?;
    fs::fcntl_add_seals(&held, SEALS)?;
    let (before, after) = (changed(&status), changed(&fs::fstat(&file)?));
    if before != after || time::realtime().saturating_sub(before) < SETTLED {
        return Err(Errno::AGAIN);
    }
    let number = Digits::new(u64::from(held.as_raw_fd().unsigned_abs()), 10);
    text.append(&[number.as_bytes()])?;
    tell(text, &status)?;
    tell(text, &fs::fstat(&held)?)?;
    fs::symlink(text.as_c_str(), link)?;
    Ok(held.into_raw_fd())
}

/// Opens the copy of the program `source` that `link` tells of.
fn find(link: &CStr, source: &CStr) -> Result<OwnedFd, Errno> {
    let mut text = [0; 256];
    let length = fs::readlinkat_raw(fs::CWD, link, &mut text)?;
    let text = text.get(..length).unwrap_or_default();
    let mut known = Path::of(&[split(text, b' ').next().unwrap_or_default()])?;
    // Whatever it may be by now: it neither keeps us waiting, nor becomes our terminal.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let held = fs::open(known.as_c_str(), flags, Mode::empty())?;
    tell(&mut known, &fs::stat(source)?)?;
    tell(&mut known, &fs::fstat(&held)?)?;
    if known.as_bytes() == text && fs::fcntl_get_seals(&held)?.contains(SEALS) {
        Ok(held)
    } else {
        Err(Errno::STALE)
    }
}

/// The path of the link, beside that of the empty mount namespace; `None` if it is too long
/// for that.
#[must_use]
#[cold]
#[inline(never)]
pub fn beside<'p>(empty: &CStr, place: &'p mut [u8; 256]) -> Option<&'p CStr> {
    let empty = empty.to_bytes();
    let slash = empty.iter().rposition(|byte| *byte == b'/')?;
    let folder = empty.get(..=slash)?;
    let (whole, [_, ..]) = place.split_at_mut_checked(folder.len() + NAME.len())? else {
        return None;
    };
    copy(whole, folder);
    copy(whole.get_mut(folder.len()..)?, NAME);
    c_str(place)
}

impl Launcher<'_, '_> {
    /// Puts the copy of the program `path` that is shared into the slot `into`, and the plan
    /// into one of its own; false if none is.
    pub(super) fn share(&mut self, into: Slot, path: &CStr) -> bool {
        let link = self.empty;
        self.find_empty();
        // Who holds the one holds the other.
        self.copied >= 0 && self.share_by(link, into, path).is_some()
    }

    #[cold]
    #[inline(never)]
    fn share_by(&mut self, empty: &CStr, into: Slot, path: &CStr) -> Option<()> {
        let found = find(beside(empty, &mut [0; 256])?, path).ok()?;
        let plan = seal::sealed_plan(|file| seal::write_apps(&self.plan, file)).ok()?;
        self.put(into, found);
        self.put(PLAN, plan);
        Some(())
    }
}
