//! What a file system has in use.

use std::{ffi::CString, mem::MaybeUninit, os::unix::ffi::OsStrExt, path::Path};

/// How many inodes of the file system of `path` are in use.
///
/// # Panics
/// If it can't be asked.
#[must_use]
pub fn used_inodes(path: &Path) -> u64 {
    let path = CString::new(path.as_os_str().as_bytes()).expect("no zero in it");
    let mut found = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the text ends with a zero, the kernel writes one structure.
    let done = unsafe { libc::statvfs(path.as_ptr(), found.as_mut_ptr()) };
    assert_eq!(done, 0, "statvfs");
    // SAFETY: it was written.
    let found = unsafe { found.assume_init() };
    found.f_files - found.f_ffree
}
