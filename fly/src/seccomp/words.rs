//! The words of a profile: actions, operators, architectures, capabilities, calls.

use super::{
    EPERM, action,
    profile::{Context, Operator, Problem, fields, problem, strings},
    syscalls::LISTS,
};
use crate::{
    capability,
    json::{Reader, Text},
    text::{decimal, position, split},
};

/// One of the words of a list.
fn one_of<T: Copy>(
    reader: &mut Reader<'_>,
    words: &[(&str, T)],
    wrong: &'static str,
) -> Result<T, Problem> {
    let text = reader.string()?;
    match words.iter().find(|(word, _)| text.is(word)) {
        Some((_, value)) => Ok(*value),
        None => problem(text.at, wrong),
    }
}

/// An action without its data.
pub(super) fn action_kind(reader: &mut Reader<'_>) -> Result<u32, Problem> {
    const ACTIONS: &[(&str, u32)] = &[
        ("SCMP_ACT_ALLOW", action::ALLOW),
        ("SCMP_ACT_ERRNO", action::ERRNO),
        ("SCMP_ACT_KILL", action::KILL_THREAD),
        ("SCMP_ACT_KILL_THREAD", action::KILL_THREAD),
        ("SCMP_ACT_KILL_PROCESS", action::KILL_PROCESS),
        ("SCMP_ACT_TRAP", action::TRAP),
        ("SCMP_ACT_TRACE", action::TRACE),
        ("SCMP_ACT_LOG", action::LOG),
        ("SCMP_ACT_NOTIFY", action::NOTIFY),
    ];
    let at = reader.at();
    match one_of(reader, ACTIONS, "there is no such action")? {
        action::NOTIFY => problem(at, "SCMP_ACT_NOTIFY needs a listener, and there is none"),
        kind => Ok(kind),
    }
}

/// Only two actions say more.
pub(super) fn with_error(kind: u32, error: Option<u16>) -> u32 {
    match kind {
        action::ERRNO | action::TRACE => kind | u32::from(error.unwrap_or(EPERM)),
        kind => kind,
    }
}

pub(super) fn error_number(reader: &mut Reader<'_>) -> Result<u16, Problem> {
    // MAX_ERRNO (linux/err.h): the kernel makes this of a larger one.
    const MAX: u64 = 4095;
    let at = reader.at();
    match reader.number()? {
        number @ 0..=MAX => Ok(u16::try_from(number).unwrap_or(EPERM)),
        _ => problem(at, "an error's number is at most 4095"),
    }
}

/// As podman writes it beside the number.
pub(super) fn error_name(reader: &mut Reader<'_>) -> Result<u16, Problem> {
    const NAMES: &[(&str, u16)] = &[
        ("EPERM", 1),
        ("ENOENT", 2),
        ("EACCES", 13),
        ("EINVAL", 22),
        ("ENOSYS", 38),
        ("ENOTSUP", 95),
        ("EOPNOTSUPP", 95),
        ("EAFNOSUPPORT", 97),
    ];
    one_of(reader, NAMES, "use errnoRet, and the error's number")
}

pub(super) fn operator_of(reader: &mut Reader<'_>) -> Result<Operator, Problem> {
    const OPERATORS: &[(&str, Operator)] = &[
        ("SCMP_CMP_NE", Operator::NotEqual),
        ("SCMP_CMP_LT", Operator::Less),
        ("SCMP_CMP_LE", Operator::AtMost),
        ("SCMP_CMP_EQ", Operator::Equal),
        ("SCMP_CMP_GE", Operator::AtLeast),
        ("SCMP_CMP_GT", Operator::Greater),
        ("SCMP_CMP_MASKED_EQ", Operator::Masked),
    ];
    one_of(reader, OPERATORS, "there is no such operator")
}

/// i386 and x32 may be named: their calls are refused all the same.
pub(super) fn architectures(
    reader: &mut Reader<'_>,
    ours: &mut Option<bool>,
) -> Result<(), Problem> {
    strings(reader, &mut |name| {
        let found = name.is("SCMP_ARCH_X86_64");
        *ours = Some(ours.unwrap_or(false) | found);
        Ok(())
    })
}

pub(super) fn architecture_map(
    reader: &mut Reader<'_>,
    ours: &mut Option<bool>,
) -> Result<(), Problem> {
    reader.array(&mut |reader| {
        fields(
            reader,
            &["architecture", "subArchitectures"],
            &mut |reader, field| {
                if field == 1 {
                    return strings(reader, &mut |_| Ok(()));
                }
                let found = reader.string()?.is("SCMP_ARCH_X86_64");
                *ours = Some(ours.unwrap_or(false) | found);
                Ok(())
            },
        )
    })
}

