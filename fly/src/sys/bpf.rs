//! Programs of the kernel that decide over a cgroup (bpf(2)).

use super::{arch, result};
use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    io::Errno,
};

use super::descriptor;

// linux/bpf.h
const PROG_LOAD: usize = 5;
const PROG_ATTACH: usize = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// Of union bpf_attr what loading a program takes.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The same, attaching it.
#[repr(C)]
struct Attach {
    target: i32,
    program: i32,
    kind: u32,
    flags: u32,
}

/// Attaches a program of type `BPF_PROG_TYPE_CGROUP_DEVICE` to the cgroup of version 2
/// `cgroup`, beside those of the cgroups above it, which decide, too. It is gone
/// with the cgroup.
///
/// # Errors
/// As bpf(2): EPERM without the capabilities sys_admin, or bpf and net_admin; ENOSYS or
/// EINVAL where the kernel has none.
#[cold]
pub fn filter_devices(cgroup: BorrowedFd<'_>, program: &[u64]) -> Result<(), Errno> {
    let license = c"MIT";
    let load = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        instructions: program.as_ptr().expose_provenance() as u64,
        license: license.as_ptr().expose_provenance() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads the structure, as many instructions as it says, and the
    // text, all of which live across the call; without a log it writes nothing. The
    // program reads no memory of this process.
    let number = result(unsafe { call(PROG_LOAD, &load) })?;
    let loaded = i32::try_from(number).ok().and_then(descriptor::own);
    let loaded: OwnedFd = loaded.ok_or(Errno::BADF)?;
    let attach = Attach {
        target: cgroup.as_raw_fd(),
        program: loaded.as_fd().as_raw_fd(),
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the kernel reads the structure, which holds no pointer.
    result(unsafe { call(PROG_ATTACH, &attach) }).map(drop)
}

/// bpf(2).
///
/// # Safety
/// What `attributes` says must be fit for `command`, and what it points to must live.
unsafe fn call<T>(command: usize, attributes: &T) -> isize {
    let arguments = [
        command,
        (&raw const *attributes).expose_provenance(),
        size_of::<T>(),
        0,
        0,
        0,
    ];
    // SAFETY: the caller's.
    unsafe { arch::syscall(raw::__NR_bpf, arguments) }
}
