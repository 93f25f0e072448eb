//! Replacing the program: execve(2), execveat(2), and their pointer arrays.

use super::{arch, result};
use core::{ffi::CStr, marker::PhantomData};
use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsRawFd, BorrowedFd},
    io::Errno,
};

/// A zero-terminated array of pointers to C strings, as exec takes it.
#[derive(Debug, Clone, Copy)]
pub struct Pointers<'a> {
    array: &'a [usize],
    strings: PhantomData<&'a CStr>,
}

impl<'a> Pointers<'a> {
    /// Writes the addresses of `strings` into `room`; returns the array and
    /// what is left of `room`, or `None` if it is too small.
    #[inline(never)]
    pub fn write(
        room: &'a mut [usize],
        strings: &mut dyn Iterator<Item = &'a CStr>,
    ) -> Option<(Self, &'a mut [usize])> {
        let mut count = 0;
        for string in strings {
            *room.get_mut(count)? = string.as_ptr().expose_provenance();
            count += 1;
        }
        *room.get_mut(count)? = 0;
        let (array, rest) = room.split_at_mut_checked(count + 1)?;
        Some((
            Self {
                array,
                strings: PhantomData,
            },
            rest,
        ))
    }

    /// An array that ends with a zero.
    pub(super) fn of(array: &'a [usize]) -> Self {
        Self {
            array,
            strings: PhantomData,
        }
    }

    fn address(&self) -> usize {
        self.array.as_ptr().expose_provenance()
    }
}

/// `execve(path, arguments, environment)`; returns only if it failed.
#[must_use]
pub fn execve(path: &CStr, arguments: Pointers<'_>, environment: Pointers<'_>) -> Errno {
    // SAFETY: all three point to zero-terminated data that lives across the
    // call; `Pointers` ends with a zero.
    failed(unsafe {
        arch::syscall(
            raw::__NR_execve,
            [
                path.as_ptr().expose_provenance(),
                arguments.address(),
                environment.address(),
            ],
        )
    })
}

/// Executes the file that `program` refers to (execveat(2), AT_EMPTY_PATH);
/// returns only if it failed.
#[must_use]
pub fn execveat(
    program: BorrowedFd<'_>,
    arguments: Pointers<'_>,
    environment: Pointers<'_>,
) -> Errno {
    // SAFETY: as in `execve`; the path is the empty string.
    failed(unsafe {
        arch::syscall(
            raw::__NR_execveat,
            [
                program.as_raw_fd().cast_unsigned() as usize,
                c"".as_ptr().expose_provenance(),
                arguments.address(),
                environment.address(),
                raw::AT_EMPTY_PATH as usize,
                0,
            ],
        )
    })
}

fn failed(value: isize) -> Errno {
    result(value).err().unwrap_or(Errno::INVAL)
}
