//! A cgroup of version 2 that was handed over to the caller, as a service manager does
//! (`Delegate=` of systemd.resource-control(5)): pods are made in there.

use core::ffi::CStr;

use fly::{launch::path::Path, sys::descriptor, text::split};
use rustix::{fs, process::geteuid};

/// Where this process moves, since a cgroup that has controllers to give may hold no
/// processes itself.
pub(super) const LEAF: &[u8] = b"/supervisor";

/// The cgroups of this process.
const OWN: &CStr = c"/proc/self/cgroup";
/// As many bytes as they have where there is only version 2, and as they have at most.
const FEW: usize = 512;
const MANY: usize = 4096;

/// A delegated cgroup.
pub(super) struct Place<'p> {
    /// From the top of the hierarchy on.
    pub(super) parent: &'p [u8],
    /// Whether this process is in it, and not in a part of it.
    pub(super) holds_us: bool,
}

/// Calls `call` with the cgroup that this process is in, or the one above it, if that was
/// delegated.
#[cold]
#[inline(never)]
pub(super) fn find(mount: &[u8], call: &mut dyn FnMut(&Place<'_>)) {
    let mut few = [0; FEW];
    let text = descriptor::read_file(OWN, &mut few);
    if text.len() == FEW {
        return find_long(mount, call);
    }
    find_in(mount, text, call);
}

/// The same: by itself, so that others have no room for so much on their stack, which would
/// be a page fault for each page of it.
#[cold]
#[inline(never)]
fn find_long(mount: &[u8], call: &mut dyn FnMut(&Place<'_>)) {
    let mut many = [0; MANY];
    find_in(mount, descriptor::read_file(OWN, &mut many), call);
}

#[inline(never)]
fn find_in(mount: &[u8], text: &[u8], call: &mut dyn FnMut(&Place<'_>)) {
    let path = split(text, b'\n').find_map(|line| line.strip_prefix(b"0::"));
    // Out of the cgroup namespace it can't be reached.
    let Some(path) = path.filter(|path| split(path, b'/').all(|part| part != b"..")) else {
        return;
    };
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let above = path.get(..slash.unwrap_or(0)).unwrap_or_default();
    let mut places = [(path, true), (above, false)].into_iter();
    if let Some((parent, holds_us)) =
        places.find(|(path, _)| path.len() > 1 && is_delegated(mount, path))
    {
        call(&Place { parent, holds_us });
    }
}

/// By the mark of a service manager, or because it belongs to the user who has called.
#[inline(never)]
fn is_delegated(mount: &[u8], path: &[u8]) -> bool {
    const MARKS: [&CStr; 2] = [c"user.delegate", c"trusted.delegate"];
    let Ok(path) = Path::of(&[mount, path]) else {
        return false;
    };
    let path = path.as_c_str();
    let mut value = [0; 2];
    let is_marked =
        |mark: &CStr| fs::getxattr(path, mark, &mut value) == Ok(1) && value.starts_with(b"1");
    MARKS.into_iter().any(is_marked)
        || (!geteuid().is_root()
            && fs::stat(path).is_ok_and(|status| status.st_uid == geteuid().as_raw()))
}
