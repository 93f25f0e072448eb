//! Root file systems for the tests: the probe alone, busybox, a real Debian.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::{
    command::program,
    isolate::folder,
    requirement::{Requirement, in_path},
    runner::CACHE,
    sys,
};

/// Debian's static busybox.
pub const BUSYBOX: &str = "/bin/busybox";

/// The applets that the tests call.
const APPLETS: &[&str] = &[
    "sh", "cat", "cp", "cut", "chmod", "chown", "chroot", "dd", "echo", "env", "false", "grep",
    "head", "hostname", "id", "kill", "ln", "ls", "mkdir", "mknod", "mount", "mv", "ps", "pwd",
    "readlink", "rm", "seq", "setsid", "sleep", "sort", "stat", "stty", "tail", "test", "touch",
    "tr", "true", "tty", "umount", "uname", "wc", "whoami",
];

/// Users of the roots: the names that the tests look up.
const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
alice:x:1000:1000:Alice:/home/alice:/bin/sh
bob:x:1001:100::/home/bob:/bin/sh
broken:x:notanumber:5::/:/bin/sh
7:x:4242:4242:a name of digits:/:/bin/sh
";

const GROUP: &str = "\
root:x:0:
users:x:100:bob
alice:x:1000:
staff:x:50:alice,bob
";

/// A new path in the test's directory.
#[must_use]
pub fn fresh(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    folder().join(format!("{name}{count}"))
}

/// A new empty directory.
#[must_use]
pub fn directory(name: &str) -> PathBuf {
    let path = fresh(name);
    fs::create_dir(&path).expect("a new directory");
    path
}

/// A root with `/bin/probe`, mount points and a user database; nothing else.
#[must_use]
pub fn probe() -> PathBuf {
    let root = bare();
    for name in ["proc", "sys", "dev", "tmp", "etc", "root"] {
        fs::create_dir(root.join(name)).expect("a directory");
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("a mode");
    fs::write(root.join("etc/passwd"), PASSWD).expect("a file");
    fs::write(root.join("etc/group"), GROUP).expect("a file");
    root
}

/// A root with `/bin/probe` alone: no mount point.
#[must_use]
pub fn bare() -> PathBuf {
    let root = directory("root");
    fs::create_dir(root.join("bin")).expect("a directory");
    fs::copy(program("probe"), root.join("bin/probe")).expect("the probe");
    root
}

/// The probe's root with a static busybox.
///
/// # Errors
/// The skip, where busybox-static is not installed.
pub fn busybox() -> Result<PathBuf, crate::Skip> {
    Requirement::Busybox.require()?;
    let root = probe();
    fs::copy(BUSYBOX, root.join("bin/busybox")).expect("busybox");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("a link");
    }
    Ok(root)
}

/// Where caches of the tests live, by kind.
///
/// # Panics
/// If the runner did not set it.
#[must_use]
pub fn cache(kind: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(CACHE).expect("the runner sets it")).join(kind)
}

/// How the Debian root is made; a change makes a new one.
const RECIPE: &[&str] = &[
    "--variant=minbase",
    "--include=python3-minimal",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--aptopt=Apt::Install-Recommends false",
];

/// The release that the root is of.
const SUITE: &str = "bookworm";

/// FNV-1a, 64 bits: the name of a recipe, not a checksum against anybody.
#[must_use]
pub fn hash(words: &[&str]) -> String {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn debian_path() -> PathBuf {
    let mut words = RECIPE.to_vec();
    words.push(SUITE);
    cache("roots").join(format!("debian-{}", hash(&words)))
}

/// Whether there is a Debian root, or a way to make one.
#[must_use]
pub fn debian_possible() -> bool {
    debian_path().exists() || in_path("mmdebstrap")
}

/// Makes the Debian root unless it is there; true if it was made.
///
/// # Errors
/// With mmdebstrap's last lines.
pub fn make_debian() -> Result<bool, String> {
    let path = debian_path();
    if path.exists() {
        return Ok(false);
    }
    atomically(&path, |new| {
        let mut command = Command::new("mmdebstrap");
        command
            .args(RECIPE)
            .arg(SUITE)
            .arg(new)
            .stdin(Stdio::null());
        // It mounts into the new root: nobody else's affair.
        sys::before_exec(&mut command, || {
            sys::unshare(libc::CLONE_NEWNS)?;
            sys::make_mounts("/", libc::MS_PRIVATE)
        });
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(last_lines(&output.stderr));
        }
        // A probe inside, for what only it can tell.
        fs::copy(program("probe"), new.join("usr/bin/probe")).map_err(|error| error.to_string())?;
        Ok(())
    })
}

/// Makes `path` by `make` under another name first: a run that is killed
/// leaves nothing that looks complete.
///
/// # Errors
/// What `make` says.
pub fn atomically(
    path: &Path,
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<bool, String> {
    let text = |error: io::Error| format!("{}: {error}", path.display());
    let parent = path.parent().ok_or("a cache without a parent")?;
    fs::create_dir_all(parent).map_err(text)?;
    let new = path.with_extension(format!("new.{}", std::process::id()));
    let made = make(&new);
    if let Err(message) = made {
        remove_any(&new);
        return Err(message);
    }
    match fs::rename(&new, path) {
        Ok(()) => Ok(true),
        // Somebody else was faster.
        Err(_) if path.exists() => {
            remove_any(&new);
            Ok(false)
        }
        Err(error) => Err(text(error)),
    }
}

fn remove_any(path: &Path) {
    if fs::remove_dir_all(path).is_err() {
        let _ = fs::remove_file(path);
    }
}

/// The end of what a tool printed.
#[must_use]
pub fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}

/// The Debian root, shared by all tests: for `--readonly-rootfs` or
/// `--ephemeral` only.
///
/// # Errors
/// The skip, where it can't be made.
pub fn debian() -> Result<PathBuf, crate::Skip> {
    Requirement::DebianRoot.require()?;
    let path = debian_path();
    // The cached probe may be older than the one under test.
    assert!(path.exists(), "the runner makes it first");
    Ok(path)
}
