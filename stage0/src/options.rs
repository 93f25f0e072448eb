//! The command line of `stage0 run` and `stage0 plan`.

use core::ffi::CStr;

use fly::{
    capability,
    error::{Advice, Error, What, Why},
    lower::split_option,
    plan::{Kind, limits},
    timings::Format,
};

/// The names of all commands and options, one a line.
pub const NAMES: &str = "run\nplan\napp\nhelp\nversion\n--rootfs\n--volume\n--mount\n--tmpfs\n--set-env\n--working-dir\n--user\n\
--group\n--groups\n--umask\n--rlimit\n--nice\n--cpu-affinity\n--sched\n--cap-add\n--cap-drop\n--cap-keep\n--hostname\n--cgroup\n--net\n--stage1\n--insecure-options\n--readonly-rootfs\n\
--ephemeral\n--tty\n--output\n--timings\n--debug\n--help\n--exit-policy\n--name\n--after\n--ready\n--restart\n\
--pre-start\n--post-stop\n--stop-signal\n--stop-timeout\n--status-dir\n--pod-dir\n--stdin\n--stdout\n--stderr\n--log\n\
--listen-fds\n--notify-socket\n--pid-namespace";

/// One option of the command line.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'a> {
    /// `--rootfs DIR`
    Rootfs(&'a CStr),
    /// `--volume NAME,kind=...` or `--volume SRC:DST[:ro]`
    Volume(&'a CStr),
    /// `--mount volume=NAME,target=PATH`
    Mount(&'a CStr),
    /// `--tmpfs DST`
    Tmpfs(&'a CStr),
    /// `--set-env NAME=VALUE`
    SetVariable(&'a CStr),
    /// `--working-dir DIR`
    WorkingDirectory(&'a CStr),
    /// `--user USER`
    User(&'a CStr),
    /// `--group GROUP`
    Group(&'a CStr),
    /// `--groups GROUP,...`
    Groups(&'a CStr),
    /// `--umask MASK`
    Umask(u64),
    /// `--rlimit`, `--nice`, `--cpu-affinity` or `--sched`: the step, and its text.
    Limit(Kind, &'a CStr),
    /// `--cap-add`, `--cap-drop`, `--cap-keep`
    Capabilities(Change, u64),
    /// `--hostname NAME`
    Hostname(&'a CStr),
    /// `--cgroup DIR`
    Cgroup(&'a CStr),
    /// `--net=host|none`
    Network(Network),
    /// `--stage1=init|init:PATH|fly|PATH`
    Stage1(Stage1<'a>),
    /// `--readonly-rootfs`
    ReadOnlyRoot(bool),
    /// `--ephemeral`
    Ephemeral(bool),
    /// `--tty`
    Terminal(bool),
    /// `--insecure-options=all`
    Insecure,
    /// `--exit-policy=first-failure|all|APP`
    ExitPolicy(&'a CStr),
    /// `--status-dir PATH`
    StatusDirectory(&'a CStr),
    /// `--pod-dir DIR`
    PodDirectory(&'a CStr),
    /// An option of one program, and its value.
    App(AppOption, &'a CStr),
    /// `--output FILE`
    Output(&'a CStr),
    /// `--timings[=json]`
    Timings(Format),
    /// `--debug`
    Debug,
    /// `--help`
    Help,
}

/// An option that each program of a pod has for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are called like the options")]
#[repr(u8)]
pub enum AppOption {
    Name,
    After,
    Ready,
    Restart,
    PreStart,
    PostStop,
    StopSignal,
    StopTimeout,
    Stdin,
    Stdout,
    Stderr,
    Log,
    ListenFds,
    NotifySocket,
    PidNamespace,
}

impl AppOption {
    /// How many there are.
    pub const COUNT: usize = Self::PidNamespace as usize + 1;

    /// Whether its value is true or false, and may be missing.
    fn is_switch(self) -> bool {
        matches!(
            self,
            Self::ListenFds | Self::NotifySocket | Self::PidNamespace
        )
    }

    fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"--name" => Self::Name,
            b"--after" => Self::After,
            b"--ready" => Self::Ready,
            b"--restart" => Self::Restart,
            b"--pre-start" => Self::PreStart,
            b"--post-stop" => Self::PostStop,
            b"--stop-signal" => Self::StopSignal,
            b"--stop-timeout" => Self::StopTimeout,
            b"--stdin" => Self::Stdin,
            b"--stdout" => Self::Stdout,
            b"--stderr" => Self::Stderr,
            b"--log" => Self::Log,
            b"--listen-fds" => Self::ListenFds,
            b"--notify-socket" => Self::NotifySocket,
            b"--pid-namespace" => Self::PidNamespace,
            _ => return None,
        })
    }
}

/// How a set of capabilities is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// These are added.
    Add,
    /// These are taken away.
    Drop,
    /// No others are left.
    Keep,
}

/// `--net`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The host's network namespace.
    Host,
    /// A new one, with lo only.
    None,
}

/// `--stage1`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage1<'a> {
    /// stage1-init as pid 1 of new namespaces; perhaps a certain one.
    Init(Option<&'a CStr>),
    /// A private mount namespace and chroot, in the process that was called.
    Fly,
    /// Another program that keeps the contract of a stage 1.
    Other(&'a CStr),
}

/// A checked command line.
#[derive(Clone, Debug)]
pub struct Options<'a, I> {
    /// All options in order.
    pub choices: Choices<I>,
    /// The programs and their arguments, separated by `---`.
    pub programs: I,
    /// `--rootfs`
    pub rootfs: &'a CStr,
    /// `--hostname`
    pub hostname: Option<&'a CStr>,
    /// `--cgroup`
    pub cgroup: Option<&'a CStr>,
    /// `--net`
    pub network: Network,
    /// `--stage1`
    pub stage1: Stage1<'a>,
    /// `--readonly-rootfs`
    pub read_only_root: bool,
    /// `--ephemeral`
    pub ephemeral: bool,
    /// `--tty`; `None` if it was not said.
    pub terminal: Option<bool>,
    /// `--insecure-options=all`
    pub insecure: bool,
    /// `--exit-policy`
    pub exit_policy: Option<&'a CStr>,
    /// `--status-dir`
    pub status_directory: Option<&'a CStr>,
    /// `--pod-dir`
    pub pod_directory: Option<&'a CStr>,
    /// The program is added to a pod that runs.
    pub added: bool,
    /// Whether a program has an option of its own.
    pub app_options: bool,
    /// `--output`: the plan of a machine, into this file.
    pub output: Option<&'a CStr>,
    /// `--timings`
    pub timings: Option<Format>,
    /// `--debug`
    pub debug: bool,
}

/// Reads the command line behind the command; `None` asks for help.
///
/// # Errors
/// Names the option that is unknown, or what is missing.
pub fn parse<'a, I>(arguments: I) -> Result<Option<Options<'a, I>>, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let mut choices = Choices { rest: arguments };
    let mut options = Options::new(choices.rest.clone());
    while let Some(choice) = choices.take()? {
        match choice {
            Choice::Help => return Ok(None),
            Choice::Rootfs(path) => options.rootfs = path,
            Choice::Hostname(name) => options.hostname = Some(name),
            Choice::Cgroup(path) => options.cgroup = Some(path),
            Choice::Network(network) => options.network = network,
            Choice::Stage1(stage1) => options.stage1 = stage1,
            Choice::ReadOnlyRoot(yes) => options.read_only_root = yes,
            Choice::Ephemeral(yes) => options.ephemeral = yes,
            Choice::Terminal(yes) => options.terminal = Some(yes),
            Choice::Insecure => options.insecure = true,
            Choice::ExitPolicy(policy) => options.exit_policy = Some(policy),
            Choice::StatusDirectory(path) => options.status_directory = Some(path),
            Choice::PodDirectory(path) => options.pod_directory = Some(path),
            Choice::App(..) => options.app_options = true,
            Choice::Output(path) => options.output = Some(path),
            Choice::Timings(format) => options.timings = Some(format),
            Choice::Debug => options.debug = true,
            // Each program's, see `lower::own`, or in their order.
            _ => {}
        }
    }
    options.programs = choices.operands();
    options.check()?;
    Ok(Some(options))
}

/// Reads the command line of a program that is added to a pod, whose root is
/// `rootfs`.
///
/// # Errors
/// Names the option that is the pod's, unknown, or what is missing.
pub fn parse_added<'a, I>(rootfs: &'a CStr, arguments: I) -> Result<Options<'a, I>, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let mut choices = Choices::new(arguments.clone());
    let mut options = Options {
        rootfs,
        added: true,
        terminal: Some(false),
        ..Options::new(arguments)
    };
    loop {
        let word = choices.operands().next().unwrap_or_default();
        let Some(choice) = choices.take()? else { break };
        match choice {
            Choice::Insecure => options.insecure = true,
            // Of other programs it knows nothing, and what was passed is the pod's.
            Choice::App(AppOption::After | AppOption::ListenFds | AppOption::NotifySocket, _) => {
                return Err(Error::new(What::ReadOption, word, Why::NotAdded));
            }
            choice if choice.is_of_a_program() => {}
            _ => return Err(Error::new(What::ReadOption, word, Why::NotAdded)),
        }
    }
    options.programs = choices.operands();
    let why = match options.programs.clone().next() {
        None => Why::NoProgramNamed,
        Some(_) if options.programs.clone().any(|word| word == c"---") => Why::OnlyOneApp,
        Some(_) => return Ok(options),
    };
    Err(Error::new(What::Read, c"the command line", why).advice(Advice::SeeHelp))
}

fn check_variable(variable: &CStr) -> Result<&CStr, Error<'_>> {
    match variable.to_bytes().iter().position(|byte| *byte == b'=') {
        None | Some(0) => Err(Error::new(What::ReadVariable, variable, Why::NoAssignment)),
        Some(_) => Ok(variable),
    }
}

fn limit<'a>(name: &[u8], value: &'a CStr) -> Result<Choice<'a>, Error<'a>> {
    let (kind, why) = match name {
        b"--rlimit" => (Kind::Limit, Why::NoLimit),
        b"--nice" => (Kind::Nice, Why::NoNice),
        b"--cpu-affinity" => (Kind::Processors, Why::NoProcessors),
        _ => (Kind::Scheduling, Why::NoPolicy),
    };
    match limits::parse(kind as u16, value.to_bytes(), &mut [0; 17]) {
        Some(()) => Ok(Choice::Limit(kind, value)),
        None => Err(Error::new(What::ReadOption, value, why)),
    }
}

fn capabilities<'a>(name: &[u8], names: &'a CStr) -> Result<Choice<'a>, Error<'a>> {
    let change = match name {
        b"--cap-add" => Change::Add,
        b"--cap-drop" => Change::Drop,
        _ => Change::Keep,
    };
    match capability::parse(names.to_bytes()) {
        Some(named) => Ok(Choice::Capabilities(change, named)),
        None => Err(Error::new(What::ReadOption, names, Why::NoSuchCapability)),
    }
}

fn umask(text: &CStr) -> Result<u64, Error<'_>> {
    let digits = text.to_bytes();
    let digit = |digit: &u8| digit.checked_sub(b'0').filter(|digit| *digit < 8);
    let mask = digits.iter().try_fold(0, |mask: u64, byte| {
        Some(mask.checked_mul(8)? | u64::from(digit(byte)?))
    });
    mask.filter(|mask| !digits.is_empty() && *mask <= 0o777)
        .ok_or(Error::new(What::ReadOption, text, Why::NoMask))
}

impl Choice<'_> {
    /// Whether a program can have it for itself, behind its `---`.
    #[must_use]
    pub fn is_of_a_program(&self) -> bool {
        matches!(
            self,
            Choice::App(..)
                | Choice::SetVariable(_)
                | Choice::WorkingDirectory(_)
                | Choice::User(_)
                | Choice::Group(_)
                | Choice::Groups(_)
                | Choice::Umask(_)
                | Choice::Limit(..)
                | Choice::Capabilities(..)
        )
    }
}

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Those of a command line without options.
    fn new(words: I) -> Self {
        Self {
            choices: Choices::new(words.clone()),
            programs: words,
            rootfs: c"",
            hostname: None,
            cgroup: None,
            network: Network::Host,
            stage1: Stage1::Init(None),
            read_only_root: false,
            ephemeral: false,
            terminal: None,
            insecure: false,
            exit_policy: None,
            status_directory: None,
            pod_directory: None,
            added: false,
            app_options: false,
            output: None,
            timings: None,
            debug: false,
        }
    }

    fn check(&self) -> Result<(), Error<'a>> {
        let failed = |why: Why| {
            Err(Error::new(What::Read, c"the command line", why).advice(Advice::SeeHelp))
        };
        if self.rootfs.is_empty() {
            return failed(Why::NoRootfs);
        }
        if self.programs.clone().next().is_none() {
            return failed(Why::NoProgramNamed);
        }
        self.check_machine()?;
        if self.stage1 == Stage1::Fly {
            let conflict = if self.hostname.is_some() {
                Some(c"--hostname")
            } else if self.cgroup.is_some() {
                Some(c"--cgroup")
            } else if self.network == Network::None {
                Some(c"--net=none")
            } else if self.terminal == Some(true) {
                Some(c"--tty")
            } else if self.programs.clone().any(|word| word == c"---") {
                Some(c"---")
            } else if self.exit_policy.is_some() {
                Some(c"--exit-policy")
            } else if self.status_directory.is_some() {
                Some(c"--status-dir")
            } else if self.pod_directory.is_some() {
                Some(c"--pod-dir")
            } else if self.app_options {
                Some(c"--name, --restart and the like")
            } else {
                None
            };
            if let Some(option) = conflict {
                return Err(Error::new(What::ReadOption, option, Why::NotWithFly));
            }
        }
        Ok(())
    }

    /// A machine has one root and no pod around it.
    fn check_machine(&self) -> Result<(), Error<'a>> {
        if self.output.is_none() {
            return Ok(());
        }
        let mut conflict = if self.cgroup.is_some() {
            Some(c"--cgroup")
        } else if self.pod_directory.is_some() {
            Some(c"--pod-dir")
        } else if self.network == Network::None {
            Some(c"--net=none")
        } else if self.read_only_root {
            Some(c"--readonly-rootfs")
        } else if self.ephemeral {
            Some(c"--ephemeral")
        } else if self.terminal == Some(true) {
            Some(c"--tty")
        } else if self.timings.is_some() {
            Some(c"--timings")
        } else if self.stage1 != Stage1::Init(None) {
            Some(c"--stage1")
        } else {
            None
        };
        let mut choices = self.choices.clone();
        while let Some(choice) = choices.take()? {
            match choice {
                Choice::Volume(_) => conflict = Some(c"--volume"),
                Choice::Mount(_) => conflict = Some(c"--mount"),
                Choice::Tmpfs(_) => conflict = Some(c"--tmpfs"),
                _ => {}
            }
        }
        if !self.rootfs.to_bytes().starts_with(b"/") {
            return Err(Error::new(What::ReadOption, c"--rootfs", Why::NotAbsolute));
        }
        match conflict {
            Some(option) => Err(Error::new(What::ReadOption, option, Why::NotForMachine)),
            None => Ok(()),
        }
    }
}

/// Walks the options; stops before the first operand.
#[derive(Clone, Debug)]
pub struct Choices<I> {
    rest: I,
}

impl<'a, I> Choices<I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// The options at the beginning of these words.
    pub fn new(words: I) -> Self {
        Self { rest: words }
    }

    /// What follows the options, and `--`.
    #[must_use]
    pub fn operands(&self) -> I {
        let mut peek = self.rest.clone();
        if peek.next() == Some(c"--") {
            return peek;
        }
        self.rest.clone()
    }

    /// The next option.
    ///
    /// # Errors
    /// Names the option that is unknown or lacks its value.
    pub fn take(&mut self) -> Result<Option<Choice<'a>>, Error<'a>> {
        let mut peek = self.rest.clone();
        match peek.next() {
            Some(word) if word.to_bytes().starts_with(b"-") && word != c"--" => {
                self.rest = peek;
                self.choice(word).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn choice(&mut self, word: &'a CStr) -> Result<Choice<'a>, Error<'a>> {
        let (name, inline) = split_option(word);
        let failed = |why: Why| Error::new(What::ReadOption, word, why).advice(Advice::SeeHelp);
        let mut value = inline;
        let mut take = || {
            value
                .take()
                .or_else(|| self.rest.next())
                .ok_or(failed(Why::NoValue))
        };
        let choice = match name {
            b"--rootfs" => Choice::Rootfs(take()?),
            b"--volume" | b"-v" => Choice::Volume(take()?),
            b"--mount" => Choice::Mount(take()?),
            b"--tmpfs" => Choice::Tmpfs(take()?),
            b"--set-env" => Choice::SetVariable(check_variable(take()?)?),
            b"--working-dir" => Choice::WorkingDirectory(take()?),
            b"--user" => Choice::User(take()?),
            b"--group" => Choice::Group(take()?),
            b"--groups" => Choice::Groups(take()?),
            b"--umask" => Choice::Umask(umask(take()?)?),
            b"--rlimit" | b"--nice" | b"--cpu-affinity" | b"--sched" => limit(name, take()?)?,
            b"--cap-add" | b"--cap-drop" | b"--cap-keep" => capabilities(name, take()?)?,
            b"--hostname" => Choice::Hostname(take()?),
            b"--cgroup" => Choice::Cgroup(take()?),
            b"--net" => Choice::Network(match take()?.to_bytes() {
                b"host" => Network::Host,
                b"none" => Network::None,
                _ => return Err(failed(Why::NotHostOrNone)),
            }),
            b"--stage1" => Choice::Stage1(Stage1::parse(take()?, word)?),
            b"--insecure-options" => match take()?.to_bytes() {
                b"all" => Choice::Insecure,
                _ => return Err(failed(Why::NotAll)),
            },
            b"--readonly-rootfs" => Choice::ReadOnlyRoot(switch(value.take(), word)?),
            b"--ephemeral" => Choice::Ephemeral(switch(value.take(), word)?),
            b"--tty" | b"-t" => Choice::Terminal(switch(value.take(), word)?),
            b"--output" | b"-o" => Choice::Output(take()?),
            b"--timings" => Choice::Timings(Format::parse(value.take().unwrap_or_default(), word)?),
            b"--debug" => Choice::Debug,
            b"--help" | b"-h" => Choice::Help,
            b"--status-dir" => Choice::StatusDirectory(take()?),
            b"--pod-dir" => Choice::PodDirectory(take()?),
            b"--exit-policy" => Choice::ExitPolicy(take()?),
            _ => match AppOption::of(name) {
                Some(option) if option.is_switch() => {
                    let yes = switch(value.take(), word)?;
                    Choice::App(option, if yes { c"true" } else { c"" })
                }
                Some(option) => Choice::App(option, take()?),
                None => return Err(failed(Why::NoSuchOption)),
            },
        };
        if value.is_some() {
            return Err(failed(Why::TakesNoValue));
        }
        Ok(choice)
    }
}

fn switch<'a>(value: Option<&CStr>, word: &'a CStr) -> Result<bool, Error<'a>> {
    match value.map(CStr::to_bytes) {
        None | Some(b"true") => Ok(true),
        Some(b"false") => Ok(false),
        Some(_) => Err(Error::new(What::ReadOption, word, Why::NotTrueOrFalse)),
    }
}

impl<'a> Stage1<'a> {
    /// A path is another stage 1, unless its name is that of ours.
    fn parse(value: &'a CStr, word: &'a CStr) -> Result<Self, Error<'a>> {
        let bytes = value.to_bytes();
        if let Some(path) = bytes.strip_prefix(b"init:") {
            let tail = value.to_bytes_with_nul().get(b"init:".len()..);
            let path = tail
                .filter(|_| !path.is_empty())
                .and_then(|tail| CStr::from_bytes_with_nul(tail).ok());
            return path.map(|path| Self::Init(Some(path))).ok_or(Error::new(
                What::ReadOption,
                word,
                Why::NoValue,
            ));
        }
        match bytes {
            b"init" => Ok(Self::Init(None)),
            b"fly" => Ok(Self::Fly),
            _ if bytes.rsplit(|byte| *byte == b'/').next() == Some(crate::stage1::FILE_NAME) => {
                Ok(Self::Init(Some(value)))
            }
            _ if bytes.contains(&b'/') => Ok(Self::Other(value)),
            _ => Err(Error::new(What::ReadOption, word, Why::NoStage1)),
        }
    }
}

#[cfg(test)]
mod tests;
