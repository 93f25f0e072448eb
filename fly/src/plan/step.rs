//! The steps, in the order of a start. Each says what it does; the launcher's
//! function of the same name does it.

use core::ffi::CStr;

use super::record::{List, Record};

/// A place for a descriptor that one step makes and later ones use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u8);

/// Where in a start a step belongs; phases come in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// In the process that was called.
    Launch,
    /// In the new namespaces: files, names, limits of the pod.
    Pod,
    /// One app: what its own process does before it becomes the program.
    App,
}

/// Declares [`Step`] and [`Kind`] and the way to and from a [`Record`]: each
/// field names the place of the record that holds it. The text is how the step is
/// printed, by the places of the record ([`super::print::write`]).
macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $code:literal $format:literal $phase:ident { $($(#[$field_doc:meta])* $place:ident $field:ident),* })*) => {
        /// One step of a plan.
        #[derive(Clone, Copy, Debug)]
        pub enum Step<'a> {
            $($(#[$doc])* #[allow(missing_docs, reason = "the step's own text names its fields")] $name { $($(#[$field_doc])* $field: place_type!('a $place)),* },)*
        }

        /// Which step, without its fields.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Kind { $($(#[$doc])* $name = $code,)* }

        impl Kind {
            /// The kind with this number.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                match number { $($code => Some(Self::$name),)* _ => None }
            }

            /// How each kind is printed, see [`super::print::write`]: its number and a
            /// text, a line each, since a table would be larger.
            pub(crate) const TEXTS: &'static str = concat!($(text!($phase App $code $format)),*);

            /// The same of what only pods have.
            pub(crate) const POLICY_TEXTS: &'static str =
                concat!($(text!($phase Policy $code $format)),*);

            /// Where in a start it belongs.
            #[must_use]
            pub fn phase(self) -> Phase {
                match self { $(Self::$name => phase!($phase),)* }
            }
        }

        impl<'a> Step<'a> {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $(Self::$name { .. } => Kind::$name,)* }
            }

            /// Reads a record; `None` if the kind is unknown.
            #[must_use]
            pub fn from_record(record: &Record<'a>) -> Option<Self> {
                Self::read(record)
            }

            /// The same, inlined: where the kind is known, only its fields are
            /// read.
            #[must_use]
            #[inline(always)]
            #[allow(clippy::inline_always, reason = "see above")]
            pub fn read(record: &Record<'a>) -> Option<Self> {
                Some(match Kind::from_number(record.kind)? {
                    $(Kind::$name => Self::$name { $($field: place_get!(record $place)),* },)*
                })
            }

            /// The numbers and the strings of the record that holds this step.
            #[must_use]
            #[inline(always)]
            #[allow(clippy::inline_always, reason = "see `Builder::push`")]
            pub(super) fn to_record(self) -> (Record<'a>, Texts<'a>) {
                #[allow(unused_mut)]
                let mut record = Record { kind: self.kind() as u16, ..Record::default() };
                #[allow(unused_mut)]
                let mut texts = Texts::None;
                match self {
                    $(Self::$name { $($field),* } => { $(place_put!(record texts $place $field);)* })*
                }
                (record, texts)
            }
        }
    };
}

/// The text of a step, if it is in the table of this group.
macro_rules! text {
    (Policy Policy $code:literal $format:literal) => {
        concat!($code, "\n", $format, "\n")
    };
    (Policy App $code:literal $format:literal) => {
        ""
    };
    ($phase:ident Policy $code:literal $format:literal) => {
        ""
    };
    ($phase:ident App $code:literal $format:literal) => {
        concat!($code, "\n", $format, "\n")
    };
}

macro_rules! phase {
    (Policy) => {
        Phase::App
    };
    ($phase:ident) => {
        Phase::$phase
    };
}

/// As `match` on the [`Step`] that a record holds, but only the kinds that are
/// named are known to the program, and only their fields are read.
macro_rules! match_step {
    ($record:ident { $($name:ident { $($field:ident),* $(,)? } => $value:expr,)* _ => $other:expr $(,)? }) => {
        match $record.kind {
            $(kind if kind == $crate::plan::Kind::$name as u16 => {
                let known = $crate::plan::Record {
                    kind: $crate::plan::Kind::$name as u16,
                    ..*$record
                };
                match $crate::plan::Step::read(&known) {
                    Some($crate::plan::Step::$name { $($field),* }) => $value,
                    _ => $other,
                }
            })*
            _ => $other,
        }
    };
}
pub(crate) use match_step;

