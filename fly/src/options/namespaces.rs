//! Namespaces, and who supervises what is in them.

use core::ffi::CStr;

use linux_raw_sys::general as raw;

use super::{Choice, Options};
use crate::{
    error::Error,
    plan::{Builder, Step},
};

/// What the options say of namespaces.
#[derive(Clone, Debug, Default)]
pub struct Settings {}

impl Settings {
    /// Takes the option if it is one of these.
    ///
    /// # Errors
    /// Names the option whose value is bad.
    pub(super) fn take<'a>(&mut self, choice: &Choice<'a>) -> Result<(), Error<'a>> {
        let _ = choice;
        Ok(())
    }
}

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// A mount namespace, always: nothing that is mounted reaches the caller.
    pub(super) fn lower_namespaces(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        let Settings {} = self.namespaces;
        plan.push(Step::Unshare {
            namespaces: u64::from(raw::CLONE_NEWNS),
        })
        .push(Step::Private {});
        Ok(())
    }
}
