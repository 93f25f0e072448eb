//! From options to a plan: every step of a pod, in its order.

mod app;
mod cgroups;
mod delegated;
mod devices;
mod files;
mod filter;
mod logs;
mod names;
mod own;
mod pass;
mod pipes;
pub(crate) mod policy;
mod roots;
pub(crate) mod streams;
mod users;
mod volumes;

use core::{ffi::CStr, marker::PhantomData};

use fly::{
    capability,
    error::{Error, What, Why},
    lower as common,
    plan::{Builder, Kind, Slot, Step},
    sys::entry::Strings,
    text::Digits,
};
use linux_raw_sys::general as raw;

pub use cgroups::mounts;
pub use pass::{Wants, wants};
pub use roots::MAX_ROOTS;
pub use volumes::MAX_EMPTY;

use crate::{
    options::{Insecure, Ipc, Limit, Network, Options, Stage1},
    state,
    users::Users,
    uuid,
};

/// What a program can do: what few starts need is in `stage0-full` only, see
/// [`Options::is_rare`].
pub trait Features {
    /// Whether it can do all.
    const ALL: bool;
}

/// What most starts need.
#[derive(Clone, Copy, Debug)]
pub struct Common;

impl Features for Common {
    const ALL: bool = false;
}

/// All that there is.
#[derive(Clone, Copy, Debug)]
pub struct All;

impl Features for All {
    const ALL: bool = true;
}

/// What the lowering needs to know of the host.
#[derive(Debug)]
pub struct Host<'h> {
    /// Random bytes, for names.
    pub random: [u8; 16],
    /// The pod's directory on the host, if it has one.
    pub directory: Option<&'h CStr>,
    /// The environment, which may say where the pool of network namespaces is.
    pub environment: Option<&'h Strings>,
    /// Whether that is one of a registered pod, whose last part is its uuid.
    pub registered: bool,
    /// The pid of this process.
    pub pid: u64,
    /// Whether another process starts the pod.
    pub later: bool,
    /// What the programs ask for.
    pub wants: Wants,
    /// Whether the pod gets a terminal.
    pub terminal: bool,
    /// Whether the pod needs a session of its own: the caller's may have a
    /// controlling terminal, or the pod gets one.
    pub session: bool,
    /// pid 1's program; empty for the flavours that need none.
    pub stage1_init: &'h CStr,
    /// Whose the ids of the pod are.
    pub users: Users,
    /// Whether the caller has supplementary groups.
    pub groups: bool,
    /// The capabilities of the caller.
    pub known: u64,
    /// Whether the caller's inheritable capabilities are any.
    pub inheritable: bool,
    /// The caller's LISTEN_FDS, if they are for stage0.
    pub listening: Option<&'h [u8]>,
    /// Its LISTEN_FDNAMES.
    pub names: Option<&'h [u8]>,
    /// The caller's NOTIFY_SOCKET.
    pub notify: Option<&'h [u8]>,
    /// The caller's TERM.
    pub term: Option<&'h [u8]>,
}

const INIT: Slot = Slot(1);
const CGROUP: Slot = Slot(0);
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
pub(crate) const DEV: Slot = Slot(12);
const SHM: Slot = Slot(13);
/// The pod's directory.
const DIRECTORY: Slot = Slot(15);
/// What is opened and mounted at once.
const SOURCE: Slot = Slot(14);

const RDONLY: u64 = raw::MOUNT_ATTR_RDONLY as u64;
const NOSUID: u64 = raw::MOUNT_ATTR_NOSUID as u64;
const NODEV: u64 = raw::MOUNT_ATTR_NODEV as u64;
const NOEXEC: u64 = raw::MOUNT_ATTR_NOEXEC as u64;

/// Writes the pod's steps.
///
/// # Errors
/// Names the option whose value can't be lowered.
pub fn lower<'a, I, F>(
    options: &Options<'a, I>,
    host: &Host<'_>,
    plan: &mut Builder<'_>,
) -> Result<(), Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    Lowering {
        features: PhantomData::<F>,
        options,
        host,
        plan,
        held: capability::DEFAULT | capability::INIT,
        made: 0,
        mapped: 0,
    }
    .pod()
}

/// Writes the steps of one program that is added to a pod.
///
/// `held` are the capabilities of the pod's pid 1.
///
/// # Errors
/// As [`lower`]; what pid 1 does not have it can't give.
pub fn lower_added<'a, I, F>(
    options: &Options<'a, I>,
    host: &Host<'_>,
    plan: &mut Builder<'_>,
    held: u64,
) -> Result<(), Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    Lowering {
        features: PhantomData::<F>,
        options,
        host,
        plan,
        held,
        made: 0,
        mapped: 0,
    }
    .apps()
}

