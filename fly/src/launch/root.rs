//! The root: made private, layered, entered.

use core::ffi::CStr;

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, Mode, OFlags},
    io::Errno,
    mount::{self, MountPropagationFlags, MoveMountFlags, UnmountFlags},
    process,
};

use super::{Launcher, created::DIRECTORY, explain, files, made::open_from_below, path::Path};
use crate::{
    error::{Advice, Error, What, Why},
    plan::Slot,
    text::split,
};

/// The parts of an overlay on its tmpfs.
pub(super) const LOWER: &CStr = c"lower";
const UPPER: &CStr = c"layer/upper";
const WORK: &CStr = c"layer/work";

/// Makes all mounts of this mount namespace private: nothing that follows
/// reaches the host, not even the unmounting of the old root.
pub(super) fn make_private<'p>() -> Result<(), Error<'p>> {
    mount::mount_change(
        c"/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|errno| {
        const ADVICES: &explain::Advices = &[
            (Errno::INVAL, Advice::RootIsNoMount),
            (Errno::PERM, Advice::NeedsRoot),
        ];
        explain::error(What::MakePrivate, c"", errno, ADVICES)
    })
}

impl<'p> Launcher<'p, '_> {
    /// An overlay over the directory `path`, with its upper and its work directory
    /// on the tmpfs `layer`, or in `directory` of the host, which has them or gets
    /// them.
    ///
    /// All parts are mounted inside the tmpfs, so that they are named relative to
    /// it: no path of the host is escaped into an option, and kernels before 6.13,
    /// which take no descriptors here, do the same.
    #[inline(never)]
    pub(super) fn overlay(
        &mut self,
        into: Slot,
        layer: Slot,
        attributes: u64,
        path: &'p CStr,
        directory: Option<&'p CStr>,
    ) -> Result<(), Error<'p>> {
        let lower = if self.covered {
            open_from_below(path)
        } else {
            open_directory(path)
        }
        .map_err(|errno| explain::host_path(path, errno))?;
        let kept = match directory {
            Some(directory) => Some(make_and_open(directory)?),
            None => None,
        };
        // They have to be in this mount namespace.
        self.attach_root(layer)?;
        let Some(base) = self.take(layer) else {
            return Err(Error::new(What::UseSlot, c"", Errno::BADF));
        };
        // What is made in the directory is noted there, in the slot of the layer.
        let mut kept_at = None;
        if let (Some((kept, made)), Some(directory)) = (kept, directory) {
            self.put(layer, kept);
            kept_at = Some(self.get(layer));
            if made {
                self.note_parent(layer, directory);
            }
        }
        let root = self
            .part(base.as_fd(), LOWER, Some(lower.as_fd()))
            .and_then(|()| {
                let base = base.as_fd();
                self.layered(layer, base, lower.as_fd(), kept_at, attributes, 7)
            })
            .map_err(|errno| match (kept_at, directory) {
                (Some(kept), Some(directory)) => explain::overlay_in(path, directory, kept, errno),
                _ => explain::overlay(path, errno),
            })?;
        self.put(into, root);
        Ok(())
    }

    /// The lower part is in its place; `texts` are as many of the options.
    #[inline(never)]
    pub(super) fn layered(
        &mut self,
        layer: Slot,
        base: BorrowedFd<'_>,
        lower: BorrowedFd<'_>,
        kept: Option<BorrowedFd<'_>>,
        attributes: u64,
        texts: usize,
    ) -> Result<OwnedFd, Errno> {
        self.part(base, c"layer", kept)?;
        let noted = kept.map(|_| layer);
        if self.kept_part(base, UPPER, noted, b"upper")? {
            like(base, UPPER, lower)?;
        }
        // The kernel makes one more in it.
        if self.kept_part(base, WORK, noted, b"work")?
            && !noted.is_none_or(|slot| self.created.note(slot.0, b"work/work", DIRECTORY))
        {
            return Err(Errno::NOSPC);
        }
        // Paths of the host may be relative to where the caller was.
        let before = open_directory(c".");
        process::fchdir(base)?;
        static TEXTS: [&CStr; 9] = [
            c"overlay",
            c"lowerdir",
            LOWER,
            c"upperdir",
            UPPER,
            c"workdir",
            WORK,
            c"userxattr",
            c"",
        ];
        let made = files::make_file_system(attributes, &mut TEXTS.iter().copied().take(texts));
        if let Ok(before) = before {
            let _ = process::fchdir(before);
        }
        made
    }

    /// A directory of the layer's file system, with a clone of `source` on it.
    #[inline(never)]
    pub(super) fn part(
        &mut self,
        base: BorrowedFd<'_>,
        name: &CStr,
        source: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        fs::mkdirat(base, name, Mode::from_raw_mode(0o755))?;
        if source.is_some() {
            let (tree, _) = self.clone_mount(source, c"", false, 0)?;
            files::move_by_path(tree.as_fd(), base, name)?;
        }
        Ok(())
    }

    /// A directory of the layer that stays, which is noted for the slot as `path` if
    /// it is made; whether it was.
    #[inline(never)]
    fn kept_part(
        &mut self,
        base: BorrowedFd<'_>,
        name: &CStr,
        noted: Option<Slot>,
        path: &[u8],
    ) -> Result<bool, Errno> {
        match fs::mkdirat(base, name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => return Ok(false),
            done => done?,
        }
        if noted.is_none_or(|slot| self.created.note(slot.0, path, DIRECTORY)) {
            Ok(true)
        } else {
            Err(Errno::NOSPC)
        }
    }

    /// Notes that `directory`, which `slot` holds, was made: by its name in its
    /// parent.
    fn note_parent(&mut self, slot: Slot, directory: &CStr) {
        let name = split(directory.to_bytes(), b'/')
            .filter(|part| !part.is_empty())
            .fold(&b""[..], |_, part| part);
        if let Ok(path) = Path::of(&[b"../", name]) {
            let _ = self.created.note(slot.0, path.as_bytes(), DIRECTORY);
        }
    }

    /// Makes `root` the root of all and lets go of the old one: one unmount of
    /// the whole tree, since each waits for a grace period of the kernel.
    pub(super) fn pivot(&mut self, root: Slot) -> Result<(), Error<'p>> {
        let directory = self.get(root);
        process::fchdir(directory)
            .map_err(|errno| Error::new(What::Enter, c"the root file system", errno))?;
        match process::pivot_root(c".", c".") {
            // The root of the mount namespace is an initramfs, which can't be
            // moved: our tree covers it, and stays there.
            Err(Errno::INVAL) => {
                self.fallbacks.pivot_root = true;
                return process::chroot(c".")
                    .map_err(|errno| Error::new(What::ChrootInto, c"the root file system", errno));
            }
            // Mounts were possible: it is not for want of a capability.
            done => done.map_err(|errno| {
                const ADVICES: &explain::Advices = &[(Errno::PERM, Advice::FilterForbids)];
                explain::error(What::PivotInto, c"the root file system", errno, ADVICES)
            })?,
        }
        // The old root is mounted over the new one now (pivot_root(2), NOTES),
        // and over that what was attached over it, but for the new root.
        for _ in 0..self.attached {
            mount::unmount(c".", UnmountFlags::DETACH)
                .map_err(|errno| Error::new(What::Unmount, c"the old root", errno))?;
        }
        Ok(())
    }

    pub(super) fn chroot(&mut self, root: Slot) -> Result<(), Error<'p>> {
        let directory = self.get(root);
        process::fchdir(directory)
            .and_then(|()| process::chroot(c"."))
            .map_err(|errno| {
                const ADVICES: &explain::Advices = &[(Errno::PERM, Advice::NeedsChroot)];
                explain::error(What::ChrootInto, c"the root file system", errno, ADVICES)
            })
    }

    /// Puts the terminal at /dev/console, by descriptor: its path could have
    /// been exchanged (CVE-2025-52565).
    pub(super) fn console(
        &mut self,
        peer: Slot,
        under: Slot,
        name: &'p CStr,
    ) -> Result<(), Error<'p>> {
        let (clone, _) = self.clone_slot(peer, c"", false, 0)?;
        mount::move_mount(
            &clone,
            c"",
            self.get(under),
            name,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .map_err(|errno| Error::new(What::MountTerminal, name, errno))
    }
}

