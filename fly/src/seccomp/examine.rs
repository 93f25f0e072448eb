//! What a filter does: its verdicts, and how long its ways are.
//!
//! Filters jump forward only (kernel/seccomp.c, net/core/filter.c), so one pass
//! over the instructions is enough, even where some of the data are not known:
//! then all that can be reached is found, and possibly more.

use super::{ARCHITECTURE, Instruction, MAX_INSTRUCTIONS, code, data, instructions};

/// The most different verdicts that are told.
pub const MAX_VERDICTS: usize = 16;

/// What can become of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    verdicts: [u32; MAX_VERDICTS],
    count: usize,
    /// The arguments that were looked at, but not given: a bit for each.
    pub missing: u8,
}

impl Outcome {
    /// The values that the filter may return.
    #[must_use]
    pub fn verdicts(&self) -> &[u32] {
        self.verdicts.get(..self.count).unwrap_or_default()
    }

    fn add(&mut self, verdict: u32) {
        if self.verdicts().contains(&verdict) {
            return;
        }
        if let Some(place) = self.verdicts.get_mut(self.count) {
            *place = verdict;
            self.count += 1;
        }
    }
}

/// A call: what is not known can be anything.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its architecture.
    pub architecture: u32,
    /// Its number.
    pub number: u32,
    /// Its arguments.
    pub arguments: [Option<u64>; 6],
}

impl Call {
    /// A 64-bit call.
    #[must_use]
    pub fn new(number: u32, arguments: [Option<u64>; 6]) -> Self {
        Self {
            architecture: ARCHITECTURE,
            number,
            arguments,
        }
    }

    /// The word of struct seccomp_data at `offset`.
    fn word(&self, offset: u32, outcome: &mut Outcome) -> Option<u32> {
        match offset {
            data::NUMBER => return Some(self.number),
            data::ARCHITECTURE => return Some(self.architecture),
            _ => {}
        }
        // The others are the address of the instruction.
        let index = offset.checked_sub(data::low(0))? / 8;
        let argument = self.arguments.get(index as usize)?;
        let Some(value) = argument else {
            outcome.missing |= 1 << index;
            return None;
        };
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        Some(if offset.is_multiple_of(8) {
            u32::from_le_bytes([a, b, c, d])
        } else {
            u32::from_le_bytes([e, f, g, h])
        })
    }
}

/// The registers before an instruction; `None` is anything.
#[derive(Clone, Copy, PartialEq)]
struct State {
    a: Option<u32>,
    x: Option<u32>,
}

/// What `filter` does with `call`.
#[must_use]
pub fn outcome(filter: &[u8], call: &Call) -> Outcome {
    let mut outcome = Outcome::default();
    let mut states = [None; MAX_INSTRUCTIONS];
    if let Some(first) = states.first_mut() {
        *first = Some(State {
            a: Some(0),
            x: Some(0),
        });
    }
    for (at, instruction) in instructions(filter).enumerate() {
        let Some(mut state) = states.get(at).copied().flatten() else {
            continue;
        };
        let mut reach = |distance: u32, state: State| {
            let target = usize::try_from(distance).map(|distance| at + 1 + distance);
            let place = target.ok().and_then(|target| states.get_mut(target));
            if let Some(place) = place {
                let other = place.unwrap_or(state);
                let known = |one: Option<u32>, other| if one == other { one } else { None };
                *place = Some(State {
                    a: known(state.a, other.a),
                    x: known(state.x, other.x),
                });
            }
        };
        match instruction.code & 7 {
            // BPF_RET of K, or of A.
            6 if instruction.code == code::RETURN => outcome.add(instruction.k),
            6 => state.a.into_iter().for_each(|a| outcome.add(a)),
            // BPF_JMP.
            5 if instruction.code == code::JUMP => reach(instruction.k, state),
            5 => {
                let holds = condition(&instruction, state);
                if holds != Some(false) {
                    reach(u32::from(instruction.yes), state);
                }
                if holds != Some(true) {
                    reach(u32::from(instruction.no), state);
                }
            }
            _ => {
                step(&instruction, &mut state, call, &mut outcome);
                reach(0, state);
            }
        }
    }
    outcome
}

/// Whether a condition holds, if that is known.
fn condition(instruction: &Instruction, state: State) -> Option<bool> {
    let a = state.a?;
    // Bit 3 (BPF_X): it is compared with X.
    let other = if instruction.code & 8 == 0 {
        instruction.k
    } else {
        state.x?
    };
    match instruction.code & !8 {
        code::EQUAL => Some(a == other),
        code::GREATER => Some(a > other),
        code::AT_LEAST => Some(a >= other),
        code::ANY_BIT => Some(a & other != 0),
        _ => None,
    }
}

/// An instruction that changes a register.
fn step(instruction: &Instruction, state: &mut State, call: &Call, outcome: &mut Outcome) {
    let k = instruction.k;
    match instruction.code {
        code::LOAD => state.a = call.word(k, outcome),
        // The length of the data; a constant.
        0x80 => state.a = Some(data::SIZE),
        0x81 => state.x = Some(data::SIZE),
        0x00 => state.a = Some(k),
        0x01 => state.x = Some(k),
        // TAX, TXA.
        0x07 => state.x = state.a,
        0x87 => state.a = state.x,
        // Memory is not followed: what is loaded can be anything.
        0x61 => state.x = None,
        0x02 | 0x03 => {}
        number if number & 7 == 4 => state.a = calculated(instruction, *state),
        _ => state.a = None,
    }
}

/// BPF_ALU.
fn calculated(instruction: &Instruction, state: State) -> Option<u32> {
    let a = state.a?;
    let other = if instruction.code & 8 == 0 {
        instruction.k
    } else {
        state.x?
    };
    match instruction.code & 0xf0 {
        0x00 => Some(a.wrapping_add(other)),
        0x10 => Some(a.wrapping_sub(other)),
        0x20 => Some(a.wrapping_mul(other)),
        0x30 => a.checked_div(other),
        0x40 => Some(a | other),
        0x50 => Some(a & other),
        0x60 => a.checked_shl(other),
        0x70 => a.checked_shr(other),
        0x80 => Some(a.wrapping_neg()),
        0xa0 => Some(a ^ other),
        _ => None,
    }
}

/// How many instructions the longest way through `filter` has.
#[must_use]
pub fn longest(filter: &[u8]) -> usize {
    let mut lengths = [0_usize; MAX_INSTRUCTIONS];
    let mut most = 0;
    for (at, instruction) in instructions(filter).enumerate() {
        let length = lengths.get(at).copied().unwrap_or_default() + 1;
        let mut reach = |distance: usize| {
            if let Some(place) = lengths.get_mut(at + 1 + distance) {
                *place = length.max(*place);
            }
        };
        match instruction.code & 7 {
            6 => most = most.max(length),
            5 if instruction.code == code::JUMP => reach(instruction.k as usize),
            5 => {
                reach(usize::from(instruction.yes));
                reach(usize::from(instruction.no));
            }
            _ => reach(0),
        }
    }
    most
}
