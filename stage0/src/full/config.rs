//! `stage0 config`: where everything is, and with `--check` what this kernel has.

use core::ffi::CStr;

use fly::{
    error::Error,
    sys::{
        descriptor,
        entry::Start,
        lock,
        probe::{Call, has},
    },
    text::{Line, decimal, split},
};
use rustix::{
    fd::AsFd,
    fs::{self, Access, Mode, OFlags},
};

use super::{json::Json, pods::Pods, words};
use crate::stage1::{MAX_NAME, Name};

/// How a feature is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Yes,
    No,
    /// It is missing, and something else does.
    Fallback,
}

impl Is {
    fn text(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Fallback => "fallback",
        }
    }
}

/// Carries out `stage0 config`; returns the exit code.
///
/// # Errors
/// The command line.
pub fn config(start: &Start) -> Result<i32, Error<'static>> {
    const ALLOWED: words::Flags = words::STATE_DIRECTORY | words::FORMAT | words::CHECK;
    let words = super::words_behind(start, ALLOWED)?;
    if let Some(word) = words.operand()? {
        return Err(super::too_many(word));
    }
    let pods = Pods::new(&words, &start.environment)?;
    let mut told = Told {
        line: Line::new(1),
        json: words.json.then(|| Json::pretty(1)),
        good: true,
    };
    if let Some(json) = &mut told.json {
        json.object();
    }
    told.path("version", env!("CARGO_PKG_VERSION").as_bytes());
    let root = pods.root();
    told.path(
        "state-directory",
        root.strip_suffix(b"/pods").unwrap_or(root),
    );
    let mut place = [0; MAX_NAME];
    let mut name = Name::new(&mut place);
    let init = name.beside().unwrap_or_default().to_bytes();
    told.path("stage1-init", init);
    let mut own = [0; MAX_NAME];
    let length = fs::readlinkat_raw(fs::CWD, c"/proc/self/exe", &mut own[..]).unwrap_or(0);
    told.path("stage0-full", own.get(..length).unwrap_or_default());
    if words.has(words::CHECK) {
        if let Some(json) = &mut told.json {
            json.key("checks").array();
        }
        told.check("stage1-init", yes(!init.is_empty()), true, "pid 1 of pods");
        calls(&mut told);
        files(&mut told);
        cgroups(&mut told);
        if let Some(json) = &mut told.json {
            json.end_array();
        }
    }
    let written = match &mut told.json {
        Some(json) => json.end_object().end(),
        None => told.line.flush(),
    };
    Error::said(written, i32::from(!told.good))
}

struct Told {
    line: Line,
    json: Option<Json>,
    /// Nothing is missing that a default pod needs.
    good: bool,
}

impl Told {
    fn path(&mut self, key: &str, path: &[u8]) {
        match &mut self.json {
            Some(json) if path.is_empty() => _ = json.key(key).null(),
            Some(json) => _ = json.key(key).string(path),
            None => {
                self.line.text(key).text("=").quoted(path);
                self.line.byte(b'\n');
            }
        }
    }

    fn check(&mut self, name: &str, is: Is, needed: bool, purpose: &str) {
        self.good &= !(needed && is == Is::No);
        match &mut self.json {
            Some(json) => {
                json.object().key("name").string(name.as_bytes());
                json.key("is").string(is.text().as_bytes());
                json.key("for").string(purpose.as_bytes());
                json.key("needed").boolean(needed).end_object();
            }
            None => {
                let line = self.line.text(name).text(" ").text(is.text());
                line.text(" (").text(purpose).text(")\n");
            }
        }
    }
}

fn yes(is: bool) -> Is {
    if is { Is::Yes } else { Is::No }
}

fn or_fallback(is: bool) -> Is {
    if is { Is::Yes } else { Is::Fallback }
}

#[allow(clippy::too_many_lines, reason = "a line a call")]
fn calls(told: &mut Told) {
    for (name, call, purpose) in [
        ("open_tree", Call::OpenTree, "roots and volumes"),
        ("move_mount", Call::MoveMount, "roots and volumes"),
        ("fsopen", Call::Fsopen, "proc, sys and dev of a pod"),
        (
            "pidfd_open",
            Call::PidfdOpen,
            "signals and the end of a pod",
        ),
        ("seccomp", Call::Seccomp, "filters of system calls"),
        (
            "inotify",
            Call::InotifyInit,
            "--detach, status --wait-ready, logs --follow",
        ),
    ] {
        told.check(name, yes(has(call)), true, purpose);
    }
    for (name, call, purpose) in [
        (
            "openat2",
            Call::Openat2,
            "paths inside a root; else walked step by step",
        ),
        (
            "open_tree_attr",
            Call::OpenTreeAttr,
            "read-only volumes; else mount_setattr",
        ),
        (
            "mount_setattr",
            Call::MountSetattr,
            "read-only volumes; else mount(2)",
        ),
        (
            "clone3",
            Call::Clone3,
            "a start; with it CLONE_INTO_CGROUP; else clone(2)",
        ),
        (
            "close_range",
            Call::CloseRange,
            "inherited descriptors; else one by one",
        ),
    ] {
        told.check(name, or_fallback(has(call)), true, purpose);
    }
    told.check(
        "landlock",
        yes(has(Call::Landlock)),
        false,
        "fly --landlock",
    );
    let memory = has(Call::MemfdCreate) && number(c"/proc/sys/vm/memfd_noexec") != Some(2);
    told.check(
        "memfd-exec",
        or_fallback(memory),
        true,
        "the sealed pid 1; else a tmpfs",
    );
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = fs::open(c"/proc/self/exe", flags, Mode::empty());
    let locks = own.is_ok_and(|file| lock::is_taken(file.as_fd(), 1).is_ok());
    told.check("ofd-locks", yes(locks), true, "registered pods");
}

