//! Options in the manner of getopt_long(3), up to the first operand: what
//! follows the program's name is the program's.

use core::ffi::CStr;

use fly::{
    sys::entry::{Strings, StringsIter},
    text::split,
};

/// What is wrong with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// There is no such option.
    Unknown,
    /// It needs a value.
    NoValue,
    /// It takes none.
    Value,
    /// It is the beginning of more than one.
    Ambiguous,
}

/// A wrong option.
#[derive(Clone, Copy, Debug)]
pub struct Problem {
    pub wrong: Wrong,
    /// The argument that it is in.
    pub argument: &'static CStr,
    /// Its letter; 0 for one that was called by its name.
    pub letter: u8,
    /// As much of its name as was given; all of it, where it is known.
    pub name: &'static [u8],
}

/// Walks the arguments.
#[derive(Debug)]
pub struct Parser {
    rest: StringsIter,
    /// What is left of an argument with several letters.
    letters: &'static CStr,
    argument: &'static CStr,
    table: &'static str,
}

/// A row of the table: letter, `:` or a blank, name.
type Row = &'static [u8];

impl Parser {
    /// `arguments` begin behind the program's own name. `table` has a line for
    /// each option: its letter, `:` if it has a value, otherwise a blank, and its
    /// name, which may be missing. What is no letter stands for an option that has a
    /// name only.
    pub fn new(arguments: StringsIter, table: &'static str) -> Self {
        Self {
            rest: arguments,
            letters: c"",
            argument: c"",
            table,
        }
    }

    /// The letter and the value of the next option; `None` at the first operand.
    #[inline(never)]
    pub fn next(&mut self) -> Option<Result<(u8, &'static CStr), Problem>> {
        let mut letter = 0;
        let mut name: &[u8] = b"";
        let mut value = None;
        if self.letters.is_empty() {
            let word = self.rest.rest().get(0)?;
            let bytes = word.to_bytes();
            let [b'-', second, ..] = bytes else {
                return None;
            };
            let _ = self.rest.next();
            if bytes == b"--" {
                return None;
            }
            self.argument = word;
            // A table without names has letters only.
            if *second == b'-' && self.rows(0, b"").1 > 0 {
                name = split(bytes, b'=').next().unwrap_or_default();
                if name.len() < bytes.len() {
                    value = Some(without(word, name.len() + 1));
                }
                name = name.get(2..).unwrap_or_default();
            } else {
                self.letters = without(word, 1);
            }
        }
        if let [first, ..] = self.letters.to_bytes() {
            letter = *first;
            let rest = without(self.letters, 1);
            value = Some(rest).filter(|rest| !rest.is_empty());
            self.letters = c"";
        }
        let (row, count) = self.rows(letter, name);
        let wrong = match row {
            [] => Wrong::Unknown,
            _ if count > 1 => Wrong::Ambiguous,
            [option, b':', ..] => match value.or_else(|| self.rest.next()) {
                Some(value) => return Some(Ok((*option, value))),
                None => Wrong::NoValue,
            },
            _ if letter == 0 && value.is_some() => Wrong::Value,
            [option, ..] => {
                self.letters = value.unwrap_or_default();
                return Some(Ok((*option, c"")));
            }
        };
        if let ([_, _, whole @ ..], false) = (row, wrong == Wrong::Ambiguous) {
            name = whole;
        }
        Some(Err(Problem {
            wrong,
            argument: self.argument,
            letter,
            name,
        }))
    }

    /// What follows the options.
    pub fn operands(self) -> Strings {
        self.rest.rest()
    }

    /// The last row with this letter or, where that is 0, with a name that begins
    /// so; and how many there are. One that is the whole name is the only one.
    #[inline(never)]
    fn rows(&self, letter: u8, name: &[u8]) -> (Row, usize) {
        let mut found: Row = b"";
        let mut count = 0;
        for row in split(self.table.as_bytes(), b'\n') {
            let [first, _, whole @ ..] = row else {
                continue;
            };
            let is_it = if letter == 0 {
                !whole.is_empty() && whole.starts_with(name)
            } else {
                letter == *first && letter.is_ascii_alphabetic()
            };
            if is_it {
                found = row;
                count += 1;
                if letter == 0 && whole == name {
                    return (row, 1);
                }
            }
        }
        (found, count)
    }
}

/// `text` without its first `count` bytes.
#[inline(never)]
fn without(text: &'static CStr, count: usize) -> &'static CStr {
    let bytes = text.to_bytes_with_nul().get(count..).unwrap_or_default();
    fly::sys::memory::c_str(bytes).unwrap_or_default()
}

/// The number that `text` begins with, as strtol(3) finds it, and what follows;
/// of a number that is too large, the largest.
#[inline(never)]
pub fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let mut rest = text.trim_ascii_start();
    rest = rest.strip_prefix(b"+").unwrap_or(rest);
    let mut value = None;
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        let so_far: u32 = value.unwrap_or(0);
        value = Some(
            so_far
                .saturating_mul(10)
                .saturating_add(u32::from(digit.wrapping_sub(b'0'))),
        );
        rest = after;
    }
    Some((value?, rest))
}
