//! `--seccomp`: the system call filter.

use core::ffi::CStr;

use super::{Choice, Name, Options};
use crate::{
    error::Error,
    plan::{Builder, Step},
    seccomp::{DEFAULT, tool},
};

/// What the options say of the filter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a> {
    /// `default`, `unconfined`, or a file of the host.
    filter: Option<&'a CStr>,
}

impl<'a> Settings<'a> {
    /// Takes the option if it is this one.
    pub(super) fn take(&mut self, choice: &Choice<'a>) {
        if choice.name == Name::Seccomp {
            self.filter = Some(choice.first);
        }
    }

    pub(super) fn is_given(&self) -> bool {
        self.filter.is_some()
    }

    /// The filter that is loaded, if there is one.
    pub(super) fn name(&self, confine: bool) -> Option<&'a CStr> {
        let default = confine.then_some(c"default");
        self.filter
            .or(default)
            .filter(|name| *name != c"unconfined")
    }
}

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Behind all else.
    pub(super) fn lower_filter(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        let confine = self.namespaces.has(Name::Confine);
        let Some(filter) = self.seccomp.name(confine) else {
            return Ok(());
        };
        if filter == c"default" {
            plan.push(Step::Seccomp { filter: DEFAULT });
            return Ok(());
        }
        // Some rules of profiles depend on what the program can have.
        let keep = self.capabilities(true).map(|sets| sets.bounding);
        tool::read(c"fly", filter, keep, &mut |filter| {
            plan.push(Step::Seccomp { filter });
        })
    }
}
