//! The cgroups of the pod: one that is there, or those that its limits need.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    plan::Step,
    sys::descriptor,
    text::{Digits, split},
};
use linux_raw_sys::general::CLONE_NEWCGROUP;
use rustix::fs::{self, Access, AtFlags};

use super::{CGROUP, Features, Lowering, delegated};
use crate::{
    cgroups::{PARENT, PREFIX, REGISTERED},
    options::{Limit, limits::PERIOD},
    state::Place,
};

/// Where cgroups of version 2 are mounted: alone, or beside those of version 1.
const UNIFIED: [(&[u8], &CStr); 2] = [
    (b"/sys/fs/cgroup", c"/sys/fs/cgroup/cgroup.controllers"),
    (
        b"/sys/fs/cgroup/unified",
        c"/sys/fs/cgroup/unified/cgroup.controllers",
    ),
];

/// The largest weight of version 1, whose default is the same.
const MOST_BFQ: u64 = 1000;

/// A controller that limits need.
struct Controller {
    name: &'static [u8],
    /// The directory of its hierarchy of version 1.
    mount: &'static [u8],
    /// Whether it is a hierarchy of that version.
    probe: &'static CStr,
    /// For messages.
    object: &'static CStr,
    /// With a sign, as it is enabled; empty if version 2 has it without that.
    enabled: &'static [u8],
    limits: &'static [Limit],
}

/// So many of [`CONTROLLERS`], the first ones, are in each hierarchy of version 2 that is
/// alone: it is not asked. Where one is not given on, the first limit tells.
const COMMON: usize = 3;

const CONTROLLERS: [Controller; 5] = [
    Controller {
        name: b"memory",
        mount: b"/sys/fs/cgroup/memory",
        probe: c"/sys/fs/cgroup/memory/tasks",
        object: c"the controller memory",
        enabled: b"+memory",
        limits: &[Limit::Memory, Limit::Swap],
    },
    Controller {
        name: b"cpu",
        mount: b"/sys/fs/cgroup/cpu",
        probe: c"/sys/fs/cgroup/cpu/tasks",
        object: c"the controller cpu",
        enabled: b"+cpu",
        limits: &[Limit::Cpus, Limit::Weight],
    },
    Controller {
        name: b"pids",
        mount: b"/sys/fs/cgroup/pids",
        probe: c"/sys/fs/cgroup/pids/tasks",
        object: c"the controller pids",
        enabled: b"+pids",
        limits: &[Limit::Pids],
    },
    Controller {
        name: b"io",
        mount: b"/sys/fs/cgroup/blkio",
        probe: c"/sys/fs/cgroup/blkio/tasks",
        object: c"the controller io",
        enabled: b"+io",
        limits: &[Limit::IoWeight, Limit::IoMax],
    },
    Controller {
        name: b"devices",
        mount: b"/sys/fs/cgroup/devices",
        probe: c"/sys/fs/cgroup/devices/tasks",
        object: c"the controller devices",
        enabled: b"",
        limits: &[Limit::Devices],
    },
];

/// Where hierarchies are mounted.
pub fn mounts() -> impl Iterator<Item = &'static [u8]> {
    let unified = UNIFIED.iter().map(|(mount, _)| *mount);
    unified.chain(CONTROLLERS.iter().map(|controller| controller.mount))
}

/// The step of a limit, whose path and value follow.
pub(super) const fn limit_step(unified: bool) -> Step<'static> {
    Step::LimitCgroup {
        cgroup: if unified { CGROUP } else { Step::NO_SLOT },
        path: c"",
        value: c"",
    }
}

