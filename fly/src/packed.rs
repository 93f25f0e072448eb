//! Texts at about half their size: errors and help are a good part of a small
//! program, and are read seldom.
//!
//! A byte from 128 on stands for a pair of bytes, each of which may stand for a
//! pair itself (byte pair encoding). `PAIRS` is chosen for the texts that there
//! are, by a test that also finds when it has become a bad choice. Packing is
//! done by the compiler; digits and ends of lines stay as they are, so that a
//! packed text is still made of lines.

use crate::text::Line;

#[rustfmt::skip]
mod pairs;

use pairs::PAIRS;

/// The first byte that stands for a pair.
const FIRST: u8 = 128;

/// A text that is known when the program is compiled, packed.
#[macro_export]
macro_rules! packed {
    ($text:expr) => {{
        const TEXT: &str = $text;
        const LENGTH: usize = $crate::packed::length(TEXT);
        static PACKED: [u8; LENGTH] = $crate::packed::pack(TEXT);
        $crate::packed::Packed(&PACKED)
    }};
}

/// Bytes of a packed text.
#[derive(Clone, Copy, Debug)]
pub struct Packed(pub &'static [u8]);

impl Packed {
    /// Adds the text to `line`.
    #[cold]
    #[inline(never)]
    pub fn add_to(self, line: &mut Line) {
        self.each(&mut |byte| {
            line.byte(byte);
        });
    }

    /// Calls `each` with every byte of the text.
    #[cold]
    pub fn each(self, each: &mut dyn FnMut(u8)) {
        unpack(self.0, each);
    }
}

/// No deeper than there are pairs, since each is made of earlier ones.
#[inline(never)]
fn unpack(bytes: &[u8], each: &mut dyn FnMut(u8)) {
    for byte in bytes {
        match PAIRS.get(usize::from(byte.wrapping_sub(FIRST))) {
            Some(pair) if *byte >= FIRST => unpack(pair, each),
            _ => each(*byte),
        }
    }
}

/// Which byte stands for a pair of bytes; 0 for none.
struct Table([[u8; 256]; 256]);

impl Table {
    const OF_PAIRS: Self = Self::new(&PAIRS);

    #[allow(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "the compiler runs it"
    )]
    const fn new(pairs: &[[u8; 2]]) -> Self {
        let mut table = Self([[0; 256]; 256]);
        let mut index = 0;
        while index < pairs.len() {
            let [first, second] = pairs[index];
            table.0[first as usize][second as usize] = FIRST + index as u8;
            index += 1;
        }
        table
    }

    /// Packs `text` into `place`, from left to right: what stands for a pair is
    /// joined with what is before it as long as that is a pair, too. Returns how
    /// many bytes it takes, also if `place` has fewer.
    #[allow(clippy::indexing_slicing, reason = "the compiler runs it")]
    const fn pack(&self, text: &[u8], place: &mut [u8]) -> usize {
        // What was joined may still change: the last bytes, newest first.
        let mut length = 0;
        let mut at = 0;
        while at < text.len() {
            assert!(text[at] < FIRST, "texts are ASCII");
            let mut byte = text[at];
            while length > 0 {
                let joined = self.0[place[length - 1] as usize][byte as usize];
                if joined == 0 {
                    break;
                }
                byte = joined;
                length -= 1;
            }
            place[length] = byte;
            length += 1;
            at += 1;
        }
        length
    }
}

/// The most bytes of a text.
const MOST: usize = 16 << 10;

/// How many bytes `text` takes when it is packed.
#[must_use]
pub const fn length(text: &str) -> usize {
    Table::OF_PAIRS.pack(text.as_bytes(), &mut [0; MOST])
}

/// `text` in the [`length`] that it takes.
#[must_use]
#[allow(clippy::indexing_slicing, reason = "the compiler runs it")]
pub const fn pack<const N: usize>(text: &str) -> [u8; N] {
    let mut place = [0; MOST];
    Table::OF_PAIRS.pack(text.as_bytes(), &mut place);
    let mut packed = [0; N];
    let mut at = 0;
    while at < N {
        packed[at] = place[at];
        at += 1;
    }
    packed
}