struct Lowering<'l, 'a, 'h, 'p, I, F> {
    features: PhantomData<F>,
    options: &'l Options<'a, I>,
    host: &'l Host<'h>,
    plan: &'l mut Builder<'p>,
    /// The capabilities of pid 1.
    held: u64,
    /// The empty volumes that are mounted already, a bit each.
    made: u32,
    /// How many mounts of the host with mapped ids are mounted.
    mapped: u8,
}

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    fn pod(&mut self) -> Result<(), Error<'a>> {
        if F::ALL && self.options.output.is_some() {
            self.machine();
            return self.apps();
        }
        self.close_inherited()?;
        if let (true, Some(adjustment)) = (F::ALL, self.options.oom_score) {
            // What the pod's processes inherit: in the pod nobody could lower it.
            self.plan.push_limit(Kind::OomScore, adjustment);
        }
        match self.options.stage1 {
            Stage1::Fly => self.fly()?,
            Stage1::Init(_) => {
                if self.has_users() {
                    self.check_network()?;
                }
                self.launch()?;
                if self.has_users() {
                    self.before_user_namespace()?;
                }
                self.namespaces()?;
                // A parked pod outlives who has parked it, and is released by another.
                let is_parked = self.options.hold;
                if !is_parked {
                    self.plan.push(Step::DieWithParent {});
                }
                self.plan.push(Step::Session {
                    flags: if self.host.session || is_parked {
                        0
                    } else {
                        Step::NO_TERMINAL
                    },
                });
                self.isolated()?;
                self.init();
            }
            Stage1::Other(path) => {
                if F::ALL {
                    self.check_other(path)?;
                    self.hand_over(path);
                    self.namespaces()?;
                    self.isolated()?;
                }
            }
        }
        self.apps()
    }

    /// Whoever starts a pod with a terminal does all.
    fn has_terminal(&self) -> bool {
        F::ALL && self.host.terminal
    }

    /// What the init of a machine does itself: its names, and its root, which is a
    /// path of the machine.
    fn machine(&mut self) {
        if let Some(name) = self.options.hostname {
            self.plan.push(Step::Hostname { name });
        }
        if self.options.rootfs != c"/" {
            self.plan
                .push(Step::OpenDirectory {
                    into: ROOT,
                    path: self.options.rootfs,
                })
                .push(Step::Chroot { root: ROOT });
        }
    }

    /// What the launcher prepares before the pod's first process exists.
    fn launch(&mut self) -> Result<(), Error<'a>> {
        self.plan.push(Step::Supervise {}).push(Step::Seal {
            into: INIT,
            flags: 0,
            path: self.host.stage1_init,
        });
        if F::ALL && self.options.timings.is_some() {
            self.plan.push(Step::Stamps {
                reader: STAMPS_READER,
                writer: STAMPS_WRITER,
            });
        }
        if self.has_terminal() && !self.has_users() {
            self.plan.push(Step::Terminal {
                devpts: PTS,
                master: MASTER,
                peer: u64::from(PEER.0),
            });
        }
        if let (Network::Pool, Some(environment)) = (self.options.network, self.host.environment) {
            let given = self.options.life.state_directory;
            state::join_pooled(given, environment, self.plan)?;
        }
        Ok(())
    }

    /// Whatever another stage 1 would have to know of, and the contract does not say.
    fn check_other(&self, path: &'a CStr) -> Result<(), Error<'a>> {
        let failed = |option, why| Err(Error::new(What::ReadOption, option, why));
        if !path.to_bytes().starts_with(b"/") {
            return failed(path, Why::NotAbsolute);
        }
        let option = if self.options.network == Network::Pool {
            c"--net=pool"
        } else if self.options.life.timeout != 0 {
            c"--timeout"
        } else if self.options.pod_directory.is_some() {
            c"--pod-dir"
        } else if self.options.timings.is_some() {
            c"--timings"
        } else if self.options.terminal == Some(true) {
            c"--tty"
        } else {
            return Ok(());
        };
        failed(option, Why::OnlyInit)
    }

    fn hand_over(&mut self, path: &'a CStr) {
        self.plan
            .begin_list(Step::HandOver { path, uuid: c"" })
            .string(path)
            .joined(&[&uuid::text(self.host.random)])
            .end();
    }

    fn namespaces(&mut self) -> Result<(), Error<'a>> {
        let mut namespaces = raw::CLONE_NEWPID | raw::CLONE_NEWNS | raw::CLONE_NEWUTS;
        if self.options.ipc != Ipc::Parent {
            namespaces |= raw::CLONE_NEWIPC;
        }
        if self.options.network == Network::None {
            namespaces |= raw::CLONE_NEWNET;
        }
        if let (true, Network::Path(path)) = (F::ALL, self.options.network) {
            self.plan.push(Step::JoinNetwork { path });
        }
        let own_users = self.has_users();
        if own_users {
            namespaces |= raw::CLONE_NEWUSER;
        }
        let namespaces = u64::from(namespaces);
        if self.options.limits.first().is_some() {
            return self.limited(namespaces);
        }
        // Its cgroups are the caller's, but it sees no path of the host.
        let hides = !self.options.insecure.has(Insecure::PATHS);
        let own = if hides { raw::CLONE_NEWCGROUP } else { 0 };
        let namespaces = namespaces | u64::from(own);
        let cgroup = match self.options.cgroup {
            Some(path) => {
                self.plan.push(Step::OpenCgroup { into: CGROUP, path });
                CGROUP
            }
            None => Step::NO_SLOT,
        };
        if own_users {
            self.mapper();
        }
        self.plan.push(Step::Clone { cgroup, namespaces });
        if own_users {
            self.maps();
        }
        Ok(())
    }

    /// The pod's files and names.
    fn isolated(&mut self) -> Result<(), Error<'a>> {
        if self.reaches_keys()? {
            self.plan.push(Step::Keyring {});
        }
        self.plan
            .push(Step::Private {})
            .push(Step::Umask { mask: 0 });
        if self.has_terminal() && self.has_users() {
            self.plan.push(Step::OwnTerminal {
                devpts: PTS,
                peer: PEER,
                sender: u64::from(PEER.0),
            });
        }
        self.check_volumes()?;
        if F::ALL && self.options.several {
            self.roots()?;
        } else {
            self.root();
            self.pods_files()?;
            self.mounts_of_all()?;
        }
        self.hostname();
        if self.options.network == Network::None {
            self.plan.push(Step::Loopback {});
        }
        if self.has_terminal() {
            self.plan.push(Step::TerminalStdio { peer: PEER });
        }
        if let (Some(path), false) = (self.host.directory, self.maps_mounts()) {
            // Of the host nothing but this: a mount by itself has no parent.
            self.plan.push(Step::OpenTree {
                into: DIRECTORY,
                flags: 0,
                attributes: NOSUID | NODEV | NOEXEC,
                path,
            });
        }
        self.plan.push(Step::Pivot { root: ROOT });
        Ok(())
    }

    /// Its /dev, /proc and /sys, and what is made in them.
    fn pods_files(&mut self) -> Result<(), Error<'a>> {
        self.kernel_files()?;
        if F::ALL && self.options.limits.get(Limit::Devices).is_some() {
            self.device_nodes()?;
        }
        if F::ALL && self.host.wants.streams {
            self.streams();
        }
        self.notify_socket()
    }

    fn hostname(&mut self) {
        self.plan.begin_list(Step::Hostname { name: c"" });
        self.name_of_pod(b"");
        self.plan.end();
    }

    /// Adds the pod's host name behind `prefix` to the step that is open.
    fn name_of_pod(&mut self, prefix: &[u8]) {
        match self.options.hostname {
            Some(name) => self.plan.joined(&[prefix, name.to_bytes()]),
            None => {
                let [a, b, c, d, ..] = self.host.random;
                let number = u64::from(u32::from_be_bytes([a, b, c, d]));
                // The leading 1 keeps the zeros.
                let digits = Digits::new((1 << 32) | number, 16);
                let digits = digits.as_bytes().get(1..).unwrap_or_default();
                self.plan.joined(&[prefix, b"pod-", digits])
            }
        };
    }

    /// pid 1 keeps what its apps may have, and what it needs to start them.
    fn init(&mut self) {
        if !self.options.insecure.has(Insecure::CAPABILITIES) {
            self.held |= self.host.wants.capabilities;
            self.plan.push(Step::PodBounding { keep: self.held });
        }
        self.plan.push(Step::ExecInit {
            program: INIT,
            directory: self.directory(),
            flags: if self.options.hold { Step::HOLD } else { 0 },
            stamps: if F::ALL && self.options.timings.is_some() {
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
        self.names(ROOT);
        self.check_volumes()?;
        self.mounts_of_all()?;
        self.plan.push(Step::Chroot { root: ROOT });
        Ok(())
    }
}
