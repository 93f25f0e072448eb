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

/// The options that [`parse`] reads.
pub(super) const NAMES: [&[u8]; 8] = [
    b"--memory",
    b"--memory-swap",
    b"--cpus",
    b"--cpu-weight",
    b"--pids",
    b"--io-weight",
    b"--io-max",
    b"--device",
];

/// What of a pod is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Limit {
    /// `--memory`, in bytes.
    Memory,
    /// `--memory-swap`, in bytes beside that.
    Swap,
    /// `--cpus`, in microseconds a [`PERIOD`].
    Cpus,
    /// `--cpu-weight`
    Weight,
    /// `--pids`
    Pids,
    /// `--io-weight`
    IoWeight,
    /// `--io-max`, of which there may be several: none has a value here.
    IoMax,
    /// `--device`, likewise.
    Devices,
}

impl Limit {
    /// All of them, by controller.
    pub const ALL: [Self; 8] = [
        Self::Memory,
        Self::Swap,
        Self::Cpus,
        Self::Weight,
        Self::Pids,
        Self::IoWeight,
        Self::IoMax,
        Self::Devices,
    ];

    fn option(self) -> &'static CStr {
        match self {
            Self::Memory => c"--memory",
            Self::Swap => c"--memory-swap",
            Self::Cpus => c"--cpus",
            Self::Weight => c"--cpu-weight",
            Self::Pids => c"--pids",
            Self::IoWeight => c"--io-weight",
            Self::IoMax => c"--io-max",
            Self::Devices => c"--device",
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
        b"--memory-swap" => {
            let value = match bytes {
                b"none" => Some(0),
                _ => size(bytes),
            };
            (Limit::Swap, value, Why::NoSwap)
        }
        b"--io-max" => {
            let value = rates(bytes).map(|_| 0);
            (Limit::IoMax, value, Why::NoIoMax)
        }
        b"--device" => {
            let value = bytes.starts_with(b"/").then_some(0);
            (Limit::Devices, value, Why::NoDevice)
        }
        b"--io-weight" => {
            let value = within(decimal(bytes), 1, 10_000);
            (Limit::IoWeight, value, Why::NoIoWeight)
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
            within(decimal(bytes), 2, MOST_PIDS),
            Why::NoPids,
        ),
    };
    value
        .map(|value| Choice::PodLimit(limit, text, value))
        .ok_or(Error::new(What::ReadOption, text, why))
}

/// How the rates of `--io-max` are called: bytes, then operations, a second.
pub const RATES: [&[u8]; 4] = [b"rbps", b"wbps", b"riops", b"wiops"];

/// The device of an `--io-max`, and its [`RATES`].
#[must_use]
pub fn rates(text: &[u8]) -> Option<(&[u8], [Option<u64>; RATES.len()])> {
    let colon = text.iter().rposition(|byte| *byte == b':')?;
    let (device, list) = text.split_at_checked(colon)?;
    let mut rates = [None; RATES.len()];
    for part in split(list.get(1..)?, b',') {
        let mut words = split(part, b'=');
        let name = words.next()?;
        let index = RATES.iter().position(|rate| *rate == name)?;
        let value = words.next()?;
        let value = match index {
            0 | 1 => size(value),
            _ => decimal(value).filter(|value| *value != 0 && u32::try_from(*value).is_ok()),
        };
        if words.next().is_some() {
            return None;
        }
        *rates.get_mut(index)? = Some(value?);
    }
    device.starts_with(b"/").then_some((device, rates))
}

/// The path of a `--device`, and how it may be used.
#[must_use]
pub fn device(text: &[u8]) -> (&[u8], &[u8]) {
    let colon = text.iter().rposition(|byte| *byte == b':');
    let parts = colon.and_then(|colon| text.split_at_checked(colon));
    if let Some((path, [_, access @ ..])) = parts
        && !access.is_empty()
        && access.iter().all(|byte| matches!(byte, b'r' | b'w' | b'm'))
    {
        return (path, access);
    }
    (text, b"rwm")
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
    fn rates_of_devices() {
        const DEVICE: &[u8] = b"/dev/a:b";
        for (text, expected) in [
            ("/dev/a:b:rbps=1M", Some([Some(1 << 20), None, None, None])),
            (
                "/dev/a:b:wiops=5,riops=4,wbps=3,rbps=2",
                Some([Some(2), Some(3), Some(4), Some(5)]),
            ),
            ("/dev/a:b:rbps=1,rbps=2", Some([Some(2), None, None, None])),
            ("/dev/a:b", None),
            ("/dev/a:b:", None),
            ("/dev/a:b:rbps", None),
            ("/dev/a:b:rbps=", None),
            ("/dev/a:b:rbps=0", None),
            ("/dev/a:b:riops=1K", None),
            ("/dev/a:b:riops=0", None),
            ("/dev/a:b:riops=4294967296", None),
            ("/dev/a:b:rbps=1,", None),
            ("/dev/a:b:rbps=1=1", None),
            ("/dev/a:b:bps=1", None),
            ("dev/a:b:rbps=1", None),
            ("", None),
        ] {
            let expected = expected.map(|rates| (DEVICE, rates));
            assert_eq!(rates(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn devices() {
        for (text, path, access) in [
            ("/dev/fuse", "/dev/fuse", "rwm"),
            ("/dev/fuse:r", "/dev/fuse", "r"),
            ("/dev/a:b:rw", "/dev/a:b", "rw"),
            ("/dev/a:b", "/dev/a:b", "rwm"),
            ("/dev/a:", "/dev/a:", "rwm"),
        ] {
            let expected = (path.as_bytes(), access.as_bytes());
            assert_eq!(device(text.as_bytes()), expected, "{text:?}");
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
