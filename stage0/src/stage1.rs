//! Where pid 1's program is.

use core::ffi::CStr;

use fly::error::{Advice, Error, What};
use rustix::{
    fs::{self, Access},
    io::Errno,
};

use crate::options::{Options, Stage1};

/// The name of our own stage 1.
pub const FILE_NAME: &[u8] = b"stage1-init";

/// The longest path of a stage1-init that is looked for; a longer one can be
/// named by `--stage1`.
pub const MAX_NAME: usize = 1024;

/// A path in a buffer of the caller's.
pub struct Name<'b> {
    bytes: &'b mut [u8],
}

impl<'b> Name<'b> {
    /// An empty path; `bytes` holds [`MAX_NAME`] bytes.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes }
    }

    /// The program of the `init` flavour: as named by `--stage1`, else beside
    /// the running stage0, else in libexec of the same installation. Empty for
    /// the flavours that need none.
    ///
    /// `executed` is how stage0 was called, which costs nothing to know. Whether
    /// the program is there is then for the launch to see, which opens it anyway;
    /// where it is not, without `executed` the kernel is asked for the file.
    ///
    /// # Errors
    /// Where it is found nowhere.
    pub fn find<'n, 'a: 'n, I>(
        &'n mut self,
        options: &Options<'a, I>,
        executed: Option<&CStr>,
    ) -> Result<&'n CStr, Error<'a>> {
        match options.stage1 {
            Stage1::Init(Some(path)) => return Ok(path),
            Stage1::Init(None) => {}
            Stage1::Fly | Stage1::Other(_) => return Ok(c""),
        }
        if let Some(path) = executed {
            let path = path.to_bytes();
            let beside = folder(path.len(), path);
            if let (Some(place), Some(from)) = (self.bytes.get_mut(..beside), path.get(..beside)) {
                place.copy_from_slice(from);
                if beside > 0 && self.join(beside, b"/stage1-init") {
                    return Ok(self.as_c_str());
                }
            }
        }
        self.find_beside_the_file().map_err(|errno| {
            Error::new(What::Find, c"stage1-init", errno).advice(Advice::NameStage1)
        })
    }

    /// The program that is used when none is named.
    #[must_use]
    pub fn beside(&mut self) -> Option<&CStr> {
        self.find_beside_the_file().ok()
    }

    #[cold]
    fn find_beside_the_file(&mut self) -> Result<&CStr, Errno> {
        let own = fs::readlinkat_raw(fs::CWD, c"/proc/self/exe", &mut *self.bytes)?;
        let beside = folder(own, self.bytes);
        if self.exists(beside, b"/stage1-init") {
            return Ok(self.as_c_str());
        }
        let prefix = folder(beside, self.bytes);
        if self.exists(prefix, b"/libexec/kickstage/stage1-init") {
            return Ok(self.as_c_str());
        }
        Err(Errno::NOENT)
    }

    /// Whether `tail` after the first `length` bytes can be executed.
    fn exists(&mut self, length: usize, tail: &[u8]) -> bool {
        self.join(length, tail) && fs::access(self.as_c_str(), Access::EXEC_OK).is_ok()
    }

    /// Puts `tail` after the first `length` bytes, if there is room.
    fn join(&mut self, length: usize, tail: &[u8]) -> bool {
        let end = length + tail.len();
        let Some(place) = self.bytes.get_mut(length..=end) else {
            return false;
        };
        for (byte, from) in place.iter_mut().zip(tail.iter().chain(&[0])) {
            *byte = *from;
        }
        true
    }

    fn as_c_str(&self) -> &CStr {
        fly::sys::memory::c_str(self.bytes).unwrap_or_default()
    }
}

/// The length of the folder's name in the first `length` bytes of `path`.
fn folder(length: usize, path: &[u8]) -> usize {
    let path = path.get(..length).unwrap_or_default();
    path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)
}
