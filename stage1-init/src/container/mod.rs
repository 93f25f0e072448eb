//! The init of a container: one program, whose signals are passed on, whose end
//! is ours, and every orphan is reaped meanwhile.
//!
//! Called by the name of another init it has that one's options, variables, exit
//! codes, compared texts and signal rules; each comes down to a [`config::Config`],
//! and all run by the same loop.

mod below;
mod catatonit;
mod config;
mod dumb_init;
mod memory;
mod options;
mod own;
mod run;
mod start;
mod tini;
mod voice;

use core::ffi::CStr;

use fly::{
    error::{Error, INIT_TEXTS, What, Why},
    sys::entry::Start,
    text::decimal,
};

use crate::NAME;
use config::Config;

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
fn base(path: &CStr) -> &[u8] {
    let bytes = path.to_bytes();
    let mut base = bytes;
    for part in fly::text::split(bytes, b'/') {
        base = part;
    }
    base
}

/// Runs the program that the arguments name; returns the exit code.
pub fn run(role: Option<(&'static str, Role)>, start: Start) -> i32 {
    let mut arguments = start.arguments.iter();
    let called = arguments.next().unwrap_or_default();
    let environment = &start.environment;
    let name = role.map_or(NAME, |(name, _)| name);
    let mut config = Config::new(name, arguments.rest());
    let done = match role.map(|(_, role)| role) {
        None => own::configure(arguments, &mut config),
        Some(Role::Tini) => tini::configure(name, called, arguments, environment, &mut config),
        Some(Role::DumbInit) => dumb_init::configure(called, arguments, environment, &mut config),
        Some(Role::Catatonit) => catatonit::configure(name, called, arguments, &mut config),
        Some(Role::Pause) => {
            catatonit::pause(&mut config);
            Ok(())
        }
    };
    match done {
        Ok(()) => run::run(&config, start),
        Err(code) => code,
    }
}

/// A signal by number, or by name with or without SIG.
fn signal(text: &[u8]) -> Option<u32> {
    if let Some(number) = decimal(text) {
        return u32::try_from(number)
            .ok()
            .filter(|number| (1..=64).contains(number));
    }
    fly::signal::number(text.strip_prefix(b"SIG").unwrap_or(text))
}

#[cold]
fn bad_value(name: &'static str, value: &'static CStr, why: Why) -> i32 {
    Error::new(What::ReadValue, value, why).print(name, INIT_TEXTS);
    1
}