/// A program that has not started has one thread: there is nothing to bring in
/// step. All others change what the filter does.
pub(super) fn flags(reader: &mut Reader<'_>) -> Result<(), Problem> {
    strings(reader, &mut |name| {
        if name.is("SECCOMP_FILTER_FLAG_TSYNC") {
            return Ok(());
        }
        problem(
            name.at,
            "a filter's file holds no flag but SECCOMP_FILTER_FLAG_TSYNC",
        )
    })
}

pub(super) fn listener(reader: &mut Reader<'_>) -> Result<(), Problem> {
    let text = reader.string()?;
    if text.raw.is_empty() {
        return Ok(());
    }
    problem(text.at, "there is no listener for SCMP_ACT_NOTIFY")
}

const LIMITS: &[&str] = &["caps", "arches", "minKernel"];

/// What a rule is for: all of the capabilities, one of the architectures, a kernel.
pub(super) fn limits(
    reader: &mut Reader<'_>,
    context: &Context,
    found: &mut dyn FnMut(bool),
) -> Result<(), Problem> {
    fields(reader, LIMITS, &mut |reader, field| match field {
        0 => strings(reader, &mut |name| {
            found(holds(&name, context)?);
            Ok(())
        }),
        1 => {
            let (mut any, mut ours) = (false, false);
            strings(reader, &mut |name| {
                any = true;
                ours |= name.is("amd64");
                Ok(())
            })?;
            found(ours || !any);
            Ok(())
        }
        _ => {
            found(new_enough(&reader.string()?, context)?);
            Ok(())
        }
    })
}

/// What it is not for: one of the capabilities, of the architectures, a kernel.
pub(super) fn limits_reversed(
    reader: &mut Reader<'_>,
    context: &Context,
    found: &mut dyn FnMut(bool),
) -> Result<(), Problem> {
    fields(reader, LIMITS, &mut |reader, field| match field {
        0 => strings(reader, &mut |name| {
            found(holds(&name, context)?);
            Ok(())
        }),
        1 => strings(reader, &mut |name| {
            found(name.is("amd64"));
            Ok(())
        }),
        _ => {
            found(new_enough(&reader.string()?, context)?);
            Ok(())
        }
    })
}

/// Whether the program can have the capability `name`, CAP_CHOWN and so on.
fn holds(name: &Text<'_>, context: &Context) -> Result<bool, Problem> {
    let number = name.raw.strip_prefix(b"CAP_").and_then(capability_number);
    match number {
        Some(number) => Ok(context.capabilities & (1 << number) != 0),
        None => problem(name.at, "there is no such capability"),
    }
}

/// The number of a capability, in capitals or not.
#[must_use]
pub fn capability_number(name: &[u8]) -> Option<u64> {
    position(capability::NAMES, name)
}

/// Whether the kernel is of version `text`, as 4.8, or later.
fn new_enough(text: &Text<'_>, context: &Context) -> Result<bool, Problem> {
    match version(text.raw) {
        Some(wanted) => Ok(context.kernel >= wanted),
        None => problem(text.at, "it is no version of a kernel, as 4.8"),
    }
}

/// The first two numbers of a kernel's version.
#[must_use]
pub fn version(text: &[u8]) -> Option<(u64, u64)> {
    let mut numbers = split(text, b'.').map(|part| {
        let digits = part.iter().take_while(|byte| byte.is_ascii_digit()).count();
        decimal(part.get(..digits).unwrap_or_default())
    });
    Some((numbers.next()??, numbers.next()??))
}

/// The number of a system call, by its name in JSON.
pub(super) fn number(name: &Text<'_>) -> Option<u16> {
    find(&mut |known| name.is_bytes(known))
}

/// The number of the system call `name`.
#[must_use]
pub fn number_of(name: &[u8]) -> Option<u16> {
    find(&mut |known| known == name)
}

fn find(wanted: &mut dyn FnMut(&[u8]) -> bool) -> Option<u16> {
    for (first, names) in LISTS {
        for (number, name) in (*first..).zip(split(names.as_bytes(), b' ')) {
            if wanted(name) {
                return Some(number);
            }
        }
    }
    None
}

/// The name of system call `number`.
#[must_use]
pub fn name_of(number: u16) -> Option<&'static [u8]> {
    for (first, names) in LISTS {
        if let Some(index) = number.checked_sub(*first) {
            let name = split(names.as_bytes(), b' ').nth(usize::from(index));
            if name.is_some() {
                return name;
            }
        }
    }
    None
}
