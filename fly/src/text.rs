//! Numbers and lines without `core::fmt`, which would cost 6 KB a program.

use rustix::{
    fd::{AsRawFd, BorrowedFd},
    io::Errno,
};

use crate::{
    packed::Packed,
    sys::{
        descriptor,
        signal::{self, Set},
    },
};
use linux_raw_sys::general as raw;

/// A decimal number, exactly: digits only, no sign, no leading zero but for
/// "0" itself, no overflow (CVE-2026-30892: `1` must not be read as root).
#[must_use]
#[inline(never)]
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || (text.len() > 1 && text.first() == Some(&b'0')) {
        return None;
    }
    let mut value: u64 = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// A number of bytes: `65536`, `64K`, `2M`, `1G`. Not 0, which means without a limit
/// to a tmpfs, and no more than a file can have (off_t).
#[must_use]
pub fn size(text: &[u8]) -> Option<u64> {
    let (number, shift) = match text {
        [number @ .., b'K' | b'k'] => (number, 10),
        [number @ .., b'M' | b'm'] => (number, 20),
        [number @ .., b'G' | b'g'] => (number, 30),
        number => (number, 0),
    };
    decimal(number)?
        .checked_mul(1 << shift)
        .filter(|size| *size != 0 && i64::try_from(*size).is_ok())
}

/// The parts of `bytes` between `separator`s; one function for all, where
/// `slice::split` would be one a caller.
#[must_use]
pub fn split(bytes: &[u8], separator: u8) -> Split<'_> {
    Split {
        rest: Some(bytes),
        separator,
    }
}

impl<'a> Split<'a> {
    /// What is left to walk.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest.unwrap_or_default()
    }
}

/// Where among `words`, in lower case and parted by blanks, `word` is, in any case.
#[must_use]
#[inline(never)]
pub fn position(words: &str, word: &[u8]) -> Option<u64> {
    for (index, other) in (0..).zip(split(words.as_bytes(), b' ')) {
        let mut letters = other.iter().zip(word);
        if other.len() == word.len()
            && letters.all(|(other, byte)| *other == byte.to_ascii_lowercase())
        {
            return Some(index);
        }
    }
    None
}

/// Whether `bytes` holds `byte`; small, where `slice::contains` is fast.
#[must_use]
pub fn holds(bytes: &[u8], byte: u8) -> bool {
    split(bytes, byte).nth(1).is_some()
}

/// Walks the parts; see [`split`].
#[derive(Clone, Debug)]
pub struct Split<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    #[inline(never)]
    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.rest?;
        let mut end = 0;
        while let Some(byte) = bytes.get(end) {
            if *byte == self.separator {
                self.rest = bytes.get(end + 1..);
                return bytes.get(..end);
            }
            end += 1;
        }
        self.rest = None;
        Some(bytes)
    }
}

/// What `number` stands for in `text`, which is a line with a number and a line for
/// it in turn; empty if it is none of them.
#[must_use]
#[inline(never)]
pub fn numbered(text: Packed, number: u16) -> Packed {
    let digits = Digits::new(u64::from(number), 10);
    let mut lines = split(text.0, b'\n');
    while let (Some(number), Some(text)) = (lines.next(), lines.next()) {
        if number == digits.as_bytes() {
            return Packed(text);
        }
    }
    Packed(&[])
}

/// Calls `each` for every line of a file, the last one even if it does not end.
/// A line longer than `buffer` is passed over: then it returns false.
///
/// # Errors
/// As read(2).
#[inline(never)]
pub fn each_line(
    file: BorrowedFd<'_>,
    buffer: &mut [u8],
    each: &mut dyn FnMut(&[u8]),
) -> Result<bool, Errno> {
    let mut used = 0;
    let mut skip = false;
    let mut skipped = false;
    loop {
        let room = buffer.get_mut(used..).unwrap_or_default();
        let count = descriptor::read(file.as_raw_fd(), room)?;
        used += count;
        let mut rest = buffer.get(..used).unwrap_or_default();
        while !rest.is_empty() {
            let mut lines = split(rest, b'\n');
            let line = lines.next().unwrap_or_default();
            match lines.rest {
                Some(after) => rest = after,
                // It goes on, if the file does.
                None if count != 0 => break,
                None => rest = &[],
            }
            if !core::mem::take(&mut skip) {
                each(line);
            }
        }
        if count == 0 {
            return Ok(!skipped);
        }
        let left = rest.len();
        buffer.copy_within(used - left..used, 0);
        used = left;
        if used == buffer.len() {
            (skip, skipped, used) = (true, true, 0);
        }
    }
}

/// The digits of a number.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    bytes: [u8; 20],
    from: usize,
}

impl Digits {
    /// The digits of `value` to `base` (8, 10 or 16).
    #[must_use]
    #[inline(never)]
    pub fn new(mut value: u64, base: u8) -> Self {
        let mut digits = Self {
            bytes: [b'0'; 20],
            from: 20,
        };
        let base = u64::from(base.clamp(8, 16));
        // Octal numbers here are modes, far below 20 digits.
        for place in digits.bytes.iter_mut().rev() {
            let digit = (value % base).to_le_bytes()[0];
            *place = digit + if digit < 10 { b'0' } else { b'a' - 10 };
            digits.from -= 1;
            value /= base;
            if value == 0 {
                break;
            }
        }
        digits
    }

    /// The digits, without leading zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }
}

