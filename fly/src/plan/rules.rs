//! What each kind of step must look like.

use super::step::Kind;

/// The most lines of both maps of a user namespace.
const MAX_MAP_LINES: u8 = 64;

/// What the steps of a kind must look like.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    pub(super) kind: Kind,
    /// What is done with the slots: [`Rule::FILLS`] and its kin.
    pub(super) slots: u8,
    /// The least and the most strings.
    pub(super) least: u8,
    pub(super) most: u8,
    pub(super) number: Number,
    pub(super) text: Text,
    /// Whether the form is that of all strings, or only of the first.
    pub(super) each: bool,
}

/// The range of a step's number.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Any,
    Namespaces,
    Attributes,
    /// A file mode creation mask.
    Mask,
    Mode,
    /// A user or group id; the largest number means "unchanged" to the kernel
    /// (setresuid(2)), so it is none.
    Id,
    /// A descriptor.
    Descriptor,
}

/// The form of a step's strings.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Text {
    Any,
    NotEmpty,
    /// A path of the host.
    Path,
    /// An absolute path.
    Absolute,
    /// A path below a directory of our own.
    Below,
    /// A name without a slash.
    Name,
    /// [`Text::Name`] if no link is followed, otherwise [`Text::Path`].
    Target,
    HostName,
    /// A decimal number of a descriptor.
    Number,
    /// A line of a map of ids.
    Map,
    /// No strings: a system call filter.
    Filter,
    /// No strings: ids of groups.
    Groups,
    /// No strings: a limit's text, and what its call reads.
    Limit,
}

impl Rule {
    /// The first slot is filled.
    pub(super) const FILLS: u8 = 1;
    /// The second one is.
    pub(super) const FILLS_OTHER: u8 = 2;
    /// The first slot must be filled.
    pub(super) const USES: u8 = 4;
    /// The second one must be.
    pub(super) const USES_OTHER: u8 = 8;
    /// Stands for [`MAX_STRINGS`].
    pub(super) const MANY: u8 = u8::MAX;

    const fn of(kind: Kind) -> Self {
        Self {
            kind,
            slots: 0,
            least: 0,
            most: 0,
            number: Number::Any,
            text: Text::Any,
            each: true,
        }
    }

    const fn slots(self, slots: u8) -> Self {
        Self { slots, ..self }
    }

    const fn number(self, number: Number) -> Self {
        Self { number, ..self }
    }

    /// One string.
    const fn text(self, text: Text) -> Self {
        self.texts(1, 1, text)
    }

    const fn texts(self, least: u8, most: u8, text: Text) -> Self {
        Self {
            least,
            most,
            text,
            ..self
        }
    }

    /// The form is that of the first string only.
    const fn only_first(self) -> Self {
        Self {
            each: false,
            ..self
        }
    }
}

const FILLS: u8 = Rule::FILLS;
const USES: u8 = Rule::USES;
const USES_OTHER: u8 = Rule::USES_OTHER;

/// In the order of their kinds: the tables are searched.
const fn sorted<const N: usize>(mut rules: [Rule; N]) -> [Rule; N] {
    let mut end = 1;
    while end < N {
        let mut at = end;
        while at > 0 && rules[at - 1].kind as u16 > rules[at].kind as u16 {
            (rules[at - 1], rules[at]) = (rules[at], rules[at - 1]);
            at -= 1;
        }
        end += 1;
    }
    rules
}

/// A rule a kind, of the steps of an app that pid 1 of a pod does, and of others.
macro_rules! rules {
    ($($others:expr),* $(,)?) => {
        &sorted([
            Rule::of(Kind::App).text(Text::Name),
            Rule::of(Kind::Stop),
            Rule::of(Kind::AppSession),
            Rule::of(Kind::AppUmask).number(Number::Mask),
            Rule::of(Kind::WorkingDirectory).text(Text::Absolute),
            Rule::of(Kind::Groups).text(Text::Groups),
            Rule::of(Kind::Group).number(Number::Id),
            Rule::of(Kind::Bounding),
            Rule::of(Kind::User).number(Number::Id),
            Rule::of(Kind::Capabilities),
            Rule::of(Kind::NoNewPrivileges),
            Rule::of(Kind::Seccomp).text(Text::Filter),
            Rule::of(Kind::Unblock),
            Rule::of(Kind::Exec)
                .texts(2, Rule::MANY, Text::Path)
                .only_first(),
            Rule::of(Kind::Limit).text(Text::Limit),
            Rule::of(Kind::Nice).text(Text::Limit),
            Rule::of(Kind::Processors).text(Text::Limit),
            Rule::of(Kind::Scheduling).text(Text::Limit),
            Rule::of(Kind::KeepCapabilities),
            Rule::of(Kind::Ambient),
            $($others),*
        ])
    };
}

