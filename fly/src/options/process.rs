//! The process: who it is, what it may do, its environment, its program.

use core::ffi::CStr;

use super::{Choice, Choices, Name, Options};
use crate::{
    error::Error,
    lower,
    plan::{Builder, List, Step},
    user,
};

/// What the options say of the process; variables are read in their order later.
#[derive(Clone, Debug, Default)]
pub struct Settings<'a> {
    working_directory: Option<&'a CStr>,
    user: Option<&'a CStr>,
    /// Whether the environment is changed at all.
    variables: bool,
}

impl<'a> Settings<'a> {
    /// The value of `--user`.
    pub(super) fn user(&self) -> Option<&'a CStr> {
        self.user
    }

    /// Takes the option if it is one of these.
    ///
    /// # Errors
    /// Names the option whose value is bad.
    pub(super) fn take(&mut self, choice: &Choice<'a>) -> Result<(), Error<'a>> {
        match choice.name {
            Name::WorkingDirectory => self.working_directory = Some(choice.first),
            Name::User => self.user = Some(choice.first),
            Name::SetVariable | Name::UnsetVariable => {
                lower::check_variable_name(choice.first)?;
                self.variables = true;
            }
            Name::ClearVariables => self.variables = true,
            _ => {}
        }
        Ok(())
    }
}

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Returns whether the program is root.
    pub(super) fn lower_process(&self, plan: &mut Builder<'_>) -> Result<bool, Error<'a>> {
        let mut root = true;
        if let Some(user) = self.process.user {
            let identity = user::resolve_pair(self.rootfs, user)?;
            if self.namespaces.keeps_groups() {
                lower::ids(plan, &identity);
            } else {
                lower::identity(plan, &identity);
            }
            root = identity.user == 0;
            if !root {
                // The inheritable set, which setuid(2) leaves (CVE-2022-29162).
                plan.push(Step::Capabilities { keep: 0 });
            }
        }
        if let Some(path) = self.process.working_directory {
            lower::working_directory(plan, path)?;
        }
        Ok(root)
    }

    #[inline(never)]
    pub(super) fn lower_program<E>(
        &self,
        plan: &mut Builder<'_>,
        environment: E,
    ) -> Result<(), Error<'a>>
    where
        E: Iterator<Item = &'a CStr> + Clone,
    {
        let program = self.program.clone();
        let count = program.clone().count() as u64;
        let strings = List::EMPTY;
        let arguments = count;
        if self.namespaces.has(Name::Init) && !self.check {
            self.begin_sealed(plan, count);
        } else {
            let guarded = self.namespaces.has(Name::Confine);
            plan.begin_list(if self.check {
                Step::Check { arguments, strings }
            } else {
                Step::Exec {
                    flags: if guarded { Step::GUARD } else { 0 },
                    arguments,
                    strings,
                }
            });
            plan.string(program.clone().next().unwrap_or_default());
        }
        for argument in program {
            plan.string(argument);
        }
        if self.process.variables {
            self.changed_environment(plan, environment)?;
        } else {
            for variable in environment {
                plan.string(variable);
            }
        }
        plan.end();
        Ok(())
    }

    fn changed_environment<E>(
        &self,
        plan: &mut Builder<'_>,
        environment: E,
    ) -> Result<(), Error<'a>>
    where
        E: Iterator<Item = &'a CStr> + Clone,
    {
        if !is_changed(&self.choices, None)? {
            for variable in environment {
                if !is_changed(&self.choices, Some(lower::variable_name(variable)))? {
                    plan.string(variable);
                }
            }
        }
        let mut choices = self.choices.clone();
        while let Some(choice) = choices.next()? {
            let name = choice.first.to_bytes();
            if choice.name == Name::SetVariable && !is_changed(&choices, Some(name))? {
                plan.joined(&[name, b"=", choice.second.to_bytes()]);
            }
        }
        Ok(())
    }
}

/// Whether one of the options from `choices` on sets, unsets or clears the
/// variable `name`; without a name, whether one clears all.
#[inline(never)]
fn is_changed<'a, I>(choices: &Choices<'a, I>, name: Option<&[u8]>) -> Result<bool, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let mut choices = choices.clone();
    while let Some(choice) = choices.next()? {
        let changed = match choice.name {
            Name::ClearVariables => true,
            Name::SetVariable | Name::UnsetVariable => name == Some(choice.first.to_bytes()),
            _ => false,
        };
        if changed {
            return Ok(true);
        }
    }
    Ok(false)
}
