//! Times for people: RFC 3339, in UTC.

const DAY: i64 = 86_400;

/// Bytes of a time.
pub const LENGTH: usize = 24;

/// So many nanoseconds since 1970, as `2026-11-26T13:55:01.250Z`; years have four digits.
#[must_use]
pub fn text(nanoseconds: i64) -> [u8; LENGTH] {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let milliseconds = nanoseconds.rem_euclid(1_000_000_000) / 1_000_000;
    let (year, month, day) = date(seconds.div_euclid(DAY));
    let time = seconds.rem_euclid(DAY);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    for (begin, end, mut number) in [
        (0, 4, year),
        (5, 7, month),
        (8, 10, day),
        (11, 13, time / 3600),
        (14, 16, time / 60 % 60),
        (17, 19, time % 60),
        (20, 23, milliseconds),
    ] {
        for place in text
            .get_mut(begin..end)
            .unwrap_or_default()
            .iter_mut()
            .rev()
        {
            // A list of many has many: that of any base takes ten times as long.
            *place += u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
    }
    text
}

/// The date of this day since 1970: eras of 400 years, which begin in March, so that the
/// leap day is the last one of a year.
fn date(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let in_era = days.rem_euclid(ERA);
    let leaps = in_era / 1460 - in_era / 36_524 + in_era / (ERA - 1);
    let year = (in_era - leaps) / 365;
    let in_year = in_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (days.div_euclid(ERA) * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, wanted) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_795_701_301, "2026-11-26T13:55:01.000Z"),
            (4_102_444_799, "2099-12-31T23:59:59.000Z"),
        ] {
            let text = text(seconds * 1_000_000_000);
            assert_eq!(core::str::from_utf8(&text).unwrap(), wanted);
        }
        assert_eq!(&text(1_250_000_000), b"1970-01-01T00:00:01.250Z");
        assert_eq!(&text(-1), b"1969-12-31T23:59:59.999Z");
    }
}
