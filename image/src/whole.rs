//! Files that are there whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat, open},
    io::Errno,
};

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
        let name = target.file_name().ok_or(Errno::ISDIR)?;
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", process::id()));
        let beside = folder.join(hidden);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let (file, named) = match open(folder, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => (File::from(file), false),
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let mut options = OpenOptions::new();
                options.write(true).create_new(true).mode(0o600);
                (options.open(&beside)?, true)
            }
            Err(errno) => return Err(errno.into()),
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
            let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            // Of a process that had the same number and was killed just here.
            let _ = fs::remove_file(&self.beside);
            linkat(CWD, own, CWD, &self.beside, AtFlags::SYMLINK_FOLLOW)?;
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
