//! The root of a pod, its /dev, /proc and /sys, and its terminal.

use core::ffi::CStr;

use fly::{
    error::Error,
    lower::{self as common, kernel_files::KernelFiles},
    plan::{Slot, Step},
};

use crate::options::{Insecure, Network};

use super::{
    DEV, Features, LAYER, Lowering, NODEV, NOSUID, PEER, PROC, PTS, RDONLY, ROOT, SHM, SYS,
};

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    /// A device node of the image's would reach the host's device: those of /dev are
    /// enough.
    pub(super) fn attributes_of_root(&self, read_only: bool) -> u64 {
        let with_devices = self.options.insecure.has(Insecure::CAPABILITIES);
        let mut attributes = if with_devices { 0 } else { NODEV };
        if read_only {
            attributes |= RDONLY;
        }
        attributes
    }

    pub(super) fn root(&mut self) {
        let path = self.options.rootfs;
        let attributes = self.attributes_of_root(self.options.read_only_root);
        if self.options.ephemeral {
            self.layer(ROOT, attributes, path);
        } else if !self.maps_mounts() {
            self.plan.push(Step::OpenTree {
                into: ROOT,
                flags: Step::RECURSIVE,
                attributes,
                path,
            });
        }
        self.plan.push(Step::AttachRoot { mount: ROOT });
    }

    /// A writable layer over a root.
    pub(super) fn layer(&mut self, into: Slot, attributes: u64, path: &'a CStr) {
        let users = self.host.users;
        common::tmpfs(self.plan, LAYER, NOSUID, b"0755");
        self.plan.push(if self.has_users() {
            Step::OwnOverlay {
                into,
                layer: LAYER,
                flags: if users.maps_mounts() { Step::MAPPED } else { 0 },
                attributes,
                path,
            }
        } else {
            Step::Overlay {
                into,
                layer: LAYER,
                attributes,
                path,
            }
        });
    }

    pub(super) fn kernel_files(&mut self) -> Result<(), Error<'a>> {
        let files = KernelFiles {
            root: ROOT,
            dev: DEV,
            proc: PROC,
            sys: SYS,
            pts: PTS,
            shm: SHM,
            masked: !self.options.insecure.has(Insecure::PATHS),
            in_user_namespace: self.has_users(),
            own_proc: true,
            // A sysfs is for the user namespace of its network namespace only.
            own_sys: !self.has_users() || self.options.network == Network::None,
        };
        files.dev(self.plan);
        files.proc_and_sys(self.plan);
        // Before devpts hides what they are made of.
        if F::ALL {
            self.write_names();
        }
        if F::ALL && self.options.several {
            self.names_of_roots()?;
        } else {
            self.names(ROOT);
        }
        let terminal = self.has_terminal();
        files.pts_and_shm(self.plan, !terminal);
        if terminal {
            self.plan
                .push(Step::File {
                    under: DEV,
                    mode: 0o600,
                    name: c"console",
                })
                .push(Step::Console {
                    peer: PEER,
                    under: DEV,
                    name: c"console",
                });
        }
        Ok(())
    }
}
