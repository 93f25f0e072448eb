//! Waiting for a file in a pod's directory, of which the kernel tells (inotify(7)).

use core::ffi::CStr;

use fly::sys::descriptor;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::inotify,
    io::Errno,
};

/// The files that appear in a directory.
#[derive(Debug)]
pub struct Files(OwnedFd);

/// What has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Come {
    /// What was waited for.
    There,
    /// The first one of the others.
    First,
    /// The second one.
    Second,
}

impl Files {
    /// Of the directory `path`, from now on.
    ///
    /// # Errors
    /// As inotify(7).
    #[inline]
    pub fn of(path: &CStr) -> Result<Self, Errno> {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        // Also what goes: perhaps the directory is removed, with all that is in it.
        let watched = inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::DELETE;
        inotify::add_watch(&events, path, watched)?;
        Ok(Self(events))
    }

    /// Waits until `is_there` holds, of which a file tells, or until one of `others` is
    /// ready, the second one before the first.
    ///
    /// # Errors
    /// As poll(2).
    #[inline]
    pub fn wait(
        &self,
        is_there: impl Fn() -> bool,
        [first, second]: [PollFd<'_>; 2],
    ) -> Result<Come, Errno> {
        let mut ready = [PollFd::new(&self.0, PollFlags::IN), first, second];
        loop {
            if is_there() {
                return Ok(Come::There);
            }
            match poll(&mut ready, None) {
                Err(Errno::INTR) => continue,
                done => done?,
            };
            let [_, first, second] = &ready;
            if !second.revents().is_empty() {
                return Ok(Come::Second);
            }
            if !first.revents().is_empty() {
                return Ok(Come::First);
            }
            self.drain();
        }
    }

    /// What the kernel has told was seen.
    pub fn drain(&self) {
        let mut buffer = [0; 1024];
        let _ = descriptor::read(self.0.as_raw_fd(), &mut buffer);
    }
}

/// Can be read when one has appeared.
impl AsFd for Files {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
