//! What was done instead of calls that are missing.

use crate::{
    packed,
    packed::Packed,
    text::{Line, split},
};

/// Calls that this kernel lacks or refuses, and what was done instead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// open_tree_attr (6.15): open_tree, then mount_setattr.
    pub open_tree_attr: bool,
    /// mount_setattr (5.12): a remount of each mount.
    pub mount_setattr: bool,
    /// close_range (5.9): one close a descriptor.
    pub close_range: bool,
    /// openat2 (5.6): component by component.
    pub openat2: bool,
    /// clone3 (5.3): clone.
    pub clone3: bool,
    /// CLONE_INTO_CGROUP (5.7), or a cgroup v1: the pod's first process joins.
    pub into_cgroup: bool,
    /// A memory file that may be executed (refused by vm.memfd_noexec=2): a
    /// file on a tmpfs of its own.
    pub memfd: bool,
    /// pivot_root on an initramfs root: chroot into the tree over /.
    pub pivot_root: bool,
}

impl Fallbacks {
    /// What each fallback means, in the order of [`Fallbacks::tell`].
    pub(crate) const TEXTS: &'static str = "\
        open_tree_attr: not available, used open_tree and mount_setattr\n\
        mount_setattr: not available, used mount to change each mount\n\
        close_range: not available, closed descriptors one by one\n\
        openat2: not available, walked paths component by component\n\
        clone3: not available, used clone\n\
        clone3: can't start in this cgroup, joined it afterwards\n\
        memfd_create: executable memory files are refused, used a file on a tmpfs\n\
        pivot_root: not possible from an initramfs, used chroot";

    /// Tells on standard error, as `program`, what was done instead.
    #[cold]
    #[inline(never)]
    pub fn tell(self, program: &str) {
        let taken = [
            self.open_tree_attr,
            self.mount_setattr,
            self.close_range,
            self.openat2,
            self.clone3,
            self.into_cgroup,
            self.memfd,
            self.pivot_root,
        ];
        let Packed(texts) = packed!(Fallbacks::TEXTS);
        for (taken, text) in taken.iter().zip(split(texts, b'\n')) {
            if *taken {
                let mut line = Line::new(2);
                line.text(program).text(": ").packed(Packed(text)).end();
            }
        }
    }
}
