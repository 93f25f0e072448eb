//! Roots of several programs in one pod: its own root is then a small tmpfs, read-only,
//! in which theirs are mounted at /app/NAME/rootfs. pid 1 starts each program in a mount
//! namespace whose root is that one.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    lower as common,
    plan::{MAX_SLOTS, Slot, Step},
};

use super::{
    Features, Lowering, NODEV, NOEXEC, NOSUID, ROOT, SOURCE,
    own::{Program, Programs},
    policy::ROOTS,
};
use crate::options::AppOption;

/// The slot of the first program's root. Each has one until the end of the launch: by
/// them mount points that were made are unmade.
const FIRST: u8 = 32;
/// The most roots of a pod.
pub const MAX_ROOTS: usize = (MAX_SLOTS - FIRST) as usize;

/// What the pod has once, and the programs by clones: one kernel's, and the terminal,
/// the sockets and the shared memory of one pod.
const SHARED: [&CStr; 3] = [c"dev", c"proc", c"sys"];

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    #[cold]
    #[inline(never)]
    pub(super) fn roots(&mut self) -> Result<(), Error<'a>> {
        // Opened before anything covers the host's root.
        let mut programs = Programs::of(self.options);
        while let Some(program) = programs.next()? {
            let into = slot(&program)?;
            let path = program.rootfs;
            // Those whose ids are mapped have been opened in the launcher.
            if !self.maps_mounts() {
                self.plan.push(Step::OpenDirectory { into, path });
            }
        }
        let mut programs = Programs::of(self.options);
        while let Some(program) = programs.next()? {
            self.own_root(&program)?;
        }
        self.pods_root();
        let mut programs = Programs::of(self.options);
        while let Some(program) = programs.next()? {
            for behind in [&b""[..], b"/rootfs"] {
                self.plan.begin_list(Step::Directory {
                    under: ROOT,
                    mode: 0o755,
                    name: c"",
                });
                program.policies.join_name(self.plan, b"app/", behind);
                self.plan.end();
            }
            self.plan.begin_list(Step::Attach {
                mount: slot(&program)?,
                under: ROOT,
                flags: 0,
                target: c"",
            });
            program.policies.join_name(self.plan, ROOTS.0, ROOTS.1);
            self.plan.end();
        }
        self.pods_files()?;
        let mut programs = Programs::of(self.options);
        while let Some(program) = programs.next()? {
            let root = slot(&program)?;
            for name in SHARED {
                self.plan.push(Step::Bind {
                    into: SOURCE,
                    under: ROOT,
                    flags: Step::RECURSIVE,
                    attributes: 0,
                    name,
                });
                common::attach_in_place(self.plan, SOURCE, root, name);
            }
            self.mounts(program.each(self.options), root)?;
        }
        self.plan.push(Step::Remount {
            under: ROOT,
            path: c"/",
        });
        Ok(())
    }

    /// Puts the files by which names are resolved into each root.
    #[cold]
    #[inline(never)]
    pub(super) fn names_of_roots(&mut self) -> Result<(), Error<'a>> {
        let mut programs = Programs::of(self.options);
        while let Some(program) = programs.next()? {
            self.names(slot(&program)?);
        }
        Ok(())
    }

    /// The directories of the pod's root.
    fn pods_root(&mut self) {
        common::tmpfs(self.plan, ROOT, NOSUID | NODEV | NOEXEC, b"0755");
        self.plan.push(Step::AttachRoot { mount: ROOT });
        for name in SHARED.into_iter().chain([c"app"]) {
            self.plan.push(Step::Directory {
                under: ROOT,
                mode: 0o755,
                name,
            });
        }
    }

    /// What will be the root of a program.
    fn own_root(&mut self, program: &Program<'a, I>) -> Result<(), Error<'a>> {
        let into = slot(program)?;
        let root = program.root(self.options)?;
        let attributes = self.attributes_of_root(root.read_only);
        if root.ephemeral {
            self.layer(into, attributes, program.rootfs);
        } else if !self.maps_mounts() {
            self.plan.push(Step::Bind {
                into,
                under: into,
                flags: Step::RECURSIVE,
                attributes,
                name: c".",
            });
        }
        Ok(())
    }
}

/// The slot of a program's root.
pub(super) fn slot<'a, I>(program: &Program<'a, I>) -> Result<Slot, Error<'a>> {
    let policies = &program.policies;
    let name = policies.value(AppOption::Name).unwrap_or(c"app");
    // It names a directory.
    if matches!(name.to_bytes(), b"" | b"." | b"..") || name.to_bytes().contains(&b'/') {
        return Err(Error::new(What::ReadOption, c"--name", Why::NoAppName));
    }
    let number = u8::try_from(policies.index()).unwrap_or(u8::MAX);
    let slot = FIRST.saturating_add(number);
    if slot < MAX_SLOTS {
        Ok(Slot(slot))
    } else {
        Err(Error::new(
            What::ReadRoot,
            program.rootfs,
            Why::TooManyRoots,
        ))
    }
}
