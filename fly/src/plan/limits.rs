//! Limits as options write them, and as the kernel takes them: the text is read where
//! the plan is made, and stays in it to be shown; who carries the step out reads none.

use crate::text::{decimal, position, split};

use super::{Kind, Record};

/// What a limit's text says: a number, the one of the resource or of the policy, and
/// what the kernel's call reads: soft and hard, the priority, or a bit a processor.
pub(crate) type Numbers = [u64; 17];

/// How many numbers the call of a step of this kind reads.
pub(super) fn words(kind: u16) -> usize {
    // Of each kind from this one on.
    const WORDS: [u8; 4] = [2, 0, 16, 1];
    let index = usize::from(kind.wrapping_sub(Kind::Limit as u16));
    WORDS.get(index).copied().unwrap_or(0).into()
}

/// What the call reads is behind the step's text; `None` if there is more or less.
#[inline(never)]
pub(crate) fn data<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    let text = record.list.first();
    let data = record.list.as_bytes().get(text.count_bytes() + 1..)?;
    (!text.is_empty() && data.len() == words(record.kind) * 8).then_some(data)
}

/// The resources by number (getrlimit(2), asm-generic/resource.h).
const RESOURCES: &str = "cpu fsize data stack core rss nproc nofile memlock as locks \
                         sigpending msgqueue nice rtprio rttime";
/// The policies by number (sched(7)). There is no 4; 6 is deadline, which takes
/// more than a priority.
const POLICIES: &str = "other fifo rr batch : idle";

/// Reads the text of a step of this kind into `numbers`, which are 0; `None` if it has
/// another form.
#[inline(never)]
pub fn parse(kind: u16, text: &[u8], numbers: &mut Numbers) -> Option<()> {
    const LIMIT: u16 = Kind::Limit as u16;
    const NICE: u16 = Kind::Nice as u16;
    const PROCESSORS: u16 = Kind::Processors as u16;
    const SCHEDULING: u16 = Kind::Scheduling as u16;
    let [first, second, third, ..] = numbers;
    match kind {
        LIMIT => {
            let mut parts = split(text, b'=');
            *first = position(RESOURCES, parts.next()?)?;
            let mut limits = split(parts.next()?, b':');
            *second = amount(limits.next()?)?;
            *third = match limits.next() {
                Some(hard) => amount(hard)?,
                None => *second,
            };
            let rest = parts.next().or(limits.next());
            (rest.is_none() && second <= third).then_some(())
        }
        NICE => {
            *first = signed(text, 20, 19)?;
            Some(())
        }
        SCHEDULING => {
            let mut parts = split(text, b':');
            *first = position(POLICIES, parts.next()?)?;
            let real_time = matches!(first, 1 | 2);
            if real_time {
                *second = decimal(parts.next()?).filter(|priority| (1..=99).contains(priority))?;
            }
            parts.next().is_none().then_some(())
        }
        PROCESSORS => processors(text, numbers),
        // Of the OOM killer.
        _ => {
            *first = signed(text, 1000, 1000)?;
            Some(())
        }
    }
}

/// A number, or none.
fn amount(text: &[u8]) -> Option<u64> {
    match text {
        b"unlimited" | b"infinity" => Some(u64::MAX),
        _ => decimal(text),
    }
}

/// A number from -`least` to `most`, as two's complement.
fn signed(text: &[u8], least: u64, most: u64) -> Option<u64> {
    match text.split_first() {
        Some((b'-', digits)) => Some(
            decimal(digits)
                .filter(|number| *number <= least)?
                .wrapping_neg(),
        ),
        _ => decimal(text).filter(|number| *number <= most),
    }
}

