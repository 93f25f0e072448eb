//! What a program may gain, and the filter of its system calls.

use core::ffi::CStr;

use fly::{
    error::Error,
    plan::Step,
    seccomp::{DEFAULT, tool},
};

use super::{
    Features, Lowering,
    own::{Program, Programs, Sets},
    policy::Policies,
};
use crate::options::{AppOption, Insecure};

impl<'a> Policies<'a> {
    /// Whether exec may give it new privileges.
    pub(super) fn gains(&self, insecure: Insecure) -> bool {
        self.value(AppOption::NoNewPrivileges) == Some(c"")
            || insecure.has(Insecure::NO_NEW_PRIVILEGES)
    }

    /// Its filter: `default`, or a file of the host.
    pub(super) fn filter(&self, insecure: Insecure) -> Option<&'a CStr> {
        if insecure.has(Insecure::SECCOMP) {
            return None;
        }
        let named = self.value(AppOption::Seccomp).unwrap_or(c"default");
        Some(named).filter(|named| *named != c"unconfined")
    }

    /// Whether that is loaded before the credentials are set: whoever may get new privileges
    /// by exec loads one only with the capability `sys_admin`, which goes with them.
    pub(super) fn filters_early(&self, insecure: Insecure) -> bool {
        self.gains(insecure) && self.filter(insecure).is_some()
    }
}

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    /// Whether a program may ask for keys: the default filter lets none. Who takes all of the
    /// confinement away gets the caller's, too.
    #[inline]
    pub(super) fn reaches_keys(&self) -> Result<bool, Error<'a>> {
        let insecure = self.options.insecure;
        if insecure.has(Insecure::SECCOMP) {
            return Ok(insecure != Insecure::ALL);
        }
        if F::ALL {
            let mut programs = Programs::of(self.options);
            while let Some(program) = programs.next()? {
                if program.policies.value(AppOption::Seccomp).is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The filter, if this is the place for it.
    pub(super) fn filter(
        &mut self,
        program: &Program<'a, I>,
        early: bool,
    ) -> Result<(), Error<'a>> {
        let (policies, insecure) = (&program.policies, self.options.insecure);
        match policies.filter(insecure) {
            Some(_) if policies.filters_early(insecure) != early => Ok(()),
            Some(name) if F::ALL && name != c"default" => self.compiled(name, program),
            Some(_) => {
                self.plan.push(Step::Seccomp { filter: DEFAULT });
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Some rules of profiles depend on what the program can have.
    #[cold]
    #[inline(never)]
    fn compiled(&mut self, path: &'a CStr, program: &Program<'a, I>) -> Result<(), Error<'a>> {
        let confined = !self.options.insecure.has(Insecure::CAPABILITIES);
        let sets = Sets::of(confined, true, Some(program.each(self.options)))?;
        tool::read(crate::NAME_WORD, path, Some(sets.bounding), &mut |filter| {
            self.plan.push(Step::Seccomp { filter });
        })
    }
}
