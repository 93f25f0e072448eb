//! `--confine`: the safe preset. And what else changes about the root and the
//! kernel's files.

use core::ffi::CStr;

use super::{Name, Options, ROOT};
use crate::{
    error::{Error, What, Why},
    lower::kernel_files::KernelFiles,
    plan::{Builder, Slot, Step},
};
use linux_raw_sys::general as raw;

const DEV: Slot = Slot(6);
const PROC: Slot = Slot(7);
const SYS: Slot = Slot(8);
const PTS: Slot = Slot(9);
const SHM: Slot = Slot(10);

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// The attributes that the root's mounts are given. A device node of a
    /// confined root would reach the host's device: those of /dev are enough.
    pub(super) fn root_attributes(&self) -> u64 {
        let mut attributes = 0;
        if self.files.read_only_root {
            attributes |= raw::MOUNT_ATTR_RDONLY;
        }
        if self.namespaces.has(Name::Confine) {
            attributes |= raw::MOUNT_ATTR_NODEV;
        }
        u64::from(attributes)
    }

    /// The root, and the kernel's files in it, where they are not just those of
    /// the host.
    #[cold]
    #[inline(never)]
    pub(super) fn lower_other_root(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        let own = &self.namespaces;
        let attributes = self.root_attributes();
        match (self.files.has_layer(), own.has(Name::MapRoot)) {
            (true, true) => {
                return Err(Error::new(
                    What::ReadOption,
                    c"--idmap-root",
                    Why::MappedLayer,
                ));
            }
            (true, false) => self.lower_layer(plan, attributes)?,
            // It was opened outside of the user namespace.
            (false, true) => {
                plan.push(Step::AttachRoot { mount: ROOT });
            }
            (false, false) => self.lower_tree(plan, attributes),
        }
        if !own.has(Name::Confine) {
            self.lower_host_files(plan, own.unshares(raw::CLONE_NEWPID));
        } else if !self.files.is_minimal() {
            self.lower_kernel_files(plan);
        }
        Ok(())
    }

    fn lower_kernel_files(&self, plan: &mut Builder<'_>) {
        let own = &self.namespaces;
        let in_user_namespace = own.unshares(raw::CLONE_NEWUSER);
        let files = KernelFiles {
            root: ROOT,
            dev: DEV,
            proc: PROC,
            sys: SYS,
            pts: PTS,
            shm: SHM,
            masked: true,
            in_user_namespace,
            own_proc: own.unshares(raw::CLONE_NEWPID),
            // It belongs to the network namespace.
            own_sys: !in_user_namespace || own.unshares(raw::CLONE_NEWNET),
        };
        files.dev(plan);
        files.proc_and_sys(plan);
        files.pts_and_shm(plan, true);
    }
}
