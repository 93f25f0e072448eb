//! Whether the kernel has killed for want of memory: cgroups count it.

use core::ffi::CStr;

use fly::{
    packed,
    sys::descriptor,
    text::{Digits, decimal, split},
};

use super::{config::Config, voice::note};

/// A text that is put together, cut at its end.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Text<N> {
    pub fn new() -> Self {
        Self {
            bytes: [0; N],
            used: 0,
        }
    }

    #[inline(never)]
    pub fn add(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            // The last byte stays 0.
            if let Some([place, _, ..]) = self.bytes.get_mut(self.used..) {
                *place = *byte;
                self.used += 1;
            }
        }
        self
    }

    pub fn number(&mut self, value: u64) -> &mut Self {
        self.add(Digits::new(value, 10).as_bytes())
    }

    pub fn as_c_str(&self) -> &CStr {
        fly::sys::memory::c_str(&self.bytes).unwrap_or_default()
    }
}

/// How many processes were killed in the cgroup that this process is in, and its
/// limit in bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    kills: u64,
    limit: Option<u64>,
}

/// Reads both; nothing where there is no such cgroup.
///
/// A cgroup that is the root of a namespace, or that is mounted for a container
/// alone, is at the top, whatever its path.
#[inline(never)]
pub fn look() -> Option<Memory> {
    let mut buffer = [0; 1024];
    for line in split(
        descriptor::read_file(c"/proc/self/cgroup", &mut buffer),
        b'\n',
    ) {
        // HIERARCHY:CONTROLLERS:PATH; version 2 has no controllers here.
        let mut fields = split(line, b':');
        let _ = fields.next();
        let is_version_2 = match fields.next() {
            Some(b"") => true,
            Some(b"memory") => false,
            _ => continue,
        };
        for path in [fields.rest(), b""] {
            if let found @ Some(_) = look_at(is_version_2, path) {
                return found;
            }
        }
    }
    None
}

#[inline(never)]
fn look_at(is_version_2: bool, path: &[u8]) -> Option<Memory> {
    let (root, events, limit): (&[u8], &[u8], &[u8]) = if is_version_2 {
        (b"", b"/memory.events", b"/memory.max")
    } else {
        (
            b"/memory",
            b"/memory.oom_control",
            b"/memory.limit_in_bytes",
        )
    };
    Some(Memory {
        kills: read(&[root, path, events], b"oom_kill ")?,
        limit: read(&[root, path, limit], b""),
    })
}

/// The number behind `key` in a file below /sys/fs/cgroup.
#[inline(never)]
fn read(name: &[&[u8]], key: &[u8]) -> Option<u64> {
    let mut path = Text::<512>::new();
    path.add(b"/sys/fs/cgroup");
    for part in name {
        path.add(part);
    }
    let mut buffer = [0; 512];
    let text = descriptor::read_file(path.as_c_str(), &mut buffer);
    split(text, b'\n').find_map(|line| decimal(line.strip_prefix(key)?))
}

/// Says it, in one line, if the program was killed for want of memory.
#[cold]
pub fn tell(config: &Config, before: Option<Memory>) {
    if let (Some(before), Some(now)) = (before, look())
        && now.kills > before.kills
    {
        let text = match now.limit {
            Some(_) => packed!("run ^: out of memory (raise the limit of its cgroup, { MiB)"),
            None => packed!("run ^: out of memory"),
        };
        let limit = now.limit.unwrap_or(0) >> 20;
        note(config, text, u32::try_from(limit).unwrap_or(0), 0);
    }
}
