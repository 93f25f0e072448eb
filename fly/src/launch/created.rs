//! Mount points that a start made in somebody's tree: unmade if it fails.

use core::ffi::CStr;

use rustix::{
    fd::{BorrowedFd, RawFd},
    fs::AtFlags,
    mount::UnmountFlags,
};

use crate::sys::descriptor;

/// What was made, in order, in an arena of the caller's: each entry is its path
/// without symbolic links below the directory in its slot, a terminator, the
/// slot, whether it is a file, and the path's length (two bytes).
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
    pub fn note(&mut self, root: u8, path: &[u8], is_file: bool) -> bool {
        let end = self.used + path.len() + TAIL;
        let Ok(length) = u16::try_from(path.len()) else {
            return false;
        };
        let Some(place) = self.arena.get_mut(self.used..end) else {
            return false;
        };
        let [low, high] = length.to_le_bytes();
        let tail = [0, root, u8::from(is_file), low, high];
        for (byte, from) in place.iter_mut().zip(path.iter().chain(&tail)) {
            *byte = *from;
        }
        self.used = end;
        true
    }

    /// Removes what was made, last first. Only empty directories and empty
    /// files go: what somebody has put there meanwhile stays.
    #[cold]
    #[inline(never)]
    pub fn unmake(&mut self, slots: &[RawFd]) {
        while let Some((from, root, is_file)) = self.last() {
            let path = self.arena.get(from..).and_then(crate::sys::memory::c_str);
            let root = slots.get(usize::from(root)).copied();
            if let (Some(path), Some(root)) = (path, root.and_then(descriptor::borrow)) {
                remove(root, path, is_file);
            }
            self.used = from;
        }
    }

    /// Where the last entry begins, its slot, and whether it is a file.
    fn last(&self) -> Option<(usize, u8, bool)> {
        let tail = self.used.checked_sub(TAIL)?;
        match self.arena.get(tail..self.used)? {
            [_, root, is_file, low, high] => {
                let length = usize::from(u16::from_le_bytes([*low, *high]));
                Some((tail.checked_sub(length)?, *root, *is_file != 0))
            }
            _ => None,
        }
    }
}

#[cold]
fn remove(root: BorrowedFd<'_>, path: &CStr, is_file: bool) {
    let flags = if is_file {
        AtFlags::empty()
    } else {
        AtFlags::REMOVEDIR
    };
    // What we mounted on it is in the way, in this mount namespace of our own.
    // Unmounting goes by path, so from the root's directory.
    if rustix::process::fchdir(root).is_ok() {
        let _ = rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
    let _ = rustix::fs::unlinkat(root, path, flags);
}
