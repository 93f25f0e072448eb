//! What a process may do and use: capabilities, files, limits.

use core::ffi::CStr;

use rustix::{fs::Mode, io, process};

use super::{Choice, Name, Options, files};
use crate::{
    capability,
    error::{Error, What, Why},
    plan::{Builder, Kind, List, Step, limits::parse},
    sys::descriptor,
};

/// The capabilities of the program.
#[derive(Clone, Copy)]
pub(super) struct Sets {
    pub(super) bounding: u64,
    /// What it has.
    pub(super) held: u64,
}

/// The kind of the step that an option of a limit becomes, and what is wrong with
/// its value if it is.
fn limit_of(name: Name) -> Option<(Kind, Why)> {
    Some(match name {
        Name::Limit => (Kind::Limit, Why::NoLimit),
        Name::Nice => (Kind::Nice, Why::NoNice),
        Name::Processors => (Kind::Processors, Why::NoProcessors),
        Name::Scheduling => (Kind::Scheduling, Why::NoPolicy),
        Name::OomScore => (Kind::OomScore, Why::NoAdjustment),
        _ => return None,
    })
}

/// # Errors
/// Names the value that is bad.
#[cold]
#[inline(never)]
pub(super) fn check<'a>(choice: &Choice<'a>) -> Result<(), Error<'a>> {
    let value = choice.first;
    let (good, why) = match choice.name {
        Name::AddCapabilities | Name::DropCapabilities | Name::KeepCapabilities => (
            capability::parse(value.to_bytes()).is_some(),
            Why::NoSuchCapability,
        ),
        Name::Landlock => (
            matches!(value.to_bytes(), [b'r', b'o' | b'w', b'=', b'/', ..]),
            Why::NoAccess,
        ),
        name => match limit_of(name) {
            Some((kind, why)) => (
                parse(kind as u16, value.to_bytes(), &mut [0; 17]).is_some(),
                why,
            ),
            None => return Ok(()),
        },
    };
    if good {
        Ok(())
    } else {
        Err(Error::new(What::ReadOption, value, why))
    }
}

