//! Paths of the root are walked inside of it, whatever its symbolic links say.

use core::ffi::CStr;

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

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
#[inline(never)]
pub fn step_by_step(
    root: BorrowedFd<'_>,
    path: &CStr,
    missing: Missing,
    made: &mut dyn FnMut(&[u8], bool) -> bool,
) -> Result<OwnedFd, Errno> {
    let mut walk = Walk {
        root,
        at: fs::openat(root, c".", LOOK | OFlags::DIRECTORY, Mode::empty())?,
        done: Path::new(),
        rest: Path::new(),
        links: 0,
    };
    walk.rest.set(path.to_bytes(), b"")?;
    loop {
        let mut name = Path::new();
        if !walk.rest.take_first(&mut name)? {
            return Ok(walk.at);
        }
        match name.as_bytes() {
            b"." => {}
            b".." => walk.up()?,
            _ => walk.down(&name, missing, made)?,
        }
    }
}

struct Walk<'r> {
    root: BorrowedFd<'r>,
    /// Where the walk is.
    at: OwnedFd,
    /// The components that led there, without links.
    done: Path,
    /// What is left to walk.
    rest: Path,
    links: u32,
}

impl Walk<'_> {
    /// `..` by forgetting the last component and walking from the root again:
    /// the parent of a directory that was moved meanwhile is never asked for.
    fn up(&mut self) -> Result<(), Errno> {
        self.done.drop_last();
        self.at = fs::openat(self.root, c".", LOOK | OFlags::DIRECTORY, Mode::empty())?;
        let mut again = Path::new();
        again.set(self.done.as_bytes(), b"")?;
        let mut name = Path::new();
        while again.take_first(&mut name)? {
            self.at = fs::openat(
                &self.at,
                name.as_c_str()?,
                LOOK | OFlags::DIRECTORY | OFlags::NOFOLLOW,
                Mode::empty(),
            )?;
        }
        Ok(())
    }

    fn down(
        &mut self,
        name: &Path,
        missing: Missing,
        made: &mut dyn FnMut(&[u8], bool) -> bool,
    ) -> Result<(), Errno> {
        let text = name.as_c_str()?;
        let next = match fs::openat(&self.at, text, LOOK | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOENT) if missing != Missing::Refuse => {
                return self.make(name, missing, made);
            }
            done => done?,
        };
        if FileType::from_raw_mode(fs::fstat(&next)?.st_mode) == FileType::Symlink {
            return self.follow(next.as_fd());
        }
        self.done.push(name.as_bytes())?;
        self.at = next;
        Ok(())
    }

    fn follow(&mut self, link: BorrowedFd<'_>) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let mut target = Path::new();
        target.used = fs::readlinkat_raw(link, c"", &mut target.bytes)?;
        if target.used >= MAX_PATH {
            return Err(Errno::NAMETOOLONG);
        }
        if target.as_bytes().starts_with(b"/") {
            self.done = Path::new();
            self.at = fs::openat(self.root, c".", LOOK | OFlags::DIRECTORY, Mode::empty())?;
        }
        let mut rest = Path::new();
        rest.set(target.as_bytes(), self.rest.as_bytes())?;
        self.rest = rest;
        Ok(())
    }

    fn make(
        &mut self,
        name: &Path,
        missing: Missing,
        made: &mut dyn FnMut(&[u8], bool) -> bool,
    ) -> Result<(), Errno> {
        let text = name.as_c_str()?;
        let is_file = missing == Missing::File && self.rest.is_at_end();
        self.done.push(name.as_bytes())?;
        let flags = if is_file {
            fs::openat(
                &self.at,
                text,
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o644),
            )?;
            LOOK | OFlags::NOFOLLOW
        } else {
            fs::mkdirat(&self.at, text, Mode::from_raw_mode(0o755))?;
            LOOK | OFlags::NOFOLLOW | OFlags::DIRECTORY
        };
        if !made(self.done.as_bytes(), is_file) {
            let _ = fs::unlinkat(
                &self.at,
                text,
                if is_file {
                    fs::AtFlags::empty()
                } else {
                    fs::AtFlags::REMOVEDIR
                },
            );
            return Err(Errno::NOSPC);
        }
        self.at = fs::openat(&self.at, text, flags, Mode::empty())?;
        Ok(())
    }
}

