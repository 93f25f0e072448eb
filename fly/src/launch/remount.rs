//! Mount attributes before mount_setattr(2) (Linux 5.12): mount(2) changes one
//! mount at a time, and only one that is attached.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, Mode, OFlags},
    io::Errno,
    mount::{MountFlags, mount_remount},
};

use super::path::Path;
use crate::{
    sys,
    text::{decimal, each_line, split},
};

/// Attributes (MOUNT_ATTR_*) that a mount still has to be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    pub attributes: u32,
    pub recursive: bool,
}

impl Pending {
    /// Nothing.
    pub const NONE: Self = Self {
        attributes: 0,
        recursive: false,
    };

    /// Changes `mount`, which is attached now, and the mounts below it.
    pub fn settle(self, mount: BorrowedFd<'_>) -> Result<(), Errno> {
        if self == Self::default() {
            return Ok(());
        }
        self.settle_each(mount)
    }

    /// Apart, so that its path buffers are no part of the stack of a start that
    /// does not need them: each page of them would be a page fault.
    #[cold]
    #[inline(never)]
    fn settle_each(self, mount: BorrowedFd<'_>) -> Result<(), Errno> {
        let own = mount_id(mount)?;
        let mut top = Path::new();
        let mut done = Ok(());
        // The table lists a mount after the mount that it is on.
        each_mount(&mut |entry| {
            if done.is_ok() {
                done = self.settle_one(mount, own, &mut top, &entry);
            }
        })?;
        done?;
        if top.as_bytes().is_empty() {
            return Err(Errno::NOENT);
        }
        Ok(())
    }

    /// Changes the mount `own`, noting where it is, and then those below it.
    fn settle_one(
        self,
        mount: BorrowedFd<'_>,
        own: u64,
        top: &mut Path,
        entry: &Entry<'_>,
    ) -> Result<(), Errno> {
        if entry.id == own {
            top.append(&[entry.point])?;
            return remount_descriptor(mount, self.flags(entry.options));
        }
        if !self.recursive || top.as_bytes().is_empty() {
            return Ok(());
        }
        let Some(path) = entry.below(top) else {
            return Ok(());
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = fs::openat(mount, path.as_c_str(), flags, Mode::empty())?;
        remount_descriptor(below.as_fd(), self.flags(entry.options))
    }

    /// The flags of mount(2): those the mount has, and the new ones.
    fn flags(self, options: &[u8]) -> MountFlags {
        let mut flags = MountFlags::BIND;
        for (name, flag, attribute) in OPTIONS {
            if self.attributes & attribute != 0
                || split(options, b',').any(|option| option == name.as_bytes())
            {
                flags |= flag;
            }
        }
        flags
    }
}

/// Options of a mount, as /proc/self/mountinfo names them, and the attributes
/// that stand for them.
static OPTIONS: [(&str, MountFlags, u32); 7] = [
    ("ro", MountFlags::RDONLY, raw::MOUNT_ATTR_RDONLY),
    ("nosuid", MountFlags::NOSUID, raw::MOUNT_ATTR_NOSUID),
    ("nodev", MountFlags::NODEV, raw::MOUNT_ATTR_NODEV),
    ("noexec", MountFlags::NOEXEC, raw::MOUNT_ATTR_NOEXEC),
    ("noatime", MountFlags::NOATIME, 0),
    ("nodiratime", MountFlags::NODIRATIME, 0),
    ("relatime", MountFlags::RELATIME, 0),
];

/// By descriptor, through the host's procfs, so that no path is walked again.
fn remount_descriptor(mount: BorrowedFd<'_>, flags: MountFlags) -> Result<(), Errno> {
    let path = Path::of_descriptor(b"/proc/self/fd/", mount)?;
    mount_remount(path.as_c_str(), flags, c"")
}

/// The mount that a descriptor is on: by statx(2) from Linux 5.8 on, else by
/// proc_pid_fdinfo(5), which is not for who has changed its user (before Linux 5.14).
fn mount_id(mount: BorrowedFd<'_>) -> Result<u64, Errno> {
    if let Some(id) = sys::mount::id(mount) {
        return Ok(id);
    }
    let path = Path::of_descriptor(b"/proc/self/fdinfo/", mount)?;
    let file = open_to_read(path.as_c_str())?;
    let mut id = None;
    each_line(file.as_fd(), &mut [0; 512], &mut |line| {
        if let Some(number) = line.strip_prefix(b"mnt_id:\t") {
            id = decimal(number);
        }
    })?;
    id.ok_or(Errno::NOENT)
}

/// One line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
struct Entry<'a> {
    id: u64,
    /// Where it is mounted, as the kernel escapes it.
    point: &'a [u8],
    options: &'a [u8],
}

impl<'a> Entry<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = split(line, b' ');
        Some(Self {
            id: decimal(fields.next()?)?,
            point: fields.nth(3)?,
            options: fields.next()?,
        })
    }

    /// The path below `top`, unescaped, if the mount is below it.
    fn below(&self, top: &Path) -> Option<Path> {
        let top = top.as_bytes();
        let top = if top == b"/" { &[] } else { top };
        let rest = self.point.strip_prefix(top)?;
        let mut rest = rest.strip_prefix(b"/")?;
        let mut path = Path::new();
        while let [byte, after @ ..] = rest {
            rest = after;
            let mut byte = *byte;
            if let (b'\\', [a, b, c, after @ ..]) = (byte, rest) {
                rest = after;
                byte = [a, b, c].iter().fold(0_u8, |value, digit| {
                    value.wrapping_mul(8).wrapping_add(digit.wrapping_sub(b'0'))
                });
            }
            path.append(&[&[byte]]).ok()?;
        }
        (!path.as_bytes().is_empty()).then_some(path)
    }
}

fn each_mount(each: &mut dyn FnMut(Entry<'_>)) -> Result<(), Errno> {
    let file = open_to_read(c"/proc/self/mountinfo")?;
    // Longer than two paths can be: what is passed over would stay unchanged.
    let whole = each_line(file.as_fd(), &mut [0; 8192], &mut |line| {
        if let Some(entry) = Entry::parse(line) {
            each(entry);
        }
    })?;
    if whole {
        Ok(())
    } else {
        Err(Errno::NAMETOOLONG)
    }
}

fn open_to_read(path: &CStr) -> Result<OwnedFd, Errno> {
    fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}