/// The rules of the apps of a pod. What does not fit a table is in `check::special`.
pub(super) static APP_RULES: &[Rule] = rules![];

/// Those and the rules of what only a launcher does, which may become the program itself.
pub(super) static RULES: &[Rule] = rules![
    Rule::of(Kind::Landlock).texts(1, Rule::MANY, Text::Absolute),
    Rule::of(Kind::CloseInherited),
    Rule::of(Kind::Supervise),
    Rule::of(Kind::Seal).slots(FILLS).text(Text::Path),
    Rule::of(Kind::OpenCgroup).slots(FILLS).text(Text::Path),
    Rule::of(Kind::Stamps).slots(FILLS | Rule::FILLS_OTHER),
    Rule::of(Kind::Terminal).slots(FILLS | Rule::FILLS_OTHER),
    Rule::of(Kind::HandOver)
        .texts(2, 2, Text::Path)
        .only_first(),
    Rule::of(Kind::Clone).number(Number::Namespaces),
    Rule::of(Kind::Unshare).number(Number::Namespaces),
    Rule::of(Kind::DieWithParent),
    Rule::of(Kind::Session),
    Rule::of(Kind::Private),
    Rule::of(Kind::Umask).number(Number::Mask),
    Rule::of(Kind::OpenDirectory).slots(FILLS).text(Text::Path),
    Rule::of(Kind::OpenTree)
        .slots(FILLS)
        .number(Number::Attributes)
        .text(Text::Path),
    Rule::of(Kind::Overlay)
        .slots(FILLS | USES_OTHER)
        .number(Number::Attributes)
        .text(Text::Path),
    Rule::of(Kind::AttachRoot).slots(USES),
    Rule::of(Kind::FileSystem)
        .slots(FILLS)
        .number(Number::Attributes)
        .texts(1, 33, Text::NotEmpty)
        .only_first(),
    Rule::of(Kind::Attach)
        .slots(USES | USES_OTHER)
        .text(Text::Target),
    Rule::of(Kind::Directory)
        .slots(USES)
        .number(Number::Mode)
        .text(Text::Below),
    Rule::of(Kind::File)
        .slots(USES)
        .number(Number::Mode)
        .text(Text::Below),
    Rule::of(Kind::Device).slots(USES).text(Text::Name),
    Rule::of(Kind::Link)
        .slots(USES)
        .texts(2, 2, Text::Name)
        .only_first(),
    Rule::of(Kind::Mask)
        .slots(USES | USES_OTHER)
        .texts(2, 64, Text::Below),
    Rule::of(Kind::ReadOnly)
        .slots(USES)
        .texts(1, 64, Text::Below),
    Rule::of(Kind::Bind)
        .slots(FILLS | USES_OTHER)
        .number(Number::Attributes)
        .text(Text::Below),
    Rule::of(Kind::Console)
        .slots(USES | USES_OTHER)
        .text(Text::Name),
    Rule::of(Kind::Hostname).text(Text::HostName),
    Rule::of(Kind::Loopback),
    Rule::of(Kind::Pivot).slots(USES),
    Rule::of(Kind::Chroot).slots(USES),
    Rule::of(Kind::TerminalStdio).slots(USES),
    Rule::of(Kind::PodBounding),
    Rule::of(Kind::ExecInit).slots(USES),
    Rule::of(Kind::CloseOthers).texts(1, Rule::MANY, Text::Number),
    Rule::of(Kind::OverlayIn)
        .slots(FILLS | USES_OTHER)
        .number(Number::Attributes)
        .texts(2, 2, Text::Path),
    Rule::of(Kind::MakeDirectory)
        .slots(USES)
        .number(Number::Mode)
        .text(Text::Path),
    Rule::of(Kind::CopyFile)
        .slots(USES)
        .number(Number::Descriptor)
        .text(Text::Path),
    Rule::of(Kind::MakeLink)
        .slots(USES)
        .texts(2, 2, Text::Path)
        .only_first(),
    Rule::of(Kind::Remount).slots(USES).text(Text::Path),
    Rule::of(Kind::KeepStatus).number(Number::Descriptor),
    Rule::of(Kind::UserNamespace)
        .slots(FILLS)
        .texts(2, MAX_MAP_LINES, Text::Map),
    Rule::of(Kind::MappedTree)
        .slots(FILLS | USES_OTHER)
        .number(Number::Attributes)
        .text(Text::Path),
    Rule::of(Kind::Mapper).slots(FILLS),
    Rule::of(Kind::Maps).texts(2, MAX_MAP_LINES, Text::Map),
    Rule::of(Kind::NoteNamespaces).number(Number::Namespaces),
    Rule::of(Kind::CgroupNamespace),
    Rule::of(Kind::AppDieWithParent).number(Number::Id),
    Rule::of(Kind::OomScore).text(Text::Limit),
    Rule::of(Kind::ExecSealed)
        .slots(USES)
        .texts(2, Rule::MANY, Text::Path)
        .only_first(),
    Rule::of(Kind::Check)
        .texts(2, Rule::MANY, Text::Path)
        .only_first(),
];