/// The cgroups that the pod is going to be in.
#[derive(Clone, Copy)]
pub(super) struct Cgroups<'c> {
    /// Those of version 1 that its first process joins, a bit each of [`CONTROLLERS`].
    joined: u8,
    /// What their name is made of.
    name: [Digits; 2],
    /// The mount of version 2, if that is needed.
    unified: Option<&'static [u8]>,
    /// Where its cgroup is made in there; in the others it is always the usual one.
    parent: &'c [u8],
}

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    /// The first process in these namespaces, and in cgroups with limits, each where its
    /// controller is: machines mix the versions.
    #[cold]
    #[inline(never)]
    pub(super) fn limited(&mut self, namespaces: u64) -> Result<(), Error<'a>> {
        let [.., a, b, c, d, e, f, g, h] = self.host.random;
        let usual = self.options.cgroup_parent.unwrap_or(PARENT).to_bytes();
        let mut cgroups = Cgroups {
            joined: 0,
            name: [
                Digits::new(self.host.pid, 10),
                Digits::new(u64::from_be_bytes([a, b, c, d, e, f, g, h]), 16),
            ],
            unified: None,
            parent: usual,
        };
        let mut unified = Unified::new();
        let [(top, probe), _] = UNIFIED;
        let is_alone = exists(probe);
        // What is for later is refused now.
        let common = if self.host.later { 0 } else { COMMON };
        for (index, controller) in CONTROLLERS.iter().enumerate() {
            if !self.is_wanted(controller) || unified.has(controller) {
                continue;
            }
            if is_alone && index < common {
                cgroups.unified = Some(top);
                continue;
            }
            if !is_alone && exists(controller.probe) {
                cgroups.joined |= 1 << index;
                self.make(controller.mount, &cgroups);
                self.limit(controller, controller.mount, &cgroups)?;
                continue;
            }
            cgroups.unified = Some(unified.find(controller)?);
        }
        let mut cgroup = Step::NO_SLOT;
        if let Some(mount) = cgroups.unified {
            self.unified(mount, cgroups)?;
            cgroup = CGROUP;
        }
        let own_users = self.has_users();
        if own_users {
            self.mapper();
        }
        // The root of its cgroup namespace are the cgroups that the process is in: behind all
        // joins.
        let joins = cgroups.joined != 0;
        let own = if joins { 0 } else { CLONE_NEWCGROUP.into() };
        self.plan.push(Step::Clone {
            cgroup,
            namespaces: namespaces | own,
        });
        // Before anything else.
        for (index, controller) in CONTROLLERS.iter().enumerate() {
            if cgroups.joined >> index & 1 != 0 {
                self.plan.begin_list(Step::JoinCgroup { path: c"" });
                self.path(controller.mount, &cgroups, b"");
                self.plan.end();
            }
        }
        if own_users {
            self.maps();
        }
        if joins {
            self.plan.push(Step::CgroupNamespace {});
        }
        Ok(())
    }

    /// Whoever is in a cgroup that is delegated leaves it first.
    fn leave(&mut self, mount: &[u8], place: &delegated::Place<'_>) {
        if place.holds_us {
            let leaf = [mount, place.parent, delegated::LEAF];
            self.plan
                .begin_list(Step::Leaf { path: c"" })
                .joined(&leaf)
                .end();
        }
    }

    /// The cgroup of version 2, for all limits whose controllers it has; the pod is born
    /// in there.
    #[cold]
    #[inline(never)]
    fn unified(&mut self, mount: &[u8], usual: Cgroups<'_>) -> Result<(), Error<'a>> {
        let mut done = None;
        if self.options.cgroup_parent.is_none() && !self.host.later {
            delegated::find(mount, &mut |place| {
                self.leave(mount, place);
                let parent = place.parent;
                done = Some(self.unified_below(mount, Cgroups { parent, ..usual }));
            });
        }
        done.unwrap_or_else(|| self.unified_below(mount, usual))
    }

    #[inline(never)]
    fn unified_below(&mut self, mount: &[u8], cgroups: Cgroups<'_>) -> Result<(), Error<'a>> {
        self.make(mount, &cgroups);
        self.plan.begin_list(Step::OpenCgroup {
            into: CGROUP,
            path: c"",
        });
        self.path(mount, &cgroups, b"");
        self.plan.end();
        for (index, controller) in CONTROLLERS.iter().enumerate() {
            if cgroups.is_unified(index) && self.is_wanted(controller) {
                self.limit(controller, mount, &cgroups)?;
            }
        }
        Ok(())
    }

    fn is_wanted(&self, controller: &Controller) -> bool {
        let mut limits = controller.limits.iter();
        limits.any(|limit| self.options.limits.get(*limit).is_some())
    }

    /// Of version 2 with the controllers that the limits need.
    fn make(&mut self, mount: &[u8], cgroups: &Cgroups<'_>) {
        let is_unified = cgroups.unified == Some(mount);
        let step = Step::MakeCgroup {
            flags: if is_unified { Step::ENABLE } else { 0 },
            mount: mount.len() as u64,
            path: c"",
            controllers: c"",
        };
        self.plan.begin_list(step);
        self.path(mount, cgroups, b"");
        let mut any = false;
        for (index, controller) in CONTROLLERS.iter().enumerate() {
            if !is_unified
                || !cgroups.is_unified(index)
                || controller.enabled.is_empty()
                || !self.is_wanted(controller)
            {
                continue;
            }
            if core::mem::replace(&mut any, true) {
                self.plan.bytes(b" ");
            }
            self.plan.bytes(controller.enabled);
        }
        self.plan.joined(&[]).end();
    }

    fn limit(
        &mut self,
        controller: &Controller,
        mount: &[u8],
        cgroups: &Cgroups<'_>,
    ) -> Result<(), Error<'a>> {
        let unified = cgroups.unified == Some(mount);
        for limit in controller.limits {
            let Some(value) = self.options.limits.get(*limit) else {
                continue;
            };
            let (file, value): (&[u8], u64) = match (limit, unified) {
                (Limit::Memory, false) => (b"/memory.limit_in_bytes", value),
                (Limit::Memory, true) => (b"/memory.max", value),
                (Limit::Cpus, false) => (b"/cpu.cfs_quota_us", value),
                (Limit::Cpus, true) => (b"/cpu.max", value),
                // As the kernel reckons: 1024 shares are a weight of 100.
                (Limit::Weight, false) => (b"/cpu.shares", (value * 1024 + 50) / 100),
                (Limit::Weight, true) => (b"/cpu.weight", value),
                (Limit::Pids, _) => (b"/pids.max", value),
                // Version 1 has one for both together.
                (Limit::Swap, false) => {
                    let memory = self.options.limits.get(Limit::Memory).unwrap_or(0);
                    let most = i64::MAX.unsigned_abs();
                    let both = memory.saturating_add(value).min(most);
                    (b"/memory.memsw.limit_in_bytes", both)
                }
                (Limit::Swap, true) => (b"/memory.swap.max", value),
                (Limit::IoWeight, false) => (b"/blkio.bfq.weight", value.min(MOST_BFQ)),
                (Limit::IoWeight, true) => (b"/io.weight", value),
                (Limit::IoMax | Limit::Devices, _) if !F::ALL => continue,
                (Limit::IoMax, _) => {
                    self.rates(mount, cgroups, unified)?;
                    continue;
                }
                (Limit::Devices, _) => {
                    self.filter_devices(mount, cgroups, unified)?;
                    continue;
                }
            };
            self.plan.begin_list(limit_step(unified));
            self.path(mount, cgroups, file);
            let digits = Digits::new(value, 10);
            let period = Digits::new(PERIOD, 10);
            let parts = [digits.as_bytes(), b" ", period.as_bytes()];
            let with_period = unified && *limit == Limit::Cpus;
            let count = if with_period { parts.len() } else { 1 };
            self.plan
                .joined(parts.get(..count).unwrap_or_default())
                .end();
        }
        Ok(())
    }

    /// Adds the path of the pod's cgroup, or of a `file` in it, to the step that is open.
    /// The pid in it tells whether the stage0 that has made it is still there; of a registered
    /// pod its directory does.
    pub(super) fn path(&mut self, mount: &[u8], cgroups: &Cgroups<'_>, file: &[u8]) {
        let parent = if cgroups.unified == Some(mount) {
            cgroups.parent
        } else {
            self.options.cgroup_parent.unwrap_or(PARENT).to_bytes()
        };
        let parent = parent.strip_suffix(b"/").unwrap_or(parent);
        if self.host.registered {
            let uuid = Place::of(self.host.directory.unwrap_or_default()).uuid;
            self.plan
                .joined(&[mount, parent, b"/", REGISTERED, uuid, file]);
            return;
        }
        let [pid, random] = cgroups.name.each_ref().map(Digits::as_bytes);
        self.plan
            .joined(&[mount, parent, b"/", PREFIX, pid, b"-", random, file]);
    }
}

