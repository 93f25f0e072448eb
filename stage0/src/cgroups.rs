//! The cgroups that were made for the limits of a pod: they are removed when it has
//! ended, or was not started.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, STAGE0_TEXTS, What, Why},
    launch::path::Path,
    plan::{Kind, MAX_PATH, Plan},
    sys::{descriptor, memory, time},
    text::{decimal, split},
};
use rustix::{
    fd::OwnedFd,
    fs::{self, Access, AtFlags},
    io::Errno,
    process::{Pid, test_kill_process},
    thread::{NanosleepRelativeResult, Timespec, nanosleep},
};

use crate::{NAME, lower};

/// Where pods are, unless `--cgroup-parent` says otherwise. It stays, empty, for the next
/// one: to make it and to remove it would cost as much as the pod's own cgroup does.
pub const PARENT: &CStr = c"/kickstage";

/// How the name of a pod's cgroup begins; the pid of its stage0 follows.
pub const PREFIX: &[u8] = b"pod-";

/// The same of a registered pod, whose uuid follows: its directory says whether it lives.
pub const REGISTERED: &[u8] = b"uuid-";

/// How many hierarchies a pod may have a cgroup in.
const MOST: usize = 5;

/// The pauses before a cgroup is removed that is in use, of all of a pod together: its last
/// process has ended but is not gone for a moment.
const FIRST_PAUSE: i64 = 50_000;
/// What has much to unmount takes long to go: all pauses together are twice as long.
const LAST_PAUSE: i64 = 800_000_000;

/// Seconds from which on a cgroup without a process is one that was left: since it was made,
/// or since the kernel has read it in again, which may be later. One that was made just now
/// is about to get its first, maybe by a stage0 in another pid namespace, whose pid is not
/// one of ours.
const OLD: u64 = 10;

/// The cgroups of a plan, removed with this.
pub struct Cgroups<'a> {
    plan: Plan<'a>,
    made: [Option<Made<'a>>; MOST],
}

/// A cgroup that a plan makes.
#[derive(Clone, Copy)]
struct Made<'a> {
    path: &'a CStr,
    /// How many bytes of the path are the mount's.
    mount: usize,
    /// As many were there before.
    before: usize,
}

impl<'a> Cgroups<'a> {
    /// Looks at what is there before the launch.
    #[cold]
    #[inline(never)]
    pub fn look(plan: Plan<'a>) -> Self {
        let mut all = [None; MOST];
        for (place, mut made) in all.iter_mut().zip(made(&plan)) {
            made.before = made.before();
            *place = Some(made);
        }
        Self { plan, made: all }
    }

    /// The same of a plan that may have none.
    #[cold]
    #[inline(never)]
    pub fn of(plan: Plan<'a>) -> Option<Self> {
        are_made(&plan).then(|| Self::look(plan))
    }

    /// Says so if the kernel has killed in the pod for want of memory, whose limit is
    /// `memory` as it was given, or if that is empty as the plan has it: another SIGKILL has
    /// the same code.
    #[cold]
    #[inline(never)]
    pub fn tell(&self, memory: &CStr) {
        let mut limits = self.plan.steps().records();
        let killed = limits.find(|record| {
            record.is(Kind::LimitCgroup)
                && kills(record.list.first()).is_some_and(|kills| kills > 0)
        });
        if let Some(record) = killed {
            let memory = if memory.is_empty() {
                record.list.second()
            } else {
                memory
            };
            Error::new(What::RunWithMemory, memory, Why::OutOfMemory)
                .advice(Advice::RaiseMemory)
                .print(NAME, STAGE0_TEXTS);
        }
    }
}

impl Drop for Cgroups<'_> {
    #[cold]
    #[inline(never)]
    fn drop(&mut self) {
        let mut pause = FIRST_PAUSE;
        for made in self.made.iter().flatten() {
            remove(made.path, &mut pause);
            made.each_above(&mut |above| {
                if above.len() > made.before {
                    let _ = with_path(above, &mut |above| fs::rmdir(above));
                }
            });
            if let Some(parent) = made.parent().filter(|parent| holds_others(parent)) {
                sweep(parent);
            }
        }
    }
}

