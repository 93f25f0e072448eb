//! One error type for a whole start: the step, its object, the cause, and what
//! can be done. It becomes text only at the edge, as one line.

use rustix::io::Errno;

use crate::{
    near::nearest,
    packed,
    packed::Packed,
    plan::Reason,
    sys::thin::Thin,
    text::{Line, split},
};
use core::ffi::CStr;

mod cause;
mod groups;
mod kept;
mod numbers;

pub use cause::Cause;
use groups::NO_TEXT;
pub use groups::{
    ALL_TEXTS, FLY_TEXTS, FULL_TEXTS, INIT_TEXTS, MACHINE_TEXTS, STAGE0_TEXTS, Texts,
};
pub use kept::keep;
pub use numbers::describe;

/// Exit code for failures of our own.
pub const FAILURE: i32 = 254;

/// Declares numbers that stand for texts, so that an error is small, and the
/// texts in the groups of [`Texts`], so that a program holds only those that it
/// may need.
macro_rules! texts {
    ($(#[$doc:meta])* $name:ident $size:ident {
        $($group:ident from $base:literal {
            $first:ident = $first_text:literal,
            $($variant:ident = $text:literal,)*
        })*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the text of each says it")]
        #[repr($size)]
        pub enum $name { $($first = $base, $($variant,)*)* }

        impl $name {
            $(const $group: groups::Group =
                ($base, packed!(concat!($first_text, $("\n", $text,)*)));)*

            #[cfg(test)]
            const UNPACKED: &'static [(u16, &'static str)] =
                &[$(($base, concat!($first_text, $("\n", $text,)*)),)*];
        }
    };
}

texts! {
    /// What was being done.
    What u8 {
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
            Set = "set",
            StartSession = "start a session",
            LimitCapabilities = "limit capabilities",
            SetLimit = "set limit",
            SetNice = "set nice value",
            SetProcessors = "run on processors",
            SetPolicy = "set scheduling policy",
            RestrictFiles = "restrict files",
            AllowFiles = "allow files",
        }
        FLY from 32 {
            Open = "open",
            LookUpUser = "look up user",
            ReadPasswd = "read /etc/passwd for user",
            ReadGroups = "read /etc/group for user",
            LookUpGroup = "look up group",
            ReadGroupFile = "read /etc/group for group",
            ReadOption = "read option",
            ReadVariable = "read variable",
            AdjustOom = "adjust the OOM score by",
            ReadVariables = "read --env-file",
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
            ReadFilter = "read the system call filter",
            Layer = "put a writable layer over",
            PivotInto = "pivot into",
            Unmount = "unmount",
            Copy = "copy",
            Watch = "watch",
            MakePipe = "make a pipe",
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
        INIT from 160 {
            ReadArgument = "read option",
            ReadValue = "read value",
            Begin = "run",
            Log = "log to",
        }
        MACHINE from 172 {
            MountFor = "mount",
            LoadModule = "load module",
            End = "switch off",
            Report = "report the code to",
        }
        STAGE0 from 184 {
            ReadCommand = "read command",
            Ask = "ask",
            ReadVolume = "read volume",
            ReadMount = "read mount",
            Find = "find",
            Wait = "wait for",
            Relay = "relay",
            MountTerminal = "mount the terminal on",
            GiveTerminal = "give the terminal to",
            PassDescriptors = "pass descriptors to",
            HandOver = "hand over to",
            Seal = "seal",
            MakeCgroup = "make cgroup",
            EnableControllers = "enable controllers for cgroup",
            LimitBy = "limit the pod by",
            RunWithMemory = "run with --memory",
            Register = "register pod in",
            Detach = "run in the background",
            FilterDevices = "filter the devices of cgroup",
            MoveInto = "move the launcher into cgroup",
            JoinNetwork = "join network",
            ReadRoot = "read root",
            ReserveIds = "find ids for the pod in",
            Lock = "lock ids in",
            TakeFromPool = "take from pool",
        }
        PODS from 216 {
            FindPod = "find pod",
            RemovePod = "remove pod",
            StopPod = "stop pod",
            RunPod = "run pod",
            ReadUuid = "read uuid file",
            WaitForPod = "wait for pod",
            ReadManifest = "read manifest",
            ReadLogs = "read the logs of pod",
            AttachTo = "attach to pod",
            Describe = "describe pod",
            FillThePool = "fill pool",
            Export = "export",
        }
    }
}

