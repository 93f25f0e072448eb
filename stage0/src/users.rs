//! Which ids a pod in a user namespace has.
//!
//! Root's pods have ranges of the host's ids, each its own. Who has one holds a lock on
//! the bytes of a file whose numbers are these ids: the kernel takes it back when that
//! process is gone, so that nothing is left of it.

use core::ffi::CStr;

use fly::{
    error::{Advice, Error, What, Why},
    plan::{Kind, Plan},
    sys::lock,
    text::{Digits, Short, decimal, each_line, split},
};
use linux_raw_sys::general::CLONE_NEWUSER;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{self, Access, AtFlags, Mode, OFlags},
    io::Errno,
    process::{getegid, geteuid},
};

use crate::options::{Options, PrivateUsers, Stage1};

/// Where ranges are locked.
const FOLDER: &CStr = c"/run/kickstage";
const LOCKS: &CStr = c"/run/kickstage/users";
const SUBUID: &CStr = c"/etc/subuid";
const SUBGID: &CStr = c"/etc/subgid";
/// How many ids a pod has.
const COUNT: u64 = 65_536;
/// Where the ids of pods are if the files above name none: what systemd has chosen for
/// containers (<https://systemd.io/UIDS-GIDS>).
const DEFAULT: Range = Range {
    start: 524_288,
    end: 1_879_048_192,
};
/// As many ranges of one owner are looked at.
const MOST: usize = 16;
/// The largest number is no id.
const NO_ID: u64 = 0xffff_ffff;
/// Where newuidmap(1) and newgidmap(1) are looked for.
const FOLDERS: [(&CStr, &CStr, &CStr); 4] = [
    (c"/usr/bin", c"/usr/bin/newuidmap", c"/usr/bin/newgidmap"),
    (c"/bin", c"/bin/newuidmap", c"/bin/newgidmap"),
    (
        c"/usr/local/bin",
        c"/usr/local/bin/newuidmap",
        c"/usr/local/bin/newgidmap",
    ),
    (
        c"/run/wrappers/bin",
        c"/run/wrappers/bin/newuidmap",
        c"/run/wrappers/bin/newgidmap",
    ),
];

/// The ids of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// The caller's: no user namespace.
    Host,
    /// So many of root's from this one on; the ids of files are mapped.
    Range {
        /// The one that is 0 inside.
        start: u64,
        /// How many there are.
        count: u64,
    },
    /// The caller is 0 inside.
    Caller {
        /// The user.
        user: u32,
        /// The group.
        group: u32,
        /// What else there is.
        others: Option<Others>,
    },
}

/// What newuidmap(1) and newgidmap(1) give the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others {
    /// Where these programs are.
    pub folder: &'static CStr,
    /// The first id, and how many.
    pub users: (u64, u64),
    /// The same of groups.
    pub groups: (u64, u64),
}

impl Users {
    /// Whether there is a user namespace.
    #[must_use]
    pub fn is_own(&self) -> bool {
        *self != Self::Host
    }

    /// Whether the ids of files are mapped by their mounts.
    #[must_use]
    pub fn maps_mounts(&self) -> bool {
        matches!(self, Self::Range { .. })
    }

    /// Whether nobody is there but root.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        matches!(self, Self::Caller { others: None, .. })
    }
}

