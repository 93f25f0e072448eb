//! A process that keeps a network namespace for a pod, and sleeps.
//!
//! It has a place of the pool, which a byte of the lock says, and a pipe in the directory of
//! the pool (fifo(7)), whose name says how to find the namespace. Who takes that opens the
//! pipe for writing and removes its name. When the last writer has gone, by whatever death,
//! the pod has ended, or will never be: then this process leaves the namespace, which is
//! used once, makes another one, and sleeps again. So a pool is filled behind each run, by
//! nobody's order, and no process is made for it.

use fly::{
    error::FAILURE,
    launch::path::Path,
    sys::{clone, descriptor, lock, map, network, signal, time},
    text::{Digits, decimal},
};
use linux_raw_sys::general as raw;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
    mount::{self, FsOpenFlags},
    process::{chdir, getpid, setsid},
};

use super::networks::{LOCK, NEXT, SIZE};
use crate::relay::has_ended;

/// Where the directory of the pool is, and the pipe to who waits until the namespace is
/// there.
const DIRECTORY: i32 = 0;
const TOLD: i32 = 1;

/// How long the end of a pod is left to others, in nanoseconds.
const PAUSE: u64 = 1_000_000;

/// How the kernel tells that the last writer of the pipe has gone, or the directory.
const TOLD_BY: signal::Set = signal::Set::only(raw::SIGIO);

/// Such a process.
struct Holder {
    directory: BorrowedFd<'static>,
    /// It has the byte of its place.
    lock: OwnedFd,
    place: u64,
}

/// What it has of a namespace.
struct Held {
    pipe: OwnedFd,
    name: Path,
    /// What makes it quicker to join, and to mount its /sys.
    _warm: (OwnedFd, Option<OwnedFd>),
}

/// Is the process at `place` of the pool in `directory`; what fails before it has a
/// namespace is told by `told`. Returns the exit code.
pub fn hold(directory: BorrowedFd<'_>, told: BorrowedFd<'_>, place: u64) -> i32 {
    let Err(errno) = begin(directory, told, place) else {
        return 0;
    };
    descriptor::write_all(TOLD, &errno.raw_os_error().to_ne_bytes());
    FAILURE
}

fn begin(directory: BorrowedFd<'_>, told: BorrowedFd<'_>, place: u64) -> Result<(), Errno> {
    // Nothing of who has made it: no mask, no session, no directory, no descriptor.
    signal::set_mask(TOLD_BY);
    signal::set_default(raw::SIGIO);
    setsid()?;
    chdir(c"/")?;
    descriptor::duplicate_onto(directory, DIRECTORY)?;
    descriptor::duplicate_onto(told, TOLD)?;
    descriptor::close_range(2, u32::MAX)?;
    let directory = descriptor::borrow(DIRECTORY).ok_or(Errno::BADF)?;
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = fs::openat(directory, LOCK, flags, Mode::empty())?;
    if !lock::take_range(lock.as_fd(), place, 1)? {
        // Somebody else has it.
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = fs::openat(directory, c"..", flags, Mode::empty())?;
    // Without it there is only one thing less that ends this process.
    let _ = descriptor::tell_removals(above.as_raw_fd());
    let holder = Holder {
        directory,
        lock,
        place,
    };
    if holder.is_wanted() {
        let held = holder.make()?;
        descriptor::close(TOLD)?;
        holder.sleep(&held);
    }
    // From here on nobody is told.
    while holder.is_wanted()
        && let Ok(held) = holder.make()
    {
        holder.sleep(&held);
    }
    Ok(())
}

impl Holder {
    /// Whether the pool is as large as that, and still the same.
    fn is_wanted(&self) -> bool {
        fs::fstat(&self.lock).is_ok_and(|status| status.st_nlink != 0)
            && size(self.directory) > self.place
    }

    /// Makes a namespace, and shows it when it is complete.
    #[inline(never)]
    fn make(&self) -> Result<Held, Errno> {
        clone::unshare(raw::CLONE_NEWNET.into())?;
        network::loopback_up()?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let namespace = fs::open(
            c"/proc/self/ns/net",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let inode = fs::fstat(&namespace)?.st_ino;
        let files = file_system().ok();
        let numbers = [
            u64::from(getpid().as_raw_nonzero().get().unsigned_abs()),
            inode,
            self.place,
            time::monotonic(),
        ];
        let [pid, inode, place, now] = numbers.map(|number| Digits::new(number, 10));
        let name = Path::of(&[
            pid.as_bytes(),
            b"-",
            inode.as_bytes(),
            b"-",
            place.as_bytes(),
            b"-",
            now.as_bytes(),
        ])?;
        let new = Path::of(&[b".", place.as_bytes()])?;
        let new = new.as_c_str();
        // Of one that was killed here.
        let _ = fs::unlinkat(self.directory, new, AtFlags::empty());
        let mode = Mode::from_raw_mode(0o600);
        fs::mknodat(self.directory, new, FileType::Fifo, mode, 0)?;
        let pipe = fs::openat(self.directory, new, flags, Mode::empty())?;
        network::announce(pipe.as_raw_fd())?;
        fs::renameat(self.directory, new, self.directory, name.as_c_str())?;
        if fs::symlinkat(name.as_c_str(), self.directory, new).is_ok() {
            let _ = fs::renameat(self.directory, new, self.directory, NEXT);
        }
        Ok(Held {
            pipe,
            name,
            _warm: (namespace, files),
        })
    }

    /// Sleeps until the namespace was used, and nobody can take it any more.
    fn sleep(&self, held: &Held) {
        let remove = || fs::unlinkat(self.directory, held.name.as_c_str(), AtFlags::empty());
        // Who makes the pool smaller has looked before it was shown, or sees it.
        if !self.is_wanted() && remove().is_ok() {
            return;
        }
        map::give_back_stack();
        // By a signal, since who opens a pipe for writing wakes those that poll it.
        // Somebody has opened it for writing, and nobody has it open any more.
        while !has_ended(held.pipe.as_fd()) {
            let _ = signal::wait(TOLD_BY, None);
            if !self.is_wanted() {
                // Perhaps all of the pool was removed: then there may be no writer to come,
                // and this is the last one.
                let _ = open_to_write(&held.pipe);
            }
        }
        // Who waits for the end of the pod goes first.
        let _ = signal::wait(signal::Set::EMPTY, Some(PAUSE));
        let _ = remove();
    }
}

fn open_to_write(pipe: &OwnedFd) -> Result<OwnedFd, Errno> {
    let path = Path::of_descriptor(b"/proc/self/fd/", pipe.as_fd())?;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    fs::open(path.as_c_str(), flags, Mode::empty())
}

/// The file system of /sys that each mount in this namespace shows.
fn file_system() -> Result<OwnedFd, Errno> {
    let context = mount::fsopen(c"sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    mount::fsconfig_create(context.as_fd())?;
    Ok(context)
}

/// How many places the pool in `directory` has.
pub fn size(directory: impl AsFd) -> u64 {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut text = [0; 16];
    let read = fs::openat(directory, SIZE, flags, Mode::empty())
        .and_then(|file| descriptor::read(file.as_raw_fd(), &mut text));
    decimal(text.get(..read.unwrap_or(0)).unwrap_or_default()).unwrap_or(0)
}
