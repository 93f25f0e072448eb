//! Limits of a pod by control groups: directories of its own, in which they are
//! written before it has a process.

use core::ffi::CStr;

use rustix::{
    fd::BorrowedFd,
    fs::{self, Mode, OFlags},
    io::{self, Errno},
};

use super::{explain, path::Path};
use crate::{
    error::{Advice, Error, What, Why},
    plan::{Kind, Plan, Step},
    sys::{descriptor, memory},
    text::split,
};

/// How often a directory above is made again that another pod has removed: it was
/// that one's, and empty for a moment.
const TRIES: usize = 16;

/// Makes `path`, see [`crate::plan::Step::MakeCgroup`].
///
/// # Errors
/// What keeps it from being made.
#[inline(never)]
pub(super) fn make(mount: u64, path: &CStr) -> Result<(), Error<'_>> {
    let mount = usize::try_from(mount).unwrap_or(usize::MAX);
    let mut made = make_directory(path);
    for _ in 0..TRIES {
        if made != Err(Errno::NOENT) {
            break;
        }
        made = make_above(mount, path).and_then(|()| make_directory(path));
    }
    made.map_err(|errno| {
        const ADVICES: &explain::Advices = &[
            (Errno::ACCESS, Advice::NeedsDelegation),
            (Errno::PERM, Advice::NeedsDelegation),
            (Errno::ROFS, Advice::NeedsDelegation),
            (Errno::AGAIN, Advice::CgroupLimit),
        ];
        explain::error(What::MakeCgroup, path, errno, ADVICES)
    })
}

/// Enables the controllers of the cgroup of version 2 whose file `limit` is missing:
/// most pods find them enabled, by the first one in the same place.
///
/// # Errors
/// What keeps them from being enabled.
#[cold]
#[inline(never)]
fn enable_for<'p>(plan: &Plan<'p>, limit: &CStr) -> Result<(), Error<'p>> {
    let mut records = plan.steps().records();
    let made = records.find(|record| {
        record.is(Kind::MakeCgroup)
            && record.flags & Step::ENABLE != 0
            && folder(limit) == record.list.first().to_bytes()
    });
    let Some(made) = made else { return Ok(()) };
    let (path, controllers) = (made.list.first(), made.list.second());
    let mount = usize::try_from(made.number).unwrap_or(usize::MAX);
    enable(mount, path, controllers).map_err(|errno| {
        const ADVICES: &explain::Advices = &[
            (Errno::ACCESS, Advice::NeedsDelegation),
            (Errno::PERM, Advice::NeedsDelegation),
            (Errno::ROFS, Advice::NeedsDelegation),
            (Errno::NOENT, Advice::NotDelegated),
            (Errno::BUSY, Advice::HoldsProcesses),
        ];
        if let Some(object) = missing(mount, path, controllers) {
            return Error::new(What::Find, object, Why::NoController)
                .advice(Advice::MountController);
        }
        explain::error(What::EnableControllers, path, errno, ADVICES)
    })
}

/// The one of the controllers that the hierarchy has not at all.
fn missing(mount: usize, path: &CStr, controllers: &CStr) -> Option<&'static CStr> {
    const OBJECTS: [(&[u8], &CStr); 3] = [
        (b"+memory", c"the controller memory"),
        (b"+cpu", c"the controller cpu"),
        (b"+pids", c"the controller pids"),
    ];
    let top = path.to_bytes().get(..mount)?;
    let has = |word: &[u8]| {
        let mut top = Path::of(&[top])?;
        has_all(&mut top, b"/cgroup.controllers", word)
    };
    let mut objects = OBJECTS.into_iter().filter(|(word, _)| {
        split(controllers.to_bytes(), b' ').any(|other| other == *word) && has(word) == Ok(false)
    });
    objects.next().map(|(_, object)| object)
}

/// That co-mounted controllers have one directory is no error: nobody else has the
/// name, which is random.
fn make_directory(path: &CStr) -> Result<(), Errno> {
    match fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}

/// Calls `each` for the directories on the way from the mount to `path`, without it.
fn each_above(
    mount: usize,
    path: &CStr,
    each: &mut dyn FnMut(&mut Path) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let bytes = path.to_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        if *byte == b'/' && index >= mount {
            each(&mut Path::of(&[bytes.get(..index).unwrap_or_default()])?)?;
        }
    }
    Ok(())
}

#[cold]
#[inline(never)]
fn make_above(mount: usize, path: &CStr) -> Result<(), Errno> {
    each_above(mount, path, &mut |above| {
        if above.as_bytes().len() == mount {
            return Ok(());
        }
        match make_directory(above.as_c_str()) {
            // Another pod has removed what it is in: the next try makes it.
            Err(Errno::NOENT) => Ok(()),
            done => done,
        }
    })
}

