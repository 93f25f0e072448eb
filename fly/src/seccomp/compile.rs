//! From a profile to a program.
//!
//! The kernel runs a filter at every call, and when it is loaded once for every
//! number, to find those that are always allowed. So what counts is how many
//! instructions are on the way of a number, not how many there are: the numbers
//! are put together in ranges with one verdict each, and searched by a tree whose
//! halves hold equally many numbers.
//!
//! The program is written from its end: what an instruction leads to is then
//! there already, and its distance known. A condition reaches 255 instructions
//! far; where that is too little, a return is written again, or a jump.

use super::{
    ARCHITECTURE, ENOSYS, INSTRUCTION, Instruction, MAX_INSTRUCTIONS, X32, action, code, data,
    profile::{Condition, Operator, Profile, Rule},
    syscalls::LAST,
};

/// A program that was compiled, from its last instruction to the first.
#[derive(Clone, Debug)]
pub struct Program {
    reversed: [Instruction; MAX_INSTRUCTIONS],
    length: usize,
    /// Returns that are written, and where.
    returns: [(u32, Label); RETURNS],
    too_long: bool,
}

/// A place in the program: how many instructions there are from it to the end.
type Label = usize;

/// How many different returns are remembered; others are written again.
const RETURNS: usize = 16;
/// How far a condition may lead, with room for a jump that its other way needs.
const NEAR: usize = 250;

/// The first number or value of a range, which ends where the next one begins;
/// and what becomes of it.
#[derive(Clone, Copy, Debug)]
struct Range {
    from: u64,
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// Ends with this.
    Return(u32),
    /// The rules of a call.
    Rules(u16),
    /// Goes on there.
    Label(Label),
}

/// The most ranges: one for every number, and those above.
const MAX_RANGES: usize = LAST as usize + 4;
/// The most rules with one condition that are put together.
const MAX_RUN: usize = 64;

/// Compiles `profile`; `None` if the program would be longer than a filter may be.
#[must_use]
pub fn compile(profile: &Profile) -> Option<Program> {
    let mut program = Program {
        reversed: [Instruction::default(); MAX_INSTRUCTIONS],
        length: 0,
        returns: [(0, 0); RETURNS],
        too_long: false,
    };
    let mut ranges = Ranges::new();
    calls(profile, &mut ranges);
    let end = Some(u64::from(LAST) + 1);
    let tree = program.tree(Some(profile), ranges.as_slice(), end);
    program.load(data::NUMBER, tree);
    let number = program.length;
    // Calls by `int 0x80` have other numbers.
    let kill = program.end(action::KILL_PROCESS);
    program.condition(code::EQUAL, ARCHITECTURE, number, kill);
    program.push(code::LOAD, 0, 0, data::ARCHITECTURE);
    (!program.too_long).then_some(program)
}

/// The ranges of all numbers.
fn calls(profile: &Profile, ranges: &mut Ranges) {
    let end = profile.largest.map_or(0, |largest| largest + 1);
    for number in 0..end {
        ranges.add(
            u64::from(number),
            if profile.has_conditions(number) {
                Target::Rules(number)
            } else {
                Target::Return(profile.verdict(number))
            },
        );
    }
    // Calls that are newer than the profile: it could not name them, and programs
    // fall back where a call is missing, not where it is forbidden. As runc does.
    let missing = action::ERRNO | u32::from(ENOSYS);
    let permissive = matches!(
        profile.default & action::MASK,
        action::ALLOW | action::LOG | action::TRACE
    );
    let newer = if permissive || end == 0 {
        profile.default
    } else {
        missing
    };
    ranges.add(u64::from(end), Target::Return(newer));
    ranges.add(u64::from(X32), Target::Return(missing));
}

/// Ranges in order; neighbours that lead to the same are one.
struct Ranges {
    list: [Range; MAX_RANGES],
    count: usize,
}

