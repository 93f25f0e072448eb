//! The cgroups of the pod: one that is there, or those that its limits need.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    plan::{Slot, Step},
    sys::descriptor,
    text::{Digits, split},
};
use rustix::fs::{self, Access, AtFlags};

use super::{CGROUP, Lowering};
use crate::{
    cgroups::{PREFIX, REGISTERED},
    options::{Limit, limits::PERIOD},
    state::Place,
};

/// Where pods are, unless `--cgroup-parent` says otherwise.
const PARENT: &CStr = c"/kickstage";
/// Where cgroups of version 2 are mounted: alone, or beside those of version 1.
const UNIFIED: [(&[u8], &CStr); 2] = [
    (b"/sys/fs/cgroup", c"/sys/fs/cgroup/cgroup.controllers"),
    (
        b"/sys/fs/cgroup/unified",
        c"/sys/fs/cgroup/unified/cgroup.controllers",
    ),
];

/// A controller that limits need.
struct Controller {
    name: &'static [u8],
    /// The directory of its hierarchy of version 1.
    mount: &'static [u8],
    /// Whether it is a hierarchy of that version.
    probe: &'static CStr,
    /// For messages.
    object: &'static CStr,
    /// With a sign, as it is enabled.
    enabled: &'static [u8],
    limits: &'static [Limit],
}

const CONTROLLERS: [Controller; 3] = [
    Controller {
        name: b"memory",
        mount: b"/sys/fs/cgroup/memory",
        probe: c"/sys/fs/cgroup/memory/tasks",
        object: c"the controller memory",
        enabled: b"+memory",
        limits: &[Limit::Memory],
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
];

/// The cgroups that the pod is going to be in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cgroups {
    /// Of version 2: its first process is born there.
    pub(super) slot: Slot,
    /// Of version 1, a bit each of [`CONTROLLERS`]: it joins them.
    joined: u8,
    random: u64,
}

impl<'a, I> Lowering<'_, 'a, '_, '_, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Opens the cgroup, or makes those for the limits, each where its controller
    /// is: machines mix the versions.
    #[cold]
    #[inline(never)]
    pub(super) fn cgroups(&mut self) -> Result<Cgroups, Error<'a>> {
        let [.., a, b, c, d, e, f, g, h] = self.host.random;
        let mut cgroups = Cgroups {
            slot: Step::NO_SLOT,
            joined: 0,
            random: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        };
        if let Some(path) = self.options.cgroup {
            cgroups.slot = CGROUP;
            self.plan.push(Step::OpenCgroup { into: CGROUP, path });
        }
        if self.options.limits.first().is_none() {
            return Ok(cgroups);
        }
        let mut unified = None;
        let mut others = [b"".as_slice(); CONTROLLERS.len()];
        for (index, controller) in CONTROLLERS.iter().enumerate() {
            if !self.is_wanted(controller) {
                continue;
            }
            if fs::accessat(fs::CWD, controller.probe, Access::EXISTS, AtFlags::empty()).is_ok() {
                cgroups.joined |= 1 << index;
                self.make(controller.mount, &cgroups, &[]);
                self.limit(controller, controller.mount, &cgroups, false);
                continue;
            }
            unified = Some(find(controller)?);
            if let Some(place) = others.get_mut(index) {
                *place = controller.enabled;
            }
        }
        if let Some(mount) = unified {
            self.make(mount, &cgroups, &others);
            for (controller, other) in CONTROLLERS.iter().zip(others) {
                if !other.is_empty() {
                    self.limit(controller, mount, &cgroups, true);
                }
            }
            cgroups.slot = CGROUP;
            let step = Step::OpenCgroup {
                into: CGROUP,
                path: c"",
            };
            self.plan.begin_list(step);
            self.path(mount, &cgroups, b"");
            self.plan.end();
        }
        Ok(cgroups)
    }

    /// What the first process does before anything else.
    #[cold]
    #[inline(never)]
    pub(super) fn join(&mut self, cgroups: &Cgroups) {
        for (index, controller) in CONTROLLERS.iter().enumerate() {
            if cgroups.joined >> index & 1 != 0 {
                self.plan.begin_list(Step::JoinCgroup { path: c"" });
                self.path(controller.mount, cgroups, b"");
                self.plan.end();
            }
        }
    }

    fn is_wanted(&self, controller: &Controller) -> bool {
        let mut limits = controller.limits.iter();
        limits.any(|limit| self.options.limits.get(*limit).is_some())
    }

    fn make(&mut self, mount: &[u8], cgroups: &Cgroups, controllers: &[&[u8]]) {
        let step = Step::MakeCgroup {
            flags: if controllers.is_empty() {
                0
            } else {
                Step::ENABLE
            },
            mount: mount.len() as u64,
            path: c"",
            controllers: c"",
        };
        self.plan.begin_list(step);
        self.path(mount, cgroups, b"");
        let mut any = false;
        for name in controllers.iter().filter(|name| !name.is_empty()) {
            if core::mem::replace(&mut any, true) {
                self.plan.bytes(b" ");
            }
            self.plan.bytes(name);
        }
        self.plan.joined(&[]).end();
    }

    fn limit(&mut self, controller: &Controller, mount: &[u8], cgroups: &Cgroups, unified: bool) {
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
            };
            let step = Step::LimitCgroup {
                path: c"",
                value: c"",
            };
            self.plan.begin_list(step);
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
    }

    /// Adds the path of the pod's cgroup, or of a `file` in it, to the step that is open.
    /// The pid in it tells whether the stage0 that has made it is still there; of a registered
    /// pod its directory does.
    fn path(&mut self, mount: &[u8], cgroups: &Cgroups, file: &[u8]) {
        let parent = self.options.cgroup_parent.unwrap_or(PARENT).to_bytes();
        let parent = parent.strip_suffix(b"/").unwrap_or(parent);
        if self.host.registered {
            let uuid = Place::of(self.host.directory.unwrap_or_default()).uuid;
            self.plan
                .joined(&[mount, parent, b"/", REGISTERED, uuid, file]);
            return;
        }
        let pid = Digits::new(self.host.pid, 10);
        let random = Digits::new(cgroups.random, 16);
        self.plan.joined(&[
            mount,
            parent,
            b"/",
            PREFIX,
            pid.as_bytes(),
            b"-",
            random.as_bytes(),
            file,
        ]);
    }
}

/// The mount of version 2 whose controller it is.
#[cold]
#[inline(never)]
fn find<'e>(controller: &Controller) -> Result<&'static [u8], Error<'e>> {
    let mut buffer = [0; 256];
    for (mount, path) in UNIFIED {
        let text = descriptor::read_file(path, &mut buffer);
        let line = split(text, b'\n').next().unwrap_or_default();
        if split(line, b' ').any(|name| name == controller.name) {
            return Ok(mount);
        }
    }
    let error = Error::new(What::Find, controller.object, Why::NoController);
    Err(error.advice(Advice::MountController))
}
