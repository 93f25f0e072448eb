//! The command line of `fly`, and what it lowers to.

use core::ffi::CStr;

use crate::{
    error::{Advice, Error, What, Why},
    lower,
    plan::{Builder, Slot, Step},
    timings::Format,
    user,
};

use linux_raw_sys::general as raw;

/// One option of the command line.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// `--chdir DIR`
    WorkingDirectory(&'a CStr),
    /// `--setenv NAME VALUE`
    SetVariable(&'a CStr, &'a CStr),
    /// `--unsetenv NAME`
    UnsetVariable(&'a CStr),
    /// `--clearenv`
    ClearVariables,
    /// `--user USER[:GROUP]`
    User(&'a CStr),
    /// `--bind SRC DST`, `--ro-bind SRC DST`
    Bind {
        /// The host's directory or file.
        source: &'a CStr,
        /// Where it goes in the root.
        target: &'a CStr,
        /// Nothing below it can be written.
        read_only: bool,
    },
    /// `--tmpfs DST`
    Tmpfs(&'a CStr),
    /// `--ro`
    ReadOnlyRoot,
    /// `--timings[=json]`
    Timings(Format),
    /// `--plan`
    Plan,
    /// `--debug`
    Debug,
    /// `--help`
    Help,
    /// `--version`
    Version,
}

/// A checked command line.
#[derive(Clone, Debug)]
pub struct Options<'a, I> {
    /// The options in order; ends where the root file system is named.
    choices: Choices<'a, I>,
    /// The root file system.
    pub rootfs: &'a CStr,
    /// The program and its arguments.
    pub program: I,
    /// `--ro`
    read_only_root: bool,
    working_directory: Option<&'a CStr>,
    user: Option<&'a CStr>,
    /// `--timings`
    pub timings: Option<Format>,
    /// `--plan`
    pub plan_only: bool,
    /// `--debug`
    pub debug: bool,
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Request<'a, I> {
    /// Start a program.
    Start(Options<'a, I>),
    /// Show the help text.
    Help,
    /// Show the version.
    Version,
}

const USAGE: Advice = Advice::SeeHelp;

/// Reads the command line, without the program's own name.
///
/// # Errors
/// Names the option that is unknown, or what is missing.
pub fn parse<'a, I>(arguments: I) -> Result<Request<'a, I>, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let mut choices = Choices {
        rest: arguments,
        pending: None,
    };
    let mut options = Options {
        choices: choices.clone(),
        rootfs: c"",
        program: choices.rest.clone(),
        read_only_root: false,
        working_directory: None,
        user: None,
        timings: None,
        plan_only: false,
        debug: false,
    };
    while let Some(choice) = choices.next()? {
        match choice {
            Choice::Help => return Ok(Request::Help),
            Choice::Version => return Ok(Request::Version),
            Choice::WorkingDirectory(path) => options.working_directory = Some(path),
            Choice::User(user) => options.user = Some(user),
            Choice::ReadOnlyRoot => options.read_only_root = true,
            Choice::Timings(format) => options.timings = Some(format),
            Choice::Plan => options.plan_only = true,
            Choice::Debug => options.debug = true,
            Choice::SetVariable(name, _) | Choice::UnsetVariable(name) => {
                lower::check_variable_name(name)?;
            }
            Choice::ClearVariables | Choice::Bind { .. } | Choice::Tmpfs(_) => {}
        }
    }
    let missing = |why: Why| Error::new(What::Read, c"the command line", why).advice(USAGE);
    options.rootfs = choices.pending.ok_or_else(|| missing(Why::NoRoot))?;
    let mut program = choices.rest;
    let mut peek = program.clone();
    if peek.next() == Some(c"--") {
        program = peek;
    }
    if program.clone().next().is_none() {
        return Err(missing(Why::NoProgramNamed));
    }
    options.program = program;
    Ok(Request::Start(options))
}

/// Walks the options; stops at the first operand, which it keeps.
#[derive(Clone, Debug)]
struct Choices<'a, I> {
    rest: I,
    pending: Option<&'a CStr>,
}

impl<'a, I> Choices<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    fn next(&mut self) -> Result<Option<Choice<'a>>, Error<'a>> {
        let Some(word) = self.rest.next() else {
            return Ok(None);
        };
        let bytes = word.to_bytes();
        if bytes == b"--" {
            self.pending = self.rest.next();
            return Ok(None);
        }
        if !bytes.starts_with(b"-") || bytes == b"-" {
            self.pending = Some(word);
            return Ok(None);
        }
        self.choice(word).map(Some)
    }

    fn choice(&mut self, word: &'a CStr) -> Result<Choice<'a>, Error<'a>> {
        let (name, inline) = lower::split_option(word);
        let mut value = inline;
        let mut take = || {
            value
                .take()
                .or_else(|| self.rest.next())
                .ok_or_else(|| Error::new(What::ReadOption, word, Why::NoValue).advice(USAGE))
        };
        let choice = match name {
            b"--chdir" => Choice::WorkingDirectory(take()?),
            b"--setenv" => Choice::SetVariable(take()?, take()?),
            b"--unsetenv" => Choice::UnsetVariable(take()?),
            b"--clearenv" => Choice::ClearVariables,
            b"--user" => Choice::User(take()?),
            b"--bind" | b"--ro-bind" => Choice::Bind {
                source: take()?,
                target: take()?,
                read_only: name == b"--ro-bind",
            },
            b"--tmpfs" => Choice::Tmpfs(take()?),
            b"--ro" => Choice::ReadOnlyRoot,
            b"--timings" => Choice::Timings(Format::parse(value.take(), word)?),
            b"--plan" => Choice::Plan,
            b"--debug" => Choice::Debug,
            b"--help" | b"-h" => Choice::Help,
            b"--version" | b"-V" => Choice::Version,
            _ => {
                return Err(Error::new(What::ReadOption, word, Why::NoSuchOption).advice(USAGE));
            }
        };
        if value.is_some() {
            return Err(Error::new(What::ReadOption, word, Why::TakesNoValue).advice(USAGE));
        }
        Ok(choice)
    }
}

