//! `stage0 pool --networks`: how many network namespaces are kept for pods with
//! `--net=pool`, each by a process of its own ([`super::holder`]).

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What},
    launch::path::Path,
    sys::{clone, descriptor, entry::Strings, lock},
    text::{Digits, decimal, split},
};
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{self, AtFlags, Mode, OFlags},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    thread::{self, CapabilitySet},
};

use super::holder::{self, size};
use crate::{client, state};

/// In the directory of the pool: a byte for each place, and how many places it has.
pub const LOCK: &CStr = c"lock";
pub const SIZE: &CStr = c"size";
/// A link to the pipe that was shown last.
pub const NEXT: &CStr = c"next";
/// The size while it is written.
const NEW_SIZE: &CStr = c".size";

/// The byte of who changes the pool, behind those of all places.
const CHANGES: u64 = 1 << 32;

/// The pool, which nobody else changes meanwhile.
struct Networks {
    path: Path,
    directory: OwnedFd,
    lock: OwnedFd,
}

/// What the pool is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It is made if it is missing.
    Make,
    /// Who changes it already is waited for.
    Change,
    /// Nobody is.
    Collect,
}

/// Keeps as many namespaces as are `wanted`, or as before; returns the exit code.
///
/// # Errors
/// What keeps one from being made.
pub fn pool(
    given: Option<&'static CStr>,
    environment: &Strings,
    wanted: Option<u64>,
) -> Result<i32, Error<'static>> {
    let failed = |errno| {
        let error = Error::new(What::FillThePool, c"--networks", errno);
        match errno {
            Errno::PERM => error.advice(Advice::NeedsRoot),
            Errno::NOSPC => error.advice(Advice::NamespaceLimit),
            _ => error,
        }
    };
    client::fill_streams();
    let held = thread::capabilities(None).map_err(failed)?;
    if !held.effective.contains(CapabilitySet::SYS_ADMIN) {
        return Err(failed(Errno::PERM));
    }
    let mut root = Path::new();
    state::root(given, environment, &mut root)?;
    let purpose = match wanted {
        None | Some(0) => Purpose::Change,
        Some(_) => Purpose::Make,
    };
    let networks = match Networks::open(root.as_bytes(), purpose) {
        Err(Errno::NOENT) if wanted == Some(0) => return Ok(0),
        done => done.map_err(failed)?,
    };
    let before = size(&networks.directory);
    let done = wanted.map_or(Ok(()), |size| networks.resize(size));
    if let Err(errno) = done.and_then(|()| networks.fill()) {
        if before == 0 || networks.resize(before).is_err() {
            networks.forget();
        }
        networks.end(before);
        return Err(failed(errno));
    }
    Ok(0)
}

/// Takes away what killed processes have left, and what belongs to no pool; `root` is the
/// path of the folder of all states.
///
/// # Errors
/// As open(2).
pub fn collect(root: &[u8]) -> Result<(), Errno> {
    let networks = match Networks::open(root, Purpose::Collect) {
        // There is none, or somebody else changes it.
        Err(Errno::NOENT | Errno::AGAIN) => return Ok(()),
        done => done?,
    };
    networks.end(size(&networks.directory));
    networks.clean();
    if size(&networks.directory) == 0 {
        networks.forget();
    }
    Ok(())
}

impl Networks {
    fn open(root: &[u8], purpose: Purpose) -> Result<Self, Errno> {
        let path = Path::of(&[root, state::NETWORKS])?;
        loop {
            if purpose == Purpose::Make {
                state::make_above(path.as_bytes(), root.len())?;
                match fs::mkdir(path.as_c_str(), Mode::from_raw_mode(0o700)) {
                    Err(Errno::EXIST) => {}
                    done => done?,
                }
            }
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = fs::open(path.as_c_str(), flags, Mode::empty())?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let lock = fs::openat(&directory, LOCK, flags, Mode::from_raw_mode(0o600))?;
            if purpose != Purpose::Collect {
                lock::await_range(lock.as_fd(), CHANGES, 1)?;
            } else if !lock::take_range(lock.as_fd(), CHANGES, 1)? {
                return Err(Errno::AGAIN);
            }
            // Else somebody has ended the pool meanwhile.
            if fs::fstat(&lock)?.st_nlink != 0 {
                return Ok(Self {
                    path,
                    directory,
                    lock,
                });
            }
        }
    }

