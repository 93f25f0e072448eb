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

#[test]
fn the_default_is_short() {
    assert!(is_filter(DEFAULT));
    let count = DEFAULT.len() / INSTRUCTION;
    assert!(count <= 114, "{count} instructions");
    assert!(longest(DEFAULT) <= 42, "{} on a way", longest(DEFAULT));
}

/// A small random number generator (xorshift64), the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        let index = self.below(list.len() as u64);
        list[usize::try_from(index).expect("small")]
    }

    /// Values around which comparisons go wrong.
    fn value(&mut self) -> u64 {
        const EDGES: &[u64] = &[
            0,
            1,
            2,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_fffe,
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0001,
            0x7fff_ffff_ffff_ffff,
            0x8000_0000_0000_0000,
            u64::MAX - 1,
            u64::MAX,
        ];
        match self.below(4) {
            0 => self.below(50),
            1 => self.next(),
            2 => self.next() >> 32,
            _ => self.one_of(EDGES),
        }
    }
}

/// A rule as the text of the profile has it.
struct Plain {
    names: Vec<u16>,
    action: (&'static str, u32),
    error: Option<u16>,
    conditions: Vec<Condition>,
}

const ACTIONS: &[(&str, u32)] = &[
    ("SCMP_ACT_ALLOW", action::ALLOW),
    ("SCMP_ACT_ERRNO", action::ERRNO),
    ("SCMP_ACT_KILL", action::KILL_THREAD),
    ("SCMP_ACT_KILL_PROCESS", action::KILL_PROCESS),
    ("SCMP_ACT_TRAP", action::TRAP),
    ("SCMP_ACT_TRACE", action::TRACE),
    ("SCMP_ACT_LOG", action::LOG),
];
const OPERATORS: &[(Operator, &str)] = &[
    (Operator::NotEqual, "NE"),
    (Operator::Less, "LT"),
    (Operator::AtMost, "LE"),
    (Operator::Equal, "EQ"),
    (Operator::AtLeast, "GE"),
    (Operator::Greater, "GT"),
    (Operator::Masked, "MASKED_EQ"),
];

impl Plain {
    fn random(random: &mut Random) -> Self {
        let names = (0..=random.below(4))
            .map(|_| u16::try_from(random.below(u64::from(LAST) + 1)).expect("small"));
        let mut names: Vec<u16> = names.filter(|number| name_of(*number).is_some()).collect();
        names.push(random.one_of(&[0, 41, 41, 56, 135]));
        let mut conditions = Vec::new();
        for _ in 0..random.below(3) {
            let (operator, _) = random.one_of(OPERATORS);
            let value = random.value();
            let masked = operator == Operator::Masked;
            conditions.push(Condition {
                argument: u8::try_from(random.below(3)).expect("small"),
                operator,
                value,
                second: if masked { random.value() & value } else { 0 },
            });
        }
        Self {
            names,
            action: random.one_of(ACTIONS),
            error: (random.below(2) == 0).then_some(7),
            conditions,
        }
    }

    fn verdict(&self) -> u32 {
        match self.action.1 {
            kind @ (action::ERRNO | action::TRACE) => kind | u32::from(self.error.unwrap_or(1)),
            kind => kind,
        }
    }

    fn text(&self) -> String {
        let names: Vec<String> = self
            .names
            .iter()
            .map(|number| {
                let name = name_of(*number).expect("known");
                format!("\"{}\"", String::from_utf8_lossy(name))
            })
            .collect();
        let conditions: Vec<String> = self.conditions.iter().map(|condition| {
            let (_, operator) = OPERATORS
                .iter()
                .find(|(operator, _)| *operator == condition.operator)
                .expect("known");
            let Condition { argument, value, second, .. } = condition;
            format!("{{\"op\":\"SCMP_CMP_{operator}\",\"index\":{argument},\"valueTwo\":{second},\"value\":{value}}}")
        }).collect();
        let error = self
            .error
            .map_or(String::new(), |error| format!("\"errnoRet\":{error},"));
        format!(
            "{{\"action\":\"{}\",{error}\"args\":[{}],\"names\":[{}]}}",
            self.action.0,
            conditions.join(","),
            names.join(",")
        )
    }

