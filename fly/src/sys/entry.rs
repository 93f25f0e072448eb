//! How a no_std program starts: `_start`, its arguments, its scratch memory.

use super::exec::Pointers;
use core::{ffi::CStr, ptr, slice};

/// What the kernel hands to a new program, and the program's scratch memory.
#[derive(Debug)]
pub struct Start {
    /// The arguments; the first is the name the program was called by.
    pub arguments: Strings,
    /// The environment, `NAME=VALUE`.
    pub environment: Strings,
    /// The path by which the program was executed (AT_EXECFN, getauxval(3)).
    pub path: Option<&'static CStr>,
    /// 16 random bytes (AT_RANDOM, getauxval(3)); zero where the kernel gave none.
    pub random: [u8; 16],
    /// The cycle counter at the first instruction ([`super::arch::cycles`]).
    pub cycles: u64,
    /// Zeroed bytes for arenas; a page costs nothing until it is touched.
    pub bytes: &'static mut [u8],
    /// Zeroed words, for pointer arrays and tables.
    pub words: &'static mut [usize],
}

/// A list of C strings that lives as long as the program.
#[derive(Clone, Copy, Debug)]
pub struct Strings {
    first: *const *const core::ffi::c_char,
    count: usize,
}

impl Strings {
    /// The number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The string at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&'static CStr> {
        if index >= self.count {
            return None;
        }
        // SAFETY: only `Start::from_stack` makes this type, from the kernel's
        // argument block, which holds `count` pointers to zero-terminated
        // strings that nobody changes while the program runs.
        unsafe { Some(CStr::from_ptr(*self.first.add(index))) }
    }

    /// All strings in order.
    #[must_use]
    pub fn iter(&self) -> StringsIter {
        StringsIter { rest: *self }
    }

    /// The list without its first string, if there is one.
    #[must_use]
    pub fn without_first(self) -> Self {
        let mut strings = self.iter();
        let _ = strings.next();
        strings.rest()
    }

    /// The list without its second string, of which there must be one.
    #[must_use]
    pub fn without_second(self) -> Self {
        if self.count < 2 {
            return self;
        }
        // SAFETY: the array is of the kernel's block, which is this process' own
        // memory and may be written; it has two pointers there, and nobody holds a
        // reference to one. What other copies of the list see in the second place is
        // the first string, as good as any.
        unsafe {
            let second = self.first.add(1);
            second.cast_mut().write(*self.first);
            Self {
                first: second,
                count: self.count - 1,
            }
        }
    }

    /// The list as exec takes it: the kernel's own array, nothing is copied.
    #[must_use]
    pub fn pointers(&self) -> Pointers<'static> {
        // SAFETY: as in `get`: the array is of the kernel's block, where a zero
        // follows the last pointer, also of what is left of a list.
        Pointers::of(unsafe { slice::from_raw_parts(self.first.cast(), self.count + 1) })
    }

    /// The value of the variable `name`, if the list is an environment.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'static [u8]> {
        self.iter().find_map(|entry| {
            entry
                .to_bytes()
                .strip_prefix(name.as_bytes())?
                .strip_prefix(b"=")
        })
    }
}

/// Walks [`Strings`].
#[derive(Clone, Debug)]
pub struct StringsIter {
    rest: Strings,
}

impl StringsIter {
    /// What is left to walk.
    #[must_use]
    pub fn rest(&self) -> Strings {
        self.rest
    }
}

impl Iterator for StringsIter {
    type Item = &'static CStr;

    #[inline(never)]
    fn next(&mut self) -> Option<&'static CStr> {
        let string = self.rest.get(0)?;
        // SAFETY: `get` found a string there, so that the next pointer, or
        // where the last one ends, is still of the kernel's block.
        self.rest.first = unsafe { self.rest.first.add(1) };
        self.rest.count -= 1;
        Some(string)
    }
}

const AT_NULL: usize = 0;
const AT_RANDOM: usize = 25;
const AT_EXECFN: usize = 31;

