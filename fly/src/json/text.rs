//! What a string of a text stands for.

use core::str::Chars;

use super::{Fault, Text, Wrong};

impl<'a> Text<'a> {
    /// Its characters; what an escape stands for is one.
    #[must_use]
    pub fn characters(&self) -> Characters<'a> {
        Characters {
            // The reader has checked all of the text.
            rest: core::str::from_utf8(self.raw).unwrap_or_default().chars(),
            at: self.at + 1,
            length: self.raw.len(),
        }
    }

    /// Whether both stand for the same.
    #[must_use]
    pub fn same(&self, other: &Text<'_>) -> bool {
        let (mut one, mut two) = (self.characters(), other.characters());
        loop {
            match (one.next(), two.next()) {
                (None, None) => return true,
                (Some(Ok(a)), Some(Ok(b))) if a == b => {}
                _ => return false,
            }
        }
    }
}

/// Walks the characters of a string; see [`Text::characters`].
#[derive(Clone, Debug)]
pub struct Characters<'a> {
    rest: Chars<'a>,
    /// Where the string's first character is in the text.
    at: usize,
    length: usize,
}

impl Iterator for Characters<'_> {
    type Item = Result<char, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at + self.length - self.rest.as_str().len();
        let character = self.rest.next()?;
        if character != '\\' {
            return Some(Ok(character));
        }
        let character = match self.rest.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => match self.unit() {
                Some(character) => character,
                None => {
                    let wrong = Wrong::Surrogate;
                    return Some(Err(Fault { at, wrong }));
                }
            },
            other => other,
        };
        Some(Ok(character))
    }
}

impl Characters<'_> {
    /// What `\u` stands for; beyond the first 65,536 characters there are two, the
    /// halves of a surrogate pair. One half is no character.
    fn unit(&mut self) -> Option<char> {
        let high = self.digits()?;
        if !(0xd800..=0xdbff).contains(&high) {
            return char::from_u32(high);
        }
        if self.rest.next() != Some('\\') || self.rest.next() != Some('u') {
            return None;
        }
        let low = self
            .digits()
            .filter(|low| (0xdc00..=0xdfff).contains(low))?;
        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
    }

    fn digits(&mut self) -> Option<u32> {
        let mut value = 0;
        for _ in 0..4 {
            value = value * 16 + self.rest.next()?.to_digit(16)?;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Fault, Reader, Text, Wrong};

    fn text(json: &str) -> Text<'_> {
        let mut reader = Reader::new(json.as_bytes()).expect("UTF-8");
        reader.string().expect("a string")
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        for (json, stands_for) in [
            (r#""""#, ""),
            (r#""a\"\\\/\b\f\n\r\tb""#, "a\"\\/\u{8}\u{c}\n\r\tb"),
            (r#""\u0041\u00e9\u20AC""#, "A\u{e9}\u{20ac}"),
            (r#""\ud83d\ude80x""#, "\u{1f680}x"),
            ("\"\u{e9}\u{1f680}\"", "\u{e9}\u{1f680}"),
            (r#""\u0000""#, "\0"),
        ] {
            let characters: Result<String, Fault> = text(json).characters().collect();
            assert_eq!(characters.as_deref(), Ok(stands_for), "{json}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_no_character() {
        for (json, at) in [
            (r#""\ud83d""#, 1),
            (r#""ab\ud83dx""#, 3),
            (r#""\ud83d\n""#, 1),
            (r#""\ud83d\u0041""#, 1),
            (r#""\ud83d\ud83d""#, 1),
            (r#""\ude80""#, 1),
        ] {
            let characters: Result<String, Fault> = text(json).characters().collect();
            let wrong = Wrong::Surrogate;
            assert_eq!(characters, Err(Fault { at, wrong }), "{json}");
        }
    }

    #[test]
    fn the_same_text_may_be_written_in_two_ways() {
        assert!(text(r#""a\u0062""#).same(&text("\"ab\"")));
        assert!(!text("\"a\"").same(&text("\"ab\"")));
        assert!(!text("\"ab\"").same(&text("\"a\"")));
        assert!(!text(r#""\ude80""#).same(&text(r#""\ude80""#)));
    }
}
