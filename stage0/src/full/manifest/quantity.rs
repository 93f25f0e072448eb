//! Amounts as appc and Kubernetes write them: `500m`, `1.5`, `64Mi`, `2G`, `1e3`.

use fly::text::decimal;

/// What is wrong with an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// It is none.
    Syntax,
    /// It is one, but of more digits than are counted here.
    TooLarge,
}

impl Bad {
    /// In words.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Syntax => "it is no amount as 1.5, 500m, 64Mi or 2G",
            Self::TooLarge => "it is too large, or has too many digits",
        }
    }
}

/// Reads an amount, in thousandths, rounded up.
pub(super) fn quantity(text: &[u8]) -> Result<u64, Bad> {
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let end = text.iter().position(|byte| !is_of_number(byte));
    let (number, suffix) = text
        .split_at_checked(end.unwrap_or(text.len()))
        .unwrap_or_default();
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
        _ => return Err(Bad::Syntax),
    };
    let (digits, places) = mantissa(number)?;
    let value = digits.checked_mul(factor);
    let value = value.ok_or(Bad::TooLarge)?;
    let exponent = exponent - places;
    let power = u32::try_from(exponent.unsigned_abs()).ok();
    match (
        power.and_then(|power| 10_u64.checked_pow(power)),
        exponent < 0,
    ) {
        (Some(power), true) => Ok(value.div_ceil(power)),
        (Some(power), false) => value.checked_mul(power).ok_or(Bad::TooLarge),
        // Less than a thousandth of anything is the least that there is.
        (None, true) => Ok(u64::from(value != 0)),
        (None, false) if value == 0 => Ok(0),
        (None, false) => Err(Bad::TooLarge),
    }
}

/// An exponent; a large one is not told from a larger one.
fn small(digits: &[u8]) -> Result<i64, Bad> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Bad::Syntax);
    }
    let number = decimal(digits).and_then(|number| i64::try_from(number).ok());
    Ok(number.map_or(100, |number| number.min(100)))
}

/// The digits of a number without its point, and how many stand behind that.
fn mantissa(text: &[u8]) -> Result<(u64, i64), Bad> {
    let points = text.iter().filter(|byte| **byte == b'.').count();
    if points > 1 || points == text.len() {
        return Err(Bad::Syntax);
    }
    let (mut value, mut places, mut point) = (0_u64, 0, false);
    for byte in text {
        let Some(digit) = byte.checked_sub(b'0') else {
            point = true;
            continue;
        };
        let next = value.checked_mul(10);
        let next = next.and_then(|next| next.checked_add(digit.into()));
        value = next.ok_or(Bad::TooLarge)?;
        places += i64::from(point);
    }
    Ok((value, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, thousandths) in [
            ("0", Ok(0)),
            ("1", Ok(1000)),
            ("500m", Ok(500)),
            ("0.5", Ok(500)),
            (".5", Ok(500)),
            ("2.", Ok(2000)),
            ("1.0001", Ok(1001)),
            ("1k", Ok(1_000_000)),
            ("1Ki", Ok(1_024_000)),
            ("1.5Gi", Ok(1_610_612_736_000)),
            ("64M", Ok(64_000_000_000)),
            ("1E", Err(Bad::TooLarge)),
            ("1e3", Ok(1_000_000)),
            ("1E3", Ok(1_000_000)),
            ("1e+3", Ok(1_000_000)),
            ("1500e-3", Ok(1500)),
            ("1e-99", Ok(1)),
            ("0e99", Ok(0)),
            ("1e-100", Ok(1)),
            ("1e-99999999999999999999", Ok(1)),
            ("0e100", Ok(0)),
            ("99999999999999999999E", Err(Bad::TooLarge)),
            ("99999999999999999999K", Err(Bad::Syntax)),
            ("20Ei", Err(Bad::TooLarge)),
            ("1e99", Err(Bad::TooLarge)),
            ("1e100", Err(Bad::TooLarge)),
            ("", Err(Bad::Syntax)),
            (".", Err(Bad::Syntax)),
            ("m", Err(Bad::Syntax)),
            ("-1", Err(Bad::Syntax)),
            ("+1", Err(Bad::Syntax)),
            ("1.2.3", Err(Bad::Syntax)),
            ("1 ", Err(Bad::Syntax)),
            ("1K", Err(Bad::Syntax)),
            ("1mi", Err(Bad::Syntax)),
            ("1e", Err(Bad::Syntax)),
            ("1e+", Err(Bad::Syntax)),
            ("99999999999999999999", Err(Bad::TooLarge)),
        ] {
            assert_eq!(quantity(text.as_bytes()), thousandths, "{text:?}");
        }
    }
}