pub(super) fn open_directory(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty())
}

/// Makes `path` unless it is there, and says whether it did.
#[cold]
fn make_and_open(path: &CStr) -> Result<(OwnedFd, bool), Error<'_>> {
    let made = match fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => false,
        done => done
            .map(|()| true)
            .map_err(|errno| Error::new(What::MakeDirectory, path, errno))?,
    };
    let opened = open_directory(path).map_err(|errno| explain::host_path(path, errno))?;
    Ok((opened, made))
}

/// The merged root has the upper directory's owner and mode.
pub(super) fn like(layer: BorrowedFd<'_>, name: &CStr, lower: BorrowedFd<'_>) -> Result<(), Errno> {
    let status = fs::fstat(lower)?;
    let mode = Mode::from_raw_mode(status.st_mode & 0o7777);
    fs::chmodat(layer, name, mode, fs::AtFlags::empty())?;
    match fs::chownat(
        layer,
        name,
        Some(process::Uid::from_raw(status.st_uid)),
        Some(process::Gid::from_raw(status.st_gid)),
        fs::AtFlags::empty(),
    ) {
        // An owner that the user namespace does not know.
        Err(Errno::INVAL) => Ok(()),
        done => done,
    }
}

/// A cause that is told apart from the kernel's answer.
pub(super) fn is_symbolic_link<'p>(name: &'p CStr) -> Error<'p> {
    Error::new(What::MountOn, name, Why::SymbolicLink).advice(Advice::MakeDirectory)
}
