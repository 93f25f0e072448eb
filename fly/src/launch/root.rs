//! The root: made private, layered, entered.

use core::ffi::CStr;

use rustix::{
    fd::AsFd,
    fs::{self, Mode, OFlags},
    io::Errno,
    mount::{self, MountPropagationFlags, MoveMountFlags, UnmountFlags},
    process,
};

use super::{Launcher, explain, files};
use crate::{
    error::{Advice, Error, What, Why},
    plan::Slot,
};

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
    /// An overlay of `layer` (upper and work directory on a tmpfs) over the
    /// directory `path`.
    ///
    /// The lower directory is mounted inside the layer, so that all three are
    /// named relative to it: no path of the host is escaped into an option, and
    /// kernels before 6.13, which take no descriptors here, do the same.
    pub(super) fn overlay(
        &mut self,
        into: Slot,
        layer: Slot,
        attributes: u64,
        path: &'p CStr,
    ) -> Result<(), Error<'p>> {
        // Its parts have to be in this mount namespace.
        self.attach_root(layer)?;
        self.attached = true;
        let lower = fs::open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| explain::host_path(path, errno))?;
        let root = self
            .layered(layer, lower.as_fd(), attributes)
            .map_err(|errno| explain::overlay(path, errno))?;
        self.put(into, root);
        Ok(())
    }

    fn layered(
        &self,
        layer: Slot,
        lower: rustix::fd::BorrowedFd<'_>,
        attributes: u64,
    ) -> Result<rustix::fd::OwnedFd, Errno> {
        let layer = self.get(layer).map_err(|_| Errno::BADF)?;
        let status = fs::fstat(lower)?;
        for name in [c"lower", c"upper", c"work"] {
            fs::mkdirat(layer, name, Mode::from_raw_mode(0o755))?;
        }
        // The merged root has the upper directory's owner and mode.
        fs::chmodat(
            layer,
            c"upper",
            Mode::from_raw_mode(status.st_mode & 0o7777),
            fs::AtFlags::empty(),
        )?;
        fs::chownat(
            layer,
            c"upper",
            Some(rustix::process::Uid::from_raw(status.st_uid)),
            Some(rustix::process::Gid::from_raw(status.st_gid)),
            fs::AtFlags::empty(),
        )?;
        let tree = mount::open_tree(
            lower,
            c"",
            mount::OpenTreeFlags::OPEN_TREE_CLONE
                | mount::OpenTreeFlags::OPEN_TREE_CLOEXEC
                | mount::OpenTreeFlags::AT_EMPTY_PATH,
        )?;
        mount::move_mount(
            &tree,
            c"",
            layer,
            c"lower",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )?;
        process::fchdir(layer)?;
        let texts = [
            c"overlay",
            c"lowerdir",
            c"lower",
            c"upperdir",
            c"upper",
            c"workdir",
            c"work",
        ];
        files::make_file_system(attributes, &mut texts.into_iter())
    }

    /// Makes `root` the root of all and lets go of the old one: one unmount of
    /// the whole tree, since each waits for a grace period of the kernel.
    pub(super) fn pivot(&mut self, root: Slot) -> Result<(), Error<'p>> {
        let directory = self.get(root)?;
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
            done => {
                done.map_err(|errno| Error::new(What::PivotInto, c"the root file system", errno))?;
            }
        }
        // The old root is mounted over the new one now (pivot_root(2), NOTES),
        // and over that the writable layer.
        if self.attached {
            mount::unmount(c".", UnmountFlags::DETACH)
                .map_err(|errno| Error::new(What::Unmount, c"the writable layer", errno))?;
        }
        mount::unmount(c".", UnmountFlags::DETACH)
            .map_err(|errno| Error::new(What::Unmount, c"the old root", errno))
    }

    pub(super) fn chroot(&mut self, root: Slot) -> Result<(), Error<'p>> {
        let directory = self.get(root)?;
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
            self.get(under)?,
            name,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .map_err(|errno| Error::new(What::MountTerminal, name, errno))
    }
}

/// A cause that is told apart from the kernel's answer.
pub(super) fn is_symbolic_link<'p>(name: &'p CStr) -> Error<'p> {
    Error::new(What::MountOn, name, Why::SymbolicLink).advice(Advice::MakeDirectory)
}
