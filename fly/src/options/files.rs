//! The root file system and what is mounted in it.

use core::ffi::CStr;

use linux_raw_sys::general as raw;

use super::{Choice, Name, Options, ROOT, SOURCE};
use crate::{
    error::Error,
    lower,
    plan::{Builder, Step},
};

/// What the options say of the root; mounts are read in their order later.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    read_only_root: bool,
    /// Whether something is mounted.
    mounts: bool,
}

impl Settings {
    /// Takes the option if it is one of these.
    ///
    /// # Errors
    /// Names the option whose value is bad.
    pub(super) fn take<'a>(&mut self, choice: &Choice<'a>) -> Result<(), Error<'a>> {
        match choice.name {
            Name::ReadOnlyRoot => self.read_only_root = true,
            Name::Bind | Name::ReadOnlyBind | Name::Tmpfs => self.mounts = true,
            _ => {}
        }
        Ok(())
    }
}

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    pub(super) fn lower_root(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        if self.files.read_only_root {
            plan.push(Step::OpenTree {
                into: ROOT,
                flags: Step::RECURSIVE,
                attributes: u64::from(raw::MOUNT_ATTR_RDONLY),
                path: self.rootfs,
            })
            .push(Step::AttachRoot { mount: ROOT });
        } else {
            plan.push(Step::OpenDirectory {
                into: ROOT,
                path: self.rootfs,
            });
        }
        lower::host_file_systems(plan, SOURCE, ROOT);
        Ok(())
    }

    pub(super) fn lower_mounts(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        if !self.files.mounts {
            return Ok(());
        }
        let mut choices = self.choices.clone();
        while let Some(choice) = choices.next()? {
            lower_mount(plan, &choice)?;
        }
        Ok(())
    }
}

fn lower_mount<'a>(plan: &mut Builder<'_>, choice: &Choice<'a>) -> Result<(), Error<'a>> {
    let target = match choice.name {
        Name::Bind | Name::ReadOnlyBind => choice.second,
        Name::Tmpfs => choice.first,
        _ => return Ok(()),
    };
    lower::check_target(target, target.to_bytes())?;
    if choice.name == Name::Tmpfs {
        lower::tmpfs(plan, SOURCE, lower::DATA, b"0755");
    } else {
        plan.push(Step::OpenTree {
            into: SOURCE,
            flags: Step::RECURSIVE,
            attributes: match choice.name {
                Name::ReadOnlyBind => u64::from(raw::MOUNT_ATTR_RDONLY),
                _ => 0,
            },
            path: choice.first,
        });
    }
    lower::attach(plan, SOURCE, ROOT, target.to_bytes());
    Ok(())
}
