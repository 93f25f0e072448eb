//! A path in a fixed buffer, always with room for its terminator.

use core::ffi::CStr;

use rustix::{
    fd::{AsRawFd, BorrowedFd},
    io::Errno,
};

use crate::{
    plan::MAX_PATH,
    text::{Digits, copy, split},
};

/// What does not fit is refused. The buffer is a page: it belongs into functions
/// that most starts do not call.
#[derive(Debug)]
pub struct Path {
    bytes: [u8; MAX_PATH],
    used: usize,
}

impl Path {
    /// An empty one.
    #[allow(clippy::new_without_default, reason = "a page is no default")]
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: [0; MAX_PATH],
            used: 0,
        }
    }

    /// All of `parts`, one after the other.
    ///
    /// # Errors
    /// ENAMETOOLONG.
    pub fn of(parts: &[&[u8]]) -> Result<Self, Errno> {
        // In its place at once: it is a page that would be copied.
        let mut path = Ok(Self::new());
        if let Ok(Err(errno)) = path.as_mut().map(|path| path.append(parts)) {
            path = Err(errno);
        }
        path
    }

    /// `prefix` and the number of `descriptor`: its link in a folder of
    /// /proc/self.
    ///
    /// # Errors
    /// ENAMETOOLONG.
    pub fn of_descriptor(prefix: &[u8], descriptor: BorrowedFd<'_>) -> Result<Self, Errno> {
        let number = u64::from(descriptor.as_raw_fd().unsigned_abs());
        Self::of(&[prefix, Digits::new(number, 10).as_bytes()])
    }

    /// What was put together.
    #[must_use]
    #[inline(never)]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    /// Up to its end, or to a zero byte in it.
    #[must_use]
    #[inline(never)]
    pub fn as_c_str(&self) -> &CStr {
        crate::sys::memory::c_str(&self.bytes).unwrap_or_default()
    }

    /// What begins at this byte, up to its end, or to a zero byte in it.
    #[must_use]
    pub fn c_str_from(&self, start: usize) -> &CStr {
        let bytes = self.bytes.get(start..).unwrap_or_default();
        crate::sys::memory::c_str(bytes).unwrap_or_default()
    }

    /// The whole buffer, for a call that fills it; see [`Path::cut`].
    pub fn buffer(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Adds all of `parts`.
    ///
    /// # Errors
    /// ENAMETOOLONG.
    #[inline(never)]
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<(), Errno> {
        for part in parts {
            let end = self.used + part.len();
            if end >= MAX_PATH {
                return Err(Errno::NAMETOOLONG);
            }
            if let Some(place) = self.bytes.get_mut(self.used..end) {
                place.copy_from_slice(part);
            }
            self.cut(end);
        }
        Ok(())
    }

    /// Puts `path` and a slash in front.
    ///
    /// # Errors
    /// ENAMETOOLONG.
    #[inline(never)]
    pub fn prepend(&mut self, path: &[u8]) -> Result<(), Errno> {
        let length = path.len() + 1;
        if self.used + length >= MAX_PATH {
            return Err(Errno::NAMETOOLONG);
        }
        self.bytes.copy_within(..self.used, length);
        copy(&mut self.bytes, path);
        copy(self.bytes.get_mut(path.len()..).unwrap_or_default(), b"/");
        self.cut(self.used + length);
        Ok(())
    }

    /// Makes `length` its length.
    #[inline(never)]
    pub fn cut(&mut self, length: usize) {
        self.used = length;
        if let Some(terminator) = self.bytes.get_mut(length) {
            *terminator = 0;
        }
    }

    /// Moves the first component to `name`; false if there is none.
    #[inline(never)]
    pub fn take_first(&mut self, name: &mut Self) -> bool {
        let mut parts = split(self.as_bytes(), b'/');
        let Some(component) = parts.find(|part| !part.is_empty()) else {
            return false;
        };
        let left = parts.rest().len();
        name.cut(0);
        // It fits: it was in a buffer of the same size.
        let _ = name.append(&[component]);
        self.bytes.copy_within(self.used - left..self.used, 0);
        self.cut(left);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_the_terminator() {
        let long = [b'x'; MAX_PATH];
        let mut path = Path::of(&[&long[..MAX_PATH - 1]]).expect("it fits");
        assert_eq!(path.as_c_str().count_bytes(), MAX_PATH - 1);
        assert_eq!(path.append(&[b"x"]), Err(Errno::NAMETOOLONG));
        assert_eq!(Path::of(&[&long]).err(), Some(Errno::NAMETOOLONG));
        for (length, fits) in [(MAX_PATH - 3, true), (MAX_PATH - 2, false)] {
            let mut path = Path::of(&[b"x"]).expect("it fits");
            assert_eq!(path.prepend(&long[..length]).is_ok(), fits, "{length}");
        }
    }
}
