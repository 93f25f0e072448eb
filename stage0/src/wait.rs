//! The end of a pod, for which stage0 waits; perhaps it has no more time.

use fly::{
    plan::{Kind, Plan},
    supervise,
    sys::{signal, time, wait::End},
};
use linux_raw_sys::general as raw;
use rustix::{fd::AsFd, time::Timespec};

use crate::{lower::Features, relay::Terminal};
use fly::launch::Running;

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;
/// The time a pod has to stop if no program has another one, in milliseconds.
const GRACE: u64 = 10_000;

/// The milliseconds in which a pod that is told to stop has to end, if none of its programs
/// waits for another one.
#[must_use]
pub fn grace(plan: &Plan<'_>) -> u64 {
    let stops = plan.steps().records().filter(|step| step.is(Kind::Stop));
    let grace = stops.map(|step| step.number).max().unwrap_or(GRACE);
    // pid 1 kills at this time; what it does then takes a moment.
    grace.saturating_add(1000)
}

/// When a pod is told to stop, and then killed.
#[derive(Debug)]
pub struct TimeLimit {
    /// Nanoseconds of CLOCK_MONOTONIC, 0 for never.
    at: u64,
    grace: u64,
    /// It was told.
    pub is_over: bool,
}

impl TimeLimit {
    /// None.
    pub const NONE: Self = Self {
        at: 0,
        grace: 0,
        is_over: false,
    };

    /// So many milliseconds from now; 0 for none.
    #[inline]
    pub fn new(milliseconds: u64, plan: &Plan<'_>) -> Self {
        let mut limit = Self::NONE;
        if milliseconds != 0 {
            limit.begin(milliseconds, plan);
        }
        limit
    }

    #[cold]
    #[inline(never)]
    fn begin(&mut self, milliseconds: u64, plan: &Plan<'_>) {
        self.at = time::monotonic().saturating_add(milliseconds.saturating_mul(MILLISECOND));
        self.grace = grace(plan).saturating_mul(MILLISECOND);
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.at != 0
    }

    /// The time until something has to be done, which is done when there is none left: the
    /// pod, whose first process is `process`, is told to stop, and then killed.
    #[inline]
    pub fn left(&mut self, process: impl AsFd) -> Option<Timespec> {
        if self.is_set() {
            let left = self.nanoseconds(process.as_fd());
            return Timespec::try_from(core::time::Duration::from_nanos(left)).ok();
        }
        None
    }

    #[cold]
    #[inline(never)]
    fn nanoseconds(&mut self, process: rustix::fd::BorrowedFd<'_>) -> u64 {
        let now = time::monotonic();
        if now >= self.at {
            supervise::forward(
                process,
                if self.is_over {
                    raw::SIGKILL
                } else {
                    raw::SIGTERM
                },
            );
            self.is_over = true;
            self.at = now.saturating_add(self.grace);
        }
        self.at.saturating_sub(now)
    }
}

/// Waits for the end of the pod; what its terminal says is passed on.
#[inline]
pub fn end<F: Features>(running: &Running, limit: &mut TimeLimit) -> Option<End> {
    let child = &running.child;
    match &running.terminal {
        Some(master) if F::ALL => Terminal::relay(master.as_fd(), child, limit),
        _ if limit.is_set() => limited(running, limit),
        _ => supervise::wait(child.pidfd.as_fd(), child.pid),
    }
}

#[cold]
#[inline(never)]
fn limited(running: &Running, limit: &mut TimeLimit) -> Option<End> {
    let child = &running.child;
    let process = child.pidfd.as_fd();
    loop {
        let left = limit.nanoseconds(process);
        let told = signal::wait_told(signal::SUPERVISED, Some(left));
        if let Some(end) = told.and_then(|told| supervise::take(process, child.pid, told)) {
            return Some(end);
        }
    }
}
