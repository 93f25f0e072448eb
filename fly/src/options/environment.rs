//! The environment: the caller's, changed by the options in the order given.

use core::ffi::CStr;

use rustix::{
    fd::AsRawFd,
    fs::{self, Mode, OFlags},
};

use super::{Name, Options};
use crate::{
    error::{Advice, Cause, Error, What, Why},
    lower,
    plan::Builder,
    sys::descriptor,
    text::{holds, split},
};

/// The most bytes of a file of variables.
const MAX_FILE: usize = 64 << 10;

impl<'a, I> Options<'a, I>
where
    I: Iterator<Item = &'a CStr> + Clone,
{
    /// Adds the variables to the step that is open.
    #[cold]
    #[inline(never)]
    pub(super) fn changed_environment<E>(
        &self,
        plan: &mut Builder<'_>,
        environment: &E,
    ) -> Result<(), Error<'a>>
    where
        E: Iterator<Item = &'a CStr> + Clone,
    {
        let from = plan.position();
        for variable in environment.clone() {
            plan.string(variable);
        }
        let mut choices = self.choices.clone();
        while let Some(choice) = choices.known() {
            let name = choice.first.to_bytes();
            match choice.name {
                Name::ClearVariables => plan.remove(from, b""),
                Name::UnsetVariable => plan.remove(from, name),
                Name::SetVariable => {
                    plan.remove(from, name);
                    plan.joined(&[name, b"=", choice.second.to_bytes()]);
                }
                Name::VariableFile => each_variable(choice.first, &mut |name, line| {
                    let value = match name == line {
                        true => caller(environment.clone(), name),
                        false => Some(line),
                    };
                    if let Some(value) = value {
                        plan.remove(from, name);
                        plan.joined(&[value]);
                    }
                })?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The variable `name` of the caller.
fn caller<'a>(mut environment: impl Iterator<Item = &'a CStr>, name: &[u8]) -> Option<&'a [u8]> {
    environment
        .find(|variable| lower::variable_name(variable) == name)
        .map(CStr::to_bytes)
}

/// Calls `each` for the name and the whole of each line of the file `path` that
/// is no comment.
fn each_variable<'a>(path: &'a CStr, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), Error<'a>> {
    let failed = |cause: Cause| Error::new(What::ReadVariables, path, cause);
    let mut room = [0; MAX_FILE + 1];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let mut used = 0;
    while let Some(rest @ [_, ..]) = room.get_mut(used..) {
        match descriptor::read(file.as_raw_fd(), rest).map_err(|errno| failed(errno.into()))? {
            0 => break,
            count => used += count,
        }
    }
    let mut number = 0;
    for line in split(room.get(..used).unwrap_or_default(), b'\n') {
        number += 1;
        if used > MAX_FILE || number > Cause::MAX_LINE {
            return Err(failed(Why::TooManyVariables.into()));
        }
        let line = line.trim_ascii_start();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        match variable(line) {
            Some(name) => each(name, line),
            None => return Err(failed(Cause::line(number)).advice(Advice::VariableLine)),
        }
    }
    Ok(())
}

/// The name in `line`, if that is NAME=VALUE or NAME.
fn variable(line: &[u8]) -> Option<&[u8]> {
    let name = split(line, b'=').next()?;
    let good = !name.is_empty()
        && !name.iter().any(u8::is_ascii_whitespace)
        && !holds(line, 0)
        && !line.ends_with(b"\r");
    good.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_lines() {
        for (line, name) in [
            ("A=1", Some("A")),
            ("A=", Some("A")),
            ("A", Some("A")),
            ("A=b=c", Some("A")),
            ("A=b c", Some("A")),
            ("\u{fc}=\u{f6}", Some("\u{fc}")),
            ("=1", None),
            ("A B=1", None),
            ("export A=1", None),
            ("A =1", None),
            ("A\t=1", None),
            ("A=1\r", None),
            ("A\r", None),
            ("A=\0", None),
        ] {
            let found = variable(line.as_bytes());
            assert_eq!(found, name.map(str::as_bytes), "{line:?}");
        }
    }
}