impl Made<'_> {
    /// Calls `each` for the directories from the one of this cgroup up to its mount.
    fn each_above(&self, each: &mut dyn FnMut(&[u8])) {
        let mut above = self.path.to_bytes();
        while let Some(slash) = above.iter().rposition(|byte| *byte == b'/')
            && slash >= self.mount
        {
            above = above.get(..slash).unwrap_or_default();
            each(above);
        }
    }

    /// How much of the path is there.
    fn before(&self) -> usize {
        let mut before = 0;
        self.each_above(&mut |above| {
            let is_there = || {
                above.len() == self.mount
                    || above.get(self.mount..) == Some(PARENT.to_bytes())
                    || exists(above)
            };
            if before == 0 && is_there() {
                before = above.len();
            }
        });
        before
    }

    /// The directory that it is in, if that stays.
    fn parent(&self) -> Option<&[u8]> {
        let path = self.path.to_bytes();
        let slash = path.iter().rposition(|byte| *byte == b'/')?;
        path.get(..slash)
            .filter(|parent| parent.len() <= self.before)
    }
}

/// Whether a plan makes any.
pub fn are_made(plan: &Plan<'_>) -> bool {
    made(plan).next().is_some()
}

fn made<'a>(plan: &Plan<'a>) -> impl Iterator<Item = Made<'a>> + use<'a> {
    let records = plan.steps().records();
    let before = records.take_while(|record| !record.is(Kind::Clone));
    let made = before.filter(|record| record.is(Kind::MakeCgroup));
    made.map(|record| Made {
        path: record.list.first(),
        mount: usize::try_from(record.number).unwrap_or(MAX_PATH),
        before: 0,
    })
}

fn exists(path: &[u8]) -> bool {
    with_path(path, &mut |path| {
        fs::accessat(fs::CWD, path, Access::EXISTS, AtFlags::empty())
    })
    .is_ok()
}

/// Whether there may be cgroups in this one: a directory has two links, and one of each in
/// it.
fn holds_others(path: &[u8]) -> bool {
    let mut links = 2;
    let _ = with_path(path, &mut |path| {
        links = fs::stat(path)?.st_nlink;
        Ok(())
    });
    links != 2
}

/// As many bytes as most paths of cgroups have.
const FEW: usize = 256;

/// Calls `call` with the path as the kernel takes it.
#[inline(never)]
fn with_path(path: &[u8], call: &mut dyn FnMut(&CStr) -> Result<(), Errno>) -> Result<(), Errno> {
    let mut few = [0; FEW];
    if let Some((place, [_, ..])) = few.split_at_mut_checked(path.len()) {
        place.copy_from_slice(path);
        return call(memory::c_str(&few).unwrap_or_default());
    }
    with_long_path(path, call)
}

