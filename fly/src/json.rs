//! A reader of JSON (RFC 8259) that allocates nothing: the caller asks for the
//! value that it expects, and is told at which byte something else is.
//!
//! Only what a configuration needs is here: strings are compared or walked, not
//! stored. All of a text is checked, the parts that are skipped, too.

mod text;

pub use text::Characters;

/// How deep values may lie in each other: the reader calls itself.
pub const MAX_DEPTH: u8 = 32;

/// What is wrong with a text, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte, from 0.
    pub at: usize,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What can be wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It ends too early.
    End,
    /// A byte that can't be there.
    Syntax,
    /// Not UTF-8.
    Encoding,
    /// Values in values in values.
    Depth,
    /// Something behind the value.
    Rest,
    /// Another type is expected.
    NoObject,
    /// Another type is expected.
    NoArray,
    /// Another type is expected.
    NoString,
    /// Another type is expected, or a number that is negative, has a fraction or
    /// does not fit 64 bits.
    NoNumber,
    /// Another type is expected.
    NoBoolean,
    /// Half a surrogate pair.
    Surrogate,
}

impl Wrong {
    /// In words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::End => "the text ends in a value",
            Self::Syntax => "it is no JSON",
            Self::Encoding => "it is no UTF-8",
            Self::Depth => "it is nested too deeply",
            Self::Rest => "something is behind the value",
            Self::NoObject => "it is no object",
            Self::NoArray => "it is no array",
            Self::NoString => "it is no string",
            Self::NoNumber => "it is no whole number from 0 to 18446744073709551615",
            Self::NoBoolean => "it is neither true nor false",
            Self::Surrogate => "it has half a surrogate pair, which is no character",
        }
    }
}

/// Reads one text from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    depth: u8,
}

