//! Users and groups, resolved against the files of the root that they are in.

use core::ffi::CStr;

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, Mode, OFlags},
    io::Errno,
};

use crate::{
    error::{Advice, Error, What, Why},
    launch::{file_type, walk_inside},
    text::{self, Short, Split, decimal, split},
};

/// The most supplementary groups of a user.
pub const MAX_GROUPS: usize = 64;

/// Who an app runs as.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Supplementary group ids.
    groups: [u32; MAX_GROUPS],
    count: usize,
    /// The name; empty if the root's /etc/passwd does not have the user.
    pub name: Short,
    /// The home directory, if it names one.
    pub home: Option<Short>,
    /// The shell, likewise.
    pub shell: Short,
}

impl Identity {
    fn new(user: u32, group: u32) -> Self {
        Self {
            user,
            group,
            groups: [0; MAX_GROUPS],
            count: 0,
            name: Short::new(b""),
            home: None,
            shell: Short::new(b""),
        }
    }

    /// Supplementary group ids.
    #[must_use]
    pub fn groups(&self) -> &[u32] {
        self.groups.get(..self.count).unwrap_or_default()
    }

    fn add_group(&mut self, id: u32) {
        if let Some(place) = self.groups.get_mut(self.count) {
            *place = id;
            self.count += 1;
        }
    }
}

/// Resolves `user` and `group` against /etc/passwd and /etc/group below the
/// directory `rootfs` of the host.
///
/// A user is a name or a number. A name must be in /etc/passwd; a number need
/// not. Without a group it is the one of the user's line there, and 0 if there
/// is none; the supplementary groups are then those that list the user in
/// /etc/group. With a group there are no supplementary ones.
///
/// # Errors
/// Names the user or group that is unknown or no valid number.
#[inline(never)]
pub fn resolve<'a>(
    rootfs: &'a CStr,
    user: &'a CStr,
    group: Option<&'a CStr>,
) -> Result<Identity, Error<'a>> {
    resolve_parts(
        rootfs,
        user,
        user.to_bytes(),
        group.map_or(Group::OfUser, |group| Group::Named(group, group.to_bytes())),
    )
}

/// The same for `USER[:GROUP]` in one string, or for `@PATH`, the owner of a file
/// below `rootfs`: its user and group, without supplementary ones.
///
/// # Errors
/// As [`resolve`].
#[inline(never)]
pub fn resolve_pair<'a>(rootfs: &'a CStr, pair: &'a CStr) -> Result<Identity, Error<'a>> {
    let bytes = pair.to_bytes();
    if bytes.starts_with(b"@") {
        return resolve_parts(rootfs, pair, bytes, Group::OfOwner);
    }
    match bytes.iter().position(|byte| *byte == b':') {
        None => resolve_parts(rootfs, pair, bytes, Group::OfUser),
        Some(colon) => {
            let (user, rest) = bytes.split_at_checked(colon).unwrap_or((bytes, b""));
            let group = rest.get(1..).unwrap_or_default();
            resolve_parts(rootfs, pair, user, Group::Named(pair, group))
        }
    }
}

/// Calls `each` for the id of each of the groups, names or numbers, parted by
/// commas.
///
/// # Errors
/// Names the groups if one of them is unknown, or if there are too many.
#[cold]
#[inline(never)]
pub fn each_group<'a>(
    rootfs: &'a CStr,
    groups: &'a CStr,
    each: &mut dyn FnMut(u32),
) -> Result<(), Error<'a>> {
    let root = open_root(rootfs)?;
    let mut count = 0;
    for group in split(groups.to_bytes(), b',') {
        each(resolve_group(root.as_fd(), groups, group)?);
        count += 1;
        if count > MAX_GROUPS {
            return Err(Error::new(What::LookUpGroup, groups, Why::TooManyGroups));
        }
    }
    Ok(())
}

/// The owner and the group of the file that `@PATH` names; nothing leads out of
/// the root.
#[cold]
fn owner(root: BorrowedFd<'_>, user: &CStr) -> Result<(u32, u32), Errno> {
    let path = user.to_bytes_with_nul().get(1..).unwrap_or_default();
    let path = crate::sys::memory::c_str(path).unwrap_or_default();
    let status = fs::fstat(walk_inside(root, path, OFlags::PATH)?)?;
    Ok((status.st_uid, status.st_gid))
}

fn open_root(rootfs: &CStr) -> Result<OwnedFd, Error<'_>> {
    fs::open(
        rootfs,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| Error::new(What::Open, rootfs, errno))
}

/// Which group a user is to have.
#[derive(Clone, Copy)]
enum Group<'a, 'g> {
    /// The user's own, with those that list the user.
    OfUser,
    /// One by name or number; errors name the first.
    Named(&'a CStr, &'g [u8]),
    /// That of a file, whose owner is the user: `@PATH`.
    OfOwner,
}

