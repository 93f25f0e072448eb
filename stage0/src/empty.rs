//! An empty mount namespace, of which the pods that are started later get copies: the
//! launcher of a pod that runs on its own has it open, if nobody else has, and a link in
//! the state directory leads there.

use core::ffi::CStr;

use fly::{
    launch::{Fallbacks, empty, path::Path},
    sys::entry::Strings,
    text::Digits,
};
use rustix::{fs, process::getpid};

use crate::state;

/// The path of the link, in `place` if it fits; otherwise it is empty.
#[inline(never)]
pub fn link<'p>(given: Option<&CStr>, environment: &Strings, place: &'p mut [u8]) -> &'p CStr {
    state::name(given, environment, &[state::EMPTY], place).map_or(c"", |(link, _)| link)
}

/// Makes one and lets `link` lead to it, if there is none; in vain where the kernel does not
/// let it. It is there as long as this process; whether there is something to remove then.
#[cold]
#[inline(never)]
pub fn hold(link: &CStr, fallbacks: Fallbacks) -> bool {
    // With that call detached mounts may be put together.
    if fallbacks.open_tree_attr || empty::open(link).is_ok() {
        return false;
    }
    let Ok(number) = empty::make() else {
        return false;
    };
    let [pid, number] = [getpid().as_raw_nonzero().get(), number]
        .map(|number| Digits::new(u64::from(number.unsigned_abs()), 10));
    // Of one that was killed. Who else makes one now may be faster.
    remove(link);
    Path::of(&[b"/proc/", pid.as_bytes(), b"/fd/", number.as_bytes()])
        .is_ok_and(|path| fs::symlink(path.as_c_str(), link).is_ok())
}

/// Nobody is to find it any more.
#[cold]
pub fn remove(link: &CStr) {
    let _ = fs::unlink(link);
}

/// Takes the link away that a launcher has left which was killed; `root` is the path of the
/// folder of all states.
#[cold]
pub fn collect(root: &[u8]) {
    if let Ok(link) = Path::of(&[root, state::EMPTY])
        && empty::open(link.as_c_str()).is_err()
    {
        remove(link.as_c_str());
    }
}
