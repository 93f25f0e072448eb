//! Mount points that a start made in somebody's tree: unmade if it fails.

use core::ffi::CStr;

use rustix::{
    fd::{BorrowedFd, RawFd},
    fs::AtFlags,
    mount::UnmountFlags,
};

use crate::sys::descriptor;

/// The most mount points that one start makes.
const MAX: usize = 64;
/// The bytes for their names.
const NAMES: usize = 4096;

/// What was made, in order, each as a path without symbolic links below the
/// directory in its slot.
#[derive(Debug)]
pub struct Created {
    /// Paths below the root, zero-terminated, one after the other.
    names: [u8; NAMES],
    used: usize,
    entries: [Entry; MAX],
    count: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    from: usize,
    root: u8,
    is_file: bool,
}

impl Default for Created {
    fn default() -> Self {
        Self {
            names: [0; NAMES],
            used: 0,
            entries: [Entry::default(); MAX],
            count: 0,
        }
    }
}

impl Created {
    /// Notes that `path`, below the directory in slot `root`, was made; false
    /// if there is no room, and then it must not be kept.
    #[must_use]
    pub fn note(&mut self, root: u8, path: &[u8], is_file: bool) -> bool {
        let end = self.used + path.len();
        let (Some(place), Some(entry)) = (
            self.names.get_mut(self.used..=end),
            self.entries.get_mut(self.count),
        ) else {
            return false;
        };
        for (byte, from) in place.iter_mut().zip(path.iter().chain(&[0])) {
            *byte = *from;
        }
        *entry = Entry {
            from: self.used,
            root,
            is_file,
        };
        self.used = end + 1;
        self.count += 1;
        true
    }

    /// Removes what was made, last first. Only empty directories and empty
    /// files go: what somebody has put there meanwhile stays.
    pub fn unmake(&mut self, slots: &[RawFd]) {
        while let Some(last) = self.count.checked_sub(1) {
            self.count = last;
            let Some(entry) = self.entries.get(last) else {
                return;
            };
            let path = self
                .names
                .get(entry.from..)
                .and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok());
            let root = slots.get(usize::from(entry.root)).copied();
            if let (Some(path), Some(root)) = (path, root.and_then(descriptor::borrow)) {
                remove(root, path, entry.is_file);
            }
        }
    }
}

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
