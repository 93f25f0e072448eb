//! Pods that are parked: complete, but for their programs, which start when the pod is
//! released.

use fly::{
    error::{Error, FAILURE, What, Why},
    launch::KEPT,
    supervise,
    sys::{clone::Child, descriptor},
};
use linux_raw_sys::general as raw;
use rustix::{fd::AsFd, process::WaitIdOptions};

use stage1_init::control::SOCKET;

use crate::{background::wait_for, client, directory::Directory};

/// Where standard error is meanwhile, beside what the launch keeps.
const ERRORS: i32 = KEPT + 3;

/// Sees to the standard streams of a pod that is controlled: pid 1 has all three, so that
/// no descriptor that comes to it is one; of a parked one nothing of the caller's is held
/// open.
#[cold]
#[inline(never)]
pub fn streams(hold: bool) {
    client::fill_streams();
    let errors = descriptor::borrow(2).unwrap_or(descriptor::NONE);
    if !hold || descriptor::duplicate_onto(errors, ERRORS).is_err() {
        return;
    }
    let _ = descriptor::close_on_exec(ERRORS);
    client::silence(3);
}

/// Behind the launch: what is to be said goes to the caller.
#[cold]
#[inline(never)]
pub fn restore() {
    if let Some(errors) = descriptor::borrow(ERRORS) {
        let _ = descriptor::duplicate_onto(errors, 2);
        let _ = descriptor::close(ERRORS);
    }
}

impl<'a> Directory<'a> {
    /// Leaves a pod alone that is parked, as soon as it can be released; returns the exit
    /// code.
    ///
    /// # Errors
    /// It has ended before.
    #[cold]
    #[inline(never)]
    pub fn park(&self, child: &Child) -> Result<i32, Error<'a>> {
        let pod = child.pidfd.as_fd();
        let is_parked = wait_for(SOCKET, pod, self.path(), pod);
        if is_parked == Ok(true) {
            return Ok(0);
        }
        supervise::forward(pod, raw::SIGKILL);
        let _ = supervise::ended(pod, WaitIdOptions::empty());
        self.ended(FAILURE);
        Err(match is_parked {
            Err(errno) => Error::new(What::Wait, c"pid 1 of the pod", errno),
            Ok(_) => Error::new(What::Wait, c"pid 1 of the pod", Why::InitKilled),
        })
    }
}
