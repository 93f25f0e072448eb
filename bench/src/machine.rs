//! What the figures depend on.

use std::{
    ffi::CString,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{awake::Awake, json::Value};

/// The machine, the kernel, the moment.
#[derive(Clone, Debug)]
pub struct Machine {
    /// When, in UTC (RFC 3339).
    pub date: String,
    /// Release and version of the kernel.
    pub kernel: String,
    /// The processor's name.
    pub processor: String,
    /// How many processors.
    pub processors: usize,
    /// Each weakness of the processor and what the kernel does about it.
    pub mitigations: Vec<(String, String)>,
    /// Mounts in the harness's namespace: each start copies them.
    pub mounts: usize,
    /// The load over the last minute, before the run.
    pub load: String,
    /// The file system of the folder for state.
    pub state: &'static str,
    /// Whether processors without work are kept awake.
    pub idle: String,
}

impl Machine {
    /// Looks around; `state` is the folder for state, `awake` what holds the processors
    /// awake, or why nothing does, if that is wanted.
    #[must_use]
    pub fn look(state: &Path, awake: Option<Result<&Awake, &String>>) -> Self {
        let first = |path: &str, words: usize| {
            let text = read(path);
            text.split_whitespace()
                .take(words)
                .collect::<Vec<_>>()
                .join(" ")
        };
        Self {
            date: date(SystemTime::now()),
            kernel: format!(
                "{} {}",
                first("/proc/sys/kernel/osrelease", 1),
                read("/proc/sys/kernel/version").trim()
            ),
            processor: processor(&read("/proc/cpuinfo")),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            mitigations: mitigations(),
            mounts: read("/proc/self/mountinfo").lines().count(),
            load: first("/proc/loadavg", 1),
            state: file_system(state),
            idle: match awake {
                Some(Ok(_)) => "kept awake".into(),
                Some(Err(why)) => format!("may sleep ({why})"),
                None => "may sleep".into(),
            },
        }
    }

    /// For the JSON file.
    #[must_use]
    pub fn value(&self) -> Value {
        let mitigations = self.mitigations.iter();
        Value::object([
            ("kernel", self.kernel.as_str().into()),
            ("processor", self.processor.as_str().into()),
            ("processors", self.processors.into()),
            (
                "mitigations",
                Value::object(
                    mitigations.map(|(name, text)| (name.as_str(), text.as_str().into())),
                ),
            ),
            ("mounts", self.mounts.into()),
            ("load_before", self.load.as_str().into()),
            ("state_file_system", self.state.into()),
            ("idle_processors", self.idle.as_str().into()),
        ])
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or_else(|| "unknown".into(), |(_, name)| name.trim().to_owned())
}

fn mitigations() -> Vec<(String, String)> {
    let folder = Path::new("/sys/devices/system/cpu/vulnerabilities");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, text.trim().to_owned())
        })
        .collect();
    found.sort();
    found
}

/// The name of the file system that `path` is on.
fn file_system(path: &Path) -> &'static str {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return "unknown";
    };
    // SAFETY: all zeroes are a valid statfs.
    let mut status: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: a C string and a valid place.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut status) } != 0 {
        return "unknown";
    }
    match status.f_type {
        libc::TMPFS_MAGIC => "tmpfs",
        libc::EXT4_SUPER_MAGIC => "ext4",
        libc::XFS_SUPER_MAGIC => "xfs",
        libc::BTRFS_SUPER_MAGIC => "btrfs",
        libc::OVERLAYFS_SUPER_MAGIC => "overlay",
        _ => "other",
    }
}

/// RFC 3339, in UTC, to the second.
fn date(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(day);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Year, month and day of the day number `days` since 1970-01-01, in the
/// Gregorian calendar; years are counted from March, so that the leap day is
/// the last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// A line of /proc/meminfo, in KB (proc(5)).
///
/// # Errors
/// It can't be read, or has no such line.
pub fn meminfo(name: &str) -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    number(line.unwrap_or_default())
}

/// The first word, as a number.
///
/// # Errors
/// It is none.
pub fn number(text: &str) -> io::Result<u64> {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_right() {
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn the_processor_has_a_name() {
        assert_eq!(processor("x\nmodel name\t: Some CPU\n"), "Some CPU");
        assert_eq!(processor(""), "unknown");
    }
}
