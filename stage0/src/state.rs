//! Where registered pods are: a directory each, in the folder of its state, so that a
//! pod changes its state by a rename. Whether one of `run` lives, the lock in it says.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    launch::path::Path,
    plan::{Builder, MAX_PATH, Step},
    sys::{entry::Strings, memory::c_str},
    text::copy,
};
use rustix::{
    fs::{self, Mode},
    io::Errno,
    process::geteuid,
};

use crate::uuid;

/// The folder of a pod, which says how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Folder {
    /// It is being made, for `run`.
    Embryo,
    /// It is being made, for a later start.
    Prepare,
    /// It can be started.
    Prepared,
    /// It runs, or its stage0 was killed.
    Run,
    /// It has ended.
    ExitedGarbage,
    /// It is being removed.
    Garbage,
}

impl Folder {
    /// All of them, in the order of a pod's life.
    pub const ALL: [Self; 6] = [
        Self::Embryo,
        Self::Prepare,
        Self::Prepared,
        Self::Run,
        Self::ExitedGarbage,
        Self::Garbage,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embryo => "embryo",
            Self::Prepare => "prepare",
            Self::Prepared => "prepared",
            Self::Run => "run",
            Self::ExitedGarbage => "exited-garbage",
            Self::Garbage => "garbage",
        }
    }
}

/// Where root's pods are, if nothing else is said; it is gone after a boot, as they are.
const DEFAULT: &[u8] = b"/run/kickstage";
/// The folder of all states in it.
const PODS: &[u8] = b"/pods";
/// For others below XDG_RUNTIME_DIR.
const BELOW: &[u8] = b"/kickstage/pods";
/// Others than the owner may look if the owner's group is theirs.
pub const PRIVATE: Mode = Mode::from_raw_mode(0o750);

/// As long as that may be: two paths of a pod have to fit into a buffer.
const MAX_ROOT: usize = MAX_PATH / 2 - 64;

/// Writes the path of the folder of all states to `place`: as `--state-dir` says, else as
/// KICKSTAGE_STATE_DIR, else the usual one.
///
/// # Errors
/// Where there is none, or its path is no absolute one, or too long.
#[inline(never)]
pub fn root<'e>(
    given: Option<&'e CStr>,
    environment: &Strings,
    place: &mut Path,
) -> Result<(), Error<'e>> {
    // They fit.
    let _ = place.append(&bounded(given, environment)?);
    Ok(())
}

/// Writes the step by which a pod gets a network namespace of the pool.
///
/// # Errors
/// As [`root`].
#[cold]
#[inline(never)]
pub fn join_pooled<'e>(
    given: Option<&'e CStr>,
    environment: &Strings,
    plan: &mut Builder<'_>,
) -> Result<(), Error<'e>> {
    let (_, [base, below]) = parts(given, environment)?;
    plan.begin_list(Step::JoinPooled { path: c"" })
        .joined(&[base, below, NETWORKS])
        .end();
    Ok(())
}

/// The path of [`root`] in two parts, which is not too long.
fn bounded<'e>(given: Option<&'e CStr>, environment: &Strings) -> Result<[&'e [u8]; 2], Error<'e>> {
    let (object, parts) = parts(given, environment)?;
    let [base, below] = parts;
    if base.len() + below.len() > MAX_ROOT {
        return Err(Error::new(What::ReadOption, object, Errno::NAMETOOLONG));
    }
    Ok(parts)
}

/// The path of [`root`] in two parts, and what has said it.
fn parts<'e>(
    given: Option<&'e CStr>,
    environment: &Strings,
) -> Result<(&'e CStr, [&'e [u8]; 2]), Error<'e>> {
    let variable = c"KICKSTAGE_STATE_DIR";
    let (object, base, below) = match (given, environment.value("KICKSTAGE_STATE_DIR")) {
        (Some(path), _) => (path, path.to_bytes(), PODS),
        (None, Some(path)) => (variable, path, PODS),
        (None, None) if geteuid().is_root() => (c"", DEFAULT, PODS),
        (None, None) => {
            let path = environment.value("XDG_RUNTIME_DIR").unwrap_or_default();
            (c"XDG_RUNTIME_DIR", path, BELOW)
        }
    };
    if base.starts_with(b"/") {
        return Ok((object, [base, below]));
    }
    let why = if base.is_empty() {
        Why::NoValue
    } else {
        Why::NotAbsolute
    };
    let error = Error::new(What::ReadOption, object, why);
    Err(error.advice(Advice::NameStateDirectory))
}

