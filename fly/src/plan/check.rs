//! What makes bytes a plan.

use core::ffi::CStr;

use linux_raw_sys::general as raw;

use super::{
    MAX_APPS, MAX_BYTES, MAX_PATH, MAX_SLOTS, MAX_STEPS, MAX_STRINGS, VERSION,
    record::{Header, List, Record},
    step::{Kind, Phase, Slot, Step},
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
}

impl Reason {
    /// In words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Header => "not a plan, or cut short",
            Self::Version => "made by another version",
            Self::TooLarge => "too large",
            Self::Record => "a damaged step",
            Self::Strings => "wrong number of strings",
            Self::Order => "steps out of order",
            Self::Slot => "a descriptor that nothing opened",
            Self::Number => "a number out of range",
            Self::Name => "a host name has 1 to 64 bytes",
            Self::Path => "a path that is empty, too long or not absolute",
        }
    }
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

pub(super) fn check(bytes: &[u8]) -> Result<(), Problem> {
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
    let mut rest = bytes.get(Header::SIZE..).unwrap_or_default();
    let mut state = State::default();
    let mut count = 0;
    while !rest.is_empty() {
        let (record, after) = Record::split(rest).ok_or(at_end(count, Reason::Record))?;
        rest = after;
        let step = Step::from_record(&record).ok_or(at_end(count, Reason::Record))?;
        strings(&step, record.list)
            .and_then(|()| values(&step))
            .and_then(|()| state.step(&step))
            .map_err(|reason| Problem {
                step: count,
                kind: Some(step.kind()),
                reason,
            })?;
        count += 1;
    }
    if count != header.count as usize {
        return Err(at_end(count, Reason::Header));
    }
    state.end().map_err(|reason| at_end(count, reason))
}

/// The strings are terminated, and as many as the kind takes.
fn strings(step: &Step<'_>, list: List<'_>) -> Result<(), Reason> {
    let (least, most) = match step.kind() {
        Kind::Link | Kind::HandOver => (2, 2),
        Kind::FileSystem => (1, 33),
        Kind::Mask => (2, 64),
        Kind::ReadOnly => (1, 64),
        Kind::Groups => (0, 64),
        Kind::Exec => (2, MAX_STRINGS),
        Kind::Seal
        | Kind::OpenCgroup
        | Kind::OpenDirectory
        | Kind::OpenTree
        | Kind::Overlay
        | Kind::Attach
        | Kind::Directory
        | Kind::File
        | Kind::Device
        | Kind::Bind
        | Kind::Console
        | Kind::Hostname
        | Kind::App
        | Kind::WorkingDirectory => (1, 1),
        _ => (0, 0),
    };
    let bytes = list.as_bytes();
    let terminators = bytes.iter().filter(|byte| **byte == 0).count();
    let terminated = bytes.last().is_none_or(|byte| *byte == 0);
    if terminated && terminators == list.len() && (least..=most).contains(&list.len()) {
        Ok(())
    } else {
        Err(Reason::Strings)
    }
}

/// Each value is in its range, whatever the other steps are.
fn values(step: &Step<'_>) -> Result<(), Reason> {
    match *step {
        Step::Seal { path, .. }
        | Step::HandOver { path, .. }
        | Step::OpenCgroup { path, .. }
        | Step::OpenDirectory { path, .. } => host_path(path),
        Step::OpenTree {
            path, attributes, ..
        }
        | Step::Overlay {
            path, attributes, ..
        } => host_path(path).and(within(attributes, ATTRIBUTES)),
        Step::Clone { namespaces, .. } | Step::Unshare { namespaces } => {
            within(namespaces, NAMESPACES)
        }
        Step::Umask { mask } | Step::AppUmask { mask } => within(mask, 0o777),
        Step::Directory { mode, name, .. } | Step::File { mode, name, .. } => {
            within(mode, 0o7777).and(path_below(name))
        }
        // "." is the directory itself.
        Step::Bind {
            name, attributes, ..
        } if name == c"." => within(attributes, ATTRIBUTES),
        Step::Bind {
            name, attributes, ..
        } => within(attributes, ATTRIBUTES).and(one_name(name)),
        Step::Device { name, .. } | Step::Console { name, .. } | Step::Link { name, .. } => {
            one_name(name)
        }
        Step::FileSystem {
            attributes,
            options,
            ..
        } => {
            if options.len() % 2 == 0 || options.first().is_empty() {
                return Err(Reason::Strings);
            }
            within(attributes, ATTRIBUTES)
        }
        Step::Attach { target, flags, .. } => {
            if flags & Step::NO_FOLLOW != 0 {
                one_name(target)
            } else {
                host_path(target)
            }
        }
        Step::Mask { names, .. } | Step::ReadOnly { names, .. } => {
            names.iter().try_for_each(path_below)
        }
        // 64 is __NEW_UTS_LEN (sethostname(2)).
        Step::Hostname { name } => (1..=64)
            .contains(&name.count_bytes())
            .then_some(())
            .ok_or(Reason::Name),
        Step::App { name } => one_name(name),
        Step::Stop { signal, .. } => match signal {
            1..=64 => Ok(()),
            _ => Err(Reason::Number),
        },
        Step::WorkingDirectory { path } => inner_path(path),
        Step::Groups { ids } => ids.iter().try_for_each(|id| {
            crate::text::decimal(id.to_bytes())
                .ok_or(Reason::Number)
                .and_then(identity)
        }),
        Step::Group { id } | Step::User { id } => identity(id),
        Step::Exec { arguments, strings } => {
            let first = strings.first();
            if first.is_empty() {
                return Err(Reason::Path);
            }
            // The path, and at least the program's name.
            if arguments == 0 || arguments >= strings.len() as u64 {
                return Err(Reason::Strings);
            }
            host_path(first)
        }
        _ => Ok(()),
    }
}

