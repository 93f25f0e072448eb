//! One error type for a whole start: the step, its object, the cause, and what
//! can be done. It becomes text only at the edge, as one line.

use rustix::io::Errno;

use crate::{
    launch,
    plan::Reason,
    sys::thin::Thin,
    text::{Digits, Line, split},
};
use core::ffi::CStr;

/// Exit code for failures of our own.
pub const FAILURE: i32 = 254;

/// The texts that some programs need and others don't: each kind in one string,
/// a text a line, since a table of them would be larger than they are.
#[derive(Clone, Copy, Debug)]
pub struct Texts {
    what: &'static str,
    why: &'static str,
    advice: &'static str,
}

/// How many numbers each of the [`Texts`] has.
const GROUP: usize = 64;

/// The texts of `stage1-init`.
pub const INIT_TEXTS: &[Texts] = &[CORE, NO_TEXTS, INIT];
/// All texts, those of `fly` and `stage0`.
pub const ALL_TEXTS: &[Texts] = &[CORE, FLY, INIT, PODS];

const NO_TEXTS: Texts = Texts {
    what: "",
    why: "",
    advice: "",
};
const CORE: Texts = Texts {
    what: What::CORE,
    why: Why::CORE,
    advice: Advice::CORE,
};
const FLY: Texts = Texts {
    what: What::FLY,
    why: Why::FLY,
    advice: Advice::FLY,
};
const INIT: Texts = Texts {
    what: What::INIT,
    why: Why::INIT,
    advice: "",
};
const PODS: Texts = Texts {
    what: What::PODS,
    why: Why::PODS,
    advice: Advice::PODS,
};

