//! Namespaces, who is who in them, and who supervises what is in them.

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::process;

use super::{Choice, Name, Options, ROOT, maps};
use crate::{
    error::{Error, What, Why},
    launch,
    plan::{Builder, List, Slot, Step},
    text::Digits,
    user,
};

/// The sealed copy of `--init`.
const INIT: Slot = Slot(2);
/// The cgroup.
const CGROUP: Slot = Slot(3);
/// The helper that writes maps.
const MAPPER: Slot = Slot(4);
/// The user namespace whose maps mounts have.
const MAP: Slot = Slot(5);
/// The first of the mounts of `--idmap-bind`, which are opened before all others.
const MAPPED: u8 = 20;
/// How many there may be.
const MAX_MAPPED: u8 = 12;

const NEWUSER: u32 = raw::CLONE_NEWUSER;
const NEWPID: u32 = raw::CLONE_NEWPID;

/// The most lines of both maps together.
const MAX_LINES: u16 = 64;
/// The first of these options, and how many of them come with a value that is
/// kept.
const FIRST: u32 = Name::Hostname as u32;
const VALUES: usize = Name::GroupMap as usize - FIRST as usize + 1;

/// The bit of an option.
const fn bit(name: Name) -> u32 {
    1_u32.wrapping_shl((name as u32).wrapping_sub(FIRST))
}

const USER: u32 = bit(Name::UnshareUser) | bit(Name::UnshareAll);
const PID: u32 = bit(Name::UnsharePid) | bit(Name::UnshareAll);
/// With these the program is a child, and this process waits for it. A session
/// needs one, since the leader of a process group can't begin it (setsid(2)).
const FORKS: u32 = PID | bit(Name::Cgroup) | bit(Name::NewSession);
const USER_MAP: u32 = bit(Name::UserMap);

/// What the options say of namespaces.
#[derive(Clone, Debug, Default)]
pub struct Settings<'a> {
    /// Which options there are.
    given: u32,
    /// The last value of each that has one.
    values: [&'a CStr; VALUES],
    /// How many lines of user ids, and of group ids, the maps have.
    lines: [u16; 2],
    mapped_binds: u8,
}

/// An option of `options` needs one of the others.
struct Need {
    options: u32,
    needs: u32,
    why: Why,
    name: &'static CStr,
}

static NEEDS: [Need; 8] = [
    need(
        Name::Hostname,
        c"--hostname",
        bit(Name::UnshareUts) | bit(Name::UnshareAll),
        Why::NeedsUtsNamespace,
    ),
    need(Name::Init, c"--init", PID, Why::NeedsPidNamespace),
    need(
        Name::Status,
        c"--json-status-fd",
        FORKS,
        Why::NeedsSupervisor,
    ),
    need(
        Name::UserMap,
        c"--uid-map",
        bit(Name::GroupMap),
        Why::OneMap,
    ),
    need(Name::GroupMap, c"--gid-map", USER_MAP, Why::OneMap),
    need(
        Name::UserMap,
        c"--uid-map",
        USER | bit(Name::MapRoot) | bit(Name::MapBind),
        Why::NoUseOfMaps,
    ),
    need(Name::MapRoot, c"--idmap-root", USER_MAP, Why::NeedsMaps),
    need(Name::MapBind, c"--idmap-bind", USER_MAP, Why::NeedsMaps),
];

const fn need(option: Name, name: &'static CStr, needs: u32, why: Why) -> Need {
    Need {
        options: bit(option),
        needs,
        why,
        name,
    }
}

impl<'a> Settings<'a> {
    /// Takes the option if it is one of these.
    ///
    /// # Errors
    /// Names the option whose value is bad.
    #[inline(never)]
    pub(super) fn take(&mut self, choice: &Choice<'a>) -> Result<(), Error<'a>> {
        let name = choice.name;
        let index = (name as usize).wrapping_sub(FIRST as usize);
        if index > Name::Confine as usize - FIRST as usize {
            return Ok(());
        }
        self.given |= bit(name);
        if let Some(place) = self.values.get_mut(index) {
            *place = choice.first;
        }
        let [users, groups] = &mut self.lines;
        match name {
            Name::UserMap => *users = users.saturating_add(1),
            Name::GroupMap => *groups = groups.saturating_add(1),
            Name::MapBind => self.mapped_binds = self.mapped_binds.saturating_add(1),
            _ => return Ok(()),
        }
        if name == Name::MapBind {
            return Ok(());
        }
        maps::check(choice.first)
    }

    /// Whether there is any of these options: most starts have none.
    pub(super) fn any(&self) -> bool {
        self.given != 0
    }

    /// Whether the option was given.
    pub(super) fn has(&self, name: Name) -> bool {
        self.given & bit(name) != 0
    }

    /// The value of an option that has one; empty if it was not given.
    fn value(&self, name: Name) -> &'a CStr {
        let index = (name as usize).wrapping_sub(FIRST as usize);
        self.values.get(index).copied().unwrap_or_default()
    }

