//! What options make in the root besides mounts, and paths of the host while
//! something is mounted over its root. Nothing here runs on a plain start.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{self, FileType, Mode, OFlags},
    io::Errno,
    process,
};

use super::{
    Launcher,
    created::{DIRECTORY, FILE},
    explain, files,
    path::Path,
    remount::Pending,
    walk::{self, Missing},
};
use crate::{
    error::{Advice, Error, What, Why},
    plan::{List, Slot},
    sys::{self, descriptor},
    text::{decimal, split},
};

/// Bytes that are copied at a time.
const BLOCK: usize = 16 << 10;

impl<'p> Launcher<'p, '_> {
    /// Closes the inherited descriptors in the gaps between those of `keep`.
    pub(super) fn close_others(&mut self, keep: List<'p>) -> Result<(), Error<'p>> {
        let number = |text: &CStr| u32::try_from(decimal(text.to_bytes())?).ok();
        let mut from = 3;
        loop {
            let next = keep.iter().filter_map(number).filter(|next| *next >= from);
            let Some(next) = next.min() else {
                return self.close_range(from, u32::MAX);
            };
            if next > from {
                self.close_range(from, next - 1)?;
            }
            from = next + 1;
        }
    }

    /// The walk inside `under` that makes what is missing, exactly with the modes
    /// that are asked for.
    fn make(
        &mut self,
        under: Slot,
        path: &CStr,
        missing: Missing<'_>,
    ) -> Result<Result<OwnedFd, Errno>, Error<'p>> {
        let root = self.get(under);
        let created = &mut self.created;
        let note = &mut |path: &[u8], is_file| {
            created.note(under.0, path, if is_file { FILE } else { DIRECTORY })
        };
        let mask = process::umask(Mode::empty());
        let made = walk::step_by_step(root, path, OFlags::PATH, missing, note);
        process::umask(mask);
        Ok(made)
    }

    pub(super) fn make_directory(
        &mut self,
        under: Slot,
        mode: u64,
        path: &'p CStr,
    ) -> Result<(), Error<'p>> {
        let mode = Mode::from_raw_mode(u32::try_from(mode).unwrap_or(0));
        let made = self.make(under, path, Missing::Directory(mode))?;
        made.and_then(|made| {
            if walk::file_type(&made)? == FileType::Directory {
                Ok(())
            } else {
                Err(Errno::NOTDIR)
            }
        })
        .map_err(|errno| explain::made(What::MakeDirectory, path, errno))
    }

    pub(super) fn make_link(
        &mut self,
        under: Slot,
        path: &'p CStr,
        target: &'p CStr,
    ) -> Result<(), Error<'p>> {
        let made = self.make(under, path, Missing::Link(target))?;
        made.map(drop)
            .map_err(|errno| explain::made(What::MakeLink, path, errno))
    }

    pub(super) fn copy_file(
        &mut self,
        under: Slot,
        mode: u16,
        number: u64,
        path: &'p CStr,
    ) -> Result<(), Error<'p>> {
        let mode = Mode::from_raw_mode(u32::from(mode));
        let made = self.make(under, path, Missing::NewFile(mode))?;
        let file = made.map_err(|errno| explain::made(What::MakeFile, path, errno))?;
        // A path without a name leads to a directory.
        if walk::file_type(&file) != Ok(FileType::RegularFile) {
            return Err(explain::made(What::MakeFile, path, Errno::ISDIR));
        }
        let number = i32::try_from(number).unwrap_or(-1);
        copy(number, &file, path)?;
        if number > 2 {
            let _ = descriptor::close(number);
        }
        Ok(())
    }

    /// Makes the mount at `path` read-only, and none of those below it.
    pub(super) fn remount(&mut self, under: Slot, path: &'p CStr) -> Result<(), Error<'p>> {
        let place = super::walk_inside(self.get(under), path, OFlags::PATH)
            .map_err(|errno| Error::new(What::WalkTo, path, errno))?;
        let read_only = Pending {
            attributes: raw::MOUNT_ATTR_RDONLY,
            recursive: false,
        };
        match sys::mount::mount_setattr(place.as_fd(), false, read_only.attributes) {
            Err(Errno::NOSYS | Errno::PERM) => {
                self.fallbacks.mount_setattr = true;
                read_only.settle(place.as_fd())
            }
            done => done,
        }
        .map_err(|errno| match errno {
            Errno::INVAL | Errno::NOENT => {
                Error::new(What::MakeReadOnly, path, Why::NotThere).advice(Advice::ReadOnlyRoot)
            }
            errno => Error::new(What::MakeReadOnly, path, errno),
        })
    }

    /// A clone of the mount at `path` of the host while the root is mounted over
    /// /. A walk from / starts below that, but one that comes back to / by `..`
    /// goes on in the root, where the image says what is found. Without `..`, and
    /// without links that may hold one, no walk comes back; all others are done
    /// component by component.
    #[cold]
    #[inline(never)]
    pub(super) fn clone_from_below(
        &mut self,
        path: &CStr,
        recursive: bool,
        attributes: u64,
    ) -> Result<(OwnedFd, Pending), Errno> {
        let place = open_from_below(path)?;
        self.clone_mount(Some(place.as_fd()), c"", recursive, attributes)
    }

    /// Puts the host's device at `name`, where none may be made: in a user
    /// namespace, or without the capability mknod.
    #[cold]
    #[inline(never)]
    pub(super) fn bind_device(
        &mut self,
        under: Slot,
        device: u64,
        name: &CStr,
    ) -> Result<(), Errno> {
        let path = Path::of(&[b"/dev/", name.to_bytes()])?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let host = fs::open(path.as_c_str(), flags, Mode::empty())?;
        // Of a file that is no device it is 0.
        if fs::fstat(&host)?.st_rdev != device {
            return Err(Errno::PERM);
        }
        let under = self.get(under);
        let mode = Mode::from_raw_mode(0o666);
        fs::mknodat(under, name, FileType::RegularFile, mode, 0)?;
        let attributes = u64::from(raw::MOUNT_ATTR_NOSUID | raw::MOUNT_ATTR_NOEXEC);
        let (clone, pending) = self.clone_mount(Some(host.as_fd()), c"", false, attributes)?;
        files::move_by_path(clone.as_fd(), under, name)?;
        pending.settle(clone.as_fd())
    }
}

