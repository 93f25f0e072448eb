//! One error type for a whole start: the step, its object, the cause, and what
//! can be done. It becomes text only at the edge, as one line.

use core::ffi::CStr;

use rustix::io::Errno;

use crate::{launch, plan::Reason, text::Line};

/// Exit code for failures of our own.
pub const FAILURE: i32 = 254;

/// Declares a type whose constants stand for texts: one pointer each, so that an
/// error is small, and a program holds only the texts that it uses.
macro_rules! texts {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(&'static &'static str);

        #[allow(missing_docs, reason = "the text of each says it")]
        #[allow(non_upper_case_globals, reason = "they read like the variants that they are")]
        impl $name {
            $(pub const $variant: Self = Self(&$text);)*
        }

        impl $name {
            /// In words.
            #[must_use]
            pub fn text(self) -> &'static str {
                self.0
            }
        }
    };
}

texts! {
    /// What was being done.
    What {
        Open = "open",
        LookUpUser = "look up user",
        ReadPasswd = "read /etc/passwd for user",
        ReadGroups = "read /etc/group for user",
        LookUpGroup = "look up group",
        ReadGroupFile = "read /etc/group for group",
        Read = "read",
        ReadOption = "read option",
        ReadCommand = "read command",
        ReadVolume = "read volume",
        ReadMount = "read mount",
        Find = "find",
        Wait = "wait for",
        Relay = "relay",
        ReadVariable = "read variable",
        ReadMountTarget = "read mount target",
        ReadWorkingDirectory = "read working directory",
        CheckPlan = "plan",
        MakeNamespaces = "make new namespaces",
        Mount = "mount",
        Layer = "put a writable layer over",
        MakeMountPoint = "make mount point",
        MountOn = "mount on",
        Exec = "exec",
        Set = "set",
        StartSession = "start a session",
        Enter = "enter",
        SetGroup = "set group",
        SetUser = "set user",
        SetGroups = "set supplementary groups",
        LimitCapabilities = "limit capabilities",
        SetCapabilities = "set capabilities",
        MakePrivate = "make all mounts private",
        ChrootInto = "chroot into",
        PivotInto = "pivot into",
        Unmount = "unmount",
        MountTerminal = "mount the terminal on",
        CloseInherited = "close inherited descriptors",
        Copy = "copy",
        OpenPidfd = "open a pidfd of",
        Watch = "watch",
        Start = "start",
        MakePipe = "make a pipe",
        GiveTerminal = "give the terminal to",
        PassDescriptors = "pass descriptors to",
        HandOver = "hand over to",
        Seal = "seal",
        SetHostName = "set host name",
        SetUp = "set up",
        ChangeMount = "change mount",
        WalkTo = "walk to mount point",
        LookAt = "look at",
        MakeDirectory = "make directory",
        MakeFile = "make file",
        MakeDevice = "make device",
        MakeLink = "make link",
        Mask = "mask",
        MakeReadOnly = "make read-only",
        Bind = "bind",
        LookAtMountPoint = "look at mount point",
        Join = "join",
        Carry = "carry out a step in the wrong phase",
        UseSlot = "use a descriptor of the plan",
    }
}

texts! {
    /// Causes that we find ourselves.
    Why {
        NoRoot = "no root file system is named",
        NoProgramNamed = "no program is named",
        IsRoot = "it is the root itself",
        CoversDev = "it covers /dev",
        NoPlan = "STAGE1_PLAN_FD names no plan: it is started by stage0",
        Killed = "it was killed before it was started",
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
        NoSuchUser = "no such user in /etc/passwd of the root file system",
        NoSuchGroup = "no such group in /etc/group of the root file system",
        Empty = "it is empty",
        NoId = "no valid number: 0 to 4294967294, without leading zeros",
        NoValue = "its value is missing",
        NoSuchOption = "there is no such option",
        TakesNoValue = "it takes no value",
        NoVariableName = "a name is not empty and holds no =",
        NotAbsolute = "it is not absolute",
        NotTextOrJson = "its value is text or json",
        TooManyStrings = "too many arguments and variables",
        SymbolicLink = "it is a symbolic link in the root file system",
        NotAProgram = "not a program",
        CutShort = "it was cut short",
        LauncherGone = "the launcher is gone",
        InKernelFileSystem = "it covers or lies in /proc or /sys of the pod",
    }
}

texts! {
    /// What the user can do.
    Advice {
        None = "",
        RootIsNoMount = "in a chroot: bind its root over itself before entering it",
        NoCgroup = "it must be a cgroup directory that takes processes",
        SeeHelp = "see --help",
        AddUser = "use a number, or add the user",
        AddGroup = "use a number, or add the group",
        NoSuchProgram = "no such program in the root file system",
        NotExecutableFormat = "no program for this machine, or a script without #!",
        TooLarge = "arguments and environment are too large",
        MustBeDirectory = "it must be a directory",
        NeedsRoot = "needs root: the capability sys_admin",
        RaiseOpenFiles = "raise the limit of open files",
        NoUserNamespaces = "user namespaces are switched off here",
        NamespaceLimit = "a limit in /proc/sys/user/max_*_namespaces is reached",
        ProcessLimit = "a limit of processes is reached",
        NoSuchNamespace = "this kernel lacks a kind of namespace",
        NoSuchFileSystem = "this kernel lacks the file system",
        NeedsPrivilegedContainer = "needs root, or in a container: a privileged one",
        NoOverlay = "this kernel lacks overlay",
        NoLowerFileSystem = "overlay can't use this file system as its lower one",
        MakeBeforehand = "make it in the root file system beforehand",
        MissingInRoot = "it is missing in the root file system",
        ComponentNoDirectory = "a component of the path is not a directory",
        SameKind = "a directory goes on a directory, a file on a file",
        NeedsSetid = "needs root: the capabilities setuid, setgid and setpcap",
        NotMapped = "the id is not mapped in this user namespace",
        IsDirectory = "it is a directory",
        NotExecutable = "it is not executable: chmod +x",
        NotExecutableHere = "not executable for this user, or on a file system mounted noexec",
        FoundButRefused = "it was found in PATH, but may not be executed",
        NotInPath = "no such program in PATH",
        MagicLink = "a magic link of /proc can't be the working directory",
        WorkingDirectoryMissing = "the working directory must exist in the root file system",
        MakeDirectory = "make it a directory",
        NeedsChroot = "needs the capability sys_chroot",
        NeedsProcToClose = "mount /proc, or use a kernel with close_range, Linux 5.9",
        NameStage1 = "name stage1-init with --stage1, or install it beside stage0",
        NotForThisMachine = "it is no program for this machine",
        RootMustBeDirectory = "the root must be a directory",
        AnotherTarget = "choose another target",
        NeedsMknod = "needs the capability mknod outside of a user namespace",
    }
}

