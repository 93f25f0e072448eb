//! Files that are there whole or not at all.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process,
};

use rustix::{
    fs::{AtFlags, CWD, OFlags, linkat},
    io::Errno,
};

use crate::export::error;

/// A file that is being written. It has no name, so that nothing is left of it if this
/// process is killed; where a file system knows no such files it has another one.
#[derive(Debug)]
pub struct Whole {
    file: File,
    target: PathBuf,
    beside: PathBuf,
    /// `beside` is there.
    named: bool,
}

impl Whole {
    /// One that becomes `target`, for its owner only.
    ///
    /// # Errors
    /// It can't be made, or `target` is there and no file.
    pub fn new(target: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(target).is_ok_and(|there| !there.is_file()) {
            return Err(io::Error::other("it is there, and no regular file"));
        }
        let name = target.file_name().ok_or(error(Errno::ISDIR))?;
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", process::id()));
        let beside = folder.join(hidden);
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        let flags = OFlags::TMPFILE.bits().cast_signed();
        let unknown = [Errno::OPNOTSUPP, Errno::ISDIR].map(|errno| Some(errno.raw_os_error()));
        let (file, named) = match options.clone().custom_flags(flags).open(folder) {
            Ok(file) => (file, false),
            Err(error) if unknown.contains(&error.raw_os_error()) => {
                (options.create_new(true).open(&beside)?, true)
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            file,
            target: target.to_owned(),
            beside,
            named,
        })
    }

    /// Where to write to.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it its name; whatever had it before is replaced.
    ///
    /// # Errors
    /// That can't be done.
    pub fn finish(mut self) -> io::Result<()> {
        if !self.named {
            let own = CString::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
            let beside = CString::new(self.beside.as_os_str().as_bytes())?;
            // Of a process that had the same number and was killed just here.
            let _ = fs::remove_file(&self.beside);
            linkat(CWD, &*own, CWD, &*beside, AtFlags::SYMLINK_FOLLOW).map_err(error)?;
            self.named = true;
        }
        fs::rename(&self.beside, &self.target)?;
        self.named = false;
        Ok(())
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if self.named {
            // There is nothing left to do about it.
            let _ = fs::remove_file(&self.beside);
        }
    }
}