    /// All conditions, or one of them where an argument is there twice.
    fn applies(&self, arguments: &[u64; 6]) -> bool {
        let holds = |condition: &Condition| {
            let argument = u128::from(arguments[usize::from(condition.argument)]);
            let (value, second) = (u128::from(condition.value), u128::from(condition.second));
            match condition.operator {
                Operator::NotEqual => argument != value,
                Operator::Less => argument < value,
                Operator::AtMost => argument <= value,
                Operator::Equal => argument == value,
                Operator::AtLeast => argument >= value,
                Operator::Greater => argument > value,
                Operator::Masked => argument & value == second,
            }
        };
        let mut indexes: Vec<u8> = self.conditions.iter().map(|one| one.argument).collect();
        indexes.sort_unstable();
        indexes.dedup();
        if indexes.len() < self.conditions.len() {
            self.conditions.iter().any(holds)
        } else {
            self.conditions.iter().all(holds)
        }
    }
}

/// What the rules say, without any compiling.
fn expected(rules: &[Plain], default: u32, number: u32, arguments: &[u64; 6]) -> u32 {
    let missing = action::ERRNO | u32::from(ENOSYS);
    let largest = rules.iter().flat_map(|rule| &rule.names).max().copied();
    let largest = largest.map_or(u32::MAX, u32::from);
    let permissive = [action::ALLOW, action::LOG, action::TRACE];
    if number >= X32 || (number > largest && !permissive.contains(&(default & action::MASK))) {
        return missing;
    }
    rules
        .iter()
        .filter(|rule| rule.names.iter().any(|name| u32::from(*name) == number))
        .find(|rule| rule.applies(arguments))
        .map_or(default, Plain::verdict)
}

#[test]
fn random_profiles_against_a_plain_evaluation() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..60 {
        let count = random.below(if round % 10 == 0 { 120 } else { 12 });
        let rules: Vec<Plain> = (0..count).map(|_| Plain::random(&mut random)).collect();
        let (name, kind) = random.one_of(ACTIONS);
        let default = match kind {
            action::ERRNO | action::TRACE => kind | 1,
            kind => kind,
        };
        let texts: Vec<String> = rules.iter().map(Plain::text).collect();
        let text = format!(
            "{{\"syscalls\":[{}],\"defaultAction\":\"{name}\"}}",
            texts.join(",")
        );
        let filter = compiled(&text);
        assert!(is_filter(&filter));
        let named: Vec<u16> = rules.iter().flat_map(|rule| rule.names.clone()).collect();
        for number in (0..=u32::from(LAST) + 3).chain([X32 - 1, X32, X32 | 41, u32::MAX]) {
            let looked_at = named.iter().any(|name| u32::from(*name) == number);
            for _ in 0..if looked_at { 40 } else { 1 } {
                let mut arguments = [0; 6].map(|_: u64| random.value());
                // Values of the rules themselves, and their neighbours.
                for condition in rules.iter().flat_map(|rule| &rule.conditions) {
                    if random.below(8) == 0 {
                        let offset = random.one_of(&[0, 1, u64::MAX, 1 << 32]);
                        let value = random.one_of(&[condition.value, condition.second]);
                        arguments[usize::from(condition.argument)] = value.wrapping_add(offset);
                    }
                }
                assert_eq!(
                    verdict(&filter, number, arguments),
                    expected(&rules, default, number, &arguments),
                    "{number} {arguments:x?}\n{text}"
                );
            }
        }
    }
}

/// Jumps that are too far for a condition.
#[test]
fn long_programs() {
    let mut rules = Vec::new();
    for value in 0..200_u64 {
        // Two arguments each, so that they are not searched.
        rules.push(Plain {
            names: vec![0, 41],
            action: ("SCMP_ACT_ERRNO", action::ERRNO),
            error: Some(u16::try_from(value % 200 + 1).expect("small")),
            conditions: (0..2)
                .map(|argument| Condition {
                    argument,
                    operator: Operator::Equal,
                    value: value << 31,
                    second: 0,
                })
                .collect(),
        });
    }
    let texts: Vec<String> = rules.iter().map(Plain::text).collect();
    let text = format!(
        "{{\"syscalls\":[{}],\"defaultAction\":\"SCMP_ACT_ALLOW\"}}",
        texts.join(",")
    );
    let filter = compiled(&text);
    assert!(filter.len() / INSTRUCTION > 2000);
    for value in 0..201 {
        for other in [value, value + 1] {
            let arguments = [value << 31, other << 31, 0, 0, 0, 0];
            for number in [0, 1, 41] {
                assert_eq!(
                    verdict(&filter, number, arguments),
                    expected(&rules, action::ALLOW, number, &arguments)
                );
            }
        }
    }
    // Twice as many are too many.
    let twice = text.replace("\"names\":[", "\"names\":[\"write\",\"open\",");
    assert!(compile(&read(&twice).expect("a profile")).is_none());
}

#[test]
fn other_architectures_are_killed() {
    for text in ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"] {
        let filter = compiled(&format!("{{\"defaultAction\":\"{text}\"}}"));
        for architecture in [0x4000_0003, 0, !ARCHITECTURE] {
            let mut call = Call::new(1, [Some(0); 6]);
            call.architecture = architecture;
            assert_eq!(outcome(&filter, &call).verdicts(), [action::KILL_PROCESS]);
        }
    }
}

