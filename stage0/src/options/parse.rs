//! Reading of the options, one after the other.

use core::ffi::CStr;

use fly::{
    capability,
    error::{Advice, Error, What, Why},
    lower::split_option,
    plan::{self, Kind},
    text::{decimal, split},
    timings::Format,
};

use super::{
    AppOption, Change, Choice, Insecure, Ipc, Life, NameOption, Network, Options, PrivateUsers,
    STREAM, Stage1, life, limits, names,
};

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
            Choice::Rootfs(path) => (options.rootfs, options.has_default) = (path, true),
            Choice::Hostname(name) => options.hostname = Some(names::host(name)?),
            Choice::Cgroup(path) => options.cgroup = Some(path),
            Choice::PodLimit(limit, text, value) => options.limits.set(limit, text, value),
            Choice::OomScore(text) => options.oom_score = Some(text),
            Choice::CgroupParent(path) => options.cgroup_parent = Some(path),
            Choice::Network(network) => options.network = network,
            Choice::Ipc(ipc) => options.ipc = ipc,
            Choice::Name(option, text) => options.names.add(option, text)?,
            Choice::Stage1(stage1) => options.stage1 = stage1,
            Choice::PrivateUsers(users) => options.private_users = Some(users),
            Choice::ReadOnlyRoot(yes) => options.read_only_root = yes,
            Choice::Ephemeral(yes) => options.ephemeral = yes,
            Choice::Terminal(yes) => options.terminal = Some(yes),
            Choice::Insecure(parts) => options.insecure.add(parts),
            Choice::ExitPolicy(policy) => options.exit_policy = Some(policy),
            Choice::StatusDirectory(path) => options.status_directory = Some(path),
            Choice::PodManifest(_) => options.pod_manifest = true,
            Choice::PodDirectory(path) => options.pod_directory = Some(path),
            Choice::Life(life) => options.life.set(life),
            Choice::Hold(yes) => options.hold = yes,
            Choice::App(option, value) => options.note(option, value),
            Choice::Output(path) => options.output = Some(path),
            Choice::Timings(format) => options.timings = Some(format),
            Choice::Debug => options.debug = true,
            Choice::Volume(_) | Choice::Mount(_) | Choice::Tmpfs(_) => options.mounts = true,
            // Each program's, see `lower::own`, or in their order.
            _ => {}
        }
    }
    options.programs = choices.words();
    if options.pod_manifest {
        return Ok(Some(options));
    }
    options.find_roots()?;
    options.check()?;
    if options.hold {
        // Who relays it would have to stay.
        options.terminal = Some(false);
    }
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
        has_default: true,
        added: true,
        terminal: Some(false),
        ..Options::new(arguments)
    };
    let mut named = false;
    loop {
        let word = choices.words().next().unwrap_or_default();
        let Some(choice) = choices.take()? else { break };
        match choice {
            Choice::Insecure(parts) => options.insecure.add(parts),
            // Of other programs it knows nothing, and what was passed is the pod's.
            Choice::App(AppOption::After | AppOption::ListenFds | AppOption::NotifySocket, _) => {
                return Err(Error::new(What::ReadOption, word, Why::NotAdded));
            }
            // Nobody would hold it.
            Choice::App(AppOption::Stdin, value) if value == STREAM => {
                return Err(Error::new(What::ReadOption, word, Why::NotAdded));
            }
            Choice::App(AppOption::Exec, _) => named = true,
            choice if choice.is_of_a_program() => {}
            _ => return Err(Error::new(What::ReadOption, word, Why::NotAdded)),
        }
    }
    options.programs = choices.words();
    if let Some(root) = super::root(&mut choices, true)? {
        return Err(Error::new(What::ReadRoot, root, Why::NotAdded));
    }
    let why = match options.programs.clone().next() {
        None if !named => Why::NoProgramNamed,
        Some(_) if options.programs.clone().any(|word| word == c"---") => Why::OnlyOneApp,
        _ => return Ok(options),
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
    match plan::limits::parse(kind as u16, value.to_bytes(), &mut [0; 17]) {
        Some(()) => Ok(Choice::Limit(kind, value)),
        None => Err(Error::new(What::ReadOption, value, why)),
    }
}

