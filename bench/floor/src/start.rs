//! The first instruction of a floor, and what the linker asks for.

/// Turns a crate into a program without libc: `main` is an
/// `unsafe fn(arguments, environment) -> i32` that gets the two pointer arrays
/// as the kernel laid them out, so that they can be handed on without a copy.
///
/// No data and no .bss: the program is one segment, and its only writable page
/// is the stack that the kernel has already touched.
#[macro_export]
macro_rules! main {
    ($main:path) => {
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
            start = sym __floor_start,
        );

        unsafe extern "C" fn __floor_start(stack: *const usize) -> ! {
            // SAFETY: the kernel lays out argc, argv, NULL, envp at the initial
            // stack pointer (elf(5)).
            unsafe {
                let arguments = stack.add(1).cast();
                let environment = stack.add(*stack + 2).cast();
                $crate::sys::exit($main(arguments, environment))
            }
        }

        // SAFETY (both): the C names belong to us, since no libc is linked.
        // Optimised builds call neither.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
            unsafe { $crate::sys::copy(to, from, length) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
            unsafe { $crate::sys::fill(to, byte, length) }
        }

        /// Debug builds of `core` name it; nothing unwinds.
        #[unsafe(no_mangle)]
        extern "C" fn rust_eh_personality() {}

        #[panic_handler]
        fn __floor_panic(_: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::sys::exit(101)
        }
    };
}
