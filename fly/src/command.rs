//! What the programs `fly` and `fly-full` have in common: from a command line to
//! the end of the program.

use core::ffi::CStr;

use crate::{
    error::{Advice, Error, FAILURE, FLY_TEXTS, What},
    launch::{Running, Status},
    options::Options,
    packed::Packed,
    plan::{Builder, Plan},
    text::Line,
};

/// The name in messages.
pub const NAME: &str = "fly";

/// The plan that the options lower to.
///
/// # Errors
/// Names the option that can't be lowered, or the step that is wrong.
pub fn plan<'a, I>(
    options: &Options<'static, I>,
    bytes: &'a mut [u8],
    environment: impl Iterator<Item = &'static CStr> + Clone,
) -> Result<Plan<'a>, Error<'static>>
where
    I: Iterator<Item = &'static CStr> + Clone,
{
    let mut plan = Builder::new(bytes);
    options.lower(&mut plan, environment)?;
    plan.finish_alone()
        .map_err(|problem| Error::new(What::CheckPlan, c"", problem.reason))
}

/// Waits for the program of a start that has come back; returns its exit code.
///
/// # Errors
/// Those of the start, with what helps where root is missing.
pub fn wait<'a>(
    done: Result<Running, Error<'a>>,
    status: &Status,
    needs_root: bool,
) -> Result<i32, Error<'a>> {
    match done {
        Ok(running) => Ok(supervise(&running, status)),
        Err(error) if error.advises(Advice::NeedsRoot) && needs_root => {
            Err(error.advice(Advice::NeedsRootOrUser))
        }
        Err(error) => Err(error),
    }
}

#[cold]
#[inline(never)]
fn supervise(running: &Running, status: &Status) -> i32 {
    status.started(running.child.pid);
    match running.wait() {
        Some(end) => {
            status.ended(end);
            end.code()
        }
        None => FAILURE,
    }
}

/// The exit code of what was done; an error is told.
#[must_use]
pub fn code(done: Result<i32, Error<'_>>) -> i32 {
    match done {
        Ok(code) => code,
        Err(error) => {
            error.print(NAME, FLY_TEXTS);
            FAILURE
        }
    }
}

/// Writes a text to standard output; returns the exit code.
#[must_use]
pub fn print(text: Packed) -> i32 {
    code(Error::said(Line::new(1).packed(text).flush(), 0))
}
