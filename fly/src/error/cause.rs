//! Why something failed, in 16 bits.

use rustix::io::Errno;

use super::{Reason, Why};

/// Why a step failed: the kernel's answer, a [`Why`], or a [`Reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause(pub(super) u16);

impl Cause {
    /// Somebody else has told it already.
    pub(super) const TOLD: Self = Self(0x4000);
    pub(super) const WHY: u16 = 0x2000;
    pub(super) const REASON: u16 = 0x3000;
    /// The bits that tell the kinds apart. Error numbers are below them.
    pub(super) const KIND: u16 = 0xf000;
    /// Beside these: a line of a file, whose number follows.
    pub(super) const LINE: u16 = 0x8000;

    /// The last line that can be told.
    pub const MAX_LINE: u16 = Self::LINE - 1;

    /// The line `number` of the object is wrong.
    #[must_use]
    pub fn line(number: u16) -> Self {
        Self(Self::LINE | number)
    }
}

impl From<Errno> for Cause {
    #[inline]
    fn from(errno: Errno) -> Self {
        let [low, high, ..] = errno.raw_os_error().to_le_bytes();
        Self(u16::from_le_bytes([low, high]))
    }
}

impl From<Why> for Cause {
    #[inline]
    fn from(why: Why) -> Self {
        Self(Self::WHY | why as u16)
    }
}

impl From<Reason> for Cause {
    #[inline]
    fn from(reason: Reason) -> Self {
        Self(Self::REASON | reason as u16)
    }
}
