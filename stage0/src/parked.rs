//! Pods that are parked: complete, but for their programs, which start when the pod is
//! released.

use fly::{
    error::{Error, FAILURE, What, Why},
    launch::KEPT,
    sys::{clone::Child, descriptor, lock},
};
use rustix::{fd::AsFd, io::Errno};

use stage1_init::control::SOCKET;

use crate::{
    background::wait_for,
    client,
    directory::{self, Directory},
    wait::TimeLimit,
};

/// Where standard error is meanwhile, beside what the launch keeps.
const ERRORS: i32 = KEPT + 3;

/// Of a parked one nothing of the caller's is held open. Its standard input is a lock of
/// its own until it is released: whoever is killed while pid 1 is on its way, and has no
/// lock yet, nobody takes the pod for one that does not live.
///
/// # Errors
/// As open(2) and fcntl(2).
#[cold]
#[inline(never)]
pub fn hold(directory: &Directory<'_>) -> Result<(), Errno> {
    let errors = descriptor::get(2);
    descriptor::keep_as(errors, ERRORS)?;
    client::silence(3)?;
    let file = directory::open_lock(&directory.open()?)?;
    lock::take(file.as_fd(), directory::HELD, 1)?;
    descriptor::duplicate_onto(file.as_fd(), 0)
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
        let mut never = TimeLimit::NONE;
        let is_parked = wait_for(SOCKET, pod, self.path(), pod, &mut never);
        if is_parked == Ok(Some(true)) {
            return Ok(0);
        }
        directory::kill(child);
        self.ended(FAILURE);
        Err(match is_parked {
            Err(errno) => Error::new(What::Wait, c"pid 1 of the pod", errno),
            Ok(_) => Error::new(What::Wait, c"pid 1 of the pod", Why::InitKilled),
        })
    }
}
