//! Pools: pods of one kind that are parked, some more than are needed now. Who takes one
//! has it made up for when its program has ended; there is no daemon.

use core::ffi::CStr;

use fly::{
    beside,
    launch::path::Path,
    sys::{clone, descriptor, entry::Strings, lock},
};
use rustix::{
    fd::AsFd,
    fs::{self, Mode, OFlags},
    io::Errno,
    process::setsid,
};
use stage1_init::LOCK;

use crate::{
    client,
    state::{self, Folder},
    uuid,
};

/// The path of the pool `name`; `root` is that of the folder of all states. Behind it what
/// `parts` say.
///
/// # Errors
/// ENAMETOOLONG.
pub fn path(root: &[u8], name: &CStr, parts: &[&[u8]]) -> Result<Path, Errno> {
    let mut path = Path::of(&[root, b"/pools/", name.to_bytes()])?;
    path.append(parts)?;
    Ok(path)
}

/// Takes a pod out of the pool: nobody else gets it. `None` if there is none that is parked.
#[cold]
#[inline(never)]
pub fn take(root: &[u8], name: &CStr) -> Option<[u8; uuid::LENGTH]> {
    let folder = path(root, name, &[]).ok()?;
    let mut taken = None;
    descriptor::each_name(folder.as_c_str(), &mut |word| {
        let is_one = taken.is_none() && uuid::is_one(word);
        if let (true, Ok(mark), Ok(uuid)) =
            (is_one, path(root, name, &[b"/", word]), word.try_into())
            && fs::unlink(mark.as_c_str()).is_ok()
            && is_parked(root, word)
        {
            taken = Some(uuid);
        }
    });
    taken
}

/// Whether the pod is there, and its pid 1.
#[cold]
#[inline(never)]
pub fn is_parked(root: &[u8], uuid: &[u8]) -> bool {
    let is_taken = || {
        let mut path = state::path(root, Folder::Prepared, uuid)?;
        path.append(&[b"/", LOCK.to_bytes()])?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::open(path.as_c_str(), flags, Mode::empty())?;
        lock::is_taken(file.as_fd(), 2)
    };
    is_taken() == Ok(true)
}

/// Has the pool filled again, by a process of which nobody sees anything.
#[cold]
#[inline(never)]
pub fn fill_behind(
    name: &'static CStr,
    given: Option<&'static CStr>,
    environment: Strings,
    words: &'static mut [usize],
) {
    let mut words = Some(words);
    let _ = clone::fork(0, || {
        let _ = setsid();
        let _ = client::silence(3);
        let option = [c"--state-dir", given.unwrap_or_default()];
        let option = option.iter().filter(|_| given.is_some());
        let command = [c"stage0", c"pool"];
        let mut arguments = command.iter().chain(option).chain([&name]).copied();
        if let Some(words) = words.take() {
            let _ = beside::become_program(
                c"stage0-full",
                &mut arguments,
                &mut environment.iter(),
                words,
            );
        }
        fly::error::FAILURE
    });
}
