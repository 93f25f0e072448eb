//! Names of a pod's network: the files of /etc that say what they stand for.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd},
    fs::{self, FileType, Mode, OFlags},
    io::Errno,
};

use super::{Launcher, explain, files, walk_inside};
use crate::{
    error::{Error, What},
    plan::{List, Slot},
    text::Line,
};

/// How a file of the host is seen in the pod.
const ATTRIBUTES: u64 = (raw::MOUNT_ATTR_RDONLY
    | raw::MOUNT_ATTR_NOSUID
    | raw::MOUNT_ATTR_NODEV
    | raw::MOUNT_ATTR_NOEXEC) as u64;

impl<'p> Launcher<'p, '_> {
    pub(super) fn host_files(&mut self, under: Slot, paths: List<'p>) -> Result<(), Error<'p>> {
        for path in paths.iter() {
            self.host_file(under, path)?;
        }
        Ok(())
    }

    /// A root without the file, or with something else in its place, stays as it is:
    /// nobody has asked for this.
    fn host_file(&mut self, under: Slot, path: &'p CStr) -> Result<(), Error<'p>> {
        let Ok(place) = walk_inside(self.get(under), path, OFlags::PATH) else {
            return Ok(());
        };
        if !is_file(place.as_fd())
            || files::refuse_kernel_file_systems(place.as_fd(), path).is_err()
        {
            return Ok(());
        }
        let (file, pending) = match self.clone_from_below(path, false, ATTRIBUTES) {
            Err(Errno::NOENT) => return Ok(()),
            done => done.map_err(|errno| explain::host_path(path, errno))?,
        };
        match files::move_onto(file.as_fd(), place.as_fd()) {
            Err(_) if !is_file(file.as_fd()) => Ok(()),
            done => done.and_then(|()| pending.settle(file.as_fd())),
        }
        .map_err(|errno| Error::new(What::MountOn, path, errno))
    }

    #[cold]
    #[inline(never)]
    pub(super) fn write(
        &mut self,
        under: Slot,
        mode: u64,
        lines: List<'p>,
    ) -> Result<(), Error<'p>> {
        let name = lines.first();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(u32::try_from(mode).unwrap_or(0));
        let file = fs::openat(self.get(under), name, flags, mode)
            .map_err(|errno| Error::new(What::MakeFile, name, errno))?;
        for text in lines.iter().skip(1) {
            let mut line = Line::new(file.as_raw_fd());
            if !line.bytes(text.to_bytes()).end() {
                return Err(Error::new(What::WriteFile, name, Errno::NOSPC));
            }
        }
        Ok(())
    }
}

fn is_file(file: BorrowedFd<'_>) -> bool {
    fs::fstat(file)
        .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::RegularFile)
}
