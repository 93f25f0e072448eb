//! Texts at two fifths of their size, for what is longer and is read seldom: help and
//! licenses. [`mod@crate::packed`] takes a half, but needs no memory to unpack and can
//! begin anywhere.
//!
//! Each bit is foretold from how often it was 0 and 1 behind the same beginning of its
//! byte and the same 0 to 4 bytes before, and an arithmetic coder spends as many bits
//! as it was a surprise. The compiler squeezes by the same model that the program
//! unpacks by.

/// The counts are found by their hash: so many that few share a place.
const PLACES: usize = 1 << 20;

/// Bytes of zeroed memory that it takes to unpack, once.
pub const ROOM: usize = 2 * PLACES;

/// How often each bit was 0 and 1.
struct Model<'r> {
    counts: &'r mut [u8; ROOM],
    /// The bits of this byte so far, and the bytes before it from its second on; each
    /// with a 1 in front, so that one number holds all.
    before: u64,
}

#[allow(clippy::indexing_slicing, reason = "a hash has 20 bits")]
impl<'r> Model<'r> {
    const fn new(counts: &'r mut [u8; ROOM]) -> Self {
        Self { counts, before: 1 }
    }

    /// Where the counts are for what was before, without its first `shift` bits.
    const fn place(&self, shift: u32) -> usize {
        let hash = (self.before << shift).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> 44) as usize * 2
    }

    /// What of `range` stands for 1: at least 1, less than all. The longer what was
    /// before, the more it counts.
    const fn bound(&self, range: u32) -> u32 {
        let (mut zero, mut one) = (0, 0);
        let mut shift = LONGEST;
        while shift < 64 {
            let place = self.place(shift);
            zero = zero * 3 + self.counts[place] as u32;
            one = one * 3 + self.counts[place + 1] as u32;
            shift += 8;
        }
        // What was never seen is possible, too.
        range / ((zero + one + 4) | 1) * (one + 2)
    }

    /// Counts `bit`; returns the byte if it was its last.
    const fn learn(&mut self, bit: bool) -> Option<u8> {
        let mut shift = LONGEST;
        while shift < 64 {
            let place = self.place(shift) + bit as usize;
            self.counts[place] = self.counts[place].saturating_add(1);
            // What was otherwise for long may be so no longer.
            let other = self.counts[place ^ 1];
            if other > 1 {
                self.counts[place ^ 1] = other / 2 + 1;
            }
            shift += 8;
        }
        let so_far = self.before & 127;
        self.before += so_far + bit as u64;
        let byte = self.before.to_le_bytes()[0];
        if byte < 128 {
            return None;
        }
        self.before = self.before << 8 | 1;
        Some(byte & 127)
    }
}

/// The shift that leaves four bytes and the beginning of the fifth.
const LONGEST: u32 = 24;

/// A text that is known when the program is compiled, squeezed. Parts of it end with a
/// zero byte.
#[macro_export]
macro_rules! squeezed {
    ($text:expr) => {{
        const TEXT: &str = $text;
        #[allow(long_running_const_eval, reason = "it takes some seconds")]
        const LONG: ([u8; $crate::squeezed::MOST], usize) = $crate::squeezed::squeeze(TEXT);
        static SQUEEZED: [u8; LONG.1] = $crate::squeezed::shorten(&LONG.0);
        $crate::squeezed::Squeezed(&SQUEEZED)
    }};
}

