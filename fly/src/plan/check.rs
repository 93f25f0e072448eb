//! What makes bytes a plan.

use core::ffi::CStr;

use linux_raw_sys::general as raw;

use crate::{
    seccomp,
    text::{decimal, holds, split},
    user::MAX_GROUPS,
};

use super::{
    MAX_APPS, MAX_BYTES, MAX_PATH, MAX_SLOTS, MAX_STEPS, MAX_STRINGS, Records, VERSION, limits,
    pods,
    record::{Header, Record},
    rules::{APP_RULES, Number, POD_RULES, POLICY_RULES, RULES, Rule, Text},
    step::{Kind, Phase, Step},
};

/// Why bytes are no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Number of the step, from 0.
    pub step: usize,
    /// Its kind, if it is known.
    pub kind: Option<Kind>,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What can be wrong with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not a plan at all, or cut short.
    Header,
    /// Made by another version.
    Version,
    /// Larger than a bound allows.
    TooLarge,
    /// A record is cut, or of an unknown kind.
    Record,
    /// Strings that are not terminated, or too few or too many of them.
    Strings,
    /// Steps in an order that can't work.
    Order,
    /// A descriptor slot that nothing filled.
    Slot,
    /// A number outside of its range.
    Number,
    /// A host name that is empty or longer than 64 bytes.
    Name,
    /// A path that is empty, too long or not of the required form.
    Path,
    /// A system call filter that can't be one.
    Filter,
}

impl Reason {
    /// In words, a line each, in their order.
    pub(crate) const TEXTS: &'static str = "not a plan, or cut short
made by another version
too large
a damaged step
wrong number of strings
steps out of order
a descriptor that nothing opened
a number out of range
a host name has 1 to 64 bytes
a path that is empty, too long or not absolute
a damaged system call filter";
}

pub(super) fn at_end(step: usize, reason: Reason) -> Problem {
    Problem {
        step,
        kind: None,
        reason,
    }
}

/// All namespaces that a plan may ask for.
const NAMESPACES: u64 = (raw::CLONE_NEWNS
    | raw::CLONE_NEWPID
    | raw::CLONE_NEWIPC
    | raw::CLONE_NEWUTS
    | raw::CLONE_NEWNET
    | raw::CLONE_NEWCGROUP
    | raw::CLONE_NEWUSER) as u64;

/// The attributes that a mount may be given.
const ATTRIBUTES: u64 = (raw::MOUNT_ATTR_RDONLY
    | raw::MOUNT_ATTR_NOSUID
    | raw::MOUNT_ATTR_NODEV
    | raw::MOUNT_ATTR_NOEXEC
    | raw::MOUNT_ATTR_STRICTATIME) as u64;

/// What a plan may hold besides the apps' own steps, a bit each: a parameter of the
/// functions below, since no program is to hold the rules of what it can't do.
pub(super) const LAUNCH: u8 = 1;
/// The policies, which only pods have.
pub(super) const POLICIES: u8 = 2;
/// What the launcher of a pod does on the host, which no machine does.
pub(super) const PODS: u8 = 4;
/// All of that.
pub(super) const ALL: u8 = LAUNCH | POLICIES | PODS;

/// The rule of this kind.
#[inline]
fn rule<const HOLDS: u8>(kind: u16) -> Option<&'static Rule> {
    if HOLDS & LAUNCH == 0 {
        // They are few, and to halve them would be more code for pid 1.
        let policies = if HOLDS & POLICIES == 0 {
            &[]
        } else {
            POLICY_RULES
        };
        let mut rules = APP_RULES.iter().chain(policies);
        return rules.find(|rule| rule.kind as u16 == kind);
    }
    let mut rule = one_of(RULES, kind);
    if HOLDS & POLICIES != 0 && rule.is_none() {
        rule = one_of(POLICY_RULES, kind);
    }
    if HOLDS & PODS != 0 && rule.is_none() {
        rule = one_of(POD_RULES, kind);
    }
    rule
}

