//! How an app says, or is seen, to be ready.

use core::ffi::CStr;

use fly::{
    error::{Error, INIT_TEXTS, What},
    sys::{descriptor, network},
    text::split,
};
use rustix::fs::{self, Access};

use crate::NAME;

/// Whether this file of the pod's root is there.
pub fn exists(path: &CStr) -> bool {
    fs::access(path, Access::EXISTS).is_ok()
}

/// The socket at `path` whose datagrams are announced by SIGIO: so that the loop
/// needs no other call than the one that waits for signals. -1 if there can't be
/// one, which is told.
#[cold]
pub fn socket(path: &CStr) -> i32 {
    let _ = fs::unlink(path);
    match network::receiver(path, false) {
        Ok(number) => number,
        Err(errno) => {
            Error::new(What::Start, path, errno).print(NAME, INIT_TEXTS);
            -1
        }
    }
}

/// Reads all that has come; whether a line of it is READY=1 (sd_notify(3)).
#[cold]
#[inline(never)]
pub fn says_ready(socket: i32) -> bool {
    let mut ready = false;
    let mut bytes = [0; 512];
    while let Ok(count) = descriptor::read(socket, &mut bytes) {
        let bytes = bytes.get(..count).unwrap_or_default();
        ready |= split(bytes, b'\n').any(|line| line == b"READY=1");
    }
    ready
}