    /// The new namespaces that are asked for (CLONE_NEW* bits).
    #[inline(never)]
    fn namespaces(&self) -> u32 {
        const KINDS: [u32; 6] = [
            NEWUSER,
            NEWPID,
            raw::CLONE_NEWIPC,
            raw::CLONE_NEWNET,
            raw::CLONE_NEWUTS,
            raw::CLONE_NEWCGROUP,
        ];
        let all = self.has(Name::UnshareAll);
        let mut asked = bit(Name::UnshareUser);
        let mut namespaces = 0;
        for kind in KINDS {
            if all || self.given & asked != 0 {
                namespaces |= kind;
            }
            asked <<= 1;
        }
        namespaces
    }

    /// Whether there is a new one of this kind.
    pub(super) fn unshares(&self, namespace: u32) -> bool {
        self.namespaces() & namespace != 0
    }

    /// Whether the program is a child, and this process waits for it.
    fn forks(&self) -> bool {
        self.given & FORKS != 0
    }

    /// Whether there is a new user namespace whose maps the process writes
    /// itself. It then has the caller's groups for ever.
    pub(super) fn keeps_groups(&self) -> bool {
        self.given & USER != 0 && self.maps_are_own()
    }

    fn maps_are_own(&self) -> bool {
        self.given & USER_MAP == 0
            || (self.lines == [1, 1]
                && maps::are_own(self.value(Name::UserMap), self.value(Name::GroupMap)))
    }

    /// How many lines of the maps map users.
    fn users(&self) -> u64 {
        let [users, _] = self.lines;
        u64::from(users.max(1))
    }

