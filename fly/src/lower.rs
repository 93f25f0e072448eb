//! What the command lines of `fly` and `stage0` lower in the same way.

pub mod kernel_files;

use core::ffi::CStr;

use linux_raw_sys::general as raw;

use crate::{
    error::{Error, What, Why},
    plan::{Builder, List, Slot, Step},
    text::{holds, split},
    user::Identity,
};

/// `--name=value` as name and value; without `=` the value is `None`.
#[must_use]
pub fn split_option(word: &CStr) -> (&[u8], Option<&CStr>) {
    let bytes = word.to_bytes_with_nul();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => {
            let (name, rest) = bytes.split_at_checked(at).unwrap_or((bytes, b""));
            let value = rest.get(1..).and_then(crate::sys::memory::c_str);
            (name, value)
        }
        None => (word.to_bytes(), None),
    }
}

/// The name of a variable `NAME=VALUE`.
#[must_use]
pub fn variable_name(variable: &CStr) -> &[u8] {
    let bytes = variable.to_bytes();
    split(bytes, b'=').next().unwrap_or(bytes)
}

/// # Errors
/// A variable's name is not empty and holds no `=`.
pub fn check_variable_name(name: &CStr) -> Result<(), Error<'_>> {
    if name.is_empty() || holds(name.to_bytes(), b'=') {
        return Err(Error::new(What::ReadVariable, name, Why::NoVariableName));
    }
    Ok(())
}

/// The pod's /proc, /sys and /dev are what confinement relies on: what would
/// cover them, or lie in the first two, is refused (CVE-2019-16884). Links of
/// the image that lead there are refused when they are walked. `object` is what
/// the error names.
///
/// # Errors
/// Says what is wrong with the target.
pub fn check_target<'a>(object: &'a CStr, target: &[u8]) -> Result<(), Error<'a>> {
    let failed = |why: Why| Err(Error::new(What::ReadMountTarget, object, why));
    let mut parts = split(target, b'/').filter(|part| !part.is_empty() && *part != b".");
    match (parts.next(), parts.next()) {
        (None, _) if target.is_empty() => failed(Why::Empty),
        (None, _) => failed(Why::IsRoot),
        (Some(b"proc" | b"sys"), _) => failed(Why::InKernelFileSystem),
        (Some(b"dev"), None) => failed(Why::CoversDev),
        _ => Ok(()),
    }
}

/// Mounts what `mount` holds at `target`, inside the root, and lets go of it.
pub fn attach(plan: &mut Builder<'_>, mount: Slot, root: Slot, target: &[u8]) {
    plan.begin_list(Step::Attach {
        mount,
        under: root,
        flags: Step::CREATE | Step::CLOSE,
        target: c"",
    })
    .joined(&[target])
    .end();
}

/// The host's file systems that a root is given, and their names in it, in the
/// order in which they are bound.
pub static HOST: [(&CStr, &CStr); 3] = [(c"/dev", c"dev"), (c"/proc", c"proc"), (c"/sys", c"sys")];

/// The host's /dev, /proc and /sys with all that is mounted below them.
#[inline(never)]
pub fn host_file_systems(plan: &mut Builder<'_>, source: Slot, root: Slot) {
    for &(path, target) in &HOST {
        host_file_system(plan, source, root, path, target);
    }
}

/// One of them: the host's `path` at `target`, a name in the root.
pub fn host_file_system(
    plan: &mut Builder<'_>,
    source: Slot,
    root: Slot,
    path: &CStr,
    target: &CStr,
) {
    plan.push(Step::OpenTree {
        into: source,
        flags: Step::RECURSIVE,
        attributes: 0,
        path,
    });
    attach_in_place(plan, source, root, target);
}

/// Attaches what is in `source` at `target`, a name in the root, following
/// nothing.
pub fn attach_in_place(plan: &mut Builder<'_>, source: Slot, root: Slot, target: &CStr) {
    plan.push(Step::Attach {
        mount: source,
        under: root,
        flags: Step::NO_FOLLOW | Step::CREATE | Step::CLOSE,
        target,
    });
}

/// What a tmpfs of the user's is given: its files are data.
pub const DATA: u64 = (raw::MOUNT_ATTR_NOSUID | raw::MOUNT_ATTR_NODEV) as u64;

/// An empty tmpfs; its root has the mode `mode` (octal).
pub fn tmpfs(plan: &mut Builder<'_>, into: Slot, attributes: u64, mode: &[u8]) {
    plan.begin_list(Step::FileSystem {
        into,
        attributes,
        options: List::EMPTY,
    })
    .string(c"tmpfs")
    .string(c"mode")
    .joined(&[mode])
    .end();
}

/// The pod's own devpts (Documentation/filesystems/devpts.rst); group 5 is tty
/// on every distribution that has one.
pub const DEVPTS: [&CStr; 7] = [
    c"devpts",
    c"mode",
    c"0620",
    c"gid",
    c"5",
    c"ptmxmode",
    c"0666",
];
/// The same where group 5 is not mapped, in a user namespace.
pub const DEVPTS_WITHOUT_GROUP: [&CStr; 5] = [c"devpts", c"mode", c"0620", c"ptmxmode", c"0666"];
/// How it is mounted.
pub const DEVPTS_ATTRIBUTES: u64 = (raw::MOUNT_ATTR_NOSUID | raw::MOUNT_ATTR_NOEXEC) as u64;

/// Groups first, the user last: it gives the right to set the others away.
pub fn identity(plan: &mut Builder<'_>, identity: &Identity) {
    groups(plan, identity.groups());
    ids(plan, identity);
}

/// Without the supplementary groups.
#[inline(never)]
pub fn ids(plan: &mut Builder<'_>, identity: &Identity) {
    plan.push(Step::Group {
        id: u64::from(identity.group),
    })
    .push(Step::User {
        id: u64::from(identity.user),
    });
}

/// The supplementary groups.
pub fn groups(plan: &mut Builder<'_>, ids: &[u32]) {
    plan.begin_list(Step::Groups { ids: &[] });
    for id in ids {
        plan.bytes(&id.to_ne_bytes());
    }
    plan.end();
}

/// # Errors
/// The working directory is absolute.
pub fn working_directory<'a>(plan: &mut Builder<'_>, path: &'a CStr) -> Result<(), Error<'a>> {
    if !path.to_bytes().starts_with(b"/") {
        return Err(Error::new(
            What::ReadWorkingDirectory,
            path,
            Why::NotAbsolute,
        ));
    }
    plan.push(Step::WorkingDirectory { path });
    Ok(())
}