fn exists(path: &CStr) -> bool {
    fs::accessat(fs::CWD, path, Access::EXISTS, AtFlags::empty()).is_ok()
}

impl Cgroups<'_> {
    /// Whether this one of [`CONTROLLERS`] is of version 2.
    fn is_unified(&self, index: usize) -> bool {
        self.joined >> index & 1 == 0
    }
}

/// What is known of version 2.
struct Unified {
    /// The controllers that it has.
    names: [u8; 256],
    length: usize,
}

impl Unified {
    /// Nothing yet.
    const fn new() -> Self {
        Self {
            names: [0; 256],
            length: 0,
        }
    }

    /// Whether it is known to have this one.
    fn has(&self, controller: &Controller) -> bool {
        let text = self.names.get(..self.length).unwrap_or_default();
        let line = split(text, b'\n').next().unwrap_or_default();
        split(line, b' ').any(|name| name == controller.name)
    }

    /// The mount of version 2 whose controller it is.
    #[cold]
    #[inline(never)]
    fn find<'e>(&mut self, controller: &Controller) -> Result<&'static [u8], Error<'e>> {
        for (mount, path) in UNIFIED {
            self.length = descriptor::read_file(path, &mut self.names).len();
            // The list may be empty, where no controller is left for version 2.
            if self.has(controller) || (controller.enabled.is_empty() && exists(path)) {
                return Ok(mount);
            }
        }
        let error = Error::new(What::Find, controller.object, Why::NoController);
        Err(error.advice(Advice::MountController))
    }
}