/// The path of a pod in `folder`; `root` is that of the folder of all states.
///
/// # Errors
/// ENAMETOOLONG.
pub fn path(root: &[u8], folder: Folder, uuid: &[u8]) -> Result<Path, Errno> {
    Path::of(&Place { root, uuid }.parts(folder))
}

/// Room for the path of most pods, and a zero behind it.
pub const SHORT: usize = 200;

/// What a registered pod's path says of it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The folder of all states.
    pub root: &'a [u8],
    /// The pod's name.
    pub uuid: &'a [u8],
}

impl<'a> Place<'a> {
    /// Of the pod in the directory `path`.
    #[must_use]
    pub fn of(path: &'a CStr) -> Self {
        let bytes = path.to_bytes();
        let end = bytes.len().saturating_sub(uuid::LENGTH);
        let (before, uuid) = bytes.split_at_checked(end).unwrap_or_default();
        // Without the folder that it is in.
        let folder = before.strip_suffix(b"/").unwrap_or_default();
        let slash = folder.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let root = folder.get(..slash).unwrap_or_default();
        Self { root, uuid }
    }

    /// Adds its path in this folder to `path`, which is in its place: it is a page.
    ///
    /// # Errors
    /// ENAMETOOLONG.
    #[inline(never)]
    pub fn path(&self, folder: Folder, path: &mut Path) -> Result<(), Errno> {
        path.append(&self.parts(folder))
    }

    fn parts(&self, folder: Folder) -> [&'a [u8]; 5] {
        [self.root, b"/", folder.name().as_bytes(), b"/", self.uuid]
    }

    /// Writes its path in this folder to the beginning of `bytes`, of which the rest is
    /// returned, too.
    #[must_use]
    pub fn name<'b>(&self, folder: Folder, bytes: &'b mut [u8]) -> (&'b CStr, &'b mut [u8]) {
        named(&self.parts(folder), &[], bytes)
    }

    /// Its path in this folder, if it is as short as most are: not a page of the stack.
    #[cold]
    #[inline(never)]
    pub fn short<'b>(&self, folder: Folder, bytes: &'b mut [u8; SHORT]) -> Option<&'b CStr> {
        let (path, _) = self.name(folder, bytes);
        (!path.is_empty()).then_some(path)
    }

    /// Moves it from one folder to another one, which is made if it is missing.
    ///
    /// # Errors
    /// As rename(2).
    #[cold]
    #[inline(never)]
    pub fn shift(&self, from: Folder, to: Folder) -> Result<(), Errno> {
        let [mut old, mut new] = [[0; SHORT]; 2];
        match (self.short(from, &mut old), self.short(to, &mut new)) {
            (Some(old), Some(new)) => self.rename(old, new),
            _ => self.shift_far(from, to),
        }
    }

    /// The same of one whose path is long.
    #[cold]
    #[inline(never)]
    fn shift_far(&self, from: Folder, to: Folder) -> Result<(), Errno> {
        // Both in one buffer: another one would be a page of the stack more.
        let mut paths = Path::new();
        self.path(from, &mut paths)?;
        paths.append(&[b"\0"])?;
        let second = paths.as_bytes().len();
        self.path(to, &mut paths)?;
        self.rename(paths.as_c_str(), paths.c_str_from(second))
    }

    fn rename(&self, from: &CStr, to: &CStr) -> Result<(), Errno> {
        match fs::rename(from, to) {
            Err(Errno::NOENT) => {
                make_above(to.to_bytes(), self.root.len())?;
                fs::rename(from, to)
            }
            done => done,
        }
    }

    /// Makes its directory in this folder.
    ///
    /// # Errors
    /// As mkdir(2).
    #[cold]
    #[inline(never)]
    pub fn make(&self, folder: Folder) -> Result<(), Errno> {
        let mut path = Path::new();
        self.path(folder, &mut path)?;
        match fs::mkdir(path.as_c_str(), PRIVATE) {
            Err(Errno::NOENT) => {
                make_above(path.as_bytes(), self.root.len())?;
                fs::mkdir(path.as_c_str(), PRIVATE)
            }
            done => done,
        }
    }
}

