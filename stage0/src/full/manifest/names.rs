//! Names that were read, to look them up: a list that is read anew for each of its members
//! takes minutes where it is long.

use fly::json::Text;

use super::{MAX_ITEMS, pod::each_name, read::Field, target::Normal};

/// Strings of a list; the first ones of one that is too long, which is refused.
pub(super) struct Names<'a> {
    /// Each with a number that differs where they do, but for few.
    places: [(u32, Text<'a>); MAX_ITEMS],
    used: usize,
    /// Paths that are the same are so in whichever way they are written.
    paths: bool,
}

impl<'a> Names<'a> {
    /// None.
    #[allow(
        clippy::large_stack_arrays,
        reason = "there are few of them, in a command that is not a start"
    )]
    pub(super) const fn new() -> Self {
        const NOTHING: Text<'_> = Text { raw: &[], at: 0 };
        Self {
            places: [(0, NOTHING); MAX_ITEMS],
            used: 0,
            paths: false,
        }
    }

    /// None, of absolute paths.
    pub(super) const fn of_paths() -> Self {
        let mut names = Self::new();
        names.paths = true;
        names
    }

    /// The values of the field `name` in each object of a list.
    pub(super) fn of(list: Field<'a>, name: &'static str) -> Self {
        let mut names = Self::new();
        each_name(list, name, &mut |_, mut reader| {
            if let Ok(text) = reader.string() {
                names.push(text);
            }
        });
        names
    }

    /// Adds one; whether it was not among them.
    pub(super) fn add(&mut self, text: Text<'a>) -> bool {
        let is_new = !self.has(text);
        if is_new {
            self.push(text);
        }
        is_new
    }

    /// Whether it is among them.
    pub(super) fn has(&self, text: Text<'_>) -> bool {
        self.find(text).is_some()
    }

    /// Which one it is.
    pub(super) fn find(&self, text: Text<'_>) -> Option<usize> {
        let wanted = self.number(text);
        let mut places = self.places.iter().take(self.used);
        places.position(|(number, other)| *number == wanted && self.same(*other, text))
    }

    /// All in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Text<'a>> {
        self.places.iter().take(self.used).map(|(_, text)| *text)
    }

    fn push(&mut self, text: Text<'a>) {
        let number = self.number(text);
        if let Some(place) = self.places.get_mut(self.used) {
            *place = (number, text);
            self.used += 1;
        }
    }

    fn same(&self, one: Text<'_>, other: Text<'_>) -> bool {
        if self.paths {
            Normal::of(one).eq(Normal::of(other))
        } else {
            one.same(&other)
        }
    }

    /// FNV-1a, of 32 bits.
    fn number(&self, text: Text<'_>) -> u32 {
        let next = |hash: u32, character| (hash ^ u32::from(character)).wrapping_mul(0x0100_0193);
        let first = 0x811c_9dc5;
        if self.paths {
            Normal::of(text).fold(first, next)
        } else {
            text.characters().flatten().fold(first, next)
        }
    }
}
