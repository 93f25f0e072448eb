//! An empty mount namespace, of which a pod gets a copy.
//!
//! A copy of the host's namespace has all of the host's mounts, and the way out of it,
//! pivot_root(2), looks at every process of the machine: with a thousand pods that is a
//! third of a start. Where a process holds an empty one ([`make`]), the pod's mounts are put
//! together before, detached (Linux 6.15), and then put over the root of a copy of that,
//! under which there is nothing.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsFd, IntoRawFd, OwnedFd, RawFd},
    fs::{self, Mode, OFlags},
    io::Errno,
    mount::{self, FsOpenFlags, UnmountFlags},
    process,
    thread::{self, LinkNameSpaceType},
};

use super::{
    Launcher,
    files::{attach_over_root, make_configured, make_file_system},
    maps, root, shared,
};
use crate::{
    error::{Error, What},
    plan::{Kind, Record, Slot, match_step},
    sys::{self, clone, descriptor},
};

/// The file system of its root: not to be written to, and with room for nothing.
const ATTRIBUTES: u64 = (raw::MOUNT_ATTR_RDONLY
    | raw::MOUNT_ATTR_NOSUID
    | raw::MOUNT_ATTR_NODEV
    | raw::MOUNT_ATTR_NOEXEC) as u64;
static FILE_SYSTEM: [&CStr; 3] = [c"tmpfs", c"nr_inodes", c"1"];

/// Makes an empty mount namespace, which is there as long as the descriptor is open that is
/// returned.
///
/// # Errors
/// As clone(2) and mount(2); EINVAL where the root of all is an initramfs.
#[cold]
#[inline(never)]
pub fn make() -> Result<RawFd, Errno> {
    let mut made = Err(Errno::CHILD);
    // What it opens is open here, too.
    let flags = raw::CLONE_NEWNS | raw::CLONE_FILES;
    let pid = clone::vfork_by_pid_in(flags, |_| {
        made = fill().map(IntoRawFd::into_raw_fd);
        0
    })?;
    maps::collect(pid.cast_signed());
    made
}

/// Opens the one that `link` leads to.
///
/// # Errors
/// As open(2); ENOTTY if it is no namespace, EBUSY if it has more mounts than one of ours.
pub fn open(link: &CStr) -> Result<OwnedFd, Errno> {
    let namespace = open_held(link)?;
    sys::mount::is_bare(namespace.as_fd())?;
    Ok(namespace)
}

/// Opens what another process is to have open. That may be something else by now: neither
/// does a FIFO keep us waiting, nor does a terminal become ours.
pub(super) fn open_held(path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    fs::open(path, flags, Mode::empty())
}

/// Makes the namespace of this process one.
fn fill() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = fs::open(c"/proc/self/ns/mnt", flags, Mode::empty())?;
    root::make_private().map_err(|_| Errno::INVAL)?;
    let root = make_file_system(ATTRIBUTES, &mut FILE_SYSTEM.into_iter())?;
    attach_over_root(root.as_fd())?;
    process::fchdir(&root)?;
    process::pivot_root(c".", c".")?;
    mount::unmount(c".", UnmountFlags::DETACH)?;
    Ok(namespace)
}

/// Moves this process into a copy of the namespace that is open as `number`.
fn copy_of(number: RawFd) -> Result<(), Errno> {
    let namespace = descriptor::borrow(number).ok_or(Errno::BADF)?;
    thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))?;
    clone::unshare(raw::CLONE_NEWNS.into())?;
    // Only one of ours has a root with a single inode: nothing can be in it.
    if fs::statfs(c"/")?.f_files != 1 {
        return Err(Errno::STALE);
    }
    root::make_private().map_err(|_| Errno::INVAL)
}

impl<'p, 's> Launcher<'p, 's> {
    /// Lets the pod have a copy of the empty mount namespace that `link` leads to, if
    /// there is one, and its plan allows that.
    pub fn copy_empty(&mut self, link: &'s CStr) {
        self.empty = link;
    }

    /// [`Launcher::find_empty`] before the pod's first process is made. If that failed before,
    /// with what others hold, it does without: pid 1 gets a copy of its own.
    pub(super) fn find_all(&mut self) -> Result<(), Error<'p>> {
        self.find_empty();
        if self.copied < 0 && self.take(shared::PLAN).is_some() {
            return self.seal_again();
        }
        Ok(())
    }

    /// Opens what is to be copied, if there is one and the plan allows that; once.
    pub(super) fn find_empty(&mut self) {
        let link = core::mem::take(&mut self.empty);
        if !link.is_empty()
            && let Ok(namespace) = open(link)
            && self.is_simple()
        {
            self.copied = namespace.into_raw_fd();
        }
    }

    /// Whether all steps of the pod work on detached mounts.
    fn is_simple(&self) -> bool {
        let mut records = self.plan.steps().records();
        records.all(|record| {
            let has_users =
                record.is(Kind::Clone) && record.number & u64::from(raw::CLONE_NEWUSER) != 0;
            !has_users && matches!(record.kind, 0..=44 | 47 | 51 | 55..=57 | 60..=99 | 106..)
        })
    }

    /// The steps that are done otherwise.
    #[cold]
    #[inline(never)]
    pub(super) fn step_apart(&mut self, record: &Record<'p>) -> Result<(), Error<'p>> {
        // Each clone of a mount is private, and nothing is put over the host's root.
        if record.is(Kind::Private) || record.is(Kind::AttachRoot) {
            return Ok(());
        }
        match_step!(record {
            Pivot { root } => self.enter_copy(root),
            Overlay { into, layer, attributes, path } => self
                .overlay_apart(into, layer, attributes, path)
                .map_err(|errno| Error::new(What::Mount, path, errno)),
            _ => self.step(record),
        })
    }

    /// [`Launcher::overlay`] of mounts that are attached nowhere: the kernel is given them
    /// by descriptor (Linux 6.15).
    fn overlay_apart(
        &mut self,
        into: Slot,
        layer: Slot,
        attributes: u64,
        path: &CStr,
    ) -> Result<(), Errno> {
        let (lower, _) = self.clone_mount(None, path, false, 0)?;
        let base = self.get(layer);
        for name in [c"upper", c"work"] {
            fs::mkdirat(base, name, Mode::from_raw_mode(0o755))?;
        }
        root::like(base, c"upper", lower.as_fd())?;
        let context = mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        mount::fsconfig_set_fd(context.as_fd(), c"lowerdir+", lower.as_fd())?;
        for (key, name) in [(c"upperdir", c"upper"), (c"workdir", c"work")] {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = fs::openat(base, name, flags, Mode::empty())?;
            mount::fsconfig_set_fd(context.as_fd(), key, directory.as_fd())?;
        }
        let made = make_configured(&context, attributes)?;
        self.put(into, made);
        self.take(layer);
        Ok(())
    }

    /// Moves into a copy, with `root` over its root.
    fn enter_copy(&mut self, root: Slot) -> Result<(), Error<'p>> {
        copy_of(self.copied)
            .and_then(|()| attach_over_root(self.get(root)))
            .map_err(|errno| Error::new(What::PivotInto, c"", errno))?;
        self.chroot(root)
    }
}