impl Users {
    /// Those of a plan that was made before, which are taken.
    ///
    /// # Errors
    /// Another pod has some of them by now.
    #[inline(never)]
    pub fn of<'e>(plan: &Plan<'_>) -> Result<Self, Error<'e>> {
        let mut records = plan.steps().records();
        if let Some(record) = records.find(|record| record.is(Kind::UserNamespace)) {
            let mut numbers = split(record.list.first().to_bytes(), b':').map(decimal);
            let (_, start, count) = (numbers.next(), numbers.next(), numbers.next());
            let number = |number: Option<Option<u64>>| number.flatten().unwrap_or(0);
            return take_this(number(start), number(count), true);
        }
        Ok(if are_in(plan) {
            Self::Caller {
                user: 0,
                group: 0,
                others: None,
            }
        } else {
            Self::Host
        })
    }

    /// A start has failed: what a user namespace has to do with it.
    #[cold]
    #[inline(never)]
    #[must_use]
    pub fn explain<'e>(&self, error: Error<'e>) -> Error<'e> {
        if !self.is_own() {
            return error;
        }
        let refused = if self.maps_mounts() {
            Advice::NotNested
        } else {
            Advice::SubordinateRefused
        };
        let advices = [
            (Advice::NeedsPrivilegedContainer, Advice::UnmaskProc),
            (Advice::NoUserNamespaces, Advice::AllowUsers),
            (Advice::NeedsSetidOutside, refused),
            (Advice::NeedsRoot, refused),
            (Advice::NoMappedIds, Advice::NoMappedMount),
            (Advice::None, Advice::FilterForbids),
        ];
        let is_refused = error.errno() == Some(Errno::PERM);
        let mut advices = advices
            .into_iter()
            .filter(|(known, _)| error.advises(*known));
        match advices.next() {
            Some((Advice::None, _)) if !is_refused => error,
            Some((_, better)) => error.advice(better),
            None => error,
        }
    }
}

/// When the pod starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Its ids are taken.
    Now,
    /// Perhaps by somebody else.
    Later,
    /// It does not.
    Never,
}

/// Whether there has to be a user namespace; `privileged` says that the caller needs none.
#[inline]
pub fn are_wanted<I>(options: &Options<'_, I>, privileged: bool) -> bool {
    match options.private_users {
        None if privileged => false,
        // What such starts need the kernel says.
        None => matches!(options.stage1, Stage1::Init(_)) && options.output.is_none(),
        Some(users) => users != PrivateUsers::No,
    }
}

/// Whether the plan makes one for the pod.
#[cold]
#[inline(never)]
pub fn are_in(plan: &Plan<'_>) -> bool {
    let mut records = plan.steps().records();
    let clone = records.find(|record| record.is(Kind::Clone));
    clone.is_some_and(|clone| clone.number & u64::from(CLONE_NEWUSER) != 0)
}

/// Finds the ids.
///
/// # Errors
/// Names the file that gives no ids, or keeps them from being taken.
#[cold]
#[inline(never)]
pub fn find<'a, I>(
    options: &Options<'a, I>,
    privileged: bool,
    when: When,
) -> Result<Users, Error<'a>> {
    match options.private_users {
        Some(PrivateUsers::Range { .. }) if !privileged => Err(Error::new(
            What::ReadOption,
            c"--private-users",
            Why::RangeNeedsRoot,
        )),
        _ if !privileged => Ok(caller()),
        // Who holds them does not stay.
        _ if options.hold => Err(Error::new(
            What::ReadOption,
            c"--private-users",
            Why::NotWithHold,
        )),
        Some(PrivateUsers::Range { start, count }) => take_this(start, count, when == When::Now),
        // They would be somebody else's by then.
        _ if when == When::Later => {
            Err(
                Error::new(What::ReadOption, c"--private-users", Why::NotFreeLater)
                    .advice(Advice::NameIds),
            )
        }
        _ => take_any(when == When::Now),
    }
}

/// A range of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Range {
    start: u64,
    /// The first one behind it.
    end: u64,
}

impl Range {
    fn both(self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }

    fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// The ranges of one owner.
#[derive(Default)]
struct Ranges {
    ranges: [Range; MOST],
    count: usize,
}

impl Ranges {
    fn add(&mut self, range: Range) {
        if let Some(place) = self.ranges.get_mut(self.count) {
            *place = range;
            self.count += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = Range> + '_ {
        self.ranges.iter().take(self.count).copied()
    }
}

/// A line OWNER:START:COUNT of subuid(5); `None` if it is none.
fn line(line: &[u8]) -> Option<(&[u8], Range)> {
    let mut fields = split(line, b':');
    let owner = fields.next().filter(|owner| !owner.is_empty())?;
    let start = decimal(fields.next()?)?;
    let count = decimal(fields.next()?)?;
    let end = start.checked_add(count)?;
    let range = Range { start, end };
    // 0 is the host's root, whom nobody can give away.
    let is_good = fields.next().is_none() && count != 0 && start != 0 && end <= NO_ID;
    is_good.then_some((owner, range))
}

/// Calls `each` for every line of the file that is one.
fn each_range(path: &CStr, each: &mut dyn FnMut(&[u8], Range)) {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(file) = fs::open(path, flags, Mode::empty()) {
        let _ = each_line(file.as_fd(), &mut [0; 1024], &mut |text| {
            if let Some((owner, range)) = line(text) {
                each(owner, range);
            }
        });
    }
}

fn ranges_of(path: &CStr, owners: [&[u8]; 2]) -> Ranges {
    let mut ranges = Ranges::default();
    each_range(path, &mut |owner, range| {
        if owners.contains(&owner) {
            ranges.add(range);
        }
    });
    ranges
}

fn failed<'e>(object: &'static CStr, why: Why, advice: Advice) -> Error<'e> {
    Error::new(What::ReserveIds, object, why).advice(advice)
}

fn take_this<'e>(start: u64, count: u64, starts: bool) -> Result<Users, Error<'e>> {
    let taken = Locks::open(starts)?.take(start, count)?;
    match taken {
        None => Ok(Users::Range { start, count }),
        Some(_) => Err(Error::new(
            What::ReadOption,
            c"--private-users",
            Why::IdsInUse,
        )),
    }
}

/// The first free range of those that the two files give: to the user kickstage, or to
/// root. If they give none of them any, one that they give nobody.
fn take_any<'e>(starts: bool) -> Result<Users, Error<'e>> {
    let locks = Locks::open(starts)?;
    let mut users = Ranges::default();
    let mut groups = Ranges::default();
    for owners in [[&b"kickstage"[..], b"kickstage"], [&b"root"[..], b"0"]] {
        (users, groups) = (ranges_of(SUBUID, owners), ranges_of(SUBGID, owners));
        if users.count != 0 || groups.count != 0 {
            break;
        }
    }
    if users.count == 0 && groups.count == 0 {
        return match locks.first(DEFAULT, true)? {
            Some(start) => Ok(Users::Range {
                start,
                count: COUNT,
            }),
            None => Err(failed(SUBUID, Why::NoFreeIds, Advice::GiveIds)),
        };
    }
    let mut is_any = false;
    for range in users.iter() {
        for other in groups.iter() {
            let both = range.both(other);
            is_any |= both.end.saturating_sub(both.start) >= COUNT;
            if let Some(start) = locks.first(both, false)? {
                return Ok(Users::Range {
                    start,
                    count: COUNT,
                });
            }
        }
    }
    let why = if is_any {
        Why::NoFreeIds
    } else {
        Why::TooFewIds
    };
    Err(failed(SUBUID, why, Advice::GiveIds))
}

/// The file of the locks; `None` if nobody has made it, and none is taken.
struct Locks {
    file: Option<OwnedFd>,
    starts: bool,
}

