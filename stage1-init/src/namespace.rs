//! Apps that are pid 1 of a pid namespace of their own, or have a root of their own.

use core::ffi::CStr;

use fly::{
    plan::List,
    sys::{mount::move_clone, path},
};
use linux_raw_sys::general as raw;
use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::pivot_root,
};

/// The namespaces of such an app; the mounts are for its /proc.
pub(crate) const NAMESPACES: u32 = raw::CLONE_NEWPID | raw::CLONE_NEWNS;
/// That of an app with a root of its own.
pub(crate) const ROOT: u32 = raw::CLONE_NEWNS;

/// In the app's process, before all that names a path: the mount at `path` is the root
/// of its mount namespace, in which nothing else of the pod is left; not even a process
/// with the capability sys_chroot finds a way to another root.
#[cold]
#[inline(never)]
pub(crate) fn enter_root(path: &CStr) -> Result<(), Errno> {
    path::enter(path)?;
    // The old root is mounted over the new one then (pivot_root(2), NOTES).
    pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)
}

/// In the app's process, before anything else: /proc of its namespace, with what of
/// the pod's is hidden or read-only, at the same names.
#[cold]
#[inline(never)]
pub(crate) fn enter(names: List<'_>) -> Result<(), Errno> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let pods = path::open(c"/proc", raw::O_DIRECTORY)?;
    mount(c"proc", c"/proc", c"proc", flags, None)?;
    let own = path::open(c"/proc", raw::O_DIRECTORY)?;
    for name in names.iter() {
        match move_clone(pods, own, name) {
            // This kernel does not have it.
            Err(Errno::NOENT) => {}
            done => done?,
        }
    }
    Ok(())
}