/// Bytes of a squeezed text.
#[derive(Clone, Copy, Debug)]
pub struct Squeezed(pub &'static [u8]);

/// Below this the coder takes or gives a byte.
const LOW: u32 = 1 << 24;

impl Squeezed {
    /// Calls `each` with every byte of the parts whose bits are in `parts`. `room` must
    /// be zeroed; without [`ROOM`] of it nothing is unpacked.
    #[cold]
    #[inline(never)]
    pub fn each(self, room: &mut [u8], mut parts: u32, each: &mut dyn FnMut(u8)) {
        let Some(counts) = room.first_chunk_mut() else {
            return;
        };
        let mut model = Model::new(counts);
        let mut bytes = self.0.iter();
        let (mut value, mut range) = (0_u32, 0_u32);
        loop {
            while range < LOW {
                value = value << 8 | u32::from(bytes.next().copied().unwrap_or(0));
                range = range << 8 | 255;
            }
            let bound = model.bound(range);
            let bit = value < bound;
            if bit {
                range = bound - 1;
            } else {
                value -= bound;
                range -= bound;
            }
            match model.learn(bit) {
                None => {}
                Some(0) => {
                    parts >>= 1;
                    if parts == 0 {
                        return;
                    }
                }
                Some(byte) if parts & 1 == 1 => each(byte),
                _ => {}
            }
        }
    }
}

/// Squeezes `text` into `place`, with zeroed `counts`; returns how many bytes it takes.
#[allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "the compiler runs it"
)]
const fn squeeze_into(text: &[u8], counts: &mut [u8; ROOM], place: &mut [u8]) -> usize {
    let mut model = Model::new(counts);
    let mut used = 0;
    // The first of the numbers that stand for the text so far, and how many follow.
    let (mut low, mut range) = (0_u64, u32::MAX);
    let mut at = 0;
    while at < 8 * text.len() {
        let byte = text[at / 8];
        assert!(byte < 128, "texts are ASCII");
        // A byte has seven bits.
        let bit = byte >> (7 - at % 8) & 1 == 1;
        at += 1;
        if at % 8 == 1 {
            continue;
        }
        let bound = model.bound(range);
        if bit {
            range = bound - 1;
        } else {
            low += bound as u64;
            range -= bound;
        }
        model.learn(bit);
        while range < LOW {
            used = give(&mut low, place, used);
            range = range << 8 | 255;
        }
    }
    // The unpacker reads zeros behind the end.
    low += LOW as u64 - 1;
    give(&mut low, place, used)
}

/// Writes the highest byte of `low`, which may go over into what was written.
#[allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "the compiler runs it"
)]
const fn give(low: &mut u64, place: &mut [u8], used: usize) -> usize {
    let mut at = used;
    while *low >> 32 > 0 && at > 0 {
        at -= 1;
        place[at] = place[at].wrapping_add(1);
        if place[at] > 0 {
            break;
        }
    }
    place[used] = (*low >> 24) as u8;
    *low = (*low & 0xff_ffff) << 8;
    used + 1
}

/// The most bytes of a text.
pub const MOST: usize = 16 << 10;

/// `text` squeezed, and how many bytes that takes.
#[must_use]
pub const fn squeeze(text: &str) -> ([u8; MOST], usize) {
    let mut place = [0; MOST];
    let length = squeeze_into(text.as_bytes(), &mut [0; ROOM], &mut place);
    (place, length)
}

/// The beginning of `bytes`.
#[must_use]
#[allow(clippy::indexing_slicing, reason = "the compiler runs it")]
pub const fn shorten<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut shorter = [0; N];
    let mut at = 0;
    while at < N {
        shorter[at] = bytes[at];
        at += 1;
    }
    shorter
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(squeezed: Squeezed, parts: u32) -> String {
        let mut text = String::new();
        squeezed.each(&mut vec![0; ROOM], parts, &mut |byte| {
            text.push(char::from(byte));
        });
        text
    }

    #[test]
    fn a_squeezed_text_is_the_same() {
        const PARTS: [&str; 4] = ["", "an\x7fa ana\n", include_str!("squeezed.rs"), "~"];
        let mut text = String::new();
        for part in PARTS {
            text.push_str(part);
            text.push('\0');
        }
        let mut place = vec![0; text.len()];
        let mut counts = vec![0; ROOM];
        let counts = counts.first_chunk_mut().expect("all of it");
        let length = squeeze_into(text.as_bytes(), counts, &mut place);
        assert!(length * 3 < text.len(), "{length}");
        let squeezed = Squeezed(place[..length].to_vec().leak());
        for (number, expected) in (0..).zip(PARTS) {
            assert_eq!(part(squeezed, 1 << number), expected);
        }
    }
}
