//! x86_64: the system call instruction, the child's trampoline, `_start`.

use core::arch::asm;

/// The name that seccomp, images and errors use for this architecture.
pub const NAME: &str = "x86_64";

/// One system call with up to six arguments (syscall(2), x86-64 row). Of a call that has
/// only three, no other register is set: nine bytes each time.
///
/// # Safety
/// The caller vouches for what the kernel does with the arguments: every
/// pointer among them must be valid for the access that call makes.
#[inline]
pub unsafe fn syscall<const COUNT: usize>(number: u32, arguments: [usize; COUNT]) -> isize {
    let at = |index| arguments.get(index).copied().unwrap_or(0);
    let [a, b, c, d, e, f] = [at(0), at(1), at(2), at(3), at(4), at(5)];
    let value: isize;
    if COUNT <= 3 {
        // SAFETY: as below.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") number as usize => value,
                in("rdi") a, in("rsi") b, in("rdx") c,
                lateout("rcx") _, lateout("r11") _,
                options(nostack),
            );
        }
        return value;
    }
    // SAFETY: the kernel preserves all registers but rax, rcx and r11, and the
    // caller vouches for the pointers. The block is not marked `nomem`.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as usize => value,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    value
}

/// A clone-like system call whose child runs `child(data)` and exits with the value: with
/// CLONE_VM and CLONE_VFORK, or with neither, on the caller's stack, below its frames,
/// through which it never returns.
///
/// # Safety
/// As for [`syscall`]; with CLONE_VM alone the new stack must be one that nobody else uses,
/// else it must be 0; and `data` must be valid for `child` as long as that runs.
#[inline(never)]
pub unsafe fn clone_and_call(
    number: u32,
    arguments: [usize; 3],
    child: extern "C" fn(*mut core::ffi::c_void) -> i32,
    data: *mut core::ffi::c_void,
) -> isize {
    let [a, b, c] = arguments;
    let value: isize;
    // SAFETY: in the caller this is a plain system call, except that memory
    // below the stack pointer changes; without `nostack` the compiler keeps
    // nothing there, no red zone either. In the child all registers but rax,
    // rcx and r11 are the caller's: r8 and r9 hold the function and its
    // argument. The child aligns the stack, calls, and ends in exit_group; what
    // it writes is below the caller's frames, and the caller sleeps meanwhile, or
    // has memory of its own.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "and rsp, -16",
            "mov rdi, r9",
            "call r8",
            "mov edi, eax",
            "mov eax, {exit_group}",
            "syscall",
            "ud2",
            "2:",
            exit_group = const linux_raw_sys::general::__NR_exit_group,
            inlateout("rax") number as usize => value,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") 0_usize,
            in("r8") child, in("r9") data,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    value
}

/// The stack pointer.
#[inline(always)]
#[must_use]
pub fn stack_pointer() -> usize {
    let value: usize;
    // SAFETY: the instruction reads a register.
    unsafe { asm!("mov {}, rsp", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Ends the process by SIGILL.
#[inline]
pub fn trap() -> ! {
    // SAFETY: the instruction raises an exception and is never left.
    unsafe { asm!("ud2", options(noreturn, nostack)) }
}

/// Writes a byte to a port.
///
/// # Safety
/// The process must have access to ports (iopl(2)), or it gets SIGSEGV. What the
/// device does is not for the compiler to know: the caller vouches for it, as a
/// device can write to memory.
#[inline]
pub unsafe fn out(port: u16, value: u8) {
    // SAFETY: the instruction itself touches no memory; the rest is the caller's.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) }
}

/// The processor's cycle counter: costs a few nanoseconds and no system call.
///
/// Its rate is unknown; two readings beside two clock readings give it.
#[inline]
#[must_use]
pub fn cycles() -> u64 {
    // SAFETY: rdtsc has no memory effects and exists on every x86_64.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Emits `_start` for [`entry!`](crate::entry): hands the initial stack
/// pointer to `$start` on an aligned stack.
#[doc(hidden)]
#[macro_export]
macro_rules! __start {
    ($start:path) => {
        ::core::arch::global_asm!(
            ".pushsection .text._start,\"ax\",@progbits",
            ".globl _start",
            "_start:",
            "xor ebp, ebp",
            "mov rdi, rsp",
            "and rsp, -16",
            "call {start}",
            "ud2",
            ".popsection",
            start = sym $start,
        );
    };
}

/// Copies `length` bytes forward; the body of `memcpy`.
///
/// # Safety
/// Both ranges must be valid; if they overlap, `to` must be below `from`.
#[inline]
pub unsafe fn copy_forward(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the direction flag is clear by the ABI; the caller vouches for
    // the ranges.
    unsafe {
        asm!("rep movsb", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack, preserves_flags));
    }
}

/// Copies `length` bytes from the last to the first; half of `memmove`.
///
/// # Safety
/// Both ranges must be valid.
#[inline]
pub unsafe fn copy_backward(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the direction flag is set for this one instruction and cleared
    // again; wrapping arithmetic covers `length == 0`, where rcx is 0 and
    // nothing is accessed.
    unsafe {
        asm!("std", "rep movsb", "cld",
             inout("rcx") length => _,
             inout("rdi") to.wrapping_add(length).wrapping_sub(1) => _,
             inout("rsi") from.wrapping_add(length).wrapping_sub(1) => _,
             options(nostack));
    }
}

/// Fills `length` bytes; the body of `memset`.
///
/// # Safety
/// The range must be valid.
#[inline]
pub unsafe fn fill(to: *mut u8, byte: u8, length: usize) {
    // SAFETY: the direction flag is clear by the ABI; the caller vouches for
    // the range.
    unsafe {
        asm!("rep stosb", inout("rcx") length => _, inout("rdi") to => _, in("al") byte,
             options(nostack, preserves_flags));
    }
}