/// The root, and what is on its way into it.
const ROOT: Slot = Slot(0);
const SOURCE: Slot = Slot(1);

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Writes the steps: close what was inherited, a mount namespace of its
    /// own, the host's /dev, /proc and /sys, the binds in the order given,
    /// chroot, credentials, exec.
    ///
    /// # Errors
    /// Where a user or a group can't be resolved, or an option has a bad value.
    pub fn lower<E>(&self, plan: &mut Builder<'_>, environment: E) -> Result<(), Error<'a>>
    where
        E: Iterator<Item = &'a CStr> + Clone,
    {
        plan.push(Step::CloseInherited {})
            .push(Step::Unshare {
                namespaces: u64::from(raw::CLONE_NEWNS),
            })
            .push(Step::Private {});
        self.lower_root(plan);
        lower::host_file_systems(plan, SOURCE, ROOT);
        self.lower_mounts(plan)?;
        plan.push(Step::Chroot { root: ROOT })
            .push(Step::App { name: c"app" });
        if let Some(user) = self.user {
            lower::identity(plan, &user::resolve_pair(self.rootfs, user)?);
        }
        if let Some(path) = self.working_directory {
            lower::working_directory(plan, path)?;
        }
        self.lower_program(plan, environment)
    }

    fn lower_root(&self, plan: &mut Builder<'_>) {
        if self.read_only_root {
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
    }

    fn lower_mounts(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        let mut choices = self.choices.clone();
        while let Some(choice) = choices.next()? {
            match choice {
                Choice::Bind {
                    source,
                    target,
                    read_only,
                } => {
                    lower::check_target(target, target.to_bytes())?;
                    plan.push(Step::OpenTree {
                        into: SOURCE,
                        flags: Step::RECURSIVE,
                        attributes: if read_only {
                            u64::from(raw::MOUNT_ATTR_RDONLY)
                        } else {
                            0
                        },
                        path: source,
                    });
                    lower::attach(plan, SOURCE, ROOT, target.to_bytes());
                }
                Choice::Tmpfs(target) => {
                    lower::check_target(target, target.to_bytes())?;
                    lower::tmpfs(plan, SOURCE, c"0755");
                    lower::attach(plan, SOURCE, ROOT, target.to_bytes());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn lower_program<E>(&self, plan: &mut Builder<'_>, environment: E) -> Result<(), Error<'a>>
    where
        E: Iterator<Item = &'a CStr> + Clone,
    {
        let count = self.program.clone().count() as u64;
        plan.begin_list(Step::Exec {
            arguments: count,
            strings: crate::plan::List::EMPTY,
        });
        plan.string(self.program.clone().next().unwrap_or_default());
        for argument in self.program.clone() {
            plan.string(argument);
        }
        if !self.is_changed_later(self.choices.clone(), None)? {
            for variable in environment {
                let name = lower::variable_name(variable);
                if !self.is_changed_later(self.choices.clone(), Some(name))? {
                    plan.string(variable);
                }
            }
        }
        let mut choices = self.choices.clone();
        while let Some(choice) = choices.next()? {
            if let Choice::SetVariable(name, value) = choice {
                if !self.is_changed_later(choices.clone(), Some(name.to_bytes()))? {
                    plan.joined(&[name.to_bytes(), b"=", value.to_bytes()]);
                }
            }
        }
        plan.end();
        Ok(())
    }

    /// Whether one of the options from `choices` on sets, unsets or clears the
    /// variable `name`; without a name, whether one clears all.
    fn is_changed_later(
        &self,
        mut choices: Choices<'a, I>,
        name: Option<&[u8]>,
    ) -> Result<bool, Error<'a>> {
        while let Some(choice) = choices.next()? {
            let changed = match choice {
                Choice::ClearVariables => true,
                Choice::SetVariable(other, _) | Choice::UnsetVariable(other) => {
                    name == Some(other.to_bytes())
                }
                _ => false,
            };
            if changed {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