fn resolve_parts<'a>(
    rootfs: &'a CStr,
    object: &'a CStr,
    user: &[u8],
    group: Group<'a, '_>,
) -> Result<Identity, Error<'a>> {
    let root = open_root(rootfs)?;
    if let Group::OfOwner = group {
        let (user, group) = owner(root.as_fd(), object)
            .map_err(|errno| Error::new(What::LookUpUser, object, errno))?;
        return Ok(Identity::new(user, group));
    }
    let number = number(user).map_err(|cause| Error::new(What::LookUpUser, object, cause))?;
    let mut found = false;
    let mut identity = Identity::new(number.unwrap_or_default(), 0);
    each_line(root.as_fd(), c"/etc/passwd", &mut |line| {
        let Some(mut entry) = Entry::parse(line) else {
            return;
        };
        let Some(group) = entry.rest.next().and_then(id) else {
            return;
        };
        let wanted = match number {
            Some(number) => entry.id == number,
            None => entry.name == user,
        };
        if wanted && !found {
            found = true;
            identity.name = Short::new(entry.name);
            // The comment.
            let _ = entry.rest.next();
            (identity.user, identity.group) = (entry.id, group);
            identity.home = entry.rest.next().map(Short::new);
            identity.shell = Short::new(entry.rest.next().unwrap_or_default());
        }
    })
    .map_err(|errno| Error::new(What::ReadPasswd, object, errno))?;
    if !found && number.is_none() {
        return Err(Error::new(What::LookUpUser, object, Why::NoSuchUser).advice(Advice::AddUser));
    }
    match group {
        Group::Named(object, group) => {
            identity.group = resolve_group(root.as_fd(), object, group)?;
        }
        _ => add_groups(root.as_fd(), &mut identity)
            .map_err(|errno| Error::new(What::ReadGroups, object, errno))?,
    }
    Ok(identity)
}

fn resolve_group<'a>(
    root: BorrowedFd<'_>,
    object: &'a CStr,
    group: &[u8],
) -> Result<u32, Error<'a>> {
    if let Some(id) = number(group).map_err(|cause| Error::new(What::LookUpGroup, object, cause))? {
        return Ok(id);
    }
    let mut found = None;
    each_line(root, c"/etc/group", &mut |line| {
        if let (None, Some(entry)) = (found, Entry::parse(line)) {
            found = (entry.name == group).then_some(entry.id);
        }
    })
    .map_err(|errno| Error::new(What::ReadGroupFile, object, errno))?;
    found.ok_or_else(|| {
        Error::new(What::LookUpGroup, object, Why::NoSuchGroup).advice(Advice::AddGroup)
    })
}

fn add_groups(root: BorrowedFd<'_>, identity: &mut Identity) -> Result<(), Errno> {
    let name = identity.name;
    let name = name.as_bytes();
    if name.is_empty() {
        return Ok(());
    }
    let is_whole = each_line(root, c"/etc/group", &mut |line| {
        if let Some(mut entry) = Entry::parse(line) {
            let members = entry.rest.next().unwrap_or_default();
            let member = split(members, b',').any(|one| one == name);
            if member && entry.id != identity.group && !identity.groups().contains(&entry.id) {
                identity.add_group(entry.id);
            }
        }
    })?;
    // A group that is not known could be one whose members may do less.
    if is_whole { Ok(()) } else { Err(Errno::FBIG) }
}

/// A number, or nothing if it is a name; a number that is none of an id is an
/// error, never a name and never another number (CVE-2026-30892).
fn number(text: &[u8]) -> Result<Option<u32>, Why> {
    if text.is_empty() {
        return Err(Why::Empty);
    }
    if !text.iter().all(u8::is_ascii_digit) {
        return Ok(None);
    }
    decimal(text)
        .and_then(|id| u32::try_from(id).ok())
        .filter(|id| *id != u32::MAX)
        .map(Some)
        .ok_or(Why::NoId)
}

/// A line of passwd(5) or group(5).
struct Entry<'a> {
    name: &'a [u8],
    /// The id of the user, or of the group.
    id: u32,
    /// The fields behind it.
    rest: Split<'a>,
}

impl<'a> Entry<'a> {
    #[inline(never)]
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = split(line, b':');
        let name = fields.next()?;
        // The password.
        let _ = fields.next();
        let id = id(fields.next()?)?;
        Some(Self {
            name,
            id,
            rest: fields,
        })
    }
}

fn id(text: &[u8]) -> Option<u32> {
    number(text).ok().flatten()
}

