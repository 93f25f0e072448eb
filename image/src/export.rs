//! A root file system as a tar archive (POSIX pax). No symbolic link is followed, and what
//! is mounted in it is left out, as are sockets, which the format does not have.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    io::{self, BufWriter, Read, Write},
    mem,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use rustix::{
    fd::OwnedFd,
    fs::{
        AtFlags, FileType, Mode, OFlags, RawDir, Statx, StatxFlags, fgetxattr, flistxattr, open,
        openat, readlinkat_raw, statx,
    },
    io::Errno,
};
use tar::{Builder, EntryType, Header};

/// The longest name in a header without a pax record before it.
const SHORT: usize = 100;
/// The longest symbolic link.
const MAX_LINK: usize = 4096;
/// The largest extended attribute.
const MAX_ATTRIBUTE: usize = 65536;
/// Extended attributes that mean something elsewhere, too.
const ATTRIBUTES: [&[u8]; 3] = [b"security.capability", b"user.", b"system.posix_acl_"];

/// The text of an error without its number.
#[must_use]
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// The kernel's answer as std has it, of which rustix knows nothing here: what is built
/// beside this crate would have it, too.
#[must_use]
pub fn error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.raw_os_error())
}

/// Writes all below the directory `root` to `output`, sorted by name.
///
/// # Errors
/// Names what can't be read, or says why it can't be written.
pub fn export(root: &CStr, output: &mut dyn Write) -> Result<(), String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |errno: Errno| format!("its root: {}", plain(&error(errno)));
    let folder = open(root, flags, Mode::empty()).map_err(failed)?;
    let status = status_of(&folder, c"").map_err(failed)?;
    let mut export = Export {
        builder: Builder::new(BufWriter::with_capacity(1 << 16, output)),
        mount: status.stx_mnt_id,
        seen: HashMap::new(),
    };
    if let Err(error) = export.directory(&folder, &status, &mut Vec::new()) {
        // It would be ended as one that is whole.
        mem::forget(export.builder);
        return Err(error);
    }
    let finished = (export.builder.into_inner()).and_then(|mut output| output.flush());
    finished.map_err(|error| plain(&error))
}

struct Export<'o> {
    builder: Builder<BufWriter<&'o mut dyn Write>>,
    /// The mount that it is of.
    mount: u64,
    /// The first names of files that have several, by device and inode.
    seen: HashMap<(u32, u32, u64), Vec<u8>>,
}

/// What is known of `name` in `folder`, or of `folder`.
fn status_of(folder: &OwnedFd, name: &CStr) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let status = statx(
        folder,
        name,
        flags,
        StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
    )?;
    if StatxFlags::from_bits_retain(status.stx_mask).contains(StatxFlags::MNT_ID) {
        Ok(status)
    } else {
        // Before Linux 5.8 it could not be told what is mounted.
        Err(Errno::NOSYS)
    }
}

fn kind(status: &Statx) -> FileType {
    FileType::from_raw_mode(status.stx_mode.into())
}

