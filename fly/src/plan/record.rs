//! How a plan is laid out in bytes.
//!
//! Header (24 bytes): magic, version, length of the whole, number of steps.
//! Then the records, each a multiple of 8 bytes long: 24 bytes of numbers and
//! the strings, zero-terminated, so that the kernel can be given a pointer
//! into the plan. Numbers have the machine's byte order: a plan never leaves
//! the machine that made it, or one of the same kind.

use core::ffi::CStr;

use super::VERSION;

/// The first bytes of a plan.
const MAGIC: [u8; 8] = *b"KICKPLAN";

/// The plan's first 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the whole plan in bytes.
    pub length: u64,
    /// Number of records.
    pub count: u32,
    /// The format's version.
    pub version: u32,
}

impl Header {
    /// Its size in bytes.
    pub const SIZE: usize = 24;

    /// The header of a plan with `records` bytes in `count` records.
    pub fn new(records: usize, count: usize) -> Self {
        Self {
            length: (records + Self::SIZE) as u64,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            version: VERSION,
        }
    }

    /// As stored.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, self.version.to_ne_bytes());
        put(&mut bytes, 12, self.count.to_ne_bytes());
        put(&mut bytes, 16, self.length.to_ne_bytes());
        bytes
    }

    /// Reads it; `None` if there are too few bytes or the magic is another.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..8)? != MAGIC {
            return None;
        }
        Some(Self {
            version: u32_at(bytes, 8)?,
            count: u32_at(bytes, 12)?,
            length: u64_at(bytes, 16)?,
        })
    }
}

/// One step as stored, before its kind is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// Which step ([`super::Kind`]).
    pub kind: u16,
    /// Small options; their meaning depends on the kind.
    pub flags: u16,
    /// The first descriptor slot.
    pub slot: u8,
    /// The second descriptor slot.
    pub other: u8,
    /// A number; its meaning depends on the kind.
    pub number: u64,
    /// Strings.
    pub list: List<'a>,
}

impl Record<'_> {
    /// Size of the numbers in bytes.
    pub const FIXED: usize = 24;
    /// Where among them the number is.
    pub(super) const NUMBER: usize = 8;
    /// Where among them the number and the length of the strings are.
    pub(super) const COUNT: usize = 16;
}

impl<'a> Record<'a> {
    /// Whether its step is of this kind.
    #[must_use]
    pub fn is(&self, kind: super::Kind) -> bool {
        self.kind == kind as u16
    }

    /// The first record of `bytes`, which become what follows it.
    #[inline(never)]
    pub fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let (fixed, rest) = bytes.split_first_chunk::<{ Record::FIXED }>()?;
        let count = u32_at(fixed, 16)?;
        let length = usize::try_from(u32_at(fixed, 20)?).ok()?;
        let padded = length.checked_next_multiple_of(8)?;
        let (strings, rest) = rest.split_at_checked(padded)?;
        let record = Self {
            kind: u16_at(fixed, 0)?,
            flags: u16_at(fixed, 2)?,
            slot: *fixed.get(4)?,
            other: *fixed.get(5)?,
            number: u64_at(fixed, 8)?,
            list: List {
                count,
                bytes: strings.get(..length)?,
            },
        };
        *bytes = rest;
        Some(record)
    }

    /// What is stored before the number.
    #[inline]
    pub(super) fn head(&self) -> [u8; 8] {
        let [kind, kind_high] = self.kind.to_ne_bytes();
        let [flags, flags_high] = self.flags.to_ne_bytes();
        [
            kind, kind_high, flags, flags_high, self.slot, self.other, 0, 0,
        ]
    }
}

/// Stores `value` at `at`, if it fits there.
#[inline]
pub(super) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = value;
    }
}

/// Zero-terminated strings, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct List<'a> {
    /// How many there are.
    pub(super) count: u32,
    /// The strings with their terminators.
    pub(super) bytes: &'a [u8],
}

impl<'a> List<'a> {
    /// The `count` strings in `bytes`, each with its terminator.
    #[must_use]
    pub const fn of(count: u32, bytes: &'a [u8]) -> Self {
        Self { count, bytes }
    }

    /// How many strings there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first string; empty if there is none.
    #[must_use]
    #[inline(never)]
    pub fn first(&self) -> &'a CStr {
        self.clone_iter().next().unwrap_or(c"")
    }

    /// The second string; empty if there is none.
    #[must_use]
    pub fn second(&self) -> &'a CStr {
        self.clone_iter().nth(1).unwrap_or(c"")
    }

    /// All strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a CStr> + Clone + use<'a> {
        self.clone_iter()
    }

    fn clone_iter(&self) -> ListIter<'a> {
        ListIter { rest: self.bytes }
    }

    /// The strings with their terminators, as stored; of a step without strings its
    /// bytes.
    pub(super) fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

#[derive(Clone)]
struct ListIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ListIter<'a> {
    type Item = &'a CStr;

    #[inline(never)]
    fn next(&mut self) -> Option<&'a CStr> {
        let string = crate::sys::memory::c_str(self.rest)?;
        self.rest = self.rest.get(string.count_bytes() + 1..)?;
        Some(string)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}
