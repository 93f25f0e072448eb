//! The cgroups that were made for the limits of a pod: they are removed when it has
//! ended, or was not started.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, STAGE0_TEXTS, What, Why},
    launch::path::Path,
    plan::{Kind, MAX_PATH, Plan, Record},
    sys::{descriptor, time},
    text::{decimal, split},
};
use rustix::{
    fd::OwnedFd,
    fs::{self, Access, AtFlags},
    io::Errno,
    process::{Pid, test_kill_process},
    thread::{NanosleepRelativeResult, Timespec, nanosleep},
};

use crate::NAME;

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
    /// As many bytes of each path were there before.
    before: [usize; MOST],
}

impl<'a> Cgroups<'a> {
    /// Looks at what is there before the launch.
    #[cold]
    #[inline(never)]
    pub fn look(plan: Plan<'a>) -> Self {
        let mut cgroups = Self {
            plan,
            before: [0; MOST],
        };
        for (before, record) in cgroups.before.iter_mut().zip(made(&plan)) {
            let mut found = false;
            let mount = mount(&record);
            each_above(&record, &mut |above| {
                let length = above.count_bytes();
                found = found || length == mount || stays(above, mount) || exists(above);
                if found {
                    *before = length.max(*before);
                }
            });
        }
        cgroups
    }

    /// Says so if the kernel has killed in the pod for want of memory, whose limit is
    /// `memory` as it was given: another SIGKILL has the same code.
    #[cold]
    #[inline(never)]
    pub fn tell(&self, memory: &CStr) {
        let mut limits = self.plan.steps().records();
        let killed = limits.any(|record| {
            record.is(Kind::LimitCgroup)
                && kills(record.list.first()).is_some_and(|kills| kills > 0)
        });
        if killed {
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
        for (before, record) in self.before.into_iter().zip(made(&self.plan)) {
            remove(record.list.first(), &mut pause);
            let mut is_first = true;
            each_above(&record, &mut |above| {
                if above.count_bytes() > before {
                    let _ = fs::rmdir(above);
                } else if core::mem::take(&mut is_first) && holds_others(above) {
                    sweep(above);
                }
                is_first = false;
            });
        }
    }
}

fn made<'a>(plan: &Plan<'a>) -> impl Iterator<Item = Record<'a>> + use<'a> {
    let records = plan.steps().records();
    records.filter(|record| record.is(Kind::MakeCgroup))
}

/// How many bytes of the path are the mount's.
fn mount(record: &Record<'_>) -> usize {
    usize::try_from(record.number).unwrap_or(MAX_PATH)
}

/// Whether a directory above a pod's cgroup is never removed.
fn stays(above: &CStr, mount: usize) -> bool {
    above.to_bytes().get(mount..) == Some(PARENT.to_bytes())
}

/// Whether there may be cgroups in this one: a directory has two links, and one of each in
/// it.
fn holds_others(path: &CStr) -> bool {
    fs::stat(path).is_ok_and(|status| status.st_nlink != 2)
}

fn exists(path: &CStr) -> bool {
    fs::accessat(fs::CWD, path, Access::EXISTS, AtFlags::empty()).is_ok()
}

/// Calls `each` for the directories from the one of this step's cgroup up to its mount.
#[cold]
#[inline(never)]
fn each_above(record: &Record<'_>, each: &mut dyn FnMut(&CStr)) {
    let bytes = record.list.first().to_bytes();
    let slashes = bytes.iter().enumerate().skip(mount(record)).rev();
    let Ok(mut path) = Path::of(&[bytes]) else {
        return;
    };
    for (index, _) in slashes.filter(|(_, byte)| **byte == b'/') {
        path.cut(index);
        each(path.as_c_str());
    }
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
    for record in made(plan) {
        remove(record.list.first(), &mut pause);
        each_above(&record, &mut |above| {
            if above.to_bytes().ends_with(b"/kickstage") {
                let _ = fs::rmdir(above);
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

/// Removes what was left below `parent` by a stage0 that was killed. What is in use can't
/// be removed; what is about to be used is new.
#[cold]
#[inline(never)]
fn sweep(parent: &CStr) {
    let parts = parent.to_bytes();
    descriptor::each_name(parent, &mut |name| {
        let pid = name.strip_prefix(PREFIX);
        let pid = pid.and_then(|rest| decimal(split(rest, b'-').next()?));
        let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
            && let Ok(path) = Path::of(&[parts, b"/", name])
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