/// The number in a file of the kernel.
fn number(path: &CStr) -> Option<u64> {
    let mut buffer = [0; 32];
    let read = descriptor::read_file(path, &mut buffer);
    decimal(split(read, b'\n').next()?)
}

fn exists(path: &CStr) -> bool {
    fs::access(path, Access::EXISTS).is_ok()
}

fn files(told: &mut Told) {
    for (name, path) in [
        ("pid-namespace", c"/proc/self/ns/pid"),
        ("mount-namespace", c"/proc/self/ns/mnt"),
        ("ipc-namespace", c"/proc/self/ns/ipc"),
        ("uts-namespace", c"/proc/self/ns/uts"),
    ] {
        told.check(name, yes(exists(path)), true, "every pod");
    }
    told.check(
        "net-namespace",
        yes(exists(c"/proc/self/ns/net")),
        false,
        "--net=none",
    );
    let cgroup = exists(c"/proc/self/ns/cgroup");
    told.check("cgroup-namespace", yes(cgroup), false, "pods with limits");
    let users =
        exists(c"/proc/self/ns/user") && number(c"/proc/sys/user/max_user_namespaces") != Some(0);
    told.check(
        "user-namespace",
        yes(users),
        false,
        "--private-users, pods without root",
    );
    let others = users
        && number(c"/proc/sys/kernel/unprivileged_userns_clone") != Some(0)
        && number(c"/proc/sys/kernel/apparmor_restrict_unprivileged_userns").unwrap_or(0) == 0;
    told.check(
        "user-namespace-of-users",
        yes(others),
        false,
        "pods without root",
    );
    let mut buffer = [0; 4096];
    let known = descriptor::read_file(c"/proc/filesystems", &mut buffer);
    let mut system = |name: &str, needed: bool, purpose: &str| {
        let mut lines = split(known, b'\n');
        let is = lines.any(|line| split(line, b'\t').nth(1) == Some(name.as_bytes()));
        told.check(name, yes(is), needed, purpose);
    };
    system("tmpfs", true, "/dev, empty volumes");
    system("devpts", true, "/dev/pts, terminals");
    system(
        "overlay",
        false,
        "--ephemeral; a module is loaded when it is needed",
    );
}

fn cgroups(told: &mut Told) {
    let mut enabled = [[0; 512]; 2];
    let [one, two] = &mut enabled;
    let unified = descriptor::read_file(c"/sys/fs/cgroup/cgroup.controllers", one);
    let hybrid = descriptor::read_file(c"/sys/fs/cgroup/unified/cgroup.controllers", two);
    for (name, old, purpose) in [
        ("memory", c"/sys/fs/cgroup/memory/tasks", "--memory"),
        ("cpu", c"/sys/fs/cgroup/cpu/tasks", "--cpus, --cpu-weight"),
        ("pids", c"/sys/fs/cgroup/pids/tasks", "--pids"),
    ] {
        let is_new = [unified, hybrid].iter().any(|list| {
            let line = split(list, b'\n').next().unwrap_or_default();
            split(line, b' ').any(|word| word == name.as_bytes())
        });
        let is_old = exists(old);
        let mut text = [0; 64];
        let version = match (is_old, is_new) {
            (true, _) => ", version 1",
            (_, true) => ", version 2",
            _ => "",
        };
        fly::text::copy(&mut text, purpose.as_bytes());
        let place = text.get_mut(purpose.len()..).unwrap_or_default();
        fly::text::copy(place, version.as_bytes());
        let text = text
            .get(..purpose.len() + version.len())
            .unwrap_or_default();
        let purpose = core::str::from_utf8(text).unwrap_or_default();
        let mut key = [0; 24];
        fly::text::copy(&mut key, b"cgroup-");
        fly::text::copy(key.get_mut(7..).unwrap_or_default(), name.as_bytes());
        let key = key.get(..7 + name.len()).unwrap_or_default();
        let key = core::str::from_utf8(key).unwrap_or_default();
        told.check(key, yes(is_old || is_new), false, purpose);
    }
}
