//! Numbers that look random and are the same in every run.

/// A generator of them (xorshift).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers that follow from `seed`, which is not 0.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one, below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).expect("64 bits") % limit
    }
}