/// Writes the path of what `parts` say behind the folder of all states to the beginning of
/// `bytes`, of which it returns the rest: what comes behind it shares its page.
///
/// # Errors
/// As [`root`].
#[inline(never)]
pub fn name<'p, 'e>(
    given: Option<&'e CStr>,
    environment: &Strings,
    parts: &[&[u8]],
    bytes: &'p mut [u8],
) -> Result<(&'p CStr, &'p mut [u8]), Error<'e>> {
    let (path, rest) = named(&bounded(given, environment)?, parts, bytes);
    if path.to_bytes().len() >= MAX_PATH {
        let option = c"--state-dir";
        return Err(Error::new(What::ReadOption, option, Errno::NAMETOOLONG));
    }
    Ok((path, rest))
}

/// Writes all of these parts to the beginning of `bytes`, of which the rest is returned, too.
#[inline(never)]
fn named<'p>(first: &[&[u8]], then: &[&[u8]], bytes: &'p mut [u8]) -> (&'p CStr, &'p mut [u8]) {
    let mut length = 0;
    for part in first.iter().chain(then) {
        copy(bytes.get_mut(length..).unwrap_or_default(), part);
        length += part.len();
    }
    let (place, rest) = bytes.split_at_mut_checked(length + 1).unwrap_or_default();
    if let Some(terminator) = place.last_mut() {
        *terminator = 0;
    }
    (c_str(place).unwrap_or_default(), rest)
}

/// Behind the folder of all states: the pool of network namespaces.
pub const NETWORKS: &[u8] = b"/networks";

/// Behind the folder of all states: a link to an empty mount namespace, of which pods get
/// copies, in a process that has it open (`crate::empty`).
pub const EMPTY: &[u8] = b"/mount-namespace";

/// Bytes that [`name`] needs at most.
pub const NAME: usize = MAX_PATH;

/// Makes all directories above the last part of `path`, of which the first `pods` bytes are
/// the folder of all states: from that on they are their owner's.
///
/// # Errors
/// As mkdir(2).
#[cold]
#[inline(never)]
pub fn make_above(path: &[u8], pods: usize) -> Result<(), Errno> {
    for (index, byte) in path.iter().enumerate().skip(1) {
        if *byte != b'/' {
            continue;
        }
        let above = Path::of(&[path.get(..index).unwrap_or_default()])?;
        let mode = if index >= pods {
            PRIVATE
        } else {
            Mode::from_raw_mode(0o755)
        };
        match fs::mkdir(above.as_c_str(), mode) {
            Err(Errno::EXIST) => {}
            done => done?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let place = Place::of(c"/run/kickstage/pods/run/00112233-4455-4677-8899-aabbccddeeff");
        assert_eq!(place.root, b"/run/kickstage/pods");
        assert_eq!(place.uuid, b"00112233-4455-4677-8899-aabbccddeeff");
        let mut path = Path::new();
        place.path(Folder::ExitedGarbage, &mut path).unwrap();
        assert_eq!(
            path.as_bytes(),
            b"/run/kickstage/pods/exited-garbage/00112233-4455-4677-8899-aabbccddeeff"
        );
    }
}
