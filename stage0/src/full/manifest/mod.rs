//! appc pod manifests (App Container specification 0.8.11): `--pod-manifest FILE`.
//!
//! A manifest becomes words of the command line, which then are read and lowered as any
//! others: there is one set of checks. Each field is honoured, or refused by its path.
//!
//! The reader is that of fly's profiles. serde-json-core would leave escapes in strings,
//! tell no byte of an error, and lose a name that is unknown or there twice.

mod app;
mod expand;
mod filter;
mod isolator;
mod names;
mod path;
mod pod;
mod quantity;
mod read;
mod target;
#[cfg(test)]
mod tests;
mod words;

use fly::json::Reader;

pub use expand::{ROOM, expand};
pub use filter::Filter;
pub use path::{Part, Path};
pub use words::{Arena, Words};

use read::{Manifest, Pass, Read, wrong};

/// The largest manifest in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// The most members of a list.
pub const MAX_ITEMS: usize = 1024;

/// What is wrong with a manifest.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// With which value.
    pub path: Path<'a>,
    /// At which byte.
    pub at: usize,
    /// In words.
    pub text: &'static str,
}

/// What the options beside a manifest say that it may say, too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    /// Whether the roots of all apps can be written: `readOnlyRootFS` does not count.
    pub read_only_root: bool,
    /// Whether there is what `CAP_MKNOD` needs, such as `--device`.
    pub device_nodes: bool,
}

/// Writes the words for the manifest `json`: options of the pod, what `between` writes,
/// and the programs with their options, but for what is said `beside` it. `filters` keeps a filter in a file, and tells its
/// descriptor.
///
/// # Errors
/// The first thing that is wrong with it.
#[allow(clippy::result_large_err, reason = "the first one ends the command")]
pub fn words<'a>(
    json: &'a [u8],
    arena: &mut Arena<'_>,
    beside: Beside,
    between: &mut dyn FnMut(&mut Arena<'_>),
    filters: &mut dyn FnMut(&Filter<'a>) -> Option<u64>,
) -> Result<(), Problem<'a>> {
    let mut path = Path::new();
    for pass in [Pass::Pod, Pass::Apps] {
        let mut manifest = Manifest {
            path,
            pass,
            arena,
            beside,
            filters,
        };
        let done = read(&mut manifest, json);
        path = manifest.path;
        if let Err(read::Wrong { at, text }) = done {
            return Err(Problem { path, at, text });
        }
        if pass == Pass::Pod {
            between(arena);
        }
    }
    Ok(())
}

fn read<'a>(manifest: &mut Manifest<'a, '_, '_>, json: &'a [u8]) -> Read<()> {
    if json.is_empty() {
        return wrong(0, "it is empty");
    }
    if json.len() > MAX_BYTES {
        return wrong(MAX_BYTES, "it has more than 1048576 bytes");
    }
    if json.starts_with(b"\xef\xbb\xbf") {
        return wrong(
            0,
            "it begins with a byte order mark, which JSON does not have",
        );
    }
    manifest.pod(&mut Reader::new(json)?)
}
