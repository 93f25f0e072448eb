//! Programs of a plan with other variables.

use core::ffi::CStr;

use fly::{
    error::Error,
    lower::variable_name,
    plan::{Builder, Record},
};

use crate::options::{Choice, Choices};

/// Writes the variables of a program, those of its step `before`, TERM if it is given and
/// not there, and those that `choices` set, into the step that is open, and ends it. Of the
/// same variable the last one counts.
///
/// # Errors
/// An option that is wrong.
#[cold]
#[inline(never)]
pub fn variables<'a, I>(
    plan: &mut Builder<'_>,
    before: &Record<'_>,
    term: Option<&[u8]>,
    choices: &Choices<I>,
) -> Result<(), Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let arguments = usize::try_from(before.number).unwrap_or(usize::MAX);
    let mut has_term = sets(choices, b"TERM")?;
    for variable in before.list.iter().skip(arguments.saturating_add(1)) {
        let name = variable_name(variable);
        has_term |= name == b"TERM";
        if !sets(choices, name)? {
            plan.string(variable);
        }
    }
    if let (false, Some(term)) = (has_term, term) {
        plan.joined(&[b"TERM=", term]);
    }
    let mut rest = choices.clone();
    while let Some(choice) = rest.take()? {
        if let Choice::SetVariable(variable) = choice
            && !sets(&rest, variable_name(variable))?
        {
            plan.string(variable);
        }
    }
    plan.end();
    Ok(())
}

/// Whether one of the options sets the variable `name`.
fn sets<'a, I>(choices: &Choices<I>, name: &[u8]) -> Result<bool, Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    let mut choices = choices.clone();
    while let Some(choice) = choices.take()? {
        if let Choice::SetVariable(variable) = choice
            && variable_name(variable) == name
        {
            return Ok(true);
        }
    }
    Ok(false)
}
