//! A name in the text of an error.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::{sys::memory::c_str, text::Line};

/// A name that a [`Why`] with a `%` has in its place; one, since the first error
/// ends a start. Here, as an error is to be small and may outlive what was read.
static KEPT: [AtomicU8; 128] = [const { AtomicU8::new(0) }; 128];

/// Keeps `name` for the text of the error that is made next.
#[cold]
#[inline(never)]
pub fn keep(name: &[u8]) {
    for (place, byte) in KEPT.iter().zip(name.iter().chain([&0])) {
        place.store(*byte, Relaxed);
    }
}

/// Adds it to the line.
pub(super) fn add(line: &mut Line) {
    let mut name = [0; KEPT.len() + 1];
    for (byte, place) in name.iter_mut().zip(&KEPT) {
        *byte = place.load(Relaxed);
    }
    // All at once: a character may have several bytes.
    line.quoted(c_str(&name).unwrap_or_default().to_bytes());
}
