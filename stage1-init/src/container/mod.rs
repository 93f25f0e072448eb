//! The init of a container: one program, whose signals are passed on, whose end
//! is ours, and every orphan is reaped meanwhile.
//!
//! Called by the name of another init it has that one's options, variables, exit
//! codes, compared texts and signal rules; each comes down to a `Config`,
//! and all run by the same loop.

mod below;
mod config;
pub(crate) mod memory;
mod modes;
mod options;
mod run;
mod start;
mod text;
mod voice;

use core::ffi::CStr;

use fly::sys::entry::Start;

use crate::NAME;
use config::Config;
use modes::Reader;

/// Whose place it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// tini, or docker-init.
    Tini,
    /// dumb-init.
    DumbInit,
    /// catatonit, or podman-init.
    Catatonit,
    /// Kubernetes' pause.
    Pause,
    /// Nobody's: all that they do, and more.
    Own,
}

const NAMES: [(&str, Role); 6] = [
    ("tini", Role::Tini),
    ("docker-init", Role::Tini),
    ("dumb-init", Role::DumbInit),
    ("catatonit", Role::Catatonit),
    ("podman-init", Role::Catatonit),
    ("pause", Role::Pause),
];

/// Which program the name it was called by belongs to, and that name. Published
/// files have more behind it: `tini-static`, `dumb-init_1.2.5_x86_64`,
/// `catatonit.x86_64`.
#[must_use]
#[inline(never)]
pub fn role(called: &CStr) -> Option<(&'static str, Role)> {
    let base = base(called);
    NAMES
        .into_iter()
        .find(|(name, role)| match base.strip_prefix(name.as_bytes()) {
            Some([]) => true,
            Some([next, ..]) => matches!(next, b'-' | b'_' | b'.') && *role != Role::Pause,
            None => false,
        })
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

/// Runs the program that the arguments name; returns the exit code.
#[inline(never)]
pub fn run(role: Option<(&'static str, Role)>, start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    let called = arguments.next().unwrap_or_default();
    let (name, role) = role.unwrap_or((NAME, Role::Own));
    let mut config = Config::new(name, role, arguments.rest());
    let mut reader = Reader {
        name,
        role,
        called,
        config: &mut config,
        session: role == Role::DumbInit,
    };
    match reader.read(arguments, &start.environment) {
        Ok(()) => run::run(&config, start),
        Err(code) => code,
    }
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

    #[test]
    fn numbers_as_strtol_reads_them() {
        for (text, expected) in [
            (&b"0"[..], Some((0, &b""[..]))),
            (b"12:3", Some((12, b":3"))),
            (b" +007x", Some((7, b"x"))),
            (b"4294967296", Some((u32::MAX, b""))),
            (b"", None),
            (b"-1", None),
            (b"+", None),
            (b"x1", None),
        ] {
            assert_eq!(options::number(text), expected, "{text:?}");
        }
    }
}
