//! Standard inputs that `stage0 attach` writes to: FIFOs in the pod's directory, which the
//! pod sees read-only in its own /dev, where no image can have anything.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    plan::{Slot, Step},
};

use super::{
    DEV, Features, Lowering, NODEV, NOEXEC, NOSUID, PEER, RDONLY, SOURCE,
    own::{Program, Programs},
    policy::Registered,
};
use crate::{
    options::{AppOption, Options, STREAM},
    streams::{FOLDER, PLACE},
};

const ATTRIBUTES: u64 = RDONLY | NOSUID | NODEV | NOEXEC;
/// Where it is that its ids are mapped: such a pod has no terminal.
const MAPPED: Slot = PEER;

/// Whether a program has one.
///
/// # Errors
/// As of [`super::lower`].
#[cold]
#[inline(never)]
pub fn are_wanted<'a, I>(options: &Options<'a, I>) -> Result<bool, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let mut programs = Programs::of(options);
    while let Some(program) = programs.next()? {
        if program.policies.value(AppOption::Stdin) == Some(STREAM) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    /// The FIFO is standard input of this program.
    #[cold]
    #[inline(never)]
    pub(super) fn stream(
        &mut self,
        program: &Program<'a, I>,
        registered: Registered,
    ) -> Result<(), Error<'a>> {
        if program.policies.value(AppOption::Stdin) != Some(STREAM) {
            return Ok(());
        }
        let failed = |option, why| Err(Error::new(What::ReadOption, option, why));
        if registered == Registered::No {
            return failed(c"--stdin=stream", Why::NotRegistered);
        }
        if self.has_terminal() {
            return failed(c"--tty", Why::OtherInput);
        }
        self.plan.begin_list(Step::Stdio {
            streams: 1 | Step::STREAM,
            path: c"",
        });
        program.policies.join(self.plan, PLACE);
        self.plan.end();
        Ok(())
    }

    /// In the launcher, of a pod whose mounts of the host have their ids mapped.
    pub(super) fn mapped_streams(&mut self, map: Slot) {
        self.plan.begin_list(Step::MappedTree {
            into: MAPPED,
            map,
            flags: 0,
            attributes: ATTRIBUTES,
            path: c"",
        });
        self.folder();
    }

    /// All of them come by one mount.
    #[cold]
    #[inline(never)]
    pub(super) fn streams(&mut self) {
        let mut mount = MAPPED;
        if !self.maps_mounts() {
            mount = SOURCE;
            self.plan.begin_list(Step::OpenTree {
                into: mount,
                flags: 0,
                attributes: ATTRIBUTES,
                path: c"",
            });
            self.folder();
        }
        self.plan
            .push(Step::Directory {
                under: DEV,
                mode: 0o700,
                name: FOLDER,
            })
            .push(Step::Attach {
                mount,
                under: DEV,
                flags: Step::NO_FOLLOW | Step::CLOSE,
                target: FOLDER,
            });
    }

    /// Ends the step by the path on the host.
    fn folder(&mut self) {
        let directory = self.host.directory.unwrap_or_default();
        self.plan
            .joined(&[directory.to_bytes(), b"/", FOLDER.to_bytes()])
            .end();
    }
}