/// Declares numbers that stand for texts, so that an error is small, and the
/// texts in the groups of [`Texts`], so that a program holds only those that it
/// may need.
macro_rules! texts {
    ($(#[$doc:meta])* $name:ident {
        $($group:ident from $base:literal {
            $first:ident = $first_text:literal,
            $($variant:ident = $text:literal,)*
        })*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the text of each says it")]
        #[repr(u8)]
        pub enum $name { $($first = $base, $($variant,)*)* }

        impl $name {
            $(const $group: &'static str = concat!($first_text, $("\n", $text,)*);)*
        }
    };
}

texts! {
    /// What was being done.
    What {
        CORE from 0 {
            Exec = "exec",
            Enter = "enter",
            SetUser = "set user",
            SetGroup = "set group",
            SetGroups = "set supplementary groups",
            SetCapabilities = "set capabilities",
            Carry = "carry out a step in the wrong phase",
            Read = "read",
            Start = "start",
        }
        FLY from 64 {
            Open = "open",
            LookUpUser = "look up user",
            ReadPasswd = "read /etc/passwd for user",
            ReadGroups = "read /etc/group for user",
            LookUpGroup = "look up group",
            ReadGroupFile = "read /etc/group for group",
            ReadOption = "read option",
            ReadVariable = "read variable",
            ReadMountTarget = "read mount target",
            ReadWorkingDirectory = "read working directory",
            CheckPlan = "plan",
            MakeNamespaces = "make new namespaces",
            Mount = "mount",
            MakeMountPoint = "make mount point",
            MountOn = "mount on",
            MakePrivate = "make all mounts private",
            ChrootInto = "chroot into",
            CloseInherited = "close inherited descriptors",
            ChangeMount = "change mount",
            WalkTo = "walk to mount point",
            LookAt = "look at",
            LookAtMountPoint = "look at mount point",
            UseSlot = "use a descriptor of the plan",
            MapIds = "map ids",
            KeepStatus = "use the descriptor of --json-status-fd",
            ReadModifier = "read option",
            ReadSize = "read --size",
            ReadMode = "read --perms",
            ReadDescriptor = "read descriptor number",
            CopyFrom = "read the descriptor for",
            WriteFile = "write file",
            KeepLayer = "keep the layer in",
        }
        INIT from 128 {
            Set = "set",
            StartSession = "start a session",
            LimitCapabilities = "limit capabilities",
        }
        PODS from 192 {
            ReadCommand = "read command",
            ReadVolume = "read volume",
            ReadMount = "read mount",
            Find = "find",
            Wait = "wait for",
            Relay = "relay",
            Layer = "put a writable layer over",
            PivotInto = "pivot into",
            Unmount = "unmount",
            MountTerminal = "mount the terminal on",
            Copy = "copy",
            OpenPidfd = "open a pidfd of",
            Watch = "watch",
            MakePipe = "make a pipe",
            GiveTerminal = "give the terminal to",
            PassDescriptors = "pass descriptors to",
            HandOver = "hand over to",
            Seal = "seal",
            Join = "join",
            SetHostName = "set host name",
            SetUp = "set up",
            MakeDirectory = "make directory",
            MakeFile = "make file",
            MakeDevice = "make device",
            MakeLink = "make link",
            Mask = "mask",
            MakeReadOnly = "make read-only",
            Bind = "bind",
        }
    }
}

texts! {
    /// Causes that we find ourselves.
    Why {
        CORE from 0 {
            TooManyStrings = "too many arguments and variables",
            Empty = "it is empty",
        }
        FLY from 64 {
            NoRoot = "no root file system is named",
            NoProgramNamed = "no program is named",
            IsRoot = "it is the root itself",
            CoversDev = "it covers /dev",
            NoSuchUser = "no such user in /etc/passwd of the root file system",
            NoSuchGroup = "no such group in /etc/group of the root file system",
            NoId = "no valid number: 0 to 4294967294, without leading zeros",
            NoValue = "its value is missing",
            NoSuchOption = "there is no such option",
            TakesNoValue = "it takes no value",
            NoVariableName = "a name is not empty and holds no =",
            NotAbsolute = "it is not absolute",
            SymbolicLink = "it is a symbolic link in the root file system",
            InKernelFileSystem = "it covers or lies in /proc or /sys of the pod",
            NoMap = "it is not INSIDE:OUTSIDE:COUNT, three numbers",
            OneMap = "--uid-map and --gid-map come together, with at most 64 lines",
            NoUseOfMaps = "nothing uses it: --unshare-user, --idmap-root or --idmap-bind",
            NeedsMaps = "it needs --uid-map and --gid-map",
            NeedsPidNamespace = "it needs --unshare-pid",
            NeedsUtsNamespace = "it needs --unshare-uts",
            NeedsSupervisor = "nobody would tell the end: it needs --unshare-pid or --cgroup",
            NoDescriptor = "it is no number of a descriptor",
            TooManyMapped = "there may be 12 of them",
            ParentGone = "its parent is gone",
            BadHostName = "a host name has 1 to 64 bytes",
            NoSize = "it is no number of bytes, or of K, M or G",
            NoMode = "it is no octal mode from 0 to 1777",
            NotForWhatFollows = "the file or mount after it does not take it",
            TwoLayers = "there is --overlay, too",
            MappedLayer = "not with --overlay or --ephemeral",
            NotThere = "there is nothing mounted on it",
        }
        INIT from 128 {
            NoPlan = "STAGE1_PLAN_FD names no plan: it is started by stage0",
            Killed = "it was killed before it was started",
        }
        PODS from 192 {
            NoSuchCommand = "there is no such command",
            NoAssignment = "it is not NAME=VALUE",
            NoRootfs = "--rootfs is missing",
            NotWithFly = "not with --stage1=fly, which makes no pod",
            NotHostOrNone = "its value is host or none",
            NotAll = "its value is all",
            NotTrueOrFalse = "its value is true or false",
            NoStage1 = "its value is init, init:PATH, fly or a path with a slash",
            NoShortVolume = "it is not SOURCE:TARGET[:ro|:rw] with an absolute target",
            NoVolumeName = "it does not begin with a name",
            NoKeyValue = "a part of it is not KEY=VALUE",
            UnknownKey = "it has an unknown key",
            NotHostOrEmpty = "its kind is host or empty",
            NotOctal = "its mode is an octal number",
            NoSource = "kind=host needs source=PATH",
            SourceOfEmpty = "kind=empty has no source",
            NoVolumeOrTarget = "it is not volume=NAME,target=PATH",
            NoSuchVolume = "there is no volume of this name",
            VolumeTwice = "there are two volumes of this name",
            NotMounted = "no --mount uses this volume",
            TooManyEmpty = "too many empty volumes",
            TooManyApps = "too many apps",
            InitKilled = "it was killed",
            NotTextOrJson = "its value is text or json",
            NotAProgram = "not a program",
            CutShort = "it was cut short",
            LauncherGone = "the launcher is gone",
        }
    }
}

texts! {
    /// What the user can do.
    Advice {
        CORE from 0 {
            None = "",
            NoSuchProgram = "no such program in the root file system",
            NotExecutableFormat = "no program for this machine, or a script without #!",
            TooLarge = "arguments and environment are too large",
            NeedsSetid = "needs root: the capabilities setuid, setgid and setpcap",
            NotMapped = "the id is not mapped in this user namespace",
            IsDirectory = "it is a directory",
            NotExecutable = "it is not executable: chmod +x",
            NotExecutableHere = "not executable for this user, or on a file system mounted noexec",
            FoundButRefused = "it was found in PATH, but may not be executed",
            NotInPath = "no such program in PATH",
            MagicProgram = "a magic link of /proc can't be the program or its interpreter",
            MagicLink = "a magic link of /proc can't be the working directory",
            WorkingDirectoryMissing = "the working directory must exist in the root file system",
        }
        FLY from 64 {
            RootIsNoMount = "in a chroot: bind its root over itself before entering it",
            SeeHelp = "see --help",
            AddUser = "use a number, or add the user",
            AddGroup = "use a number, or add the group",
            MustBeDirectory = "it must be a directory",
            NeedsRoot = "needs root: the capability sys_admin",
            RaiseOpenFiles = "raise the limit of open files",
            NoUserNamespaces = "user namespaces are switched off here",
            NamespaceLimit = "a limit in /proc/sys/user/max_*_namespaces is reached",
            ProcessLimit = "a limit of processes is reached",
            NoSuchNamespace = "this kernel lacks a kind of namespace",
            NoSuchFileSystem = "this kernel lacks the file system",
            NeedsPrivilegedContainer = "needs root, or in a container: a privileged one",
            MakeBeforehand = "make it in the root file system beforehand",
            MissingInRoot = "it is missing in the root file system",
            ComponentNoDirectory = "a component of the path is not a directory",
            SameKind = "a directory goes on a directory, a file on a file",
            MakeDirectory = "make it a directory",
            NeedsChroot = "needs the capability sys_chroot",
            NeedsProcToClose = "mount /proc, or use a kernel with close_range, Linux 5.9",
            RootMustBeDirectory = "the root must be a directory",
            AnotherTarget = "choose another target",
            NeedsRootOrUser = "needs root (sys_admin), or --unshare-user",
            UserNamespacesOff = "switched off: sysctl kernel.unprivileged_userns_clone is 0",
            NoneAllowed = "switched off: sysctl user.max_user_namespaces is 0",
            AppArmorRestricts = "sysctl kernel.apparmor_restrict_unprivileged_userns is 1",
            NeedsSetidOutside = "needs root (setuid, setgid) outside; without, one line of your own id; newuidmap is not used",
            Overlaps = "maps that overlap, or ids that are none outside",
            NeedsProc = "needs /proc",
            NoMappedIds = "this file system, or one mounted below, can't map ids",
            MayNotEnter = "this user may not enter a directory on the way",
            StaticInit = "it must be a static program, or find its loader in the root",
            OpenDescriptor = "it must be open",
            MissingOnHost = "it must exist on the host",
            KernelTarget = "choose another target, or mount a new one with --proc, --sys, --dev",
            Modifiers = "--perms is for --dir, --file, --tmpfs; --size for --tmpfs; --no-recurse for binds",
            HostDev = "nothing is made in the host's /dev: mount a new one, --dev",
            MustBeNew = "choose another path, or mount a --tmpfs before",
            MustBeOpen = "open it for reading",
            LayerMustBeWritable = "use a writable directory, or --ephemeral",
            LayerOverlaps = "the root and the layer must not be in each other",
            LayerBusy = "another start uses this layer",
            NoUpperFileSystem = "a layer can't be on an overlay: use a directory elsewhere, or --ephemeral",
            ChooseLayer = "one of --overlay and --ephemeral",
            ReadOnlyRoot = "mount it first; for the root there is --ro",
        }
        PODS from 192 {
            NoCgroup = "it must be a cgroup directory that takes processes",
            NoOverlay = "this kernel lacks overlay",
            NoLowerFileSystem = "overlay can't use this file system as its lower one",
            NameStage1 = "name stage1-init with --stage1, or install it beside stage0",
            NotForThisMachine = "it is no program for this machine",
            NeedsMknod = "needs the capability mknod outside of a user namespace",
        }
    }
}

/// A step that failed: small enough for two registers, since nearly every
/// function may return one.
#[derive(Clone, Copy, Debug)]
pub struct Error<'a> {
    /// The cause, what was being done, and the advice: 16, 8 and 8 bits.
    code: u32,
    /// To what it was done.
    object: Thin<'a>,
}

/// Why a step failed: the kernel's answer, a [`Why`], a [`Reason`], or
/// [`Cause::INTERPRETER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause(u16);

impl Cause {
    /// The program is there, but the interpreter that it names is not; it is
    /// read again when the error is printed.
    pub const INTERPRETER: Self = Self(0x1000);
    const WHY: u16 = 0x2000;
    const REASON: u16 = 0x3000;
    /// The bits that tell the four apart. Error numbers are below them.
    const KIND: u16 = 0xf000;
}

impl From<Errno> for Cause {
    #[inline]
    fn from(errno: Errno) -> Self {
        let [low, high, ..] = errno.raw_os_error().to_le_bytes();
        Self(u16::from_le_bytes([low, high]))
    }
}

impl From<Why> for Cause {
    #[inline]
    fn from(why: Why) -> Self {
        Self(Self::WHY | why as u16)
    }
}

impl From<Reason> for Cause {
    #[inline]
    fn from(reason: Reason) -> Self {
        Self(Self::REASON | reason as u16)
    }
}

impl<'a> Error<'a> {
    /// An error without advice.
    #[inline]
    pub fn new(what: What, object: &'a CStr, cause: impl Into<Cause>) -> Self {
        Self {
            code: u32::from(cause.into().0) | ((what as u32) << 16),
            object: Thin::new(object),
        }
    }

    /// The same error with what the user can do, in place of other advice.
    #[must_use]
    #[inline]
    pub fn advice(self, advice: Advice) -> Self {
        Self {
            code: (self.code & 0x00ff_ffff) | ((advice as u32) << 24),
            ..self
        }
    }

    /// Whether this is the advice that it gives.
    #[must_use]
    pub fn advises(&self, advice: Advice) -> bool {
        self.code >> 24 == advice as u32
    }

    /// The kernel's answer, if that is the cause.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        let [low, high, ..] = self.code.to_le_bytes();
        let cause = u16::from_le_bytes([low, high]);
        (cause & Cause::KIND == 0).then(|| Errno::from_raw_os_error(i32::from(cause)))
    }

    /// Writes `program: step object: cause (advice)` to standard error; `texts`
    /// are the program's.
    #[cold]
    #[inline(never)]
    pub fn print(&self, program: &str, texts: &[Texts]) {
        let [low, high, what, advice] = self.code.to_le_bytes();
        let cause = u16::from_le_bytes([low, high]);
        let find = |number: u8, kind: fn(&Texts) -> &'static str| {
            let number = usize::from(number);
            let group = texts.get(number / GROUP).map_or("", kind);
            nth_line(group, number % GROUP)
        };
        let object = self.object.as_c_str();
        let mut line = Line::new(2);
        line.text(program)
            .text(": ")
            .bytes(find(what, |texts| texts.what));
        if !object.is_empty() {
            line.text(" ").quoted(object.to_bytes());
        }
        line.text(": ");
        match cause & Cause::KIND {
            0 => match describe(cause) {
                b"" => line.text("error ").number(u64::from(cause)),
                text => line.bytes(text),
            },
            Cause::WHY => line.bytes(find(low, |texts| texts.why)),
            Cause::REASON => line.bytes(nth_line(Reason::TEXTS, usize::from(low))),
            _ => {
                line.text("its interpreter ");
                launch::interpreter(object, &mut |name| {
                    line.quoted(name);
                });
                line.text(" is missing or can't be executed")
            }
        };
        if advice != 0 {
            line.text(" (")
                .bytes(find(advice, |texts| texts.advice))
                .text(")");
        }
        line.end();
    }
}

