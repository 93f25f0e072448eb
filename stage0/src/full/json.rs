//! JSON (RFC 8259) that is written while it is made: nothing is allocated.
//!
//! Names of files and of apps are bytes, which need not be UTF-8; what is none becomes
//! U+FFFD, since JSON has no other way to say it. What could move the cursor of a
//! terminal is escaped.

use fly::text::{Digits, Line};

/// What stands before a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// Nothing, or its name.
    Nothing,
    /// The beginning of its list.
    Begin,
    /// Another value.
    Value,
}

/// A JSON text on its way to a descriptor.
///
/// Calls follow the text: `object()`, `key("a")`, `number(1)`, `end_object()`, `end()`.
/// Commas and colons come by themselves.
#[derive(Debug)]
pub struct Json {
    line: Line,
    pretty: bool,
    depth: usize,
    /// What stands before the next value.
    before: Before,
}

impl Json {
    /// A text in one line, for programs.
    #[must_use]
    pub fn new(descriptor: i32) -> Self {
        Self {
            line: Line::new(descriptor),
            pretty: false,
            depth: 0,
            before: Before::Nothing,
        }
    }

    /// A text with a line a value, for people.
    #[must_use]
    pub fn pretty(descriptor: i32) -> Self {
        Self {
            pretty: true,
            ..Self::new(descriptor)
        }
    }

    /// Begins an object.
    pub fn object(&mut self) -> &mut Self {
        self.begin(b'{')
    }

    /// Ends it.
    pub fn end_object(&mut self) -> &mut Self {
        self.close(b'}')
    }

    /// Begins an array.
    pub fn array(&mut self) -> &mut Self {
        self.begin(b'[')
    }

    /// Ends it.
    pub fn end_array(&mut self) -> &mut Self {
        self.close(b']')
    }

    /// The name of the next value.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.key_bytes(name.as_bytes())
    }

    /// The same for a name that somebody else chose.
    pub fn key_bytes(&mut self, name: &[u8]) -> &mut Self {
        self.string(name);
        self.line.byte(b':');
        if self.pretty {
            self.line.byte(b' ');
        }
        self.before = Before::Nothing;
        self
    }

    /// A string.
    pub fn string(&mut self, bytes: &[u8]) -> &mut Self {
        self.strings(&[bytes])
    }

    /// A string made of several parts.
    pub fn strings(&mut self, parts: &[&[u8]]) -> &mut Self {
        self.value().byte(b'"');
        for part in parts {
            self.escaped(part);
        }
        self.line.byte(b'"');
        self
    }

    /// A number.
    pub fn number(&mut self, value: u64) -> &mut Self {
        self.value().number(value);
        self
    }

    /// A number that may be negative.
    pub fn signed(&mut self, value: i64) -> &mut Self {
        let line = self.value();
        if value < 0 {
            line.byte(b'-');
        }
        line.number(value.unsigned_abs());
        self
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.value().text(if value { "true" } else { "false" });
        self
    }

    /// `null`
    pub fn null(&mut self) -> &mut Self {
        self.value().text("null");
        self
    }

    /// Ends the text, and writes what is left of it; false if that failed.
    pub fn end(&mut self) -> bool {
        self.before = Before::Nothing;
        self.line.end()
    }

    fn begin(&mut self, byte: u8) -> &mut Self {
        self.value().byte(byte);
        self.depth += 1;
        self.before = Before::Begin;
        self
    }

    fn close(&mut self, byte: u8) -> &mut Self {
        self.depth = self.depth.saturating_sub(1);
        // An empty list stays in its line.
        if self.before == Before::Value {
            self.indent();
        }
        self.line.byte(byte);
        self.before = Before::Value;
        self
    }

    /// What goes before a value.
    fn value(&mut self) -> &mut Line {
        let before = core::mem::replace(&mut self.before, Before::Value);
        if before == Before::Value {
            self.line.byte(b',');
        }
        if before != Before::Nothing {
            self.indent();
        }
        &mut self.line
    }

    fn indent(&mut self) {
        if self.pretty {
            self.line.byte(b'\n');
            for _ in 0..self.depth {
                self.line.text("  ");
            }
        }
    }

    fn escaped(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                self.character(character);
            }
            if !chunk.invalid().is_empty() {
                self.line.text("\u{fffd}");
            }
        }
    }

    fn character(&mut self, character: char) {
        let mut room = [0; 4];
        match character {
            '\n' => self.line.text("\\n"),
            '\t' => self.line.text("\\t"),
            '"' | '\\' => self.line.text("\\").text(character.encode_utf8(&mut room)),
            // C0, DEL and C1: also what a terminal would obey.
            character if character.is_control() => {
                // The leading 1 keeps the zeros.
                let digits = Digits::new(0x1_0000 | u64::from(u32::from(character)), 16);
                let digits = digits.as_bytes().get(1..).unwrap_or_default();
                self.line.text("\\u").bytes(digits)
            }
            character => self.line.text(character.encode_utf8(&mut room)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::fd::AsRawFd};

    /// What `write` writes.
    fn written(pretty: bool, write: fn(&mut Json)) -> String {
        // A pipe holds 64 KB.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut json = if pretty {
            Json::pretty(writer.as_raw_fd())
        } else {
            Json::new(writer.as_raw_fd())
        };
        write(&mut json);
        assert!(json.end());
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn values_and_lists() {
        let write = |json: &mut Json| {
            json.object().key("a").number(u64::MAX);
            json.key("b").array().string(b"x").null().boolean(true);
            json.object().end_object().array().end_array().signed(-7);
            json.end_array().key("c").boolean(false).end_object();
        };
        assert_eq!(
            written(false, write),
            "{\"a\":18446744073709551615,\"b\":[\"x\",null,true,{},[],-7],\"c\":false}\n"
        );
        assert_eq!(
            written(true, |json| {
                json.object()
                    .key("a")
                    .array()
                    .number(1)
                    .number(2)
                    .end_array();
                json.key("b").object().end_object().end_object();
            }),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}\n"
        );
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(
            written(false, |json| {
                json.strings(&[
                    b"\"\\/\n\t\r\x1b\x7f",
                    "\u{9b}\u{e9}\u{1f680}".as_bytes(),
                    b"\xff<",
                ]);
            }),
            "\"\\\"\\\\/\\n\\t\\u000d\\u001b\\u007f\\u009b\u{e9}\u{1f680}\u{fffd}<\"\n"
        );
    }

    #[test]
    fn long_texts_are_whole() {
        let text = written(false, |json| {
            json.array();
            for number in 0..10_000 {
                json.number(number);
            }
            json.end_array();
        });
        assert_eq!(text.matches(',').count(), 9_999);
        assert!(text.starts_with("[0,1,") && text.ends_with(",9999]\n"));
    }
}
