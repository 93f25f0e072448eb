//! Options in the manner of getopt_long(3), up to the first operand: what
//! follows the program's name is the program's.

use core::{ffi::CStr, slice};

use fly::{
    sys::{
        entry::{Strings, StringsIter},
        memory::c_str,
    },
    text::split,
};

/// What is wrong with an option; the order is that of the texts for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// There is no such name.
    Name,
    /// There is no such letter.
    Letter,
    /// The option with this name needs a value.
    NameWithoutValue,
    /// The one with this letter needs one.
    LetterWithoutValue,
    /// It takes none.
    Value,
    /// It is the beginning of more than one.
    Ambiguous,
}

/// Walks the arguments.
#[derive(Debug)]
pub struct Parser {
    rest: StringsIter,
    table: &'static str,
    /// Whether an option may have a name, not a letter alone.
    has_names: bool,
    /// What is left of an argument with several letters.
    letters: &'static [u8],
    /// The last argument that was looked at.
    pub argument: &'static CStr,
    /// The value of the last option that takes one.
    pub value: &'static CStr,
    /// What a wrong option is called in getopt's words.
    pub object: &'static [u8],
}

/// A row of the table: letter, `:` or a blank, name.
type Row = &'static [u8];

impl Parser {
    /// `arguments` begin behind the program's own name. `table` has a line for
    /// each option: its letter, `:` if it has a value, otherwise a blank, and its
    /// name, which may be missing. What is no letter stands for an option that has a
    /// name only.
    pub fn new(arguments: StringsIter, table: &'static str, has_names: bool) -> Self {
        Self {
            rest: arguments,
            table,
            has_names,
            letters: b"",
            argument: c"",
            value: c"",
            object: b"",
        }
    }

    /// What is behind the dash of the next argument; nothing at the first operand.
    fn dashed(&mut self) -> &'static [u8] {
        let word = self.rest.rest().get(0).unwrap_or_default();
        let [b'-', after @ ..] = word.to_bytes() else {
            return b"";
        };
        if !after.is_empty() {
            let _ = self.rest.next();
            self.argument = word;
        }
        if after == b"-" { b"" } else { after }
    }

    /// The letter of the next option; 0 at the first operand.
    #[inline(never)]
    pub fn next(&mut self) -> Result<u8, Wrong> {
        let mut rest = self.letters;
        let mut by_name = false;
        if rest.is_empty() {
            rest = self.dashed();
            by_name = self.has_names && rest.starts_with(b"-");
        }
        let [letter, after @ ..] = rest else {
            return Ok(0);
        };
        rest = after;
        let mut key = slice::from_ref(letter);
        if by_name {
            key = rest;
            while let [byte, after @ ..] = rest
                && *byte != b'='
            {
                rest = after;
            }
            key = key
                .get(..key.len().wrapping_sub(rest.len()))
                .unwrap_or_default();
        }
        self.object = key;
        self.letters = b"";
        let (row, count) = self.rows(key, by_name);
        let [letter, takes, name @ ..] = row else {
            if by_name {
                self.object = self.argument.to_bytes();
                return Err(Wrong::Name);
            }
            return Err(Wrong::Letter);
        };
        if count > 1 {
            return Err(Wrong::Ambiguous);
        }
        let mut wrong = Wrong::LetterWithoutValue;
        if by_name {
            self.object = name;
            wrong = Wrong::NameWithoutValue;
        }
        if *takes != b':' {
            if !by_name {
                self.letters = rest;
            } else if !rest.is_empty() {
                return Err(Wrong::Value);
            }
        } else if rest.is_empty() {
            self.value = self.rest.next().ok_or(wrong)?;
        } else {
            let length = rest.len() - usize::from(by_name);
            let bytes = self.argument.to_bytes_with_nul();
            let value = bytes.get(bytes.len().wrapping_sub(length + 1)..);
            self.value = c_str(value.unwrap_or_default()).unwrap_or_default();
        }
        Ok(*letter)
    }

    /// What follows the options.
    pub fn operands(&self) -> Strings {
        self.rest.rest()
    }

    /// The last row whose letter or name begins with `key`, and how many there are. One
    /// that has no more than that is the only one.
    #[inline(never)]
    fn rows(&self, key: &[u8], by_name: bool) -> (Row, usize) {
        let mut found: Row = b"";
        let mut count = 0;
        for row in split(self.table.as_bytes(), b'\n') {
            let whole = if by_name { row.get(2..) } else { row.get(..1) };
            let whole = whole.unwrap_or_default();
            // What is no letter can't be named by one.
            let is_named = by_name || row.first() > Some(&b'@');
            if is_named && !whole.is_empty() && whole.starts_with(key) {
                found = row;
                count += 1;
                if whole.len() == key.len() {
                    return (row, 1);
                }
            }
        }
        (found, count)
    }
}

/// Takes the number that `text` begins with, as strtol(3) finds it, off; of one that
/// is too large, the largest.
#[inline(never)]
pub fn number(text: &mut &[u8]) -> Option<u32> {
    while let [b' ' | b'\t'..=b'\r', after @ ..] = *text {
        *text = after;
    }
    if let [b'+', after @ ..] = *text {
        *text = after;
    }
    let mut value = None;
    while let [digit @ b'0'..=b'9', after @ ..] = *text {
        let so_far: u32 = value.unwrap_or(0);
        let digit = u32::from(digit.wrapping_sub(b'0'));
        value = Some(so_far.saturating_mul(10).saturating_add(digit));
        *text = after;
    }
    value
}