/// # Errors
/// The value is no mask.
#[cold]
pub(super) fn mask(value: &CStr) -> Result<u16, Error<'_>> {
    files::octal(value)
        .filter(|mask| *mask <= 0o777)
        .ok_or(Error::new(What::ReadOption, value, Why::NoMask))
}

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    fn changes_capabilities(&self) -> bool {
        self.namespaces.has(Name::Confine)
            || self.process.has(Name::AddCapabilities)
            || self.process.has(Name::DropCapabilities)
            || self.process.has(Name::KeepCapabilities)
    }

    /// The capabilities of the program, unless no option changes them: those of the
    /// preset or all, changed in the order given. A user that is not root begins
    /// with none.
    #[inline(never)]
    pub(super) fn capabilities(&self, root: bool) -> Option<Sets> {
        if !self.changes_capabilities() {
            return None;
        }
        let bounding = if self.namespaces.has(Name::Confine) {
            capability::DEFAULT
        } else {
            capability::ALL
        };
        let mut sets = Sets {
            bounding,
            held: if root { bounding } else { 0 },
        };
        let mut choices = self.choices.clone();
        while let Some(choice) = choices.known() {
            // Its value has been checked.
            let named = || capability::parse(choice.first.to_bytes()).unwrap_or(0);
            match choice.name {
                Name::AddCapabilities => {
                    sets.bounding |= named();
                    sets.held |= named();
                }
                Name::DropCapabilities => {
                    sets.bounding &= !named();
                    sets.held &= !named();
                }
                Name::KeepCapabilities => {
                    sets.bounding &= named();
                    sets.held = sets.bounding;
                }
                _ => {}
            }
        }
        Some(sets)
    }

    pub(super) fn lower_oom_score(&self, plan: &mut Builder<'_>) {
        if self.process.has(Name::OomScore) {
            self.lower_each(plan, Name::OomScore);
        }
    }

    /// A step for each of these options.
    #[cold]
    #[inline(never)]
    fn lower_each(&self, plan: &mut Builder<'_>, name: Name) {
        let mut choices = self.choices.clone();
        while let Some(choice) = choices.known() {
            if let (true, Some((kind, _))) = (choice.name == name, limit_of(name)) {
                plan.push_limit(kind, choice.first);
            }
        }
    }

    /// What needs the privileges that a change of ids takes away. Resources come
    /// first: some of them allow the others.
    pub(super) fn lower_limits(&self, plan: &mut Builder<'_>) {
        if self.process.any() || self.namespaces.any() {
            self.lower_some_limits(plan);
        }
    }

    #[cold]
    #[inline(never)]
    fn lower_some_limits(&self, plan: &mut Builder<'_>) {
        for name in &[Name::Limit, Name::Nice, Name::Processors, Name::Scheduling] {
            self.lower_each(plan, *name);
        }
        if let Some(mask) = self.process.mask {
            let mask = mask.into();
            plan.push(Step::AppUmask { mask });
        } else if self.namespaces.has(Name::Confine) {
            let mask = process::umask(Mode::empty());
            process::umask(mask);
            plan.push(Step::AppUmask {
                mask: u64::from(mask.bits()),
            });
        }
        if self.namespaces.has(Name::NewSession) {
            plan.push(Step::AppSession {
                flags: Step::DETACHED,
            });
        }
        if let Some(Sets { bounding: keep, .. }) = self.capabilities(true) {
            plan.push(Step::Bounding { keep });
        }
    }

    /// What is given up last.
    pub(super) fn lower_privileges(&self, plan: &mut Builder<'_>) {
        if self.process.any() || self.namespaces.any() || self.seccomp.is_given() {
            self.lower_some_privileges(plan);
        }
    }

    #[cold]
    #[inline(never)]
    fn lower_some_privileges(&self, plan: &mut Builder<'_>) {
        let confine = self.namespaces.has(Name::Confine);
        let landlock = self.process.has(Name::Landlock);
        // Landlock and a filter are for root only without it, and a set-user-ID
        // program would run under a filter that it does not expect.
        let filter = self.seccomp.name(confine).is_some();
        if confine || landlock || filter || self.process.has(Name::NoNewPrivileges) {
            plan.push(Step::NoNewPrivileges {});
        }
        if landlock {
            self.lower_landlock(plan);
        }
    }

    /// The paths that may be written come first.
    fn lower_landlock(&self, plan: &mut Builder<'_>) {
        plan.begin_list(Step::Landlock {
            writable: self.process.writable,
            paths: List::EMPTY,
        });
        for second in [b'w', b'o'] {
            let mut choices = self.choices.clone();
            while let Some(choice) = choices.known() {
                let rule = choice.first.to_bytes();
                if choice.name == Name::Landlock && rule.get(1) == Some(&second) {
                    // Behind `rw=` and `ro=`.
                    plan.joined(&[rule.get(3..).unwrap_or_default()]);
                }
            }
        }
        plan.end();
    }

    /// # Errors
    /// A descriptor that the program is to have is not open, or another option
    /// takes it away.
    #[cold]
    #[inline(never)]
    pub(super) fn check_kept(&self, text: &'a CStr, number: u64) -> Result<(), Error<'a>> {
        let failed = |why: Why| Err(Error::new(What::ReadDescriptor, text, why));
        let open = i32::try_from(number)
            .ok()
            .and_then(descriptor::borrow)
            .is_some_and(|kept| io::fcntl_getfd(kept).is_ok());
        if !open {
            return failed(Why::NotOpen);
        }
        let mut choices = self.choices.clone();
        while let Some(choice) = choices.known() {
            if matches!(choice.name, Name::File | Name::Status)
                && files::descriptor(choice.first)? == number
                && (choice.name == Name::File || number > 2)
            {
                return failed(Why::UsedTwice);
            }
        }
        Ok(())
    }
}
