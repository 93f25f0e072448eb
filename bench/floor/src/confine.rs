//! What a program of a default pod may not do.

use crate::sys::{self, raw};
use linux_raw_sys::prctl;

/// The capabilities that are kept: chown dac_override fowner fsetid kill setgid
/// setuid setpcap net_bind_service net_raw sys_chroot audit_write setfcap.
const KEEP: u64 = 0xa004_25fb;
/// The kernel's last capability (checkpoint_restore) is number 40.
const LAST: usize = 40;

#[inline(always)]
fn prctl(option: u32, value: usize) {
    // SAFETY: the options below take numbers only.
    unsafe { sys::call(raw::__NR_prctl, [option as usize, value, 0, 0, 0]) };
}

/// Where the kernel writes 0 when this process dies and others use its memory:
/// set_tid_address(2).
#[inline(always)]
pub fn tell_death_to(place: *mut u32) {
    // SAFETY: the kernel writes there only when this process dies.
    unsafe { sys::call(raw::__NR_set_tid_address, [place.addr()]) };
}

/// Dies when the launcher dies, unless it already has.
///
/// # Safety
/// `launcher` is the place that the launcher has told, in shared memory.
#[inline(always)]
pub unsafe fn die_with(launcher: *const u32) {
    prctl(prctl::PR_SET_PDEATHSIG, raw::SIGKILL as usize);
    // SAFETY: the caller's promise.
    if unsafe { launcher.read_volatile() } == 0 {
        sys::exit(127);
    }
}

/// Drops all but the kept capabilities from the bounding set.
#[inline(always)]
pub fn limit_bounding_set() {
    for number in 0..=LAST {
        if KEEP & (1 << number) == 0 {
            prctl(prctl::PR_CAPBSET_DROP, number);
        }
    }
}

/// Nobody may read this process's memory.
#[inline(always)]
pub fn hide_memory() {
    prctl(prctl::PR_SET_DUMPABLE, 0);
}

/// Permitted and effective become what is kept; inheritable, and with it the
/// ambient set, becomes empty.
#[inline(always)]
pub fn limit_capabilities() {
    let header = [raw::_LINUX_CAPABILITY_VERSION_3, 0];
    let [a, b, c, d, ..] = KEEP.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    // Effective, permitted, inheritable; low halves, then high halves.
    let sets = [low, low, 0, 0, 0, 0];
    // SAFETY: a header and two sets, which live across the call.
    unsafe {
        sys::call(
            raw::__NR_capset,
            [header.as_ptr().addr(), sets.as_ptr().addr()],
        )
    };
}

#[path = "../../../fly/src/seccomp/default_filter.rs"]
mod default_filter;

/// Loads the product's default filter: its instructions are data, as a root file
/// system is, and a floor with other ones would prove nothing.
#[inline(always)]
pub fn load_filter() {
    let filter = default_filter::DEFAULT;
    // struct sock_fprog: the number of instructions, and where they are.
    let program = [filter.len() / 8, filter.as_ptr().addr()];
    // SECCOMP_SET_MODE_FILTER.
    // SAFETY: the structure and the instructions live across the call.
    unsafe { sys::call(raw::__NR_seccomp, [1, 0, program.as_ptr().addr()]) };
}

/// No exec gives new privileges.
#[inline(always)]
pub fn no_new_privileges() {
    prctl(prctl::PR_SET_NO_NEW_PRIVS, 1);
}
