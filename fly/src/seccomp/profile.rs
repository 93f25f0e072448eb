//! Profiles: which system calls a program may make, as OCI runtimes and Docker
//! write it down.
//!
//! The format is that of `linux.seccomp` in a runtime's config.json
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp>)
//! and of Docker's profiles
//! (<https://docs.docker.com/engine/security/seccomp/>), which may also make rules
//! depend on capabilities, architectures and the kernel. What nothing here can do
//! is refused by its name, and so is a name that is not known: a profile with a
//! typing error would protect from less than it says.

use super::{
    syscalls::LAST,
    words::{
        action_kind, architecture_map, architectures, error_name, error_number, flags, limits,
        limits_reversed, listener, number, operator_of, with_error,
    },
};
use crate::json::{Fault, Reader, Text};

/// The largest profile in bytes.
pub const MAX_PROFILE: usize = 1 << 20;
/// The most rules with conditions, counted for each name.
pub const MAX_RULES: usize = 2048;
/// The most conditions.
pub const MAX_CONDITIONS: usize = 2048;

/// For whom a profile is read.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The capabilities that the program can have.
    pub capabilities: u64,
    /// The kernel's version.
    pub kernel: (u64, u64),
}

/// What is wrong with a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the text.
    pub at: usize,
    /// The name of the value, empty for the whole.
    pub field: &'static str,
    /// In words.
    pub text: &'static str,
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self {
            at: fault.at,
            field: "",
            text: fault.wrong.text(),
        }
    }
}

pub(super) fn problem<T>(at: usize, text: &'static str) -> Result<T, Problem> {
    Err(Problem {
        at,
        field: "",
        text,
    })
}

/// How an argument is compared with a value, as 64-bit numbers without a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It is another one.
    NotEqual,
    /// It is smaller.
    Less,
    /// It is not greater.
    AtMost,
    /// It is the same.
    Equal,
    /// It is not smaller.
    AtLeast,
    /// It is greater.
    Greater,
    /// Its bits in the value are the second value.
    Masked,
}

/// A condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its index, from 0.
    pub argument: u8,
    /// How it is compared.
    pub operator: Operator,
    /// With what, or the mask.
    pub value: u64,
    /// What is left by the mask.
    pub second: u64,
}

impl Condition {
    const NONE: Self = Self {
        argument: 0,
        operator: Operator::Equal,
        value: 0,
        second: 0,
    };

    /// Whether it holds for `argument`.
    #[must_use]
    pub fn holds(&self, argument: u64) -> bool {
        match self.operator {
            Operator::NotEqual => argument != self.value,
            Operator::Less => argument < self.value,
            Operator::AtMost => argument <= self.value,
            Operator::Equal => argument == self.value,
            Operator::AtLeast => argument >= self.value,
            Operator::Greater => argument > self.value,
            Operator::Masked => argument & self.value == self.second,
        }
    }
}

/// A rule for one call: if all conditions hold, `action`.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub(super) action: u32,
    first: u16,
    count: u16,
    /// One more than the index of the rule before it for the same call.
    before: u16,
}

/// What is known of one call.
#[derive(Clone, Copy, Debug, Default)]
struct Call {
    /// What happens if no rule with conditions applies.
    verdict: Option<u32>,
    /// One more than the index of its last rule with conditions.
    last: u16,
}

/// A profile that was read: for each call the rules in their order, of which the
/// first one that applies decides.
#[derive(Clone, Debug)]
pub struct Profile {
    calls: [Call; LAST as usize + 1],
    rules: [Rule; MAX_RULES],
    rule_count: u16,
    conditions: [Condition; MAX_CONDITIONS],
    condition_count: u16,
    /// What happens to the other calls.
    pub(super) default: u32,
    /// The largest number that has a rule, if any has.
    pub(super) largest: Option<u16>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            calls: [Call::default(); LAST as usize + 1],
            rules: [Rule {
                action: 0,
                first: 0,
                count: 0,
                before: 0,
            }; MAX_RULES],
            rule_count: 0,
            conditions: [Condition::NONE; MAX_CONDITIONS],
            condition_count: 0,
            default: 0,
            largest: None,
        }
    }
}