impl Locks {
    fn open<'e>(starts: bool) -> Result<Self, Error<'e>> {
        let mut flags = OFlags::RDONLY;
        if starts {
            flags = OFlags::RDWR | OFlags::CREATE;
            match fs::mkdir(FOLDER, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Error::new(What::MakeDirectory, FOLDER, errno)),
            }
        }
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match fs::open(LOCKS, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => Some(file),
            Err(_) if !starts => None,
            Err(errno) => return Err(Error::new(What::Open, LOCKS, errno)),
        };
        Ok(Self { file, starts })
    }

    /// Takes these ids; where another pod has some of them, returns the end of those.
    fn take<'e>(&self, start: u64, count: u64) -> Result<Option<u64>, Error<'e>> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        let file = file.as_fd();
        let taken = || {
            loop {
                if !self.starts {
                    return lock::taken_until(file, start, count);
                }
                if lock::take_range(file, start, count)? {
                    // The launch closes all descriptors.
                    lock::keep(file)?;
                    return Ok(None);
                }
                // It may be free again by now.
                if let Some(end) = lock::taken_until(file, start, count)? {
                    return Ok(Some(end));
                }
            }
        };
        taken().map_err(|errno| Error::new(What::Lock, LOCKS, errno))
    }

    /// Takes the first [`COUNT`] free ids of `range`, in steps of as many. `nobodys` are
    /// those that the files give nobody.
    fn first<'e>(&self, range: Range, nobodys: bool) -> Result<Option<u64>, Error<'e>> {
        let mut start = range.start;
        loop {
            let end = start.saturating_add(COUNT);
            if end > range.end {
                return Ok(None);
            }
            let mut taken = None;
            if nobodys {
                let own = Range { start, end };
                for path in [SUBUID, SUBGID] {
                    each_range(path, &mut |_, range| {
                        if !range.both(own).is_empty() {
                            taken = taken.max(Some(range.end));
                        }
                    });
                }
            }
            if taken.is_none() {
                taken = self.take(start, COUNT)?;
            }
            let Some(taken) = taken else {
                return Ok(Some(start));
            };
            let passed = taken.saturating_sub(range.start).div_ceil(COUNT);
            start = range.start.saturating_add(passed.saturating_mul(COUNT));
        }
    }
}

/// A caller that is not root: itself, and the ids that are its own by the two files, if
/// there are the programs that may map them.
fn caller() -> Users {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    Users::Caller {
        user,
        group,
        others: others(user),
    }
}

fn others(user: u32) -> Option<Others> {
    let executable = |path| fs::accessat(fs::CWD, path, Access::EXEC_OK, AtFlags::empty()).is_ok();
    let mut folders = FOLDERS.into_iter();
    let (folder, ..) = folders.find(|(_, one, other)| executable(*one) && executable(*other))?;
    let digits = Digits::new(user.into(), 10);
    let name = name_of(digits.as_bytes());
    let owners = [name.as_bytes(), digits.as_bytes()];
    let first = |path| {
        let range = ranges_of(path, owners).iter().next()?;
        Some((range.start, range.end.saturating_sub(range.start)))
    };
    Some(Others {
        folder,
        users: first(SUBUID)?,
        groups: first(SUBGID)?,
    })
}

/// The name of the user with this number, by /etc/passwd of the host; the number if it
/// has none.
fn name_of(user: &[u8]) -> Short {
    let mut name = None;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(file) = fs::open(c"/etc/passwd", flags, Mode::empty()) {
        let _ = each_line(file.as_fd(), &mut [0; 1024], &mut |line| {
            let mut fields = split(line, b':');
            let known = fields.next().unwrap_or_default();
            if name.is_none() && fields.nth(1) == Some(user) {
                name = Some(Short::new(known));
            }
        });
    }
    name.unwrap_or_else(|| Short::new(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_exactly_or_not_at_all() {
        let good = |start, end| Some((&b"ann"[..], Range { start, end }));
        assert_eq!(line(b"ann:100000:65536"), good(100_000, 165_536));
        assert_eq!(line(b"ann:1:4294967294"), good(1, NO_ID));
        for bad in [
            &b""[..],
            b"ann",
            b"ann:",
            b"ann:1",
            b"ann:1:",
            b"ann::1",
            b":1:1",
            b"ann:0:1",
            b"ann:1:0",
            b"ann:01:1",
            b"ann:1:01",
            b"ann:+1:1",
            b"ann:1: 1",
            b"ann:1:1:",
            b"ann:1:1:1",
            b"a:nn:1:1",
            b"ann:1:4294967295",
            b"ann:4294967295:1",
            b"ann:18446744073709551615:1",
            b"ann:1:18446744073709551615",
            b"ann:18446744073709551616:1",
            b"#ann:1:1x",
        ] {
            assert_eq!(line(bad), None, "{bad:?}");
        }
    }
}
