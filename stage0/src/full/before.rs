//! What stands before, between and behind the operands of commands that name a pod, and
//! perhaps a program: where that pod is.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    lower::split_option,
};

use super::manifest::Words;

/// The next operand; what `--state-dir` says before it is `given`.
///
/// # Errors
/// The option has no value.
pub fn operand<'a>(
    words: &mut Words<'a>,
    given: &mut Option<&'a CStr>,
) -> Result<Option<&'a CStr>, Error<'a>> {
    skip(words, given)?;
    Ok(words.next())
}

/// Takes `--state-dir` away, if the words begin with it.
///
/// # Errors
/// It has no value.
pub fn skip<'a>(words: &mut Words<'a>, given: &mut Option<&'a CStr>) -> Result<(), Error<'a>> {
    loop {
        let mut ahead = words.clone();
        let word = ahead.next().unwrap_or_default();
        let (name, inline) = split_option(word);
        if name != b"--state-dir" {
            return Ok(());
        }
        let missing = Error::new(What::ReadOption, word, Why::NoValue);
        let value = inline.or_else(|| ahead.next());
        *given = Some(value.ok_or(missing.advice(Advice::SeeHelp))?);
        *words = ahead;
    }
}