texts! {
    /// Causes that we find ourselves.
    Why u16 {
        CORE from 0 {
            TooManyStrings = "too many arguments and variables",
            Empty = "it is empty",
            Interpreter = "its interpreter % is missing or can't be executed",
            OtherMachine = "it is a program for %, not for this x86_64",
        }
        FLY from 32 {
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
            NoSuchCapability = "there is no such capability",
            NoMask = "it is no octal mask from 0 to 777",
            NoLimit = "it is not NAME=SOFT[:HARD], numbers or unlimited, with a name of getrlimit(2)",
            NoNice = "it is no number from -20 to 19",
            NoProcessors = "it is no list of processors as 0-3,5",
            NoPolicy = "it is not other, batch, idle, fifo:N or rr:N, N from 1 to 99",
            NoAdjustment = "it is no number from -1000 to 1000",
            NoAccess = "it is not ro=PATH or rw=PATH with an absolute path",
            TooManyGroups = "there may be 64 of them",
            UsedTwice = "another option reads or keeps this descriptor",
            NotOpen = "it is not open",
            TooManyVariables = "it has more than 64 KB, or 32767 lines",
            NotAbsolute = "it is not absolute",
            SymbolicLink = "it is a symbolic link in the root file system",
            InKernelFileSystem = "it covers or lies in /proc or /sys of the pod",
            NoMap = "it is not INSIDE:OUTSIDE:COUNT, three numbers",
            OneMap = "--uid-map and --gid-map come together, with at most 64 lines",
            NoUseOfMaps = "nothing uses it: --unshare-user, --idmap-root or --idmap-bind",
            NeedsMaps = "it needs --uid-map and --gid-map",
            NeedsPidNamespace = "it needs --unshare-pid",
            NeedsUtsNamespace = "it needs --unshare-uts",
            NeedsSupervisor = "nobody would tell the end: it needs --unshare-pid, --new-session or --cgroup",
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
            NoFilter = "it is neither a profile nor a filter of 1 to 4096 instructions",
            NotAProgram = "not a program",
            CutShort = "it was cut short",
            LauncherGone = "the launcher is gone",
        }
        FULL from 152 {
            Library = "its library % is in no directory of the loader: not in its RUNPATH, LD_LIBRARY_PATH, or the usual ones",
            Complete = "nothing is missing",
            NoShell = "its value is bash, zsh or fish",
            NotTextOrJson = "its value is text or json",
        }
        INIT from 160 {
            Killed = "it was killed before it was started",
            UnknownArgument = "there is no such option",
            ValueMissing = "its value is missing",
            ValueNotTaken = "it takes no value",
            NoSignal = "it is no signal",
            NoExitCode = "it is no exit code from 0 to 255",
            NotMilliseconds = "it is no number of milliseconds",
            NotWhom = "it is child, group or all",
            NoProgram = "no program is named",
        }
        MACHINE from 172 {
            NotFirst = "it is the init of a machine, called init: the first process of a kernel",
            NoSetting = "there is no such setting, or none with this value",
            NobodyListens = "nobody listens there",
            NoWay = "no interface leads there",
            TooLate = "nothing has come of it in time",
        }
        STAGE0 from 184 {
            NoSuchCommand = "there is no such command",
            NoAssignment = "it is not NAME=VALUE",
            NoRootfs = "--rootfs is missing",
            NotWithFly = "not with --stage1=fly, which makes no pod",
            NotHostOrNone = "its value is host, none or the path of a network namespace",
            NoInsecure = "--insecure-options is a list of all, none, capabilities, no-new-privs, paths and seccomp",
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
            NotOfAProgram = "it goes before the first program: it is the pod's",
            NoAppName = "a name has 1 to 255 bytes and no slash",
            NameTwice = "two programs have the same name",
            NoSuchApp = "it names no program of this pod",
            WaitInCircle = "programs wait for each other",
            NotReady = "its value is start, exit, file:PATH, port:N or notify",
            NotRestart = "its value is no, on-failure[:N] or always[:N]",
            NotLog = "its value is none, prefix or file:PATH[,size=BYTES][,keep=N] with an absolute path, N from 1 to 9",
            LogTwice = "another program logs to this file",
            NotStream = "its value is inherit, null or file:PATH with an absolute path; of an output also pipe:NAME, of an input pipe",
            PipeToItself = "it names the program itself",
            OtherInput = "the standard input of that program is something else",
            NoWriter = "no program's output is a pipe to it",
            NoCount = "it is no number from 0 to 64",
            NoPathOfSocket = "only a socket with an absolute path can be passed into a pod, no abstract one",
            OtherNotify = "--ready=notify gives it another socket",
            OnlyInit = "only with --stage1=init",
            NoSeconds = "it is no number of seconds, or of milliseconds as 500ms",
            NoAppCommand = "no command for apps (list, status, add, start, stop, rm or kill)",
            NoPodDirectory = "no pod's directory is named",
            NoAppNamed = "no app is named",
            TooManyWords = "too many words",
            NoPodRuns = "no pod with a control socket runs there",
            NoAppInPod = "the pod has no such app",
            NameTaken = "the pod has an app of that name",
            AppRuns = "it has not ended (stop it first)",
            AppRunsNot = "it does not run",
            AwaitedAlready = "somebody waits for its end already",
            PodEnds = "the pod is ending",
            PodRuns = "a pod runs with that directory",
            PipeUsed = "a program that may still run writes to it",
            PipeClosed = "the other end of its pipe has gone",
            NotHeld = "pid 1 of the pod does not have these capabilities",
            NotAdded = "not for a program that is added",
            OnlyOneApp = "one app at a time",
            OtherVersion = "its pid 1 is of another version",
            NotForMachine = "not with --output, which is for machines",
            OnlyForPlan = "only for plan",
            NoMemory = "--memory is a number of bytes, or of K, M or G, from 1M on",
            NoCpus = "--cpus is a number of processors as 2 or 0.5, from 0.01 on",
            NoWeight = "--cpu-weight is a number from 1 to 10000",
            NoPids = "--pids is a number from 1 to 4194304",
            NoParent = "--cgroup-parent is an absolute path without . and ..",
            ParentUnused = "nothing uses it: --memory, another limit or --device",
            NotWithLimits = "not with a limit, for which a cgroup is made",
            NoController = "it is in no hierarchy of cgroups below /sys/fs/cgroup",
            OutOfMemory = "out of memory, the kernel has killed",
        }
        PODS from 256 {
            NoMatch = "no matches found for \"%\"",
            EmptyUuid = "UUID cannot be empty",
            MoreMatches = "more than one pod is called so",
            NoPodNamed = "no pod is named",
            PodIsRunning = "it is running",
            PodIsNot = "it is %",
            NoUuid = "no uuid is in it",
            Parked = "the pod is parked (release it first)",
            OtherApps = "no such app, but %",
            NotForExec = "only --set-env and --tty can be said here",
            NotForPrepare = "it is of the run, not of the preparation",
            NotWithManifest = "it can't be used with --pod-manifest",
            ProgramsOfManifest = "the programs are those of --pod-manifest",
            NotYet = "the time to wait is over",
            NeverReady = "it has ended, and was not ready before",
            NoLines = "it is no number of lines",
            OnlyWarm = "only what is prepared with --warm can be of a pool",
            NoSuchPool = "there is no such pool",
            NoPoolSize = "its size is a number from 0 to 1000",
            PoolNotFilled = "a pod could not be parked",
            LayerGone = "it has ended, and its ephemeral layer with it",
            NoFileNamed = "no file is named",
        }
        STARTS from 512 {
            NotWithPodDirectory = "it can't be used with --pod-dir",
            OfThePreparation = "it is of the preparation, not of the run",
            NoPreparedNamed = "no prepared pod is named",
            NotPrepared = "there is no such prepared pod",
            StartedAlready = "it is being started, or runs already",
            NotWithHold = "not with --hold: nobody stays with the pod",
            NotParked = "the pod is not parked",
            OnlyVariables = "only --set-env and arguments can be changed",
            NotRegistered = "only a registered pod has such a place: --register, --detach, --keep or --uuid-file-save",
            NoSwap = "--memory-swap is none or a number of bytes, or of K, M or G",
            NoIoWeight = "--io-weight is a number from 1 to 10000",
            NoIoMax = "--io-max is DEVICE:NAME=N[,NAME=N...] with an absolute path and rbps, wbps, riops or wiops",
            NoDevice = "--device is an absolute path, and perhaps :r, :w, :m or more of them",
            NoBlockDevice = "it is no block device",
            NotADevice = "it is no device",
            TooManyDevices = "there may be 32 of them",
            NeedsMemory = "it needs --memory",
            NeedsDevice = "mknod is given only with --device, whose filter it needs",
            NotCheckedYet = "nothing of image, http, ondisk, pubkey or tls is checked here yet",
            NoNamespace = "it is no namespace",
            OtherNamespace = "it is a namespace of another kind",
            NotIpc = "its value is auto, private or parent",
            NotAddress = "it is no IP address",
            NotName = "it is no name: letters, digits, dots, dashes and underscores",
            NotDnsOption = "it is no option of resolv.conf(5)",
            NotHostsEntry = "it is not host or IP=NAME[,NAME...]",
            NotWithHost = "nothing can be added to what is the host's, or is left alone",
            NoImages = "images are not known yet, only directories",
            NoRootNamed = "no --rootfs is named, so a root comes first: dir:PATH, or a path with a slash",
            TooManyRoots = "too many programs with a root of their own",
            OwnRoots = "not where programs have roots of their own",
            NotUsers = "its value is auto, true, false or BASE:COUNT, ids of the host but 0",
            RangeNeedsRoot = "only root can choose ids",
            IdsInUse = "another pod has some of these ids",
            NoFreeIds = "all of them are in use",
            NotFreeLater = "ids that are free now may be in use when it is run",
            TooFewIds = "it has no 65536 ids for kickstage, or root, that are also in /etc/subgid",
            OnlyCaller = "nobody is in the pod but root, who is the caller",
            NotWithUsers = "not with a user namespace of the pod's own",
            TooManyMappedMounts = "with --private-users there may be 16 volumes and mounts of the host",
            NoPoolName = "it is no name of a pool",
            PoolEmpty = "no pod of it is parked",
        }
    }
}

