//! `--insecure-options`: the parts of the confinement that are taken away.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    text::split,
};

/// Some parts of the confinement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insecure(u8);

impl Insecure {
    /// All capabilities are kept, and device nodes of the root work.
    pub const CAPABILITIES: Self = Self(1);
    /// New privileges by exec are allowed.
    pub const NO_NEW_PRIVILEGES: Self = Self(2);
    /// There is no filter of system calls.
    pub const SECCOMP: Self = Self(4);
    /// No path is masked or read-only.
    pub const PATHS: Self = Self(8);
    /// All of that.
    pub const ALL: Self = Self(15);

    /// Whether this part is taken away.
    #[must_use]
    pub fn has(self, part: Self) -> bool {
        self.0 & part.0 == part.0
    }

    /// Takes away what `other` does, too.
    pub(super) fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Reads the names, those of rkt among them.
    pub(super) fn parse(text: &CStr) -> Result<Self, Error<'_>> {
        let mut parts = Self::default();
        for name in split(text.to_bytes(), b',') {
            parts.add(match name {
                b"none" => Self::default(),
                b"capabilities" => Self::CAPABILITIES,
                b"no-new-privs" => Self::NO_NEW_PRIVILEGES,
                b"seccomp" => Self::SECCOMP,
                b"paths" => Self::PATHS,
                b"all" | b"all-run" => Self::ALL,
                // To take away what is not there would look like a promise.
                b"image" | b"tls" | b"http" | b"ondisk" | b"pubkey" | b"all-fetch" => {
                    return Err(Error::new(What::ReadOption, text, Why::NotCheckedYet));
                }
                _ => return Err(Error::new(What::ReadOption, text, Why::NoInsecure)),
            });
        }
        Ok(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let of = |text| Insecure::parse(text).ok().map(|Insecure(bits)| bits);
        for (text, bits) in [
            (c"all", Some(15)),
            (c"all-run", Some(15)),
            (c"none", Some(0)),
            (c"capabilities", Some(1)),
            (c"no-new-privs,seccomp", Some(6)),
            (c"paths,none", Some(8)),
            (c"paths,paths", Some(8)),
            (c"", None),
            (c"paths,", None),
            (c",paths", None),
            (c"PATHS", None),
            (c"seccomp paths", None),
            (c"image", None),
            (c"paths,tls", None),
        ] {
            assert_eq!(of(text), bits, "{text:?}");
        }
    }
}