/// Nothing is written where all of them are enabled already: a write may wait for
/// the end of cgroups that were removed.
fn enable(mount: usize, path: &CStr, controllers: &CStr) -> Result<(), Errno> {
    let wanted = controllers.to_bytes();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut own = Path::of(&[path.to_bytes()])?;
    if !has_all(&mut own, b"/cgroup.controllers", wanted)? {
        each_above(mount, path, &mut |above| {
            if has_all(above, b"/cgroup.subtree_control", wanted)? {
                return Ok(());
            }
            write(above.as_c_str(), wanted)
        })?;
    }
    // The kernel refuses only some controllers where there are processes above; with
    // the others it makes a cgroup that can hold none.
    own.cut(path.count_bytes());
    own.append(&[b"/cgroup.type"])?;
    let mut buffer = [0; 32];
    match descriptor::read_file(own.as_c_str(), &mut buffer) {
        b"domain invalid\n" => Err(Errno::BUSY),
        _ => Ok(()),
    }
}

/// Whether the file `name` in `folder` names all that are `wanted`; `folder` is then the
/// file's path.
fn has_all(folder: &mut Path, name: &[u8], wanted: &[u8]) -> Result<bool, Errno> {
    folder.append(&[name])?;
    let mut buffer = [0; 256];
    let text = descriptor::read_file(folder.as_c_str(), &mut buffer);
    let line = split(text, b'\n').next().unwrap_or_default();
    let is_there = |word: &[u8]| split(line, b' ').any(|other| Some(other) == word.get(1..));
    Ok(split(wanted, b' ').all(is_there))
}

const WRITE: OFlags = OFlags::WRONLY.union(OFlags::CLOEXEC);

fn write(path: &CStr, value: &[u8]) -> Result<(), Errno> {
    let file = fs::open(path, WRITE, Mode::empty())?;
    io::write(&file, value).map(drop)
}

fn write_in(folder: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let file = fs::openat(folder, name, WRITE, Mode::empty())?;
    io::write(&file, value).map(drop)
}

/// Writes `value` into the file at `path`, whose directory may be open already: then its
/// name is enough, and the kernel has a shorter way to it.
///
/// # Errors
/// As open(2) and write(2).
#[inline(never)]
pub(super) fn limit<'p>(
    plan: &Plan<'p>,
    cgroup: Option<BorrowedFd<'_>>,
    path: &'p CStr,
    value: &CStr,
) -> Result<(), Error<'p>> {
    const ADVICES: &explain::Advices = &[
        (Errno::NOENT, Advice::NoSuchLimit),
        (Errno::INVAL, Advice::NotPossibleHere),
        // Of a disk's rates.
        (Errno::NODEV, Advice::WholeDisk),
    ];
    let write = || match cgroup {
        Some(cgroup) => write_in(cgroup, name(path), value.to_bytes()),
        None => write(path, value.to_bytes()),
    };
    let mut written = write();
    if written == Err(Errno::NOENT) {
        enable_for(plan, path)?;
        written = write();
    }
    if written == Err(Errno::NOENT) && wait_for_files(path).is_ok() {
        written = write();
    }
    written.map_err(|errno| explain::error(What::LimitBy, path, errno, ADVICES))
}

/// Another pod enables the controllers at this moment: they are told to be there
/// before their files are. A write that changes nothing waits for its end, of version 2.
#[cold]
#[inline(never)]
fn wait_for_files(limit: &CStr) -> Result<(), Errno> {
    let own = Path::of(&[folder(limit), b"/cgroup.subtree_control"])?;
    write(own.as_c_str(), b"\n")
}

/// What the file is called in there.
fn name(path: &CStr) -> &CStr {
    let bytes = path.to_bytes_with_nul();
    let name = bytes.get(folder(path).len() + 1..);
    name.and_then(memory::c_str).unwrap_or(path)
}

/// The directory that the file is in.
fn folder(path: &CStr) -> &[u8] {
    let bytes = path.to_bytes();
    let slash = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    bytes.get(..slash).unwrap_or_default()
}

/// Moves this process, which has one thread, into the cgroup of version 1 at `path`, by
/// `tasks`: see [`super::process`].
///
/// # Errors
/// As open(2) and write(2).
#[inline(never)]
pub(super) fn join(path: &CStr) -> Result<(), Error<'_>> {
    // In its place at once: it is a page.
    let mut file = Path::new();
    file.append(&[path.to_bytes(), b"/tasks"])
        .and_then(|()| write(file.as_c_str(), b"0"))
        .map_err(|errno| {
            let advice = match errno {
                // With CONFIG_RT_GROUP_SCHED, as the new one has no cpu.rt_runtime_us.
                Errno::INVAL => Advice::NotRealTime,
                _ => Advice::NoCgroup,
            };
            Error::new(What::Join, path, errno).advice(advice)
        })
}

/// Moves this process, which has one thread, into the cgroup of version 2 at `path`.
///
/// # Errors
/// As mkdir(2), open(2) and write(2).
#[cold]
#[inline(never)]
pub(super) fn leaf(path: &CStr) -> Result<(), Error<'_>> {
    const ADVICES: &explain::Advices = &[
        (Errno::ACCESS, Advice::NeedsDelegation),
        (Errno::PERM, Advice::NeedsDelegation),
        (Errno::ROFS, Advice::NeedsDelegation),
    ];
    let done = make_directory(path).and_then(|()| {
        let file = Path::of(&[path.to_bytes(), b"/cgroup.procs"])?;
        write(file.as_c_str(), b"0")
    });
    done.map_err(|errno| explain::error(What::MoveInto, path, errno, ADVICES))
}
