//! A sealed copy of pid 1's program that pods share.
//!
//! One of its own takes its memory for as long as the pod runs. Where a process holds one
//! ([`hold`]), the start of a pod opens that, and its plan has a file of its own. The text of
//! a link says where the copy is, and of what program it is one. That process may have ended
//! by now and another one have its pid, so the text says as well what file the copy is:
//! nobody can make one with the same inode number and time.
//!
//! A pod that may trace its pid 1 can open the copy, as any program. It can neither write to
//! it nor make it what is no program any more (F_SEAL_EXEC of memfd_create(2)); but while
//! somebody has it open for writing no exec of it begins. A start that fails with it is
//! tried again with a copy of its own.

use core::ffi::CStr;

use rustix::{
    fd::{AsRawFd, OwnedFd},
    fs::{self, Mode, OFlags, SealFlags, Stat},
};

use super::{
    Launcher,
    empty::open_held,
    path::Path,
    seal::{self, MAX_PROGRAM, SEALS},
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
fn tell(text: &mut Path, status: &Stat) -> Option<()> {
    let size = status.st_size.cast_unsigned();
    for number in [status.st_dev, status.st_ino, changed(status), size] {
        text.append(&[b" ", Digits::new(number, 10).as_bytes()])
            .ok()?;
    }
    Some(())
}

fn changed(status: &Stat) -> u64 {
    let seconds = status.st_ctime.cast_unsigned().wrapping_mul(SECOND);
    seconds.wrapping_add(status.st_ctime_nsec)
}

/// F_SEAL_EXEC (memfd_create(2), Linux 6.3).
const F_SEAL_EXEC: u32 = 0x20;

/// Also against changes of what may be executed.
const ALL_SEALS: SealFlags = SEALS.union(SealFlags::from_bits_retain(F_SEAL_EXEC));

/// Makes a copy of the program `source` that pods share as long as this process is there, and
/// lets `link` say so. `text` is how links begin that lead to a descriptor of this process,
/// and becomes that of this one. `None` if there is one already, if the program has been
/// changed just now or can't be read, or if the kernel does not let it.
#[cold]
#[inline(never)]
pub fn hold(link: &CStr, source: &CStr, text: &mut Path) -> Option<()> {
    if find(link, source).is_some() {
        return None;
    }
    let file = fs::open(source, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let status = fs::fstat(&file).ok()?;
    let (before, size) = (changed(&status), status.st_size.cast_unsigned());
    if time::realtime().saturating_sub(before) < SETTLED || size > MAX_PROGRAM {
        return None;
    }
    let held = seal::executable_memory(c"stage1-init").ok()?;
    // Who is no root can't open it for writing.
    fs::fchmod(&held, Mode::from_raw_mode(0o555)).ok()?;
    seal::fill(&held, &file, size).ok()?;
    fs::fcntl_add_seals(&held, ALL_SEALS).ok()?;
    if changed(&fs::fstat(&file).ok()?) != before {
        return None;
    }
    let number = Digits::new(u64::from(held.as_raw_fd().unsigned_abs()), 10);
    text.append(&[number.as_bytes()]).ok()?;
    tell(text, &status)?;
    tell(text, &fs::fstat(&held).ok()?)?;
    // Of one that was killed, or of another program.
    let _ = fs::unlink(link);
    fs::symlink(text.as_c_str(), link).ok()?;
    core::mem::forget(held);
    Some(())
}

/// Takes the link away if it leads to no copy.
#[cold]
pub fn collect(link: &CStr) {
    let mut text = [0; TEXT];
    let held = read(link, &mut text).and_then(|(path, _)| open_held(path.as_c_str()).ok());
    if !held.is_some_and(|held| is_sealed(&held)) {
        let _ = fs::unlink(link);
    }
}

/// As many bytes as the text of a link has at most.
const TEXT: usize = 256;

/// The text of the link, and the path that it begins with.
fn read<'t>(link: &CStr, text: &'t mut [u8; TEXT]) -> Option<(Path, &'t [u8])> {
    let length = fs::readlinkat_raw(fs::CWD, link, &mut *text).ok()?;
    let text = text.get(..length)?;
    let path = Path::of(&[split(text, b' ').next()?]).ok()?;
    Some((path, text))
}

fn is_sealed(held: &OwnedFd) -> bool {
    fs::fcntl_get_seals(held).is_ok_and(|seals| seals.contains(ALL_SEALS))
}

/// Opens the copy of the program `source` that `link` tells of.
#[cold]
#[inline(never)]
fn find(link: &CStr, source: &CStr) -> Option<OwnedFd> {
    let mut text = [0; TEXT];
    let (mut known, text) = read(link, &mut text)?;
    let held = open_held(known.as_c_str()).ok()?;
    tell(&mut known, &fs::stat(source).ok()?)?;
    tell(&mut known, &fs::fstat(&held).ok()?)?;
    (known.as_bytes() == text && is_sealed(&held)).then_some(held)
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
        // With one found the other is looked for: most starts find none.
        self.copied >= 0 && self.share_by(link, into, path).is_some()
    }

    #[cold]
    #[inline(never)]
    fn share_by(&mut self, empty: &CStr, into: Slot, path: &CStr) -> Option<()> {
        let found = find(beside(empty, &mut [0; 256])?, path)?;
        let plan = seal::sealed_plan(|file| seal::write_apps(&self.plan, file)).ok()?;
        self.put(into, found);
        self.put(PLAN, plan);
        Some(())
    }
}