/// Calls `each` for every line of a file inside `root`; a file that is not
/// there has none. A line of more than 16 KiB is passed over: then it returns false.
#[inline(never)]
fn each_line(
    root: BorrowedFd<'_>,
    path: &CStr,
    each: &mut dyn FnMut(&[u8]),
) -> Result<bool, Errno> {
    let file: OwnedFd = match walk_inside(root, path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(true),
        done => done?,
    };
    // A fifo or a device of the image's choice would keep us waiting.
    if file_type(&file)? != fs::FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    text::each_line(file.as_fd(), &mut [0; 16 << 10], each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{ffi::CString, os::unix::ffi::OsStrExt};

    #[test]
    fn numbers_are_exact_or_refused() {
        for text in [
            "",
            "01",
            "00",
            "4294967295",
            "4294967296",
            "99999999999999999999",
        ] {
            assert!(number(text.as_bytes()).is_err(), "{text:?}");
        }
        for text in ["+1", "-1", " 1", "1 ", "root", "1x", "0x1"] {
            assert!(matches!(number(text.as_bytes()), Ok(None)), "{text:?}");
        }
        assert!(matches!(number(b"0"), Ok(Some(0))));
        assert!(matches!(number(b"4294967294"), Ok(Some(4_294_967_294))));
    }

    fn root(name: &str, passwd: &str, group: &str) -> CString {
        let root = std::env::temp_dir().join(format!("fly-user-{name}-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/passwd"), passwd).unwrap();
        std::fs::write(root.join("etc/group"), group).unwrap();
        CString::new(root.as_os_str().as_bytes()).unwrap()
    }

    fn remove(root: &CStr) {
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(root.to_bytes()));
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn names_come_from_the_root() {
        let long = "x".repeat(10_000);
        let root = root(
            "names",
            &format!(
                "root:x:0:0::/root:/bin/sh\n{long}:x:7:7::/:\nann:x:1001:1002::/home/ann:/bin/sh\nbad:x:01:1::/:\nlast:x:5:6::/l:"
            ),
            "ann:x:1002:\nwheel:x:10:root,ann\nvideo:x:44:ann\n",
        );
        let ann = resolve_pair(&root, c"ann").unwrap();
        assert_eq!(
            (ann.user, ann.group, ann.groups()),
            (1001, 1002, &[10, 44][..])
        );
        let by_number = resolve_pair(&root, c"1001").unwrap();
        assert_eq!((by_number.user, by_number.group), (1001, 1002));
        let paired = resolve_pair(&root, c"ann:wheel").unwrap();
        assert_eq!(
            (paired.user, paired.group, paired.groups()),
            (1001, 10, &[][..])
        );
        let last = resolve_pair(&root, c"last:7").unwrap();
        assert_eq!((last.user, last.group), (5, 7));
        let unknown = resolve_pair(&root, c"12345").unwrap();
        assert_eq!((unknown.user, unknown.group), (12345, 0));
        for bad in [
            c"nobody-here",
            c"bad",
            c"1:",
            c":1",
            c"+1",
            c"01",
            c"",
            c"1:nogroup",
            c"4294967295",
        ] {
            assert!(resolve_pair(&root, bad).is_err(), "{bad:?}");
        }
        remove(&root);
    }

    /// The ids that a pair means, by another reading of it.
    fn expected(pair: &str) -> Option<(u32, u32)> {
        let id = |text: &str| {
            let exact = text.parse::<u32>().ok()?;
            (exact.to_string() == text && exact != u32::MAX).then_some(exact)
        };
        match pair.split_once(':') {
            None => Some((id(pair)?, 0)),
            Some((user, group)) => Some((id(user)?, id(group)?)),
        }
    }

    /// Exact ids or an error, whatever the string is (CVE-2026-30892).
    #[test]
    fn pairs_are_exact_or_refused() {
        let root = root("pairs", "", "");
        let named = [
            "1",
            "1:",
            ":1",
            "+1",
            "01",
            "",
            "4294967295",
            "4294967294",
            "4294967296",
            "1:1:1",
            "0x1",
            "18446744073709551616",
            "18446744073709551617:1",
            "1 ",
            " 1",
            "1:4294967295",
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let random = (0..20_000).map(|_| {
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                usize::try_from(state >> 33).expect("31 bits")
            };
            let length = next() % 12;
            (0..length)
                .map(|_| char::from(b"0123456789:1942+- x"[next() % 19]))
                .collect()
        });
        for pair in named.map(str::to_owned).into_iter().chain(random) {
            let text = CString::new(pair.clone()).unwrap();
            let found = resolve_pair(&root, &text);
            let found = found.map(|found| (found.user, found.group)).ok();
            assert_eq!(found, expected(&pair), "{pair:?}");
        }
        remove(&root);
    }
}
