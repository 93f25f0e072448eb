//! The network of a pod, if it is somebody else's, or was made before the pod was.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::AsFd,
    fs::{self, Mode, OFlags},
    io::Errno,
    thread,
};

use super::{explain, path::Path, process};
use crate::{
    error::{Advice, Error, What, Why},
    sys::descriptor,
    text::{decimal, split},
};

/// Joins the network namespace at `path`, while nothing but the host is there to be
/// seen. The kernel takes a namespace of this kind only.
#[cold]
#[inline(never)]
pub(super) fn join_network(path: &CStr) -> Result<(), Error<'_>> {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    // Neither does a FIFO keep us waiting, nor does a terminal become ours.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file =
        fs::open(path, flags, Mode::empty()).map_err(|errno| explain::host_path(path, errno))?;
    let failed = |why: Why| Err(Error::new(What::JoinNetwork, path, why));
    if fs::fstatfs(&file).map_or(true, |status| status.f_type != NSFS_MAGIC) {
        return failed(Why::NoNamespace);
    }
    let kind = thread::LinkNameSpaceType::Network;
    match thread::move_into_link_name_space(file.as_fd(), Some(kind)) {
        Err(Errno::INVAL) => failed(Why::OtherNamespace),
        done => done.map_err(|errno| {
            const ADVICES: &explain::Advices = &[(Errno::PERM, Advice::NeedsRoot)];
            explain::error(What::JoinNetwork, path, errno, ADVICES)
        }),
    }
}

/// Joins a network namespace of the pool in the directory `pool`; if that has none it
/// makes one, with lo up.
#[cold]
#[inline(never)]
pub(super) fn join_pooled<'p>(pool: &CStr) -> Result<(), Error<'p>> {
    let mut path = Path::new();
    let mut next = [0; 96];
    // The one that was shown last: mostly there is no need to look for others.
    set(&mut path, &[pool.to_bytes(), b"/next"]);
    let length = fs::readlinkat_raw(fs::CWD, path.as_c_str(), &mut next).unwrap_or(0);
    let next = next.get(..length).unwrap_or_default();
    let mut joined = join_one(pool, next, &mut path);
    if joined.is_none() {
        descriptor::each_name(pool, &mut |name| {
            joined = joined.or_else(|| join_one(pool, name, &mut path));
        });
    }
    if joined.is_some() {
        return Ok(());
    }
    process::unshare(raw::CLONE_NEWNET.into())?;
    process::loopback()
}

/// Makes `parts` the path; what would be too long is cut, and not found.
#[inline(never)]
fn set(path: &mut Path, parts: &[&[u8]]) {
    path.cut(0);
    let _ = path.append(parts);
}

/// Joins the namespace whose holder, a process, has the pipe `name` open: its pid, the
/// inode of the namespace, and what makes the name one that is never used again, each
/// behind a dash. Who removes the name has the namespace, and nobody else. `None` if it
/// is no such name, or somebody else's by now, or its holder was killed.
///
/// What is opened is closed when this process ends, and the pod has ended before: then the
/// holder leaves the namespace, which is used once, and makes another one.
#[inline(never)]
fn join_one(pool: &CStr, name: &[u8], path: &mut Path) -> Option<()> {
    let mut parts = split(name, b'-');
    let (pid, inode) = (parts.next()?, decimal(parts.next()?)?);
    set(path, &[b"/proc/", pid, b"/ns/net"]);
    let namespace = descriptor::open(path.as_c_str(), raw::O_RDONLY).ok()?;
    let namespace = descriptor::borrow(namespace)?;
    if fs::fstat(namespace).ok()?.st_ino != inode {
        return None;
    }
    set(path, &[pool.to_bytes(), b"/", name]);
    // ENXIO if nobody reads. Otherwise the holder is there, and has been all the time, and
    // so has its namespace: no two that exist have one number, whoever has which pid.
    let pipe = descriptor::open(path.as_c_str(), raw::O_WRONLY | raw::O_NONBLOCK).ok()?;
    if fs::unlink(path.as_c_str()).is_err() {
        let _ = descriptor::close(pipe);
        return None;
    }
    let kind = thread::LinkNameSpaceType::Network;
    thread::move_into_link_name_space(namespace, Some(kind)).ok()
}
