//! Room that is there from the program's start, and costs nothing until it is used.

use core::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// A static value for who takes it first. One of zeros takes no place in the program, and
/// no memory but the pages that are touched: on the stack it would be written as a whole.
///
/// The note whether it is taken comes first: what is touched anyway is then in one page.
#[repr(C)]
pub struct Reserved<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by `take` alone, which hands it out once: whoever calls it,
// and from wherever, only one has it.
unsafe impl<T: Send> Sync for Reserved<T> {}

impl<T> Reserved<T> {
    /// Room that holds `value`.
    pub const fn new(value: T) -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// The room, for the first one who asks.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "who has it is noted")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.is_taken.swap(true, Relaxed) {
            return None;
        }
        // SAFETY: nobody has had it before, and it lives as long as the program.
        Some(unsafe { &mut *self.value.get() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_has_it() {
        static ROOM: Reserved<[u8; 3]> = Reserved::new([1, 2, 3]);
        let room = ROOM.take().expect("nobody has taken it");
        room[1] = 7;
        assert!(ROOM.take().is_none());
        assert_eq!(*room, [1, 7, 3]);
    }
}
