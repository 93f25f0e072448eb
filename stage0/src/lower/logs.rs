//! Where the output of a program goes by way of pid 1.

use core::ffi::CStr;

use fly::{
    error::{Error, What, Why},
    plan::{Builder, Step},
    text::{self, Split, decimal, split},
};

use super::{
    Features, Lowering,
    own::{Program, Programs},
    policy::Policies,
};
use crate::options::AppOption;

/// The bytes of a file, and the number of old ones, if nothing is said.
const SIZE: u64 = 1 << 20;
const KEEP: u16 = 4;

/// The most bytes of a name: an old one has two more, and 255 is NAME_MAX (limits.h).
pub(super) const LONGEST: usize = 253;

/// The value of --log.
struct File<'a> {
    folder: &'a [u8],
    name: &'a [u8],
    size: u64,
    keep: u16,
}

impl<'a> File<'a> {
    fn parse(value: &'a CStr) -> Option<Self> {
        let mut parts = split(value.to_bytes().strip_prefix(b"file:")?, b',');
        let path = parts.next()?;
        let slash = path.iter().rposition(|byte| *byte == b'/')?;
        let (folder, name) = (path.get(..slash)?, path.get(slash + 1..)?);
        let (size, keep) = rotation(parts)?;
        let file = Self {
            folder: if folder.is_empty() { b"/" } else { folder },
            name,
            size,
            keep,
        };
        let good = !matches!(name, b"" | b"." | b"..") && name.len() <= LONGEST;
        (good && path.starts_with(b"/")).then_some(file)
    }
}

/// What follows `pod` in a value of --log that begins so.
pub(super) fn of_pod(value: &CStr) -> Option<Split<'_>> {
    let mut parts = split(value.to_bytes(), b',');
    (parts.next()? == b"pod").then_some(parts)
}

/// The size of a log file and the number of old ones.
pub(super) fn rotation(parts: Split<'_>) -> Option<(u64, u16)> {
    let (mut bytes, mut old) = (SIZE, KEEP);
    for part in parts {
        if let Some(size) = part.strip_prefix(b"size=") {
            bytes = text::size(size)?;
        } else {
            let keep = decimal(part.strip_prefix(b"keep=")?)?;
            old = u16::try_from(keep)
                .ok()
                .filter(|keep| (1..=9).contains(keep))?;
        }
    }
    Some((bytes, old))
}

/// `root` is the program, if it has a root of its own.
pub(super) fn lower(
    value: &CStr,
    root: Option<&Policies<'_>>,
    plan: &mut Builder<'_>,
) -> Option<()> {
    match value.to_bytes() {
        b"none" => {}
        b"prefix" => _ = plan.push(Step::Log {}),
        _ => {
            let file = File::parse(value)?;
            plan.begin_list(Step::LogFile {
                keep: file.keep,
                size: file.size,
                name: c"",
                folder: c"",
            })
            .joined(&[file.name]);
            match root {
                Some(root) => root.path(true, file.folder, plan),
                None => _ = plan.joined(&[file.folder]).end(),
            }
        }
    }
    Some(())
}

/// Whether a file of the one name is an old one of the other.
fn is_old(one: &[u8], other: &[u8]) -> bool {
    matches!(one.strip_prefix(other), Some([b'.', b'1'..=b'9']))
}

impl<'a, I, F> Lowering<'_, 'a, '_, '_, I, F>
where
    I: Iterator<Item = &'a CStr> + Clone,
    F: Features,
{
    /// Two programs would rotate each other's file, or one the old ones of the other.
    pub(super) fn check_log(&self, program: &Program<'a, I>) -> Result<(), Error<'a>> {
        let own = &program.policies;
        let file = |policies: &Policies<'a>| {
            let value = policies.value(AppOption::Log)?;
            if of_pod(value).is_none() {
                return File::parse(value);
            }
            // The directory is no path of a root. A name of no own has no dot.
            Some(File {
                folder: b"",
                name: policies.value(AppOption::Name)?.to_bytes(),
                size: 0,
                keep: 0,
            })
        };
        let Some(wanted) = file(own) else {
            return Ok(());
        };
        if own.is_first() {
            return Ok(());
        }
        let mut programs = Programs::of(self.options);
        while let Some(other) = programs.next()? {
            if other.policies.index() >= own.index() {
                break;
            }
            // A root of its own has files of its own, unless both are one directory.
            let shared = !self.options.several
                || wanted.folder.is_empty()
                || (other.rootfs == program.rootfs && !other.root(self.options)?.ephemeral);
            if !shared {
                continue;
            }
            if file(&other.policies).is_some_and(|other| {
                other.folder == wanted.folder
                    && (other.name == wanted.name
                        || is_old(other.name, wanted.name)
                        || is_old(wanted.name, other.name))
            }) {
                let value = own.value(AppOption::Log).unwrap_or_default();
                return Err(Error::new(What::ReadOption, value, Why::LogTwice));
            }
        }
        Ok(())
    }
}