/// A step that failed.
#[derive(Clone, Copy, Debug)]
pub struct Error<'a> {
    /// What was being done.
    pub what: What,
    /// To what.
    pub object: &'a CStr,
    /// Why it failed.
    pub cause: Cause,
    /// What the user can do about it.
    pub advice: Advice,
}

/// Why a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The kernel's answer.
    Errno(Errno),
    /// A cause that we found ourselves.
    Found(Why),
    /// The plan is none.
    Plan(Reason),
    /// The program is there, but the interpreter that it names is not; it is
    /// read again when the error is printed.
    Interpreter,
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Why> for Cause {
    fn from(why: Why) -> Self {
        Self::Found(why)
    }
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        Self::Plan(reason)
    }
}

impl<'a> Error<'a> {
    /// An error without advice.
    pub fn new(what: What, object: &'a CStr, cause: impl Into<Cause>) -> Self {
        Self {
            what,
            object,
            cause: cause.into(),
            advice: Advice::None,
        }
    }

    /// The same error with what the user can do.
    #[must_use]
    pub fn advice(self, advice: Advice) -> Self {
        Self { advice, ..self }
    }

    /// The kernel's answer, if that is the cause.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self.cause {
            Cause::Errno(errno) => Some(errno),
            _ => None,
        }
    }

    /// Writes `program: step object: cause (advice)` to standard error.
    #[cold]
    #[inline(never)]
    pub fn print(&self, program: &str) {
        let mut line = Line::new(2);
        line.text(program).text(": ").text(self.what.text());
        if !self.object.is_empty() {
            line.text(" ").quoted(self.object.to_bytes());
        }
        line.text(": ");
        match self.cause {
            Cause::Errno(errno) => {
                match describe(errno) {
                    Some(text) => line.text(text),
                    None => line
                        .text("error ")
                        .number(u64::from(errno.raw_os_error().unsigned_abs())),
                };
            }
            Cause::Found(why) => {
                line.text(why.text());
            }
            Cause::Plan(reason) => {
                line.text(reason.text());
            }
            Cause::Interpreter => {
                line.text("its interpreter ");
                launch::interpreter(self.object, &mut |name| {
                    line.quoted(name);
                });
                line.text(" is missing or can't be executed");
            }
        }
        if !self.advice.text().is_empty() {
            line.text(" (").text(self.advice.text()).text(")");
        }
        line.end();
    }
}

/// What an error number means, in the words of strerror(3).
#[must_use]
pub fn describe(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::PERM => "Operation not permitted",
        Errno::NOENT => "No such file or directory",
        Errno::SRCH => "No such process",
        Errno::INTR => "Interrupted system call",
        Errno::IO => "Input/output error",
        Errno::NXIO => "No such device or address",
        Errno::TOOBIG => "Argument list too long",
        Errno::NOEXEC => "Exec format error",
        Errno::BADF => "Bad file descriptor",
        Errno::CHILD => "No child processes",
        Errno::AGAIN => "Resource temporarily unavailable",
        Errno::NOMEM => "Cannot allocate memory",
        Errno::ACCESS => "Permission denied",
        Errno::FAULT => "Bad address",
        Errno::BUSY => "Device or resource busy",
        Errno::EXIST => "File exists",
        Errno::XDEV => "Invalid cross-device link",
        Errno::NODEV => "No such device",
        Errno::NOTDIR => "Not a directory",
        Errno::ISDIR => "Is a directory",
        Errno::INVAL => "Invalid argument",
        Errno::NFILE => "Too many open files in system",
        Errno::MFILE => "Too many open files",
        Errno::NOTTY => "Inappropriate ioctl for device",
        Errno::TXTBSY => "Text file busy",
        Errno::FBIG => "File too large",
        Errno::NOSPC => "No space left on device",
        Errno::ROFS => "Read-only file system",
        Errno::MLINK => "Too many links",
        Errno::PIPE => "Broken pipe",
        Errno::NAMETOOLONG => "File name too long",
        Errno::NOSYS => "Function not implemented",
        Errno::NOTEMPTY => "Directory not empty",
        Errno::LOOP => "Too many levels of symbolic links",
        Errno::LIBBAD => "Accessing a corrupted shared library",
        Errno::USERS => "Too many users",
        Errno::OPNOTSUPP => "Operation not supported",
        Errno::AFNOSUPPORT => "Address family not supported by protocol",
        Errno::STALE => "Stale file handle",
        Errno::DQUOT => "Disk quota exceeded",
        Errno::OVERFLOW => "Value too large for defined data type",
        _ => return None,
    })
}
