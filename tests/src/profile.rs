//! What a seccomp profile says of a call: read by the book, without compiling
//! anything.

use std::collections::BTreeMap;

use crate::json::Value;

#[path = "../../fly/src/seccomp/syscalls.rs"]
mod syscalls;

pub use syscalls::LAST;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Allowed,
    /// It fails.
    Refused(i32),
    /// Anything else.
    Other,
}

/// The number of each call.
#[must_use]
pub fn numbers() -> BTreeMap<&'static str, u32> {
    let lists = syscalls::LISTS.iter();
    lists
        .flat_map(|(first, names)| (u32::from(*first)..).zip(names.split(' ')))
        .map(|(number, name)| (name, number))
        .collect()
}

/// A profile for a program with these capabilities.
#[derive(Debug)]
pub struct Profile {
    value: Value,
    capabilities: Vec<&'static str>,
    numbers: BTreeMap<&'static str, u32>,
    largest: u32,
}

impl Profile {
    /// Reads `text`.
    #[must_use]
    pub fn read(text: &str, capabilities: &[&'static str]) -> Self {
        let mut profile = Self {
            value: Value::read(text),
            capabilities: capabilities.to_vec(),
            numbers: numbers(),
            largest: 0,
        };
        let largest = profile
            .entries()
            .flat_map(names)
            .filter_map(|name| profile.numbers.get(name))
            .max();
        profile.largest = largest.copied().unwrap_or(u32::MAX);
        profile
    }

    /// The entries that apply.
    fn entries(&self) -> impl Iterator<Item = &Value> {
        let holds = |name: &str| self.capabilities.contains(&name);
        let entries = self.value.get("syscalls").list().iter();
        entries.filter(move |entry| {
            let (includes, excludes) = (entry.get("includes"), entry.get("excludes"));
            let arches = includes.get("arches").texts();
            includes.get("caps").texts().into_iter().all(holds)
                && (arches.is_empty() || arches.contains(&"amd64"))
                && !excludes.get("caps").texts().into_iter().any(holds)
                && !excludes.get("arches").texts().contains(&"amd64")
        })
    }

    /// The values at which the conditions for call `number` may change.
    #[must_use]
    pub fn edges(&self, number: u32) -> Vec<(usize, u64)> {
        let mut edges = Vec::new();
        for entry in self.of(number) {
            for condition in entry.get("args").list() {
                let index = condition.get("index").number().expect("an index");
                let index = usize::try_from(index).expect("small");
                for name in ["value", "valueTwo"] {
                    let value = condition.get(name).number().unwrap_or(0);
                    for other in [value, value + 1, value.wrapping_sub(1), value ^ (1 << 32)] {
                        edges.push((index, other));
                    }
                    for bit in 0..64 {
                        edges.push((index, value & (1 << bit)));
                    }
                }
            }
        }
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    fn of(&self, number: u32) -> impl Iterator<Item = &Value> {
        self.entries().filter(move |entry| {
            let mut numbers = names(entry).filter_map(|name| self.numbers.get(name));
            numbers.any(|other| *other == number)
        })
    }

    /// What becomes of a call.
    #[must_use]
    pub fn verdict(&self, number: u32, arguments: &[u64; 6]) -> Verdict {
        const ENOSYS: i32 = 38;
        if number > self.largest {
            return Verdict::Refused(ENOSYS);
        }
        let entry = self.of(number).find(|entry| applies(entry, arguments));
        match entry {
            Some(entry) => verdict(entry.get("action"), entry.get("errnoRet")),
            None => verdict(
                self.value.get("defaultAction"),
                self.value.get("defaultErrnoRet"),
            ),
        }
    }
}

fn names(entry: &Value) -> impl Iterator<Item = &str> {
    let names = entry.get("names").texts();
    names.into_iter().chain(entry.get("name").text())
}

fn verdict(action: &Value, errno: &Value) -> Verdict {
    match action.text().expect("an action") {
        "SCMP_ACT_ALLOW" => Verdict::Allowed,
        "SCMP_ACT_ERRNO" => {
            let errno = errno.number().unwrap_or(1);
            Verdict::Refused(i32::try_from(errno).expect("small"))
        }
        _ => Verdict::Other,
    }
}

/// All conditions hold, or, where an argument is there twice, one of them.
fn applies(entry: &Value, arguments: &[u64; 6]) -> bool {
    let conditions = entry.get("args").list();
    let index = |condition: &Value| condition.get("index").number().expect("an index");
    let holds = |condition: &Value| {
        let argument = arguments[usize::try_from(index(condition)).expect("small")];
        let value = condition.get("value").number().expect("a value");
        let second = condition.get("valueTwo").number().unwrap_or(0);
        match condition.get("op").text().expect("an operator") {
            "SCMP_CMP_NE" => argument != value,
            "SCMP_CMP_LT" => argument < value,
            "SCMP_CMP_LE" => argument <= value,
            "SCMP_CMP_EQ" => argument == value,
            "SCMP_CMP_GE" => argument >= value,
            "SCMP_CMP_GT" => argument > value,
            "SCMP_CMP_MASKED_EQ" => argument & value == second,
            other => panic!("{other}"),
        }
    };
    let mut indexes: Vec<u64> = conditions.iter().map(index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    if indexes.len() < conditions.len() {
        conditions.iter().any(holds)
    } else {
        conditions.iter().all(holds)
    }
}
