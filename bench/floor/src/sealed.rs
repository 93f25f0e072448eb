//! Memory files that nobody can change: pid 1's program and its plan.

use crate::sys::{self, Fd, raw};

const SEALS: usize =
    (raw::F_SEAL_SEAL | raw::F_SEAL_SHRINK | raw::F_SEAL_GROW | raw::F_SEAL_WRITE) as usize;
/// The descriptor under which pid 1 finds its plan.
const PLAN: usize = 3;
/// As many bytes as the plan of one app has.
static BYTES: [u8; 640] = [b'p'; 640];

/// A sealed copy of `program`, which may be executed.
#[inline(always)]
pub fn program(program: Fd) -> Fd {
    let size = sys::size_of_file(program);
    let copy = sys::memory_file(c"init", raw::MFD_EXEC);
    // SAFETY: no pointer but a null offset.
    unsafe {
        sys::call(
            raw::__NR_sendfile,
            [sys::word(copy), sys::word(program), 0, size],
        )
    };
    seal(copy);
    copy
}

/// A sealed plan.
#[inline(always)]
pub fn plan() -> Fd {
    let plan = sys::memory_file(c"plan", 0);
    // SAFETY: the bytes live for ever.
    unsafe {
        sys::call(
            raw::__NR_write,
            [sys::word(plan), BYTES.as_ptr().addr(), BYTES.len()],
        )
    };
    seal(plan);
    // SAFETY: no pointers.
    unsafe { sys::call(raw::__NR_lseek, [sys::word(plan), 0, 0]) };
    plan
}

#[inline(always)]
fn seal(file: Fd) {
    // SAFETY: no pointers.
    unsafe {
        sys::call(
            raw::__NR_fcntl,
            [sys::word(file), raw::F_ADD_SEALS as usize, SEALS],
        )
    };
}

/// Makes the plan descriptor 3 and lets it live through the exec.
#[inline(always)]
pub fn pass_plan(plan: Fd) {
    let plan = sys::word(plan);
    // SAFETY: no pointers. dup2 of a descriptor onto itself would keep its
    // close-on-exec flag.
    unsafe {
        if plan == PLAN {
            sys::call(raw::__NR_fcntl, [plan, raw::F_SETFD as usize, 0]);
        } else {
            sys::call(raw::__NR_dup2, [plan, PLAN]);
        }
    }
}

/// Reads the plan and closes it.
#[inline(always)]
pub fn read_plan() {
    let mut buffer = core::mem::MaybeUninit::<[u8; 1024]>::uninit();
    // SAFETY: the buffer has the size that is given.
    unsafe {
        sys::call(
            raw::__NR_read,
            [PLAN, buffer.as_mut_ptr().addr(), size_of_val(&buffer)],
        );
        sys::call(raw::__NR_close, [PLAN]);
    }
}