impl Ranges {
    fn new() -> Self {
        Self {
            list: [Range {
                from: 0,
                target: Target::Label(0),
            }; MAX_RANGES],
            count: 0,
        }
    }

    fn add(&mut self, from: u64, target: Target) {
        let last = self.count.checked_sub(1).and_then(|at| self.list.get(at));
        if last.is_some_and(|last| last.target == target) {
            return;
        }
        if let Some(place) = self.list.get_mut(self.count) {
            *place = Range { from, target };
            self.count += 1;
        }
    }

    fn as_slice(&self) -> &[Range] {
        self.list.get(..self.count).unwrap_or_default()
    }
}

impl Program {
    /// How many instructions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none; a compiled one has some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The instructions from the first to the last.
    pub fn instructions(&self) -> impl Iterator<Item = Instruction> + '_ {
        let written = self.reversed.get(..self.length).unwrap_or_default();
        written.iter().rev().copied()
    }

    /// Writes it into `place` as the kernel takes it; `None` if it does not fit.
    pub fn write<'b>(&self, place: &'b mut [u8]) -> Option<&'b [u8]> {
        let place = place.get_mut(..self.length * INSTRUCTION)?;
        let chunks = place.chunks_exact_mut(INSTRUCTION);
        for (chunk, instruction) in chunks.zip(self.instructions()) {
            chunk.copy_from_slice(&instruction.to_bytes());
        }
        Some(place)
    }

    fn push(&mut self, code: u16, yes: u8, no: u8, k: u32) {
        match self.reversed.get_mut(self.length) {
            Some(place) => {
                *place = Instruction { code, yes, no, k };
                self.length += 1;
            }
            None => self.too_long = true,
        }
    }

    /// Where the program ends with `value`, near enough for a condition.
    fn end(&mut self, value: u32) -> Label {
        let known = self
            .returns
            .iter()
            .find(|(known, at)| *known == value && *at != 0 && self.length - at <= NEAR);
        if let Some((_, at)) = known {
            return *at;
        }
        self.push(code::RETURN, 0, 0, value);
        let here = (value, self.length);
        let place = self
            .returns
            .iter()
            .position(|(known, at)| *at == 0 || *known == value);
        if let Some(place) = place.and_then(|place| self.returns.get_mut(place)) {
            *place = here;
        }
        self.length
    }

    /// `label`, or a jump to it that is near.
    fn near(&mut self, label: Label) -> Label {
        let distance = self.length - label;
        if distance <= NEAR {
            return label;
        }
        self.push(code::JUMP, 0, 0, u32::try_from(distance).unwrap_or(0));
        self.length
    }

    /// Goes on at `yes` or at `no`.
    fn condition(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        let yes = self.near(yes);
        let no = self.near(no);
        let distance = |program: &Self, label| u8::try_from(program.length - label).unwrap_or(0);
        let (yes, no) = (distance(self, yes), distance(self, no));
        self.push(code, yes, no, k);
        self.length
    }

    fn target(&mut self, profile: Option<&Profile>, target: Target) -> Label {
        match (target, profile) {
            (Target::Return(value), _) => self.end(value),
            (Target::Label(label), _) => label,
            (Target::Rules(number), Some(profile)) => self.rules(profile, number),
            (Target::Rules(_), None) => 0,
        }
    }

    /// Searches the ranges for what is in the accumulator. With an `end` both
    /// halves hold about as many values, those from there on left out; without,
    /// as many ranges.
    fn tree(&mut self, profile: Option<&Profile>, ranges: &[Range], end: Option<u64>) -> Label {
        if let [only] = ranges {
            return self.target(profile, only.target);
        }
        if let Some(label) = self.exceptions(profile, ranges) {
            return label;
        }
        let (low, high) = ranges.split_at(half(ranges, end));
        let from = high.first().map_or(0, |range| range.from);
        let high = self.tree(profile, high, end);
        let low = self.tree(profile, low, end.map(|end| end.min(from)));
        self.condition(
            code::AT_LEAST,
            u32::try_from(from).unwrap_or(u32::MAX),
            high,
            low,
        )
    }

    /// Ranges that are one but for up to three values: each is compared, which
    /// takes half as many instructions as to compare both of its ends.
    fn exceptions(&mut self, profile: Option<&Profile>, ranges: &[Range]) -> Option<Label> {
        let [first, .., last] = ranges else {
            return None;
        };
        let alternate = ranges.len() <= 7 && ranges.len() % 2 == 1;
        let rest = ranges.iter().step_by(2);
        let same = rest.clone().all(|range| range.target == first.target);
        let mut singles = ranges.iter().skip(1).step_by(2);
        let single = singles
            .clone()
            .zip(rest.skip(1))
            .all(|(range, next)| next.from - range.from == 1);
        if !(alternate && same && single) {
            return None;
        }
        let mut label = self.target(profile, last.target);
        while let Some(range) = singles.next_back() {
            let found = self.target(profile, range.target);
            let value = u32::try_from(range.from).unwrap_or(u32::MAX);
            label = self.condition(code::EQUAL, value, found, label);
        }
        Some(label)
    }

    /// The rules of call `number`, of which the first one that applies decides.
    fn rules(&mut self, profile: &Profile, number: u16) -> Label {
        let mut label = self.end(profile.verdict(number));
        let mut rules = profile.rules_backwards(number);
        let mut pending = rules.next();
        while let Some(rule) = pending {
            // Rules that each look at the same argument are one search.
            let Some(argument) = searched(profile, rule) else {
                label = self.rule(profile, rule, label);
                pending = rules.next();
                continue;
            };
            let mut run = [rule; MAX_RUN];
            let mut count = 1;
            pending = rules.next();
            while let Some(next) = pending
                && let Some(place) = run.get_mut(count)
                && searched(profile, next) == Some(argument)
            {
                *place = next;
                count += 1;
                pending = rules.next();
            }
            let run = run.get(..count).unwrap_or_default();
            label = self.search(profile, run, argument, label);
        }
        label
    }

    /// One rule: `otherwise` if one of its conditions does not hold.
    fn rule(&mut self, profile: &Profile, rule: &Rule, otherwise: Label) -> Label {
        let mut label = self.end(rule.action);
        for condition in profile.conditions(rule).iter().rev() {
            label = self.compare(condition, label, otherwise);
        }
        label
    }

    /// Rules with one condition each on `argument`, the last one first.
    fn search(
        &mut self,
        profile: &Profile,
        run: &[&Rule],
        argument: u8,
        otherwise: Label,
    ) -> Label {
        // Every value at which something may change, from the smallest on.
        let mut ranges = Ranges::new();
        let mut next = Some(0);
        while let Some(value) = next {
            ranges.add(value, decided(profile, run, value, otherwise));
            let conditions = run.iter().flat_map(|rule| profile.conditions(rule));
            let values = conditions.flat_map(|condition| [condition.value, condition.value + 1]);
            next = values
                .filter(|other| *other > value && *other <= u64::from(u32::MAX))
                .min();
        }
        let tree = self.tree(None, ranges.as_slice(), None);
        self.load(data::low(argument), tree);
        let low = self.length;
        // What has a high half is greater than all of the values.
        let above = self.target(None, decided(profile, run, u64::MAX, otherwise));
        let label = self.condition(code::EQUAL, 0, low, above);
        self.load(data::high(argument), label);
        self.length
    }

    /// Loads a word and goes on at `next`.
    fn load(&mut self, offset: u32, next: Label) {
        let next = self.directly(next);
        debug_assert!(next == self.length);
        self.push(code::LOAD, 0, 0, offset);
    }

    /// The next instruction leads to `label`.
    fn directly(&mut self, label: Label) -> Label {
        let distance = self.length - label;
        if distance > 0 {
            self.push(code::JUMP, 0, 0, u32::try_from(distance).unwrap_or(0));
        }
        self.length
    }

    /// Compares an argument: goes on at `yes` if the condition holds.
    fn compare(&mut self, condition: &Condition, yes: Label, no: Label) -> Label {
        let argument = condition.argument;
        let [high, low] = halves(condition.value);
        match condition.operator {
            Operator::Equal => self.equal(argument, [high, low], yes, no),
            Operator::NotEqual => self.equal(argument, [high, low], no, yes),
            Operator::AtLeast => self.order(argument, [high, low], code::AT_LEAST, yes, no),
            Operator::Less => self.order(argument, [high, low], code::AT_LEAST, no, yes),
            Operator::Greater => self.order(argument, [high, low], code::GREATER, yes, no),
            Operator::AtMost => self.order(argument, [high, low], code::GREATER, no, yes),
            Operator::Masked => {
                let [second_high, second_low] = halves(condition.second);
                let label = self.masked(data::low(argument), low, second_low, yes, no);
                self.masked(data::high(argument), high, second_high, label, no)
            }
        }
    }

    fn equal(&mut self, argument: u8, [high, low]: [u32; 2], yes: Label, no: Label) -> Label {
        let label = self.condition(code::EQUAL, low, yes, no);
        self.load(data::low(argument), label);
        let label = self.length;
        let label = self.condition(code::EQUAL, high, label, no);
        self.load(data::high(argument), label);
        self.length
    }

    /// By the high halves, and where these are the same by the low ones.
    fn order(
        &mut self,
        argument: u8,
        [high, low]: [u32; 2],
        code: u16,
        yes: Label,
        no: Label,
    ) -> Label {
        let label = self.condition(code, low, yes, no);
        self.load(data::low(argument), label);
        let label = self.length;
        let label = self.condition(code::EQUAL, high, label, no);
        let label = self.condition(code::GREATER, high, yes, label);
        self.load(data::high(argument), label);
        self.length
    }

    /// One half under its mask.
    fn masked(&mut self, offset: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
        if mask == 0 {
            return yes;
        }
        let label = if value == 0 {
            self.condition(code::ANY_BIT, mask, no, yes)
        } else {
            let label = self.condition(code::EQUAL, value, yes, no);
            self.directly(label);
            self.push(code::AND, 0, 0, mask);
            self.length
        };
        self.load(offset, label);
        self.length
    }
}

