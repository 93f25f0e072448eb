//! Whether the kernel has killed for want of memory: cgroups count it.

use fly::{
    launch::path::Path,
    packed,
    sys::descriptor,
    text::{decimal, split},
};

use super::{config::Config, voice::note};

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
        kills: read(root, path, events, b"oom_kill ")?,
        limit: read(root, path, limit, b""),
    })
}

/// The number behind `key` in a file below /sys/fs/cgroup.
#[inline(never)]
fn read(root: &[u8], path: &[u8], name: &[u8], key: &[u8]) -> Option<u64> {
    let mut buffer = [0; 512];
    let text = read_file(&[b"/sys/fs/cgroup", root, path, name], &mut buffer);
    split(text, b'\n').find_map(|line| decimal(line.strip_prefix(key)?))
}

/// The beginning of the file whose path is `parts` together; empty if it can't be read.
#[inline(never)]
pub fn read_file<'b>(parts: &[&[u8]], buffer: &'b mut [u8]) -> &'b [u8] {
    let mut path = Path::new();
    let _ = path.append(parts);
    descriptor::read_file(path.as_c_str(), buffer)
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
