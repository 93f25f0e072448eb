//! Where in a manifest something is: `apps[1].app.isolators[0].value.set`.

use fly::{
    json::Text,
    text::{Digits, Line},
};

/// More than the values of a manifest lie in each other.
const DEEPEST: usize = 16;

/// One step of a path.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// The value of this name.
    Field(&'static str),
    /// The value of this index.
    Index(usize),
    /// A name that is unknown.
    Unknown(Text<'a>),
}

/// The path of a value.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parts: [Part<'a>; DEEPEST],
    used: usize,
}

impl<'a> Path<'a> {
    /// That of the whole manifest.
    pub(super) const fn new() -> Self {
        Self {
            parts: [Part::Index(0); DEEPEST],
            used: 0,
        }
    }

    #[inline(never)]
    pub(super) fn push(&mut self, part: Part<'a>) {
        if let Some(place) = self.parts.get_mut(self.used) {
            *place = part;
        }
        self.used += 1;
    }

    pub(super) fn pop(&mut self) {
        self.used = self.used.saturating_sub(1);
    }

    /// Calls `add` with the parts of its text.
    pub fn each(&self, add: &mut dyn FnMut(&[u8])) {
        let mut first = true;
        for part in self.parts.iter().take(self.used) {
            match part {
                Part::Index(index) => {
                    add(b"[");
                    add(Digits::new(*index as u64, 10).as_bytes());
                    add(b"]");
                }
                Part::Field(name) => {
                    add(if first { b"" } else { b"." });
                    add(name.as_bytes());
                }
                Part::Unknown(name) => {
                    add(if first { b"" } else { b"." });
                    // A long one is no misspelt name.
                    for character in name.characters().flatten().take(64) {
                        add(character.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
            }
            first = false;
        }
    }

    /// Whether it is that of the whole manifest.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds it to a line.
    pub(super) fn add_to(&self, line: &mut Line) {
        self.each(&mut |part| _ = line.quoted(part));
    }
}
