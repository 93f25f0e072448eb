//! Pods that are parked, and released; and who enters a pod.

use fly::{
    plan::Plan,
    sys::{
        signal::{self, Set},
        wait,
    },
};
use linux_raw_sys::general as raw;

use super::Pod;
use crate::control::protocol;

impl<'p> Pod<'p, '_> {
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// It starts, with the apps of `plan` if there is one; `releaser` is told of the end.
    #[cold]
    pub(crate) fn go(&mut self, plan: Option<Plan<'p>>, releaser: i32, flags: u32) {
        // Its plan stays: the releaser waits for the end, which may come at once.
        self.map = None;
        (self.held, self.releaser) = (false, releaser);
        self.unseen = flags & protocol::REMOVES != 0;
        if let Some(plan) = plan {
            for index in 0..self.count {
                self.remove(index);
            }
            self.plan = plan;
            self.fill();
        }
        // At once: the other requests that may have come can wait.
        while self.advance() {}
    }

    /// Ends what is left, for who has released the pod: nothing of it runs when that one
    /// is told, who does not wait for the end of pid 1 itself, and of its namespaces, which
    /// takes the kernel longer than all else. Somebody else may have the directory then.
    #[cold]
    pub(super) fn clear_away(&self) {
        while let Ok(ended) = wait::changed(false) {
            // To all, which takes the longer the more processes the machine has.
            if ended.is_none() {
                let _ = signal::send(-1, raw::SIGKILL);
                let _ = signal::wait(Set::only(raw::SIGCHLD), None);
            }
        }
        self.report.unlock();
    }

    pub(crate) fn releaser(&mut self) -> &mut i32 {
        &mut self.releaser
    }

    /// Starts an app that enters, with these standard streams.
    #[inline]
    pub(crate) fn enter(&mut self, index: usize, streams: [i32; 3]) {
        self.passed = streams;
        self.start(index);
        self.passed = [-1; 3];
    }
}
