//! Mounts and the files of /dev: where every mount of a pod is made.

use core::ffi::CStr;

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
    mount::{self, FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags},
};

use super::{
    Launcher,
    created::{DIRECTORY, MOUNT_POINT},
    explain,
    remount::Pending,
    walk,
};
use crate::{
    error::{Advice, Error, What, Why},
    lower::DEVPTS_WITHOUT_GROUP,
    plan::{Kind, List, Slot, Step},
    sys,
};

impl<'p> Launcher<'p, '_> {
    pub(super) fn open_directory(&mut self, into: Slot, path: &'p CStr) -> Result<(), Error<'p>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::open(path, flags, Mode::empty())
            .map_err(|errno| explain::host_path(path, errno))?;
        self.put(into, directory);
        Ok(())
    }

    pub(super) fn open_tree(
        &mut self,
        into: Slot,
        path: &'p CStr,
        flags: u16,
        attributes: u64,
    ) -> Result<(), Error<'p>> {
        let recursive = flags & Step::RECURSIVE != 0;
        let cloned = if self.covered {
            self.clone_from_below(path, recursive, attributes)
        } else {
            self.clone_mount(None, path, recursive, attributes)
        };
        let (tree, pending) = match cloned {
            Err(Errno::NOENT) if flags & Step::OPTIONAL != 0 => {
                self.take(into);
                return Ok(());
            }
            done => done.map_err(|errno| explain::host_path(path, errno))?,
        };
        self.put(into, tree);
        self.set_pending(into, pending);
        Ok(())
    }

    fn set_pending(&mut self, slot: Slot, pending: Pending) {
        if let Some(place) = self.pending.get_mut(usize::from(slot.0)) {
            *place = pending;
        }
    }

    /// Sets what could not be set on a detached mount, now that it is attached.
    fn settle(&mut self, slot: Slot) -> Result<(), Error<'p>> {
        let place = self.pending.get_mut(usize::from(slot.0));
        let pending = place.map(core::mem::take).unwrap_or_default();
        if pending == Pending::default() {
            return Ok(());
        }
        pending
            .settle(self.get(slot))
            .map_err(|errno| Error::new(What::ChangeMount, c"", errno))
    }

    /// A detached clone of the mount at `path`, below `directory` or the
    /// working directory, with `attributes`, or with what of them has to wait
    /// until it is attached.
    #[inline(never)]
    pub(super) fn clone_mount(
        &mut self,
        directory: Option<BorrowedFd<'_>>,
        path: &CStr,
        recursive: bool,
        attributes: u64,
    ) -> Result<(OwnedFd, Pending), Errno> {
        let wanted = u32::try_from(attributes).map_err(|_| Errno::INVAL)?;
        // Of a namespace that is still the host's a clone would hand on what is mounted.
        let apart = self.copied >= 0;
        if apart || (wanted != 0 && !self.fallbacks.open_tree_attr) {
            match sys::mount::open_tree_attr(directory, path, recursive, wanted, apart) {
                Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) if !apart => {
                    self.fallbacks.open_tree_attr = true;
                }
                done => return Ok((done?, Pending::default())),
            }
        }
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
        let tree = match directory {
            Some(directory) => mount::open_tree(directory, path, flags)?,
            None => mount::open_tree(fs::CWD, path, flags)?,
        };
        let pending = Pending {
            attributes: wanted,
            recursive,
        };
        if wanted == 0 || self.change_detached(tree.as_fd(), pending)? {
            return Ok((tree, Pending::default()));
        }
        Ok((tree, pending))
    }

    /// mount_setattr(2), which works on detached mounts; false where it is
    /// missing.
    fn change_detached(&mut self, tree: BorrowedFd<'_>, change: Pending) -> Result<bool, Errno> {
        if self.fallbacks.mount_setattr {
            return Ok(false);
        }
        match sys::mount::mount_setattr(tree, change.recursive, change.attributes) {
            Err(Errno::NOSYS | Errno::PERM) => {
                self.fallbacks.mount_setattr = true;
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }

    pub(super) fn file_system(
        &mut self,
        into: Slot,
        attributes: u64,
        options: List<'p>,
    ) -> Result<(), Error<'p>> {
        let name = options.first();
        let made = match make_file_system(attributes, &mut options.iter()) {
            // The group tty is not mapped in this user namespace.
            Err(Errno::INVAL) if name == c"devpts" => {
                make_file_system(attributes, &mut DEVPTS_WITHOUT_GROUP.into_iter())
            }
            done => done,
        }
        .map_err(|errno| explain::file_system(name, errno))?;
        self.put(into, made);
        Ok(())
    }

    #[inline(never)]
    pub(super) fn attach_root(&mut self, slot: Slot) -> Result<(), Error<'p>> {
        if let Err(errno) = attach_over_root(self.get(slot)) {
            let mut records = self.plan.steps().records();
            let opened = records.find(|record| record.is(Kind::OpenTree) && record.slot == slot.0);
            let path = opened.map_or(c"the root file system", |record| record.list.first());
            return Err(explain::root(path, errno));
        }
        self.covered = true;
        self.attached = self.attached.wrapping_add(1);
        self.settle(slot)
    }

    pub(super) fn attach(
        &mut self,
        slot: Slot,
        under: Slot,
        flags: u16,
        target: &'p CStr,
    ) -> Result<(), Error<'p>> {
        if flags & Step::OPTIONAL != 0 && self.filled(slot).is_none() {
            return Ok(());
        }
        let done = if flags & Step::NO_FOLLOW != 0 {
            self.attach_by_name(slot, under, flags, target)
        } else {
            self.attach_inside(slot, under, flags, target)
        }
        .and_then(|()| self.settle(slot));
        if flags & Step::CLOSE != 0 {
            self.take(slot);
        }
        done
    }

    /// The target is one name below a directory that we hold: the kernel
    /// follows no link on the way there, and does not follow one at the end.
    #[inline(never)]
    fn attach_by_name(
        &mut self,
        slot: Slot,
        under: Slot,
        flags: u16,
        name: &'p CStr,
    ) -> Result<(), Error<'p>> {
        let first = move_by_path(self.get(slot), self.get(under), name);
        let Err(errno) = first else { return Ok(()) };
        if errno == Errno::NOENT && flags & Step::CREATE != 0 {
            fs::mkdirat(self.get(under), name, Mode::from_raw_mode(0o755))
                .map_err(|errno| explain::missing_mount_point(name, errno))?;
            if !self.note(under, name.to_bytes(), DIRECTORY) {
                return Err(Error::new(What::MakeMountPoint, name, Errno::NOSPC));
            }
            return move_by_path(self.get(slot), self.get(under), name)
                .map_err(|errno| Error::new(What::MountOn, name, errno));
        }
        Err(explain::mount_point(self.get(under), name, errno))
    }

    #[inline(never)]
    fn attach_inside(
        &mut self,
        slot: Slot,
        under: Slot,
        flags: u16,
        target: &'p CStr,
    ) -> Result<(), Error<'p>> {
        let place = self.find(slot, under, flags, target)?;
        self.check_place(place.as_fd(), under, target)?;
        move_onto(self.get(slot), place.as_fd()).map_err(|errno| match errno {
            Errno::INVAL => explain::mounted_on_place(target, self.get(slot), place.as_fd()),
            _ => explain::mounted_on(target, errno),
        })
    }

    /// A target may lead back to the root by `..` or a link: what is mounted
    /// there would not be seen. Or into a file system of the kernel.
    fn check_place(
        &mut self,
        place: BorrowedFd<'_>,
        under: Slot,
        target: &'p CStr,
    ) -> Result<(), Error<'p>> {
        let failed = |errno| Error::new(What::LookAtMountPoint, target, errno);
        let status = fs::fstat(place).map_err(failed)?;
        let known = self.place.filter(|(slot, ..)| *slot == under);
        let (_, device, inode) = match known {
            Some(known) => known,
            None => {
                let root = fs::fstat(self.get(under)).map_err(failed)?;
                (under, root.st_dev, root.st_ino)
            }
        };
        self.place = Some((under, device, inode));
        // The file system of the root is none of the kernel's.
        if status.st_dev != device {
            let is_read_only = refuse_kernel_file_systems(place, target)?;
            let why = match fs::statat(self.get(under), c"dev", AtFlags::SYMLINK_NOFOLLOW) {
                Ok(dev) if dev.st_dev != status.st_dev => return Ok(()),
                Ok(dev) if dev.st_ino == status.st_ino => Why::CoversDev,
                // What masks parts of /proc and /sys lies in the tmpfs of /dev, too.
                Ok(_) if is_read_only => Why::InKernelFileSystem,
                _ => return Ok(()),
            };
            return Err(Error::new(What::MountOn, target, why).advice(Advice::AnotherTarget));
        }
        if status.st_ino == inode {
            return Err(Error::new(What::MountOn, target, Why::IsRoot));
        }
        Ok(())
    }

    /// The mount point `target` inside `under`, made if the step says so.
    #[inline(never)]
    fn find(
        &mut self,
        slot: Slot,
        under: Slot,
        flags: u16,
        target: &'p CStr,
    ) -> Result<OwnedFd, Error<'p>> {
        if !self.fallbacks.openat2 {
            match walk::open(self.get(under), target, OFlags::PATH) {
                Err(Errno::NOSYS | Errno::PERM) => self.fallbacks.openat2 = true,
                Err(Errno::NOENT) => {}
                done => return done.map_err(|errno| Error::new(What::WalkTo, target, errno)),
            }
        }
        let missing = self.missing(slot, flags)?;
        let root = self.get(under);
        let created = &mut self.created;
        let note = &mut |path: &[u8], is_file| {
            created.note(under.0, path, if is_file { MOUNT_POINT } else { DIRECTORY })
        };
        walk::step_by_step(root, target, OFlags::PATH, missing, note)
            .map_err(|errno| explain::missing_mount_point(target, errno))
    }

    /// What a missing mount point has to be: as what is mounted on it.
    fn missing(&self, slot: Slot, flags: u16) -> Result<walk::Missing<'static>, Error<'p>> {
        if flags & Step::CREATE == 0 {
            return Ok(walk::Missing::Refuse);
        }
        let source = fs::fstat(self.get(slot))
            .map_err(|errno| Error::new(What::LookAt, c"a volume", errno))?;
        Ok(match FileType::from_raw_mode(source.st_mode) {
            FileType::Directory => walk::Missing::Directory(walk::PARENT),
            _ => walk::Missing::File,
        })
    }

    fn note(&mut self, under: Slot, path: &[u8], kind: u8) -> bool {
        self.created.note(under.0, path, kind)
    }

    pub(super) fn directory(
        &mut self,
        under: Slot,
        mode: u64,
        name: &'p CStr,
    ) -> Result<(), Error<'p>> {
        fs::mkdirat(self.get(under), name, mode_of(mode))
            .map_err(|errno| Error::new(What::MakeDirectory, name, errno))
    }

    pub(super) fn file(&mut self, under: Slot, mode: u64, name: &'p CStr) -> Result<(), Error<'p>> {
        fs::mknodat(
            self.get(under),
            name,
            FileType::RegularFile,
            mode_of(mode),
            0,
        )
        .map_err(|errno| Error::new(What::MakeFile, name, errno))
    }

    pub(super) fn device(
        &mut self,
        under: Slot,
        device: u64,
        name: &'p CStr,
    ) -> Result<(), Error<'p>> {
        let made = fs::mknodat(
            self.get(under),
            name,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            device,
        );
        match made {
            Err(Errno::PERM) => self.bind_device(under, device, name),
            done => done,
        }
        .map_err(|errno| {
            const ADVICES: &explain::Advices = &[(Errno::PERM, Advice::NeedsMknod)];
            explain::error(What::MakeDevice, name, errno, ADVICES)
        })
    }

    pub(super) fn link(
        &mut self,
        under: Slot,
        name: &'p CStr,
        target: &'p CStr,
    ) -> Result<(), Error<'p>> {
        fs::symlinkat(target, self.get(under), name)
            .map_err(|errno| Error::new(What::MakeLink, name, errno))
    }

    /// Each cover is a clone of one inode of our own, never a file of the
    /// container's (CVE-2025-31133: its /dev/null may be a link).
    pub(super) fn mask(
        &mut self,
        under: Slot,
        covers: Slot,
        names: List<'p>,
    ) -> Result<(), Error<'p>> {
        let cover = names.first();
        let mut clone = None;
        for name in names.iter().skip(1) {
            let (mount, pending) = match clone.take() {
                Some(clone) => clone,
                None => self.clone_slot(covers, cover, false, COVER)?,
            };
            match move_by_path(mount.as_fd(), self.get(under), name) {
                Ok(()) => pending.settle(mount.as_fd()),
                Err(Errno::NOENT) => {
                    clone = Some((mount, pending));
                    Ok(())
                }
                failed => failed,
            }
            .map_err(|errno| Error::new(What::Mask, name, errno))?;
        }
        Ok(())
    }

    pub(super) fn read_only(&mut self, under: Slot, names: List<'p>) -> Result<(), Error<'p>> {
        for name in names.iter() {
            let (clone, pending) = match self.clone_slot(under, name, true, READ_ONLY) {
                Err(error) if error.errno() == Some(Errno::NOENT) => continue,
                done => done?,
            };
            move_by_path(clone.as_fd(), self.get(under), name)
                .and_then(|()| pending.settle(clone.as_fd()))
                .map_err(|errno| Error::new(What::MakeReadOnly, name, errno))?;
        }
        Ok(())
    }

    pub(super) fn bind(
        &mut self,
        (into, under): (Slot, Slot),
        flags: u16,
        attributes: u64,
        name: &'p CStr,
    ) -> Result<(), Error<'p>> {
        let recursive = flags & Step::RECURSIVE != 0;
        let (clone, pending) = self.clone_slot(under, name, recursive, attributes)?;
        self.put(into, clone);
        self.set_pending(into, pending);
        Ok(())
    }

    pub(super) fn clone_slot(
        &mut self,
        slot: Slot,
        name: &'p CStr,
        recursive: bool,
        attributes: u64,
    ) -> Result<(OwnedFd, Pending), Error<'p>> {
        let directory = self.get(slot);
        self.clone_mount(Some(directory), name, recursive, attributes)
            .map_err(|errno| {
                // Not by what explains errors, which is cold: one that is missing is none.
                let error = Error::new(What::Bind, name, errno);
                match errno {
                    Errno::MFILE => error.advice(Advice::RaiseOpenFiles),
                    _ => error,
                }
            })
    }
}

