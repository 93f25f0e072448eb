//! What must be the same before and after: mounts, trees, cgroups.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The mount table of this mount namespace.
#[must_use]
pub fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("/proc/self/mountinfo")
}

/// The lines that only one of both texts has.
#[must_use]
pub fn difference(before: &str, after: &str) -> String {
    let a: BTreeSet<&str> = before.lines().collect();
    let b: BTreeSet<&str> = after.lines().collect();
    let gone = a.difference(&b).map(|line| format!("- {line}\n"));
    let new = b.difference(&a).map(|line| format!("+ {line}\n"));
    gone.chain(new).collect()
}

/// Every file below `root` with kind, mode, owner, size and link target, one
/// a line; symlinks are not followed.
#[must_use]
pub fn tree(root: &Path) -> String {
    let mut lines = Vec::new();
    walk(root, root, &mut lines);
    lines.sort();
    lines.join("\n")
}

fn walk(root: &Path, folder: &Path, lines: &mut Vec<String>) {
    for entry in
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    {
        let path = entry.expect("an entry").path();
        let data = fs::symlink_metadata(&path).expect("a file that stays");
        let target = fs::read_link(&path).unwrap_or_default();
        let size = if data.is_file() { data.len() } else { 0 };
        lines.push(format!(
            "{} {:o} {}:{} {size} {}",
            path.strip_prefix(root).unwrap_or(&path).display(),
            data.mode(),
            data.uid(),
            data.gid(),
            target.display()
        ));
        if data.is_dir() {
            walk(root, &path, lines);
        }
    }
}

/// All cgroup directories of all hierarchies.
#[must_use]
pub fn cgroups() -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
                found.insert(entry.path());
            }
        }
    }
    found
}

/// The names in a directory, sorted; empty if there is no such directory.
#[must_use]
pub fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
