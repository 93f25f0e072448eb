//! Where starts are measured: root file systems and state on a tmpfs, in a
//! mount namespace of the harness's own, so that nothing is left behind.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Command as Process,
    ptr,
};

use crate::bundle;

/// What is started inside.
#[derive(Clone, Debug)]
pub struct Payload {
    /// A root file system with one program and the mount points.
    pub root: PathBuf,
    /// The program in it, and its arguments.
    pub words: Vec<String>,
    /// An OCI bundle of the same.
    pub bundle: PathBuf,
    /// One with limits and a system call filter.
    pub limited: PathBuf,
}

/// The prepared folder.
#[derive(Debug)]
pub struct Place {
    folder: Folder,
    /// Where limits are measured against their floor.
    pub cgroup: Result<Cgroup, String>,
    /// The payload that is timed: exits at once.
    pub noop: Payload,
    /// The payload that tells what it sees.
    pub report: Payload,
    /// A root with the machine's own [`TRUE`] and what that loads, or why there is none.
    pub dynamic: Result<PathBuf, String>,
}

impl Place {
    /// Makes the folder; from here on this process has a mount namespace of
    /// its own. Call it while there is one thread.
    ///
    /// # Errors
    /// Names the step.
    pub fn make(binaries: &Path) -> Result<Self, String> {
        let failed = |what: &str, error: io::Error| format!("{what}: {error}");
        enter_mount_namespace()
            .map_err(|error| failed("make a mount namespace (as root?)", error))?;
        let folder = Folder::make()?;
        let payload = |name: &str, program: &str, words: &[&str]| {
            let root = folder.path.join(name);
            fill(&root, &binaries.join(program))?;
            let bundle = folder.path.join(format!("{name}.bundle"));
            bundle::write(&bundle, &root, words, false)?;
            let limited = folder.path.join(format!("{name}.limited"));
            bundle::write(&limited, &root, words, true)?;
            Ok(Payload {
                root,
                words: words.iter().map(|word| (*word).to_owned()).collect(),
                bundle,
                limited,
            })
        };
        let made = |error: io::Error| failed("fill the root file systems", error);
        let dynamic = folder.path.join("dynamic");
        let place = Self {
            noop: payload("noop", "noop", &["/noop"]).map_err(made)?,
            report: payload("report", "probe", &["/probe", "report"]).map_err(made)?,
            dynamic: fill_dynamic(&dynamic).map(|()| dynamic),
            folder,
            cgroup: Cgroup::make(),
        };
        for name in ["sys", "state", "source", "programs"] {
            fs::create_dir(place.folder.path.join(name)).map_err(made)?;
        }
        copy_programs(binaries, &place.programs())
            .map_err(|error| failed("copy the programs", error))?;
        mount("sysfs", &place.sysfs(), "sysfs", libc::MS_RDONLY)
            .map_err(|error| failed("mount a sysfs", error))?;
        Ok(place)
    }

    /// Copies of the programs under test: what a file system costs to open and read them,
    /// such as a guest's that is the machine's, is none of their cost.
    #[must_use]
    pub fn programs(&self) -> PathBuf {
        self.folder.path.join("programs")
    }

    /// A /sys with nothing mounted below, for launchers that can only bind.
    #[must_use]
    pub fn sysfs(&self) -> PathBuf {
        self.folder.path.join("sys")
    }

    /// A directory to bind.
    #[must_use]
    pub fn source(&self) -> PathBuf {
        self.folder.path.join("source")
    }

    /// Where launchers keep their state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path.join("state")
    }

    /// Where copies of inits are.
    #[must_use]
    pub fn inits(&self) -> PathBuf {
        self.folder.path.join("inits")
    }

    /// A file for what a start prints.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.folder.path.join("output")
    }
}

/// A tmpfs on a folder of its own; both vanish with this value.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("kickstage-bench.{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let folder = Self { path };
        // Without flags: what a launcher adds to the root's is then seen.
        mount("tmpfs", &folder.path, "tmpfs", 0)
            .map_err(|error| format!("mount a tmpfs: {error}"))?;
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The mount namespace takes the mounts with it; only the empty folder
        // is seen from outside.
        let _ = unmount(&self.path);
        let _ = fs::remove_dir(&self.path);
    }
}

/// The directories that the floor with limits makes its cgroups in; they vanish with this
/// value.
#[derive(Debug)]
pub struct Cgroup {
    /// One of version 2, or one of each controller of version 1.
    folders: Vec<PathBuf>,
    /// Version 2 has the controllers.
    pub is_unified: bool,
}

impl Cgroup {
    const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