fn within(value: u64, bits: u64) -> Result<(), Reason> {
    if value & !bits == 0 {
        Ok(())
    } else {
        Err(Reason::Number)
    }
}

/// A user or group id; the largest number means "unchanged" to the kernel
/// (setresuid(2)), so it is none.
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

fn inner_path(path: &CStr) -> Result<(), Reason> {
    host_path(path)?;
    if path.to_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Reason::Path)
    }
}

/// A path below a directory of our own.
fn path_below(path: &CStr) -> Result<(), Reason> {
    let bytes = path.to_bytes();
    if bytes.starts_with(b"/") || bytes.split(|byte| *byte == b'/').any(|part| part == b"..") {
        return Err(Reason::Path);
    }
    host_path(path)
}

fn one_name(name: &CStr) -> Result<(), Reason> {
    let bytes = name.to_bytes();
    // 255 is NAME_MAX (limits.h).
    if bytes.is_empty()
        || bytes.len() > 255
        || bytes.contains(&b'/')
        || bytes == b"."
        || bytes == b".."
    {
        Err(Reason::Path)
    } else {
        Ok(())
    }
}

/// What the steps so far have done.
#[derive(Default)]
struct State {
    phase: Option<Phase>,
    filled: u64,
    apps: usize,
    in_app: bool,
    cloned: bool,
    init: bool,
}

impl State {
    fn step(&mut self, step: &Step<'_>) -> Result<(), Reason> {
        let phase = step.kind().phase();
        if self.phase.is_some_and(|last| phase < last) {
            return Err(Reason::Order);
        }
        self.phase = Some(phase);
        self.order(step)?;
        self.slots(step)
    }

    fn order(&mut self, step: &Step<'_>) -> Result<(), Reason> {
        let allowed = match step {
            Step::Clone { .. } | Step::Unshare { .. } => {
                let first = !self.cloned;
                self.cloned = true;
                first
            }
            Step::ExecInit { .. } => {
                let first = !self.init && self.cloned;
                self.init = true;
                first
            }
            Step::App { .. } => {
                self.apps += 1;
                if self.apps > MAX_APPS {
                    return Err(Reason::TooLarge);
                }
                let first = !self.in_app;
                self.in_app = true;
                first
            }
            Step::Exec { .. } => core::mem::replace(&mut self.in_app, false),
            _ => match step.kind().phase() {
                Phase::Launch => !self.cloned,
                Phase::Pod => !self.init,
                Phase::App => self.in_app,
            },
        };
        if allowed { Ok(()) } else { Err(Reason::Order) }
    }

    fn end(&self) -> Result<(), Reason> {
        if self.in_app || self.apps == 0 {
            Err(Reason::Order)
        } else {
            Ok(())
        }
    }

    fn slots(&mut self, step: &Step<'_>) -> Result<(), Reason> {
        match *step {
            Step::Seal { into, .. }
            | Step::Watch { into }
            | Step::OpenCgroup { into, .. }
            | Step::OpenDirectory { into, .. }
            | Step::OpenTree { into, .. }
            | Step::FileSystem { into, .. } => self.fill(into),
            Step::Stamps { reader, writer } => self.fill(reader).and(self.fill(writer)),
            Step::Terminal {
                devpts,
                master,
                peer,
            } => {
                self.fill(devpts)?;
                self.fill(master)?;
                self.fill(small(peer)?)
            }
            Step::Clone { cgroup, .. } if cgroup != Step::NO_SLOT => self.used(cgroup),
            Step::Overlay { into, layer, .. } => self.used(layer).and(self.fill(into)),
            Step::Bind { into, under, .. } => self.used(under).and(self.fill(into)),
            Step::DieWithParent { watch: slot }
            | Step::AttachRoot { mount: slot }
            | Step::Directory { under: slot, .. }
            | Step::File { under: slot, .. }
            | Step::Device { under: slot, .. }
            | Step::Link { under: slot, .. }
            | Step::ReadOnly { under: slot, .. }
            | Step::Pivot { root: slot }
            | Step::Chroot { root: slot }
            | Step::TerminalStdio { peer: slot } => self.used(slot),
            Step::Mask { under, covers, .. } => self.used(under).and(self.used(covers)),
            Step::Console { peer, under, .. } => self.used(peer).and(self.used(under)),
            Step::Attach {
                mount,
                under,
                flags,
                ..
            } => {
                self.used(mount)?;
                self.used(under)?;
                if flags & Step::CLOSE != 0 {
                    self.filled &= !bit(mount);
                }
                Ok(())
            }
            Step::ExecInit { program, stamps } => {
                self.used(program)?;
                if stamps == Step::NO_STAMPS {
                    return Ok(());
                }
                self.used(small(stamps)?)
            }
            _ => Ok(()),
        }
    }

    fn fill(&mut self, slot: Slot) -> Result<(), Reason> {
        if slot.0 >= MAX_SLOTS {
            return Err(Reason::Slot);
        }
        self.filled |= bit(slot);
        Ok(())
    }

    fn used(&self, slot: Slot) -> Result<(), Reason> {
        if slot.0 < MAX_SLOTS && self.filled & bit(slot) != 0 {
            Ok(())
        } else {
            Err(Reason::Slot)
        }
    }
}

fn small(slot: u64) -> Result<Slot, Reason> {
    u8::try_from(slot).map(Slot).map_err(|_| Reason::Slot)
}

fn bit(slot: Slot) -> u64 {
    1_u64.wrapping_shl(u32::from(slot.0))
}