    /// # Errors
    /// Names the option that lacks another one, or whose value is bad.
    fn check(&self) -> Result<(), Error<'a>> {
        let failed = |name, why| Err(Error::new(What::ReadOption, name, why));
        for need in &NEEDS {
            if self.given & need.options != 0 && self.given & need.needs == 0 {
                return failed(need.name, need.why);
            }
        }
        let length = self.value(Name::Hostname).count_bytes();
        if self.has(Name::Hostname) && !(1..=64).contains(&length) {
            return failed(c"--hostname", Why::BadHostName);
        }
        let [users, groups] = self.lines;
        if users.saturating_add(groups) > MAX_LINES {
            return failed(c"--uid-map", Why::OneMap);
        }
        if self.mapped_binds > MAX_MAPPED {
            return failed(c"--idmap-bind", Why::TooManyMapped);
        }
        Ok(())
    }
}

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// A mount namespace, always: nothing that is mounted reaches the caller.
    pub(super) fn lower_namespaces(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        if self.namespaces.any() {
            return self.lower_new_namespaces(plan);
        }
        plan.push(Step::Unshare {
            namespaces: u64::from(raw::CLONE_NEWNS),
        })
        .push(Step::Private {});
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn lower_new_namespaces(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        let own = &self.namespaces;
        own.check()?;
        let asked = own.namespaces();
        let (user, forks) = (asked & NEWUSER != 0, own.forks());
        if forks {
            plan.push(Step::Supervise {});
        }
        if own.has(Name::Init) {
            plan.push(Step::Seal {
                into: INIT,
                flags: Step::ALONE,
                path: own.value(Name::Init),
            });
        }
        let mut cgroup = Step::NO_SLOT;
        if own.has(Name::Cgroup) {
            cgroup = CGROUP;
            plan.push(Step::OpenCgroup {
                into: CGROUP,
                path: own.value(Name::Cgroup),
            });
        }
        self.lower_mapped_trees(plan)?;
        let mut mapper = Step::NO_SLOT;
        if user && !own.maps_are_own() {
            mapper = MAPPER;
            plan.push(Step::Mapper { into: MAPPER });
        }
        let namespaces = u64::from(asked | raw::CLONE_NEWNS);
        if forks {
            plan.push(Step::Clone { cgroup, namespaces });
        } else {
            plan.push(Step::Unshare { namespaces });
        }
        if user {
            self.lower_maps(plan, mapper)?;
        }
        if own.has(Name::Status) {
            plan.push(Step::NoteNamespaces { namespaces });
        }
        plan.push(Step::Private {});
        if own.has(Name::Confine) {
            // Modes are as written; the program gets the caller's mask back.
            plan.push(Step::Umask { mask: 0 });
        }
        Ok(())
    }

    /// What has the ids of its files mapped is opened outside of the user
    /// namespace: only there may they be.
    fn lower_mapped_trees(&self, plan: &mut Builder<'_>) -> Result<(), Error<'a>> {
        let own = &self.namespaces;
        if own.given & (bit(Name::MapRoot) | bit(Name::MapBind)) == 0 {
            return Ok(());
        }
        plan.begin_list(Step::UserNamespace {
            into: MAP,
            users: own.users(),
            lines: List::EMPTY,
        });
        maps::write(plan, &self.choices)?;
        plan.end();
        let mut push = |into, attributes, path| {
            plan.push(Step::MappedTree {
                into,
                map: MAP,
                flags: Step::RECURSIVE,
                attributes,
                path,
            });
        };
        if own.has(Name::MapRoot) {
            push(ROOT, self.root_attributes(), self.rootfs);
        }
        let mut choices = self.choices.clone();
        let mut count = 0;
        while let Some(choice) = choices.known() {
            if choice.name == Name::MapBind {
                push(mapped_slot(count), 0, choice.first);
                count += 1;
            }
        }
        Ok(())
    }

    /// Without maps the caller is root inside, or whom `--user` names.
    fn lower_maps(&self, plan: &mut Builder<'_>, mapper: Slot) -> Result<(), Error<'a>> {
        plan.begin_list(Step::Maps {
            mapper,
            users: self.namespaces.users(),
            lines: List::EMPTY,
        });
        if self.namespaces.given & USER_MAP != 0 {
            maps::write(plan, &self.choices)?;
        } else {
            let (mut user, mut group) = (0, 0);
            if let Some(pair) = self.process.user() {
                let identity = user::resolve_pair(self.rootfs, pair)?;
                (user, group) = (identity.user, identity.group);
            }
            for (inside, outside) in [
                (user, process::geteuid().as_raw()),
                (group, process::getegid().as_raw()),
            ] {
                let [inside, outside] = [inside, outside].map(|id| Digits::new(u64::from(id), 10));
                plan.joined(&[inside.as_bytes(), b":", outside.as_bytes(), b":1"]);
            }
        }
        plan.end();
        Ok(())
    }

    /// The names and the network of the new namespaces.
    #[cold]
    #[inline(never)]
    pub(super) fn lower_names(&self, plan: &mut Builder<'_>) {
        if self.namespaces.has(Name::Hostname) {
            plan.push(Step::Hostname {
                name: self.namespaces.value(Name::Hostname),
            });
        }
        if self.namespaces.unshares(raw::CLONE_NEWNET) {
            plan.push(Step::Loopback {});
        }
    }

    /// What comes last before the program: with its credentials.
    #[cold]
    #[inline(never)]
    pub(super) fn lower_supervision(&self, plan: &mut Builder<'_>) {
        let forks = self.namespaces.forks();
        if self.namespaces.has(Name::DieWithParent) {
            plan.push(Step::AppDieWithParent {
                parent: if forks {
                    Step::LAUNCHER
                } else {
                    launch::parent_pid()
                },
            });
        }
        if forks {
            plan.push(Step::Unblock {});
        }
    }

    /// Begins the last step with `--init`, whose arguments are its own path, `--`,
    /// and what follows: `count` strings.
    #[cold]
    #[inline(never)]
    pub(super) fn begin_sealed(&self, plan: &mut Builder<'_>, count: u64) {
        let init = self.namespaces.value(Name::Init);
        plan.begin_list(Step::ExecSealed {
            program: INIT,
            arguments: count.saturating_add(2),
            strings: List::EMPTY,
        })
        .string(init)
        .string(init)
        .string(c"--");
    }
}

/// Where the mount of the `index`-th `--idmap-bind` is.
pub(super) fn mapped_slot(index: u8) -> Slot {
    Slot(MAPPED.saturating_add(index))
}
