//! Which devices a cgroup may use: rules for the controller of version 1, a program for
//! version 2. The rules are those of the former's files.

use core::ffi::CStr;

use rustix::{
    fs::{self, Mode, OFlags},
    io::{self, Errno},
};

use super::{explain, path::Path};
use crate::{
    error::{Advice, Error, What},
    plan::List,
    sys::bpf,
    text::{decimal, split},
};

/// The most instructions: as many as the most rules of a step have.
const MOST: usize = 8 * 64 + 16;

/// See [`crate::plan::Step::FilterDevices`].
///
/// # Errors
/// As open(2), write(2) and bpf(2).
#[cold]
#[inline(never)]
pub(super) fn filter(unified: bool, list: List<'_>) -> Result<(), Error<'_>> {
    const ADVICES: &explain::Advices = &[
        (Errno::PERM, Advice::DeviceDenied),
        (Errno::ACCESS, Advice::DeviceDenied),
        (Errno::NOENT, Advice::NoSuchLimit),
        (Errno::NOSYS, Advice::NoSuchLimit),
        (Errno::INVAL, Advice::NoSuchLimit),
    ];
    let cgroup = list.first();
    let done = if unified {
        attach(cgroup, list)
    } else {
        write(cgroup, list)
    };
    done.map_err(|errno| explain::error(What::FilterDevices, cgroup, errno, ADVICES))
}

/// All devices are denied, then some are allowed: a write a rule.
fn write(cgroup: &CStr, list: List<'_>) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let open = |name: &[u8]| {
        let path = Path::of(&[cgroup.to_bytes(), name])?;
        fs::open(path.as_c_str(), flags, Mode::empty())
    };
    io::write(&open(b"/devices.deny")?, b"a")?;
    let allow = open(b"/devices.allow")?;
    for rule in list.iter().skip(1) {
        io::write(&allow, rule.to_bytes())?;
    }
    Ok(())
}

fn attach(cgroup: &CStr, list: List<'_>) -> Result<(), Errno> {
    let mut program = Program {
        instructions: [0; MOST],
        count: 0,
    };
    program
        .compile(&mut list.iter().skip(1).map(CStr::to_bytes))
        .ok_or(Errno::NOTSUP)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cgroup = fs::open(cgroup, flags, Mode::empty())?;
    let instructions = program.instructions.get(..program.count);
    bpf::filter_devices(
        rustix::fd::AsFd::as_fd(&cgroup),
        instructions.unwrap_or_default(),
    )
}

/// Instructions as struct bpf_insn has them (linux/bpf.h).
struct Program {
    instructions: [u64; MOST],
    count: usize,
}

// Codes of instructions.
const LOAD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const UNLESS: u8 = 0x55;
const UNLESS_SAME: u8 = 0x5d;
const EXIT: u8 = 0x95;

// Registers: what the program gets and is asked for, and what it answers.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// BPF_DEVCG_* (linux/bpf.h).
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MAKE: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;

impl Program {
    /// Allowed is what one of the rules allows; `None` if one is none, or there are too many.
    fn compile(&mut self, rules: &mut dyn Iterator<Item = &[u8]>) -> Option<()> {
        // struct bpf_cgroup_dev_ctx: type and access, major and minor number.
        self.add(LOAD, TYPE, CONTEXT, 0, 0)?;
        self.add(MOVE, ACCESS, TYPE, 0, 0)?;
        self.add(AND, TYPE, 0, 0, 0xffff)?;
        self.add(SHIFT_RIGHT, ACCESS, 0, 0, 16)?;
        self.add(LOAD, MAJOR, CONTEXT, 4, 0)?;
        self.add(LOAD, MINOR, CONTEXT, 8, 0)?;
        for rule in rules {
            self.rule(rule)?;
        }
        self.add(SET, ANSWER, 0, 0, 0)?;
        self.add(EXIT, 0, 0, 0, 0)
    }

