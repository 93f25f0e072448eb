//! What an app's own process does before it is the program: session,
//! credentials, confinement, exec. pid 1 does this for each app of a pod; `fly`
//! does it in the process that was called.

use core::{ffi::CStr, iter::from_fn};

use rustix::{
    fs::Mode,
    io::Errno,
    process::{self, Gid, Uid},
    thread::{self, CapabilitySet, CapabilitySets},
};

use super::{explain, guard, path::Path};
use crate::{
    error::{Advice, Error, What, Why},
    plan::{List, Record, Step, match_step},
    sys::{
        descriptor,
        exec::{self, Pointers},
        path, seccomp, signal,
    },
    text::{holds, split},
    user::MAX_GROUPS,
};

/// Carries out one step of an app. `words` is room for exec's pointers.
///
/// # Errors
/// The step that failed. [`Step::Exec`] returns only if it failed.
pub fn step<'p>(record: &Record<'p>, words: &mut [usize]) -> Result<(), Error<'p>> {
    match_step!(record {
        // A name: pid 1 reads it, nothing is done.
        App { name } => {
            let _ = name;
            Ok(())
        },
        WorkingDirectory { path } => working_directory(path),
        Groups { ids } => groups(ids),
        Group { id } => {
            let id = Gid::from_raw(u32::try_from(id).unwrap_or(u32::MAX));
            thread::set_thread_res_gid(id, id, id)
                .map_err(|errno| explain::credentials(What::SetGroup, errno))
        },
        User { id } => {
            let id = Uid::from_raw(u32::try_from(id).unwrap_or(u32::MAX));
            thread::set_thread_res_uid(id, id, id)
                .map_err(|errno| explain::credentials(What::SetUser, errno))
        },
        Capabilities { keep } => capabilities(keep, false),
        Exec {
            flags,
            arguments,
            strings,
        } => Err(program((flags & Step::GUARD != 0, None), arguments, strings, words)),
        // A policy: pid 1 reads it, nothing is done.
        Stop { signal, deadline } => {
            let _ = (signal, deadline);
            Ok(())
        },
        AppSession { flags } => session(flags),
        AppUmask { mask } => {
            // A checked plan holds no other bits.
            process::umask(Mode::from_raw_mode(u32::try_from(mask & 0o777).unwrap_or(0o77)));
            Ok(())
        },
        Bounding { keep } => bound(keep),
        NoNewPrivileges {} => thread::set_no_new_privs(true)
            .map_err(|errno| Error::new(What::Set, c"no-new-privileges", errno)),
        Seccomp { filter } => seccomp::load(filter)
            .map_err(|errno| Error::new(What::Set, c"a system call filter", errno)),
        Unblock {} => {
            signal::set_mask(signal::Set::EMPTY);
            Ok(())
        },
        _ => super::limits::step(record),
    })
}

/// Away from the caller's terminal, so that the app can't type into it
/// (CVE-2017-5226). pid 1 is in a session without a terminal already: a process
/// group in it is enough, and setsid would cost 7 µs more (it makes a group of
/// the scheduler's).
fn session<'p>(flags: u16) -> Result<(), Error<'p>> {
    let done = if flags & (Step::TERMINAL | Step::DETACHED) == 0 {
        process::setpgid(None, None)
    } else {
        let begun = process::setsid().map(drop);
        if begun.is_ok() && flags & Step::TERMINAL != 0 {
            process::ioctl_tiocsctty(descriptor::get(0))
        } else {
            begun
        }
    };
    done.map_err(|errno| Error::new(What::StartSession, c"", errno))
}

/// Opened without magic links, so that no descriptor of the host's can be
/// named (CVE-2024-21626: a working directory of /proc/self/fd/N).
#[inline(never)]
fn working_directory(directory: &CStr) -> Result<(), Error<'_>> {
    const ADVICES: &explain::Advices = &[
        (Errno::LOOP, Advice::MagicLink),
        (Errno::NOENT, Advice::WorkingDirectoryMissing),
    ];
    path::enter(directory).map_err(|errno| explain::error(What::Enter, directory, errno, ADVICES))
}

#[inline(never)]
fn groups<'p>(ids: &[u8]) -> Result<(), Error<'p>> {
    let mut list = [Gid::ROOT; MAX_GROUPS];
    let mut count = 0;
    for (place, id) in list.iter_mut().zip(ids.as_chunks().0) {
        *place = Gid::from_raw(u32::from_ne_bytes(*id));
        count += 1;
    }
    thread::set_thread_groups(list.get(..count).unwrap_or_default())
        .map_err(|errno| explain::credentials(What::SetGroups, errno))
}

/// Drops all capabilities but `keep` from the bounding set
/// (PR_CAPBSET_DROP): no exec can bring them back.
pub(super) fn bound<'p>(keep: u64) -> Result<(), Error<'p>> {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if keep & one.bits() != 0 {
            continue;
        }
        match thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The kernel knows no more capabilities than those before.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(explain::credentials(What::LimitCapabilities, errno)),
        }
    }
    Ok(())
}

