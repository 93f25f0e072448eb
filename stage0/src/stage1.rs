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

/// A path in a buffer of the caller's.
pub struct Name<'b> {
    bytes: &'b mut [u8],
}

impl<'b> Name<'b> {
    /// An empty path; `bytes` holds MAX_PATH bytes.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes }
    }

    /// The program of the `init` flavour: as named by `--stage1`, else beside
    /// the running stage0, else in libexec of the same installation. Empty for
    /// the flavours that need none.
    ///
    /// # Errors
    /// Where it is found nowhere.
    pub fn find<'n, 'a: 'n, I>(
        &'n mut self,
        options: &Options<'a, I>,
    ) -> Result<&'n CStr, Error<'a>> {
        match options.stage1 {
            Stage1::Init(Some(path)) => return Ok(path),
            Stage1::Init(None) => {}
            Stage1::Fly | Stage1::Other(_) => return Ok(c""),
        }
        let failed =
            |errno| Error::new(What::Find, c"stage1-init", errno).advice(Advice::NameStage1);
        let own =
            fs::readlinkat_raw(fs::CWD, c"/proc/self/exe", &mut *self.bytes).map_err(failed)?;
        let folder = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let beside = folder(self.bytes.get(..own).unwrap_or_default());
        if self.exists(beside, b"/stage1-init") {
            return Ok(self.as_c_str());
        }
        let prefix = folder(self.bytes.get(..beside).unwrap_or_default());
        if self.exists(prefix, b"/libexec/kickstage/stage1-init") {
            return Ok(self.as_c_str());
        }
        Err(failed(Errno::NOENT))
    }

    /// Puts `tail` after the first `length` bytes; whether that can be executed.
    fn exists(&mut self, length: usize, tail: &[u8]) -> bool {
        let end = length + tail.len();
        let Some(place) = self.bytes.get_mut(length..=end) else {
            return false;
        };
        for (byte, from) in place.iter_mut().zip(tail.iter().chain(&[0])) {
            *byte = *from;
        }
        fs::access(self.as_c_str(), Access::EXEC_OK).is_ok()
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(self.bytes).unwrap_or_default()
    }
}
