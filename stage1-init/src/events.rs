//! The loop of an init, for programs that have a policy of their own: every signal
//! that comes and every process that ends is an [`Event`], and between two of them
//! the program sleeps in one system call. No descriptor is involved, nothing polls.
//!
//! ```ignore
//! let (mut events, mask) = Events::begin(Set::ALL);
//! let pid = events::start(start.arguments.without_first(), &start.environment, mask)?;
//! loop {
//!     match events.next() {
//!         Event::Ended(ended, end) if ended == pid => return end.code(),
//!         Event::Signal(number) => events::pass(pid, number),
//!         _ => {}
//!     }
//! }
//! ```

use core::ffi::CStr;

use fly::sys::{
    clone,
    entry::Strings,
    exec,
    signal::{self, Set},
    time,
    wait::{self, Change, End},
};
use linux_raw_sys::general as raw;
use rustix::io::Errno;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This signal has come. After SIGCHLD follow all that have ended, as one may
    /// stand for many, and then [`Event::Collected`].
    Signal(u32),
    /// This process has ended, and was collected: a child, or an orphan for whom
    /// this process is the reaper.
    Ended(u32, End),
    /// This child was stopped by this signal; only after [`Events::tell_stops`].
    Stopped(u32, u8),
    /// Nothing else has ended yet.
    Collected {
        /// Whether there is no child left that could.
        alone: bool,
    },
    /// The time given to [`Events::wake_at`] has come.
    Deadline,
}

/// Waits for events. Its signals are blocked as long as the process lives: none is
/// lost while another one is being dealt with.
#[derive(Debug)]
pub struct Events {
    signals: Set,
    stops: bool,
    collecting: bool,
    deadline: Option<u64>,
}

impl Events {
    /// Blocks `signals`, which are events from here on; also returns the mask that
    /// there was before, which is for the programs to be started.
    ///
    /// SIGCHLD must be among them. It gets its default action: a caller may have left
    /// it ignored, and then there would be nothing to collect.
    #[must_use]
    pub fn begin(signals: Set) -> (Self, Set) {
        let mask = signal::replace_mask(signals);
        signal::set_default(raw::SIGCHLD);
        let events = Self {
            signals,
            stops: false,
            collecting: false,
            deadline: None,
        };
        (events, mask)
    }

    /// From here on children that are stopped are events.
    pub fn tell_stops(&mut self) {
        self.stops = true;
    }

    /// When [`Event::Deadline`] is to come, once, in nanoseconds of
    /// [`time::monotonic`]; `None` for never, as in the beginning.
    pub fn wake_at(&mut self, time: Option<u64>) {
        self.deadline = time;
    }

    /// The same, from now on.
    pub fn wake_in(&mut self, nanoseconds: u64) {
        self.deadline = Some(time::monotonic().saturating_add(nanoseconds));
    }

    /// Whether a deadline is still to come.
    #[must_use]
    pub fn has_deadline(&self) -> bool {
        self.deadline.is_some()
    }

    /// The next event, whenever it comes.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    #[inline(never)]
    pub fn next(&mut self) -> Event {
        if self.collecting {
            let alone = match wait::changed(self.stops) {
                Ok(Some((pid, Change::Ended(end)))) => return Event::Ended(pid, end),
                Ok(Some((pid, Change::Stopped(by)))) => return Event::Stopped(pid, by),
                Ok(None) => false,
                Err(errno) => errno == Errno::CHILD,
            };
            self.collecting = false;
            return Event::Collected { alone };
        }
        loop {
            let left = self.deadline.map(|at| at.saturating_sub(time::monotonic()));
            if left == Some(0) {
                self.deadline = None;
                return Event::Deadline;
            }
            // Without a signal it was too early, or something else has woken us.
            if let Some(number) = signal::wait(self.signals, left) {
                self.collecting = number == raw::SIGCHLD;
                return Event::Signal(number);
            }
        }
    }
}

/// Starts `program`, whose first word is a path and is also what it is called by,
/// with this environment and this mask of signals; returns its pid.
///
/// # Errors
/// No process could be made, or it could not be executed: then it is gone.
#[inline(never)]
pub fn start(program: Strings, environment: &Strings, mask: Set) -> Result<u32, Errno> {
    let path: &CStr = program.get(0).unwrap_or_default();
    let mut failure = None;
    let pid = clone::vfork_by_pid(|_| {
        signal::set_mask(mask);
        failure = Some(exec::execve(
            path,
            program.pointers(),
            environment.pointers(),
        ));
        127
    })?;
    failure.map_or(Ok(pid), Err)
}

/// Passes a signal on to the process `pid`; whether it is still there is its own
/// affair. Nothing is sent to 0 and 1, which are more than they seem to kill(2).
pub fn pass(pid: u32, number: u32) {
    if let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 1) {
        let _ = signal::send(pid, number);
    }
}
