//! Extended attributes of files (xattr(7)).

use std::{ffi::CString, io, os::unix::ffi::OsStrExt, path::Path};

/// Sets the attribute `name` of `path`.
///
/// # Errors
/// As setxattr(2).
///
/// # Panics
/// For a zero byte.
pub fn set(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).expect("no zero byte");
    let name = CString::new(name).expect("no zero byte");
    // SAFETY: two zero-terminated strings, and as many bytes as are said.
    let done = unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
