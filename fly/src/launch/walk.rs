//! Paths of the root are walked inside of it, whatever its symbolic links say.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::path::Path;
use crate::{
    plan::MAX_PATH,
    sys::{self, descriptor},
    text::holds,
};

/// As many symbolic links as the kernel follows (path_resolution(7)).
const MAX_LINKS: u32 = 40;

const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// What to do where a component is missing.
#[derive(Clone, Copy, Debug)]
pub enum Missing<'m> {
    /// ENOENT.
    Refuse,
    /// Make directories, the last one with this mode.
    Directory(Mode),
    /// Make directories, and an empty file at the end.
    File,
    /// Make directories, and at the end a file with this mode, which is opened
    /// for writing: EEXIST if something is there.
    NewFile(Mode),
    /// Make directories, and at the end a symbolic link to this target, where the
    /// walk ends: EEXIST if something else is there.
    Link(&'m CStr),
}

/// The mode of directories that are made on the way.
pub const PARENT: Mode = Mode::from_raw_mode(0o755);

/// Opens `path` inside `root`: `..`, absolute paths and symbolic links stay
/// below it, magic links of a procfs are refused (openat2(2), Linux 5.6).
///
/// # Errors
/// As openat2(2); ENOSYS and EPERM where it is missing or refused.
pub fn open(root: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    open_by(
        root,
        path,
        flags,
        raw::RESOLVE_IN_ROOT | raw::RESOLVE_NO_MAGICLINKS,
    )
}

/// Opens `path` below `root` as `resolve` says.
///
/// # Errors
/// As of [`open`].
pub fn open_by(
    root: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
    resolve: u32,
) -> Result<OwnedFd, Errno> {
    let number = sys::path::open_by(root.as_raw_fd(), path, flags.bits(), (0, resolve))?;
    descriptor::own(number).ok_or(Errno::BADF)
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
    missing: Missing<'_>,
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
    missing: Missing<'m>,
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

    #[cold]
    #[inline(never)]
    fn down(&mut self, name: &CStr) -> Result<(), Errno> {
        let before = self.done.as_bytes().len();
        let is_last = self.rest.as_bytes().iter().all(|byte| *byte == b'/');
        let found = open_at(self.at.as_fd(), name, LOOK);
        let is_made =
            matches!(found, Err(Errno::NOENT)) && !matches!(self.missing, Missing::Refuse);
        if is_made {
            self.refuse_host_devices()?;
        }
        self.done.append(&[b"/", name.to_bytes()])?;
        let next = match self.missing {
            Missing::NewFile(mode) if is_last => return self.make_file(name, mode),
            Missing::Link(target) if is_last => return self.make_link(name, target),
            _ if is_made => self.make(name, is_last)?,
            _ => found?,
        };
        if file_type(&next)? == FileType::Symlink {
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
        if is_magic(link, target)? {
            return Err(Errno::LOOP);
        }
        self.rest.prepend(target)?;
        if target.starts_with(b"/") {
            self.restart()?;
        }
        Ok(())
    }

    /// Makes `name`, and opens it to look at it.
    fn make(&mut self, name: &CStr, is_last: bool) -> Result<OwnedFd, Errno> {
        let is_file = is_last && matches!(self.missing, Missing::File);
        if is_file {
            let mode = Mode::from_raw_mode(0o644);
            fs::mknodat(&self.at, name, FileType::RegularFile, mode, 0)?;
        } else {
            let mode = match self.missing {
                Missing::Directory(mode) if is_last => mode,
                _ => PARENT,
            };
            fs::mkdirat(&self.at, name, mode)?;
        }
        self.note(name, is_file)?;
        open_at(self.at.as_fd(), name, LOOK)
    }

    /// Makes the file at the end.
    fn make_file(&mut self, name: &CStr, mode: Mode) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.at, name, flags, mode)?;
        self.note(name, true)?;
        self.at = file;
        Ok(())
    }

    /// Makes the link at the end.
    fn make_link(&mut self, name: &CStr, target: &CStr) -> Result<(), Errno> {
        match fs::symlinkat(target, &self.at, name) {
            Err(Errno::EXIST) if self.is_link(name, target) => Ok(()),
            done => done.and_then(|()| self.note(name, true)),
        }
    }

    /// Whether `name` is a link to `target` already.
    fn is_link(&self, name: &CStr, target: &CStr) -> bool {
        let mut found = Path::new();
        let length = fs::readlinkat_raw(&self.at, name, found.buffer());
        length.is_ok_and(|length| found.buffer().get(..length) == Some(target.to_bytes()))
    }

    /// The host's /dev is seen in many a root, and is the host's own, with what is mounted
    /// below it, as /dev/shm: EXDEV. A host whose /dev is a part of another file system has
    /// none to be told apart.
    fn refuse_host_devices(&self) -> Result<(), Errno> {
        let here = device(self.at.as_fd(), c"");
        let done = self.done.as_c_str();
        let is_below = done.to_bytes().starts_with(b"/dev/");
        let host = if is_below { done } else { c"/dev" };
        if device(self.root, host) == here
            && device(self.root, c"/") != here
            && device(self.root, c"") != here
        {
            return Err(Errno::XDEV);
        }
        Ok(())
    }

    /// Tells of what was made; unmakes it if that is not kept.
    fn note(&mut self, name: &CStr, is_file: bool) -> Result<(), Errno> {
        // Without the slash before the first component.
        let path = self.done.as_bytes().get(1..).unwrap_or_default();
        if !(self.made)(path, is_file) {
            let flags = if is_file {
                AtFlags::empty()
            } else {
                AtFlags::REMOVEDIR
            };
            let _ = fs::unlinkat(&self.at, name, flags);
            return Err(Errno::NOSPC);
        }
        Ok(())
    }
}

/// Whether a link is a magic one of a procfs (proc(5)), which leads to what it
/// does not say. What these say is an absolute path or `kind:[number]`; the
/// others of a procfs hold relative paths.
fn is_magic(link: BorrowedFd<'_>, target: &[u8]) -> Result<bool, Errno> {
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    let plain = target.first().is_some_and(u8::is_ascii_alphanumeric) && !holds(target, b':');
    Ok(!plain && fs::fstatfs(link)?.f_type == PROC_SUPER_MAGIC)
}

/// Of what `path` is, or of `at` if it is empty; nothing is below device 0.
#[inline(never)]
fn device(at: BorrowedFd<'_>, path: &CStr) -> u64 {
    fs::statat(at, path, AtFlags::EMPTY_PATH).map_or(0, |status| status.st_dev)
}

/// What the file is.
///
/// # Errors
/// As fstat(2).
#[inline(never)]
pub fn file_type(file: &OwnedFd) -> Result<FileType, Errno> {
    let status = fs::fstat(file)?;
    Ok(FileType::from_raw_mode(status.st_mode))
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