/// The names in a directory.
fn names(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    let mut buffer: Vec<u8> = Vec::with_capacity(1 << 15);
    let mut entries = RawDir::new(folder, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

impl Export<'_> {
    /// The directory `folder`, which is called `path`, and all in it.
    fn directory(
        &mut self,
        folder: &OwnedFd,
        status: &Statx,
        path: &mut Vec<u8>,
    ) -> Result<(), String> {
        let failed = |path: &[u8], errno: Errno| named(path, &error(errno));
        let attributes = attributes_of(folder).map_err(|errno| failed(path, errno))?;
        let own = if path.is_empty() {
            b"."
        } else {
            path.as_slice()
        };
        self.entry(
            EntryType::Directory,
            &[own, b"/"].concat(),
            b"",
            status,
            &attributes,
        )
        .map_err(|error| named(path, &error))?;
        if status.stx_mnt_id != self.mount {
            return Ok(());
        }
        let names = names(folder).map_err(|errno| failed(path, errno))?;
        let length = path.len();
        for name in names {
            if length > 0 {
                path.push(b'/');
            }
            path.extend(name.to_bytes());
            self.one(folder, &name, path)?;
            path.truncate(length);
        }
        Ok(())
    }

    /// What is called `name` in `folder`.
    fn one(&mut self, folder: &OwnedFd, name: &CStr, path: &mut Vec<u8>) -> Result<(), String> {
        let failed = |path: &[u8], errno: Errno| named(path, &error(errno));
        let status = match status_of(folder, name) {
            // It has gone meanwhile, as is usual where a pod runs.
            Err(Errno::NOENT) => return Ok(()),
            status => status.map_err(|errno| failed(path, errno))?,
        };
        let kind = kind(&status);
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = match openat(folder, name, flags, Mode::empty()) {
                // Gone, or something else by now.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
                inner => inner.map_err(|errno| failed(path, errno))?,
            };
            // Of what was opened.
            let status = status_of(&inner, c"").map_err(|errno| failed(path, errno))?;
            return self.directory(&inner, &status, path);
        }
        if status.stx_mnt_id != self.mount || kind == FileType::Socket {
            return Ok(());
        }
        if kind == FileType::RegularFile {
            return self.file(folder, name, path);
        }
        if self
            .linked(&status, path)
            .map_err(|error| named(path, &error))?
        {
            return Ok(());
        }
        let mut target = Vec::new();
        let entry = match kind {
            FileType::Symlink => {
                target.resize(MAX_LINK, 0);
                let read = readlinkat_raw(folder, name, &mut target[..]);
                target.truncate(read.map_err(|errno| failed(path, errno))?);
                EntryType::Symlink
            }
            FileType::CharacterDevice => EntryType::Char,
            FileType::BlockDevice => EntryType::Block,
            _ => EntryType::Fifo,
        };
        self.entry(entry, path, &target, &status, &[])
            .map_err(|error| named(path, &error))
    }

    fn file(&mut self, folder: &OwnedFd, name: &CStr, path: &[u8]) -> Result<(), String> {
        let failed = |errno: Errno| named(path, &error(errno));
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match openat(folder, name, flags | OFlags::NOCTTY, Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
            opened => opened.map_err(failed)?,
        };
        let status = status_of(&opened, c"").map_err(failed)?;
        // Something else by now.
        if kind(&status) != FileType::RegularFile || status.stx_mnt_id != self.mount {
            return Ok(());
        }
        let failed = |error: io::Error| named(path, &error);
        if self.linked(&status, path).map_err(failed)? {
            return Ok(());
        }
        let attributes = attributes_of(&opened).map_err(|errno| failed(error(errno)))?;
        let header = self
            .header(EntryType::Regular, path, b"", &status, &attributes)
            .map_err(failed)?;
        let data = Exact {
            file: opened,
            left: status.stx_size,
        };
        self.builder.append(&header, data).map_err(failed)
    }

    /// Whether it is there by another name already; then it is a link to that.
    fn linked(&mut self, status: &Statx, path: &[u8]) -> io::Result<bool> {
        if status.stx_nlink < 2 {
            return Ok(false);
        }
        let key = (status.stx_dev_major, status.stx_dev_minor, status.stx_ino);
        if let Some(first) = self.seen.get(&key) {
            let first = first.clone();
            self.entry(EntryType::Link, path, &first, status, &[])?;
            return Ok(true);
        }
        self.seen.insert(key, path.to_vec());
        Ok(false)
    }

    /// An entry without contents.
    fn entry(
        &mut self,
        kind: EntryType,
        path: &[u8],
        target: &[u8],
        status: &Statx,
        attributes: &[(String, Vec<u8>)],
    ) -> io::Result<()> {
        let header = self.header(kind, path, target, status, attributes)?;
        self.builder.append(&header, io::empty())
    }

    /// The header of an entry; what does not fit in it is in a record that is written
    /// before.
    fn header(
        &mut self,
        kind: EntryType,
        path: &[u8],
        target: &[u8],
        status: &Statx,
        attributes: &[(String, Vec<u8>)],
    ) -> io::Result<Header> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(u32::from(status.stx_mode) & 0o7777);
        header.set_uid(status.stx_uid.into());
        header.set_gid(status.stx_gid.into());
        let size = if kind == EntryType::Regular {
            status.stx_size
        } else {
            0
        };
        header.set_size(size);
        let seconds = status.stx_mtime.tv_sec;
        header.set_mtime(u64::try_from(seconds).unwrap_or(0));
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(status.stx_rdev_major)?;
            header.set_device_minor(status.stx_rdev_minor)?;
        }
        let mut records: Vec<(&str, &[u8])> = Vec::new();
        let old = header.as_old_mut();
        put(&mut old.name, path);
        put(&mut old.linkname, target);
        if path.len() > SHORT {
            records.push(("path", path));
        }
        if target.len() > SHORT {
            records.push(("linkpath", target));
        }
        let early = seconds.to_string();
        if seconds < 0 {
            records.push(("mtime", early.as_bytes()));
        }
        for (name, value) in attributes {
            records.push((name, value));
        }
        if !records.is_empty() {
            self.builder.append_pax_extensions(records)?;
        }
        header.set_cksum();
        Ok(header)
    }
}

fn put(field: &mut [u8; SHORT], bytes: &[u8]) {
    for (place, byte) in field.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

fn named(path: &[u8], error: &io::Error) -> String {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    format!("/{}: {}", path.display(), plain(error))
}

/// The extended attributes of a file as names and values of pax records.
fn attributes_of(file: &OwnedFd) -> Result<Vec<(String, Vec<u8>)>, Errno> {
    let mut list = vec![0; MAX_ATTRIBUTE];
    let length = match flistxattr(file, &mut list[..]) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        length => length?,
    };
    let mut attributes = Vec::new();
    for name in list[..length].split(|byte| *byte == 0) {
        let wanted = ATTRIBUTES.iter().any(|start| name.starts_with(start));
        let (true, Ok(text)) = (wanted, std::str::from_utf8(name)) else {
            continue;
        };
        let mut value = vec![0; MAX_ATTRIBUTE];
        let length = match fgetxattr(file, text, &mut value[..]) {
            Err(Errno::NODATA) => continue,
            length => length?,
        };
        value.truncate(length);
        attributes.push((format!("SCHILY.xattr.{text}"), value));
    }
    Ok(attributes)
}

/// As much of a file as was promised; what is added meanwhile is left out.
struct Exact {
    file: OwnedFd,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = rustix::io::read(&self.file, &mut buffer[..most]).map_err(error)?;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        self.left -= u64::try_from(count).unwrap_or(0);
        Ok(count)
    }
}
