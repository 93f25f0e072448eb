//! Carrying out a plan: one function a step, in the order of the plan.
//!
//! [`Launcher::launch`] walks the steps. Those of the launch phase run in the
//! calling process; [`Step::Clone`] makes the pod's first process, which shares
//! the caller's memory and goes on with the steps of the pod until it becomes
//! pid 1's program, while the caller waits. A plan without that step goes on in
//! the same process until it is the app.

pub mod app;
mod cgroups;
mod created;
mod devices;
mod elf;
pub mod empty;
mod explain;
mod fallbacks;
mod files;
mod guard;
mod library;
mod limits;
mod made;
mod maps;
mod names;
mod networks;
pub mod path;
mod pods;
mod process;
mod remount;
mod root;
mod running;
mod seal;
pub mod shared;
mod status;
mod users;
mod walk;

pub use explain::exec as explain_exec;
pub use fallbacks::Fallbacks;
pub use library::look;
pub use pods::is_rare;
pub use process::{
    DIRECTORY_DESCRIPTOR, PLAN_DESCRIPTOR, STAMPS_DESCRIPTOR, block_signals, copy_window_size,
    parent_pid, supervise,
};
pub use running::Running;
pub use status::Status;
pub(crate) use walk::file_type;

use core::ffi::CStr;

use linux_raw_sys::general as raw;
use rustix::{
    fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd},
    io::Errno,
};

use crate::{
    error::{Error, What},
    plan::{Kind, List, MAX_SLOTS, Plan, Record, Slot, Step, match_step},
    sys::{arch, clone, descriptor},
};

use created::Created;
use remount::Pending;

/// The first descriptor that [`Launcher::keep`] keeps: behind all that are passed on.
pub const KEPT: RawFd = 90;
/// How many they are at least.
pub const KEPT_COUNT: RawFd = 4;

/// Bytes of `room` that a [`Launcher`] has a use for: the paths of some dozens of
/// mount points.
pub const ROOM: usize = 16 << 10;

/// What is called with the stamps and the fallbacks before an exec.
type Report<'s> = &'s dyn Fn(&[usize], Fallbacks);

