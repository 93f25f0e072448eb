//! Sealed memory files: the copy of pid 1's program, and its plan.

use core::ffi::CStr;

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{self, MemfdFlags, Mode, OFlags, SealFlags},
    io::{self, Errno},
};

use super::{Launcher, files, path::Path};
use crate::{
    error::{Advice, Error, What, Why},
    plan::{Kind, Plan, Slot},
};

/// The largest program that is copied for pid 1.
pub(super) const MAX_PROGRAM: u64 = 64 << 20;

/// MFD_EXEC (memfd_create(2), Linux 6.3).
const MFD_EXEC: u32 = 0x10;

pub(super) const SEALS: SealFlags = SealFlags::SEAL
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::WRITE);

/// Writes what pid 1 reads.
type WritePlan = fn(&Plan<'_>, &OwnedFd) -> Result<(), Errno>;

impl<'p> Launcher<'p, '_> {
    /// A sealed copy of pid 1's program and its plan.
    pub(super) fn seal_init(&mut self, into: Slot, path: &'p CStr) -> Result<(), Error<'p>> {
        if self.share(into, path) {
            return Ok(());
        }
        self.seal(into, path, Some(write_apps))
    }

    /// The same behind a start with a copy of others that failed.
    #[cold]
    #[inline(never)]
    pub(super) fn seal_again(&mut self) -> Result<(), Error<'p>> {
        let mut steps = self.plan.steps().records();
        match steps.find(|step| step.is(Kind::Seal)) {
            Some(seal) => self.seal_init(Slot(seal.slot), seal.list.first()),
            None => Ok(()),
        }
    }

    /// With `write` for pid 1 of a pod, which finds its plan behind itself.
    pub(super) fn seal(
        &mut self,
        into: Slot,
        path: &'p CStr,
        write: Option<WritePlan>,
    ) -> Result<(), Error<'p>> {
        let with_plan = write.is_some();
        let failed = |errno| Error::new(What::Copy, path, errno);
        // The copy first: it then has the number that pid 1 expects, as a rule.
        let name = if with_plan { c"stage1-init" } else { c"init" };
        let (copy, sealable) = match executable_memory(name) {
            Err(Errno::ACCESS) => {
                self.fallbacks.memfd = true;
                (file_on_tmpfs().map_err(failed)?, false)
            }
            done => (done.map_err(failed)?, true),
        };
        let source =
            fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| {
                let mut error = Error::new(What::Open, path, errno);
                if with_plan && errno != Errno::MFILE {
                    error = error.advice(Advice::NameStage1);
                }
                error
            })?;
        let status = fs::fstat(&source).map_err(failed)?;
        let size = u64::try_from(status.st_size).unwrap_or(0);
        if size == 0 || size > MAX_PROGRAM || status.st_mode & 0o111 == 0 {
            return Err(Error::new(What::Copy, path, Why::NotAProgram));
        }
        fill(&copy, &source, size).map_err(|errno| match errno {
            Errno::NODATA => Error::new(What::Copy, path, Why::CutShort),
            errno => failed(errno),
        })?;
        if let Some(write) = write {
            write(&self.plan, &copy).map_err(|errno| Error::new(What::Seal, c"the plan", errno))?;
        }
        self.plan_offset = size;
        let copy = if sealable {
            fs::fcntl_add_seals(&copy, SEALS).map_err(failed)?;
            copy
        } else {
            reopen_read_only(&copy).map_err(failed)?
        };
        self.put(into, copy);
        Ok(())
    }
}

/// Copies `size` bytes.
///
/// # Errors
/// As sendfile(2); ENODATA if there are less.
pub(super) fn fill(copy: &OwnedFd, source: &OwnedFd, size: u64) -> Result<(), Errno> {
    let mut left = usize::try_from(size).map_err(|_| Errno::FBIG)?;
    while left > 0 {
        match fs::sendfile(copy, source, None, left)? {
            0 => return Err(Errno::NODATA),
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}

/// A plan in a sealed memory file, as `write` writes it.
pub(super) fn sealed_plan(
    write: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
) -> Result<OwnedFd, Errno> {
    let file = fs::memfd_create(c"plan", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    write(&file)?;
    fs::fcntl_add_seals(&file, SEALS)?;
    Ok(file)
}

/// Writes the part of the plan that concerns pid 1.
#[inline(never)]
pub(super) fn write_apps(plan: &Plan<'_>, file: &OwnedFd) -> Result<(), Errno> {
    let (header, records) = plan.apps_part();
    write_plan(file, &header, records)
}

pub(super) fn write_plan(file: &OwnedFd, header: &[u8], records: &[u8]) -> Result<(), Errno> {
    let whole = header.len() + records.len();
    let parts = [io::IoSlice::new(header), io::IoSlice::new(records)];
    if io::writev(file, &parts)? == whole {
        Ok(())
    } else {
        Err(Errno::NOSPC)
    }
}

pub(super) fn executable_memory(name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match fs::memfd_create(name, flags | MemfdFlags::from_bits_retain(MFD_EXEC)) {
        // Before 6.3 there is no such flag, and all memory files may be executed.
        Err(Errno::INVAL) => fs::memfd_create(name, flags),
        done => done,
    }
}

/// Where executable memory files are refused (vm.memfd_noexec=2): a file that
/// only we can reach, on a tmpfs that is mounted nowhere.
fn file_on_tmpfs() -> Result<OwnedFd, Errno> {
    let tmpfs = files::make_tmpfs()?;
    fs::openat(
        &tmpfs,
        c"stage1-init",
        OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o555),
    )
}

/// A file that is open for writing can't be executed (ETXTBSY).
#[cold]
#[inline(never)]
fn reopen_read_only(file: &OwnedFd) -> Result<OwnedFd, Errno> {
    let path = Path::of_descriptor(b"/proc/self/fd/", file.as_fd())?;
    fs::open(
        path.as_c_str(),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}
