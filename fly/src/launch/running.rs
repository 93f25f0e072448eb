//! A pod that runs, for who has launched it.

use rustix::fd::{AsFd, OwnedFd};

use crate::{
    supervise,
    sys::{clone, wait::End},
};

/// A pod that was started.
#[derive(Debug)]
pub struct Running {
    /// Its first process.
    pub child: clone::Child,
    /// The master of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
    /// Where pid 1 reports its time stamps, if it was asked to.
    pub stamps: Option<OwnedFd>,
}

impl Running {
    /// Waits for the end of its first process, and passes signals on meanwhile,
    /// which a plan with [`crate::plan::Step::Supervise`] has blocked for that. `None` if the
    /// end can't be told.
    #[must_use]
    pub fn wait(&self) -> Option<End> {
        supervise::wait(self.child.pidfd.as_fd(), self.child.pid)
    }
}
