//! Which init the program is, by the name that it was called by. By itself: a pod looks
//! for it too, and all else of the inits lies apart in the program.

use core::ffi::CStr;

/// Whose place it takes; texts and manners are in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// tini, or docker-init.
    Tini,
    /// dumb-init.
    DumbInit,
    /// catatonit, or podman-init.
    Catatonit,
    /// Nobody's: all that they do, and more.
    Own,
    /// Kubernetes' pause.
    Pause,
}

static NAMES: [&str; 6] = [
    "tini",
    "docker-init",
    "dumb-init",
    "catatonit",
    "podman-init",
    "pause",
];

/// Which program the name it was called by belongs to, and that name. Published
/// files have more behind it: `tini-static`, `dumb-init_1.2.5_x86_64`,
/// `catatonit.x86_64`.
#[must_use]
#[inline(never)]
pub fn role(called: &CStr) -> Option<(&'static str, Role)> {
    let base = base(called);
    for (index, name) in NAMES.iter().enumerate() {
        let role = match index {
            0 | 1 => Role::Tini,
            2 => Role::DumbInit,
            3 | 4 => Role::Catatonit,
            _ => Role::Pause,
        };
        match base.strip_prefix(name.as_bytes()) {
            Some([]) => return Some((name, role)),
            Some([b'-' | b'_' | b'.', ..]) if role != Role::Pause => return Some((name, role)),
            _ => {}
        }
    }
    None
}

/// The last part of a path.
pub(crate) fn base(path: &CStr) -> &[u8] {
    let bytes = path.to_bytes();
    let mut base = bytes;
    for part in fly::text::split(bytes, b'/') {
        base = part;
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        for (called, expected) in [
            (c"tini", Some(Role::Tini)),
            (c"/sbin/tini-static", Some(Role::Tini)),
            (c"/sbin/docker-init", Some(Role::Tini)),
            (c"./dumb-init_1.2.5_x86_64", Some(Role::DumbInit)),
            (c"/usr/libexec/podman/catatonit", Some(Role::Catatonit)),
            (c"catatonit.x86_64", Some(Role::Catatonit)),
            (c"/run/podman-init", Some(Role::Catatonit)),
            (c"/pause", Some(Role::Pause)),
            (c"pause-amd64", None),
            (c"tinier", None),
            (c"/tini/init", None),
            (c"stage1-init", None),
            (c"init", None),
            (c"tini/", None),
            (c"", None),
        ] {
            assert_eq!(role(called).map(|(_, role)| role), expected, "{called:?}");
        }
    }
}
