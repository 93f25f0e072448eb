//! The mount calls that rustix lacks.

use super::{arch, descriptor, result};
use core::{ffi::CStr, mem::MaybeUninit};
use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    io::Errno,
};

/// MOUNT_ATTR_* bits of mount_setattr(2).
pub type Attributes = u32;

/// The directory that relative paths start from: AT_FDCWD.
pub const CWD: RawFd = raw::AT_FDCWD;

/// `open_tree_attr(2)` (Linux 6.15): clones a mount, detached, and sets
/// `attributes` on it and, with `recursive`, on all below it, in one call.
/// `directory` `None` is the working directory; an empty `path` with a
/// directory is the directory itself. With `private` they are private, too: nothing that
/// is mounted on them is handed on.
///
/// # Errors
/// ENOSYS before 6.15; as open_tree(2) and mount_setattr(2).
pub fn open_tree_attr(
    directory: Option<BorrowedFd<'_>>,
    path: &CStr,
    recursive: bool,
    attributes: Attributes,
    private: bool,
) -> Result<OwnedFd, Errno> {
    let mut set = mount_attr(attributes);
    if private {
        set.propagation = u64::from(raw::MS_PRIVATE);
    }
    let mut flags = raw::OPEN_TREE_CLONE | raw::OPEN_TREE_CLOEXEC | raw::AT_EMPTY_PATH;
    if recursive {
        flags |= raw::AT_RECURSIVE;
    }
    // SAFETY: the path is zero-terminated and the structure of the size given;
    // both live across the call.
    let fd = result(unsafe {
        arch::syscall(
            raw::__NR_open_tree_attr,
            [
                directory.map_or(CWD, |fd| fd.as_raw_fd()).cast_unsigned() as usize,
                path.as_ptr().expose_provenance(),
                flags as usize,
                (&raw const set).expose_provenance(),
                size_of_val(&set),
                0,
            ],
        )
    })?;
    let fd = RawFd::try_from(fd).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The mount that `file` is on, as /proc/self/mountinfo numbers it: statx(2) with
/// STATX_MNT_ID. `None` before Linux 5.8.
#[must_use]
pub fn id(file: BorrowedFd<'_>) -> Option<u64> {
    let mut status = MaybeUninit::<raw::statx>::zeroed();
    // SAFETY: the path is zero-terminated, the structure the kernel's; both live across the
    // call. All zeroes are a value of it.
    let status = unsafe {
        arch::syscall(
            raw::__NR_statx,
            [
                file.as_raw_fd().cast_unsigned() as usize,
                c"".as_ptr().expose_provenance(),
                raw::AT_EMPTY_PATH as usize,
                raw::STATX_MNT_ID as usize,
                status.as_mut_ptr().expose_provenance(),
            ],
        );
        status.assume_init()
    };
    (status.stx_mask & raw::STATX_MNT_ID != 0).then_some(status.stx_mnt_id)
}

/// `mount_setattr(2)` (Linux 5.12) on the mount that `mount` refers to and,
/// with `recursive`, on all below it.
///
/// # Errors
/// ENOSYS before 5.12; EPERM; EINVAL.
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    attributes: Attributes,
) -> Result<(), Errno> {
    set_attributes(mount, recursive, &mount_attr(attributes))
}

/// The same for `attributes` and a mapping of the ids of its files, which is that
/// of the user namespace `map` (MOUNT_ATTR_IDMAP). The mounts become private, too:
/// a clone of a shared mount would hand on what is mounted on it.
///
/// # Errors
/// ENOSYS before 5.12; EINVAL where the file system can't, or where the mount's
/// ids are mapped already; EPERM without CAP_SYS_ADMIN over the file system.
pub fn map_ids(
    mount: BorrowedFd<'_>,
    recursive: bool,
    attributes: Attributes,
    map: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut set = mount_attr(attributes | raw::MOUNT_ATTR_IDMAP);
    set.propagation = u64::from(raw::MS_PRIVATE);
    set.userns_fd = u64::from(map.as_raw_fd().cast_unsigned());
    set_attributes(mount, recursive, &set)
}

fn set_attributes(
    mount: BorrowedFd<'_>,
    recursive: bool,
    set: &raw::mount_attr,
) -> Result<(), Errno> {
    let mut flags = raw::AT_EMPTY_PATH;
    if recursive {
        flags |= raw::AT_RECURSIVE;
    }
    // SAFETY: as in `open_tree_attr`.
    result(unsafe {
        arch::syscall(
            raw::__NR_mount_setattr,
            [
                mount.as_raw_fd().cast_unsigned() as usize,
                c"".as_ptr().expose_provenance(),
                flags as usize,
                core::ptr::from_ref(set).expose_provenance(),
                size_of_val(set),
                0,
            ],
        )
    })
    .map(drop)
}

fn mount_attr(attributes: Attributes) -> raw::mount_attr {
    raw::mount_attr {
        attr_set: u64::from(attributes),
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    }
}

/// Clones the mount at `name` of the directory `from` and puts it over the same name
/// of the directory `to`.
///
/// # Errors
/// As open_tree(2) and move_mount(2).
pub fn move_clone(from: RawFd, to: RawFd, name: &CStr) -> Result<(), Errno> {
    let name = name.as_ptr().expose_provenance();
    let number = |number: RawFd| number.cast_unsigned() as usize;
    let flags = (raw::OPEN_TREE_CLONE | raw::O_CLOEXEC) as usize;
    // SAFETY: the name is zero-terminated and lives across both calls.
    let tree = result(unsafe {
        arch::syscall(raw::__NR_open_tree, [number(from), name, flags, 0, 0, 0])
    })?;
    let flags = raw::MOVE_MOUNT_F_EMPTY_PATH as usize;
    let empty = c"".as_ptr().expose_provenance();
    // SAFETY: as above.
    result(unsafe {
        arch::syscall(
            raw::__NR_move_mount,
            [tree, empty, number(to), name, flags, 0],
        )
    })?;
    descriptor::close(RawFd::try_from(tree).unwrap_or(-1))
}

/// Checks that `namespace` is a mount namespace of a root, and perhaps an initramfs below it
/// (NS_MNT_GET_INFO, ioctl_nsfs(2), Linux 6.12).
///
/// # Errors
/// EBUSY if it has more mounts than that; as ioctl(2).
pub fn is_bare(namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    // _IOR(0xb7, 10, struct mnt_ns_info): its size, how many mounts, its number.
    const NS_MNT_GET_INFO: usize = 0x8010_b70a;
    let mut info: [u32; 4] = [16, u32::MAX, 0, 0];
    let number = namespace.as_raw_fd().cast_unsigned() as usize;
    let place = info.as_mut_ptr().expose_provenance();
    // SAFETY: the kernel writes 16 bytes at most, of which there are as many.
    result(unsafe { arch::syscall(raw::__NR_ioctl, [number, NS_MNT_GET_INFO, place]) })?;
    let [_, mounts, ..] = info;
    if mounts > 2 { Err(Errno::BUSY) } else { Ok(()) }
}