texts! {
    /// What the user can do.
    Advice u8 {
        CORE from 0 {
            None = "",
            NoSuchProgram = "no such program in the root file system",
            NotExecutableFormat = "no program for this machine, or a script without #!",
            TooLarge = "arguments and environment are too large",
            NeedsSetid = "needs root: the capabilities setuid, setgid and setpcap",
            NotMapped = "the id is not mapped in this user namespace",
            IsDirectory = "it is a directory",
            NotExecutable = "it is not executable: chmod +x",
            NotExecutableHere = "this user may not execute it, may not enter a directory on the way, or not by --landlock",
            MountedNoexec = "it is on a file system mounted noexec",
            FoundButRefused = "it was found in PATH, but may not be executed",
            NotInPath = "no such program in PATH",
            MagicProgram = "a magic link of /proc can't be the program or its interpreter",
            MagicLink = "a magic link of /proc can't be the working directory",
            NeedsPriority = "needs root outside of a user namespace: sys_resource, for priorities sys_nice",
            NotPossibleHere = "this machine can't",
            NotHeld = "the caller does not have one of them",
            NoLandlock = "this kernel lacks landlock, Linux 5.13, or it is switched off",
            WorkingDirectoryMissing = "the working directory must exist in the root file system",
        }
        FLY from 32 {
            RootIsNoMount = "in a chroot: bind its root over itself before entering it",
            SeeHelp = "see --help",
            VariableLine = "a line is NAME=VALUE, NAME or # and a comment; no blanks in NAME, no zero byte, no CR at the end",
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
            InstallBeside = "install it beside fly",
            NoCgroup = "it must be a cgroup directory that takes processes",
            NoOverlay = "this kernel lacks overlay",
            NoLowerFileSystem = "overlay can't use this file system as its lower one",
            NotForThisMachine = "it is no program for this machine",
            NeedsMknod = "needs the capability mknod outside of a user namespace",
        }
        INIT from 160 {
            LookAtHelp = "see --help",
        }
        STAGE0 from 184 {
            NameStage1 = "name stage1-init with --stage1, or install it beside stage0",
            NeedsDelegation = "needs root, or a cgroup that is delegated: name it by --cgroup-parent",
            CgroupLimit = "cgroup.max.descendants or cgroup.max.depth above it is reached",
            NotDelegated = "a controller is not there: name another --cgroup-parent",
            HoldsProcesses = "one above it holds processes: name another --cgroup-parent",
            NoSuchLimit = "this kernel lacks it",
            MountController = "mount it there, or leave the limit out",
            RaiseMemory = "raise the limit",
            NameStateDirectory = "name a directory with --state-dir",
            DeviceDenied = "it needs root (sys_admin), and a cgroup above that has the devices",
            WholeDisk = "it must be a whole disk, no part of one",
            GiveIds = "give the user kickstage more, as in kickstage:524288:6553600",
            NameIds = "name them: --private-users=BASE:COUNT",
            SubordinateIds = "install newuidmap, and give the caller ids in /etc/subuid and /etc/subgid",
            SubordinateRefused = "newuidmap refuses: look at /etc/subuid and /etc/subgid, and whether it is set-user-id root",
            UnmaskProc = "/proc here is covered in part; a container needs --security-opt seccomp=unconfined and, of podman, --security-opt unmask=ALL, of docker --security-opt systempaths=unconfined",
            FilterForbids = "a filter forbids it; a container needs --security-opt seccomp=unconfined",
            NotNested = "in a user namespace, as some containers have one, leave --private-users out",
            AllowUsers = "user namespaces are switched off here; a container needs --privileged, or --security-opt seccomp=unconfined",
            NoMappedMount = "its file system, or one mounted below, can't map ids: --private-users=false, or another place",
            FillPool = "see stage0 pool",
        }
        PODS from 216 {
            SeeList = "see stage0 list",
            StopFirst = "stop it first",
            AfterGrace = "see gc",
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

impl<'a> Error<'a> {
    /// An error without advice.
    #[inline]
    pub fn new(what: What, object: &'a CStr, cause: impl Into<Cause>) -> Self {
        Self {
            code: u32::from(cause.into().0) | ((what as u32) << 16),
            object: Thin::new(object),
        }
    }

    /// An error that another program has printed.
    #[must_use]
    pub fn told() -> Self {
        Self::new(What::Carry, c"", Cause::TOLD)
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

    /// The cause.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let [low, high, ..] = self.code.to_le_bytes();
        Cause(u16::from_le_bytes([low, high]))
    }

    /// The kernel's answer, if that is the cause.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        let Cause(cause) = self.cause();
        (cause & Cause::KIND == 0).then(|| Errno::from_raw_os_error(i32::from(cause)))
    }

    /// Writes `program: step object: cause (advice)`, by its `texts`, to standard error.
    pub fn print(&self, program: &str, texts: &[Texts]) {
        self.print_near(program, texts, None);
    }

    /// The same; if it names an option or a command that does not exist, with the
    /// one of `names` (one a line) that was probably meant.
    #[cold]
    pub fn print_suggesting(&self, program: &str, texts: &[Texts], names: &str) {
        let cause = self.cause();
        let is_unknown = cause == Why::NoSuchOption.into() || cause == Why::NoSuchCommand.into();
        let near = nearest(self.object.as_c_str().to_bytes(), names).filter(|_| is_unknown);
        self.print_near(program, texts, near);
    }

    #[cold]
    #[inline(never)]
    fn print_near(&self, program: &str, texts: &[Texts], near: Option<&[u8]>) {
        let [low, high, what, advice] = self.code.to_le_bytes();
        let cause = u16::from_le_bytes([low, high]);
        if cause == Cause::TOLD.0 {
            return;
        }
        let find = |number: u16, kind: fn(&Texts) -> groups::Group| {
            let mut groups = texts.iter().rev().map(kind);
            let group = groups.find(|(from, _)| *from <= number).unwrap_or(NO_TEXT);
            nth_line(group.1, number.wrapping_sub(group.0))
        };
        let object = self.object.as_c_str();
        let mut line = Line::new(2);
        line.text(program)
            .text(": ")
            .packed(find(what.into(), |texts| texts.what));
        if !object.is_empty() {
            line.text(" ").quoted(object.to_bytes());
        }
        line.text(": ");
        match cause & Cause::KIND {
            Cause::LINE.. => line.text("line ").number(u64::from(cause & !Cause::LINE)),
            0 => match describe(cause) {
                Packed(b"") => line.text("error ").number(u64::from(cause)),
                text => line.packed(text),
            },
            Cause::WHY => {
                find(cause & !Cause::KIND, |texts| texts.why).each(&mut |byte| {
                    if byte == b'%' {
                        kept::add(&mut line);
                    } else {
                        line.byte(byte);
                    }
                });
                &mut line
            }
            _ => line.packed(nth_line(REASONS, cause & !Cause::KIND)),
        };
        if advice != 0 {
            line.text(" (");
            if let Some(name) = near {
                line.text("did you mean ").bytes(name).text("? ");
            }
            line.packed(find(advice.into(), |texts| texts.advice))
                .text(")");
        }
        line.end();
    }
}

/// The line `number` of `text`, from 0.
fn nth_line(text: Packed, number: u16) -> Packed {
    let line = split(text.0, b'\n').nth(usize::from(number));
    Packed(line.unwrap_or_default())
}

const REASONS: Packed = packed!(Reason::TEXTS);

#[cfg(test)]
pub(crate) mod tests;