#[cold]
#[inline(never)]
fn with_long_path(
    path: &[u8],
    call: &mut dyn FnMut(&CStr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    // In its place at once: it is a page.
    let mut place = Path::new();
    place.append(&[path])?;
    call(place.as_c_str())
}

#[cold]
#[inline(never)]
fn remove(path: &CStr, pause: &mut i64) {
    while fs::rmdir(path) == Err(Errno::BUSY) && *pause <= LAST_PAUSE {
        let time = Timespec {
            tv_sec: 0,
            tv_nsec: *pause,
        };
        let NanosleepRelativeResult::Ok = nanosleep(&time) else {
            break;
        };
        *pause *= 2;
    }
}

/// Removes the cgroups of a plan whose pod does not live, and where pods are if that is
/// the usual place and there is none left.
#[cold]
#[inline(never)]
pub fn remove_all(plan: &Plan<'_>) {
    let mut pause = FIRST_PAUSE;
    for made in made(plan) {
        remove(made.path, &mut pause);
        made.each_above(&mut |above| {
            if above.ends_with(PARENT.to_bytes()) {
                let _ = with_path(above, &mut |above| fs::rmdir(above));
            }
        });
    }
}

/// Removes the cgroups of the pod `uuid` in the working directory, whose plan nobody can read:
/// those of its pid 1 that are called so. It is there until `end` is closed.
#[cold]
#[inline(never)]
pub fn remove_unplanned(end: OwnedFd, uuid: &[u8]) {
    let (mut number, mut lines) = ([0; 16], [0; 4096]);
    let number = descriptor::read_file(c"pid", &mut number);
    let number = split(number, b'\n').next().unwrap_or_default();
    let Ok(path) = Path::of(&[b"/proc/", number, b"/cgroup"]) else {
        return;
    };
    let lines = descriptor::read_file(path.as_c_str(), &mut lines);
    let mut pause = FIRST_PAUSE;
    drop(end);
    for line in split(lines, b'\n').filter(|line| line.ends_with(uuid)) {
        let mut parts = split(line, b':');
        let (_, controllers, path) = (parts.next(), parts.next(), parts.rest());
        // Of version 2 none is named.
        for controller in split(controllers.unwrap_or_default(), b',') {
            for mount in [&b"/sys/fs/cgroup/"[..], b"/sys/fs/cgroup/unified/"] {
                if let Ok(path) = Path::of(&[mount, controller, path]) {
                    remove(path.as_c_str(), &mut pause);
                }
            }
        }
    }
}

/// The same of the pod `uuid` whose plan nobody can read: those where pods are usually.
#[cold]
#[inline(never)]
pub fn remove_usual(uuid: &[u8]) {
    let mut pause = FIRST_PAUSE;
    for mount in lower::mounts() {
        let parts = [mount, PARENT.to_bytes(), b"/", REGISTERED, uuid];
        if let Ok(path) = Path::of(&parts) {
            remove(path.as_c_str(), &mut pause);
        }
    }
}

/// Removes what was left below `parent` by a stage0 that was killed. What is in use can't
/// be removed; what is about to be used is new.
#[cold]
#[inline(never)]
fn sweep(parent: &[u8]) {
    let Ok(folder) = Path::of(&[parent]) else {
        return;
    };
    descriptor::each_name(folder.as_c_str(), &mut |name| {
        let pid = name.strip_prefix(PREFIX);
        let pid = pid.and_then(|rest| decimal(split(rest, b'-').next()?));
        let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
            && let Ok(path) = Path::of(&[parent, b"/", name])
            && is_old(path.as_c_str())
        {
            let _ = fs::rmdir(path.as_c_str());
        }
    });
}

fn is_old(path: &CStr) -> bool {
    let now = time::realtime() / 1_000_000_000;
    fs::stat(path).is_ok_and(|status| {
        let made = u64::try_from(status.st_mtime).unwrap_or(u64::MAX);
        now.saturating_sub(made) >= OLD
    })
}

/// How many processes were killed in the cgroup whose limit of memory is the file
/// `limit`; `None` if that is another limit, or the kernel does not tell.
#[cold]
#[inline(never)]
fn kills(limit: &CStr) -> Option<u64> {
    let limit = limit.to_bytes();
    let v1 = limit.strip_suffix(b"limit_in_bytes");
    let (folder, file): (_, &[u8]) = match (v1, limit.strip_suffix(b"memory.max")) {
        (Some(stem), _) => (stem, b"oom_control"),
        (_, Some(stem)) => (stem, b"memory.events"),
        _ => return None,
    };
    let path = Path::of(&[folder, file]).ok()?;
    let mut buffer = [0; 512];
    let text = descriptor::read_file(path.as_c_str(), &mut buffer);
    split(text, b'\n').find_map(|line| decimal(line.strip_prefix(b"oom_kill ")?))
}
