//! Words of a command line that were not given but made.

use core::ffi::CStr;

use fly::{json::Text, sys::entry::StringsIter};

/// The words of a command line, as they are read.
#[derive(Clone, Debug)]
pub enum Words<'w> {
    /// Those that the program was called with.
    Given(StringsIter),
    /// Words one behind the other, each with its zero byte.
    Made(&'w [u8]),
}

impl<'w> Iterator for Words<'w> {
    type Item = &'w CStr;

    fn next(&mut self) -> Option<&'w CStr> {
        match self {
            Self::Given(words) => words.next(),
            Self::Made(bytes) => {
                let word = CStr::from_bytes_until_nul(bytes).ok()?;
                *bytes = bytes.get(word.count_bytes() + 1..).unwrap_or_default();
                Some(word)
            }
        }
    }
}

/// A place for words that are made.
#[derive(Debug)]
pub struct Arena<'w> {
    bytes: &'w mut [u8],
    used: usize,
    full: bool,
}

impl<'w> Arena<'w> {
    /// A place with room for `bytes`.
    pub fn new(bytes: &'w mut [u8]) -> Self {
        Self {
            bytes,
            used: 0,
            full: false,
        }
    }

    /// Adds a word.
    pub fn word(&mut self, word: &[u8]) {
        self.bytes(word).end();
    }

    /// Adds to the word that is being made.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            self.byte(*byte);
        }
        self
    }

    /// The same for what a string stands for, which was read: it has no zero byte.
    pub fn text(&mut self, text: Text<'_>) -> &mut Self {
        for character in text.characters().flatten() {
            self.bytes(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.bytes(fly::text::Digits::new(number, 10).as_bytes())
    }

    /// Ends the word.
    pub fn end(&mut self) {
        self.byte(0);
    }

    /// The words; `None` if there was no room for all.
    #[must_use]
    pub fn words(self) -> Option<Words<'w>> {
        let bytes: &'w [u8] = self.bytes;
        let words = bytes.get(..self.used).filter(|_| !self.full)?;
        Some(Words::Made(words))
    }

    fn byte(&mut self, byte: u8) {
        match self.bytes.get_mut(self.used) {
            Some(place) => {
                *place = byte;
                self.used += 1;
            }
            None => self.full = true,
        }
    }
}
