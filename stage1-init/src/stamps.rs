//! Time stamps for `stage0 run --timings`: pid 1 reads the cycle counter and
//! reports it through a pipe, if it was given one.

use fly::{
    sys::{arch, descriptor, entry::Strings},
    timings::FIRST_INSTRUCTION,
};

/// Where stamps go, if anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Stamps {
    pipe: Option<i32>,
}

impl Stamps {
    /// Takes the pipe over, and reports pid 1's first instruction.
    pub fn new(environment: &Strings, cycles: u64) -> Self {
        let pipe = super::number(environment, "STAGE1_STAMPS_FD")
            // No app may inherit it.
            .filter(|number| descriptor::close_on_exec(*number).is_ok());
        let stamps = Self { pipe };
        stamps.send(FIRST_INSTRUCTION, cycles);
        stamps
    }

    /// Whether anybody wants stamps.
    pub fn are_wanted(self) -> bool {
        self.pipe.is_some()
    }

    /// The counter, if anybody wants it.
    pub fn cycles(self) -> u64 {
        match self.pipe {
            Some(_) => arch::cycles(),
            None => 0,
        }
    }

    /// Reports that step or event `tag` ended when the counter read `cycles`.
    pub fn send(self, tag: u64, cycles: u64) {
        if let Some(pipe) = self.pipe {
            let [a, b] = [tag.to_ne_bytes(), cycles.to_ne_bytes()];
            let mut record = [0; 16];
            for (place, byte) in record.iter_mut().zip(a.iter().chain(&b)) {
                *place = *byte;
            }
            descriptor::write_all(pipe, &record);
        }
    }
}
