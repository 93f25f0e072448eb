//! Did you mean: the name of a list that is nearest to a word that is none of it.

use crate::text::split;

/// The longest word that is looked at; longer ones are no misspelt names.
const LONGEST: usize = 40;

/// The name of `names`, one a line, that `word` was probably meant to be: it
/// begins with the word, or differs by two edits at most, each a byte left out,
/// put in or changed. What follows `=` is no part of the word.
#[must_use]
#[cold]
#[inline(never)]
pub fn nearest<'a>(word: &[u8], names: &'a str) -> Option<&'a [u8]> {
    let word = split(word, b'=').next()?;
    // Two edits make any short word out of another one.
    let mut least = (word.len() / 3).min(2).wrapping_add(1);
    let mut found = None;
    for name in split(names.as_bytes(), b'\n') {
        let distance = match word.len() {
            // It is known, but not here.
            _ if name == word => return None,
            4.. if name.starts_with(word) => 0,
            _ => distance(word, name),
        };
        if distance < least {
            (least, found) = (distance, Some(name));
        }
    }
    found
}

/// How many edits lead from one word to the other: Levenshtein's distance, a row
/// of whose table is kept (Wagner and Fischer, The String-to-String Correction
/// Problem, 1974).
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut row = [0_u8; LONGEST + 1];
    if one.len() > LONGEST || other.len() > LONGEST {
        return usize::MAX;
    }
    for (place, number) in row.iter_mut().zip(0..) {
        *place = number;
    }
    let mut last = row.get(other.len()).copied().unwrap_or_default();
    for (byte, number) in one.iter().zip(0_u8..) {
        let mut before = number;
        last = number.wrapping_add(1);
        for (place, letter) in row.iter_mut().skip(1).zip(other) {
            let changed = before.wrapping_add(u8::from(byte != letter));
            before = *place;
            last = changed.min(last.min(before).wrapping_add(1));
            *place = last;
        }
    }
    usize::from(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "abd", 1),
            ("abc", "ab", 1),
            ("abc", "xabc", 1),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            let found = distance(one.as_bytes(), other.as_bytes());
            assert_eq!(found, edits, "{one} {other}");
        }
        let long = [b'x'; LONGEST + 1];
        assert_eq!(distance(&long, &long), usize::MAX);
    }

    #[test]
    fn what_was_meant() {
        const NAMES: &str = "--bind\n--ro-bind\n--tmpfs\n--chdir\n-h";
        for (word, name) in [
            ("--bnid", "--bind"),
            ("--ro_bind", "--ro-bind"),
            ("--tmp", "--tmpfs"),
            ("--tmfps=/x", "--tmpfs"),
            ("--chdri=/x", "--chdir"),
            ("--cdir", "--chdir"),
        ] {
            assert_eq!(nearest(word.as_bytes(), NAMES), Some(name.as_bytes()));
        }
        for word in ["--bind", "--tmpfs=/x", "-h"] {
            assert_eq!(nearest(word.as_bytes(), NAMES), None, "{word}");
        }
        for word in ["--xyz", "-x", "--", "", "--binding-all", "-bind-try"] {
            assert_eq!(nearest(word.as_bytes(), NAMES), None, "{word}");
        }
    }
}