/// What a rule is limited to, the program's capabilities, the kernel, and whether
/// the rule applies.
const LIMITED: &[(&str, u64, (u64, u64), bool)] = &[
    ("\"includes\":{}", 0, (5, 4), true),
    (
        "\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}",
        1 << 21,
        (5, 4),
        true,
    ),
    (
        "\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\"]}",
        0,
        (5, 4),
        false,
    ),
    (
        "\"includes\":{\"caps\":[\"CAP_SYS_ADMIN\",\"CAP_CHOWN\"]}",
        1 << 21,
        (5, 4),
        false,
    ),
    (
        "\"excludes\":{\"caps\":[\"CAP_SYS_ADMIN\",\"CAP_CHOWN\"]}",
        1 << 21,
        (5, 4),
        false,
    ),
    (
        "\"excludes\":{\"caps\":[\"CAP_CHOWN\"]}",
        1 << 21,
        (5, 4),
        true,
    ),
    (
        "\"includes\":{\"arches\":[\"amd64\",\"x32\"]}",
        0,
        (5, 4),
        true,
    ),
    ("\"includes\":{\"arches\":[\"arm64\"]}", 0, (5, 4), false),
    ("\"includes\":{\"arches\":[]}", 0, (5, 4), true),
    ("\"excludes\":{\"arches\":[\"s390\"]}", 0, (5, 4), true),
    ("\"excludes\":{\"arches\":[\"amd64\"]}", 0, (5, 4), false),
    ("\"includes\":{\"minKernel\":\"4.8\"}", 0, (5, 4), true),
    ("\"includes\":{\"minKernel\":\"5.10\"}", 0, (5, 4), false),
    ("\"includes\":{\"minKernel\":null}", 0, (5, 4), true),
    ("\"includes\":null,\"excludes\":null", 0, (5, 4), true),
];

#[test]
fn what_a_rule_is_for() {
    let mut profile = Box::<Profile>::default();
    let mut with = |limits: &str, capabilities, kernel| {
        let text = format!(
            "{{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"syscalls\":[\
             {{\"names\":[\"mount\"],\"action\":\"SCMP_ACT_ALLOW\",{limits}}}]}}"
        );
        let context = Context {
            capabilities,
            kernel,
        };
        profile.read(text.as_bytes(), &context).expect("a profile");
        verdict(&bytes_of(&profile), 165, [0; 6]) == action::ALLOW
    };
    for (limits, capabilities, kernel, allowed) in LIMITED {
        assert_eq!(with(limits, *capabilities, *kernel), *allowed, "{limits}");
    }
}

#[test]
fn names_and_versions() {
    assert_eq!(number_of(b"read"), Some(0));
    assert_eq!(number_of(b"uretprobe"), Some(335));
    assert_eq!(number_of(b"pidfd_send_signal"), Some(424));
    assert_eq!(number_of(b""), None);
    for number in 0..=LAST {
        if let Some(name) = name_of(number) {
            assert_eq!(number_of(name), Some(number));
        }
    }
    assert_eq!(name_of(336), None);
    assert_eq!(name_of(LAST + 1), None);
    for (text, numbers) in [
        ("6.1.0-18-amd64", Some((6, 1))),
        ("4.8", Some((4, 8))),
        ("5.15-rc1", Some((5, 15))),
        ("5", None),
        ("", None),
        ("x.y", None),
    ] {
        assert_eq!(version(text.as_bytes()), numbers, "{text}");
    }
}

#[test]
fn what_is_no_filter() {
    let ret = [6, 0, 0, 0, 0, 0, 0, 0];
    let with = |first: [u8; 8]| [first, ret].concat();
    assert!(is_filter(&ret));
    assert!(is_filter(&ret.repeat(4096)));
    assert!(is_filter(&with([0x15, 0, 0, 0, 0, 0, 0, 0])));
    for bytes in [
        vec![],
        ret[..7].to_vec(),
        [&ret[..], &[0]].concat(),
        ret.repeat(4097),
        // No return at the end.
        [0x15, 0, 0, 0, 0, 0, 0, 0].to_vec(),
        // Beyond the end, by either way.
        with([0x15, 0, 1, 0, 0, 0, 0, 0]),
        with([0x15, 0, 0, 1, 0, 0, 0, 0]),
        with([0x05, 0, 0, 0, 1, 0, 0, 0]),
        with([0x05, 0, 0, 0, 255, 255, 255, 255]),
        // Data that are not there.
        with([0x20, 0, 0, 0, 64, 0, 0, 0]),
        with([0x20, 0, 0, 0, 2, 0, 0, 0]),
        // No such code.
        with([0x15, 1, 0, 0, 0, 0, 0, 0]),
    ] {
        assert!(!is_filter(&bytes), "{bytes:?}");
    }
}
