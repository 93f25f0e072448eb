//! Trees of files, read into an archive.

use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use crate::archive::{Archive, DEVICE, DIRECTORY, Entry, FILE, LINK, TYPE};

/// Adds `source`, a file or a directory with all below it, as `target`. The owner is
/// root, or with `keep_owner` the one on the disk. Sockets and pipes are left out.
///
/// # Errors
/// Names the file that can't be read.
pub fn add(
    archive: &mut Archive,
    source: &Path,
    target: &[u8],
    keep_owner: bool,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("read {}: {error}", source.display());
    let status = fs::symlink_metadata(source).map_err(failed)?;
    let mut entry = Entry {
        mode: status.mode(),
        ..Entry::default()
    };
    if keep_owner {
        (entry.user, entry.group) = (status.uid(), status.gid());
    }
    match status.mode() & TYPE {
        FILE => entry.data = fs::read(source).map_err(failed)?,
        LINK => {
            let link = fs::read_link(source).map_err(failed)?;
            entry.data = link.as_os_str().as_bytes().to_vec();
        }
        DEVICE => entry.device = numbers(status.rdev()),
        DIRECTORY => {}
        _ if status.file_type().is_block_device() => entry.device = numbers(status.rdev()),
        _ => return Ok(()),
    }
    archive.add(target, entry);
    if status.is_dir() {
        for below in fs::read_dir(source).map_err(failed)? {
            let below = below.map_err(failed)?;
            let target = [target, b"/", below.file_name().as_bytes()].concat();
            add(archive, &below.path(), &target, keep_owner)?;
        }
    }
    Ok(())
}

/// Major and minor number (makedev(3)); the kernel has 12 and 20 bits of them.
fn numbers(device: u64) -> (u32, u32) {
    let part = |bits: u64| u32::try_from(bits).unwrap_or(0);
    (
        part((device >> 8) & 0xfff),
        part((device & 0xff) | ((device >> 12) & 0xf_ff00)),
    )
}