impl Profile {
    /// Reads the profile `text` for `context`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(&mut self, text: &[u8], context: &Context) -> Result<(), Problem> {
        *self = Self::default();
        let mut reader = Reader::new(text)?;
        let mut top = Top::default();
        fields(&mut reader, Top::FIELDS, &mut |reader, field| match field {
            0 => set(&mut top.action, action_kind(reader)),
            1 => set(&mut top.error, error_number(reader)),
            2 => set(&mut top.error_name, error_name(reader)),
            3 => architectures(reader, &mut top.ours),
            4 => architecture_map(reader, &mut top.ours),
            5 => reader.array(&mut |reader| self.entry(reader, context)),
            6 => flags(reader),
            7 | 8 => listener(reader),
            _ => reader.skip().map_err(Problem::from),
        })?;
        reader.end()?;
        let missing = |field, text| Err(Problem { at: 0, field, text });
        match top.action {
            Some(kind) => self.default = with_error(kind, top.error_name.or(top.error)),
            None => return missing("defaultAction", "it is missing"),
        }
        if top.ours == Some(false) {
            return missing("architectures", "SCMP_ARCH_X86_64 is not among them");
        }
        Ok(())
    }

    /// One entry of `syscalls`.
    fn entry(&mut self, reader: &mut Reader<'_>, context: &Context) -> Result<(), Problem> {
        let mut entry = Entry {
            at: reader.at(),
            applies: true,
            ..Entry::default()
        };
        let first = self.condition_count;
        fields(reader, Entry::FIELDS, &mut |reader, field| match field {
            0 => {
                entry.names = Some(*reader);
                strings(reader, &mut |_| Ok(()))
            }
            1 => set(&mut entry.name, reader.string().map_err(Problem::from)),
            2 => set(&mut entry.action, action_kind(reader)),
            3 => set(&mut entry.error, error_number(reader)),
            4 => set(&mut entry.error_name, error_name(reader)),
            5 => reader.array(&mut |reader| self.condition(reader)),
            6 => limits(reader, context, &mut |held| entry.applies &= held),
            7 => limits_reversed(reader, context, &mut |held| entry.applies &= !held),
            _ => reader.skip().map_err(Problem::from),
        })?;
        let Some(kind) = entry.action else {
            return problem(entry.at, "it has no action");
        };
        if entry.names.is_none() && entry.name.is_none() {
            return problem(entry.at, "it has no names");
        }
        if !entry.applies {
            self.condition_count = first;
            return Ok(());
        }
        let action = with_error(kind, entry.error_name.or(entry.error));
        let count = self.condition_count - first;
        let mut add = |name: Text<'_>| match number(&name) {
            Some(number) => self.add(number, first, count, action, name.at),
            // Of another architecture, or of a newer kernel.
            None => Ok(()),
        };
        if let Some(name) = entry.name {
            add(name)?;
        }
        match entry.names {
            Some(mut names) => strings(&mut names, &mut add),
            None => Ok(()),
        }
    }

    /// One entry of `args`.
    fn condition(&mut self, reader: &mut Reader<'_>) -> Result<(), Problem> {
        let at = reader.at();
        let (mut index, mut value, mut second, mut operator) = (None, None, None, None);
        fields(
            reader,
            &["index", "value", "valueTwo", "op"],
            &mut |reader, field| match field {
                0 => {
                    let at = reader.at();
                    match reader.number()? {
                        number @ 0..=5 => index = u8::try_from(number).ok(),
                        _ => return problem(at, "an argument's index is 0 to 5"),
                    }
                    Ok(())
                }
                1 => set(&mut value, reader.number().map_err(Problem::from)),
                2 => set(&mut second, reader.number().map_err(Problem::from)),
                _ => set(&mut operator, operator_of(reader)),
            },
        )?;
        let (Some(argument), Some(value), Some(operator)) = (index, value, operator) else {
            return problem(at, "it has no index, value or op");
        };
        let second = second.unwrap_or(0);
        if operator == Operator::Masked && second & !value != 0 {
            return problem(at, "valueTwo has bits that the mask, value, does not have");
        }
        let place = self.conditions.get_mut(usize::from(self.condition_count));
        let Some(place) = place else {
            return problem(at, "there are more than 2048 conditions");
        };
        *place = Condition {
            argument,
            operator,
            value,
            second,
        };
        self.condition_count += 1;
        Ok(())
    }

    /// Adds a rule with these conditions. Several ones on the same argument are
    /// alternatives: rules of their own, as runc and crun have it.
    fn add(
        &mut self,
        number: u16,
        first: u16,
        count: u16,
        action: u32,
        at: usize,
    ) -> Result<(), Problem> {
        self.largest = self.largest.max(Some(number));
        let conditions = self.slice(first, count);
        let mut seen = 0_u8;
        let mut alternatives = false;
        for condition in conditions {
            let bit = 1 << condition.argument;
            alternatives |= seen & bit != 0;
            seen |= bit;
        }
        if !alternatives {
            return self.add_rule(number, first, count, action, at);
        }
        for index in 0..count {
            self.add_rule(number, first + index, 1, action, at)?;
        }
        Ok(())
    }

    fn add_rule(
        &mut self,
        number: u16,
        first: u16,
        count: u16,
        action: u32,
        at: usize,
    ) -> Result<(), Problem> {
        let Some(call) = self.calls.get_mut(usize::from(number)) else {
            return Ok(());
        };
        // A rule without conditions applies: none behind it is looked at.
        if call.verdict.is_some() {
            return Ok(());
        }
        if count == 0 {
            call.verdict = Some(action);
            return Ok(());
        }
        let Some(place) = self.rules.get_mut(usize::from(self.rule_count)) else {
            return problem(at, "there are more than 2048 rules with conditions");
        };
        *place = Rule {
            action,
            first,
            count,
            before: call.last,
        };
        self.rule_count += 1;
        call.last = self.rule_count;
        Ok(())
    }

    fn slice(&self, first: u16, count: u16) -> &[Condition] {
        let (first, count) = (usize::from(first), usize::from(count));
        self.conditions
            .get(first..first + count)
            .unwrap_or_default()
    }

    /// What happens to call `number` if no rule with conditions applies.
    #[must_use]
    pub fn verdict(&self, number: u16) -> u32 {
        let call = self.calls.get(usize::from(number));
        call.and_then(|call| call.verdict).unwrap_or(self.default)
    }

    /// Whether call `number` has rules with conditions.
    #[must_use]
    pub fn has_conditions(&self, number: u16) -> bool {
        let call = self.calls.get(usize::from(number));
        call.is_some_and(|call| call.last != 0)
    }

    /// The rules with conditions of call `number`, from the last to the first.
    pub(super) fn rules_backwards(&self, number: u16) -> impl Iterator<Item = &Rule> {
        let mut next = self
            .calls
            .get(usize::from(number))
            .map_or(0, |call| call.last);
        core::iter::from_fn(move || {
            let rule = self.rules.get(usize::from(next).checked_sub(1)?)?;
            next = rule.before;
            Some(rule)
        })
    }

    /// A rule's conditions.
    pub(super) fn conditions(&self, rule: &Rule) -> &[Condition] {
        self.slice(rule.first, rule.count)
    }
}

