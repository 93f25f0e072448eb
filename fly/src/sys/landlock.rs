//! Access to files that a process gives up (landlock(7), Linux 5.13), by plain
//! descriptor numbers: see [`super::path`].

use super::{arch, descriptor, path, result};
use core::ffi::CStr;
use linux_raw_sys::{general as raw, landlock as access};
use rustix::{fd::RawFd, io::Errno};

/// Execute a file, read it, list a directory.
const READ: u64 = (access::LANDLOCK_ACCESS_FS_EXECUTE
    | access::LANDLOCK_ACCESS_FS_READ_FILE
    | access::LANDLOCK_ACCESS_FS_READ_DIR) as u64;
/// What there is of a file that is no directory.
const OF_FILES: u64 = (access::LANDLOCK_ACCESS_FS_EXECUTE
    | access::LANDLOCK_ACCESS_FS_WRITE_FILE
    | access::LANDLOCK_ACCESS_FS_READ_FILE
    | access::LANDLOCK_ACCESS_FS_TRUNCATE
    | access::LANDLOCK_ACCESS_FS_IOCTL_DEV) as u64;

/// Rules on their way to the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Ruleset {
    number: RawFd,
    /// The kinds of access that the kernel knows, all of which are denied where no
    /// rule allows them.
    handled: u64,
}

/// struct landlock_path_beneath_attr, which is packed.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: RawFd,
}

impl Ruleset {
    /// Rules for all access to files that this kernel can deny: 13 kinds at first,
    /// rename between directories since ABI 2, truncate since 3, ioctl of devices
    /// since 5.
    ///
    /// # Errors
    /// ENOSYS, EOPNOTSUPP where landlock is missing or switched off; EMFILE.
    pub fn new() -> Result<Self, Errno> {
        let version = access::LANDLOCK_CREATE_RULESET_VERSION;
        // SAFETY: with this flag the call takes neither pointer nor size.
        let abi = result(unsafe {
            arch::syscall(raw::__NR_landlock_create_ruleset, [0, 0, version as usize])
        })?;
        // Missing of the 16 bits, by ABI.
        let missing = [3_u8, 3, 2, 1, 1].get(abi).map_or(0, |bits| *bits);
        let handled = 0xffff_u64 >> missing;
        // SAFETY: the kernel reads 8 bytes, the first version of the structure: the
        // kinds of access to files.
        let number = result(unsafe {
            arch::syscall(
                raw::__NR_landlock_create_ruleset,
                [
                    (&raw const handled).expose_provenance(),
                    size_of_val(&handled),
                    0,
                ],
            )
        })?;
        Ok(Self {
            number: RawFd::try_from(number).map_err(|_| Errno::BADF)?,
            handled,
        })
    }

    /// Allows to read and execute, or with `writes` everything, at `path` and below
    /// it. No magic link of a procfs is followed.
    ///
    /// # Errors
    /// As openat2(2), and landlock_add_rule(2).
    pub fn allow(self, path: &CStr, writes: bool) -> Result<(), Errno> {
        let mut allowed = if writes { self.handled } else { READ };
        let parent = match path::open(path, raw::O_DIRECTORY) {
            Err(Errno::NOTDIR) => {
                allowed &= OF_FILES;
                path::open(path, 0)
            }
            done => done,
        }?;
        let rule = Beneath { allowed, parent };
        let number = self.number.cast_unsigned() as usize;
        // LANDLOCK_RULE_PATH_BENEATH is 1.
        // SAFETY: the kernel reads one packed structure of 12 bytes.
        let added = result(unsafe {
            arch::syscall(
                raw::__NR_landlock_add_rule,
                [number, 1, (&raw const rule).expose_provenance(), 0, 0, 0],
            )
        });
        let _ = descriptor::close(parent);
        added.map(drop)
    }

    /// From here on this process may do no more than that, nor may its children.
    ///
    /// # Errors
    /// EPERM without no_new_privs or CAP_SYS_ADMIN; E2BIG behind 16 such layers.
    pub fn restrict(self) -> Result<(), Errno> {
        let number = self.number.cast_unsigned() as usize;
        // SAFETY: no pointer.
        let done = result(unsafe {
            arch::syscall(raw::__NR_landlock_restrict_self, [number, 0, 0, 0, 0, 0])
        });
        let _ = descriptor::close(self.number);
        done.map(drop)
    }
}