/// The attributes of a cover.
const COVER: u64 = (linux_raw_sys::general::MOUNT_ATTR_RDONLY
    | linux_raw_sys::general::MOUNT_ATTR_NOSUID
    | linux_raw_sys::general::MOUNT_ATTR_NODEV
    | linux_raw_sys::general::MOUNT_ATTR_NOEXEC) as u64;
const READ_ONLY: u64 = linux_raw_sys::general::MOUNT_ATTR_RDONLY as u64;

pub(super) fn attach_over_root(tree: BorrowedFd<'_>) -> Result<(), Errno> {
    mount::move_mount(
        tree,
        c"",
        fs::CWD,
        c"/",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

fn mode_of(mode: u64) -> Mode {
    Mode::from_raw_mode(u32::try_from(mode).unwrap_or(0))
}

/// fsopen, one fsconfig an option, fsmount (fsopen(2), Linux 5.2): a file
/// system that is mounted nowhere yet. `texts` are its type, then pairs of
/// option and value.
#[inline(never)]
pub(super) fn make_file_system(
    attributes: u64,
    texts: &mut dyn Iterator<Item = &CStr>,
) -> Result<OwnedFd, Errno> {
    let name = texts.next().unwrap_or_default();
    let context = mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    while let (Some(key), Some(value)) = (texts.next(), texts.next()) {
        if value.is_empty() {
            mount::fsconfig_set_flag(context.as_fd(), key)?;
        } else {
            mount::fsconfig_set_string(context.as_fd(), key, value)?;
        }
    }
    make_configured(&context, attributes)
}

/// The file system of a context that has all of its options.
pub(super) fn make_configured(context: &OwnedFd, attributes: u64) -> Result<OwnedFd, Errno> {
    mount::fsconfig_create(context.as_fd())?;
    let attributes = u32::try_from(attributes).map_err(|_| Errno::INVAL)?;
    mount::fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::from_bits_retain(attributes),
    )
}

/// A small tmpfs that is mounted nowhere.
pub(super) fn make_tmpfs() -> Result<OwnedFd, Errno> {
    make_file_system(0, &mut [c"tmpfs", c"mode", c"0700"].into_iter())
}

/// Mounts at a place that was walked to.
pub(super) fn move_onto(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    mount::move_mount(
        mount,
        c"",
        place,
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// Mounts at a path below `under` that is ours, such as one of our own procfs.
pub(super) fn move_by_path(
    mount: BorrowedFd<'_>,
    under: BorrowedFd<'_>,
    path: &CStr,
) -> Result<(), Errno> {
    mount::move_mount(
        mount,
        c"",
        under,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// A link of the image may lead into /proc or /sys: what is mounted there
/// would cover what masks and confinement rely on (CVE-2019-16884). Returns whether the mount
/// that the place is in is read-only.
pub(super) fn refuse_kernel_file_systems<'p>(
    place: BorrowedFd<'_>,
    target: &'p CStr,
) -> Result<bool, Error<'p>> {
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    const SYSFS_MAGIC: i64 = 0x6265_6572;
    const ST_RDONLY: i64 = 1;
    let status =
        fs::fstatfs(place).map_err(|errno| Error::new(What::LookAtMountPoint, target, errno))?;
    let magic = status.f_type;
    if magic == PROC_SUPER_MAGIC || magic == SYSFS_MAGIC {
        return Err(Error::new(What::MountOn, target, Why::InKernelFileSystem)
            .advice(Advice::AnotherTarget));
    }
    Ok(status.f_flags & ST_RDONLY != 0)
}
