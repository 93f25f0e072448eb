//! Time stamps for `stage0 run --timings`: pid 1 reads the cycle counter and
//! reports it through a pipe, if it was given one.

use fly::{
    sys::{arch, descriptor, entry::Strings},
    timings::FIRST_INSTRUCTION,
};

/// Where stamps go: a pipe, or -1 for nowhere.
#[derive(Clone, Copy, Debug)]
pub struct Stamps {
    pipe: i32,
}

impl Stamps {
    /// Of what nobody wants any of.
    pub const NONE: Self = Self { pipe: -1 };

    /// Takes the pipe over, and reports pid 1's first instruction.
    pub fn new(environment: &Strings, cycles: u64) -> Self {
        let stamps = Self {
            pipe: super::inherited(environment, "STAGE1_STAMPS_FD"),
        };
        stamps.send(FIRST_INSTRUCTION, cycles);
        stamps
    }

    /// Whether anybody wants stamps.
    pub fn are_wanted(self) -> bool {
        self.pipe >= 0
    }

    /// The counter, if anybody wants it.
    fn cycles(self) -> u64 {
        if self.are_wanted() { arch::cycles() } else { 0 }
    }

    /// Reports that step or event `tag` ends now.
    #[inline(never)]
    pub fn tell(self, tag: u64) {
        self.send(tag, self.cycles());
    }

    /// Reports that step or event `tag` ended when the counter read `cycles`.
    pub fn send(self, tag: u64, cycles: u64) {
        if self.are_wanted() {
            let [a, b] = [tag.to_ne_bytes(), cycles.to_ne_bytes()];
            let mut record = [0; 16];
            for (place, byte) in record.iter_mut().zip(a.iter().chain(&b)) {
                *place = *byte;
            }
            descriptor::write_all(self.pipe, &record);
        }
    }
}
