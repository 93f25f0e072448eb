//! A memory file that nobody can change: pid 1's program, and behind it its
//! plan.

use core::ffi::CStr;

use crate::sys::{self, Fd, raw};

const SEALS: usize =
    (raw::F_SEAL_SEAL | raw::F_SEAL_SHRINK | raw::F_SEAL_GROW | raw::F_SEAL_WRITE) as usize;
/// As many bytes as the plan of one app has.
const PLAN: usize = 344;
static BYTES: [u8; PLAN] = [b'p'; PLAN];

/// A sealed copy of pid 1's program, `init`, which may be executed, and a plan.
///
/// # Safety
/// `own` must be the C string that this program was called by.
#[inline(always)]
#[must_use]
pub unsafe fn program(own: *const u8, init: &CStr) -> Fd {
    let copy = sys::memory_file(c"init", raw::MFD_EXEC);
    // SAFETY: the caller's promise.
    let program = unsafe { sys::open_beside(own, init) };
    let size = sys::size_of_file(program);
    // SAFETY: no pointer but a null offset, and bytes that live for ever.
    unsafe {
        sys::call(
            raw::__NR_sendfile,
            [sys::word(copy), sys::word(program), 0, size],
        );
        sys::call(
            raw::__NR_write,
            [sys::word(copy), BYTES.as_ptr().addr(), PLAN],
        );
        sys::call(
            raw::__NR_fcntl,
            [sys::word(copy), raw::F_ADD_SEALS as usize, SEALS],
        );
    }
    copy
}

/// Lets the file live through the exec.
#[inline(always)]
pub fn keep(file: Fd) {
    // SAFETY: no pointers.
    unsafe { sys::call(raw::__NR_fcntl, [sys::word(file), raw::F_SETFD as usize, 0]) };
}

/// Reads the plan and closes the file, which the launcher has opened as `file`.
#[inline(always)]
pub fn read_plan(file: Fd) {
    const CURRENT: usize = 1;
    let mut buffer = core::mem::MaybeUninit::<[u8; 1024]>::uninit();
    // SAFETY: the buffer has the size that is given.
    unsafe {
        // The file is where the launcher's writing has left it: at its end.
        sys::call(
            raw::__NR_lseek,
            [sys::word(file), PLAN.wrapping_neg(), CURRENT],
        );
        sys::call(
            raw::__NR_read,
            [
                sys::word(file),
                buffer.as_mut_ptr().addr(),
                size_of_val(&buffer),
            ],
        );
        sys::call(raw::__NR_close, [sys::word(file)]);
    }
}