/// The line `number` of `text`, from 0.
fn nth_line(text: &str, number: usize) -> &[u8] {
    split(text.as_bytes(), b'\n')
        .nth(number)
        .unwrap_or_default()
}

/// What an error number means, in the words of strerror(3); empty for one that
/// is unknown here.
fn describe(errno: u16) -> &'static [u8] {
    let digits = Digits::new(u64::from(errno), 10);
    for line in split(ERRORS.as_bytes(), b'\n') {
        if let Some([b' ', text @ ..]) = line.strip_prefix(digits.as_bytes()) {
            return text;
        }
    }
    b""
}

/// Numbers as asm-generic/errno.h has them.
const ERRORS: &str = "\
1 Operation not permitted\n\
2 No such file or directory\n\
3 No such process\n\
4 Interrupted system call\n\
5 Input/output error\n\
6 No such device or address\n\
7 Argument list too long\n\
8 Exec format error\n\
9 Bad file descriptor\n\
10 No child processes\n\
11 Resource temporarily unavailable\n\
12 Cannot allocate memory\n\
13 Permission denied\n\
14 Bad address\n\
16 Device or resource busy\n\
17 File exists\n\
18 Invalid cross-device link\n\
19 No such device\n\
20 Not a directory\n\
21 Is a directory\n\
22 Invalid argument\n\
23 Too many open files in system\n\
24 Too many open files\n\
25 Inappropriate ioctl for device\n\
26 Text file busy\n\
27 File too large\n\
28 No space left on device\n\
30 Read-only file system\n\
31 Too many links\n\
32 Broken pipe\n\
36 File name too long\n\
38 Function not implemented\n\
39 Directory not empty\n\
40 Too many levels of symbolic links\n\
80 Accessing a corrupted shared library\n\
87 Too many users\n\
95 Operation not supported\n\
97 Address family not supported by protocol\n\
116 Stale file handle\n\
122 Disk quota exceeded\n\
75 Value too large for defined data type";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_fits_two_registers() {
        assert_eq!(size_of::<Result<(), Error<'_>>>(), 16);
    }

    #[test]
    fn numbers_lead_to_their_texts() {
        assert_eq!(describe(2), b"No such file or directory");
        assert_eq!(describe(1), b"Operation not permitted");
        assert_eq!(describe(122), b"Disk quota exceeded");
        assert_eq!(describe(12_345), b"");
        for (number, group, text) in [
            (What::Exec as usize, What::CORE, "exec"),
            (What::WalkTo as usize, What::FLY, "walk to mount point"),
            (Why::InitKilled as usize, Why::PODS, "it was killed"),
            (Advice::None as usize, Advice::CORE, ""),
            (
                Reason::Path as usize,
                Reason::TEXTS,
                "a path that is empty, too long or not absolute",
            ),
        ] {
            assert_eq!(nth_line(group, number % GROUP), text.as_bytes());
        }
    }

    #[test]
    fn no_group_has_more_texts_than_numbers() {
        for texts in ALL_TEXTS {
            for group in [texts.what, texts.why, texts.advice] {
                assert!(group.lines().count() <= GROUP);
            }
        }
    }
}
