//! Whether this kernel has a call: asked with arguments that no call takes, so that
//! nothing is done.

use super::{arch, result};
use linux_raw_sys::general as raw;
use rustix::{
    io::Errno,
    thread::{self, CapabilitySet},
};

/// A call that an older kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "each is called as the call is")]
pub enum Call {
    Openat2 = raw::__NR_openat2,
    OpenTree = raw::__NR_open_tree,
    OpenTreeAttr = raw::__NR_open_tree_attr,
    MountSetattr = raw::__NR_mount_setattr,
    MoveMount = raw::__NR_move_mount,
    Fsopen = raw::__NR_fsopen,
    Clone3 = raw::__NR_clone3,
    PidfdOpen = raw::__NR_pidfd_open,
    CloseRange = raw::__NR_close_range,
    MemfdCreate = raw::__NR_memfd_create,
    Seccomp = raw::__NR_seccomp,
    InotifyInit = raw::__NR_inotify_init1,
    Landlock = raw::__NR_landlock_create_ruleset,
}

/// Whether the kernel has it, and no filter keeps it from this process. Of those that want
/// the capability `sys_admin` before they look at their arguments, who lacks it can't tell a
/// filter: they have it in the user namespace that they make.
#[must_use]
pub fn has(call: Call) -> bool {
    // SAFETY: each of these calls refuses flags or a size of which all bits are set
    // before it reads a pointer, and none of them ends or replaces the process.
    let answer = result(unsafe { arch::syscall(call as u32, [usize::MAX; 6]) });
    match answer {
        Err(Errno::PERM) => matches!(call, Call::MoveMount | Call::Fsopen) && !may_mount(),
        Err(Errno::NOSYS) => false,
        _ => true,
    }
}

fn may_mount() -> bool {
    let held = thread::capabilities(None);
    held.is_ok_and(|held| held.effective.contains(CapabilitySet::SYS_ADMIN))
}