/// A string as it is written, without its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The bytes between the quotes; escapes are still in them.
    pub raw: &'a [u8],
    /// Where in the text the string begins.
    pub at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `text`.
    ///
    /// # Errors
    /// If it is not UTF-8.
    pub fn new(text: &'a [u8]) -> Result<Self, Fault> {
        match core::str::from_utf8(text) {
            Ok(_) => Ok(Self {
                text,
                at: 0,
                depth: 0,
            }),
            Err(error) => Err(Fault {
                at: error.valid_up_to(),
                wrong: Wrong::Encoding,
            }),
        }
    }

    /// Where the next value begins.
    #[must_use]
    pub fn at(&self) -> usize {
        let mut reader = *self;
        reader.blanks();
        reader.at
    }

    /// The first byte of the next value; `None` at the end.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at()).copied()
    }

    /// Reads an object: calls `each` with every name, to read its value.
    ///
    /// # Errors
    /// As `each`, or if there is no object.
    pub fn object<E: From<Fault>>(
        &mut self,
        each: &mut dyn FnMut(&mut Self, Text<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.list(b'{', b'}', Wrong::NoObject, &mut |reader| {
            let name = reader.string()?;
            reader.blanks();
            reader.expect(b':')?;
            each(reader, name)
        })
    }

    /// Reads an array: calls `each` to read each of its values.
    ///
    /// # Errors
    /// As `each`, or if there is no array.
    pub fn array<E: From<Fault>>(
        &mut self,
        each: &mut dyn FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.list(b'[', b']', Wrong::NoArray, each)
    }

    fn list<E: From<Fault>>(
        &mut self,
        open: u8,
        close: u8,
        other: Wrong,
        each: &mut dyn FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.begin(open, other)?;
        if self.depth >= MAX_DEPTH {
            return Err(self.fault(Wrong::Depth).into());
        }
        self.at += 1;
        self.depth += 1;
        self.blanks();
        if self.next() != Some(close) {
            loop {
                each(self)?;
                self.blanks();
                if self.next() == Some(close) {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    /// Reads a string.
    ///
    /// # Errors
    /// If there is none.
    pub fn string(&mut self) -> Result<Text<'a>, Fault> {
        self.begin(b'"', Wrong::NoString)?;
        let at = self.at;
        self.at += 1;
        loop {
            match self.next() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                // A control character has to be escaped.
                Some(byte) if byte >= b' ' => self.at += 1,
                _ => return Err(self.fault(Wrong::Syntax)),
            }
        }
        let raw = self.text.get(at + 1..self.at).unwrap_or_default();
        self.at += 1;
        Ok(Text { raw, at })
    }

    /// Goes over `\n` or `\u0041`.
    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        let digits = match self.next() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 0,
            Some(b'u') => 4,
            _ => return Err(self.fault(Wrong::Syntax)),
        };
        self.at += 1;
        for _ in 0..digits {
            if !self.next().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                return Err(self.fault(Wrong::Syntax));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Reads a whole number that is not negative.
    ///
    /// # Errors
    /// If there is none, or a larger one.
    pub fn number(&mut self) -> Result<u64, Fault> {
        let wrong = Fault {
            at: self.at(),
            wrong: Wrong::NoNumber,
        };
        let text = self.literal()?;
        crate::text::decimal(text).ok_or(wrong)
    }

    /// Reads a number of any kind, as it is written.
    ///
    /// # Errors
    /// If there is none.
    pub fn literal(&mut self) -> Result<&'a [u8], Fault> {
        self.blanks();
        let from = self.at;
        match self.next() {
            Some(b'0'..=b'9' | b'-') => self.any_number()?,
            _ => return Err(self.fault(Wrong::NoNumber)),
        }
        Ok(self.text.get(from..self.at).unwrap_or_default())
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// If there is neither.
    pub fn boolean(&mut self) -> Result<bool, Fault> {
        self.blanks();
        if self.word(b"true") {
            Ok(true)
        } else if self.word(b"false") {
            Ok(false)
        } else {
            Err(self.fault(Wrong::NoBoolean))
        }
    }

    /// Goes over a number of any kind.
    fn any_number(&mut self) -> Result<(), Fault> {
        if self.next() == Some(b'-') {
            self.at += 1;
        }
        let zero = self.next() == Some(b'0');
        let from = self.at;
        self.digits()?;
        if zero && self.at > from + 1 {
            self.at = from + 1;
            return Err(self.fault(Wrong::Syntax));
        }
        if self.next() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.next(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.next(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// Goes over one digit or more.
    fn digits(&mut self) -> Result<(), Fault> {
        let from = self.at;
        while matches!(self.next(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from {
            return Err(self.fault(Wrong::Syntax));
        }
        Ok(())
    }

    /// Reads `null`, if it is next.
    pub fn null(&mut self) -> bool {
        self.blanks();
        self.word(b"null")
    }

    /// Goes over the next value, whatever it is.
    ///
    /// # Errors
    /// If it is none.
    pub fn skip(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{') => self.object(&mut |reader, _| reader.skip()),
            Some(b'[') => self.array(&mut Self::skip),
            Some(b'"') => self.string().map(drop),
            Some(b'0'..=b'9' | b'-') => {
                self.blanks();
                self.any_number()
            }
            _ => {
                self.blanks();
                if self.word(b"null") || self.word(b"true") || self.word(b"false") {
                    return Ok(());
                }
                Err(self.fault(Wrong::Syntax))
            }
        }
    }

    /// Nothing may be left but blanks.
    ///
    /// # Errors
    /// If something is.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.blanks();
        match self.next() {
            None => Ok(()),
            Some(_) => Err(self.fault(Wrong::Rest)),
        }
    }

    fn word(&mut self, word: &[u8]) -> bool {
        let found = self
            .text
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word));
        if found {
            self.at += word.len();
        }
        found
    }

    /// The next value begins with `byte`, or is another one.
    fn begin(&mut self, byte: u8, other: Wrong) -> Result<(), Fault> {
        self.blanks();
        match self.next() {
            Some(next) if next == byte => Ok(()),
            _ => Err(self.fault(other)),
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        self.begin(byte, Wrong::Syntax)?;
        self.at += 1;
        Ok(())
    }

    fn blanks(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn next(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// What is wrong here; where the text ends, that is.
    fn fault(&self, wrong: Wrong) -> Fault {
        Fault {
            at: self.at,
            wrong: if self.at < self.text.len() {
                wrong
            } else {
                Wrong::End
            },
        }
    }
}

impl Text<'_> {
    /// Whether it is `word`, which is ASCII; escapes count as what they stand for.
    #[must_use]
    pub fn is(&self, word: &str) -> bool {
        self.is_bytes(word.as_bytes())
    }

    /// The same for a word as bytes.
    #[must_use]
    pub fn is_bytes(&self, word: &[u8]) -> bool {
        let mut rest = self.raw;
        for expected in word {
            match unescaped(rest) {
                Some((byte, after)) if byte == u32::from(*expected) => rest = after,
                _ => return false,
            }
        }
        rest.is_empty()
    }
}

/// The first character of a string, if it is ASCII, or a byte of it otherwise,
/// which then is no ASCII character; and what follows.
fn unescaped(raw: &[u8]) -> Option<(u32, &[u8])> {
    let (first, rest) = raw.split_first()?;
    if *first != b'\\' {
        return Some((u32::from(*first), rest));
    }
    let (kind, rest) = rest.split_first()?;
    let value = match kind {
        b'b' => 8,
        b'f' => 12,
        b'n' => 10,
        b'r' => 13,
        b't' => 9,
        b'u' => {
            let (digits, rest) = rest.split_at_checked(4)?;
            let value = digits.iter().try_fold(0, |value, digit| {
                Some(value * 16 + char::from(*digit).to_digit(16)?)
            })?;
            return Some((value, rest));
        }
        other => *other,
    };
    Some((u32::from(value), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(text: &str) -> Result<(), Fault> {
        let mut reader = Reader::new(text.as_bytes())?;
        reader.skip()?;
        reader.end()
    }

    #[test]
    fn what_json_is() {
        for text in [
            "{}",
            " [ ] ",
            "null",
            "true",
            "false",
            "0",
            "-0.5e+10",
            "1E5",
            r#""""#,
            r#""\"\\\/\b\f\n\r\té""#,
            "\"ü\"",
            r#"{"a":[1,{"b":null}],"c":"d"}"#,
            "[[[[[[[[[[]]]]]]]]]]",
        ] {
            assert_eq!(skipped(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_json_is_not() {
        for (text, at, wrong) in [
            ("", 0, Wrong::End),
            ("  ", 2, Wrong::End),
            ("{", 1, Wrong::End),
            ("[1", 2, Wrong::End),
            ("[1,]", 3, Wrong::Syntax),
            ("[,1]", 1, Wrong::Syntax),
            ("[1 2]", 3, Wrong::Syntax),
            (r#"{"a" 1}"#, 5, Wrong::Syntax),
            (r#"{"a":1,}"#, 7, Wrong::NoString),
            ("{a:1}", 1, Wrong::NoString),
            ("01", 1, Wrong::Syntax),
            ("1.", 2, Wrong::End),
            (".5", 0, Wrong::Syntax),
            ("-", 1, Wrong::End),
            ("+1", 0, Wrong::Syntax),
            ("nul", 0, Wrong::Syntax),
            ("\"a", 2, Wrong::End),
            ("\"a\nb\"", 2, Wrong::Syntax),
            (r#""\x""#, 2, Wrong::Syntax),
            (r#""\u12g4""#, 5, Wrong::Syntax),
            ("1 2", 2, Wrong::Rest),
            ("// no\n1", 0, Wrong::Syntax),
        ] {
            assert_eq!(skipped(text), Err(Fault { at, wrong }), "{text}");
        }
        let fault = Reader::new(b"\"a\xff\"").expect_err("no UTF-8");
        assert_eq!((fault.at, fault.wrong), (2, Wrong::Encoding));
    }

    #[test]
    fn depth_is_bounded() {
        let deepest = usize::from(MAX_DEPTH);
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(skipped(&nested(deepest)), Ok(()));
        let fault = skipped(&nested(deepest + 1)).expect_err("too deep");
        assert_eq!((fault.at, fault.wrong), (deepest, Wrong::Depth));
        assert!(skipped(&"[".repeat(1_000_000)).is_err());
        assert!(skipped(&"{\"a\":".repeat(1_000_000)).is_err());
    }

    #[test]
    fn numbers_are_exact() {
        for (text, value) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("1.0", None),
            ("1e3", None),
            ("\"1\"", None),
            ("null", None),
        ] {
            let mut reader = Reader::new(text.as_bytes()).expect("UTF-8");
            assert_eq!(reader.number().ok(), value, "{text}");
        }
    }

    #[test]
    fn strings_are_compared_without_their_escapes() {
        for (text, word, same) in [
            (r#""read""#, "read", true),
            (r#""re\u0061d""#, "read", true),
            (r#""re\/d""#, "re/d", true),
            (r#""read ""#, "read", false),
            (r#""rea""#, "read", false),
            (r#""\u0141""#, "A", false),
            ("\"\u{e9}\"", "\u{e9}x", false),
        ] {
            let mut reader = Reader::new(text.as_bytes()).expect("UTF-8");
            assert_eq!(reader.string().expect("a string").is(word), same, "{text}");
        }
    }

    /// Every way of cutting a text ends in an error, never in a loop or a panic.
    #[test]
    fn cut_texts_are_refused() {
        let text = r#"{"a":[1,2.5e3,"x\u0041",null,true,{"b":{}}],"c":-1}"#;
        for end in 0..text.len() {
            assert!(skipped(&text[..end]).is_err(), "{end}");
        }
        assert_eq!(skipped(text), Ok(()));
    }
}
