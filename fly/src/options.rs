//! The command line of `fly`, and what it lowers to.

use core::ffi::CStr;

use crate::{
    error::{Advice, Error, What, Why},
    lower,
    plan::{Builder, Slot, Step},
    user,
};

use linux_raw_sys::general as raw;

/// An option's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    WorkingDirectory,
    SetVariable,
    UnsetVariable,
    ClearVariables,
    User,
    Bind,
    ReadOnlyBind,
    Tmpfs,
    ReadOnlyRoot,
    Help,
    Version,
}

/// The options, and how many values each takes.
static OPTIONS: [(&str, Name, u8); 13] = [
    ("--chdir", Name::WorkingDirectory, 1),
    ("--setenv", Name::SetVariable, 2),
    ("--unsetenv", Name::UnsetVariable, 1),
    ("--clearenv", Name::ClearVariables, 0),
    ("--user", Name::User, 1),
    ("--bind", Name::Bind, 2),
    ("--ro-bind", Name::ReadOnlyBind, 2),
    ("--tmpfs", Name::Tmpfs, 1),
    ("--ro", Name::ReadOnlyRoot, 0),
    ("--help", Name::Help, 0),
    ("-h", Name::Help, 0),
    ("--version", Name::Version, 0),
    ("-V", Name::Version, 0),
];

/// One option of the command line, with its values.
#[derive(Clone, Copy, Debug)]
struct Choice<'a> {
    name: Name,
    first: &'a CStr,
    second: &'a CStr,
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
#[inline(never)]
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
    };
    while let Some(choice) = choices.next()? {
        match choice.name {
            Name::Help => return Ok(Request::Help),
            Name::Version => return Ok(Request::Version),
            Name::WorkingDirectory => options.working_directory = Some(choice.first),
            Name::User => options.user = Some(choice.first),
            Name::ReadOnlyRoot => options.read_only_root = true,
            Name::SetVariable | Name::UnsetVariable => lower::check_variable_name(choice.first)?,
            Name::ClearVariables | Name::Bind | Name::ReadOnlyBind | Name::Tmpfs => {}
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
    #[inline(never)]
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
        let failed = |why: Why| Err(Error::new(What::ReadOption, word, why).advice(USAGE));
        let (name, mut value) = lower::split_option(word);
        let Some((_, name, count)) = OPTIONS.iter().find(|(text, ..)| text.as_bytes() == name)
        else {
            return failed(Why::NoSuchOption);
        };
        let mut values = [c""; 2];
        for place in values.iter_mut().take(usize::from(*count)) {
            match value.take().or_else(|| self.rest.next()) {
                Some(value) => *place = value,
                None => return failed(Why::NoValue),
            }
        }
        if value.is_some() {
            return failed(Why::TakesNoValue);
        }
        let [first, second] = values;
        Ok(Some(Choice {
            name: *name,
            first,
            second,
        }))
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
    #[inline(never)]
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
            let identity = user::resolve_pair(self.rootfs, user)?;
            lower::identity(plan, &identity);
            if identity.user != 0 {
                // The inheritable set, which setuid(2) leaves (CVE-2022-29162).
                plan.push(Step::Capabilities { keep: 0 });
            }
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

    #[inline(never)]
    fn lower_mounts(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        let mut choices = self.choices.clone();
        while let Some(choice) = choices.next()? {
            let target = match choice.name {
                Name::Bind | Name::ReadOnlyBind => choice.second,
                Name::Tmpfs => choice.first,
                _ => continue,
            };
            lower::check_target(target, target.to_bytes())?;
            if choice.name == Name::Tmpfs {
                lower::tmpfs(plan, SOURCE, lower::DATA, b"0755");
            } else {
                plan.push(Step::OpenTree {
                    into: SOURCE,
                    flags: Step::RECURSIVE,
                    attributes: match choice.name {
                        Name::ReadOnlyBind => u64::from(raw::MOUNT_ATTR_RDONLY),
                        _ => 0,
                    },
                    path: choice.first,
                });
            }
            lower::attach(plan, SOURCE, ROOT, target.to_bytes());
        }
        Ok(())
    }

    #[inline(never)]
    fn lower_program<E>(&self, plan: &mut Builder<'_>, environment: E) -> Result<(), Error<'a>>
    where
        E: Iterator<Item = &'a CStr> + Clone,
    {
        let program = self.program.clone();
        plan.begin_list(Step::Exec {
            arguments: program.clone().count() as u64,
            strings: crate::plan::List::EMPTY,
        });
        plan.string(program.clone().next().unwrap_or_default());
        for argument in program {
            plan.string(argument);
        }
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
        plan.end();
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
