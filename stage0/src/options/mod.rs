//! The command line of `stage0 run` and `stage0 plan`.

mod check;
mod insecure;
mod life;
pub mod limits;
pub mod names;
mod parse;
mod roots;

use core::ffi::CStr;

use fly::{plan::Kind, timings::Format};

use crate::volume::is_short;

pub use insecure::Insecure;
pub use life::{Life, Lives, milliseconds, pool};
pub use limits::{Limit, Limits};
pub use names::{NameOption, Names, Source};
pub use parse::{Choices, Each, parse, parse_added};
pub(crate) use roots::root;

/// The names of all commands and options, one a line.
pub const NAMES: &str = "run\nprepare\nrun-prepared\npool\nlist\nstatus\nstop\nrm\ngc\nlogs\nattach\nenter\nexport\ncat-manifest\nconfig\ncompletion\nplan\napp\nhelp\nversion\n--rootfs\n--volume\n--mount\n--tmpfs\n--set-env\n--working-dir\n--user\n\
--group\n--groups\n--umask\n--rlimit\n--nice\n--cpu-affinity\n--sched\n--cap-add\n--cap-drop\n--cap-keep\n--hostname\n--cgroup\n--memory\n--memory-swap\n--cpus\n--cpu-weight\n--pids\n--io-weight\n--io-max\n--device\n--cgroup-parent\n--net\n--stage1\n--insecure-options\n--readonly-rootfs\n\
--ephemeral\n--tty\n--output\n--timings\n--debug\n--help\n--exit-policy\n--name\n--after\n--ready\n--restart\n\
--pre-start\n--post-stop\n--stop-signal\n--stop-timeout\n--status-dir\n--pod-dir\n--hold\n--register\n--detach\n--keep\n--rm\n--uuid-file-save\n--state-dir\n--timeout\n--warm\n--pool\n--stdin\n--stdout\n--stderr\n--log\n\
--listen-fds\n--notify-socket\n--pid-namespace\n--dns\n--dns-search\n--dns-opt\n--dns-domain\n--hosts-entry\n--ipc\n--exec\n--private-users\n--pod-manifest\n--no-new-privs\n--seccomp\n--oom-score-adj";

