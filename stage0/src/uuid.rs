//! The name of a registered pod: a random UUID (RFC 9562, version 4).

/// Bytes of its text.
pub const LENGTH: usize = 36;

/// The text of the one that these bytes make.
#[must_use]
pub fn text(random: [u8; 16]) -> [u8; LENGTH] {
    let mut text = [b'-'; LENGTH];
    let mut places = text.iter_mut().enumerate();
    for (index, byte) in (0..).zip(random) {
        let byte = match index {
            6 => 0x40 | byte & 0x0f,
            8 => 0x80 | byte & 0x3f,
            _ => byte,
        };
        for digit in [byte >> 4, byte & 15] {
            let mut place = places.next();
            if let Some((8 | 13 | 18 | 23, _)) = place {
                place = places.next();
            }
            if let Some((_, place)) = place {
                *place = if digit < 10 { b'0' } else { b'a' - 10 } + digit;
            }
        }
    }
    text
}

/// Whether it is one, as [`text`] writes it.
#[must_use]
pub fn is_one(name: &[u8]) -> bool {
    name.len() == LENGTH
        && name.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(&text([0; 16]), b"00000000-0000-4000-8000-000000000000");
        assert_eq!(&text([0xff; 16]), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        let counted = core::array::from_fn(|index| u8::try_from(index * 17).unwrap());
        assert_eq!(&text(counted), b"00112233-4455-4677-8899-aabbccddeeff");
        assert!(is_one(&text(counted)));
        for bad in [
            &b""[..],
            b"00112233",
            b"00112233-4455-4677-8899-aabbccddeefg",
        ] {
            assert!(!is_one(bad));
        }
    }
}
