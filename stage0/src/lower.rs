//! From options to a plan: every step of a pod, in its order.

use core::ffi::CStr;

use fly::{
    capability,
    error::{Error, What, Why},
    lower as common,
    plan::{Builder, List, MAX_APPS, Slot, Step},
    text::Digits,
    user,
};
use linux_raw_sys::general as raw;

use crate::{
    options::{Choice, Network, Options, Stage1},
    volume::{self, Kind, Mount, Short, Volume},
};

/// What the lowering needs to know of the host.
#[derive(Debug)]
pub struct Host<'h> {
    /// Random bytes, for names.
    pub random: [u8; 16],
    /// Whether the pod gets a terminal.
    pub terminal: bool,
    /// pid 1's program; empty for the flavours that need none.
    pub stage1_init: &'h CStr,
    /// The caller's TERM.
    pub term: Option<&'h [u8]>,
}

const INIT: Slot = Slot(1);
const LAUNCHER: Slot = Slot(2);
const STAMPS_READER: Slot = Slot(3);
const STAMPS_WRITER: Slot = Slot(4);
const PTS: Slot = Slot(5);
const MASTER: Slot = Slot(6);
const PEER: Slot = Slot(7);
/// The tmpfs of the writable layer.
const LAYER: Slot = Slot(8);
const ROOT: Slot = Slot(9);
const PROC: Slot = Slot(10);
const SYS: Slot = Slot(11);
const DEV: Slot = Slot(12);
const SHM: Slot = Slot(13);
/// What is opened and mounted at once.
const SOURCE: Slot = Slot(14);
/// The first slot of the empty volumes, which may be mounted more than once.
const EMPTY: u8 = 15;
/// The most empty volumes of a pod.
const MAX_EMPTY: usize = (fly::plan::MAX_SLOTS - EMPTY) as usize;

const RDONLY: u64 = raw::MOUNT_ATTR_RDONLY as u64;
const NOSUID: u64 = raw::MOUNT_ATTR_NOSUID as u64;
const NODEV: u64 = raw::MOUNT_ATTR_NODEV as u64;
const NOEXEC: u64 = raw::MOUNT_ATTR_NOEXEC as u64;

/// Device numbers are small: 8 bits each (makedev(3)).
const DEVICES: [(&CStr, u64); 6] = [
    (c"null", (1 << 8) | 3),
    (c"zero", (1 << 8) | 5),
    (c"full", (1 << 8) | 7),
    (c"random", (1 << 8) | 8),
    (c"urandom", (1 << 8) | 9),
    (c"tty", 5 << 8),
];

const LINKS: [(&CStr, &CStr); 5] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"ptmx", c"pts/ptmx"),
];

/// Files of /proc that tell about the host or reach its kernel: the set that
/// Docker and containerd hide.
///
/// What nearly every kernel has comes last, here and below: a cover that is left
/// over when a list ends costs a grace period of the kernel, 6 to 30 µs.
const MASKED_FILES: [&CStr; 6] = [
    c"kcore",
    c"latency_stats",
    c"timer_stats",
    c"sched_debug",
    c"keys",
    c"timer_list",
];
/// The same, directories.
const MASKED_DIRECTORIES: [&CStr; 3] = [c"asound", c"scsi", c"acpi"];
/// Directories of /sys.
const MASKED_SYS: [&CStr; 2] = [c"devices/virtual/powercap", c"firmware"];
/// Files and directories of /proc that root of the pod may read only.
const READ_ONLY: [&CStr; 5] = [c"bus", c"fs", c"irq", c"sys", c"sysrq-trigger"];

/// What covers a masked file, and a masked directory.
const NO_FILE: &CStr = c"pts/no-file";
const NO_DIRECTORY: &CStr = c"pts/no-directory";

/// The signal and the milliseconds by which an app is stopped.
const STOP: (u16, u64) = (raw::SIGTERM as u16, 10_000);

