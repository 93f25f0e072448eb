//! System call filters: profiles in the JSON of OCI runtimes and Docker, compiled
//! to the programs that seccomp(2) takes, and a default one.
//!
//! A start takes a ready filter, [`DEFAULT`] or a file's. Profiles are compiled by
//! the program `fly-seccomp` ([`profile`], [`compile`]), so that no start holds
//! the compiler.

pub mod compile;
mod default_filter;
pub mod examine;
pub mod profile;
pub mod syscalls;
#[cfg(test)]
mod tests;
pub mod tool;
pub mod words;

pub use default_filter::DEFAULT;

/// The longest filter that the kernel takes (BPF_MAXINSNS, linux/bpf_common.h).
pub const MAX_INSTRUCTIONS: usize = 4096;
/// The bytes of an instruction (struct sock_filter, linux/filter.h).
pub const INSTRUCTION: usize = 8;
/// The largest filter in bytes.
pub const MAX_BYTES: usize = MAX_INSTRUCTIONS * INSTRUCTION;

/// The profile that [`DEFAULT`] is compiled from, for a program with the
/// capabilities [`crate::capability::DEFAULT`].
#[cfg(test)]
const DEFAULT_PROFILE: &str = include_str!("default.json");

/// AUDIT_ARCH_X86_64 (linux/audit.h): what a 64-bit call's `arch` is. One by
/// `int 0x80` has another, whatever the program is.
pub const ARCHITECTURE: u32 = 0xc000_003e;
/// The bit that numbers of x32 have (asm/unistd.h, __X32_SYSCALL_BIT).
pub const X32: u32 = 0x4000_0000;

/// What a filter returns: an action, and 16 bits of data (linux/seccomp.h).
pub mod action {
    /// The process is killed, as by SIGSYS.
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    /// The thread is killed.
    pub const KILL_THREAD: u32 = 0;
    /// SIGSYS.
    pub const TRAP: u32 = 0x0003_0000;
    /// The call is not done and returns the error in the data.
    pub const ERRNO: u32 = 0x0005_0000;
    /// A listener decides.
    pub const NOTIFY: u32 = 0x7fc0_0000;
    /// A tracer is told; without one it is ENOSYS.
    pub const TRACE: u32 = 0x7ff0_0000;
    /// The call is done, and logged.
    pub const LOG: u32 = 0x7ffc_0000;
    /// The call is done.
    pub const ALLOW: u32 = 0x7fff_0000;
    /// The bits that hold the action.
    pub const MASK: u32 = 0xffff_0000;
}

/// The error of a refused call, unless a profile names one.
pub const EPERM: u16 = 1;
/// The error of a call that the profile can't know.
pub const ENOSYS: u16 = 38;

/// The codes of instructions that filters here are made of (linux/bpf_common.h);
/// `K` is the instruction's number, `A` the accumulator.
pub mod code {
    /// `A` becomes the word at `K` of struct seccomp_data.
    pub const LOAD: u16 = 0x20;
    /// Goes on `K` instructions later.
    pub const JUMP: u16 = 0x05;
    /// Whether `A` is `K`.
    pub const EQUAL: u16 = 0x15;
    /// Whether `A` is greater than `K`.
    pub const GREATER: u16 = 0x25;
    /// Whether `A` is `K` or greater.
    pub const AT_LEAST: u16 = 0x35;
    /// Whether `A` and `K` have a bit in common.
    pub const ANY_BIT: u16 = 0x45;
    /// `A` loses the bits that `K` does not have.
    pub const AND: u16 = 0x54;
    /// Ends with `K`.
    pub const RETURN: u16 = 0x06;
}

/// Where in struct seccomp_data (linux/seccomp.h) the words are.
pub mod data {
    /// The number.
    pub const NUMBER: u32 = 0;
    /// The architecture.
    pub const ARCHITECTURE: u32 = 4;
    /// The structure's size.
    pub const SIZE: u32 = 64;

    /// The low half of argument `index`.
    #[must_use]
    pub fn low(index: u8) -> u32 {
        16 + 8 * u32::from(index)
    }

    /// Its high half.
    #[must_use]
    pub fn high(index: u8) -> u32 {
        low(index) + 4
    }
}

/// One instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instruction {
    /// What it does ([`code`]).
    pub code: u16,
    /// How many instructions are left out if a condition holds.
    pub yes: u8,
    /// How many if not.
    pub no: u8,
    /// Its number.
    pub k: u32,
}

impl Instruction {
    /// As the kernel takes it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; INSTRUCTION] {
        let [code, code_high] = self.code.to_ne_bytes();
        let [a, b, c, d] = self.k.to_ne_bytes();
        [code, code_high, self.yes, self.no, a, b, c, d]
    }

    /// From what the kernel takes.
    #[must_use]
    pub fn from_bytes([code, code_high, yes, no, a, b, c, d]: [u8; INSTRUCTION]) -> Self {
        Self {
            code: u16::from_ne_bytes([code, code_high]),
            yes,
            no,
            k: u32::from_ne_bytes([a, b, c, d]),
        }
    }
}

/// The instructions of a filter.
pub fn instructions(filter: &[u8]) -> impl Iterator<Item = Instruction> + '_ {
    let (instructions, _) = filter.as_chunks();
    instructions.iter().copied().map(Instruction::from_bytes)
}

/// Whether bytes can be a filter: as many instructions as the kernel takes, known
/// ones, no jump out of it or back, and a return at the end. The kernel checks
/// the rest (seccomp_check_filter, kernel/seccomp.c) when it is loaded.
#[must_use]
#[inline(never)]
pub fn is_filter(filter: &[u8]) -> bool {
    let count = filter.len() / INSTRUCTION;
    let mut left = count;
    let mut last = 0;
    filter.len().is_multiple_of(INSTRUCTION)
        && (1..=MAX_INSTRUCTIONS).contains(&count)
        && instructions(filter).all(|instruction| {
            left -= 1;
            last = instruction.code;
            let target = match last {
                code::JUMP => instruction.k as usize,
                // A word of the data, or its length.
                code::LOAD => return instruction.k < data::SIZE && instruction.k % 4 == 0,
                // All others are numbers of one byte.
                _ => usize::from(instruction.yes.max(instruction.no)),
            };
            last <= 0xff && target < left.max(1)
        })
        // Of a number, or of what was calculated.
        && matches!(last, code::RETURN | 0x16)
}
