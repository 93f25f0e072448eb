//! The flight plan: what a start will do, in the order in which it does it.
//!
//! A [`Plan`] is flat bytes: a header and one record per [`Step`]. It can be
//! written to a file or a sealed memory file and walked in place; nothing is
//! parsed twice. Everything lowers to a plan (command lines, manifests), the
//! launcher walks it, and `stage0 plan` prints it.
//!
//! Holding a `Plan` proves that it was checked: [`Plan::check`] is the only
//! way to make one, and [`Builder::finish`] goes through it too.

mod build;
mod check;
pub mod limits;
mod pods;
pub mod print;
mod record;
mod rules;
mod step;

pub use build::Builder;
pub(crate) use check::map_line;
pub use check::{Problem, Reason};
pub use record::{List, Record};
pub(crate) use step::match_step;
pub use step::{Kind, Phase, Slot, Step};

use record::Header;

/// Version of the plan's format; a plan of another version is refused.
pub const VERSION: u32 = 3;
/// The largest plan in bytes. Its strings are mostly the arguments and the
/// environment of the apps, for which the kernel's own limit is 2 MiB
/// (execve(2), a quarter of the usual stack limit).
pub const MAX_BYTES: usize = 2 << 20;
/// The largest number of steps.
pub const MAX_STEPS: usize = 8192;
/// The largest number of apps in a pod.
pub const MAX_APPS: usize = 64;
/// The most descriptors of LISTEN_FDS that are passed through.
pub const MAX_LISTENING: i32 = 64;
/// The number of descriptor slots that a plan can name.
pub const MAX_SLOTS: u8 = 64;
/// The largest number of arguments and variables of one app, together.
pub const MAX_STRINGS: usize = 65_536;
/// The longest path, with its terminator (PATH_MAX, limits.h).
pub const MAX_PATH: usize = 4096;

/// A plan that was checked.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    bytes: &'a [u8],
}

impl<'a> Plan<'a> {
    /// Checks `bytes`; no allocation, and one pass, but for apps that wait for others:
    /// that they may start in turn. Whether what [`Builder`] has read of a text, the
    /// numbers of a limit and the apps of [`Step::After`], is what the text says, is
    /// not looked at: the text is there to be shown. Nor is whether two apps have one
    /// name, which [`Builder::finish`] refuses.
    ///
    /// # Errors
    /// The first [`Problem`]: which step, and what is wrong with it.
    pub fn check(bytes: &'a [u8]) -> Result<Self, Problem> {
        check::check::<{ check::ALL }>(bytes)?;
        Ok(Self { bytes })
    }

    /// The same, of a plan for the init of a machine, which has no host around it.
    ///
    /// # Errors
    /// As of [`Plan::check`].
    pub fn check_machine(bytes: &'a [u8]) -> Result<Self, Problem> {
        check::check::<{ check::LAUNCH | check::POLICIES }>(bytes)?;
        Ok(Self { bytes })
    }

    /// The same, of a plan without the steps that only pods have.
    fn check_alone(bytes: &'a [u8]) -> Result<Self, Problem> {
        check::check::<{ check::LAUNCH }>(bytes)?;
        Ok(Self { bytes })
    }

    /// The same, of a plan with nothing but apps of a pod ([`Plan::apps_part`]): who
    /// reads no other holds no rules of what only a launcher does.
    ///
    /// # Errors
    /// As of [`Plan::check`].
    pub fn check_apps(bytes: &'a [u8]) -> Result<Self, Problem> {
        check::check::<{ check::POLICIES }>(bytes)?;
        Ok(Self { bytes })
    }

    /// The plan as it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All steps in order.
    #[must_use]
    pub fn steps(&self) -> Steps<'a> {
        Steps {
            rest: self.bytes.get(Header::SIZE..).unwrap_or_default(),
        }
    }

    /// What can be read of a plan of which these are the bytes, or the beginning, without
    /// a check: to be shown, and no more.
    #[must_use]
    pub fn unchecked_records(bytes: &'a [u8]) -> Records<'a> {
        Records {
            rest: bytes.get(Header::SIZE..).unwrap_or_default(),
        }
    }

    /// The steps of the app number `index`, from its [`Step::App`] to its
    /// [`Step::Exec`].
    #[must_use]
    pub fn app(&self, index: usize) -> Option<Steps<'a>> {
        let mut records = self.steps().records();
        let mut seen = 0;
        loop {
            let rest = records.rest;
            if records.next()?.is(Kind::App) {
                if seen == index {
                    return Some(Steps { rest });
                }
                seen += 1;
            }
        }
    }

    /// The part that pid 1 needs, as the two pieces of a plan of its own: a
    /// header and the records from the first app on. Paths of the host are in
    /// the other part, and stay outside of the pod.
    #[must_use]
    pub fn apps_part(&self) -> ([u8; Header::SIZE], &'a [u8]) {
        let mut rest = self.steps().rest;
        let mut after = rest;
        while let Some(record) = Record::take(&mut after) {
            if record.is(Kind::App) {
                break;
            }
            rest = after;
        }
        let count = Records { rest }.count();
        (Header::new(rest.len(), count).to_bytes(), rest)
    }
}

/// Walks the steps of a checked plan.
#[derive(Clone, Debug)]
pub struct Steps<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Steps<'a> {
    type Item = Step<'a>;

    // Inlined: who looks for few kinds reads the fields of those alone.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see above")]
    fn next(&mut self) -> Option<Step<'a>> {
        Step::read(&Record::take(&mut self.rest)?)
    }

    fn count(self) -> usize {
        self.records().count()
    }
}

impl<'a> Steps<'a> {
    /// The same steps, as they are stored.
    #[must_use]
    pub fn records(self) -> Records<'a> {
        Records { rest: self.rest }
    }
}

/// Walks the records of a checked plan.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        Record::take(&mut self.rest)
    }
}

#[cfg(test)]
mod refused;
#[cfg(test)]
mod tests;
