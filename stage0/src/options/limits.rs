//! Limits of the whole pod, which control groups keep.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    text::{decimal, size, split},
};

use super::Choice;

/// The least `--memory`: with less the first process of a pod can't be made.
const LEAST_MEMORY: u64 = 1 << 20;
/// The period of `--cpus` in microseconds, which is the kernel's default.
pub const PERIOD: u64 = 100_000;
/// The least quota that the kernel takes, in microseconds.
const LEAST_QUOTA: u64 = 1000;
/// More processors than any machine has.
const MOST_CPUS: u64 = 1 << 16;
/// PID_MAX_LIMIT of linux/threads.h.
const MOST_PIDS: u64 = 1 << 22;

/// What of a pod is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Limit {
    /// `--memory`, in bytes.
    Memory,
    /// `--cpus`, in microseconds a [`PERIOD`].
    Cpus,
    /// `--cpu-weight`
    Weight,
    /// `--pids`
    Pids,
}

impl Limit {
    /// All of them, by controller.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Cpus, Self::Weight, Self::Pids];

    fn option(self) -> &'static CStr {
        match self {
            Self::Memory => c"--memory",
            Self::Cpus => c"--cpus",
            Self::Weight => c"--cpu-weight",
            Self::Pids => c"--pids",
        }
    }
}

/// The limits of a pod: the texts of the options, and what they say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits<'a>([Option<(&'a CStr, u64)>; Limit::ALL.len()]);

impl<'a> Limits<'a> {
    /// Of the same limit the last one counts.
    pub(super) fn set(&mut self, limit: Limit, text: &'a CStr, value: u64) {
        if let Some(place) = self.0.get_mut(limit as usize) {
            *place = Some((text, value));
        }
    }

    /// The value of this limit.
    #[must_use]
    pub fn get(&self, limit: Limit) -> Option<u64> {
        let given = self.0.get(limit as usize).copied().flatten();
        given.map(|(_, value)| value)
    }

    /// The text of `--memory`, to be shown.
    #[must_use]
    pub fn memory(&self) -> &'a CStr {
        let [memory, ..] = self.0;
        memory.map(|(text, _)| text).unwrap_or_default()
    }

    /// The option of one of them, if there is any.
    #[must_use]
    pub fn first(&self) -> Option<&'static CStr> {
        let mut all = Limit::ALL.into_iter();
        all.find(|limit| self.get(*limit).is_some())
            .map(Limit::option)
    }
}

/// Reads the value of the option `name`.
pub(super) fn parse<'a>(name: &[u8], text: &'a CStr) -> Result<Choice<'a>, Error<'a>> {
    let bytes = text.to_bytes();
    let within =
        |value: Option<u64>, least, most| value.filter(|value| (least..=most).contains(value));
    let (limit, value, why) = match name {
        b"--memory" => {
            let most = i64::MAX.unsigned_abs();
            let value = within(size(bytes), LEAST_MEMORY, most);
            (Limit::Memory, value, Why::NoMemory)
        }
        b"--cpus" => {
            let value = within(quota(bytes), LEAST_QUOTA, MOST_CPUS * PERIOD);
            (Limit::Cpus, value, Why::NoCpus)
        }
        b"--cpu-weight" => {
            let value = within(decimal(bytes), 1, 10_000);
            (Limit::Weight, value, Why::NoWeight)
        }
        _ => (
            Limit::Pids,
            within(decimal(bytes), 1, MOST_PIDS),
            Why::NoPids,
        ),
    };
    value
        .map(|value| Choice::PodLimit(limit, text, value))
        .ok_or(Error::new(What::ReadOption, text, why))
}

/// A decimal fraction, as the part of [`PERIOD`], whose unit is the last digit.
fn quota(text: &[u8]) -> Option<u64> {
    let mut parts = split(text, b'.');
    let whole = decimal(parts.next()?)?.checked_mul(PERIOD)?;
    let Some(digits) = parts.next() else {
        return Some(whole);
    };
    if digits.is_empty() || digits.len() > 5 || parts.next().is_some() {
        return None;
    }
    let (mut fraction, mut unit) = (0, PERIOD);
    for digit in digits {
        unit /= 10;
        fraction += unit * u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    whole.checked_add(fraction)
}

/// A path from the top of each hierarchy on.
pub(super) fn parent(path: &CStr) -> Result<&CStr, Error<'_>> {
    let is_good = path.to_bytes().strip_prefix(b"/").is_some_and(|rest| {
        let mut parts = split(rest, b'/');
        rest.is_empty() || parts.all(|part| !matches!(part, b"" | b"." | b".."))
    });
    if is_good {
        Ok(path)
    } else {
        Err(Error::new(What::ReadOption, path, Why::NoParent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas() {
        for (text, value) in [
            ("1", Some(100_000)),
            ("0.5", Some(50_000)),
            ("1.25", Some(125_000)),
            ("0.00001", Some(1)),
            ("2.0", Some(200_000)),
            ("", None),
            (".", None),
            (".5", None),
            ("1.", None),
            ("1.2.3", None),
            ("1.000001", None),
            ("1,5", None),
            ("-1", None),
            ("1.-5", None),
            ("1e3", None),
            ("18446744073709551615", None),
        ] {
            assert_eq!(quota(text.as_bytes()), value, "{text:?}");
        }
    }

    #[test]
    fn parents() {
        for good in [c"/", c"/a", c"/a/b.slice"] {
            assert!(parent(good).is_ok(), "{good:?}");
        }
        for bad in [
            c"", c"a", c"//", c"/a/", c"/..", c"/a/../b", c"/./a", c"/a//b",
        ] {
            assert!(parent(bad).is_err(), "{bad:?}");
        }
    }
}