impl Start {
    /// Reads the block that the kernel put on the initial stack (elf(5)).
    ///
    /// # Safety
    /// `stack` must be the stack pointer at the program's first instruction,
    /// and the scratch areas must not be used by anybody else.
    #[inline]
    pub unsafe fn from_stack(
        stack: *const usize,
        cycles: u64,
        bytes: &'static mut [u8],
        words: &'static mut [usize],
    ) -> Self {
        // SAFETY: the kernel lays out argc, argv, NULL, envp, NULL, auxv in
        // this order, every part terminated, at the initial stack pointer.
        unsafe {
            let arguments = Strings {
                first: stack.add(1).cast(),
                count: *stack,
            };
            let environment_at = stack.add(arguments.count + 2);
            let mut count = 0;
            while *environment_at.add(count) != 0 {
                count += 1;
            }
            let mut random = [0; 16];
            let mut path = None;
            let mut vector = environment_at.add(count + 1);
            while *vector != AT_NULL {
                let value = *vector.add(1);
                match *vector {
                    AT_RANDOM => {
                        random = ptr::with_exposed_provenance::<[u8; 16]>(value).read();
                    }
                    AT_EXECFN => {
                        path = Some(CStr::from_ptr(ptr::with_exposed_provenance(value)));
                    }
                    _ => {}
                }
                vector = vector.add(2);
            }
            Self {
                arguments,
                environment: Strings {
                    first: environment_at.cast(),
                    count,
                },
                path,
                random,
                cycles,
                bytes,
                words,
            }
        }
    }
}

/// Ends the process at once (exit_group(2)).
pub fn exit(code: i32) -> ! {
    // SAFETY: exit_group takes no pointer and does not return.
    unsafe {
        super::arch::syscall(
            linux_raw_sys::general::__NR_exit_group,
            [code.cast_unsigned() as usize, 0, 0, 0, 0, 0],
        );
    }
    // Unless a system call filter forbids it.
    super::arch::trap()
}

/// Turns a crate into a program without libc: emits `_start`, the memory
/// routines that the compiler calls, and the panic handler.
///
/// `entry!(main, bytes = N, words = M)`: `main` is `fn(Start) -> i32`, its
/// value the exit code; the program gets `N` bytes and `M` words of scratch
/// memory. The package links with `build = "../fly/build.rs"`.
#[macro_export]
macro_rules! entry {
    ($main:path, bytes = $bytes:expr, words = $words:expr) => {
        $crate::__start!(__kickstage_start);

        extern "C" fn __kickstage_start(stack: *const usize) -> ! {
            let cycles = $crate::sys::arch::cycles();
            // The words come first: both beginnings, which are what most starts
            // touch, then share one page of the page table.
            #[unsafe(link_section = ".bss.2bytes")]
            static mut BYTES: [u8; $bytes] = [0; $bytes];
            #[unsafe(link_section = ".bss.1words")]
            static mut WORDS: [usize; $words] = [0; $words];
            // SAFETY: `_start` runs once and passes the initial stack pointer;
            // the two areas are named nowhere else.
            let start = unsafe {
                $crate::sys::entry::Start::from_stack(
                    stack,
                    cycles,
                    &mut *::core::ptr::addr_of_mut!(BYTES),
                    &mut *::core::ptr::addr_of_mut!(WORDS),
                )
            };
            $crate::sys::entry::exit($main(start))
        }

        // SAFETY (all five): the C names belong to us, since no libc is
        // linked; the signatures are C's.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
            unsafe { $crate::sys::memory::copy(to, from, length) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
            unsafe { $crate::sys::memory::copy_overlapping(to, from, length) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
            unsafe { $crate::sys::memory::set(to, byte, length) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
            unsafe { $crate::sys::memory::compare(a, b, length) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
            unsafe { $crate::sys::memory::compare(a, b, length) }
        }
        #[unsafe(no_mangle)]
        unsafe extern "C" fn strlen(text: *const ::core::ffi::c_char) -> usize {
            unsafe { $crate::sys::memory::length(text) }
        }

        /// Debug builds of `core` name it; nothing unwinds.
        #[unsafe(no_mangle)]
        extern "C" fn rust_eh_personality() {}

        #[panic_handler]
        fn __kickstage_panic(_: &::core::panic::PanicInfo<'_>) -> ! {
            // The text is also what the lint looks for in stage1-init, which
            // must not be able to panic.
            $crate::sys::entry::panicked(concat!(
                env!("CARGO_BIN_NAME"),
                ": internal error: panicked\n"
            ))
        }
    };
}

/// The panic handler's body: one line, exit 254.
#[cold]
pub fn panicked(line: &str) -> ! {
    super::descriptor::write_error(line.as_bytes());
    exit(254)
}
