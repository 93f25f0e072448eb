//! Packs the guest's first root: a cpio archive in the kernel's format (newc,
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{fmt::Write, fs};

use crate::roots::BUSYBOX;

/// The archive: busybox, the modules in `/modules` with their `order`, and
/// `script` as `/init`.
///
/// # Errors
/// If busybox can't be read.
pub fn pack(script: &str, modules: &[(String, Vec<u8>)]) -> Result<Vec<u8>, String> {
    const DIRECTORY: u32 = 0o040_755;
    const PROGRAM: u32 = 0o100_755;
    const FILE: u32 = 0o100_644;
    let busybox = fs::read(BUSYBOX).map_err(|error| format!("{BUSYBOX}: {error}"))?;
    let mut archive = Archive::default();
    for folder in [
        "bin", "dev", "modules", "proc", "sys", "lower", "upper", "root",
    ] {
        archive.add(folder, DIRECTORY, b"");
    }
    archive.add("bin/busybox", PROGRAM, &busybox);
    let mut order = String::new();
    for (name, data) in modules {
        archive.add(&format!("modules/{name}"), FILE, data);
        let _ = writeln!(order, "{name}");
    }
    archive.add("modules/order", FILE, order.as_bytes());
    archive.add("init", PROGRAM, script.as_bytes());
    archive.add("TRAILER!!!", 0, b"");
    Ok(archive.bytes)
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    count: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.count += 1;
        let size = u32::try_from(data.len()).expect("a small file");
        let length = u32::try_from(name.len() + 1).expect("a short name");
        // magic, inode, mode, uid, gid, links, mtime, size, major, minor,
        // rmajor, rminor, length of the name, checksum: hex, 8 digits each.
        let mut header = String::from("070701");
        for field in [self.count, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0] {
            let _ = write!(header, "{field:08x}");
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_padding_of_an_entry() {
        let mut archive = Archive::default();
        archive.add("init", 0o100_755, b"hi");
        let text = String::from_utf8_lossy(&archive.bytes).into_owned();
        assert!(text.starts_with("07070100000001000081ed"));
        assert_eq!(&text[110..], "init\0\0hi\0\0");
        assert_eq!(archive.bytes.len() % 4, 0);
    }
}
