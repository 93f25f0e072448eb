//! What options say of the process: limits, capabilities of a user, access to
//! files.

use core::ffi::CStr;

use rustix::{
    fs::{self, Mode, OFlags},
    io::{self, Errno},
    thread::{self, CapabilitySet, CapabilitySets},
};

use super::explain;
use crate::{
    error::{Advice, Error, What},
    plan::{Kind, List, Record, access, limits, match_step},
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
    match_step!(record {
        Limit { limit } => set_limit(Kind::Limit, Limit::Resource, What::SetLimit, limit),
        Nice { value } => set_limit(Kind::Nice, Limit::Nice, What::SetNice, value),
        Processors { list } => {
            set_limit(Kind::Processors, Limit::Processors, What::SetProcessors, list)
        },
        Scheduling { policy } => {
            set_limit(Kind::Scheduling, Limit::Policy, What::SetPolicy, policy)
        },
        KeepCapabilities {} => thread::set_keep_capabilities(true)
            .map_err(|errno| Error::new(What::SetCapabilities, c"", errno)),
        Ambient { keep } => ambient(keep).map_err(|errno| {
            const ADVICES: &explain::Advices = &[(Errno::PERM, Advice::NotHeld)];
            explain::error(What::SetCapabilities, c"", errno, ADVICES)
        }),
        Landlock { rules } => restrict(rules),
        _ => Err(super::out_of_place()),
    })
}

fn set_limit(kind: Kind, limit: Limit, what: What, text: &CStr) -> Result<(), Error<'_>> {
    const ADVICES: &explain::Advices = &[
        (Errno::PERM, Advice::NeedsPriority),
        (Errno::ACCESS, Advice::NeedsPriority),
        (Errno::INVAL, Advice::NotPossibleHere),
    ];
    // A checked plan holds no other text.
    let numbers = limits::parse(kind, text.to_bytes()).ok_or(super::out_of_place())?;
    set(limit, &numbers).map_err(|errno| explain::error(what, text, errno, ADVICES))
}

/// A set that survives an exec without root has to be inheritable, and then
/// ambient (capabilities(7)).
fn ambient(keep: u64) -> Result<(), Errno> {
    let set = CapabilitySet::from_bits_retain(keep);
    let sets = CapabilitySets {
        effective: set,
        permitted: set,
        inheritable: set,
    };
    thread::set_capabilities(None, sets)?;
    for number in 0..64 {
        if keep & (1 << number) != 0 {
            let one = CapabilitySet::from_bits_retain(1 << number);
            thread::configure_capability_in_ambient_set(one, true)?;
        }
    }
    Ok(())
}

fn restrict(rules: List<'_>) -> Result<(), Error<'_>> {
    const ADVICES: &explain::Advices = &[
        (Errno::NOSYS, Advice::NoLandlock),
        (Errno::OPNOTSUPP, Advice::NoLandlock),
    ];
    let failed = |errno| explain::error(What::RestrictFiles, c"by landlock", errno, ADVICES);
    let ruleset = Ruleset::new().map_err(failed)?;
    for (writes, path) in rules.iter().filter_map(access) {
        ruleset
            .allow(path, writes)
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
