//! Amounts as appc and Kubernetes write them: `500m`, `1.5`, `64Mi`, `2G`, `1e3`.

use fly::text::decimal;

/// Reads an amount, in thousandths, rounded up; `None` if it is none, or too large.
pub(super) fn quantity(text: &[u8]) -> Option<u64> {
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let end = text.iter().position(|byte| !is_of_number(byte));
    let (number, suffix) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let (digits, places) = mantissa(number)?;
    // Thousandths, so that `m` is 1.
    let (factor, exponent): (u64, i64) = match suffix {
        b"m" => (1, 0),
        b"" => (1, 3),
        b"k" => (1, 6),
        b"M" => (1, 9),
        b"G" => (1, 12),
        b"T" => (1, 15),
        b"P" => (1, 18),
        b"E" => (1, 21),
        b"Ki" => (1 << 10, 3),
        b"Mi" => (1 << 20, 3),
        b"Gi" => (1 << 30, 3),
        b"Ti" => (1 << 40, 3),
        b"Pi" => (1 << 50, 3),
        b"Ei" => (1 << 60, 3),
        [b'e' | b'E', b'-', digits @ ..] => (1, 3 - small(digits)?),
        [b'e' | b'E', b'+', digits @ ..] | [b'e' | b'E', digits @ ..] => (1, 3 + small(digits)?),
        _ => return None,
    };
    let value = digits.checked_mul(factor)?;
    let exponent = exponent - places;
    let power = 10_u64.checked_pow(u32::try_from(exponent.unsigned_abs()).ok()?);
    match (power, exponent < 0) {
        (Some(power), true) => Some(value.div_ceil(power)),
        (Some(power), false) => value.checked_mul(power),
        // Less than a thousandth of anything is the least that there is.
        (None, true) => Some(u64::from(value != 0)),
        (None, false) => (value == 0).then_some(0),
    }
}

fn small(digits: &[u8]) -> Option<i64> {
    let number = decimal(digits)?;
    i64::try_from(number).ok().filter(|number| *number < 100)
}

/// The digits of a number without its point, and how many stand behind that.
fn mantissa(text: &[u8]) -> Option<(u64, i64)> {
    let (mut value, mut places, mut point, mut any) = (0_u64, 0, false, false);
    for byte in text {
        if *byte == b'.' {
            if point {
                return None;
            }
            point = true;
            continue;
        }
        let digit = u64::from(byte.checked_sub(b'0')?);
        value = value.checked_mul(10)?.checked_add(digit)?;
        places += i64::from(point);
        any = true;
    }
    any.then_some((value, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, thousandths) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("500m", Some(500)),
            ("0.5", Some(500)),
            (".5", Some(500)),
            ("2.", Some(2000)),
            ("1.0001", Some(1001)),
            ("1k", Some(1_000_000)),
            ("1Ki", Some(1_024_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("64M", Some(64_000_000_000)),
            ("1E", None),
            ("1e3", Some(1_000_000)),
            ("1E3", Some(1_000_000)),
            ("1e+3", Some(1_000_000)),
            ("1500e-3", Some(1500)),
            ("1e-99", Some(1)),
            ("0e99", Some(0)),
            ("1e99", None),
            ("1e100", None),
            ("", None),
            (".", None),
            ("m", None),
            ("-1", None),
            ("+1", None),
            ("1.2.3", None),
            ("1 ", None),
            ("1K", None),
            ("1mi", None),
            ("1e", None),
            ("1e+", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(quantity(text.as_bytes()), thousandths, "{text:?}");
        }
    }
}