/// Halves the table, which is sorted.
#[inline(never)]
fn one_of(mut rules: &'static [Rule], kind: u16) -> Option<&'static Rule> {
    loop {
        let (below, rest) = rules.split_at_checked(rules.len() / 2)?;
        let (rule, above) = rest.split_first()?;
        let found = rule.kind as u16;
        if found == kind {
            return Some(rule);
        }
        rules = if found < kind { above } else { below };
    }
}

/// Goes over the steps.
#[inline(never)]
pub(super) fn check<const HOLDS: u8>(bytes: &[u8]) -> Result<(), Problem> {
    let header = Header::read(bytes).ok_or(at_end(0, Reason::Header))?;
    if header.version != VERSION {
        return Err(at_end(0, Reason::Version));
    }
    if bytes.len() > MAX_BYTES || header.count as usize > MAX_STEPS {
        return Err(at_end(0, Reason::TooLarge));
    }
    if header.length != bytes.len() as u64 {
        return Err(at_end(0, Reason::Header));
    }
    let records = bytes.get(Header::SIZE..).unwrap_or_default();
    let mut rest = records;
    let mut state = State::<HOLDS>::default();
    let mut count = 0;
    while !rest.is_empty() {
        let Some(record) = Record::take(&mut rest) else {
            return Err(at_end(count, Reason::Record));
        };
        let Some(rule) = rule::<HOLDS>(record.kind) else {
            return Err(at_end(count, Reason::Record));
        };
        if HOLDS & POLICIES != 0 && record.is(Kind::After) {
            state.waits_for |= record.number;
        }
        state.step(rule, &record).map_err(|reason| Problem {
            step: count,
            kind: Some(rule.kind),
            reason,
        })?;
        count += 1;
    }
    if count != header.count as usize {
        return Err(at_end(count, Reason::Header));
    }
    state.end().map_err(|reason| at_end(count, reason))?;
    if HOLDS & POLICIES != 0 && state.waits_for != 0 {
        return pods::check(&Records { rest: records }, state.waits_for);
    }
    Ok(())
}

/// The strings are of their form, terminated, and as many as the kind takes.
#[inline(never)]
fn strings<const HOLDS: u8>(rule: &Rule, record: &Record<'_>) -> Result<(), Reason> {
    let most = match rule.most {
        Rule::MANY => MAX_STRINGS,
        most => usize::from(most),
    };
    let list = record.list;
    let mut count = 0;
    for string in list.iter() {
        if rule.each || count == 0 {
            text::<HOLDS>(rule.text, record, string)?;
        }
        count += 1;
    }
    let terminated = list.as_bytes().last().is_none_or(|byte| *byte == 0);
    if terminated && count == list.len() && count >= usize::from(rule.least) && count <= most {
        Ok(())
    } else {
        Err(Reason::Strings)
    }
}

fn number<const HOLDS: u8>(number: Number, value: u64) -> Result<(), Reason> {
    let bits = match number {
        Number::Any => return Ok(()),
        Number::Mask => 0o777,
        Number::Id => return identity(value),
        _ if HOLDS & LAUNCH == 0 => 0,
        Number::Namespaces => NAMESPACES,
        Number::Attributes => ATTRIBUTES,
        Number::Mode => 0o7777,
        Number::Descriptor => 0x7fff_ffff,
    };
    if value & !bits == 0 {
        Ok(())
    } else {
        Err(Reason::Number)
    }
}

#[inline(never)]
fn text<const HOLDS: u8>(form: Text, record: &Record<'_>, text: &CStr) -> Result<(), Reason> {
    match form {
        Text::Any => Ok(()),
        Text::Name => one_name(text),
        Text::Absolute if !text.to_bytes().starts_with(b"/") => Err(Reason::Path),
        Text::Absolute | Text::Path => host_path(text),
        _ if HOLDS & LAUNCH != 0 => launch_text(form, record, text),
        _ => Err(Reason::Strings),
    }
}

/// The forms that only steps of a launcher have.
#[inline]
fn launch_text(form: Text, record: &Record<'_>, text: &CStr) -> Result<(), Reason> {
    match form {
        Text::NotEmpty if text.is_empty() => Err(Reason::Strings),
        Text::Target if record.flags & Step::NO_FOLLOW == 0 => host_path(text),
        Text::Target => one_name(text),
        Text::Below => path_below(text),
        // 64 is __NEW_UTS_LEN (sethostname(2)).
        Text::HostName if text.is_empty() || text.count_bytes() > 64 => Err(Reason::Name),
        Text::Number => decimal(text.to_bytes())
            .ok_or(Reason::Number)
            .and_then(identity),
        Text::Map => map_line(text.to_bytes()).map(drop).ok_or(Reason::Number),
        _ => Ok(()),
    }
}

/// A line INSIDE:OUTSIDE:COUNT of a map of ids (user_namespaces(7)): a range that
/// is not empty and ends before the largest number, which is no id.
#[inline(never)]
pub(crate) fn map_line(line: &[u8]) -> Option<[u64; 3]> {
    const NO_ID: u64 = 0xffff_ffff;
    let mut numbers = split(line, b':').map(decimal);
    let line = [numbers.next()??, numbers.next()??, numbers.next()??];
    let [inside, outside, count] = line;
    let end = inside.max(outside).checked_add(count)?;
    (numbers.next().is_none() && count != 0 && end <= NO_ID).then_some(line)
}

/// Of a step whose bytes are no strings.
fn bytes(form: Text, record: &Record<'_>) -> Result<(), Reason> {
    let bytes = record.list.as_bytes();
    let (good, reason) = match form {
        Text::Limit => (limits::data(record).is_some(), Reason::Number),
        Text::Groups => (bytes.len() <= MAX_GROUPS * 4, Reason::Number),
        _ => (seccomp::is_filter(bytes), Reason::Filter),
    };
    if good && record.list.is_empty() {
        Ok(())
    } else {
        Err(reason)
    }
}

/// What only one kind has.
#[inline]
fn special<const HOLDS: u8>(kind: Kind, record: &Record<'_>) -> Result<(), Reason> {
    let count = record.list.len() as u64;
    let some_of_each = record.number != 0 && record.number < count;
    match kind {
        // The path, and at least the program's name.
        Kind::Exec if !some_of_each => Err(Reason::Strings),
        Kind::Landlock if record.number > count => Err(Reason::Number),
        Kind::Stop if record.flags == 0 || record.flags > 64 => Err(Reason::Number),
        _ if HOLDS & LAUNCH == 0 => Ok(()),
        // As above, or at least one line of each.
        Kind::ExecSealed | Kind::Check | Kind::Maps | Kind::UserNamespace if !some_of_each => {
            Err(Reason::Strings)
        }
        // The type, and pairs.
        Kind::FileSystem if count.is_multiple_of(2) => Err(Reason::Strings),
        // The mode.
        Kind::CopyFile if record.flags > 0o7777 => Err(Reason::Number),
        _ => Ok(()),
    }
}

fn identity(id: u64) -> Result<(), Reason> {
    if id < u64::from(u32::MAX) {
        Ok(())
    } else {
        Err(Reason::Number)
    }
}

fn host_path(path: &CStr) -> Result<(), Reason> {
    if path.is_empty() || path.count_bytes() >= MAX_PATH {
        Err(Reason::Path)
    } else {
        Ok(())
    }
}

/// A path below a directory of our own.
fn path_below(path: &CStr) -> Result<(), Reason> {
    let bytes = path.to_bytes();
    if bytes.starts_with(b"/") || split(bytes, b'/').any(|part| part == b"..") {
        return Err(Reason::Path);
    }
    host_path(path)
}

fn one_name(name: &CStr) -> Result<(), Reason> {
    let bytes = name.to_bytes();
    // 255 is NAME_MAX (limits.h).
    if bytes.is_empty()
        || bytes.len() > 255
        || holds(bytes, b'/')
        || bytes == b"."
        || bytes == b".."
    {
        Err(Reason::Path)
    } else {
        Ok(())
    }
}

/// A bit that is none of a namespace.
const CLONED: u64 = 1;

/// What the steps so far have done.
#[derive(Default)]
struct State<const HOLDS: u8> {
    phase: Option<Phase>,
    filled: u64,
    /// Apps that others wait for, a bit each.
    waits_for: u64,
    apps: usize,
    in_app: bool,
    /// Those of the clone, or of what is done in its place.
    namespaces: u64,
    supervised: bool,
    init: bool,
}

impl<const HOLDS: u8> State<HOLDS> {
    #[inline(never)]
    fn step(&mut self, rule: &Rule, record: &Record<'_>) -> Result<(), Reason> {
        if let Text::Filter | Text::Groups | Text::Limit = rule.text {
            return bytes(rule.text, record).and_then(|()| self.order(rule.kind, 0));
        }
        number::<HOLDS>(rule.number, record.number)?;
        strings::<HOLDS>(rule, record)?;
        special::<HOLDS>(rule.kind, record)?;
        self.order(rule.kind, record.number)?;
        if HOLDS & LAUNCH == 0 {
            // No step of an app has a slot.
            return Ok(());
        }
        self.slots(rule, record)
    }

    #[inline(never)]
    fn order(&mut self, kind: Kind, number: u64) -> Result<(), Reason> {
        let allowed = match kind {
            Kind::App => {
                self.apps += 1;
                if self.apps > MAX_APPS {
                    return Err(Reason::TooLarge);
                }
                !core::mem::replace(&mut self.in_app, true)
            }
            Kind::Exec => core::mem::replace(&mut self.in_app, false),
            _ if HOLDS & LAUNCH == 0 => self.in_app,
            Kind::Clone | Kind::Unshare => {
                let own = if HOLDS & PODS == 0 { 0 } else { number };
                core::mem::replace(&mut self.namespaces, CLONED | own) == 0
            }
            Kind::Supervise if HOLDS & PODS != 0 => {
                self.supervised = true;
                self.namespaces == 0
            }
            // Whose end could not be waited for.
            Kind::ExecInit if HOLDS & PODS != 0 && !self.supervised => false,
            Kind::ExecInit => !core::mem::replace(&mut self.init, true) && self.namespaces != 0,
            Kind::ExecSealed | Kind::Check => core::mem::replace(&mut self.in_app, false),
            _ => match kind.phase() {
                Phase::Launch => self.namespaces == 0,
                Phase::Pod => !self.init && self.is_in_namespaces(kind),
                Phase::App => self.in_app,
            },
        };
        if allowed && self.is_in_turn(kind) {
            Ok(())
        } else {
            Err(Reason::Order)
        }
    }

    /// A damaged plan must not do on the host what is meant for a pod's namespaces. A machine,
    /// which has none, has its name and its root.
    fn is_in_namespaces(&self, kind: Kind) -> bool {
        let needed = match (kind, self.namespaces) {
            _ if HOLDS & PODS == 0 => return true,
            (Kind::Hostname | Kind::OpenDirectory | Kind::Chroot, 0) => return true,
            (Kind::Hostname, _) => raw::CLONE_NEWUTS,
            _ => raw::CLONE_NEWNS,
        };
        self.namespaces & u64::from(needed) != 0
    }

    /// Apart from those of the apps there may be steps of other phases.
    fn is_in_turn(&mut self, kind: Kind) -> bool {
        if HOLDS & LAUNCH == 0 {
            return true;
        }
        let phase = kind.phase();
        let before = self.phase.replace(phase);
        before.is_none_or(|before| before <= phase)
    }

    fn end(&self) -> Result<(), Reason> {
        if self.in_app || self.apps == 0 {
            Err(Reason::Order)
        } else {
            Ok(())
        }
    }

    #[inline(never)]
    fn slots(&mut self, rule: &Rule, record: &Record<'_>) -> Result<(), Reason> {
        let (first, other) = (u64::from(record.slot), u64::from(record.other));
        if HOLDS & PODS != 0 {
            match rule.kind {
                Kind::OwnTerminal => self.used(record.number)?,
                Kind::OwnOverlay if record.flags & Step::MAPPED != 0 => self.used(first)?,
                _ => {}
            }
        }
        // What is used comes first: a step may fill the slot that it uses.
        if rule.slots & Rule::USES != 0 {
            self.used(first)?;
        }
        if rule.slots & Rule::USES_OTHER != 0 {
            self.used(other)?;
        }
        if rule.slots & Rule::FILLS != 0 {
            self.fill(first)?;
        }
        if rule.slots & Rule::FILLS_OTHER != 0 {
            self.fill(other)?;
        }
        match rule.kind {
            Kind::Clone | Kind::Maps | Kind::LimitCgroup if record.slot != Step::NO_SLOT.0 => {
                self.used(first)
            }
            Kind::Terminal => self.fill(record.number),
            Kind::ExecInit => {
                if record.other != Step::NO_SLOT.0 {
                    self.used(other)?;
                }
                match record.number {
                    Step::NO_STAMPS => Ok(()),
                    stamps => self.used(stamps),
                }
            }
            Kind::Attach if record.flags & Step::CLOSE != 0 => {
                self.filled &= !bit(first);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn fill(&mut self, slot: u64) -> Result<(), Reason> {
        if slot >= u64::from(MAX_SLOTS) {
            return Err(Reason::Slot);
        }
        self.filled |= bit(slot);
        Ok(())
    }

    fn used(&self, slot: u64) -> Result<(), Reason> {
        if slot < u64::from(MAX_SLOTS) && self.filled & bit(slot) != 0 {
            Ok(())
        } else {
            Err(Reason::Slot)
        }
    }
}

/// The bit of a slot; those beyond 63 are refused before it matters.
fn bit(slot: u64) -> u64 {
    1 << (slot & 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_found() {
        let mut count = 0;
        for kind in (0..=u16::MAX).filter_map(Kind::from_number) {
            assert_eq!(rule::<ALL>(kind as u16).map(|rule| rule.kind), Some(kind));
            count += 1;
        }
        let rules = RULES.len() + POLICY_RULES.len() + POD_RULES.len();
        assert_eq!(count, rules, "one for each");
        for rules in [APP_RULES, RULES, POLICY_RULES, POD_RULES] {
            assert!(rules.is_sorted_by_key(|rule| rule.kind as u16));
        }
    }
}
