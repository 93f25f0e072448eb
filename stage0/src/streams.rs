//! Standard inputs that `stage0 attach` writes to: each is a FIFO in the pod's directory. This
//! process holds an end of it, so that the program does not see the end of its input before
//! somebody has said so, by taking away the right to write to it.

use core::{cell::Cell, ffi::CStr};

use fly::{
    error::{Error, What},
    launch::{KEPT, KEPT_COUNT, Running, path::Path},
    plan::{Kind, Plan, Step},
    supervise,
    sys::{
        descriptor,
        signal::{self, SUPERVISED},
        wait::End,
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{self, FileType, Mode, OFlags, inotify},
    io::Errno,
    process::WaitIdOptions,
};

use crate::{
    lower,
    relay::each_signal,
    release::Watch,
    wait::{self, TimeLimit},
};

/// Where they are: in the pod's directory, and in the pod's /dev.
pub const FOLDER: &CStr = c"streams";
/// Before the name of a program: the path of its input in the pod.
pub const PLACE: &[u8] = b"/dev/streams/";
/// The mode of one that may be written to, and of one that has ended.
pub const OPEN: Mode = Mode::from_raw_mode(0o600);
pub const CLOSED: Mode = Mode::from_raw_mode(0o400);

/// The number of the first one that is held.
const FIRST: i32 = KEPT + KEPT_COUNT;

/// Those of a pod, as far as they are held.
#[derive(Debug)]
pub struct Streams {
    count: i32,
    /// A bit each.
    closed: Cell<u64>,
    /// Tells of what becomes of them; without it they are never closed.
    events: Option<OwnedFd>,
}

/// The names of the programs that have one.
fn names<'p>(plan: &Plan<'p>) -> impl Iterator<Item = &'p CStr> + use<'p> {
    let records = plan.steps().records();
    records
        .filter(|record| record.is(Kind::Stdio) && record.flags & Step::STREAM != 0)
        .filter_map(|record| {
            let path = record.list.first().to_bytes_with_nul();
            CStr::from_bytes_with_nul(path.strip_prefix(PLACE)?).ok()
        })
}

/// Makes them in the directory of a pod that nobody sees yet: who attaches to one that runs
/// finds them.
///
/// # Errors
/// As mkdir(2) and mknod(2).
#[cold]
#[inline(never)]
pub fn make(plan: &Plan<'_>, directory: &OwnedFd) -> Result<(), Errno> {
    let mut made = None;
    for name in names(plan) {
        if made.is_none() {
            fs::mkdirat(directory, FOLDER, Mode::from_raw_mode(0o700))?;
            made = Some(folder(directory)?);
        }
        if let Some(folder) = &made {
            fs::mknodat(folder, name, FileType::Fifo, OPEN, 0)?;
        }
    }
    Ok(())
}

/// Holds those in the pod's directory `path` by the numbers that are kept; returns how many
/// there are.
///
/// # Errors
/// As open(2).
#[cold]
#[inline(never)]
pub fn hold(plan: &Plan<'_>, path: &CStr) -> Result<i32, Errno> {
    let mut count = 0;
    for name in names(plan) {
        let folder = folder_in(path)?;
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Without a reader there is no writer (fifo(7)).
        let reader = fs::openat(&folder, name, flags | OFlags::RDWR, Mode::empty())?;
        let writer = fs::openat(&folder, name, flags | OFlags::WRONLY, Mode::empty())?;
        drop(reader);
        descriptor::keep_as(writer.as_fd(), FIRST + count)?;
        count += 1;
    }
    Ok(count)
}

/// What a directory is opened with.
const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Their directory in that of the pod.
fn folder(directory: &OwnedFd) -> Result<OwnedFd, Errno> {
    fs::openat(directory, FOLDER, DIRECTORY, Mode::empty())
}

/// The same, of the pod in `path`.
fn folder_in(path: &CStr) -> Result<OwnedFd, Errno> {
    folder(&fs::open(path, DIRECTORY, Mode::empty())?)
}

impl Streams {
    /// Watches over the `count` that are held; `None` if there are none.
    #[cold]
    #[inline(never)]
    #[must_use]
    pub fn watch(count: i32, path: &CStr) -> Option<Self> {
        use inotify::{CreateFlags, WatchFlags};
        let watch = || {
            let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let folder = folder_in(path)?;
            let path = Path::of_descriptor(b"/proc/self/fd/", folder.as_fd())?;
            inotify::add_watch(&events, path.as_c_str(), WatchFlags::ATTRIB)?;
            Ok::<_, Errno>(events)
        };
        if count == 0 {
            return None;
        }
        let streams = Self {
            count,
            closed: Cell::new(0),
            // There may be too many of them (inotify(7)); then there is just no end.
            events: watch()
                .map_err(|errno| crate::fail(Error::new(What::Watch, FOLDER, errno)))
                .ok(),
        };
        // Somebody may have been faster.
        streams.look();
        Some(streams)
    }

    /// Lets go of those that have ended.
    #[cold]
    #[inline(never)]
    pub fn look(&self) {
        if let Some(events) = &self.events {
            let mut buffer = [0; 1024];
            while let Ok(1..) = descriptor::read(events.as_raw_fd(), &mut buffer) {}
        }
        for index in 0..self.count {
            let bit = 1_u64.wrapping_shl(index.unsigned_abs());
            let is_held = self.closed.get() & bit == 0;
            if let (true, Some(held)) = (is_held, descriptor::borrow(FIRST + index))
                && fs::fstat(held).is_ok_and(|status| status.st_mode & 0o200 == 0)
            {
                self.closed.set(self.closed.get() | bit);
                let _ = descriptor::close(FIRST + index);
            }
        }
    }

    /// Waits for the end of the pod, as [`wait::end`] does.
    #[cold]
    #[inline(never)]
    pub fn end(&self, running: &Running, limit: &mut TimeLimit) -> Option<End> {
        let process = running.child.pidfd.as_fd();
        let Ok(signals) = signal::descriptor(SUPERVISED) else {
            return wait::end::<lower::All>(running, limit);
        };
        loop {
            let left = limit.left(process);
            let Ok([end, signal]) = self.wait_for([process, signals.as_fd()], left.as_ref()) else {
                return supervise::ended(process, WaitIdOptions::empty());
            };
            if signal {
                each_signal(&signals, &mut |number| supervise::forward(process, number));
            }
            if end {
                return supervise::ended(process, WaitIdOptions::empty());
            }
        }
    }

    /// Waits until one of the two can be read; looks after what is held meanwhile.
    fn wait_for(
        &self,
        [first, second]: [BorrowedFd<'_>; 2],
        left: Option<&Timespec>,
    ) -> Result<[bool; 2], Errno> {
        let events = self.events.as_ref().map_or(first, AsFd::as_fd);
        let mut ready =
            [first, second, events].map(|one| PollFd::from_borrowed_fd(one, PollFlags::IN));
        match poll(&mut ready, left) {
            Err(Errno::INTR) => {}
            done => _ = done?,
        }
        let [first, second, event] = ready.map(|one| !one.revents().is_empty());
        if event {
            self.look();
        }
        Ok([first, second])
    }
}

/// Of a pod that may have none.
impl Watch for Option<Streams> {
    fn wait(
        &self,
        [own, signals]: [&OwnedFd; 2],
        left: Option<&Timespec>,
    ) -> Result<[bool; 2], Errno> {
        let Some(streams) = self else {
            return ().wait([own, signals], left);
        };
        streams.wait_for([own.as_fd(), signals.as_fd()], left)
    }
}