/// A path in a fixed buffer, always with room for its terminator.
struct Path {
    bytes: [u8; MAX_PATH],
    used: usize,
}

impl Path {
    fn new() -> Self {
        Self {
            bytes: [0; MAX_PATH],
            used: 0,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    fn as_c_str(&self) -> Result<&CStr, Errno> {
        CStr::from_bytes_until_nul(&self.bytes).map_err(|_| Errno::NAMETOOLONG)
    }

    /// `first`, a slash, and `then`.
    fn set(&mut self, first: &[u8], then: &[u8]) -> Result<(), Errno> {
        self.used = 0;
        self.append(first)?;
        if !then.is_empty() {
            self.append(b"/")?;
            self.append(then)?;
        }
        Ok(())
    }

    fn push(&mut self, name: &[u8]) -> Result<(), Errno> {
        if self.used > 0 {
            self.append(b"/")?;
        }
        self.append(name)
    }

    fn append(&mut self, more: &[u8]) -> Result<(), Errno> {
        let end = self.used + more.len();
        if end >= MAX_PATH {
            return Err(Errno::NAMETOOLONG);
        }
        if let Some(place) = self.bytes.get_mut(self.used..end) {
            place.copy_from_slice(more);
        }
        if let Some(terminator) = self.bytes.get_mut(end) {
            *terminator = 0;
        }
        self.used = end;
        Ok(())
    }

    fn drop_last(&mut self) {
        let cut = self.as_bytes().iter().rposition(|byte| *byte == b'/');
        self.used = cut.unwrap_or(0);
        if let Some(terminator) = self.bytes.get_mut(self.used) {
            *terminator = 0;
        }
    }

    fn is_at_end(&self) -> bool {
        self.as_bytes().iter().all(|byte| *byte == b'/')
    }

    /// Moves the first component to `name`; false if there is none.
    fn take_first(&mut self, name: &mut Self) -> Result<bool, Errno> {
        let bytes = self.as_bytes();
        let Some(from) = bytes.iter().position(|byte| *byte != b'/') else {
            return Ok(false);
        };
        let rest = bytes.get(from..).unwrap_or_default();
        let length = rest
            .iter()
            .position(|byte| *byte == b'/')
            .unwrap_or(rest.len());
        name.set(rest.get(..length).unwrap_or_default(), b"")?;
        let end = self.used;
        self.bytes.copy_within(from + length..end, 0);
        self.used = end - from - length;
        if let Some(terminator) = self.bytes.get_mut(self.used) {
            *terminator = 0;
        }
        Ok(true)
    }
}

/// [`step_by_step`], then opened with `flags`.
///
/// # Errors
/// As [`step_by_step`] and openat(2).
#[cold]
#[inline(never)]
pub fn step_by_step_open(
    root: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let parent_and_name = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'/');
    let bytes = path.to_bytes();
    let place = step_by_step(root, path, Missing::Refuse, &mut |_, _| false)?;
    if flags.contains(OFlags::PATH) {
        return Ok(place);
    }
    // A descriptor made with O_PATH can't be read: the last component is opened
    // again from its directory, and must still be the same file.
    let (folder, name) = match parent_and_name(bytes) {
        Some(slash) => bytes.split_at_checked(slash + 1).unwrap_or((b"", bytes)),
        None => (&b""[..], bytes),
    };
    let mut text = Path::new();
    text.set(folder, b"")?;
    let folder = step_by_step(root, text.as_c_str()?, Missing::Refuse, &mut |_, _| false)?;
    let mut last = Path::new();
    last.set(name, b"")?;
    let opened = fs::openat(
        &folder,
        last.as_c_str()?,
        flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let (one, other) = (fs::fstat(&place)?, fs::fstat(&opened)?);
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) {
        Ok(opened)
    } else {
        Err(Errno::LOOP)
    }
}