fn oom_score(text: &CStr) -> Result<Choice<'_>, Error<'_>> {
    match plan::limits::parse(Kind::OomScore as u16, text.to_bytes(), &mut [0; 17]) {
        Some(()) => Ok(Choice::OomScore(text)),
        None => Err(Error::new(What::ReadOption, text, Why::NoAdjustment)),
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

    /// What follows the options so far.
    #[must_use]
    pub fn words(&self) -> I {
        self.rest.clone()
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
            Some(word)
                if word.to_bytes().starts_with(b"-")
                    && !matches!(word.to_bytes(), b"--" | b"---") =>
            {
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
            b"--set-env" => Choice::SetVariable(check_variable(take()?)?),
            b"--umask" => Choice::Umask(umask(take()?)?),
            b"--rlimit" | b"--nice" | b"--cpu-affinity" | b"--sched" => limit(name, take()?)?,
            b"--cap-add" | b"--cap-drop" | b"--cap-keep" => capabilities(name, take()?)?,
            b"--oom-score-adj" => oom_score(take()?)?,
            b"--cgroup-parent" => Choice::CgroupParent(limits::parent(take()?)?),
            _ if limits::NAMES.contains(&name) => limits::parse(name, take()?)?,
            b"--net" => Choice::Network(Network::parse(take()?, word)?),
            b"--ipc" => Choice::Ipc(Ipc::parse(take()?, word)?),
            b"--stage1" => Choice::Stage1(Stage1::parse(take()?, word)?),
            b"--insecure-options" => Choice::Insecure(Insecure::parse(take()?)?),
            b"--private-users" => Choice::PrivateUsers(PrivateUsers::parse(value.take(), word)?),
            b"--timings" => Choice::Timings(Format::parse(value.take().unwrap_or_default(), word)?),
            b"--debug" => Choice::Debug,
            b"--help" | b"-h" => Choice::Help,
            b"--pool" => Choice::Life(Life::Pool(life::pool(take()?)?)),
            b"--timeout" => Choice::Life(Life::Timeout(life::time(take()?, word)?)),
            _ => {
                if let Some(make) = text(name) {
                    make(take()?)
                } else if let Some(make) = turned(name) {
                    make(switch(value.take(), word)?)
                } else if let Some(option) = AppOption::of(name) {
                    if option.is_switch() {
                        let yes = switch(value.take(), word)?;
                        Choice::App(option, if yes { c"true" } else { c"" })
                    } else {
                        Choice::App(option, take()?)
                    }
                } else if let Some(option) = NameOption::of(name) {
                    Choice::Name(option, option.check(take()?)?)
                } else {
                    return Err(failed(Why::NoSuchOption));
                }
            }
        };
        if value.is_some() {
            return Err(failed(Why::TakesNoValue));
        }
        Ok(choice)
    }
}

/// The option of this name whose value is any text.
fn text<'a>(name: &[u8]) -> Option<fn(&'a CStr) -> Choice<'a>> {
    Some(match name {
        b"--rootfs" => Choice::Rootfs,
        b"--volume" | b"-v" => Choice::Volume,
        b"--mount" => Choice::Mount,
        b"--tmpfs" => Choice::Tmpfs,
        b"--working-dir" => Choice::WorkingDirectory,
        b"--user" => Choice::User,
        b"--group" => Choice::Group,
        b"--groups" => Choice::Groups,
        b"--hostname" => Choice::Hostname,
        b"--cgroup" => Choice::Cgroup,
        b"--output" | b"-o" => Choice::Output,
        b"--status-dir" => Choice::StatusDirectory,
        b"--pod-manifest" => Choice::PodManifest,
        b"--pod-dir" => Choice::PodDirectory,
        b"--exit-policy" => Choice::ExitPolicy,
        b"--uuid-file-save" => |path| Choice::Life(Life::UuidFile(path)),
        b"--state-dir" => |path| Choice::Life(Life::StateDirectory(path)),
        _ => return None,
    })
}

