//! `--uid-map` and `--gid-map`.

use core::ffi::CStr;

use rustix::process;

use super::{Choices, Name};
use crate::{
    error::{Error, What, Why},
    plan::{Builder, map_line},
};

/// # Errors
/// Names the value that is no map.
pub(super) fn check(value: &CStr) -> Result<(), Error<'_>> {
    match map_line(value.to_bytes()) {
        Some(_) => Ok(()),
        None => Err(Error::new(What::ReadOption, value, Why::NoMap)),
    }
}

/// Whether the process may write these by itself: one id each, its own.
pub(super) fn are_own(user: &CStr, group: &CStr) -> bool {
    let is_own = |value: &CStr, own: u32| matches!(map_line(value.to_bytes()), Some([_, outside, 1]) if outside == u64::from(own));
    is_own(user, process::geteuid().as_raw()) && is_own(group, process::getegid().as_raw())
}

/// Adds all lines to the step that is open: those of users, then those of groups.
///
/// # Errors
/// None that reading the options before has not had.
pub(super) fn write<'a, I>(
    plan: &mut Builder<'_>,
    choices: &Choices<'a, I>,
) -> Result<(), Error<'a>>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    for name in &[Name::UserMap, Name::GroupMap] {
        let mut choices = choices.clone();
        while let Some(choice) = choices.known() {
            if choice.name == *name {
                plan.string(choice.first);
            }
        }
    }
    Ok(())
}