/// The strings of a step on its way into a record.
pub(super) enum Texts<'a> {
    None,
    One(&'a CStr),
    Two(&'a CStr, &'a CStr),
    List(List<'a>),
    /// No strings at all.
    Bytes(&'a [u8]),
}

macro_rules! place_type {
    ($life:lifetime slot) => { Slot };
    ($life:lifetime other) => { Slot };
    ($life:lifetime flags) => { u16 };
    ($life:lifetime number) => { u64 };
    ($life:lifetime text) => { &$life CStr };
    ($life:lifetime second) => { &$life CStr };
    ($life:lifetime list) => { List<$life> };
    ($life:lifetime bytes) => { &$life [u8] };
}

macro_rules! place_get {
    ($record:ident slot) => {
        Slot($record.slot)
    };
    ($record:ident other) => {
        Slot($record.other)
    };
    ($record:ident flags) => {
        $record.flags
    };
    ($record:ident number) => {
        $record.number
    };
    ($record:ident text) => {
        $record.list.first()
    };
    ($record:ident second) => {
        $record.list.second()
    };
    ($record:ident list) => {
        $record.list
    };
    ($record:ident bytes) => {
        $record.list.as_bytes()
    };
}

macro_rules! place_put {
    ($record:ident $texts:ident slot $value:ident) => {
        $record.slot = $value.0
    };
    ($record:ident $texts:ident other $value:ident) => {
        $record.other = $value.0
    };
    ($record:ident $texts:ident flags $value:ident) => {
        $record.flags = $value
    };
    ($record:ident $texts:ident number $value:ident) => {
        $record.number = $value
    };
    ($record:ident $texts:ident text $value:ident) => {
        $texts = Texts::One($value)
    };
    ($record:ident $texts:ident second $value:ident) => {
        if let Texts::One(first) = $texts {
            $texts = Texts::Two(first, $value)
        }
    };
    ($record:ident $texts:ident list $value:ident) => {
        $texts = Texts::List($value)
    };
    ($record:ident $texts:ident bytes $value:ident) => {
        $texts = Texts::Bytes($value)
    };
}

steps! {
    // ---- Launch: in the process that was called -------------------------

    /// Closes all inherited descriptors above 2 (close_range(2)); CVE-2024-21626.
    CloseInherited = 1 "close" Launch {}
    /// Blocks signals, so that they can be waited for and passed on, and gives
    /// SIGCHLD its default action.
    Supervise = 2 "supervise" Launch {}
    /// Copies the program at `path` into a sealed memory file; what runs as
    /// pid 1 is then no file of the host (CVE-2019-5736). Behind the program
    /// follows the apps' part of this plan: one file is cheaper than two. With
    /// [`Step::ALONE`] nothing follows.
    Seal = 3 "seal %t[7| and the apps' plan] -> %s" Launch { slot into, flags flags, text path }
    /// Makes a pipe through which pid 1 reports its time stamps.
    Stamps = 6 "stamps %s -> %o" Launch { slot reader, other writer }
    /// Makes the pod's devpts file system and opens a terminal of it: its
    /// master stays with the launcher, its peer (the number of a slot) becomes
    /// the pod's terminal.
    Terminal = 7 "terminal devpts -> %s -> %o -> #%n" Launch { slot devpts, other master, number peer }
    /// Hands the pod over to another stage 1, with the whole plan in a sealed
    /// memory file and a pod directory on a tmpfs: the last step that the
    /// launcher itself does.
    HandOver = 8 "stage1 %t" Launch { text path, second uuid }
    /// Opens the cgroup directory `path`, which the pod is going to be in.
    OpenCgroup = 4 "cgroup %t -> %s" Launch { slot into, text path }
    /// Makes the pod's first process in new namespaces (CLONE_NEW* bits), and in
    /// the cgroup `cgroup` unless that is [`Step::NO_SLOT`].
    Clone = 9 "clone %N[sin %s|]" Launch { slot cgroup, number namespaces }
    /// Moves this process itself into new namespaces (unshare(2)).
    Unshare = 10 "unshare %N" Launch { number namespaces }
    /// Keeps the caller's descriptor `descriptor` for the status, by a number that
    /// nothing that is started inherits; comes before [`Step::CloseInherited`].
    KeepStatus = 12 "status to descriptor %n" Launch { number descriptor }
    /// Closes all inherited descriptors above 2 but the first `count` ones from 3 on
    /// (sd_listen_fds(3)), which it moves up, where pid 1 finds them.
    KeepListening = 11 "close all but %n from 3 on" Launch { number count }
    /// Makes a user namespace, for mounts: the first `users` lines map user ids,
    /// the others group ids, each INSIDE:OUTSIDE:COUNT.
    UserNamespace = 13 "userns %M -> %s" Launch { slot into, number users, list lines }
    /// Clones the mount at `path` of the host, detached, as [`Step::OpenTree`]
    /// does; the ids of its files are mapped as in the user namespace `map`
    /// (MOUNT_ATTR_IDMAP, Linux 5.12).
    MappedTree = 14 "idmap %t[0 recursive|]%a by %o -> %s" Launch { slot into, other map, flags flags, number attributes, text path }
    /// Makes the cgroup directory `path` for the pod, and what is missing on the way
    /// to it below the first `mount` bytes, which are where its hierarchy is mounted.
    /// With [`Step::ENABLE`], of version 2, in each above it these controllers are
    /// enabled that are not yet, if a limit's file is missing: their names, each behind
    /// a plus sign.
    MakeCgroup = 16 "newcgroup %t[0 with %u|]" Launch { flags flags, number mount, text path, second controllers }
    /// Writes the limit `value` into the file at `path` of a cgroup, whose directory is the
    /// one in `cgroup` unless that is [`Step::NO_SLOT`].
    LimitCgroup = 17 "limit %t to %u[s in %s|]" Launch { slot cgroup, text path, second value }
    /// Lets the cgroup at the first path use only the devices of these rules, each a type,
    /// b or c, MAJOR:MINOR, where * stands for all, and r, w, m; of version 2, with
    /// [`Step::ENABLE`], by a BPF program.
    FilterDevices = 18 "devices %h: %r[0by BPF|]" Launch { flags flags, list list }
    /// Moves this process into the cgroup at `path`, of version 2, made if missing: the one
    /// above it is delegated, and has to hold no process.
    Leaf = 19 "leaf %t" Launch { text path }
    /// Forks a helper that stays outside of the user namespace to be, and writes
    /// its maps for [`Step::Maps`].
    Mapper = 15 "mapper forked -> %s" Launch { slot into }
    /// The same without root: the helper calls newuidmap(1) and newgidmap(1) of the
    /// directory `path`.
    OutsideMapper = 112 "mapper of %t forked -> %s" Launch { slot into, text path }
    /// Makes a pair of sockets by which the terminal comes that the pod opens in its
    /// user namespace ([`Step::OwnTerminal`]).
    TerminalPair = 113 "terminal comes by %s -> %o" Launch { slot sender, other receiver }

    /// Moves this process, and with it the pod, into a network namespace of the pool in
    /// the directory `path`; if that has none, into a new one, whose lo is set up.
    JoinPooled = 116 "network from %t" Launch { text path }
    /// Moves this process, and with it the pod, into the network namespace at `path`:
    /// whoever is in a user namespace of its own could not.
    JoinNetwork = 117 "network %t" Launch { text path }

    // ---- Pod: files, names and limits -----------------------------------

    /// Dies when the launcher dies (PR_SET_PDEATHSIG), and at once if it
    /// already has.
    DieWithParent = 20 "die with the launcher" Pod {}
    /// Starts a session without a terminal (setsid(2)), so that nobody types
    /// into the caller's (CVE-2017-5226); with [`Step::NO_TERMINAL`] a process
    /// group only, since the caller's session has none.
    Session = 21 "session [6of the caller, own process group|own]" Pod { flags flags }
    /// Makes all mounts private: nothing done from here on reaches the host.
    Private = 22 "private" Pod {}
    /// Sets the file mode creation mask.
    Umask = 23 "umask %m" Pod { number mask }
    /// Opens the directory `path` of the host.
    OpenDirectory = 24 "open %t -> %s" Pod { slot into, text path }
    /// Clones the mount at `path` of the host, detached, with the attributes
    /// `attributes` (MOUNT_ATTR_*); flags: [`Step::RECURSIVE`],
    /// [`Step::OPTIONAL`].
    OpenTree = 25 "tree %t[0 recursive|][7 if present|]%a -> %s" Pod { slot into, flags flags, number attributes, text path }
    /// Puts a writable layer over the directory `path` of the host: an overlay
    /// whose upper part is on the tmpfs `layer`, and vanishes with the pod.
    Overlay = 26 "overlay %t under %o%a -> %s" Pod { slot into, other layer, number attributes, text path }
    /// Mounts `mount` over /, from where it becomes the root.
    AttachRoot = 27 "root %s on /" Pod { slot mount }
    /// Makes a file system: its type, then pairs of option and value.
    FileSystem = 28 "mount %f%a -> %s" Pod { slot into, number attributes, list options }
    /// Mounts `mount` at `target`, walked inside the directory `under`; flags:
    /// [`Step::NO_FOLLOW`], [`Step::CREATE`], [`Step::CLOSE`],
    /// [`Step::OPTIONAL`].
    Attach = 29 "attach %s at %t of %o[2 (made if missing)|][7 if present|]" Pod { slot mount, other under, flags flags, text target }
    /// Makes a directory with this mode in `under`.
    Directory = 30 "mkdir %t %m in %s" Pod { slot under, number mode, text name }
    /// Makes an empty file with this mode in `under`.
    File = 31 "file %t %m in %s" Pod { slot under, number mode, text name }
    /// Makes a character device that everybody may use in `under`.
    Device = 32 "device %t %d in %s" Pod { slot under, number device, text name }
    /// Makes a symbolic link in `under`.
    Link = 33 "link %t to %u in %s" Pod { slot under, text name, second target }
    /// Hides paths of `under`: the first name is the empty file or directory of
    /// `covers` that covers them, read-only; the others are the paths. One that
    /// this kernel does not have is passed over.
    Mask = 34 "mask %rof %s by %h of %o" Pod { slot under, other covers, list names }
    /// Makes the paths of `under` read-only; a path that this kernel does not
    /// have is passed over.
    ReadOnly = 35 "readonly %lof %s" Pod { slot under, list names }
    /// Clones the directory or file `name` of `under` as a detached mount with the
    /// attributes `attributes`; flags: [`Step::RECURSIVE`].
    Bind = 36 "bind %t of %o[0 recursive|]%a -> %s" Pod { slot into, other under, flags flags, number attributes, text name }
    /// Clones the descriptor `peer` as a mount and puts it at `name` of `under`.
    Console = 37 "console %s at %t of %o" Pod { slot peer, other under, text name }
    /// Sets the host name of the UTS namespace.
    Hostname = 38 "hostname %t" Pod { text name }
    /// Sets lo of the network namespace up.
    Loopback = 39 "loopback" Pod {}
    /// Makes `root` the root of all (pivot_root(2)) and lets go of the old one.
    Pivot = 40 "pivot into %s" Pod { slot root }
    /// Makes `root` the root of this process (chroot(2)).
    Chroot = 41 "chroot into %s" Pod { slot root }
    /// Makes the terminal `peer` standard input, output and error.
    TerminalStdio = 42 "stdio %s" Pod { slot peer }
    /// Drops all capabilities but `keep` from the bounding set.
    PodBounding = 43 "bounding %c" Pod { number keep }
    /// Becomes the sealed program `program`, which has its own file, with the
    /// plan in it, as descriptor 3 and, if there are such, the pipe `stamps` as 4 and
    /// the pod's directory on the host as 5. With [`Step::HOLD`] it starts nothing until
    /// it is released.
    ExecInit = 44 "init %s[p #%n|][o in %o|][0, parked|]" Pod { slot program, other directory, flags flags, number stamps }
    /// Maps the ids of the new user namespace; lines as in
    /// [`Step::UserNamespace`]. Without a `mapper` the process writes them itself,
    /// which takes setgroups(2) away; with one it then becomes the namespace's
    /// root, or the first user in it.
    Maps = 45 "maps %M[s by %s|]" Pod { slot mapper, number users, list lines }
    /// Notes the namespaces `namespaces` that this process is in, for the status.
    NoteNamespaces = 46 "note %N" Pod { number namespaces }
    /// Makes a cgroup namespace whose root is the cgroup that was joined.
    CgroupNamespace = 47 "cgroupns" Pod {}

    /// Moves this process into the cgroup at `path`, of version 1.
    JoinCgroup = 51 "join %t" Pod { text path }
    /// Joins a new session keyring (keyctl(2)): what follows possesses no key of the
    /// caller's.
    Keyring = 55 "keyring" Pod {}
    /// Makes a file with this mode in `under`, the first of the list; the others are its
    /// lines.
    Write = 56 "write %h %m in %s: %r" Pod { slot under, number mode, list lines }
    /// Puts files of the host, read-only, at the same paths, walked inside `under`,
    /// where there are such files on both sides.
    HostFiles = 57 "hostfiles %lin %s, if present" Pod { slot under, list paths }
    /// Makes the pod's devpts and opens a terminal of it, in the pod's user namespace;
    /// sends its master by the socket `sender` (the number of a slot) to the launcher.
    OwnTerminal = 114 "terminal devpts -> %s -> %o, sent by #%n" Pod { slot devpts, other peer, number sender }
    /// As [`Step::Overlay`] in a user namespace, whose attributes are kept in those of
    /// users. With [`Step::MAPPED`] the lower directory is the mount that `into` holds,
    /// otherwise `path` of the host.
    OwnOverlay = 115 "overlay %t[0 of %s|] under %o%a -> %s" Pod { slot into, other layer, flags flags, number attributes, text path }

    // ---- Pod: what the options of fly make in the root -------------------

    /// Closes all inherited descriptors above 2 but these (decimal numbers),
    /// each of which a [`Step::CopyFile`] reads and closes, or the program has.
    CloseOthers = 100 "close but %l" Launch { list keep }
    /// Puts a writable layer over the directory `path` of the host: an overlay
    /// whose upper part stays in the directory `directory` of the host, as
    /// upper and work, made if missing; `layer` is a tmpfs for its mount points.
    OverlayIn = 101 "layer %t under %u by %o%a -> %s" Pod { slot into, other layer, number attributes, text path, second directory }
    /// Makes a directory with this mode, and its parents, walked inside `under`;
    /// one that is there stays as it is.
    MakeDirectory = 102 "dir %t %m in %s" Pod { slot under, number mode, text path }
    /// Copies what the inherited descriptor `descriptor` holds, to its end, into
    /// a new file with this mode, walked inside `under`, and closes it.
    CopyFile = 103 "copy %t %p from descriptor %n in %s" Pod { slot under, flags mode, number descriptor, text path }
    /// Makes a symbolic link to `target`, walked inside `under`.
    MakeLink = 104 "symlink %t to %u in %s" Pod { slot under, text path, second target }
    /// Makes the mount at `path`, walked inside `under`, read-only, without those
    /// below it.
    Remount = 105 "remount %t of %s ro" Pod { slot under, text path }

    // ---- App: its own process, until it is the program -------------------

    /// Begins an app.
    App = 60 "app %t" App { text name }
    /// How it is stopped: `signal`, then SIGKILL after `deadline` milliseconds.
    Stop = 61 "stop %S then KILL after %n ms" App { flags signal, number deadline }
    /// Starts a process group of its own in pid 1's session, which has no
    /// terminal; with [`Step::TERMINAL`] a session of its own whose controlling
    /// terminal is standard input; with [`Step::DETACHED`] one without a terminal.
    AppSession = 62 "session [down|of pid 1, own process group][5, with a terminal|]" App { flags flags }
    /// Sets the file mode creation mask.
    AppUmask = 63 "umask %m" App { number mask }
    /// Makes `path`, inside the root, the working directory.
    WorkingDirectory = 64 "chdir %t" App { text path }
    /// Sets the supplementary groups, possibly none: 4 bytes each.
    Groups = 65 "groups [l%g|none]" App { bytes ids }
    /// Sets the group ids.
    Group = 66 "group %n" App { number id }
    /// Drops all capabilities but `keep` from the bounding set.
    Bounding = 67 "bounding %c" App { number keep }
    /// Sets the user ids.
    User = 68 "user %n" App { number id }
    /// Sets the permitted and effective capabilities, and empties the
    /// inheritable and ambient sets (CVE-2022-29162).
    Capabilities = 69 "capabilities %c" App { number keep }
    /// Gives up new privileges by exec (PR_SET_NO_NEW_PRIVS).
    NoNewPrivileges = 70 "nnp" App {}
    /// Loads a system call filter (seccomp(2)), the instructions as the kernel takes
    /// them: behind all else, since it may forbid what other steps do.
    Seccomp = 80 "seccomp %i instructions" App { bytes filter }
    /// Unblocks all signals.
    Unblock = 71 "unblock" App {}
    /// Becomes the program. The list is the path (searched in the app's PATH
    /// if it has no slash), `arguments` arguments, and the environment. With
    /// [`Step::GUARD`] it is refused if it would be this launcher.
    Exec = 72 "exec %t[8 guarded|] %e" App { flags flags, number arguments, list strings }
    /// Sets a limit of a resource (prlimit(2)), this number. As of all limits, what
    /// follows is the option's text, to be shown, its terminator, and what the call
    /// reads: see [`super::Builder::push_limit`].
    Limit = 81 "rlimit %t" App { number resource, bytes limit }
    /// Sets the nice value, as two's complement (setpriority(2)).
    Nice = 82 "nice %t" App { number nice, bytes limit }
    /// Runs on these processors only (sched_setaffinity(2)).
    Processors = 83 "cpus %t" App { bytes limit }
    /// Sets the scheduling policy, this number (sched_setscheduler(2)).
    Scheduling = 84 "sched %t" App { number policy, bytes limit }
    /// Leaves the permitted capabilities as they are when the user ids change
    /// (PR_SET_KEEPCAPS).
    KeepCapabilities = 85 "keepcaps" App {}
    /// Sets all sets but the bounding one: only by the inheritable and the ambient
    /// set a user that is not root has capabilities behind an exec.
    Ambient = 86 "ambient %c" App { number keep }
    /// Denies all access to files but at these absolute paths, and below them
    /// (landlock(7)): the first `writable` ones are for all access, the others to
    /// read and execute.
    Landlock = 87 "landlock %n writable: %l" App { number writable, list paths }
    /// Adjusts how soon the kernel kills this process when memory runs out
    /// (/proc/pid/oom_score_adj of proc_pid(5)), by the host's /proc.
    OomScore = 89 "oom %t" Launch { text adjustment }
    /// Dies when the parent dies (PR_SET_PDEATHSIG): behind the credentials, since
    /// a change of them takes it back. `parent` is the parent's pid as it was when
    /// the plan was made, or [`Step::LAUNCHER`].
    AppDieWithParent = 48 "die with the [nparent %n|launcher]" App { number parent }
    /// Becomes the sealed program `program`; the list is as in [`Step::Exec`].
    ExecSealed = 49 "exec %s %t %e" App { slot program, number arguments, list strings }
    // ---- App: what pid 1 of a pod does with it ----------------------------

    /// How its end counts: [`Step::DECIDES`], [`Step::QUIET`], [`Step::UNCOUNTED`],
    /// [`Step::STAYS`].
    ExitPolicy = 90 "exit [0decides|stops nobody][2, not counted|][3, the pod stays|]" Policy { flags flags }
    /// Starts it again when it has ended: with [`Step::ALWAYS`] whatever its code,
    /// otherwise if that is not 0; at most `most` times in a row, 0 for no limit.
    Restart = 91 "restart [0always|on failure][n, %n times|]" Policy { flags flags, number most }
    /// Starts when these apps are ready, a bit each by their order in the plan, which
    /// [`super::Builder::finish`] writes here.
    After = 92 "after %l" Policy { number apps, list names }
    /// When it is ready: [`Step::READY_EXIT`], [`Step::READY_FILE`] `path`,
    /// [`Step::READY_PORT`] `port`, [`Step::READY_NOTIFY`] by a socket at `path`.
    Ready = 93 "ready [0by exit|][1by file |][2by port %n|][3by notify |]%t" Policy { flags flags, number port, list path }
    /// Runs this, as [`Step::Exec`] would, before each start of the app.
    PreStart = 94 "pre-start %t %e" Policy { number arguments, list strings }
    /// Runs this behind each end of the app.
    PostStop = 95 "post-stop %t %e" Policy { number arguments, list strings }
    /// The standard streams of these bits, 1 << descriptor, are the file at `path`; with
    /// [`Step::STREAM`] stage0 holds the other end of it.
    Stdio = 96 "stdio [0input |][1output |][2error |]%t" Policy { flags streams, text path }
    /// Standard output and error go to pid 1, which puts the app's name before each
    /// line.
    Log = 98 "log by name" Policy {}
    /// The standard streams of these bits are an end of the pipe that is standard
    /// input of the app number `number`, which is called `app`.
    Pipe = 99 "pipe [0input of |][1output |][2error |][0|to ]%t" Policy { flags streams, number number, text app }
    /// Standard output and error go to pid 1, which writes them to the file `name` in
    /// the directory `folder`: at most `size` bytes, then it is the first of `keep` old
    /// ones.
    LogFile = 106 "log to %u/%t, %n bytes, %w old" Policy { flags keep, number size, text name, second folder }
    /// Has the first `count` descriptors of [`Step::KeepListening`] from 3 on, and its
    /// pid in `LISTEN_PID`.
    Listen = 107 "listen on %w from 3 on" Policy { flags count }
    /// Is pid 1 of a pid namespace of its own, with a new /proc, in which these names
    /// are what they are in the pod's.
    PidNamespace = 108 "pidns [lwith %lof the pod's /proc|]" Policy { list names }
    /// Has a mount namespace of its own, whose root is the mount at `path` of the pod.
    AppRoot = 109 "approot %t" Policy { text path }
    /// Tells of all apps in the directory `path` of the pod: `ready`, `status/APP`.
    Report = 97 "report %t" Policy { text path }
    /// Says whether [`Step::Exec`] of this list could start the program, and its
    /// libraries are there; in its place.
    Check = 50 "check %t %e" App { number arguments, list strings }
}

impl Step<'_> {
    /// Take in the mounts below, too.
    pub const RECURSIVE: u16 = 1;
    /// Controllers are enabled.
    pub const ENABLE: u16 = 1;
    /// A mount whose ids are mapped.
    pub const MAPPED: u16 = 1;
    /// The pod is parked.
    pub const HOLD: u16 = 1;
    /// [`Step::Stdio`] is a FIFO that `stage0 attach` writes to.
    pub const STREAM: u16 = 8;
    /// The target is one name, and not a symbolic link.
    pub const NO_FOLLOW: u16 = 2;
    /// A missing target is made, as what is mounted on it: a directory or a file.
    pub const CREATE: u16 = 4;
    /// The mount's slot is closed afterwards.
    pub const CLOSE: u16 = 16;
    /// A path of the host that does not exist is passed over, with what would
    /// have been done with it.
    pub const OPTIONAL: u16 = 128;
    /// Standard input is the app's controlling terminal.
    pub const TERMINAL: u16 = 32;
    /// A session without a terminal.
    pub const DETACHED: u16 = 8;
    /// There is no controlling terminal to be kept from.
    pub const NO_TERMINAL: u16 = 64;
    /// A sealed copy without a plan.
    pub const ALONE: u16 = 128;
    /// The program and its interpreters may not be magic links of a procfs
    /// (CVE-2019-5736).
    pub const GUARD: u16 = 256;
    /// Its end ends the pod, and its code is the pod's.
    pub const DECIDES: u16 = 1;
    /// Its failure does not stop the others.
    pub const QUIET: u16 = 2;
    /// Its code is not the pod's.
    pub const UNCOUNTED: u16 = 4;
    /// The pod does not end with its last app.
    pub const STAYS: u16 = 8;
    /// Starts again behind success, too.
    pub const ALWAYS: u16 = 1;
    /// Ready when it has ended with code 0.
    pub const READY_EXIT: u16 = 1;
    /// Ready when the file is there.
    pub const READY_FILE: u16 = 2;
    /// Ready when somebody listens on the TCP port of lo.
    pub const READY_PORT: u16 = 4;
    /// Ready when it says so (sd_notify(3)).
    pub const READY_NOTIFY: u16 = 8;
    /// [`Step::AppDieWithParent`] of a process that the launcher made.
    pub const LAUNCHER: u64 = 0;
    /// Where [`Step::KeepListening`] moves descriptors: from this number on.
    pub const LISTENING: i32 = 16;
    /// No slot at all.
    pub const NO_SLOT: Slot = Slot(u8::MAX);
    /// [`Step::ExecInit`] without a pipe for time stamps.
    pub const NO_STAMPS: u64 = u64::MAX;
}
