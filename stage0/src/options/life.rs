//! Where a pod is registered, how long it lives, and what is left of it.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    text::decimal,
};

/// One option of them.
#[derive(Clone, Copy, Debug)]
pub enum Life<'a> {
    /// `--register`
    Register(bool),
    /// `--detach`
    Detach(bool),
    /// `--keep`, or not: `--rm`
    Keep(bool),
    /// `--uuid-file-save FILE`
    UuidFile(&'a CStr),
    /// `--state-dir DIR`
    StateDirectory(&'a CStr),
    /// `--timeout SECONDS`, in milliseconds.
    Timeout(u64),
    /// `--warm`
    Warm(bool),
    /// `--pool NAME`
    Pool(&'a CStr),
}

/// All of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lives<'a> {
    register: bool,
    /// The pod runs on its own, and stage0 returns when it is ready.
    pub detach: bool,
    keep: Option<bool>,
    /// Where the pod's uuid is written to.
    pub uuid_file: Option<&'a CStr>,
    /// Where pods are registered, if not at the usual place.
    pub state_directory: Option<&'a CStr>,
    /// Milliseconds until the pod is stopped; 0 for never.
    pub timeout: u64,
    /// It is prepared as a whole, but for its programs.
    pub warm: bool,
    /// The pool that it is of.
    pub pool: Option<&'a CStr>,
}

impl<'a> Lives<'a> {
    pub(crate) fn set(&mut self, life: Life<'a>) {
        match life {
            Life::Register(yes) => self.register = yes,
            Life::Detach(yes) => self.detach = yes,
            Life::Keep(yes) => self.keep = Some(yes),
            Life::UuidFile(path) => self.uuid_file = Some(path),
            Life::StateDirectory(path) => self.state_directory = Some(path),
            Life::Timeout(time) => self.timeout = time,
            Life::Warm(yes) => self.warm = yes,
            Life::Pool(name) => self.pool = Some(name),
        }
    }

    /// The pod gets a uuid without an option that says so.
    pub fn register(&mut self) {
        self.register = true;
    }

    /// Nothing of the pod stays, whatever was said.
    pub fn forget(&mut self) {
        self.keep = Some(false);
    }

    /// An option that is not about a run that was not prepared, and why.
    #[must_use]
    pub fn is_of_a_preparation(&self) -> Option<(&'static CStr, Why)> {
        match (self.warm, self.pool) {
            (true, _) => Some((c"--warm", Why::OfThePreparation)),
            (_, Some(_)) => Some((c"--pool", Why::OnlyWarm)),
            _ => None,
        }
    }

    /// An option that is about the run of a pod, not about its preparation.
    #[must_use]
    pub fn is_of_a_run(&self) -> Option<&'static CStr> {
        if self.detach {
            Some(c"--detach")
        } else if self.keep.is_some() {
            // Each may have been said of the other one, as --keep=false.
            Some(c"--keep or --rm")
        } else if self.timeout != 0 {
            Some(c"--timeout")
        } else {
            None
        }
    }

    /// An option by which the pod gets a uuid and a place in the list of pods.
    #[must_use]
    pub fn registers(&self) -> Option<&'static CStr> {
        if self.register {
            Some(c"--register")
        } else if self.detach {
            Some(c"--detach")
        } else if self.keep == Some(true) {
            Some(c"--keep")
        } else if self.uuid_file.is_some() {
            Some(c"--uuid-file-save")
        } else {
            None
        }
    }

    /// Whether what is told of it stays when it has ended.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.keep.unwrap_or(self.detach)
    }
}

/// Reads seconds, or with `ms` behind them milliseconds, as milliseconds; not 0.
///
/// # Errors
/// Names the `option` if it is none.
pub(super) fn time<'a>(text: &CStr, option: &'a CStr) -> Result<u64, Error<'a>> {
    milliseconds(text.to_bytes())
        .filter(|time| *time != 0 && *time <= MOST)
        .ok_or(Error::new(What::ReadOption, option, Why::NoSeconds))
}

/// The name of a pool, which is that of a directory.
///
/// # Errors
/// Names what is none.
pub fn pool(text: &CStr) -> Result<&CStr, Error<'_>> {
    match text.to_bytes() {
        b"" | b"." | b".." => {}
        bytes if bytes.contains(&b'/') => {}
        _ => return Ok(text),
    }
    Err(Error::new(What::ReadOption, text, Why::NoPoolName))
}

/// More than a century.
const MOST: u64 = 1 << 42;

/// The same; 0 is one, too.
#[must_use]
pub fn milliseconds(text: &[u8]) -> Option<u64> {
    match text.strip_suffix(b"ms") {
        Some(digits) => decimal(digits),
        None => decimal(text).and_then(|seconds| seconds.checked_mul(1000)),
    }
}