#[cfg(test)]
pub(crate) fn pack_to_vec(text: &str) -> Vec<u8> {
    let mut packed = vec![0; text.len()];
    let length = Table::OF_PAIRS.pack(text.as_bytes(), &mut packed);
    packed.truncate(length);
    packed
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fmt::Write, fs, path::Path};

    /// All texts that are packed: how they are packed decides on the pairs.
    fn texts() -> Vec<u8> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut all = crate::error::tests::texts_unpacked().into_bytes();
        all.extend(crate::plan::Kind::TEXTS.as_bytes());
        all.extend(crate::launch::Fallbacks::TEXTS.as_bytes());
        all.extend(crate::options::completion::BASH.as_bytes());
        for help in ["src/bin/fly.help", "../stage0/src/full/help.txt"] {
            all.extend(fs::read(folder.join(help)).expect("a help text"));
        }
        all
    }

    fn may_join(byte: u8) -> bool {
        !byte.is_ascii_digit() && byte != b'\n'
    }

    /// The most frequent pair, again and again.
    fn best_pairs(mut text: Vec<u8>) -> Vec<[u8; 2]> {
        let mut pairs = Vec::new();
        while pairs.len() < PAIRS.len() {
            let mut counts = vec![0_u32; 1 << 16];
            for pair in text
                .windows(2)
                .filter(|pair| pair.iter().all(|byte| may_join(*byte)))
            {
                counts[usize::from(pair[0]) << 8 | usize::from(pair[1])] += 1;
            }
            // The first of those that are as frequent: always the same result.
            let best = (0..counts.len()).max_by_key(|pair| (counts[*pair], usize::MAX - pair));
            let [_, .., first, second] = best.expect("pairs").to_be_bytes();
            let code = FIRST + u8::try_from(pairs.len()).expect("128 pairs");
            pairs.push([first, second]);
            let mut joined = Vec::with_capacity(text.len());
            for byte in text {
                match joined.last_mut() {
                    Some(last) if [*last, byte] == [first, second] => *last = code,
                    _ => joined.push(byte),
                }
            }
            text = joined;
        }
        pairs
    }

    fn packed_size(pairs: &[[u8; 2]], text: &[u8]) -> usize {
        Table::new(pairs).pack(text, &mut vec![0; text.len()])
    }

    /// With KICKSTAGE_WRITE in the environment it writes the pairs anew.
    #[test]
    fn pairs_are_a_good_choice() {
        let text = texts();
        let best = best_pairs(text.clone());
        let (now, least) = (packed_size(&PAIRS, &text), packed_size(&best, &text));
        if std::env::var_os("KICKSTAGE_WRITE").is_some() {
            let mut source = String::from(
                "//! Written by the test `pairs_are_a_good_choice` with KICKSTAGE_WRITE=1.\n\n\
                 /// What the bytes from 128 on stand for, each made of earlier ones.\n\
                 pub(super) static PAIRS: [[u8; 2]; 128] = [\n",
            );
            for line in best.chunks(8) {
                for [first, second] in line {
                    let _ = write!(source, " [{first}, {second}],");
                }
                source.push('\n');
            }
            source.push_str("];\n");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/packed/pairs.rs");
            fs::write(path, source).expect("the pairs");
            return;
        }
        assert!(
            now <= least + least / 20,
            "{now} bytes, could be {least}: run this test with KICKSTAGE_WRITE=1"
        );
        assert!(
            now * 100 <= text.len() * 62,
            "{now} of {} bytes",
            text.len()
        );
    }

    #[test]
    fn a_packed_text_is_the_same() {
        let text = texts();
        let packed = pack_to_vec(std::str::from_utf8(&text).expect("ASCII"));
        let mut unpacked = Vec::new();
        unpack(&packed, &mut |byte| unpacked.push(byte));
        assert_eq!(unpacked, text);
    }

    #[test]
    fn pairs_are_made_of_earlier_ones() {
        for (index, pair) in PAIRS.iter().enumerate() {
            for byte in pair {
                let earlier = byte
                    .checked_sub(FIRST)
                    .is_none_or(|pair| usize::from(pair) < index);
                assert!(earlier && may_join(*byte), "{index}: {pair:?}");
            }
        }
    }
}