/// Permitted and effective become `keep`; inheritable becomes empty, and with it
/// the ambient set; or, with `inherit`, both become `keep`, too: only so does a user
/// that is not root have capabilities behind an exec (capabilities(7)).
#[inline(never)]
pub(super) fn capabilities<'p>(keep: u64, inherit: bool) -> Result<(), Error<'p>> {
    let keep = CapabilitySet::from_bits_retain(keep);
    let sets = |keep| CapabilitySets {
        effective: keep,
        permitted: keep,
        inheritable: if inherit {
            keep
        } else {
            CapabilitySet::empty()
        },
    };
    let done = match thread::set_capabilities(None, sets(keep)) {
        // Some of them are not held: in a container of somebody else's.
        Err(Errno::PERM) => thread::capabilities(None)
            .and_then(|held| thread::set_capabilities(None, sets(keep & held.permitted))),
        done => done,
    };
    if inherit {
        return done.and_then(|()| raise(keep.bits())).map_err(|errno| {
            const ADVICES: &explain::Advices = &[(Errno::PERM, Advice::NotHeld)];
            explain::error(What::SetCapabilities, c"", errno, ADVICES)
        });
    }
    done.map_err(|errno| explain::credentials(What::SetCapabilities, errno))
}

/// Makes capabilities ambient; EPERM for one that is not held.
#[cold]
fn raise(set: u64) -> Result<(), Errno> {
    (0..64)
        .filter(|number| set & (1 << number) != 0)
        .try_for_each(|number| {
            let one = CapabilitySet::from_bits_retain(1 << number);
            thread::configure_capability_in_ambient_set(one, true)
        })
}

/// The arguments and the environment of `strings`, which begin with a path, and one
/// more variable, as exec takes them; `None` if `words` is too small.
#[inline(never)]
pub(super) fn pointers<'a>(
    arguments: u64,
    strings: List<'a>,
    mut more: Option<&'a CStr>,
    words: &'a mut [usize],
) -> Option<(Pointers<'a>, Pointers<'a>)> {
    let mut texts = strings.iter();
    // The path.
    let _ = texts.next();
    let count = usize::try_from(arguments).unwrap_or(usize::MAX);
    let (list, room) = Pointers::write(words, &mut texts.by_ref().take(count))?;
    let mut variables = from_fn(|| texts.next().or_else(|| more.take()));
    Some((list, Pointers::write(room, &mut variables)?.0))
}

/// Becomes the program.
#[inline(never)]
fn program<'p>(
    (guarded, more): (bool, Option<&CStr>),
    arguments: u64,
    strings: List<'p>,
    words: &mut [usize],
) -> Error<'p> {
    let name = strings.first();
    let Some((list, variables)) = pointers(arguments, strings, more, words) else {
        return Error::new(What::Exec, name, Why::TooManyStrings);
    };
    find(arguments, strings, &mut |file| {
        execute(guarded, file, list, variables)
    })
}

/// Becomes the program of a [`Step::Exec`], with one more variable.
#[cold]
#[inline(never)]
pub fn execute_with<'p>(record: &Record<'p>, variable: &CStr, words: &mut [usize]) -> Error<'p> {
    program((false, Some(variable)), record.number, record.list, words)
}

/// Looks the program up and calls `execute` with it; returns why it could not be
/// executed.
#[inline(never)]
pub(super) fn find<'p>(
    arguments: u64,
    strings: List<'p>,
    execute: &mut dyn FnMut(&CStr) -> Errno,
) -> Error<'p> {
    let name = strings.first();
    if holds(name.to_bytes(), b'/') {
        return explain::exec(name, name, execute(name));
    }
    let path = variable(arguments, strings, b"PATH=").unwrap_or(DEFAULT_PATH);
    search(name, path, execute)
}

/// The value of the variable with this beginning, of those of `strings`.
#[inline(never)]
pub(super) fn variable<'p>(arguments: u64, strings: List<'p>, name: &[u8]) -> Option<&'p [u8]> {
    let count = usize::try_from(arguments).unwrap_or(usize::MAX);
    let mut value = None;
    for variable in strings.iter().skip(1).skip(count) {
        value = variable.to_bytes().strip_prefix(name).or(value);
    }
    value
}

/// Executes `file`; returns why it could not.
fn execute(guarded: bool, file: &CStr, list: Pointers<'_>, variables: Pointers<'_>) -> Errno {
    if guarded && let Err(errno) = guard::refuse_magic_links(file) {
        return errno;
    }
    exec::execve(file, list, variables)
}

/// The variable that says where programs are looked for, if nobody has set it.
pub const DEFAULT_PATH_VARIABLE: &CStr =
    c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Its value.
const DEFAULT_PATH: &[u8] = DEFAULT_PATH_VARIABLE.to_bytes().split_at(b"PATH=".len()).1;

/// As execvp(3): a program that may not be executed is remembered, the search
/// goes on.
fn search<'p>(name: &'p CStr, path: &[u8], execute: &mut dyn FnMut(&CStr) -> Errno) -> Error<'p> {
    let mut error = Error::new(What::Exec, name, Errno::NOENT).advice(Advice::NotInPath);
    each_candidate(name, path, &mut |candidate| {
        match execute(candidate) {
            Errno::NOENT if !explain::exists(candidate) => return false,
            Errno::NOTDIR => return false,
            Errno::ACCESS => {
                error = Error::new(What::Exec, name, Errno::ACCESS).advice(Advice::FoundButRefused);
                return false;
            }
            errno => error = explain::exec(name, candidate, errno),
        }
        true
    });
    error
}

/// Calls `each` with `name` in each folder of `path`, until it says that this was it.
#[inline(never)]
pub fn each_candidate(name: &CStr, path: &[u8], each: &mut dyn FnMut(&CStr) -> bool) {
    let mut candidate = Path::new();
    for folder in split(path, b':') {
        // An empty folder is the working directory.
        let folder = if folder.is_empty() { b"." } else { folder };
        candidate.cut(0);
        let parts = [folder, b"/", name.to_bytes()];
        if candidate.append(&parts).is_ok() && each(candidate.as_c_str()) {
            return;
        }
    }
}