/// The values of a profile itself.
#[derive(Default)]
struct Top {
    action: Option<u32>,
    error: Option<u16>,
    error_name: Option<u16>,
    /// Whether x86_64 is among the architectures, if any are named.
    ours: Option<bool>,
}

impl Top {
    const FIELDS: &'static [&'static str] = &[
        "defaultAction",
        "defaultErrnoRet",
        "defaultErrno",
        "architectures",
        "archMap",
        "syscalls",
        "flags",
        "listenerPath",
        "listenerMetadata",
        "comment",
    ];
}

/// The values of an entry of `syscalls`.
#[derive(Default)]
struct Entry<'a> {
    at: usize,
    names: Option<Reader<'a>>,
    name: Option<Text<'a>>,
    action: Option<u32>,
    error: Option<u16>,
    error_name: Option<u16>,
    applies: bool,
}

impl Entry<'_> {
    const FIELDS: &'static [&'static str] = &[
        "names", "name", "action", "errnoRet", "errno", "args", "includes", "excludes", "comment",
    ];
}

fn set<T>(place: &mut Option<T>, value: Result<T, Problem>) -> Result<(), Problem> {
    *place = Some(value?);
    Ok(())
}

/// Reads an object whose names are among `names`: calls `each` with the index of
/// every one. `null` is as if the name were not there.
pub(super) fn fields<'a>(
    reader: &mut Reader<'a>,
    names: &[&'static str],
    each: &mut dyn FnMut(&mut Reader<'a>, usize) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut seen = 0_u16;
    reader.object(&mut |reader, name| {
        let Some(index) = names.iter().position(|known| name.is(known)) else {
            return problem(name.at, "there is no such name");
        };
        let field = names.get(index).copied().unwrap_or_default();
        let done = if seen & (1 << index) != 0 {
            problem(name.at, "it is there twice")
        } else if reader.null() {
            Ok(())
        } else {
            each(reader, index)
        };
        seen |= 1 << index;
        // The innermost name is the best.
        done.map_err(|found: Problem| Problem {
            field: if found.field.is_empty() {
                field
            } else {
                found.field
            },
            ..found
        })
    })
}

/// Reads an array of strings.
pub(super) fn strings<'a>(
    reader: &mut Reader<'a>,
    each: &mut dyn FnMut(Text<'a>) -> Result<(), Problem>,
) -> Result<(), Problem> {
    reader.array(&mut |reader| each(reader.string()?))
}
