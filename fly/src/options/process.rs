//! The process: who it is, what it may do, its environment, its program.

use core::ffi::CStr;

use super::{
    Choice, Name, Options,
    limits::{self, Sets},
};
use crate::{
    error::Error,
    lower,
    plan::{Builder, List, Step},
    user::{self, Identity},
};

/// The first of the options that few starts have.
const FIRST: u32 = Name::Groups as u32;

/// What the options say of the process; variables, capabilities, limits and rules
/// are read in their order later.
#[derive(Clone, Debug, Default)]
pub struct Settings<'a> {
    working_directory: Option<&'a CStr>,
    user: Option<&'a CStr>,
    /// Whether the environment is changed at all.
    variables: bool,
    /// Which of the options there are that few starts have, a bit each.
    given: u32,
    groups: Option<&'a CStr>,
    pub(super) mask: Option<u16>,
    /// How many paths `--landlock` allows to write.
    pub(super) writable: u64,
}

impl<'a> Settings<'a> {
    /// The value of `--user`.
    pub(super) fn user(&self) -> Option<&'a CStr> {
        self.user
    }

    /// Whether one of the options that few starts have was given.
    pub(super) fn has(&self, name: Name) -> bool {
        self.given & 1_u32.wrapping_shl((name as u32).wrapping_sub(FIRST)) != 0
    }

    /// Whether any of them was.
    pub(super) fn any(&self) -> bool {
        self.given != 0
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
            Name::ClearVariables | Name::VariableFile => self.variables = true,
            name if (FIRST..=Name::KeepDescriptor as u32).contains(&(name as u32)) => {
                self.given |= 1_u32.wrapping_shl((name as u32).wrapping_sub(FIRST));
                match name {
                    Name::Groups => self.groups = Some(choice.first),
                    Name::Mask => self.mask = Some(limits::mask(choice.first)?),
                    _ => {
                        limits::check(choice)?;
                        if choice.first.to_bytes().starts_with(b"rw=") {
                            self.writable += 1;
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Who the program is, and its working directory.
    pub(super) fn lower_process(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        if let Some(groups) = self.process.groups {
            plan.begin_list(Step::Groups { ids: &[] });
            user::each_group(self.rootfs, groups, &mut |id| {
                plan.bytes(&id.to_ne_bytes());
            })?;
            plan.end();
        }
        let mut keep = None;
        match self.process.user {
            None => keep = self.capabilities(true),
            Some(user) => {
                let identity = user::resolve_pair(self.rootfs, user)?;
                let own = self.capabilities(identity.user == 0);
                if identity.user == 0 {
                    keep = own;
                    self.lower_ids(plan, &identity);
                } else {
                    self.lower_user(plan, &identity, own.map_or(0, |own| own.held));
                }
            }
        }
        if let Some(path) = self.process.working_directory {
            lower::working_directory(plan, path)?;
        }
        if let Some(Sets { held: keep, .. }) = keep {
            plan.push(Step::Capabilities { keep });
        }
        Ok(())
    }

    /// Becomes a user that is not root, who keeps these capabilities.
    fn lower_user(&self, plan: &mut Builder<'_>, identity: &Identity, keep: u64) {
        if keep == 0 {
            self.lower_ids(plan, identity);
            // The inheritable set, which setuid(2) leaves (CVE-2022-29162).
            plan.push(Step::Capabilities { keep });
        } else {
            plan.push(Step::KeepCapabilities {});
            self.lower_ids(plan, identity);
            plan.push(Step::Ambient { keep });
        }
    }

    fn lower_ids(&self, plan: &mut Builder<'_>, identity: &Identity) {
        if self.process.groups.is_some() || self.namespaces.keeps_groups() {
            lower::ids(plan, identity);
        } else {
            lower::identity(plan, identity);
        }
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
            self.changed_environment(plan, &environment)?;
        } else {
            for variable in environment {
                plan.string(variable);
            }
        }
        plan.end();
        Ok(())
    }
}