/// Numbers and ranges, parted by commas.
fn processors(text: &[u8], bits: &mut Numbers) -> Option<()> {
    for part in split(text, b',') {
        let mut ends = split(part, b'-');
        let mut number = decimal(ends.next()?)?;
        let last = match ends.next() {
            Some(last) => decimal(last)?,
            None => number,
        };
        if number > last || ends.next().is_some() {
            return None;
        }
        while number <= last {
            // The first one is none of the bits.
            *bits.get_mut(usize::try_from(number / 64 + 1).ok()?)? |= 1 << (number % 64);
            number += 1;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, good: &[(&str, &[u64])], bad: &[&str]) {
        for (text, numbers) in good {
            let mut found = [0; 17];
            let good = parse(kind as u16, text.as_bytes(), &mut found);
            assert_eq!(good, Some(()), "{text:?}");
            assert!(found.starts_with(numbers), "{text:?}: {found:?}");
        }
        for text in bad {
            let good = parse(kind as u16, text.as_bytes(), &mut [0; 17]);
            assert_eq!(good, None, "{text:?}");
        }
    }

    #[test]
    fn resources() {
        assert_eq!(RESOURCES.split(' ').count(), 16);
        check(
            Kind::Limit,
            &[
                ("cpu=1", &[0, 1, 1]),
                ("nofile=1024:4096", &[7, 1024, 4096]),
                ("core=0", &[4, 0, 0]),
                ("rttime=unlimited", &[15, u64::MAX, u64::MAX]),
                ("stack=8388608:infinity", &[3, 8_388_608, u64::MAX]),
                ("NOFILE=3", &[7, 3, 3]),
            ],
            &[
                "",
                "nofile",
                "nofile=",
                "=1",
                "nofile=:",
                "nofile=1:",
                "nofile=:1",
                "nofile=2:1",
                "nofile=unlimited:1",
                "nofile=1:2:3",
                "nofile=1=2",
                "nofile=1:2=3",
                "nofile=1K",
                "nofile=-1",
                "nofile=01",
                "nofile=+1",
                "nofile= 1",
                "nofile=18446744073709551616",
                "files=1",
                "cpu fsize=1",
                "rlimit_cpu=1",
                "nofile=Unlimited",
            ],
        );
    }

    #[test]
    fn numbers_with_a_sign() {
        check(
            Kind::Nice,
            &[
                ("0", &[0]),
                ("19", &[19]),
                ("-20", &[20_u64.wrapping_neg()]),
                ("-0", &[0]),
            ],
            &[
                "",
                "-",
                "20",
                "-21",
                "+1",
                "--1",
                "1.0",
                " 1",
                "01",
                "-01",
                "18446744073709551615",
            ],
        );
        check(
            Kind::OomScore,
            &[("1000", &[1000]), ("-1000", &[1000_u64.wrapping_neg()])],
            &["", "1001", "-1001", "-", "x"],
        );
    }

    #[test]
    fn lists_of_processors() {
        check(
            Kind::Processors,
            &[
                ("0", &[0, 1]),
                ("0-3,5", &[0, 0b10_1111]),
                ("63-64", &[0, 1 << 63, 1]),
                ("5,0", &[0, 0b10_0001]),
                (
                    "1023",
                    &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 << 63],
                ),
            ],
            &[
                "",
                ",",
                "0,",
                "1-0",
                "-1",
                "1-",
                "0-1-2",
                "1024",
                "0-1024",
                "18446744073709551615",
                "a",
                "0 1",
                "01",
                "0--1",
            ],
        );
    }

    #[test]
    fn policies() {
        check(
            Kind::Scheduling,
            &[
                ("other", &[0, 0]),
                ("batch", &[3, 0]),
                ("idle", &[5, 0]),
                ("fifo:1", &[1, 1]),
                ("rr:99", &[2, 99]),
            ],
            &[
                "",
                ":",
                "::1",
                "fifo",
                "fifo:",
                "fifo:0",
                "fifo:100",
                "fifo:1:2",
                "other:1",
                "idle:",
                "deadline",
                "deadline:1",
            ],
        );
    }
}
