//! The programs of a pod, and what each has of its own or, by default, from the pod:
//! who it is, its variables, limits and capabilities.

use core::ffi::CStr;

use fly::{
    capability,
    error::{Error, What, Why},
    lower as common,
    plan::{Kind, MAX_APPS},
};

use super::policy::Policies;
use crate::options::{Change, Choice, Choices, Options};

/// Walks the programs of a command line.
pub(super) struct Programs<I> {
    choices: Choices<I>,
    rest: I,
    index: usize,
}

/// One of them.
pub(super) struct Program<'a, I> {
    pub(super) policies: Policies<'a>,
    /// The options behind its `---`.
    own: Option<Choices<I>>,
    words: I,
    count: usize,
}

impl<'a, I> Programs<I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    pub(super) fn of(options: &Options<'a, I>) -> Self {
        Self {
            choices: options.choices.clone(),
            rest: options.programs.clone(),
            index: 0,
        }
    }

    /// The next one.
    ///
    /// # Errors
    /// An option that is wrong or the pod's; a program that is not named; too many.
    pub(super) fn next(&mut self) -> Result<Option<Program<'a, I>>, Error<'a>> {
        if self.rest.clone().next().is_none() {
            return Ok(None);
        }
        let own = (self.index > 0).then(|| self.choices.clone());
        let policies = Policies::read(self.index, &mut self.choices)?;
        let words = match own {
            Some(_) => self.choices.operands(),
            None => self.rest.clone(),
        };
        let count = words.clone().take_while(|word| *word != c"---").count();
        let why = match count {
            0 => Why::NoProgramNamed,
            _ if self.index >= MAX_APPS => Why::TooManyApps,
            _ => {
                self.rest = words.clone();
                // The words of this program, and the separator behind them.
                for _ in 0..=count {
                    self.rest.next();
                }
                self.choices = Choices::new(self.rest.clone());
                self.index += 1;
                return Ok(Some(Program {
                    policies,
                    own,
                    words,
                    count,
                }));
            }
        };
        Err(Error::new(What::Read, c"the command line", why))
    }
}

impl<'a, I> Program<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// The program and its arguments.
    pub(super) fn words(&self) -> impl Iterator<Item = &'a CStr> + Clone {
        self.words.clone().take(self.count)
    }

    /// The pod's options, which are those of the first program too, then its own.
    pub(super) fn each(&self, options: &Options<'a, I>) -> Each<I> {
        Each {
            pods: options.choices.clone(),
            own: self.own.clone(),
        }
    }
}

/// Walks options.
#[derive(Clone)]
pub(super) struct Each<I> {
    pods: Choices<I>,
    own: Option<Choices<I>>,
}

impl<'a, I> Each<I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    pub(super) fn take(&mut self) -> Result<Option<Choice<'a>>, Error<'a>> {
        match (self.pods.take()?, &mut self.own) {
            (None, Some(own)) => own.take(),
            (choice, _) => Ok(choice),
        }
    }

    /// Whether one of them sets the variable `name`.
    pub(super) fn sets(mut self, name: &[u8]) -> Result<bool, Error<'a>> {
        while let Some(choice) = self.take()? {
            if let Choice::SetVariable(variable) = choice
                && common::variable_name(variable) == name
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether one of them sets the same limit.
    pub(super) fn limits(mut self, kind: Kind, text: &CStr) -> Result<bool, Error<'a>> {
        while let Some(choice) = self.take()? {
            if let Choice::Limit(other, value) = choice
                && other == kind
                && (kind != Kind::Limit
                    || common::variable_name(value)
                        .eq_ignore_ascii_case(common::variable_name(text)))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Who a program is, and where.
#[derive(Clone, Copy, Default)]
pub(super) struct Who<'a> {
    pub(super) user: Option<&'a CStr>,
    pub(super) group: Option<&'a CStr>,
    pub(super) groups: Option<&'a CStr>,
    pub(super) working_directory: Option<&'a CStr>,
    pub(super) umask: Option<u64>,
}

impl<'a> Who<'a> {
    /// As is said for all, and over that what is the program's own.
    pub(super) fn of(mut pods: Self, own: Self) -> Self {
        // The groups are those of the user.
        if own.user.is_some() {
            (pods.group, pods.groups) = (None, None);
        }
        Self {
            user: own.user.or(pods.user),
            group: own.group.or(pods.group),
            groups: own.groups.or(pods.groups),
            working_directory: own.working_directory.or(pods.working_directory),
            umask: own.umask.or(pods.umask),
        }
    }
}

/// The capabilities of a program.
#[derive(Clone, Copy)]
pub(super) struct Sets {
    pub(super) bounding: u64,
    /// What it has.
    pub(super) held: u64,
}

impl Sets {
    /// The default ones or, without confinement, all, changed in the order given. A
    /// user that is not root begins with none.
    pub(super) fn of<'a, I>(
        confined: bool,
        root: bool,
        choices: Option<Each<I>>,
    ) -> Result<Self, Error<'a>>
    where
        I: Iterator<Item = &'a CStr> + Clone,
    {
        let bounding = if confined {
            capability::DEFAULT
        } else {
            capability::ALL
        };
        let mut sets = Self {
            bounding,
            held: if root { bounding } else { 0 },
        };
        let Some(mut choices) = choices else {
            return Ok(sets);
        };
        while let Some(choice) = choices.take()? {
            let Choice::Capabilities(change, named) = choice else {
                continue;
            };
            match change {
                Change::Add => {
                    sets.bounding |= named;
                    sets.held |= named;
                }
                Change::Drop => {
                    sets.bounding &= !named;
                    sets.held &= !named;
                }
                Change::Keep => {
                    sets.bounding &= named;
                    sets.held = sets.bounding;
                }
            }
        }
        Ok(sets)
    }
}
