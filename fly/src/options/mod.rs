//! The command line of `fly`, and what it lowers to.
//!
//! Options that concern mounts are applied in the order given; of the others the
//! last one counts, unless its text says otherwise. `files`, `process` and
//! `namespaces` each read the options of their subject and lower them.

pub mod completion;
mod confine;
mod environment;
mod files;
mod limits;
mod maps;
mod namespaces;
mod process;
mod seccomp;

use core::ffi::CStr;

use crate::{
    error::{Advice, Error, What, Why},
    lower,
    plan::{Builder, Slot, Step},
    text::split,
    timings::Format,
};

/// An option's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    // files: what is mounted and made in the root, in the order given
    // (`files::is_in_order`)
    Bind,
    BindTry,
    ReadOnlyBind,
    ReadOnlyBindTry,
    DeviceBind,
    DeviceBindTry,
    Tmpfs,
    Proc,
    Sys,
    Dev,
    MessageQueues,
    Directory,
    File,
    Symlink,
    RemountReadOnly,
    NoRecurse,
    Size,
    Permissions,
    // files: the root itself
    ReadOnlyRoot,
    Overlay,
    Ephemeral,
    Minimal,
    // process
    SetVariable,
    VariableFile,
    UnsetVariable,
    ClearVariables,
    WorkingDirectory,
    User,
    Groups,
    // process: what few starts have, see `limits`
    Mask,
    AddCapabilities,
    DropCapabilities,
    KeepCapabilities,
    NoNewPrivileges,
    Landlock,
    Limit,
    OomScore,
    Nice,
    Processors,
    Scheduling,
    KeepDescriptor,
    Seccomp,
    // namespaces: those with a value come first, see `namespaces::Settings`
    Hostname,
    Init,
    Cgroup,
    Status,
    UserMap,
    GroupMap,
    MapBind,
    MapRoot,
    UnshareUser,
    UnsharePid,
    UnshareIpc,
    UnshareNet,
    UnshareUts,
    UnshareCgroup,
    UnshareAll,
    DieWithParent,
    NewSession,
    Confine,
    // the command itself
    Completion,
    Plan,
    Check,
    Timings,
    Debug,
    Help,
    Version,
}

/// Declares the options: their texts a line each in one string, since a table of
/// them would be larger than they are, and what they are.
macro_rules! options {
    (($first:literal, $name:expr, $count:tt), $(($text:literal, $names:expr, $counts:tt),)*) => {
        /// The names of all options, one a line.
        pub const NAMES: &str = concat!($first, $("\n", $text),*);
        /// What each is, and how many values it takes.
        static OPTIONS: &[(Name, u8)] = &[($name, $count), $(($names, $counts)),*];
    };
}

/// In place of a count: a value only behind `=`.
const OPTIONAL: u8 = 4;

options! {
    ("--bind", Name::Bind, 2),
    ("--ro-bind", Name::ReadOnlyBind, 2),
    ("--tmpfs", Name::Tmpfs, 1),
    ("--ro", Name::ReadOnlyRoot, 0),
    ("--bind-try", Name::BindTry, 2),
    ("--ro-bind-try", Name::ReadOnlyBindTry, 2),
    ("--dev-bind", Name::DeviceBind, 2),
    ("--dev-bind-try", Name::DeviceBindTry, 2),
    ("--no-recurse", Name::NoRecurse, 0),
    ("--size", Name::Size, 1),
    ("--perms", Name::Permissions, 1),
    ("--proc", Name::Proc, 1),
    ("--sys", Name::Sys, 1),
    ("--dev", Name::Dev, 1),
    ("--mqueue", Name::MessageQueues, 1),
    ("--dir", Name::Directory, 1),
    ("--file", Name::File, 2),
    ("--symlink", Name::Symlink, 2),
    ("--remount-ro", Name::RemountReadOnly, 1),
    ("--overlay", Name::Overlay, 1),
    ("--ephemeral", Name::Ephemeral, 0),
    ("--minimal", Name::Minimal, 0),
    ("--setenv", Name::SetVariable, 2),
    ("--unsetenv", Name::UnsetVariable, 1),
    ("--env-file", Name::VariableFile, 1),
    ("--clearenv", Name::ClearVariables, 0),
    ("--chdir", Name::WorkingDirectory, 1),
    ("--user", Name::User, 1),
    ("--groups", Name::Groups, 1),
    ("--umask", Name::Mask, 1),
    ("--cap-add", Name::AddCapabilities, 1),
    ("--cap-drop", Name::DropCapabilities, 1),
    ("--cap-keep", Name::KeepCapabilities, 1),
    ("--no-new-privs", Name::NoNewPrivileges, 0),
    ("--landlock", Name::Landlock, 1),
    ("--rlimit", Name::Limit, 1),
    ("--oom-score-adj", Name::OomScore, 1),
    ("--nice", Name::Nice, 1),
    ("--cpu-affinity", Name::Processors, 1),
    ("--sched", Name::Scheduling, 1),
    ("--keep-fd", Name::KeepDescriptor, 1),
    ("--seccomp", Name::Seccomp, 1),
    // namespaces
    ("--unshare-user", Name::UnshareUser, 0),
    ("--unshare-pid", Name::UnsharePid, 0),
    ("--unshare-ipc", Name::UnshareIpc, 0),
    ("--unshare-net", Name::UnshareNet, 0),
    ("--unshare-uts", Name::UnshareUts, 0),
    ("--unshare-cgroup", Name::UnshareCgroup, 0),
    ("--unshare-all", Name::UnshareAll, 0),
    ("--hostname", Name::Hostname, 1),
    ("--init", Name::Init, 1),
    ("--uid-map", Name::UserMap, 1),
    ("--gid-map", Name::GroupMap, 1),
    ("--idmap-root", Name::MapRoot, 0),
    ("--idmap-bind", Name::MapBind, 2),
    ("--die-with-parent", Name::DieWithParent, 0),
    ("--new-session", Name::NewSession, 0),
    ("--json-status-fd", Name::Status, 1),
    ("--cgroup", Name::Cgroup, 1),
    ("--confine", Name::Confine, 0),
    ("--plan", Name::Plan, 0),
    ("--completion", Name::Completion, 1),
    ("--check", Name::Check, 0),
    ("--timings", Name::Timings, OPTIONAL),
    ("--debug", Name::Debug, 0),
    ("--help", Name::Help, 0),
    ("-h", Name::Help, 0),
    ("--version", Name::Version, 0),
    ("-V", Name::Version, 0),
}

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
    /// `--plan`: the plan is printed, nothing is started.
    pub plan: bool,
    /// `--check`: the program is looked at, and not started.
    pub check: bool,
    /// `--timings`
    pub timings: Option<Format>,
    /// `--debug`
    pub debug: bool,
    files: files::Settings<'a>,
    process: process::Settings<'a>,
    seccomp: seccomp::Settings<'a>,
    namespaces: namespaces::Settings<'a>,
}

