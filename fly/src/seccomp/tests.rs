//! The compiler against a plain evaluation of the same rules, and the default.

use std::{fmt::Write as _, fs, path::Path};

use super::{
    ARCHITECTURE, DEFAULT, DEFAULT_PROFILE, ENOSYS, INSTRUCTION, Instruction, MAX_BYTES, X32,
    action, code,
    compile::compile,
    examine::{Call, longest, outcome},
    instructions, is_filter,
    profile::{Condition, Context, Operator, Problem, Profile},
    syscalls::LAST,
    words::{name_of, number_of, version},
};
use crate::capability;

const CONTEXT: Context = Context {
    capabilities: capability::DEFAULT,
    kernel: (6, 1),
};

fn read(text: &str) -> Result<Box<Profile>, Problem> {
    let mut profile = Box::<Profile>::default();
    profile.read(text.as_bytes(), &CONTEXT)?;
    Ok(profile)
}

fn bytes_of(profile: &Profile) -> Vec<u8> {
    let mut bytes = vec![0; MAX_BYTES];
    let program = compile(profile).expect("not too long");
    program.write(&mut bytes).expect("room").to_vec()
}

fn compiled(text: &str) -> Vec<u8> {
    bytes_of(&read(text).expect("a profile"))
}

/// What the filter returns for a call whose arguments are known.
fn verdict(filter: &[u8], number: u32, arguments: [u64; 6]) -> u32 {
    let outcome = outcome(filter, &Call::new(number, arguments.map(Some)));
    match outcome.verdicts() {
        [only] => *only,
        other => panic!("{number} {arguments:x?}: {other:x?}"),
    }
}

/// One line an instruction, as the generated file has them.
fn listing(filter: &[u8]) -> String {
    let mut text = String::from(
        "//! The default filter, compiled.\n//!\n\
         //! Generated from default.json by the test `the_default_filter_is_current` with\n\
         //! `KICKSTAGE_WRITE=1`: do not change it by hand.\n\n\
         /// The filter of a program with the capabilities\n\
         /// [`crate::capability::DEFAULT`]: instructions as the kernel takes them.\n\
         #[rustfmt::skip]\n\
         pub static DEFAULT: &[u8] = &[\n",
    );
    for (at, instruction) in instructions(filter).enumerate() {
        text.push_str("    ");
        for byte in instruction.to_bytes() {
            write!(text, "{byte:#04x}, ").expect("a string");
        }
        let Instruction { yes, no, k, .. } = instruction;
        let target = |distance: u8| at + 1 + usize::from(distance);
        let name = match instruction.code {
            code::LOAD => format!("load {k}"),
            code::RETURN => format!("return {k:#x}"),
            code::AND => format!("and {k:#x}"),
            code::JUMP => format!("go to {}", at + 1 + k as usize),
            code => {
                let sign = match code {
                    code::EQUAL => "==",
                    code::GREATER => ">",
                    code::AT_LEAST => ">=",
                    _ => "&",
                };
                format!("{sign} {k}: {}, else {}", target(yes), target(no))
            }
        };
        writeln!(text, "// {at}: {name}").expect("a string");
    }
    text.push_str("];\n");
    text
}

#[test]
fn the_default_filter_is_current() {
    let filter = compiled(DEFAULT_PROFILE);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/seccomp/default_filter.rs");
    if std::env::var_os("KICKSTAGE_WRITE").is_some() {
        fs::write(&path, listing(&filter)).expect("the file can be written");
        return;
    }
    assert!(
        fs::read_to_string(&path).expect("the file") == listing(&filter),
        "default_filter.rs is not what default.json compiles to: run this test with KICKSTAGE_WRITE=1"
    );
    assert_eq!(DEFAULT, filter);
}
