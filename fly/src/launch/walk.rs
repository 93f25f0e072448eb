//! Paths of the root are walked inside of it, whatever its symbolic links say.

use core::ffi::CStr;

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use super::path::Path;
use crate::plan::MAX_PATH;

/// openat2's EAGAIN (a rename or a mount raced with the walk) is retried this
/// often, then refused.
const RETRIES: u32 = 128;
/// As many symbolic links as the kernel follows (path_resolution(7)).
const MAX_LINKS: u32 = 40;

const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// What to do where a component is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// ENOENT.
    Refuse,
    /// Make directories.
    Directory,
    /// Make directories, and an empty file at the end.
    File,
}

/// Opens `path` inside `root`: `..`, absolute paths and symbolic links stay
/// below it, magic links of a procfs are refused (openat2(2), Linux 5.6).
///
/// # Errors
/// As openat2(2); ENOSYS and EPERM where it is missing or refused.
pub fn open(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RETRIES {
        match fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

/// The same without openat2, and able to make what is missing: component by
/// component, never through a link, with links read and put in their place.
/// `made` is told what was made: its path below `root`, and whether it is a
/// file; if it answers false, the walk ends with ENOSPC.
///
/// # Errors
/// As openat(2) and mkdir(2); ELOOP, ENAMETOOLONG.
#[cold]
#[inline(never)]
pub fn step_by_step(
    root: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
    missing: Missing,
    made: &mut dyn FnMut(&[u8], bool) -> bool,
) -> Result<OwnedFd, Errno> {
    let mut walk = Walk {
        root,
        at: open_root(root)?,
        flags,
        missing,
        made,
        done: Path::new(),
        rest: Path::of(&[path.to_bytes()])?,
        links: 0,
    };
    let mut name = Path::new();
    while walk.rest.take_first(&mut name) {
        match name.as_bytes() {
            b"." => {}
            b".." => walk.up()?,
            _ => walk.down(name.as_c_str())?,
        }
    }
    Ok(walk.at)
}

struct Walk<'r, 'm> {
    root: BorrowedFd<'r>,
    /// Where the walk is.
    at: OwnedFd,
    /// How the last component is opened.
    flags: OFlags,
    missing: Missing,
    made: &'m mut dyn FnMut(&[u8], bool) -> bool,
    /// The components that led to where the walk is, without links, each behind
    /// a slash.
    done: Path,
    /// What is left to walk.
    rest: Path,
    links: u32,
}

impl Walk<'_, '_> {
    /// `..` by forgetting the last component and walking from the root again:
    /// the parent of a directory that was moved meanwhile is never asked for.
    fn up(&mut self) -> Result<(), Errno> {
        let done = self.done.as_bytes();
        let parent = done.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let done = done.get(..parent).unwrap_or_default();
        self.rest.prepend(done)?;
        self.restart()
    }

    /// Goes on from the root.
    #[inline(never)]
    fn restart(&mut self) -> Result<(), Errno> {
        self.done.cut(0);
        self.at = open_root(self.root)?;
        Ok(())
    }

    #[inline(never)]
    fn down(&mut self, name: &CStr) -> Result<(), Errno> {
        let before = self.done.as_bytes().len();
        self.done.append(&[b"/", name.to_bytes()])?;
        let is_last = self.rest.as_bytes().iter().all(|byte| *byte == b'/');
        let next = match open_at(self.at.as_fd(), name, LOOK) {
            Err(Errno::NOENT) if self.missing != Missing::Refuse => self.make(name, is_last)?,
            done => done?,
        };
        if FileType::from_raw_mode(fs::fstat(&next)?.st_mode) == FileType::Symlink {
            self.done.cut(before);
            return self.follow(next.as_fd());
        }
        // A descriptor made with O_PATH can't be read. A link that has taken the
        // name's place meanwhile is refused.
        self.at = if is_last && !self.flags.contains(OFlags::PATH) {
            open_at(self.at.as_fd(), name, self.flags)?
        } else {
            next
        };
        Ok(())
    }

    fn follow(&mut self, link: BorrowedFd<'_>) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let mut target = Path::new();
        let length = fs::readlinkat_raw(link, c"", target.buffer())?;
        if length >= MAX_PATH {
            return Err(Errno::NAMETOOLONG);
        }
        target.cut(length);
        let target = target.as_bytes();
        self.rest.prepend(target)?;
        if target.starts_with(b"/") {
            self.restart()?;
        }
        Ok(())
    }

    /// Makes `name`, and opens it to look at it.
    fn make(&mut self, name: &CStr, is_last: bool) -> Result<OwnedFd, Errno> {
        let is_file = is_last && self.missing == Missing::File;
        if is_file {
            let mode = Mode::from_raw_mode(0o644);
            fs::mknodat(&self.at, name, FileType::RegularFile, mode, 0)?;
        } else {
            fs::mkdirat(&self.at, name, Mode::from_raw_mode(0o755))?;
        }
        // Without the slash before the first component.
        let path = self.done.as_bytes().get(1..).unwrap_or_default();
        if !(self.made)(path, is_file) {
            let flags = if is_file {
                fs::AtFlags::empty()
            } else {
                fs::AtFlags::REMOVEDIR
            };
            let _ = fs::unlinkat(&self.at, name, flags);
            return Err(Errno::NOSPC);
        }
        open_at(self.at.as_fd(), name, LOOK)
    }
}

fn open_root(root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    open_at(root, c".", LOOK | OFlags::DIRECTORY)
}

/// Never through a link.
#[inline(never)]
fn open_at(directory: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(directory, name, flags, Mode::empty())
}