/// Writes what descriptor `number` holds, to its end, into `file`.
#[inline(never)]
fn copy<'p>(number: i32, file: &OwnedFd, path: &'p CStr) -> Result<(), Error<'p>> {
    let mut block = [0; BLOCK];
    loop {
        let count = match descriptor::read(number, &mut block) {
            Err(Errno::INTR) => continue,
            done => done.map_err(|errno| {
                Error::new(What::CopyFrom, path, errno).advice(Advice::MustBeOpen)
            })?,
        };
        let mut rest = block.get(..count).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            match rustix::io::write(file, rest) {
                Err(Errno::INTR) => {}
                done => {
                    let count = done.map_err(|errno| Error::new(What::WriteFile, path, errno))?;
                    rest = rest.get(count..).unwrap_or_default();
                }
            }
        }
    }
}

/// Opens a path of the host while something is mounted over /, see
/// [`Launcher::clone_from_below`].
#[cold]
#[inline(never)]
pub(super) fn open_from_below(path: &CStr) -> Result<OwnedFd, Errno> {
    let straight = split(path.to_bytes(), b'/').all(|part| part != b"..");
    let opened = if straight {
        walk::open_by(fs::CWD, path, OFlags::PATH, raw::RESOLVE_NO_SYMLINKS)
    } else {
        Err(Errno::LOOP)
    };
    match opened {
        Err(Errno::LOOP | Errno::NOSYS | Errno::PERM) => walk_host(path),
        done => done,
    }
}

/// Opens `path` of the host by a walk that starts anew at / where it comes back
/// to it.
fn walk_host(path: &CStr) -> Result<OwnedFd, Errno> {
    let top = fs::open(
        c"/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut whole = Path::new();
    if !path.to_bytes().starts_with(b"/") {
        let length = sys::path::working_directory(whole.buffer())?;
        whole.cut(length.saturating_sub(1));
        if !whole.as_bytes().starts_with(b"/") {
            return Err(Errno::NOENT);
        }
        whole.append(&[b"/"])?;
    }
    whole.append(&[path.to_bytes()])?;
    walk::step_by_step(
        top.as_fd(),
        whole.as_c_str(),
        OFlags::PATH,
        Missing::Refuse,
        &mut |_, _| false,
    )
}