/// Where ranges are cut; see [`Program::tree`].
fn half(ranges: &[Range], end: Option<u64>) -> usize {
    let first = ranges.first().map_or(0, |range| range.from);
    let Some(end) = end.filter(|end| *end > first) else {
        return ranges.len() / 2;
    };
    let wanted = first + (end - first) / 2;
    let distance = |range: &Range| range.from.abs_diff(wanted);
    let cuts = ranges.iter().enumerate().skip(1);
    cuts.min_by_key(|(_, range)| distance(range))
        .map_or(1, |(at, _)| at)
}

/// What becomes of `value`: the first rule decides, which is the last of `run`.
fn decided(profile: &Profile, run: &[&Rule], value: u64, otherwise: Label) -> Target {
    let applies = |rule: &&&Rule| {
        let mut conditions = profile.conditions(rule).iter();
        conditions.all(|condition| condition.holds(value))
    };
    match run.iter().rev().find(applies) {
        Some(rule) => Target::Return(rule.action),
        None => Target::Label(otherwise),
    }
}

/// The argument of a rule that can be part of a search: one condition, by an
/// order, with a value that has no high half.
fn searched(profile: &Profile, rule: &Rule) -> Option<u8> {
    match profile.conditions(rule) {
        [only] if only.operator != Operator::Masked && only.value <= u64::from(u32::MAX) => {
            Some(only.argument)
        }
        _ => None,
    }
}

/// The high and the low half.
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [
        u32::from_le_bytes([e, f, g, h]),
        u32::from_le_bytes([a, b, c, d]),
    ]
}
