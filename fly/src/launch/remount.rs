//! Mount attributes before mount_setattr(2) (Linux 5.12): mount(2) changes one
//! mount at a time, and only one that is attached.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd},
    fs::{self, Mode, OFlags},
    io::Errno,
    mount::{MountFlags, mount_remount},
};

use crate::text::{Digits, decimal};

/// Attributes (MOUNT_ATTR_*) that a mount still has to be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    pub attributes: u32,
    pub recursive: bool,
}

impl Pending {
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
        let mut changed = Ok(false);
        let own = mount_id(mount)?;
        let mut top = Name::default();
        // The table lists a mount after the mount that it is on.
        each_mount(&mut |entry| {
            if changed.is_err() {
                return;
            }
            if entry.id == own {
                top = Name::of(entry.point);
                changed = remount_descriptor(mount, self.flags(entry.options)).map(|()| true);
            } else if self.recursive && changed == Ok(true) {
                if let Some(below) = entry.below(&top) {
                    changed = self
                        .remount_below(mount, &below, entry.options)
                        .map(|()| true);
                }
            }
        })?;
        match changed {
            Ok(true) => Ok(()),
            Ok(false) => Err(Errno::NOENT),
            Err(errno) => Err(errno),
        }
    }

    fn remount_below(self, top: BorrowedFd<'_>, path: &Name, options: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = fs::openat(top, path.as_c_str(), flags, Mode::empty())?;
        remount_descriptor(below.as_fd(), self.flags(options))
    }

    /// The flags of mount(2): those the mount has, and the new ones.
    fn flags(self, options: &[u8]) -> MountFlags {
        let mut flags = MountFlags::BIND;
        for option in options.split(|byte| *byte == b',') {
            flags |= match option {
                b"ro" => MountFlags::RDONLY,
                b"nosuid" => MountFlags::NOSUID,
                b"nodev" => MountFlags::NODEV,
                b"noexec" => MountFlags::NOEXEC,
                b"noatime" => MountFlags::NOATIME,
                b"nodiratime" => MountFlags::NODIRATIME,
                b"relatime" => MountFlags::RELATIME,
                _ => continue,
            };
        }
        for (attribute, flag) in [
            (raw::MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
            (raw::MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
            (raw::MOUNT_ATTR_NODEV, MountFlags::NODEV),
            (raw::MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC),
        ] {
            flags.set(
                flag,
                self.attributes & attribute != 0 || flags.contains(flag),
            );
        }
        flags
    }
}

/// By descriptor, through the host's procfs, so that no path is walked again.
fn remount_descriptor(mount: BorrowedFd<'_>, flags: MountFlags) -> Result<(), Errno> {
    mount_remount(
        descriptor_path(b"/proc/self/fd/", mount).as_c_str(),
        flags,
        c"",
    )
}

fn descriptor_path(prefix: &[u8], descriptor: BorrowedFd<'_>) -> Name {
    let mut path = Name::of(prefix);
    let number = u64::from(descriptor.as_raw_fd().unsigned_abs());
    for byte in Digits::new(number, 10).as_bytes() {
        path.push(*byte);
    }
    path
}

/// The mount that a descriptor is on (proc_pid_fdinfo(5), `mnt_id`).
fn mount_id(mount: BorrowedFd<'_>) -> Result<u64, Errno> {
    let path = descriptor_path(b"/proc/self/fdinfo/", mount);
    let file = fs::open(
        path.as_c_str(),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut bytes = [0; 512];
    let count = rustix::io::read(&file, &mut bytes)?;
    let text = bytes.get(..count).unwrap_or_default();
    text.split(|byte| *byte == b'\n')
        .find_map(|line| decimal(line.strip_prefix(b"mnt_id:\t")?))
        .ok_or(Errno::NOENT)
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
        let mut fields = line.split(|byte| *byte == b' ');
        Some(Self {
            id: decimal(fields.next()?)?,
            point: fields.nth(3)?,
            options: fields.next()?,
        })
    }

    /// The path below `top`, unescaped, if the mount is below it.
    fn below(&self, top: &Name) -> Option<Name> {
        let rest = self.point.strip_prefix(top.as_bytes())?;
        let rest = if top.as_bytes() == b"/" {
            rest
        } else {
            rest.strip_prefix(b"/")?
        };
        let mut path = Name::default();
        let mut bytes = rest.iter().copied();
        while let Some(byte) = bytes.next() {
            path.push(if byte == b'\\' {
                bytes.by_ref().take(3).fold(0_u8, |value, digit| {
                    value.wrapping_mul(8).wrapping_add(digit.wrapping_sub(b'0'))
                })
            } else {
                byte
            });
        }
        (path.used > 0).then_some(path)
    }
}

fn each_mount(entry: &mut dyn FnMut(Entry<'_>)) -> Result<(), Errno> {
    let file = fs::open(
        c"/proc/self/mountinfo",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut buffer = [0; 8192];
    let mut used = 0;
    loop {
        let room = buffer.get_mut(used..).unwrap_or_default();
        if room.is_empty() {
            // A line longer than two paths can be.
            return Err(Errno::NAMETOOLONG);
        }
        let count = rustix::io::read(&file, room)?;
        if count == 0 {
            return Ok(());
        }
        used += count;
        let filled = buffer.get(..used).unwrap_or_default();
        let whole = filled
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        for line in filled
            .get(..whole)
            .unwrap_or_default()
            .split(|byte| *byte == b'\n')
        {
            if let Some(line) = Entry::parse(line) {
                entry(line);
            }
        }
        buffer.copy_within(whole..used, 0);
        used -= whole;
    }
}

/// A path in a fixed buffer; what does not fit makes it a path that is not
/// there.
struct Name {
    bytes: [u8; crate::plan::MAX_PATH],
    used: usize,
}

impl Default for Name {
    fn default() -> Self {
        Self {
            bytes: [0; crate::plan::MAX_PATH],
            used: 0,
        }
    }
}

impl Name {
    fn of(bytes: &[u8]) -> Self {
        let mut name = Self::default();
        for byte in bytes {
            name.push(*byte);
        }
        name
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.used) {
            *place = byte;
            self.used += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"/too/long")
    }
}