/// Writes the pod's steps.
///
/// # Errors
/// Names the option whose value can't be lowered.
pub fn lower<'a, I>(
    options: &Options<'a, I>,
    host: &Host<'_>,
    plan: &mut Builder<'_>,
) -> Result<(), Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    Lowering {
        options,
        host,
        plan,
    }
    .pod()
}

struct Lowering<'l, 'a, 'h, 'p, I> {
    options: &'l Options<'a, I>,
    host: &'l Host<'h>,
    plan: &'l mut Builder<'p>,
}

impl<'a, I> Lowering<'_, 'a, '_, '_, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    fn pod(&mut self) -> Result<(), Error<'a>> {
        self.plan.push(Step::CloseInherited {});
        match self.options.stage1 {
            Stage1::Fly => self.fly()?,
            Stage1::Init(_) => {
                self.launch();
                self.namespaces();
                self.plan
                    .push(Step::DieWithParent { watch: LAUNCHER })
                    .push(Step::Session {});
                self.isolated()?;
                self.init();
            }
            Stage1::Other(path) => {
                self.hand_over(path);
                self.namespaces();
                self.isolated()?;
            }
        }
        self.apps()
    }

    /// What the launcher prepares before the pod's first process exists.
    fn launch(&mut self) {
        self.plan
            .push(Step::Supervise {})
            .push(Step::Seal {
                into: INIT,
                path: self.host.stage1_init,
            })
            .push(Step::Watch { into: LAUNCHER });
        if self.options.timings.is_some() {
            self.plan.push(Step::Stamps {
                reader: STAMPS_READER,
                writer: STAMPS_WRITER,
            });
        }
        if self.host.terminal {
            self.plan.push(Step::Terminal {
                devpts: PTS,
                master: MASTER,
                peer: u64::from(PEER.0),
            });
        }
    }

    fn hand_over(&mut self, path: &'a CStr) {
        let random = self.host.random;
        let number = |from: usize, bytes: usize| {
            let part = random.get(from..from + bytes).unwrap_or_default();
            part.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte))
        };
        // A random UUID (RFC 9562, version 4).
        let parts = [
            (1 << 32) | number(0, 4),
            (1 << 16) | number(4, 2),
            (1 << 16) | 0x4000 | (number(6, 2) & 0x0fff),
            (1 << 16) | 0x8000 | (number(8, 2) & 0x3fff),
            (1 << 48) | number(10, 6),
        ]
        .map(|part| Digits::new(part, 16));
        // The leading 1 keeps the zeros; it is cut off here.
        let text = |index: usize| {
            let digits = parts.get(index).map(Digits::as_bytes);
            digits.and_then(|digits| digits.get(1..)).unwrap_or_default()
        };
        self.plan
            .begin_list(Step::HandOver { path, uuid: c"" })
            .string(path)
            .joined(&[
                text(0),
                b"-",
                text(1),
                b"-",
                text(2),
                b"-",
                text(3),
                b"-",
                text(4),
            ])
            .end();
    }

    fn namespaces(&mut self) {
        let mut namespaces =
            raw::CLONE_NEWPID | raw::CLONE_NEWNS | raw::CLONE_NEWIPC | raw::CLONE_NEWUTS;
        if self.options.network == Network::None {
            namespaces |= raw::CLONE_NEWNET;
        }
        self.plan.push(Step::Clone {
            namespaces: u64::from(namespaces),
        });
    }

    /// The pod's files and names.
    fn isolated(&mut self) -> Result<(), Error<'a>> {
        self.plan.push(Step::Private {}).push(Step::Umask { mask: 0 });
        self.root();
        self.dev();
        self.proc_and_sys();
        self.pts_and_shm();
        self.volumes()?;
        self.hostname();
        if self.options.network == Network::None {
            self.plan.push(Step::Loopback {});
        }
        if self.host.terminal {
            self.plan.push(Step::TerminalStdio { peer: PEER });
        }
        self.plan.push(Step::Pivot { root: ROOT });
        Ok(())
    }

    fn root(&mut self) {
        let path = self.options.rootfs;
        // A device node of the image's would reach the host's device: those of
        // /dev are enough.
        let mut attributes = if self.options.insecure { 0 } else { NODEV };
        if self.options.read_only_root {
            attributes |= RDONLY;
        }
        if self.options.ephemeral {
            self.tmpfs(LAYER, NOSUID);
            self.plan.push(Step::Overlay {
                into: ROOT,
                layer: LAYER,
                attributes,
                path,
            });
        } else {
            self.plan.push(Step::OpenTree {
                into: ROOT,
                flags: Step::RECURSIVE,
                attributes,
                path,
            });
        }
        self.plan.push(Step::AttachRoot { mount: ROOT });
    }

    fn proc_and_sys(&mut self) {
        let own = |into, target| Step::Attach {
            mount: into,
            under: ROOT,
            flags: Step::NO_FOLLOW | Step::CREATE_DIRECTORY,
            target,
        };
        let plan = &mut *self.plan;
        for (into, name, attributes, target) in [
            (PROC, c"proc", NOSUID | NODEV | NOEXEC, c"proc"),
            (SYS, c"sysfs", RDONLY | NOSUID | NODEV | NOEXEC, c"sys"),
        ] {
            plan.begin_list(Step::FileSystem {
                into,
                attributes,
                options: List::EMPTY,
            })
            .string(name)
            .end()
            .push(own(into, target));
        }
        if self.options.insecure {
            return;
        }
        names(
            plan.begin_list(Step::ReadOnly {
                under: PROC,
                names: List::EMPTY,
            }),
            &READ_ONLY,
        );
        for (under, cover, masked) in [
            (PROC, NO_FILE, &MASKED_FILES[..]),
            (PROC, NO_DIRECTORY, &MASKED_DIRECTORIES[..]),
            (SYS, NO_DIRECTORY, &MASKED_SYS[..]),
        ] {
            let step = plan.begin_list(Step::Mask {
                under,
                covers: DEV,
                names: List::EMPTY,
            });
            names(step.string(cover), masked);
        }
    }

    fn tmpfs(&mut self, into: Slot, attributes: u64) {
        self.plan
            .begin_list(Step::FileSystem {
                into,
                attributes,
                options: List::EMPTY,
            })
            .string(c"tmpfs")
            .string(c"mode")
            .string(c"0755")
            .end();
    }

    /// One tmpfs serves for /dev, /dev/shm and the covers of what is masked: a
    /// file system costs 13 µs, a clone of a directory 3. The covers lie below
    /// the mount point of devpts, which hides them from the pod.
    fn dev(&mut self) {
        self.tmpfs(DEV, NOSUID | NOEXEC);
        let confined = !self.options.insecure;
        let plan = &mut *self.plan;
        for (name, device) in DEVICES {
            plan.push(Step::Device {
                under: DEV,
                device,
                name,
            });
        }
        for (name, target) in LINKS {
            plan.push(Step::Link {
                under: DEV,
                name,
                target,
            });
        }
        for (name, mode) in [(c"pts", 0o755), (c"shm", 0o1777)] {
            plan.push(Step::Directory {
                under: DEV,
                mode,
                name,
            });
        }
        if confined {
            plan.push(Step::Directory {
                under: DEV,
                mode: 0o555,
                name: NO_DIRECTORY,
            })
            .push(Step::File {
                under: DEV,
                mode: 0o444,
                name: NO_FILE,
            });
        }
        plan.push(Step::Attach {
            mount: DEV,
            under: ROOT,
            flags: Step::NO_FOLLOW | Step::CREATE_DIRECTORY,
            target: c"dev",
        });
    }

    fn pts_and_shm(&mut self) {
        let terminal = self.host.terminal;
        let plan = &mut *self.plan;
        if !terminal {
            let step = plan.begin_list(Step::FileSystem {
                into: PTS,
                attributes: NOSUID | NOEXEC,
                options: List::EMPTY,
            });
            names(
                step,
                &[c"devpts", c"mode", c"0620", c"gid", c"5", c"ptmxmode", c"0666"],
            );
        }
        plan.push(Step::Bind {
            into: SHM,
            under: DEV,
            attributes: NOSUID | NODEV | NOEXEC,
            name: c"shm",
        });
        for (mount, target) in [(PTS, c"pts"), (SHM, c"shm")] {
            plan.push(Step::Attach {
                mount,
                under: DEV,
                flags: Step::NO_FOLLOW,
                target,
            });
        }
        if terminal {
            plan.push(Step::File {
                under: DEV,
                mode: 0o600,
                name: c"console",
            })
            .push(Step::Console {
                peer: PEER,
                under: DEV,
                name: c"console",
            });
        }
    }

    fn hostname(&mut self) {
        let step = self.plan.begin_list(Step::Hostname { name: c"" });
        match self.options.hostname {
            Some(name) => step.string(name),
            None => {
                let [a, b, c, d, ..] = self.host.random;
                let number = u64::from(u32::from_be_bytes([a, b, c, d]));
                // The leading 1 keeps the zeros.
                let digits = Digits::new((1 << 32) | number, 16);
                step.joined(&[b"pod-", digits.as_bytes().get(1..).unwrap_or_default()])
            }
        }
        .end();
    }

    /// Volumes and tmpfs in the order of the command line.
    fn volumes(&mut self) -> Result<(), Error<'a>> {
        self.check_volumes()?;
        let mut choices = self.options.choices.clone();
        while let Some(choice) = choices.next()? {
            match choice {
                Choice::Tmpfs(target) => {
                    common::check_target(target, target.to_bytes())?;
                    common::tmpfs(self.plan, SOURCE, c"1777");
                    common::attach(self.plan, SOURCE, ROOT, target.to_bytes());
                }
                Choice::Volume(text) if volume::is_short(text) => {
                    let volume = Short::parse(text)?;
                    common::check_target(text, volume.target)?;
                    let attributes = if volume.read_only { RDONLY } else { 0 };
                    self.open(volume.source, true, attributes);
                    common::attach(self.plan, SOURCE, ROOT, volume.target);
                }
                Choice::Mount(text) => self.mount(text)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn open(&mut self, source: &[u8], recursive: bool, attributes: u64) {
        self.plan
            .begin_list(Step::OpenTree {
                into: SOURCE,
                flags: if recursive { Step::RECURSIVE } else { 0 },
                attributes,
                path: c"",
            })
            .joined(&[source])
            .end();
    }

    fn mount(&mut self, text: &'a CStr) -> Result<(), Error<'a>> {
        let mount = Mount::parse(text)?;
        common::check_target(text, mount.target)?;
        let Some((volume, empty)) = self.find(mount.volume)? else {
            return Err(Error::new(What::ReadMount, text, Why::NoSuchVolume));
        };
        let read_only = mount.read_only || volume.read_only;
        let attributes = if read_only { RDONLY } else { 0 };
        match volume.kind {
            Kind::Host => self.open(volume.source, volume.recursive, attributes),
            Kind::Empty => {
                // Made by the first mount, shared by the others.
                let slot = Slot(EMPTY.saturating_add(u8::try_from(empty).unwrap_or(u8::MAX)));
                if self.is_first_mount(text, mount.volume)? {
                    self.plan
                        .begin_list(Step::FileSystem {
                            into: slot,
                            attributes: NOSUID | NODEV,
                            options: List::EMPTY,
                        })
                        .string(c"tmpfs")
                        .string(c"mode")
                        .joined(&[volume.mode])
                        .end();
                }
                self.plan.push(Step::Bind {
                    into: SOURCE,
                    under: slot,
                    attributes: attributes | NOSUID | NODEV,
                    name: c".",
                });
            }
        }
        common::attach(self.plan, SOURCE, ROOT, mount.target);
        Ok(())
    }

    /// The volume `name`, and how many empty ones come before it.
    fn find(&self, name: &[u8]) -> Result<Option<(Volume<'a>, usize)>, Error<'a>> {
        let mut choices = self.options.choices.clone();
        let mut empty = 0;
        while let Some(choice) = choices.next()? {
            match choice {
                Choice::Volume(text) if !volume::is_short(text) => {
                    let volume = Volume::parse(text)?;
                    if volume.name == name {
                        return Ok(Some((volume, empty)));
                    }
                    empty += usize::from(volume.kind == Kind::Empty);
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn is_first_mount(&self, this: &CStr, name: &[u8]) -> Result<bool, Error<'a>> {
        let mut choices = self.options.choices.clone();
        while let Some(choice) = choices.next()? {
            match choice {
                Choice::Mount(text) if Mount::parse(text)?.volume == name => {
                    return Ok(core::ptr::eq(text, this));
                }
                _ => {}
            }
        }
        Ok(false)
    }

    /// Names are unique, every volume is mounted, and there are not too many.
    fn check_volumes(&self) -> Result<(), Error<'a>> {
        let mut choices = self.options.choices.clone();
        let mut empty = 0;
        while let Some(choice) = choices.next()? {
            let Choice::Volume(text) = choice else {
                continue;
            };
            if volume::is_short(text) {
                continue;
            }
            let volume = Volume::parse(text)?;
            let failed = |why: Why| Err(Error::new(What::ReadVolume, text, why));
            empty += usize::from(volume.kind == Kind::Empty);
            if empty > MAX_EMPTY {
                return failed(Why::TooManyEmpty);
            }
            let mut others = choices.clone();
            while let Some(other) = others.next()? {
                match other {
                    Choice::Volume(other)
                        if !volume::is_short(other) && Volume::parse(other)?.name == volume.name =>
                    {
                        return failed(Why::VolumeTwice);
                    }
                    _ => {}
                }
            }
            if !self.is_mounted(volume.name)? {
                return failed(Why::NotMounted);
            }
        }
        Ok(())
    }

    fn is_mounted(&self, name: &[u8]) -> Result<bool, Error<'a>> {
        let mut choices = self.options.choices.clone();
        while let Some(choice) = choices.next()? {
            match choice {
                Choice::Mount(text) if Mount::parse(text)?.volume == name => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }

    /// pid 1 keeps what its apps may have, and what it needs to start them.
    fn init(&mut self) {
        if !self.options.insecure {
            self.plan.push(Step::PodBounding {
                keep: capability::DEFAULT | capability::INIT,
            });
        }
        self.plan.push(Step::ExecInit {
            program: INIT,
            stamps: if self.options.timings.is_some() {
                u64::from(STAMPS_WRITER.0)
            } else {
                Step::NO_STAMPS
            },
        });
    }

    /// No fork: the process that was called becomes the app, in a mount
    /// namespace of its own, with the host's /dev, /proc and /sys.
    fn fly(&mut self) -> Result<(), Error<'a>> {
        self.plan
            .push(Step::Unshare {
                namespaces: u64::from(raw::CLONE_NEWNS),
            })
            .push(Step::Private {});
        self.root();
        common::host_file_systems(self.plan, SOURCE, ROOT);
        self.volumes()?;
        self.plan.push(Step::Chroot { root: ROOT });
        Ok(())
    }

    fn apps(&mut self) -> Result<(), Error<'a>> {
        let mut rest = self.options.programs.clone();
        let mut index = 0;
        while rest.clone().next().is_some() {
            let program = rest.clone();
            let count = program.clone().take_while(|word| *word != c"---").count();
            // The words of this app, and the separator behind them.
            for _ in 0..=count {
                rest.next();
            }
            if count == 0 || index >= MAX_APPS {
                return Err(Error::new(
                    What::Read,
                    c"the command line",
                    if count == 0 { Why::NoProgramNamed } else { Why::TooManyApps },
                ));
            }
            self.app(index, program.take(count))?;
            index += 1;
        }
        Ok(())
    }

    fn app<P>(&mut self, index: usize, program: P) -> Result<(), Error<'a>>
    where
        P: Iterator<Item = &'a CStr> + Clone,
    {
        let options = self.options;
        self.plan
            .begin_list(Step::App { name: c"" })
            .joined(&[b"app-", Digits::new(index as u64, 10).as_bytes()])
            .end()
            .push(Step::Stop {
                signal: STOP.0,
                deadline: STOP.1,
            });
        if options.stage1 != Stage1::Fly {
            self.plan
                .push(Step::AppSession {
                    flags: if self.host.terminal { Step::TERMINAL } else { 0 },
                })
                .push(Step::AppUmask { mask: 0o022 });
        }
        if let Some(path) = options.working_directory {
            common::working_directory(self.plan, path)?;
        }
        let identity = match (options.user, options.group) {
            (None, None) => None,
            (user, group) => Some(user::resolve(options.rootfs, user.unwrap_or(c"0"), group)?),
        };
        self.credentials(identity.as_ref());
        if options.stage1 != Stage1::Fly {
            self.plan.push(Step::Unblock {});
        }
        self.exec(program, identity.as_ref())
    }

    /// The bounding set is limited already where pid 1 has no more than the
    /// apps; where the app is the process that was called, it does that itself.
    fn credentials(&mut self, identity: Option<&user::Identity>) {
        let confined = !self.options.insecure;
        if confined && !self.has_init() {
            self.plan.push(Step::Bounding {
                keep: capability::DEFAULT,
            });
        }
        match identity {
            Some(identity) => common::identity(self.plan, identity),
            None => common::groups(self.plan, &[]),
        }
        if !confined {
            // All that is held; but none is inheritable (CVE-2022-29162).
            self.plan.push(Step::Capabilities {
                keep: capability::ALL,
            });
        } else {
            // setuid(2) to another user than root has emptied the sets.
            let root = identity.is_none_or(|identity| identity.user == 0);
            self.plan.push(Step::Capabilities {
                keep: if root { capability::DEFAULT } else { 0 },
            });
            self.plan.push(Step::NoNewPrivileges {});
        }
    }

    fn has_init(&self) -> bool {
        matches!(self.options.stage1, Stage1::Init(_))
    }

    fn exec<P>(&mut self, program: P, identity: Option<&user::Identity>) -> Result<(), Error<'a>>
    where
        P: Iterator<Item = &'a CStr> + Clone,
    {
        self.plan.begin_list(Step::Exec {
            arguments: program.clone().count() as u64,
            strings: List::EMPTY,
        });
        self.plan.string(program.clone().next().unwrap_or_default());
        for word in program {
            self.plan.string(word);
        }
        let home = identity.and_then(|identity| identity.home);
        let home = match (&home, identity) {
            (Some(home), _) => home.as_bytes(),
            (None, Some(identity)) if identity.user != 0 => b"/",
            _ => b"/root",
        };
        if !self.is_set(b"PATH")? {
            self.plan.joined(&[b"PATH=", fly::launch::app::DEFAULT_PATH]);
        }
        if !self.is_set(b"HOME")? {
            self.plan.joined(&[b"HOME=", home]);
        }
        if self.host.terminal && !self.is_set(b"TERM")? {
            self.plan.joined(&[b"TERM=", self.host.term.unwrap_or(b"xterm")]);
        }
        let mut choices = self.options.choices.clone();
        while let Some(choice) = choices.next()? {
            if let Choice::SetVariable(variable) = choice {
                if !is_set_in(choices.clone(), common::variable_name(variable))? {
                    self.plan.string(variable);
                }
            }
        }
        self.plan.end();
        Ok(())
    }

    fn is_set(&self, name: &[u8]) -> Result<bool, Error<'a>> {
        is_set_in(self.options.choices.clone(), name)
    }
}

/// Whether one of the options from `choices` on sets the variable `name`.
fn is_set_in<'a, I>(
    mut choices: crate::options::Choices<I>,
    name: &[u8],
) -> Result<bool, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    while let Some(choice) = choices.next()? {
        if let Choice::SetVariable(variable) = choice {
            if common::variable_name(variable) == name {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn names(step: &mut Builder<'_>, names: &[&CStr]) {
    for name in names {
        step.string(name);
    }
    step.end();
}
