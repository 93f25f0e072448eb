//! Processes: made, become programs, reaped.

use core::{arch::asm, ffi::c_void};

use crate::sys::{Fd, Vector, call, raw, word};

/// The environment of a pod's program.
#[inline(always)]
pub fn environment() -> [*const u8; 3] {
    [
        c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            .as_ptr()
            .cast(),
        c"HOME=/root".as_ptr().cast(),
        core::ptr::null(),
    ]
}

/// execve(2); returns only if it failed.
///
/// # Safety
/// A path and two pointer arrays as the call takes them.
#[inline(always)]
pub unsafe fn exec(path: *const u8, arguments: Vector, environment: Vector) {
    // SAFETY: the caller's promise.
    unsafe {
        call(
            raw::__NR_execve,
            [path.addr(), arguments.addr(), environment.addr()],
        )
    };
}

/// execveat(2) of the file that `program` refers to; returns only if it failed.
///
/// # Safety
/// Two pointer arrays as the call takes them.
#[inline(always)]
pub unsafe fn exec_descriptor(program: Fd, arguments: Vector, environment: Vector) {
    // SAFETY: the caller's promise; the path is the empty string.
    unsafe {
        call(
            raw::__NR_execveat,
            [
                word(program),
                c"".as_ptr().addr(),
                arguments.addr(),
                environment.addr(),
                raw::AT_EMPTY_PATH as usize,
            ],
        )
    };
}

/// Bytes of clone3's structure in Linux 5.3, which are enough without a cgroup.
const FIRST_SIZE: usize = size_of::<[u64; 8]>();

/// clone3(2) in the form of vfork, with the namespaces `namespaces`: the child
/// runs `child(data)` in the caller's memory while the caller waits; the value
/// is the pid, and `pidfd` the descriptor, if it is asked for.
///
/// The child uses the caller's own stack, below its last frame, as vfork(2)
/// does: no page is mapped or touched for it.
///
/// # Safety
/// `child` must not return, must write to nothing but its own frames and
/// `data`, and must not be inlined into the caller.
#[inline(always)]
pub unsafe fn vfork(
    namespaces: u32,
    pidfd: Option<&mut Fd>,
    child: unsafe extern "C" fn(*mut c_void) -> !,
    data: *mut c_void,
) -> isize {
    // SAFETY: the caller's promise.
    unsafe { vfork_into(namespaces, pidfd, None, child, data) }
}

/// The same, into the cgroup of version 2 whose directory `cgroup` is.
///
/// # Safety
/// As [`vfork`].
#[inline(always)]
pub unsafe fn vfork_into(
    namespaces: u32,
    pidfd: Option<&mut Fd>,
    cgroup: Option<Fd>,
    child: unsafe extern "C" fn(*mut c_void) -> !,
    data: *mut c_void,
) -> isize {
    let mut flags = u64::from(namespaces | raw::CLONE_VM | raw::CLONE_VFORK);
    let pidfd = pidfd.map_or(0, |place| {
        flags |= u64::from(raw::CLONE_PIDFD);
        core::ptr::from_mut(place).addr()
    });
    let mut size = FIRST_SIZE;
    if cgroup.is_some() {
        flags |= raw::CLONE_INTO_CGROUP;
        size = size_of::<[u64; 11]>();
    }
    let arguments: [u64; 11] = [
        flags,
        pidfd as u64,
        0,
        0,
        u64::from(raw::SIGCHLD),
        0,
        0,
        0,
        0,
        0,
        word(cgroup.unwrap_or(0)) as u64,
    ];
    // SAFETY: the caller's promise; the child never leaves `child`, so it touches no frame of
    // the caller.
    unsafe { clone3(&arguments, size, child, data) }
}

/// clone3(2): the child runs `child(data)` in the caller's memory beside the caller, on
/// `stack`, which ends at a multiple of 16.
///
/// # Safety
/// `child` must not return; `stack` and `data` must live for as long as it runs there.
#[inline(always)]
pub unsafe fn beside(
    stack: &mut [u128],
    child: unsafe extern "C" fn(*mut c_void) -> !,
    data: *mut c_void,
) -> isize {
    let arguments: [u64; 11] = [
        u64::from(raw::CLONE_VM),
        0,
        0,
        0,
        u64::from(raw::SIGCHLD),
        stack.as_mut_ptr().addr() as u64,
        size_of_val(stack) as u64,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: the caller's promise.
    unsafe { clone3(&arguments, FIRST_SIZE, child, data) }
}

/// # Safety
/// As those above.
#[inline(always)]
unsafe fn clone3(
    arguments: &[u64; 11],
    size: usize,
    child: unsafe extern "C" fn(*mut c_void) -> !,
    data: *mut c_void,
) -> isize {
    let value: isize;
    // SAFETY: the structure lives across the call. The block may use the stack
    // below the caller's frame (no `nostack`), which is aligned for a call.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r9",
            "call r8",
            "2:",
            inlateout("rax") raw::__NR_clone3 as usize => value,
            in("rdi") arguments.as_ptr(),
            in("rsi") size,
            in("r8") child,
            in("r9") data,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    value
}

/// sched_setscheduler(2), SCHED_BATCH: what this process does is nobody's hurry.
#[inline(always)]
pub fn no_hurry() {
    let priority = 0_u32;
    // SAFETY: the parameter lives across the call.
    unsafe {
        call(
            raw::__NR_sched_setscheduler,
            [0, raw::SCHED_BATCH as usize, (&raw const priority).addr()],
        )
    };
}

/// umask(2).
#[inline(always)]
pub fn umask(mask: u32) {
    // SAFETY: no pointers.
    unsafe { call(raw::__NR_umask, [mask as usize]) };
}

/// Waits for the child that `pidfd` refers to (waitid(2), P_PIDFD) and gives
/// the exit code that a shell would: 128 and the signal for a killed one.
#[inline(always)]
pub fn wait(pidfd: Fd) -> i32 {
    let mut information = [0_u32; 32];
    // SAFETY: the buffer has siginfo_t's 128 bytes.
    unsafe {
        call(
            raw::__NR_waitid,
            [
                raw::P_PIDFD as usize,
                word(pidfd),
                information.as_mut_ptr().addr(),
                raw::WEXITED as usize,
                0,
            ],
        );
    }
    // si_code is the third word, si_status the seventh.
    let [_, _, code, _, _, _, status, ..] = information;
    let killed = if code == raw::CLD_EXITED { 0 } else { 128 };
    (status | killed).cast_signed()
}

/// Reaps whatever ends until `child` has, and gives its exit code.
#[inline(always)]
pub fn reap_until(child: isize) -> i32 {
    let mut status = 0_u32;
    // SAFETY: the status has an int's size.
    while unsafe {
        call(
            raw::__NR_wait4,
            [usize::MAX, (&raw mut status).addr(), 0, 0],
        )
    } != child
    {}
    let code = if status & 0x7f == 0 {
        (status >> 8) & 0xff
    } else {
        128 | (status & 0x7f)
    };
    code.cast_signed()
}