    fn rule(&mut self, rule: &[u8]) -> Option<()> {
        let mut words = split(rule, b' ');
        let kind = match words.next()? {
            b"b" => BLOCK,
            b"c" => CHARACTER,
            _ => return None,
        };
        let mut numbers = split(words.next()?, b':');
        let mut number = || match numbers.next()? {
            b"*" => Some(None),
            digits => Some(Some(i32::try_from(decimal(digits)?).ok()?)),
        };
        let (major, minor) = (number()?, number()?);
        let mut access = 0;
        for letter in words.next()? {
            access |= match letter {
                b'm' => MAKE,
                b'r' => READ,
                b'w' => WRITE,
                _ => return None,
            };
        }
        let all = access == MAKE | READ | WRITE;
        // To the next rule.
        let mut left = 3 + i16::from(major.is_some()) + i16::from(minor.is_some());
        left += if all { 0 } else { 3 };
        let mut skip = || {
            left -= 1;
            left
        };
        self.add(UNLESS, TYPE, 0, skip(), kind)?;
        if !all {
            // What it is asked for must be some of that; no context is needed any more.
            self.add(MOVE, CONTEXT, ACCESS, skip(), 0)?;
            self.add(AND, CONTEXT, 0, skip(), access)?;
            self.add(UNLESS_SAME, CONTEXT, ACCESS, skip(), 0)?;
        }
        if let Some(major) = major {
            self.add(UNLESS, MAJOR, 0, skip(), major)?;
        }
        if let Some(minor) = minor {
            self.add(UNLESS, MINOR, 0, skip(), minor)?;
        }
        self.add(SET, ANSWER, 0, 0, 1)?;
        self.add(EXIT, 0, 0, 0, 0)
    }

    /// Adds an instruction; those that do not jump have no use for an `offset` but for loads.
    fn add(&mut self, code: u8, to: u8, from: u8, offset: i16, value: i32) -> Option<()> {
        let offset = match code {
            LOAD | UNLESS | UNLESS_SAME => offset,
            _ => 0,
        };
        let [low, high] = offset.to_le_bytes();
        let [a, b, c, d] = value.to_le_bytes();
        let bytes = [code, to | from << 4, low, high, a, b, c, d];
        *self.instructions.get_mut(self.count)? = u64::from_le_bytes(bytes);
        self.count += 1;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel does.
    fn run(program: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> u64 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u64; 6];
        let mut at = 0;
        loop {
            let [code, both, low, high, value @ ..] = program[at].to_le_bytes();
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            let offset = usize::try_from(i16::from_le_bytes([low, high])).unwrap();
            let value = u64::try_from(i32::from_le_bytes(value)).unwrap();
            at += 1;
            match code {
                LOAD => {
                    assert_eq!(from, usize::from(CONTEXT));
                    registers[to] = context[offset / 4].into();
                }
                MOVE => registers[to] = registers[from],
                SET => registers[to] = value,
                AND => registers[to] &= value,
                SHIFT_RIGHT => registers[to] >>= value,
                UNLESS => at += if registers[to] == value { 0 } else { offset },
                UNLESS_SAME => {
                    at += if registers[to] == registers[from] {
                        0
                    } else {
                        offset
                    }
                }
                EXIT => return registers[0],
                _ => panic!("{code:#x}"),
            }
        }
    }

    fn compiled(rules: &[&str]) -> Option<Vec<u64>> {
        let mut program = Program {
            instructions: [0; MOST],
            count: 0,
        };
        program.compile(&mut rules.iter().map(|rule| rule.as_bytes()))?;
        Some(program.instructions[..program.count].to_vec())
    }

    #[test]
    fn rules() {
        let rules = ["c *:* m", "c 1:3 rw", "b 8:* r", "c 136:5 rwm"];
        let program = compiled(&rules).unwrap();
        for (kind, access, major, minor, allowed) in [
            (2, 1, 7, 7, true),
            (1, 1, 7, 7, false),
            (2, 2, 1, 3, true),
            (2, 6, 1, 3, true),
            (2, 4, 1, 3, true),
            (2, 7, 1, 3, false),
            (2, 2, 1, 4, false),
            (2, 2, 2, 3, false),
            (1, 2, 1, 3, false),
            (1, 2, 8, 17, true),
            (1, 4, 8, 17, false),
            (1, 6, 8, 17, false),
            (1, 2, 9, 17, false),
            (2, 7, 136, 5, true),
            (2, 6, 136, 6, false),
        ] {
            let answer = run(&program, kind, access, major, minor);
            assert_eq!(answer == 1, allowed, "{kind} {access} {major}:{minor}");
        }
        let none = compiled(&[]).unwrap();
        assert_eq!(run(&none, 2, 2, 1, 3), 0);
    }

    #[test]
    fn what_is_no_rule() {
        for bad in [
            "",
            "c",
            "c 1:3",
            "a 1:3 r",
            "c 1 r",
            "c 1:x r",
            "c 1:3 x",
            "c -1:3 r",
            "c 4294967296:1 r",
        ] {
            assert_eq!(compiled(&[bad]), None, "{bad:?}");
        }
        // As many as a step can have.
        assert!(compiled(&["b 1:2 r"; 63]).is_some());
        assert_eq!(compiled(&["b 1:2 r"; 70]), None);
    }
}