/// The option of this name that is on or off.
fn turned<'a>(name: &[u8]) -> Option<fn(bool) -> Choice<'a>> {
    Some(match name {
        b"--readonly-rootfs" => Choice::ReadOnlyRoot,
        b"--ephemeral" => Choice::Ephemeral,
        b"--tty" | b"-t" => Choice::Terminal,
        b"--hold" => Choice::Hold,
        b"--register" => |yes| Choice::Life(Life::Register(yes)),
        b"--detach" | b"-d" => |yes| Choice::Life(Life::Detach(yes)),
        b"--keep" => |yes| Choice::Life(Life::Keep(yes)),
        b"--rm" => |yes| Choice::Life(Life::Keep(!yes)),
        b"--warm" => |yes| Choice::Life(Life::Warm(yes)),
        _ => return None,
    })
}

/// Walks the options of all, then those of one program.
#[derive(Clone, Debug)]
pub struct Each<I> {
    pods: Choices<I>,
    own: Option<Choices<I>>,
}

impl<'a, I> Each<I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    pub(crate) fn new(pods: Choices<I>, own: Option<Choices<I>>) -> Self {
        Self { pods, own }
    }

    /// The next one.
    ///
    /// # Errors
    /// As of [`Choices::take`].
    pub fn take(&mut self) -> Result<Option<Choice<'a>>, Error<'a>> {
        match (self.pods.take()?, &mut self.own) {
            (None, Some(own)) => own.take(),
            (choice, _) => Ok(choice),
        }
    }
}

fn switch<'a>(value: Option<&CStr>, word: &'a CStr) -> Result<bool, Error<'a>> {
    match value.map(CStr::to_bytes) {
        None | Some(b"true") => Ok(true),
        Some(b"false") => Ok(false),
        Some(_) => Err(Error::new(What::ReadOption, word, Why::NotTrueOrFalse)),
    }
}

impl<'a> Network<'a> {
    fn parse(value: &'a CStr, word: &'a CStr) -> Result<Self, Error<'a>> {
        match value.to_bytes() {
            b"host" => Ok(Self::Host),
            b"none" => Ok(Self::None),
            b"pool" => Ok(Self::Pool),
            path if path.contains(&b'/') => Ok(Self::Path(value)),
            _ => {
                Err(Error::new(What::ReadOption, word, Why::NotHostOrNone).advice(Advice::SeeHelp))
            }
        }
    }
}

impl Ipc {
    fn parse<'a>(value: &'a CStr, word: &'a CStr) -> Result<Self, Error<'a>> {
        match value.to_bytes() {
            b"auto" => Ok(Self::Auto),
            b"private" => Ok(Self::Private),
            b"parent" => Ok(Self::Parent),
            _ => Err(Error::new(What::ReadOption, word, Why::NotIpc)),
        }
    }
}

impl PrivateUsers {
    #[cold]
    fn parse<'a>(value: Option<&CStr>, word: &'a CStr) -> Result<Self, Error<'a>> {
        match value.map_or(&b"auto"[..], CStr::to_bytes) {
            b"auto" | b"true" => Ok(Self::Auto),
            b"false" => Ok(Self::No),
            text => Self::range(text).ok_or(Error::new(What::ReadOption, word, Why::NotUsers)),
        }
    }

    /// The host's root is in no range, and the largest number is no id.
    fn range(text: &[u8]) -> Option<Self> {
        let mut parts = split(text, b':');
        let (start, count) = (decimal(parts.next()?)?, decimal(parts.next()?)?);
        let end = start.checked_add(count)?;
        let is_good = parts.next().is_none() && start != 0 && count != 0;
        (is_good && end <= 0xffff_ffff).then_some(Self::Range { start, count })
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
