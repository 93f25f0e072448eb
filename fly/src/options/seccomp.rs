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
}

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Behind all else. Without no_new_privs the kernel takes a filter from root
    /// only, and a set-user-ID program would run under one that it does not
    /// expect.
    pub(super) fn lower_filter(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        let confine = self.namespaces.has(Name::Confine);
        let filter = match self.seccomp.filter {
            None if confine => c"default",
            None => return Ok(()),
            Some(filter) => filter,
        };
        if filter == c"unconfined" {
            return Ok(());
        }
        if !confine {
            plan.push(Step::NoNewPrivileges {});
        }
        if filter == c"default" {
            plan.push(Step::Seccomp { filter: DEFAULT });
            return Ok(());
        }
        tool::read(filter, confine, &mut |filter| {
            plan.push(Step::Seccomp { filter });
        })
    }
}
