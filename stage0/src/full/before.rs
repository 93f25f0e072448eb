//! What stands before, between and behind the operands of commands that name a pod, and
//! perhaps a program: where that pod is, and whether all that is wanted is help.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    lower::split_option,
    sys::entry::Strings,
};

use super::{manifest::Words, words};
use crate::options::{Choice, Choices};

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

/// Takes `--format` away, too, if the line begins with it: whether it says JSON.
///
/// # Errors
/// It has no value, or another one.
pub fn format<'a>(
    line: &mut Words<'a>,
    given: &mut Option<&'a CStr>,
    json: &mut bool,
) -> Result<(), Error<'a>> {
    loop {
        skip(line, given)?;
        let mut ahead = line.clone();
        let word = ahead.next().unwrap_or_default();
        let (name, inline) = split_option(word);
        if name != b"--format" {
            return Ok(());
        }
        let failed = |why| Error::new(What::ReadOption, word, why).advice(Advice::SeeHelp);
        let value = inline.or_else(|| ahead.next());
        let value = value.ok_or(failed(Why::NoValue))?;
        *json = words::is_json(value).ok_or(failed(Why::NotTextOrJson))?;
        *line = ahead;
    }
}

/// Whether the `words` behind the command ask for help; those of a program do not.
pub fn asks_for_help(command: &CStr, words: Strings) -> bool {
    let operands = match command.to_bytes() {
        b"list" | b"ps" | b"status" | b"stop" | b"rm" | b"gc" | b"completion" | b"config"
        | b"cat-manifest" | b"export" | b"logs" | b"attach" => return words::ask_for_help(words),
        b"enter" | b"exec" => 1,
        b"pool" => 2,
        b"app" => match words.iter().next().map(CStr::to_bytes) {
            Some(b"add" | b"release") => 2,
            _ => 3,
        },
        _ => return false,
    };
    let mut left = operands;
    let mut choices = Choices::new(Words::Given(words.iter()));
    loop {
        let mut behind = choices.words();
        let word = behind.next().unwrap_or_default();
        match split_option(word) {
            (b"--networks", _) => {}
            (b"--app", inline) => {
                if inline.is_none() {
                    let _ = behind.next();
                }
            }
            _ => match choices.take() {
                Ok(Some(Choice::Help)) => return true,
                Ok(Some(_)) => continue,
                Ok(None) if left > 0 && !word.is_empty() && word != c"--" => left -= 1,
                _ => return false,
            },
        }
        choices = Choices::new(behind);
    }
}