/// Carries out a step.
type PodStep<'p, 's> = fn(&mut Launcher<'p, 's>, &Record<'p>) -> Result<(), Error<'p>>;

/// What only pods have.
struct Pods<'p, 's> {
    /// Carries out a step.
    step: PodStep<'p, 's>,
    /// Opens a sealed copy of pid 1's program, or makes one, with what it reads.
    seal: fn(&mut Launcher<'p, 's>, Slot, &'p CStr) -> Result<(), Error<'p>>,
    /// Opens the empty mount namespace to be copied, if there is one; behind a start in vain
    /// with what others hold, makes pid 1's copy anew.
    find: fn(&mut Launcher<'p, 's>) -> Result<(), Error<'p>>,
    /// Carries out a step where one is copied.
    apart: PodStep<'p, 's>,
}

/// Looks at a program.
type CheckStep<'p> = fn(u64, List<'p>) -> Error<'p>;

/// Walks a plan.
#[allow(missing_debug_implementations)]
pub struct Launcher<'p, 's> {
    plan: Plan<'p>,
    /// Descriptor numbers, -1 where there is none. Plain numbers, since the
    /// child of a clone works on this memory with a descriptor table of its
    /// own: the caller puts its numbers back afterwards. One more than plans can name.
    slots: [RawFd; MAX_SLOTS as usize + 1],
    /// What of a mount's attributes waits until it is attached.
    pending: [Pending; MAX_SLOTS as usize],
    /// Room for the pointers that exec takes.
    words: &'s mut [usize],
    /// The cycle counter after each step, if it is asked for.
    stamps: Option<&'s mut [usize]>,
    before_exec: Option<Report<'s>>,
    /// What [`Launcher::for_pods`] adds: a program without pods is not to hold it.
    pods: Option<Pods<'p, 's>>,
    /// What [`Launcher::for_options`] adds, likewise.
    options: Option<PodStep<'p, 's>>,
    /// What [`Launcher::for_checks`] adds, likewise.
    checks: Option<CheckStep<'p>>,
    created: Created<'s>,
    fallbacks: Fallbacks,
    /// How many mounts are attached over /, one over the other: the root to be, and
    /// writable layers, which are unmounted by themselves.
    attached: u8,
    /// Something is mounted over /: `..` of a path leads into it.
    covered: bool,
    /// The directory in a slot where mounts are attached: its device and inode.
    place: Option<(Slot, u64, u64)>,
    /// Where in the sealed file the plan begins.
    plan_offset: u64,
    terminal: Option<Slot>,
    reader: Option<Slot>,
    /// Whom the end of the program is told.
    status: Status,
    /// The helper that writes the maps of a user namespace, until it is collected.
    mapper: i32,
    /// [`Launcher::keep`]
    kept: RawFd,
    /// [`Launcher::copy_empty`]
    empty: &'s CStr,
    /// The empty mount namespace that is copied, or -1.
    copied: RawFd,
}

impl<'p, 's> Launcher<'p, 's> {
    /// A launcher for `plan`; `words` is room for exec's pointers: one a
    /// string of the largest app and two more. `room` is where the names of the
    /// mount points go that it has to make.
    pub fn new(plan: Plan<'p>, words: &'s mut [usize], room: &'s mut [u8]) -> Self {
        Self {
            plan,
            slots: [-1; MAX_SLOTS as usize + 1],
            pending: [Pending::NONE; MAX_SLOTS as usize],
            words,
            stamps: None,
            before_exec: None,
            pods: None,
            options: None,
            checks: None,
            created: Created::new(room),
            fallbacks: Fallbacks::default(),
            attached: 0,
            covered: false,
            place: None,
            plan_offset: 0,
            terminal: None,
            reader: None,
            status: Status::NONE,
            mapper: 0,
            kept: 0,
            empty: c"",
            copied: -1,
        }
    }

    /// Leaves `count` descriptors from [`KEPT`] on open when it closes the inherited ones:
    /// they are the caller's own. They are to be closed by exec.
    pub fn keep(&mut self, count: RawFd) {
        self.kept = count;
    }

    /// Notes the cycle counter after each step, at the step's number.
    pub fn stamp_into(&mut self, stamps: &'s mut [usize]) {
        self.stamps = Some(stamps);
    }

    /// Calls `report` with the stamps and the fallbacks when this process is about to be the app.
    pub fn before_exec(&mut self, report: Report<'s>) {
        self.before_exec = Some(report);
    }

    /// Makes this launcher one for most pods, too: with a pid 1, a terminal, limits; not
    /// for plans that [`is_rare`].
    pub fn for_pods(&mut self) {
        self.pods = Some(Pods {
            step: Self::pod_step,
            seal: Self::seal_init,
            find: Self::find_all,
            apart: Self::step_apart,
        });
    }

    /// Makes this launcher one for all pods, also with what few have.
    pub fn for_all_pods(&mut self) {
        self.pods = Some(Pods {
            step: Self::any_pod_step,
            seal: Self::seal_init,
            find: Self::find_all,
            apart: Self::step_apart,
        });
    }

    /// Makes this launcher one for the options of `fly`, too.
    pub fn for_options(&mut self) {
        self.options = Some(Self::option_step);
    }

    /// Makes this launcher one that looks at a program in place of its start, too.
    pub fn for_checks(&mut self) {
        self.checks = Some(library::check);
    }

    /// What was done instead of calls that are missing here.
    #[must_use]
    pub fn fallbacks(&self) -> Fallbacks {
        self.fallbacks
    }

    /// The stamps noted so far.
    #[must_use]
    pub fn stamps(&self) -> &[usize] {
        self.stamps.as_deref().unwrap_or_default()
    }

    /// Carries the plan out. With a [`Step::Clone`] it returns the running pod;
    /// without, it returns only if it failed, since the process is then the
    /// app.
    ///
    /// # Errors
    /// The step that failed. What was made is unmade, but for what dies with
    /// this process.
    #[inline(never)]
    pub fn launch(&mut self) -> Result<Running, Error<'p>> {
        for (number, record) in self.plan.steps().records().enumerate() {
            if record.is(Kind::Clone) {
                return self.clone_pod(number, Slot(record.slot), record.number);
            }
            if let (true, Some(report)) = (record.is(Kind::Exec), self.before_exec) {
                report(self.stamps(), self.fallbacks);
            }
            let done = self.step(&record);
            self.stamp(number);
            if let Err(error) = done {
                self.unmake();
                return Err(error);
            }
        }
        Err(Error::new(What::Exec, c"", Errno::NOEXEC))
    }

    /// Removes the mount points that were made.
    fn unmake(&mut self) {
        self.created.unmake(&self.slots);
    }

    fn stamp(&mut self, number: usize) {
        if let Some(place) = self
            .stamps
            .as_deref_mut()
            .and_then(|stamps| stamps.get_mut(number))
        {
            *place = usize::try_from(arch::cycles()).unwrap_or(0);
        }
    }

    fn clone_pod(
        &mut self,
        number: usize,
        cgroup: Slot,
        namespaces: u64,
    ) -> Result<Running, Error<'p>> {
        let mut failure = None;
        self.stamp(number);
        if let Some(pods) = &self.pods {
            (pods.find)(self)?;
        }
        let mut made = namespaces;
        if self.copied >= 0 {
            made &= !u64::from(raw::CLONE_NEWNS);
        }
        let (slots, mapper) = (self.slots, self.mapper);
        let wanted = self.filled(cgroup);
        let child = clone::vfork(made, wanted, |birth| {
            let joined = match wanted {
                Some(cgroup) if !birth.in_cgroup => process::join(cgroup)
                    .and_then(|()| process::unshare(made & u64::from(raw::CLONE_NEWCGROUP))),
                _ => Ok(()),
            };
            let error = match joined {
                Ok(()) => self.set_pod_up(number, birth),
                Err(error) => error,
            };
            self.unmake();
            failure = Some(error);
            crate::error::FAILURE
        });
        self.slots = slots;
        // The child takes it for its own, which it can't collect.
        self.mapper = mapper;
        if mapper != 0 {
            self.reap_mapper();
        }
        let child = child.map_err(|errno| explain::clone(namespaces, errno))?;
        self.fallbacks.clone3 = child.method == clone::Method::Clone;
        self.fallbacks.into_cgroup = wanted.is_some() && !child.in_cgroup;
        if let Some(error) = failure {
            process::reap(&child);
            // Whatever it was, by itself it is told as ever, if it is again.
            if self.copied >= 0 {
                self.end_copy();
                return self.clone_pod(number, cgroup, namespaces);
            }
            return Err(error);
        }
        let running = Running {
            child,
            terminal: self.terminal.and_then(|slot| self.take(slot)),
            stamps: self.reader.and_then(|slot| self.take(slot)),
        };
        // The pod has its own of what is left; a pipe ends when both are closed.
        self.close_all();
        if self.copied >= 0 {
            self.end_copy();
        }
        Ok(running)
    }

    /// The child's part: returns only if it failed.
    fn set_pod_up(&mut self, cloned: usize, birth: &clone::Birth) -> Error<'p> {
        let records = self.plan.steps().records();
        for (number, record) in records.enumerate().skip(cloned + 1) {
            let done = if record.is(Kind::DieWithParent) || record.is(Kind::AppDieWithParent) {
                process::die_with_parent(birth)
            } else if let (true, Some(pods)) = (self.copied >= 0, &self.pods) {
                (pods.apart)(self, &record)
            } else {
                self.step(&record)
            };
            self.stamp(number);
            if let Err(error) = done {
                return error;
            }
        }
        Error::new(What::Exec, c"", Errno::NOEXEC)
    }

    /// What every start may need.
    fn step(&mut self, record: &Record<'p>) -> Result<(), Error<'p>> {
        match_step!(record {
            CloseInherited {} => self.close_inherited(),
            Unshare { namespaces } => process::unshare(namespaces),
            Private {} => root::make_private(),
            OpenDirectory { into, path } => self.open_directory(into, path),
            OpenTree {
                into,
                flags,
                attributes,
                path,
            } => self.open_tree(into, path, flags, attributes),
            AttachRoot { mount } => self.attach_root(mount),
            FileSystem {
                into,
                attributes,
                options,
            } => self.file_system(into, attributes, options),
            Attach {
                mount,
                under,
                flags,
                target,
            } => self.attach(mount, under, flags, target),
            Chroot { root } => self.chroot(root),
            _ => match record.kind {
                12..=15 | 45..=50 | 87 | 89 => self.namespace_step(record),
                60..=88 => app::step(record, self.words),
                _ => self.isolated_step(record),
            },
        })
    }

    /// What an isolated start needs.
    fn isolated_step(&mut self, record: &Record<'p>) -> Result<(), Error<'p>> {
        match_step!(record {
            Supervise {} => {
                process::supervise();
                Ok(())
            },
            Seal { into, flags, path } => match &self.pods {
                Some(pods) if flags & Step::ALONE == 0 => (pods.seal)(self, into, path),
                _ => self.seal(into, path, None),
            },
            OpenCgroup { into, path } => self.open_directory(into, path),
            Umask { mask } => {
                process::umask(mask);
                Ok(())
            },
            Overlay {
                into,
                layer,
                attributes,
                path,
            } => self.overlay(into, layer, attributes, path, None),
            Hostname { name } => process::hostname(name),
            Loopback {} => process::loopback(),
            Pivot { root } => self.pivot(root),
            _ => self.file_step(record),
        })
    }

    /// User namespaces and the rest of what only some starts of `fly` need.
    #[cold]
    #[inline(never)]
    fn namespace_step(&mut self, record: &Record<'p>) -> Result<(), Error<'p>> {
        match_step!(record {
            KeepStatus { descriptor } => self.keep_status(descriptor),
            UserNamespace { into, users, lines } => self.user_namespace(into, users, lines),
            MappedTree {
                into,
                map,
                flags,
                attributes,
                path,
            } => self.mapped_tree(into, map, flags, attributes, path),
            Mapper { into } => self.mapper(into),
            Maps {
                mapper,
                users,
                lines,
            } => self.maps(mapper, users, lines),
            NoteNamespaces { namespaces } => {
                self.note_namespaces(namespaces);
                Ok(())
            },
            Landlock { writable, paths } => limits::restrict(writable, paths),
            OomScore { adjustment } => limits::oom_score(adjustment),
            CgroupNamespace {} => process::unshare(raw::CLONE_NEWCGROUP.into()),
            Check { arguments, strings } => Err(match self.checks {
                Some(check) => check(arguments, strings),
                None => out_of_place(),
            }),
            AppDieWithParent { parent } => process::die_with_known_parent(parent),
            ExecSealed {
                program,
                arguments,
                strings,
            } => Err(self.exec_sealed(program, arguments, strings)),
            _ => Err(out_of_place()),
        })
    }

    /// The files of a pod's /dev, and what is hidden of its /proc.
    fn file_step(&mut self, record: &Record<'p>) -> Result<(), Error<'p>> {
        match_step!(record {
            Directory { under, mode, name } => self.directory(under, mode, name),
            File { under, mode, name } => self.file(under, mode, name),
            Device {
                under,
                device,
                name,
            } => self.device(under, device, name),
            Link {
                under,
                name,
                target,
            } => self.link(under, name, target),
            Mask {
                under,
                covers,
                names,
            } => self.mask(under, covers, names),
            ReadOnly { under, names } => self.read_only(under, names),
            Bind {
                into,
                under,
                flags,
                attributes,
                name,
            } => self.bind((into, under), flags, attributes, name),
            _ => match (record.kind, &self.pods, self.options) {
                (100..=105, None, Some(step)) => step(self, record),
                (_, Some(pods), _) => (pods.step)(self, record),
                _ => app::step(record, self.words),
            },
        })
    }

    /// What options of `fly` make in its root.
    #[cold]
    #[inline(never)]
    fn option_step(&mut self, record: &Record<'p>) -> Result<(), Error<'p>> {
        match_step!(record {
            CloseOthers { keep } => self.close_others(keep),
            OverlayIn {
                into,
                layer,
                attributes,
                path,
                directory,
            } => self.overlay(into, layer, attributes, path, Some(directory)),
            MakeDirectory { under, mode, path } => self.make_directory(under, mode, path),
            CopyFile {
                under,
                mode,
                descriptor,
                path,
            } => self.copy_file(under, mode, descriptor, path),
            MakeLink {
                under,
                path,
                target,
            } => self.make_link(under, path, target),
            Remount { under, path } => self.remount(under, path),
            _ => Err(out_of_place()),
        })
    }

    fn put(&mut self, slot: Slot, descriptor: OwnedFd) {
        if self.place.is_some_and(|(known, ..)| known == slot) {
            self.place = None;
        }
        if let Some(place) = self.slots.get_mut(usize::from(slot.0)) {
            let before = core::mem::replace(place, descriptor.into_raw_fd());
            if before >= 0 {
                let _ = descriptor::close(before);
            }
        }
    }

    fn take(&mut self, slot: Slot) -> Option<OwnedFd> {
        let place = self.slots.get_mut(usize::from(slot.0))?;
        descriptor::own(core::mem::replace(place, -1))
    }

    /// What `slot` holds. Of an empty one, for which a checked plan never asks,
    /// the call that uses it says that it is a bad descriptor.
    fn get(&self, slot: Slot) -> BorrowedFd<'static> {
        let number = self.slots.get(usize::from(slot.0));
        descriptor::get(number.copied().unwrap_or(-1))
    }

    fn filled(&self, slot: Slot) -> Option<BorrowedFd<'static>> {
        let number = self.slots.get(usize::from(slot.0))?;
        descriptor::borrow(*number)
    }

    #[cold]
    #[inline(never)]
    fn end_copy(&mut self) {
        let _ = descriptor::close(core::mem::replace(&mut self.copied, -1));
    }

    fn close_all(&mut self) {
        for number in &mut self.slots {
            if *number >= 0 {
                let _ = descriptor::close(core::mem::replace(number, -1));
            }
        }
    }
}

impl Drop for Launcher<'_, '_> {
    fn drop(&mut self) {
        self.close_all();
    }
}

/// A checked plan holds no step in a phase that can't do it.
fn out_of_place<'p>() -> Error<'p> {
    Error::new(What::Carry, c"", Errno::INVAL)
}

/// Opens `path` inside the directory `root`, without following anything out of
/// it, whatever this kernel has for that.
///
/// # Errors
/// As openat2(2).
pub fn walk_inside(
    root: BorrowedFd<'_>,
    path: &core::ffi::CStr,
    flags: rustix::fs::OFlags,
) -> Result<OwnedFd, Errno> {
    match walk::open(root, path, flags) {
        Err(Errno::NOSYS | Errno::PERM) => {
            walk::step_by_step(root, path, flags, walk::Missing::Refuse, &mut |_, _| false)
        }
        done => done,
    }
}
