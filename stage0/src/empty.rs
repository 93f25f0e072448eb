//! An empty mount namespace, of which the pods that are started later get copies: the
//! launcher of a pod that runs on its own has it open, if nobody else has, and a link in
//! the state directory leads there.

use core::ffi::CStr;

use fly::{
    launch::{Fallbacks, empty, path::Path},
    sys::{descriptor, entry::Strings},
    text::Digits,
};
use rustix::{fs, io::Errno, process::getpid};

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
    let digits = Digits::new(u64::from(number.unsigned_abs()), 10);
    // Of one that was killed. Who else makes one now may be faster.
    let _ = fs::unlink(link);
    let leads = own()
        .and_then(|mut path| path.append(&[digits.as_bytes()]).map(|()| path))
        .is_ok_and(|path| fs::symlink(path.as_c_str(), link).is_ok());
    if !leads {
        let _ = descriptor::close(number);
    }
    leads
}

/// How the texts of links begin that lead to this process.
fn own() -> Result<Path, Errno> {
    let pid = getpid().as_raw_nonzero().get();
    let digits = Digits::new(u64::from(pid.unsigned_abs()), 10);
    Path::of(&[b"/proc/", digits.as_bytes(), b"/fd/"])
}

/// Nobody is to find it any more; another one may be there by now. By itself: two paths on the
/// stack of each start would be two page faults.
#[cold]
#[inline(never)]
pub fn remove(link: &CStr) {
    let mut text = [0; 64];
    let length = fs::readlinkat_raw(fs::CWD, link, &mut text).unwrap_or(0);
    let text = text.get(..length).unwrap_or_default();
    if own().is_ok_and(|own| text.starts_with(own.as_bytes())) {
        let _ = fs::unlink(link);
    }
}

/// Takes the link away that a launcher has left which was killed; `root` is the path of the
/// folder of all states.
#[cold]
pub fn collect(root: &[u8]) {
    if let Ok(link) = Path::of(&[root, state::EMPTY])
        && empty::open(link.as_c_str()).is_err()
    {
        let _ = fs::unlink(link.as_c_str());
    }
}
