//! Whether the kernel has killed for want of memory: cgroups count it.

use core::ffi::CStr;

use fly::{
    sys::descriptor,
    text::{Digits, Line, decimal, split},
};

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
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
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
        let controllers = fields.next();
        let path = fields.rest();
        let files: [&[u8]; 3] = match controllers {
            Some(b"") => [b"/sys/fs/cgroup", b"/memory.events", b"/memory.max"],
            Some(b"memory") => [
                b"/sys/fs/cgroup/memory",
                b"/memory.oom_control",
                b"/memory.limit_in_bytes",
            ],
            _ => continue,
        };
        for path in [path, b""] {
            if let found @ Some(_) = look_at(files, path) {
                return found;
            }
        }
    }
    None
}

fn look_at([root, events, limit]: [&[u8]; 3], path: &[u8]) -> Option<Memory> {
    let mut buffer = [0; 512];
    let mut read = |file: &[u8], key: &[u8]| {
        let mut name = Text::<512>::new();
        name.add(root).add(path).add(file);
        let text = descriptor::read_file(name.as_c_str(), &mut buffer);
        split(text, b'\n').find_map(|line| decimal(line.strip_prefix(key)?))
    };
    Some(Memory {
        kills: read(events, b"oom_kill ")?,
        limit: read(limit, b""),
    })
}

/// Adds what is known of a death by SIGKILL to `line`; false if memory was not
/// its reason.
#[cold]
pub fn verdict(before: Option<Memory>, line: &mut Line) -> bool {
    let (Some(before), Some(now)) = (before, look()) else {
        return false;
    };
    if let Some(limit) = now.limit {
        line.text(" (raise the limit of its cgroup, ")
            .number(limit)
            .text(" bytes)");
    }
    now.kills > before.kills
}