    /// Makes them, those of version 2 with the controllers of the limits.
    ///
    /// # Errors
    /// Why that can't be measured here.
    pub fn make() -> Result<Self, String> {
        let mount = Path::new("/sys/fs/cgroup");
        let there = fs::read_to_string(mount.join("cgroup.controllers"));
        let is_unified = there.as_ref().is_ok_and(|there| {
            let is_there = |name: &&str| there.split_whitespace().any(|other| other == *name);
            Self::CONTROLLERS.iter().all(is_there)
        });
        let mounts: Vec<_> = if is_unified {
            vec![mount.to_owned()]
        } else {
            let mounts = Self::CONTROLLERS.iter().map(|name| mount.join(name));
            mounts.collect()
        };
        if !is_unified && !mounts.iter().all(|mount| mount.join("tasks").exists()) {
            return Err("needs cpu, memory and pids of one version of cgroups".into());
        }
        let own = Self {
            folders: mounts
                .iter()
                .map(|mount| mount.join("kickstage-bench"))
                .collect(),
            is_unified,
        };
        // What a harness that was killed has left.
        own.remove();
        for folder in &own.folders {
            fs::create_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        for folder in mounts.iter().chain(&own.folders).filter(|_| is_unified) {
            let file = folder.join("cgroup.subtree_control");
            fs::write(&file, "+cpu +memory +pids")
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(own)
    }

    fn remove(&self) {
        for folder in &self.folders {
            let _ = fs::remove_dir(folder.join("floor"));
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Copies what is started from `binaries`, our programs and their floors; what is not
/// there is told where it is needed.
fn copy_programs(binaries: &Path, folder: &Path) -> io::Result<()> {
    const FIRST: [&str; 5] = ["fly", "stage", "floor", "noop", "probe"];
    for entry in fs::read_dir(binaries)? {
        let (name, path) = entry.map(|entry| (entry.file_name(), entry.path()))?;
        let text = name.to_string_lossy();
        if FIRST.iter().any(|first| text.starts_with(first)) && !text.contains('.') {
            fs::copy(path, folder.join(name))?;
        }
    }
    Ok(())
}

/// One program and the mount points.
fn fill(root: &Path, program: &Path) -> io::Result<()> {
    fs::create_dir(root)?;
    for name in ["proc", "sys", "dev"] {
        fs::create_dir(root.join(name))?;
    }
    for target in bind_targets() {
        fs::create_dir_all(root.join(target))?;
    }
    let copy = root.join(program.file_name().unwrap_or_default());
    fs::copy(program, &copy)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.display())))?;
    fs::set_permissions(copy, fs::Permissions::from_mode(0o755))
}

/// A program of the distribution's that does nothing.
pub const TRUE: &str = "/bin/true";

/// That program, the libraries that it loads, and the loader's list of them, which each
/// root of a distribution has: without it the loader looks into each folder.
fn fill_dynamic(root: &Path) -> Result<(), String> {
    let said = |program: &str, words: &[&str]| {
        let output = Process::new(program).args(words).output();
        let output = output.map_err(|error| format!("{program}: {error}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("{program}: {}", output.status))
    };
    let loaded = said("ldd", &[TRUE])?;
    let paths = loaded
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    let copy = |path: &str| {
        let target = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap_or(root))?;
        fs::copy(path, &target).map(drop)
    };
    for path in paths.chain([TRUE]) {
        copy(path).map_err(|error| format!("{path}: {error}"))?;
    }
    for name in ["proc", "sys", "dev", "etc"] {
        fs::create_dir(root.join(name)).map_err(|error| format!("{name}: {error}"))?;
    }
    said("ldconfig", &["-r", &root.to_string_lossy()]).map(drop)
}

/// The thousand directories of a root that something may be bound to.
pub fn bind_targets() -> impl Iterator<Item = PathBuf> {
    (0..1000).map(|number| Path::new("binds").join(number.to_string()))
}

fn enter_mount_namespace() -> io::Result<()> {
    // SAFETY: no pointers; there is one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: C strings, and null where the call ignores the argument.
    check(unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()) })
}

fn check(value: libc::c_int) -> io::Result<()> {
    if value == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

fn mount(source: &str, target: &Path, kind: &str, flags: libc::c_ulong) -> io::Result<()> {
    let source = CString::new(source)?;
    let target = CString::new(target.as_os_str().as_bytes())?;
    let kind = CString::new(kind)?;
    // SAFETY: C strings that live across the call; no data.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            ptr::null(),
        )
    })
}

fn unmount(target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    // SAFETY: a C string that lives across the call.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })
}

/// A mount namespace like ours, but without the cgroup2 file system beside the
/// v1 controllers: crun refuses the mixed set-up. `None` where there is none.
///
/// # Errors
/// The step that failed.
pub fn without_mixed_cgroups() -> io::Result<Option<File>> {
    let unified = Path::new("/sys/fs/cgroup/unified");
    if !unified.exists() {
        return Ok(None);
    }
    let own = File::open("/proc/self/ns/mnt")?;
    enter_mount_namespace()?;
    let made = unmount(unified).and_then(|()| File::open("/proc/self/ns/mnt"));
    // Back again, whatever has happened.
    use std::os::fd::AsRawFd;
    // SAFETY: no pointers; there is one thread.
    check(unsafe { libc::setns(own.as_raw_fd(), libc::CLONE_NEWNS) })?;
    made.map(Some)
}
