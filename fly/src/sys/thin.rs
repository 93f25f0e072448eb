//! A C string as one pointer: half of a `&CStr`, whose length is known.

use core::{
    ffi::{CStr, c_char},
    marker::PhantomData,
    ptr::NonNull,
};

/// A borrowed C string; its length is found again when it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Thin<'a> {
    text: NonNull<c_char>,
    life: PhantomData<&'a CStr>,
}

impl<'a> Thin<'a> {
    /// The same string.
    #[inline]
    #[must_use]
    pub fn new(text: &'a CStr) -> Self {
        Self {
            text: NonNull::from(text).cast(),
            life: PhantomData,
        }
    }

    /// The string again.
    #[must_use]
    pub fn as_c_str(self) -> &'a CStr {
        // SAFETY: `new` took the address from a `&'a CStr`, which is
        // zero-terminated and does not change for as long.
        unsafe { CStr::from_ptr(self.text.as_ptr()) }
    }
}
