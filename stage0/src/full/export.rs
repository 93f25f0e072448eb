//! `stage0 export`: the root of a program of a registered pod as a tar archive, which
//! `stage0-image` writes. Here it is found and opened.

use core::ffi::CStr;

use fly::{
    beside,
    error::{Advice, Error, What, Why},
    launch::path::Path,
    plan::{Plan, Step, Steps},
    sys::{descriptor::duplicate_onto, entry::Start, signal},
    text::Digits,
};
use rustix::{
    fd::{AsFd, AsRawFd, OwnedFd},
    fs::{self, Mode, OFlags, ResolveFlags},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{
    enter,
    pods::{Pod, Pods, State},
    stop::is_not,
    words,
};

/// The descriptor by which `stage0-image` gets the root, and its number as a word.
const ROOT: (i32, &CStr) = (3, c"3");
/// Of a directory that is only walked from.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Carries out `stage0 export POD FILE`; returns only if that can't be.
///
/// # Errors
/// Names the pod whose root can't be had, and why.
#[allow(clippy::needless_pass_by_value, reason = "its memory is used up")]
pub fn export(start: Start) -> Result<i32, Error<'static>> {
    const ALLOWED: words::Flags = words::STATE_DIRECTORY | words::APP;
    let words = super::words_behind(&start, ALLOWED)?;
    let (mut pod, mut file) = (None, None);
    words.each_operand(&mut |word| {
        match (pod, file) {
            (None, _) => pod = Some(word),
            (_, None) => file = Some(word),
            _ => return Err(super::too_many(word)),
        }
        Ok(())
    })?;
    let missing = |why| Error::new(What::Read, c"the command line", why).advice(Advice::SeeHelp);
    let name: &'static CStr = pod.ok_or(missing(Why::NoPodNamed))?;
    let file: &'static CStr = file.ok_or(missing(Why::NoFileNamed))?;
    let pods = Pods::new(&words, &start.environment)?;
    let pod = pods.find(name)?;
    let root = open_root(name, &pod, words.app, start.bytes)?;
    let failed = |errno| Error::new(What::Export, name, errno);
    duplicate_onto(root.as_fd(), ROOT.0).map_err(failed)?;
    if root.as_raw_fd() == ROOT.0 {
        // It has to stay open for who comes now.
        core::mem::forget(root);
    }
    Err(beside::become_program(
        c"stage0-image",
        &mut [c"stage0-image", c"export", ROOT.1, name, file].into_iter(),
        &mut start.environment.iter(),
        start.words,
    ))
}

/// What the plan says of the root of a program.
#[derive(Clone, Copy)]
struct Root<'p> {
    /// Where it is on the host.
    path: &'p CStr,
    /// Where it is in the pod; empty if it is the pod's own.
    inside: &'p CStr,
    /// What is written goes into a layer that vanishes with the pod.
    has_layer: bool,
    /// The pod has ids of its own.
    is_mapped: bool,
}

impl<'p> Root<'p> {
    /// Of the program whose steps these are, and those of the others behind it.
    fn of(plan: &Plan<'p>, app: Steps<'p>) -> Self {
        let mut root = Self {
            path: c"",
            inside: c"",
            has_layer: false,
            is_mapped: false,
        };
        for (index, step) in (0_usize..).zip(app) {
            match step {
                Step::App { .. } if index > 0 => break,
                Step::AppRoot { path } => root.inside = path,
                _ => {}
            }
        }
        let mut slot = None;
        for step in plan.steps() {
            match step {
                Step::AttachRoot { mount } if root.inside.is_empty() => slot = Some(mount),
                Step::Attach { mount, target, .. } if target == root.inside => slot = Some(mount),
                Step::UserNamespace { .. } | Step::Maps { .. } => root.is_mapped = true,
                _ => {}
            }
        }
        for step in plan.steps() {
            let (into, path) = match step {
                Step::OpenDirectory { into, path }
                | Step::OpenTree { into, path, .. }
                | Step::MappedTree { into, path, .. } => (into, path),
                Step::Overlay { into, path, .. } | Step::OwnOverlay { into, path, .. } => {
                    root.has_layer |= Some(into) == slot;
                    (into, path)
                }
                _ => continue,
            };
            if Some(into) == slot && root.path.is_empty() {
                root.path = path;
            }
        }
        root
    }
}

/// Opens the root of the program `app`, or of the first one: on the disk, or, where a
/// layer is over it, in the pod while it runs.
fn open_root(
    name: &'static CStr,
    pod: &Pod,
    app: Option<&'static CStr>,
    bytes: &'static mut [u8],
) -> Result<OwnedFd, Error<'static>> {
    let failed = |why: Why| Error::new(What::Export, name, why);
    let plan = pod.plan(bytes)?;
    let root = Root::of(&plan, enter::find(&plan, app, None)?);
    if root.has_layer && root.is_mapped {
        return Err(failed(Why::NotWithUsers));
    }
    let state = pod.state();
    let is_absolute = root.path.to_bytes().starts_with(b"/");
    let opened = match state {
        _ if is_absolute && !root.has_layer => {
            return fs::open(root.path, DIRECTORY, Mode::empty())
                .map_err(|errno| Error::new(What::Open, root.path, errno));
        }
        // In there the ids of files are others.
        State::Running | State::Parked if is_absolute || !root.is_mapped => {
            of_process(pod, root.inside)
        }
        State::Exited | State::Garbage if root.has_layer => {
            return Err(failed(Why::LayerGone));
        }
        _ if root.has_layer => return Err(is_not(What::Export, name, state)),
        // Relative to where stage0 was called.
        _ => {
            let error = Error::new(What::Export, root.path, Why::NotAbsolute);
            return Err(error.advice(Advice::AbsoluteRoot));
        }
    };
    opened.map_err(|errno| Error::new(What::Export, name, errno))
}

/// Opens a directory in the root of the pod's first process.
fn of_process(pod: &Pod, inside: &CStr) -> Result<OwnedFd, Errno> {
    let number = pod.number(c"pid").ok_or(Errno::SRCH)?;
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
    let process = pidfd_open(pid.ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
    let digits = Digits::new(number, 10);
    let path = Path::of(&[b"/proc/", digits.as_bytes(), b"/root"])?;
    let root = fs::open(path.as_c_str(), DIRECTORY, Mode::empty())?;
    // It lives, and the pod still says that it is its process: so it was no other one's root.
    signal::send_by_descriptor(process.as_raw_fd(), 0)?;
    if !pod.is_locked() || pod.number(c"pid") != Some(number) {
        return Err(Errno::SRCH);
    }
    let Some(tail) = inside.to_bytes_with_nul().strip_prefix(b"/") else {
        return Ok(root);
    };
    let tail = CStr::from_bytes_with_nul(tail).map_err(|_| Errno::INVAL)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    fs::openat2(&root, tail, DIRECTORY, Mode::empty(), resolve)
}