/// What the command line asks for.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is no heap to box it on")]
pub enum Request<'a, I> {
    /// Start a program.
    Start(Options<'a, I>),
    /// Show the help text.
    Help,
    /// Show the version.
    Version,
    /// Write the completion for a shell.
    Completion(&'a CStr),
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
        plan: false,
        check: false,
        timings: None,
        debug: false,
        files: files::Settings::default(),
        process: process::Settings::default(),
        seccomp: seccomp::Settings::default(),
        namespaces: namespaces::Settings::default(),
    };
    while let Some(choice) = choices.next()? {
        match choice.name {
            Name::Help => return Ok(Request::Help),
            Name::Version => return Ok(Request::Version),
            Name::Completion => return Ok(Request::Completion(choice.first)),
            Name::Plan => options.plan = true,
            Name::Check => options.check = true,
            Name::Debug => options.debug = true,
            Name::Timings => options.timings = Some(Format::parse(choice.first, c"--timings")?),
            _ => {
                options.files.take(&choice)?;
                options.process.take(&choice)?;
                options.seccomp.take(&choice);
                options.namespaces.take(&choice)?;
            }
        }
    }
    let missing = |why: Why| Error::new(What::Read, c"the command line", why).advice(USAGE);
    let rootfs = choices.pending.filter(|rootfs| !rootfs.is_empty());
    options.rootfs = rootfs.ok_or_else(|| missing(Why::NoRoot))?;
    let mut program = choices.rest;
    let mut peek = program.clone();
    if peek.next() == Some(c"--") {
        program = peek;
    }
    if program.clone().next().is_none_or(CStr::is_empty) {
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
    /// As [`Choices::next`], of a command line that was read without an error.
    #[inline(never)]
    fn known(&mut self) -> Option<Choice<'a>> {
        self.next().ok().flatten()
    }

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
        let texts = split(NAMES.as_bytes(), b'\n');
        let Some((_, (name, count))) = texts.zip(OPTIONS).find(|(text, _)| *text == name) else {
            return failed(Why::NoSuchOption);
        };
        let mut values = [c""; 2];
        let count = match *count {
            OPTIONAL => u8::from(value.is_some()),
            count => count,
        };
        for place in values.iter_mut().take(usize::from(count)) {
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

/// The root.
const ROOT: Slot = Slot(0);
/// What is on its way into it.
const SOURCE: Slot = Slot(1);

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Whether more is asked for than a start: what `fly-full` does.
    #[must_use]
    pub fn is_for_full(&self) -> bool {
        self.plan || self.check || self.debug || self.timings.is_some()
    }

    /// Whether the program may need rights over mounts that only root has.
    #[must_use]
    pub fn needs_root(&self) -> bool {
        !self
            .namespaces
            .unshares(linux_raw_sys::general::CLONE_NEWUSER)
    }

    /// Writes the steps: close what was inherited, namespaces, the root and what
    /// is mounted in it in the order given, the root switch, credentials and
    /// limits, exec.
    ///
    /// # Errors
    /// Where a user or a group can't be resolved, or an option has a bad value.
    #[inline(never)]
    pub fn lower<E>(&self, plan: &mut Builder<'_>, environment: E) -> Result<(), Error<'a>>
    where
        E: Iterator<Item = &'a CStr> + Clone,
    {
        self.lower_close(plan)?;
        self.lower_oom_score(plan);
        self.lower_namespaces(plan)?;
        self.lower_root(plan)?;
        self.lower_mounts(plan)?;
        let any = self.namespaces.any();
        let confine = self.namespaces.has(Name::Confine);
        if any {
            self.lower_names(plan);
        }
        if confine {
            plan.push(Step::Pivot { root: ROOT });
        } else {
            plan.push(Step::Chroot { root: ROOT });
        }
        plan.push(Step::App { name: c"app" });
        self.lower_limits(plan);
        self.lower_process(plan)?;
        self.lower_privileges(plan);
        if any {
            self.lower_supervision(plan);
        }
        self.lower_filter(plan)?;
        self.lower_program(plan, environment)
    }
}
