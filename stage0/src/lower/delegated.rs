//! A cgroup of version 2 that was handed over to the caller, as a service manager does
//! (`Delegate=` of systemd.resource-control(5)): pods are made in there.

use core::ffi::CStr;

use fly::{launch::path::Path, sys::descriptor, text::split};
use rustix::{fs, process::geteuid};

/// Where this process moves, since a cgroup that has controllers to give may hold no
/// processes itself.
pub(super) const LEAF: &[u8] = b"/supervisor";

/// A delegated cgroup.
pub(super) struct Place<'p> {
    /// From the top of the hierarchy on.
    pub(super) parent: &'p [u8],
    /// Whether this process is in it, and not in a part of it.
    pub(super) holds_us: bool,
}

/// The cgroup that this process is in, or the one above it, if that was delegated.
#[cold]
#[inline(never)]
pub(super) fn find<'p>(mount: &[u8], own: &'p mut Path) -> Option<Place<'p>> {
    let text = descriptor::read_file(c"/proc/self/cgroup", own.buffer());
    let mut end = 0;
    let length = split(text, b'\n').find_map(|line| {
        end += line.len();
        let path = line.strip_prefix(b"0::");
        end += usize::from(path.is_none());
        path.map(<[u8]>::len)
    })?;
    own.keep(end - length..end);
    let path = own.as_bytes();
    // Out of the cgroup namespace it can't be reached.
    if split(path, b'/').any(|part| part == b"..") {
        return None;
    }
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    let above = path.get(..slash)?;
    [(path, true), (above, false)]
        .into_iter()
        .find(|(path, _)| path.len() > 1 && is_delegated(mount, path))
        .map(|(parent, holds_us)| Place { parent, holds_us })
}

/// By the mark of a service manager, or because it belongs to the user who has called.
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