/// The rules of what only pods have.
pub(super) static POLICY_RULES: &[Rule] = &sorted([
    Rule::of(Kind::ExitPolicy),
    Rule::of(Kind::Restart).number(Number::Id),
    Rule::of(Kind::After).texts(1, 64, Text::Name),
    Rule::of(Kind::Ready).texts(0, 1, Text::Absolute),
    Rule::of(Kind::PreStart)
        .texts(2, Rule::MANY, Text::Path)
        .only_first(),
    Rule::of(Kind::PostStop)
        .texts(2, Rule::MANY, Text::Path)
        .only_first(),
    Rule::of(Kind::Stdio).text(Text::Absolute),
    Rule::of(Kind::Report).text(Text::Absolute),
    Rule::of(Kind::Log),
    Rule::of(Kind::LogFile).texts(2, 2, Text::Name).only_first(),
    Rule::of(Kind::KeepListening).number(Number::Descriptor),
    Rule::of(Kind::Listen),
    Rule::of(Kind::PidNamespace).texts(0, 64, Text::Name),
    Rule::of(Kind::Pipe).text(Text::Name),
    Rule::of(Kind::AppRoot).text(Text::Absolute),
]);

/// The rules of what only the launcher of a pod does.
pub(super) static POD_RULES: &[Rule] = &sorted([
    Rule::of(Kind::MakeCgroup)
        .texts(2, 2, Text::Absolute)
        .only_first(),
    Rule::of(Kind::LimitCgroup)
        .texts(2, 2, Text::Absolute)
        .only_first(),
    Rule::of(Kind::JoinCgroup).text(Text::Absolute),
    Rule::of(Kind::Leaf).text(Text::Absolute),
    Rule::of(Kind::FilterDevices)
        .texts(2, 64, Text::Absolute)
        .only_first(),
    Rule::of(Kind::HostFiles)
        .slots(USES)
        .texts(1, 64, Text::Absolute),
    Rule::of(Kind::Write)
        .slots(USES)
        .number(Number::Mode)
        .texts(1, Rule::MANY, Text::Below)
        .only_first(),
    Rule::of(Kind::JoinNetwork).text(Text::Path),
    Rule::of(Kind::JoinPooled).text(Text::Absolute),
    Rule::of(Kind::Keyring),
    Rule::of(Kind::OutsideMapper)
        .slots(FILLS)
        .text(Text::Absolute),
    Rule::of(Kind::TerminalPair).slots(FILLS | Rule::FILLS_OTHER),
    Rule::of(Kind::OwnTerminal).slots(FILLS | Rule::FILLS_OTHER),
    Rule::of(Kind::OwnOverlay)
        .slots(FILLS | USES_OTHER)
        .number(Number::Attributes)
        .text(Text::Path),
]);
