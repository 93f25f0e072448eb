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
use crate::options::{AppOption, Change, Choice, Choices, Each, Options, root};

/// Walks the programs of a command line.
pub(super) struct Programs<'a, I> {
    choices: Choices<I>,
    rest: I,
    index: usize,
    /// Who all are, unless they say otherwise.
    who: Who<'a>,
    /// The root of those that name none.
    rootfs: &'a CStr,
    /// Which these may be.
    has_default: bool,
}

/// One of them.
pub(super) struct Program<'a, I> {
    pub(super) policies: Policies<'a>,
    /// Who it is.
    pub(super) who: Who<'a>,
    /// The path of its root.
    pub(super) rootfs: &'a CStr,
    /// The options behind its root or its `---`.
    own: Option<Choices<I>>,
    words: I,
    count: usize,
}

/// How a root is mounted.
#[derive(Clone, Copy, Default)]
pub(super) struct Root {
    /// Nothing in it can be written.
    pub(super) read_only: bool,
    /// With a writable layer that vanishes.
    pub(super) ephemeral: bool,
}

impl<'a, I> Programs<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    pub(super) fn of(options: &Options<'a, I>) -> Self {
        Self {
            choices: options.choices.clone(),
            rest: options.programs.clone(),
            index: 0,
            who: Who::default(),
            rootfs: options.rootfs,
            has_default: options.has_default,
        }
    }

    /// The next one.
    ///
    /// # Errors
    /// An option that is wrong or the pod's; a program that is not named; too many.
    pub(super) fn next(&mut self) -> Result<Option<Program<'a, I>>, Error<'a>> {
        let mut policies = Policies::new(self.index);
        if self.index == 0 {
            policies.read(&mut self.choices, true)?;
            self.who = core::mem::take(&mut policies.who);
        } else if self.rest.clone().next().is_none() {
            return Ok(None);
        }
        let mut choices = Choices::new(self.rest.clone());
        let named = root(&mut choices, self.has_default)?;
        let own = (self.index > 0 || named.is_some()).then(|| choices.clone());
        if own.is_some() {
            policies.read(&mut choices, false)?;
        }
        let words = choices.operands();
        let count = words.clone().take_while(|word| *word != c"---").count();
        let rootfs = named.unwrap_or(self.rootfs);
        let program = policies.value(AppOption::Exec);
        let program = program.or_else(|| words.clone().take(count).next());
        let why = match count {
            _ if rootfs.is_empty() => Why::NoRootfs,
            // An empty one is most often a variable that is not set.
            _ if program.is_none_or(CStr::is_empty) => Why::NoProgramNamed,
            _ if self.index >= MAX_APPS => Why::TooManyApps,
            _ => {
                self.rest = words.clone();
                // The words of this program, and the separator behind them.
                for _ in 0..=count {
                    self.rest.next();
                }
                self.index += 1;
                let who = Who::of(self.who, policies.who);
                return Ok(Some(Program {
                    policies,
                    who,
                    rootfs,
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
        let named = self.policies.value(AppOption::Exec);
        named.into_iter().chain(self.words.clone().take(self.count))
    }

    /// How its root is mounted, if that is its own.
    pub(super) fn root(&self, options: &Options<'a, I>) -> Result<Root, Error<'a>> {
        let mut root = Root::default();
        let mut choices = self.each(options);
        while let Some(choice) = choices.take()? {
            match choice {
                Choice::ReadOnlyRoot(yes) => root.read_only = yes,
                Choice::Ephemeral(yes) => root.ephemeral = yes,
                _ => {}
            }
        }
        Ok(root)
    }

    /// The pod's options, which are those of the first program too, then its own.
    pub(super) fn each(&self, options: &Options<'a, I>) -> Each<I> {
        Each::new(options.choices.clone(), self.own.clone())
    }
}

impl<'a, I> Each<I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Which of [`VARIABLES`] one of them sets, a bit each.
    pub(super) fn gives(mut self) -> Result<u8, Error<'a>> {
        let mut given = 0;
        while let Some(choice) = self.take()? {
            let Choice::SetVariable(variable) = choice else {
                continue;
            };
            let name = common::variable_name(variable);
            if let Some(index) = VARIABLES.iter().position(|other| *other == name) {
                given |= 1 << index;
            }
        }
        Ok(given)
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

/// What a program has in its environment unless somebody sets it, and its bits.
const VARIABLES: [&[u8]; 7] = [
    b"PATH",
    b"HOME",
    b"TERM",
    b"USER",
    b"LOGNAME",
    b"SHELL",
    b"AC_APP_NAME",
];
pub(super) const GIVEN_PATH: u8 = 1;
pub(super) const GIVEN_HOME: u8 = 2;
pub(super) const GIVEN_TERM: u8 = 4;
pub(super) const GIVEN_USER: u8 = 8;
pub(super) const GIVEN_LOGNAME: u8 = 16;
pub(super) const GIVEN_SHELL: u8 = 32;
pub(super) const GIVEN_NAME: u8 = 64;

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
