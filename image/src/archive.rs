//! The kernel's archive format: cpio with the magic 070701, "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{collections::BTreeMap, fmt::Write};

/// The bits of a mode that tell the type of a file (inode(7)).
pub const TYPE: u32 = 0o170_000;
/// A directory.
pub const DIRECTORY: u32 = 0o040_000;
/// A regular file.
pub const FILE: u32 = 0o100_000;
/// A symbolic link, whose target is its contents.
pub const LINK: u32 = 0o120_000;
/// A character device.
pub const DEVICE: u32 = 0o020_000;

/// What an archive knows of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Type and permissions.
    pub mode: u32,
    /// The owner.
    pub user: u32,
    /// The group.
    pub group: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// The contents of a file, the target of a link.
    pub data: Vec<u8>,
}

/// The files of an archive by their path, which has no slash at its beginning.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl Archive {
    /// Adds a file, in place of what has the same path, and the directories above
    /// it that are missing.
    pub fn add(&mut self, path: &[u8], entry: Entry) {
        let parts: Vec<&[u8]> = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        for count in 1..parts.len() {
            let directory = Entry {
                mode: DIRECTORY | 0o755,
                ..Entry::default()
            };
            let above = parts[..count].join(&b'/');
            self.entries.entry(above).or_insert(directory);
        }
        if !parts.is_empty() {
            self.entries.insert(parts.join(&b'/'), entry);
        }
    }

    /// The number of files.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The archive: sorted by path, which puts directories before what is in them,
    /// with time 0 everywhere, so that the same files give the same bytes.
    ///
    /// # Errors
    /// Names the file that is larger than the format can hold, 4 GB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let end = Entry::default();
        let trailer = (&b"TRAILER!!!"[..], &end);
        let entries = self.entries.iter().map(|(path, entry)| (&path[..], entry));
        for (index, (path, entry)) in (1_u32..).zip(entries.chain([trailer])) {
            write(&mut bytes, index, path, entry)
                .ok_or_else(|| format!("{}: too large", String::from_utf8_lossy(path)))?;
        }
        Ok(bytes)
    }
}

fn write(bytes: &mut Vec<u8>, index: u32, path: &[u8], entry: &Entry) -> Option<()> {
    let size = u32::try_from(entry.data.len()).ok()?;
    let length = u32::try_from(path.len() + 1).ok()?;
    let links = if entry.mode & TYPE == DIRECTORY { 2 } else { 1 };
    let (major, minor) = entry.device;
    // Inode, mode, uid, gid, links, mtime, size, device of the file system,
    // device of a node, length of the name, checksum: 8 digits each.
    let mut header = String::from("070701");
    for field in [
        index,
        entry.mode,
        entry.user,
        entry.group,
        links,
        0,
        size,
        0,
        0,
        major,
        minor,
        length,
        0,
    ] {
        let _ = write!(header, "{field:08x}");
    }
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(path);
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend_from_slice(&entry.data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(order: &[&str]) -> Vec<u8> {
        let mut archive = Archive::default();
        for name in order {
            let entry = Entry {
                mode: FILE | 0o644,
                data: b"contents".to_vec(),
                ..Entry::default()
            };
            archive.add(name.as_bytes(), entry);
        }
        archive.to_bytes().unwrap()
    }

    #[test]
    fn same_files_same_bytes() {
        assert_eq!(sample(&["/b/c", "a"]), sample(&["a", "b/c"]));
    }

    #[test]
    fn readable_by_another_program() {
        use std::{
            io::Write,
            process::{Command, Stdio},
        };
        let mut program = Command::new("busybox");
        program.args(["cpio", "-t"]);
        let started = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        // Where there is none the test of machines, which boots one, remains.
        let Ok(mut child) = started else { return };
        let mut input = child.stdin.take().unwrap();
        input.write_all(&sample(&["b/c/d", "a"])).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "a\nb\nb/c\nb/c/d\n"
        );
    }
}