/// Copies what of `bytes` fits to the beginning of `place`.
#[inline(never)]
pub fn copy(place: &mut [u8], bytes: &[u8]) {
    // No copy_from_slice: it can panic, and pid 1 may not.
    for (place, byte) in place.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

/// A name that is kept in place, cut if it is longer.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    bytes: [u8; 96],
    used: usize,
}

impl Short {
    /// The first 96 bytes of `name`.
    #[must_use]
    pub fn new(name: &[u8]) -> Self {
        let mut short = Self {
            bytes: [0; 96],
            used: 0,
        };
        short.used = name.len().min(short.bytes.len());
        copy(&mut short.bytes, name);
        short
    }

    /// The name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }
}

/// A line on its way to a descriptor: collected, so that it is written by one
/// call and does not mix with the lines of others.
#[derive(Debug)]
pub struct Line {
    descriptor: i32,
    bytes: [u8; Self::SIZE],
    used: usize,
}

impl Line {
    /// What is written at once; PIPE_BUF (pipe(7)), up to which a write to a
    /// pipe is not mixed with others.
    const SIZE: usize = 4096;

    /// A line for descriptor `descriptor`; 2 is standard error.
    #[must_use]
    pub fn new(descriptor: i32) -> Self {
        Self {
            descriptor,
            bytes: [0; Self::SIZE],
            used: 0,
        }
    }

    /// Adds text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds a packed text.
    pub fn packed(&mut self, text: Packed) -> &mut Self {
        text.add_to(self);
        self
    }

    /// Adds bytes as they are.
    #[inline(never)]
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            self.byte(*byte);
        }
        self
    }

    /// Adds bytes that somebody else chose: what could move a terminal's cursor
    /// or break the line is written as `\xNN`.
    pub fn quoted(&mut self, bytes: &[u8]) -> &mut Self {
        let mut before = 0;
        for byte in bytes {
            // UTF-8 goes through: its bytes are not control characters, but for those from
            // U+0080 to U+009F.
            let least = if before == 0xc2 { 0xa0 } else { b' ' };
            let is_plain = *byte >= least && !matches!(byte, b'\\' | 0x7f);
            before = *byte;
            if is_plain {
                self.byte(before);
                continue;
            }
            self.text("\\x");
            for digit in [before >> 4, before & 15] {
                self.byte(digit + if digit < 10 { b'0' } else { b'a' - 10 });
            }
        }
        self
    }

    /// Adds a decimal number.
    #[inline(never)]
    pub fn number(&mut self, value: u64) -> &mut Self {
        self.bytes(Digits::new(value, 10).as_bytes())
    }

    /// Adds an octal number with a leading 0, as modes are written.
    pub fn octal(&mut self, value: u64) -> &mut Self {
        self.byte(b'0');
        self.bytes(Digits::new(value, 8).as_bytes())
    }

    /// Adds a duration in nanoseconds as microseconds with one decimal.
    pub fn micros(&mut self, nanoseconds: u64) -> &mut Self {
        self.number(nanoseconds / 1000)
            .text(".")
            .number(nanoseconds % 1000 / 100)
    }

    /// Adds blanks up to column `column`.
    pub fn column(&mut self, column: usize) -> &mut Self {
        while self.used < column {
            self.byte(b' ');
        }
        self
    }

    /// Where a row of a table begins that is not written at once: there is room for one of
    /// a thousand bytes.
    pub fn row(&mut self) -> usize {
        if self.used > Self::SIZE - 1000 {
            self.flush();
        }
        self.used
    }

    /// Adds blanks up to column `column` of the row that has begun at `row`.
    pub fn column_of(&mut self, row: usize, column: usize) -> &mut Self {
        self.column(row.saturating_add(column))
    }

    /// Adds a byte.
    pub fn byte(&mut self, byte: u8) {
        if self.used >= Self::SIZE {
            self.flush();
        }
        if let Some(place) = self.bytes.get_mut(self.used) {
            *place = byte;
            self.used += 1;
        }
    }

    /// Ends the line and writes it; false if that failed.
    pub fn end(&mut self) -> bool {
        self.byte(b'\n');
        self.flush()
    }

    /// Writes what was collected; false if that failed.
    pub fn flush(&mut self) -> bool {
        let done = descriptor::write_all(
            self.descriptor,
            self.bytes.get(..self.used).unwrap_or_default(),
        );
        self.used = 0;
        if !done {
            // Nobody reads it any more. Who has blocked the signal of that passes signals
            // on, and this is none for a program.
            let _ = signal::wait(Set::only(raw::SIGPIPE), Some(0));
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_is_exact_or_nothing() {
        for (text, value) in [
            ("0", Some(0)),
            ("1", Some(1)),
            ("4294967295", Some(4_294_967_295)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("99999999999999999999999", None),
            ("", None),
            ("00", None),
            ("01", None),
            ("+1", None),
            ("-1", None),
            (" 1", None),
            ("1 ", None),
            ("1:", None),
            ("0x1", None),
        ] {
            assert_eq!(decimal(text.as_bytes()), value, "{text:?}");
        }
    }

    #[test]
    fn digits_of_every_base() {
        assert_eq!(Digits::new(0, 10).as_bytes(), b"0");
        assert_eq!(
            Digits::new(u64::MAX, 10).as_bytes(),
            b"18446744073709551615"
        );
        assert_eq!(Digits::new(0o755, 8).as_bytes(), b"755");
        assert_eq!(Digits::new(0xa004_25fb, 16).as_bytes(), b"a00425fb");
    }
}
