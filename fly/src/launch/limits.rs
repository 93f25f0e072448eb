//! What options say of the process: limits, capabilities of a user, access to
//! files.

use core::ffi::CStr;

use rustix::{
    fs::{self, Mode, OFlags},
    io::{self, Errno},
    thread,
};

use super::{app, explain};
use crate::{
    error::{Advice, Error, What},
    plan::{Kind, List, Record, limits, match_step},
    sys::{
        landlock::Ruleset,
        limits::{Limit, set},
    },
};

/// Carries out one of these steps.
///
/// # Errors
/// The step that failed.
#[cold]
#[inline(never)]
pub(super) fn step<'p>(record: &Record<'p>) -> Result<(), Error<'p>> {
    const LIMITS: [(Limit, What); 4] = [
        (Limit::Resource, What::SetLimit),
        (Limit::Nice, What::SetNice),
        (Limit::Processors, What::SetProcessors),
        (Limit::Policy, What::SetPolicy),
    ];
    let index = record.kind.wrapping_sub(Kind::Limit as u16);
    if let Some((limit, what)) = LIMITS.get(usize::from(index)) {
        return set_limit(record, *limit, *what);
    }
    match_step!(record {
        KeepCapabilities {} => thread::set_keep_capabilities(true)
            .map_err(|errno| Error::new(What::SetCapabilities, c"", errno)),
        Ambient { keep } => app::capabilities(keep, true),
        _ => Err(super::out_of_place()),
    })
}

fn set_limit<'p>(record: &Record<'p>, limit: Limit, what: What) -> Result<(), Error<'p>> {
    const ADVICES: &explain::Advices = &[
        (Errno::PERM, Advice::NeedsPriority),
        (Errno::ACCESS, Advice::NeedsPriority),
        (Errno::INVAL, Advice::NotPossibleHere),
    ];
    // A checked plan holds no other.
    let data = limits::data(record).unwrap_or_default();
    set(limit, record.number, data)
        .map_err(|errno| explain::error(what, record.list.first(), errno, ADVICES))
}

/// Only `fly` does that, no app of a pod.
#[cold]
pub(super) fn restrict(writable: u64, paths: List<'_>) -> Result<(), Error<'_>> {
    const ADVICES: &explain::Advices = &[
        (Errno::NOSYS, Advice::NoLandlock),
        (Errno::OPNOTSUPP, Advice::NoLandlock),
    ];
    let failed = |errno| explain::error(What::RestrictFiles, c"by landlock", errno, ADVICES);
    let ruleset = Ruleset::new().map_err(failed)?;
    for (index, path) in (0..).zip(paths.iter()) {
        ruleset
            .allow(path, index < writable)
            .map_err(|errno| Error::new(What::AllowFiles, path, errno))?;
    }
    ruleset.restrict().map_err(failed)
}

/// By the host's /proc, before anything of the root is seen, and before a user
/// namespace, in which nobody may lower it.
#[cold]
#[inline(never)]
pub(super) fn oom_score(adjustment: &CStr) -> Result<(), Error<'_>> {
    const ADVICES: &explain::Advices = &[
        (Errno::ACCESS, Advice::NeedsPriority),
        (Errno::NOENT, Advice::NeedsProc),
    ];
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty())
        .and_then(|file| io::write(&file, adjustment.to_bytes()))
        .map(drop)
        .map_err(|errno| explain::error(What::AdjustOom, adjustment, errno, ADVICES))
}