/// The standard input that `stage0 attach` writes to.
pub const STREAM: &CStr = c"stream";

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
    /// `--memory` or another limit of [`Limit`]: its text, and what it says.
    PodLimit(Limit, &'a CStr, u64),
    /// `--oom-score-adj N`
    OomScore(&'a CStr),
    /// `--cgroup-parent PATH`
    CgroupParent(&'a CStr),
    /// `--net=host|none|pool|PATH`
    Network(Network<'a>),
    /// `--ipc=auto|private|parent`
    Ipc(Ipc),
    /// `--dns`, `--dns-search`, `--dns-opt`, `--dns-domain` or `--hosts-entry`
    Name(NameOption, &'a CStr),
    /// `--stage1=init|init:PATH|fly|PATH`
    Stage1(Stage1<'a>),
    /// `--private-users[=auto|true|false|BASE:COUNT]`
    PrivateUsers(PrivateUsers),
    /// `--readonly-rootfs`
    ReadOnlyRoot(bool),
    /// `--ephemeral`
    Ephemeral(bool),
    /// `--tty`
    Terminal(bool),
    /// `--insecure-options LIST`
    Insecure(Insecure),
    /// `--exit-policy=first-failure|all|APP`
    ExitPolicy(&'a CStr),
    /// `--status-dir PATH`
    StatusDirectory(&'a CStr),
    /// `--pod-manifest FILE`
    PodManifest(&'a CStr),
    /// `--pod-dir DIR`
    PodDirectory(&'a CStr),
    /// `--detach`, `--keep` and what else the pod's life is like.
    Life(Life<'a>),
    /// `--hold`
    Hold(bool),
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
    Exec,
    NoNewPrivileges,
    Seccomp,
}

impl AppOption {
    /// How many there are.
    pub const COUNT: usize = Self::Seccomp as usize + 1;

    /// Whether its value is true or false, and may be missing.
    pub(super) fn is_switch(self) -> bool {
        matches!(
            self,
            Self::ListenFds | Self::NotifySocket | Self::PidNamespace | Self::NoNewPrivileges
        )
    }

    /// Whether few programs have it: a filter of its own, an input that can be attached.
    #[cold]
    #[inline(never)]
    pub(super) fn is_rare(self, value: &CStr) -> bool {
        self == Self::Seccomp || (self == Self::Stdin && value == STREAM)
    }

    /// All of them, with their names.
    const NAMED: [(&[u8], Self); Self::COUNT] = [
        (b"--name", Self::Name),
        (b"--after", Self::After),
        (b"--ready", Self::Ready),
        (b"--restart", Self::Restart),
        (b"--pre-start", Self::PreStart),
        (b"--post-stop", Self::PostStop),
        (b"--stop-signal", Self::StopSignal),
        (b"--stop-timeout", Self::StopTimeout),
        (b"--stdin", Self::Stdin),
        (b"--stdout", Self::Stdout),
        (b"--stderr", Self::Stderr),
        (b"--log", Self::Log),
        (b"--listen-fds", Self::ListenFds),
        (b"--notify-socket", Self::NotifySocket),
        (b"--pid-namespace", Self::PidNamespace),
        (b"--exec", Self::Exec),
        (b"--no-new-privs", Self::NoNewPrivileges),
        (b"--seccomp", Self::Seccomp),
    ];

    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let mut all = Self::NAMED.iter();
        all.find(|(other, _)| *other == name)
            .map(|(_, option)| *option)
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
pub enum Network<'a> {
    /// The host's network namespace.
    Host,
    /// A new one, with lo only.
    None,
    /// The same, made before, if there is one.
    Pool,
    /// The one at this path.
    Path(&'a CStr),
}

/// `--ipc`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipc {
    /// As the stage 1 has it.
    Auto,
    /// A new namespace.
    Private,
    /// The host's.
    Parent,
}

/// `--private-users`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateUsers {
    /// No user namespace.
    No,
    /// One with ids that nobody else uses.
    Auto,
    /// One with these ids of the host.
    Range {
        /// The first one.
        start: u64,
        /// How many.
        count: u64,
    },
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
    /// The programs, each with its root and options, separated by `---`.
    pub programs: I,
    /// The root of all programs: `--rootfs`, or that of the only program. Empty where
    /// there is none.
    pub rootfs: &'a CStr,
    /// `--rootfs` was named: a program needs no root.
    pub has_default: bool,
    /// Behind the root of the only program: its options.
    pub own: Option<Choices<I>>,
    /// Programs have roots of their own.
    pub several: bool,
    /// One of `--volume`, `--mount` and `--tmpfs` is among the options of all.
    pub mounts: bool,
    /// `--hostname`
    pub hostname: Option<&'a CStr>,
    /// `--cgroup`
    pub cgroup: Option<&'a CStr>,
    /// `--memory` and its kin.
    pub limits: Limits<'a>,
    /// `--oom-score-adj`
    pub oom_score: Option<&'a CStr>,
    /// `--cgroup-parent`
    pub cgroup_parent: Option<&'a CStr>,
    /// `--net`
    pub network: Network<'a>,
    /// `--ipc`
    pub ipc: Ipc,
    /// `--dns` and its kin, `--hosts-entry`
    pub names: Names,
    /// `--stage1`
    pub stage1: Stage1<'a>,
    /// `--private-users`; `None` if it was not said.
    pub private_users: Option<PrivateUsers>,
    /// `--readonly-rootfs`
    pub read_only_root: bool,
    /// `--ephemeral`
    pub ephemeral: bool,
    /// `--tty`; `None` if it was not said.
    pub terminal: Option<bool>,
    /// `--insecure-options`
    pub insecure: Insecure,
    /// `--exit-policy`
    pub exit_policy: Option<&'a CStr>,
    /// `--status-dir`
    pub status_directory: Option<&'a CStr>,
    /// `--pod-manifest`, which stands for other options.
    pub pod_manifest: bool,
    /// `--pod-dir`
    pub pod_directory: Option<&'a CStr>,
    /// Where and how long the pod lives.
    pub life: Lives<'a>,
    /// `--hold`
    pub hold: bool,
    /// The program is added to a pod that runs.
    pub added: bool,
    /// Whether a program has an option of its own.
    pub app_options: bool,
    /// Whether a program has what few have.
    pub rare: bool,
    /// `--output`: the plan of a machine, into this file.
    pub output: Option<&'a CStr>,
    /// `--timings`
    pub timings: Option<Format>,
    /// `--debug`
    pub debug: bool,
}

impl Choice<'_> {
    /// Whether it says what is in a root, which a program may have for itself.
    #[must_use]
    pub fn is_of_a_root(&self) -> bool {
        match self {
            Choice::Mount(_) | Choice::Tmpfs(_) => true,
            Choice::ReadOnlyRoot(_) | Choice::Ephemeral(_) => true,
            // What has a name is the pod's.
            Choice::Volume(text) => is_short(text),
            _ => false,
        }
    }

    /// Whether a program can have it for itself, behind its root or its `---`.
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
    /// The options of all, and those behind the root of the only program.
    pub fn each(&self) -> Each<I> {
        Each::new(self.choices.clone(), self.own.clone())
    }

    /// Whether there may be a mount among [`Options::each`].
    pub fn has_mounts(&self) -> bool {
        self.mounts || self.own.is_some()
    }

    /// Whether it asks for what few starts need, and only `stage0-full` can do.
    #[must_use]
    pub fn is_rare(&self) -> bool {
        const LIMITS: [Limit; 2] = [Limit::IoMax, Limit::Devices];
        self.several
            || self.hold
            || self.life.warm
            || self.life.pool.is_some()
            || self.pod_manifest
            || self.rare
            || self.oom_score.is_some()
            || self.debug
            || self.timings.is_some()
            || self.names.any()
            || matches!(self.stage1, Stage1::Other(_))
            || matches!(self.network, Network::Path(_))
            || !matches!(self.private_users, None | Some(PrivateUsers::No))
            || LIMITS.iter().any(|limit| self.limits.get(*limit).is_some())
    }

    /// Those of a command line without options.
    pub(super) fn new(words: I) -> Self {
        Self {
            choices: Choices::new(words.clone()),
            programs: words,
            rootfs: c"",
            has_default: false,
            own: None,
            several: false,
            mounts: false,
            hostname: None,
            cgroup: None,
            limits: Limits::default(),
            oom_score: None,
            cgroup_parent: None,
            network: Network::Host,
            ipc: Ipc::Auto,
            names: Names::default(),
            stage1: Stage1::Init(None),
            private_users: None,
            read_only_root: false,
            ephemeral: false,
            terminal: None,
            insecure: Insecure::default(),
            exit_policy: None,
            status_directory: None,
            pod_manifest: false,
            pod_directory: None,
            life: Lives::default(),
            hold: false,
            added: false,
            app_options: false,
            rare: false,
            output: None,
            timings: None,
            debug: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fly::error::{Error, What, Why};
    use std::ffi::CString;

    #[test]
    fn all_names_are_known() {
        for name in NAMES.lines().filter(|name| name.starts_with("--")) {
            let word = CString::new(name).unwrap();
            let unknown = Error::new(What::ReadOption, &word, Why::NoSuchOption);
            if let Err(error) = parse([word.as_c_str()].into_iter()) {
                assert_ne!(error.cause(), unknown.cause(), "{name}");
            }
        }
    }
}
