//! Mount points that a start made in somebody's tree: unmade if it fails.

use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsFd, BorrowedFd, RawFd},
    fs::{self, AtFlags, OFlags},
    io::Errno,
    mount::UnmountFlags,
};

use super::walk;
use crate::sys::{descriptor, memory::c_str};

/// What something is that was made: a directory; an empty file; a file with a content, or
/// a symbolic link.
pub const DIRECTORY: u8 = 0;
pub const MOUNT_POINT: u8 = 1;
pub const FILE: u8 = 2;

/// What was made, in order, in an arena of the caller's: each entry is its path
/// without symbolic links below the directory in its slot, with zero bytes before its last
/// component and at its end, the slot, what it is, and the path's length (two bytes).
#[derive(Debug)]
pub struct Created<'s> {
    arena: &'s mut [u8],
    used: usize,
}

/// The bytes of an entry behind its path.
const TAIL: usize = 5;

impl<'s> Created<'s> {
    /// Nothing yet.
    pub fn new(arena: &'s mut [u8]) -> Self {
        Self { arena, used: 0 }
    }

    /// Notes that `path`, below the directory in slot `root`, was made; false
    /// if there is no room, and then it must not be kept.
    #[must_use]
    #[inline(never)]
    pub fn note(&mut self, root: u8, path: &[u8], kind: u8) -> bool {
        let end = self.used + path.len() + TAIL;
        let Ok(length) = u16::try_from(path.len()) else {
            return false;
        };
        let Some(place) = self.arena.get_mut(self.used..end) else {
            return false;
        };
        let [low, high] = length.to_le_bytes();
        let tail = [0, root, kind, low, high];
        for (byte, from) in place.iter_mut().zip(path.iter().chain(&tail)) {
            *byte = *from;
        }
        if let Some(slash) = place
            .get_mut(..path.len())
            .and_then(|place| place.iter_mut().rfind(|byte| **byte == b'/'))
        {
            *slash = 0;
        }
        self.used = end;
        true
    }

    /// Removes what was made, last first.
    #[cold]
    #[inline(never)]
    pub fn unmake(&mut self, slots: &[RawFd]) {
        while let Some((from, root, kind)) = self.last() {
            let path = self.arena.get(from..self.used.saturating_sub(TAIL - 1));
            let root = slots.get(usize::from(root)).copied();
            if let (Some(path), Some(root)) = (path, root.and_then(descriptor::borrow)) {
                // What has gone since needs nothing.
                let _ = remove(root, path, kind);
            }
            self.used = from;
        }
    }

    /// Where the last entry begins, its slot, and what it is.
    fn last(&self) -> Option<(usize, u8, u8)> {
        let tail = self.used.checked_sub(TAIL)?;
        match self.arena.get(tail..self.used)? {
            [_, root, kind, low, high] => {
                let length = usize::from(u16::from_le_bytes([*low, *high]));
                Some((tail.checked_sub(length)?, *root, *kind))
            }
            _ => None,
        }
    }
}

/// Removes what is at `path`, a mount point only if it is still empty: what somebody has
/// put there meanwhile stays.
#[cold]
fn remove(root: BorrowedFd<'_>, path: &[u8], kind: u8) -> Result<(), Errno> {
    let mut name = c_str(path).unwrap_or_default();
    let (mut parent, opened);
    parent = root;
    if let Some(last) = path.get(name.count_bytes() + 1..).and_then(c_str) {
        // Who can write there may have put a link in the place of a directory since, which
        // would lead to files of the host.
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        opened = walk::open_by(root, name, flags, raw::RESOLVE_NO_SYMLINKS)?;
        (parent, name) = (opened.as_fd(), last);
    }
    // What we mounted on it is in the way, in this mount namespace of our own.
    // Unmounting goes by path, so from the directory.
    rustix::process::fchdir(parent)?;
    let _ = rustix::mount::unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    let mut flags = AtFlags::empty();
    if kind == DIRECTORY {
        flags = AtFlags::REMOVEDIR;
    } else if kind == MOUNT_POINT
        && fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_size != 0
    {
        return Ok(());
    }
    fs::unlinkat(parent, name, flags)
}