    /// Notes its size: who reads it sees the old one or the new one.
    fn resize(&self, size: u64) -> Result<(), Errno> {
        self.remove(NEW_SIZE);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let file = fs::openat(&self.directory, NEW_SIZE, flags, mode)?;
        if !descriptor::write_all(file.as_raw_fd(), Digits::new(size, 10).as_bytes()) {
            self.remove(NEW_SIZE);
            return Err(Errno::NOSPC);
        }
        fs::renameat(&self.directory, NEW_SIZE, &self.directory, SIZE)
    }

    /// Sees to it that each place has its process, and that there are no others.
    fn fill(&self) -> Result<(), Errno> {
        let size = size(&self.directory);
        self.end(size);
        self.clean();
        if size == 0 {
            self.forget();
            return Ok(());
        }
        for place in 0..size {
            if self.is_free(place) {
                self.start(place)?;
            }
        }
        Ok(())
    }

    fn is_free(&self, place: u64) -> bool {
        lock::taken_until(self.lock.as_fd(), place, 1) == Ok(None)
    }

    /// Makes the process of this place; returns when it has its namespace.
    fn start(&self, place: u64) -> Result<(), Errno> {
        let (reads, writes) = pipe_with(PipeFlags::CLOEXEC)?;
        let (directory, told) = (self.directory.as_fd(), writes.as_fd());
        clone::fork(0, || holder::hold(directory, told, place))?;
        drop(writes);
        let mut errno = [0; 4];
        match descriptor::read_all(reads.as_raw_fd(), &mut errno)? {
            [] => Ok(()),
            _ => Err(Errno::from_raw_os_error(i32::from_ne_bytes(errno))),
        }
    }

    /// Ends the processes from this place on that sleep, in a moment; those whose pods run
    /// end behind them. All do it by themselves: nobody waits for one that is stopped.
    fn end(&self, from: u64) {
        self.each(&mut |name, entry| {
            if !entry.pid.is_empty()
                && entry.place >= from
                && let Ok(pipe) = self.open_pipe(name)
            {
                self.remove(name);
                drop(pipe);
            }
        });
    }

    /// Takes away what those have left that were killed.
    fn clean(&self) {
        self.each(&mut |name, entry| {
            // Nobody has its place, or somebody else has, who may be making another one.
            let is_dead = self.is_free(entry.place)
                || !entry.pid.is_empty() && !entry.is_there() && self.has_no_reader(name);
            if is_dead {
                self.remove(name);
            }
        });
    }

    /// There is no pool any more. Who holds a namespace ends as soon as that was used.
    fn forget(&self) {
        self.remove(SIZE);
        self.end(0);
        self.clean();
        self.remove(NEW_SIZE);
        self.remove(NEXT);
        self.remove(LOCK);
        let _ = fs::rmdir(self.path.as_c_str());
    }

    /// Calls `each` for what the processes have in the directory.
    fn each(&self, each: &mut dyn FnMut(&CStr, &Entry<'_>)) {
        descriptor::each_name(self.path.as_c_str(), &mut |name| {
            if let (Ok(path), Some(entry)) = (Path::of(&[name]), Entry::read(name)) {
                each(path.as_c_str(), &entry);
            }
        });
    }

    fn open_pipe(&self, name: &CStr) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(&self.directory, name, flags, Mode::empty())
    }

    fn has_no_reader(&self, name: &CStr) -> bool {
        matches!(self.open_pipe(name), Err(Errno::NXIO))
    }

    fn remove(&self, name: &CStr) -> bool {
        fs::unlinkat(&self.directory, name, AtFlags::empty()).is_ok()
    }
}

/// What the name of a pipe says; see [`holder`].
struct Entry<'n> {
    /// Empty of one that is not complete.
    pid: &'n [u8],
    inode: u64,
    place: u64,
}

impl<'n> Entry<'n> {
    fn read(name: &'n [u8]) -> Option<Self> {
        let [pid, inode, place]: [&[u8]; 3] = match name.strip_prefix(b".") {
            Some(place) => [b"", b"0", place],
            None => {
                let mut parts = split(name, b'-');
                [parts.next()?, parts.next()?, parts.next()?]
            }
        };
        Some(Self {
            pid,
            inode: decimal(inode)?,
            place: decimal(place)?,
        })
    }

    /// Whether its process is there, as far as can be told without opening its pipe, by
    /// which it would lose its namespace.
    fn is_there(&self) -> bool {
        let path = Path::of(&[b"/proc/", self.pid, b"/ns/net"]);
        let found = path.and_then(|path| fs::stat(path.as_c_str()));
        found.is_ok_and(|status| status.st_ino == self.inode)
    }
}
