//! An empty mount namespace, of which the pods that are started later get copies, and a copy
//! of pid 1's program, which they share: the launcher of a pod that runs on its own has them
//! open, if nobody else has, and links in the state directory lead there.

use core::ffi::CStr;

use fly::{
    launch::{Fallbacks, empty, path::Path, shared},
    plan::{Kind, Plan},
    sys::{descriptor, entry::Strings},
    text::Digits,
};
use rustix::{fd::RawFd, fs, io::Errno, process::getpid};

use crate::state;

/// The path of the link, in `place` if it fits; otherwise it is empty.
#[inline(never)]
pub fn link<'p>(given: Option<&CStr>, environment: &Strings, place: &'p mut [u8]) -> &'p CStr {
    state::name(given, environment, &[state::EMPTY], place).map_or(c"", |(link, _)| link)
}

/// Makes what others do not hold already, and lets links lead to it: `link` to a mount
/// namespace, the other one to a copy of the program that is pid 1 by `plan`. In vain where
/// the kernel does not let it. Both are there as long as this process; whether there is
/// something to remove then.
#[cold]
#[inline(never)]
pub fn hold(link: &CStr, fallbacks: Fallbacks, plan: &Plan<'_>) -> bool {
    // With that call detached mounts may be put together.
    if fallbacks.open_tree_attr {
        return false;
    }
    let mut holds = hold_empty(link).is_ok();
    let mut steps = plan.steps().records();
    if let Some(seal) = steps.find(|step| step.is(Kind::Seal))
        && let Some(link) = shared::beside(link, &mut [0; 256])
        && let Ok(text) = &mut own()
    {
        holds |= shared::hold(link, seal.list.first(), text).is_some();
    }
    holds
}

fn hold_empty(link: &CStr) -> Result<(), Errno> {
    if empty::open(link).is_ok() {
        return Err(Errno::EXIST);
    }
    let number = empty::make()?;
    lead(link, number).inspect_err(|_| _ = descriptor::close(number))
}

/// Lets the link lead to the descriptor `number` of this process.
fn lead(link: &CStr, number: RawFd) -> Result<(), Errno> {
    let digits = Digits::new(u64::from(number.unsigned_abs()), 10);
    let mut text = own()?;
    text.append(&[digits.as_bytes()])?;
    // Of one that was killed. Who else makes one now may be faster.
    let _ = fs::unlink(link);
    fs::symlink(text.as_c_str(), link)
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
    let place = &mut [0; 256];
    let other = shared::beside(link, place).unwrap_or_default();
    if let Ok(own) = own() {
        for link in [link, other] {
            // As much as tells whose it is.
            let mut text = [0; 64];
            let length = fs::readlinkat_raw(fs::CWD, link, &mut text).unwrap_or(0);
            let text = text.get(..length).unwrap_or_default();
            if text.starts_with(own.as_bytes()) {
                let _ = fs::unlink(link);
            }
        }
    }
}

/// Takes the links away that a launcher has left which was killed; `root` is the path of the
/// folder of all states.
#[cold]
pub fn collect(root: &[u8]) {
    if let Ok(link) = Path::of(&[root, state::EMPTY]) {
        if empty::open(link.as_c_str()).is_err() {
            let _ = fs::unlink(link.as_c_str());
        }
        if let Some(other) = shared::beside(link.as_c_str(), &mut [0; 256]) {
            shared::collect(other);
        }
    }
}
