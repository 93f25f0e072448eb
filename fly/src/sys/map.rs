//! Sealed memory files in memory: nothing is copied, and what was not looked at for
//! long takes none.

use core::{mem::ManuallyDrop, num::NonZero, slice};

use super::{arch, descriptor, result};
use linux_raw_sys::general as raw;
use rustix::{
    fd::RawFd,
    fs::{self, SealFlags},
    io::Errno,
};

/// The content of a sealed memory file (memfd_create(2)): it can't change.
#[derive(Debug)]
pub struct Sealed {
    start: NonZero<usize>,
    length: u32,
    /// Bytes before those that were asked for.
    before: u32,
}

const PAGE: usize = 4096;

/// Where a file is mapped if there is room: in front of stage1-init's code, so that it
/// needs no page table of its own (see `link/x86_64.ld`).
const PLACE: usize = 0x40_0000;

/// As deep as a stack may have been, in bytes.
const DEEP: usize = 256 << 10;

/// Gives back the pages of the stack that only finished calls have used (madvise(2)):
/// what waits for long afterwards takes less memory.
#[cold]
#[inline(never)]
pub fn give_back_stack() {
    // What lies below the stack pointer but for the red zone is nobody's (System V ABI,
    // AMD64, 3.2.2); a page more is kept for the calls that come.
    let end = (arch::stack_pointer() & !(PAGE - 1)).saturating_sub(PAGE);
    let advice = raw::MADV_DONTNEED as usize;
    // SAFETY: no frame lies there, and no other mapping does: the kernel keeps at least
    // 128 MiB below the beginning of the stack free (mmap_base, arch/x86/mm/mmap.c). What
    // is not mapped yields ENOMEM, and the rest is done.
    unsafe {
        arch::syscall(raw::__NR_madvise, [end.saturating_sub(DEEP), DEEP, advice]);
    }
}

impl Sealed {
    /// Maps the file from byte `offset` on, to read it; the descriptor may be closed
    /// then.
    ///
    /// # Errors
    /// EPERM if it may shrink or be written, EINVAL if it can't be sealed at all or
    /// ends there, ENOMEM.
    #[cold]
    #[inline(never)]
    pub fn map(number: RawFd, offset: usize) -> Result<Self, Errno> {
        let file = descriptor::get(number);
        let fixed = SealFlags::SHRINK.union(SealFlags::WRITE);
        if !fs::fcntl_get_seals(file)?.contains(fixed) {
            return Err(Errno::PERM);
        }
        let size = fs::fstat(file)?.st_size.cast_unsigned();
        if offset as u64 >= size {
            return Err(Errno::INVAL);
        }
        let before = offset % PAGE;
        let offset = offset - before;
        let length = u32::try_from(size - offset as u64).map_err(|_| Errno::FBIG)?;
        let number = number.cast_unsigned() as usize;
        let (kind, access) = (raw::MAP_PRIVATE as usize, raw::PROT_READ as usize);
        // SAFETY: a hint: the kernel chooses another place if anything is in its way.
        let start = result(unsafe {
            arch::syscall(
                raw::__NR_mmap,
                [PLACE, length as usize, access, kind, number, offset],
            )
        })?;
        Ok(Self {
            start: NonZero::new(start).ok_or(Errno::NOMEM)?,
            length,
            before: u32::try_from(before).map_err(|_| Errno::INVAL)?,
        })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let start = core::ptr::with_exposed_provenance(self.start.get());
        // SAFETY: `map` has mapped so many bytes there, for as long as this value
        // lives; the seals keep everybody from changing or cutting them.
        let whole: &[u8] = unsafe { slice::from_raw_parts(start, self.length as usize) };
        whole.get(self.before as usize..).unwrap_or_default()
    }

    /// The same, mapped for as long as the program runs.
    #[must_use]
    pub fn forever(self) -> Forever {
        Forever(ManuallyDrop::new(self))
    }

    fn advise(&self, call: u32, advice: usize) {
        let place = [self.start.get(), self.length as usize, advice, 0, 0, 0];
        // SAFETY: the pages are of a file that can't change, so that they come back as
        // they were; those that are unmapped, by `drop`, nobody looks at any more.
        let _ = unsafe { arch::syscall(call, place) };
    }
}

/// One that is never unmapped.
#[derive(Debug)]
pub struct Forever(ManuallyDrop<Sealed>);

impl Forever {
    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &'static [u8] {
        let start = core::ptr::with_exposed_provenance::<u8>(self.0.start.get());
        // SAFETY: as in `Sealed::bytes`; nobody can unmap them.
        let whole: &'static [u8] = unsafe { slice::from_raw_parts(start, self.0.length as usize) };
        whole.get(self.0.before as usize..).unwrap_or_default()
    }

    /// Takes the pages out of memory until they are looked at again (madvise(2)).
    pub fn rest(&self) {
        self.0
            .advise(raw::__NR_madvise, raw::MADV_DONTNEED as usize);
    }
}

impl Drop for Sealed {
    #[cold]
    fn drop(&mut self) {
        self.advise(raw::__NR_munmap, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{
        fd::AsRawFd,
        fs::MemfdFlags,
        io::{Errno, write},
    };

    #[test]
    fn maps_what_is_sealed_only() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = fs::memfd_create(c"test", flags).unwrap();
        write(&file, &[7; 5000]).unwrap();
        let number = file.as_raw_fd();
        assert_eq!(Sealed::map(number, 0).err(), Some(Errno::PERM));
        fs::fcntl_add_seals(&file, SealFlags::WRITE).unwrap();
        assert_eq!(Sealed::map(number, 0).err(), Some(Errno::PERM));
        fs::fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
        let map = Sealed::map(number, 0).unwrap();
        drop(file);
        assert_eq!(map.bytes(), [7; 5000]);
        let map = map.forever();
        map.rest();
        assert_eq!(map.bytes(), [7; 5000]);
    }

    #[test]
    fn maps_from_any_byte_on() {
        let file = fs::memfd_create(c"test", MemfdFlags::ALLOW_SEALING).unwrap();
        let bytes: Vec<u8> = (0..9000_u32)
            .map(|number| number.to_le_bytes()[0])
            .collect();
        write(&file, &bytes).unwrap();
        fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK).unwrap();
        for offset in [0, 1, 4095, 4096, 5000, 8999] {
            let map = Sealed::map(file.as_raw_fd(), offset).unwrap();
            assert_eq!(map.bytes(), &bytes[offset..]);
        }
        for offset in [9000, 9001, 20_000, usize::MAX] {
            let map = Sealed::map(file.as_raw_fd(), offset);
            assert_eq!(map.err(), Some(Errno::INVAL));
        }
    }
}
