//! The memory routines that the compiler calls.
//!
//! The compiler emits calls to `memcpy` and its kin for ordinary assignments;
//! without libc somebody has to provide them. [`entry!`](crate::entry) exports
//! them under their C names, in programs only.

use super::arch;

/// `memcpy(3)`.
///
/// # Safety
/// As in C: valid ranges that do not overlap.
#[inline]
pub unsafe fn copy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: the caller's promise is the callee's.
    unsafe { arch::copy_forward(to, from, length) };
    to
}

/// `memmove(3)`.
///
/// # Safety
/// As in C: valid ranges.
#[inline]
pub unsafe fn copy_overlapping(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: a forward copy is right unless `to` lies inside the source range.
    unsafe {
        if to.addr().wrapping_sub(from.addr()) >= length {
            arch::copy_forward(to, from, length);
        } else {
            arch::copy_backward(to, from, length);
        }
    }
    to
}

/// `memset(3)`.
///
/// # Safety
/// As in C: a valid range.
#[inline]
pub unsafe fn set(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    // SAFETY: the caller's promise is the callee's. C takes the low byte.
    unsafe { arch::fill(to, byte.to_le_bytes()[0], length) };
    to
}

/// `memcmp(3)`.
///
/// # Safety
/// As in C: valid ranges.
#[inline]
pub unsafe fn compare(a: *const u8, b: *const u8, length: usize) -> i32 {
    let mut index = 0;
    while index < length {
        // SAFETY: `index` is inside both ranges. The reads are volatile so
        // that the loop is not compiled into a call of memcmp itself.
        let (x, y) = unsafe { (a.add(index).read_volatile(), b.add(index).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
        index += 1;
    }
    0
}

/// `strlen(3)`.
///
/// # Safety
/// As in C: `text` ends with a zero byte.
#[inline]
pub unsafe fn length(text: *const core::ffi::c_char) -> usize {
    let mut count = 0;
    // SAFETY: all bytes up to the terminator are readable. Volatile, so that
    // the loop is not compiled into a call of strlen itself.
    while unsafe { text.add(count).read_volatile() } != 0 {
        count += 1;
    }
    count
}

/// The C string that `bytes` begins with; `None` if there is no zero in them. Small,
/// where `CStr::from_bytes_until_nul` is fast.
#[must_use]
#[inline(never)]
pub fn c_str(bytes: &[u8]) -> Option<&core::ffi::CStr> {
    let mut end = 0;
    while *bytes.get(end)? != 0 {
        end += 1;
    }
    let string = bytes.get(..=end)?;
    // SAFETY: its last byte is the first zero.
    Some(unsafe { core::ffi::CStr::from_bytes_with_nul_unchecked(string) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_overlapping_ranges_both_ways() {
        let mut bytes = *b"0123456789";
        // SAFETY: both ranges lie inside the array.
        unsafe { copy_overlapping(bytes.as_mut_ptr().add(2), bytes.as_ptr(), 8) };
        assert_eq!(&bytes, b"0101234567");
        // SAFETY: as above.
        unsafe { copy_overlapping(bytes.as_mut_ptr(), bytes.as_ptr().add(2), 8) };
        assert_eq!(&bytes, b"0123456767");
        // SAFETY: zero bytes are always valid.
        unsafe { copy_overlapping(bytes.as_mut_ptr(), bytes.as_ptr().add(2), 0) };
        assert_eq!(&bytes, b"0123456767");
    }

    #[test]
    fn compares_and_measures() {
        // SAFETY: the ranges are literals of at least that length.
        unsafe {
            assert_eq!(compare(b"abc".as_ptr(), b"abd".as_ptr(), 3), -1);
            assert_eq!(compare(b"abc".as_ptr(), b"abd".as_ptr(), 2), 0);
            assert_eq!(compare(b"\xff".as_ptr(), b"\x01".as_ptr(), 1), 254);
            assert_eq!(length(c"four".as_ptr()), 4);
            assert_eq!(length(c"".as_ptr()), 0);
        }
    }
}
