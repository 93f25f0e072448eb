//! What is measured: the floors, the product, the peers.

use std::{
    ffi::OsString,
    fs::File,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process,
};

use crate::{
    bundle,
    measure::Command,
    options::Options,
    place::{self, Payload, Place},
};

/// What a case is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The payload alone.
    Payload,
    /// The same system calls, hand-written.
    Floor,
    /// Ours.
    Product,
    /// Somebody else's launcher.
    Peer,
}

/// One case.
#[derive(Debug)]
pub struct Case {
    /// Its name in the table.
    pub name: String,
    /// What it is, in a few words.
    pub about: &'static str,
    /// What it is for.
    pub role: Role,
    /// It is measured in every so-many-th round: slow ones get fewer.
    pub every: usize,
    /// The case whose payload must see the same.
    pub equals: Option<&'static str>,
    /// The command that is timed.
    pub timed: Option<Command>,
    /// The same start with a payload that tells what it sees.
    pub report: Option<Command>,
    /// Why it can't be measured here.
    pub missing: Option<String>,
    /// The version that the program tells of itself.
    pub version: Option<String>,
}

/// The environment of every start.
const ENVIRONMENT: [&str; 2] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
];

/// How often slower launchers are measured.
const SLOWER: usize = 4;
const SLOW: usize = 10;

type Words = Vec<OsString>;

/// A launcher without options.
const NOTHING: &[&str] = &[];

/// Puts a case's command line together; gets the program that was found.
type Line<'a> = &'a dyn Fn(&Path, &Payload) -> Words;

/// A case before its program was looked for.
struct Draft<'a> {
    name: &'a str,
    about: &'static str,
    role: Role,
    every: usize,
    equals: Option<&'static str>,
    program: Option<PathBuf>,
    line: Line<'a>,
}

/// All cases in the order in which they are printed.
///
/// # Errors
/// The folder for state can't be prepared.
pub fn all(options: &Options, place: &Place) -> Result<Vec<Case>, String> {
    let mut list = List {
        options,
        place,
        cases: Vec::new(),
    };
    list.payload();
    list.floors_and_products();
    list.other_floors();
    list.small_peers();
    list.runtimes()?;
    Ok(list.cases)
}

struct List<'a> {
    options: &'a Options,
    place: &'a Place,
    cases: Vec<Case>,
}

impl List<'_> {
    fn payload(&mut self) {
        let program = self.place.noop.root.join("noop");
        self.add(Draft {
            name: "exec",
            about: "vfork + exec of the payload alone",
            role: Role::Payload,
            every: 1,
            equals: None,
            program: Some(program),
            line: &|program, _| vec![program.into()],
        });
    }

    fn floors_and_products(&mut self) {
        self.floor("floor-fly", "the calls of fly, by hand", "floor-fly");
        self.product("fly", "fly ROOTFS CMD", "fly", "floor-fly", &[]);
        self.floor(
            "floor-confine",
            "the calls of fly --confine, by hand",
            "floor-confine",
        );
        self.product(
            "confine",
            "fly --confine ROOTFS CMD",
            "fly",
            "floor-confine",
            &["--confine"],
        );
        self.binds();
        self.floor("floor-pod", "an isolated start, by hand", "floor-pod");
        let bare = ["run", "--insecure-options=all", "--rootfs"];
        self.product(
            "bare",
            "stage0 run --insecure-options=all",
            "stage0",
            "floor-pod",
            &bare,
        );
        self.floor(
            "floor-default",
            "the calls of the default plan, by hand",
            "floor-default",
        );
        let default = ["run", "--rootfs"];
        self.product("default", "stage0 run", "stage0", "floor-default", &default);
        let is_unified = self.place.cgroup.as_ref().is_ok_and(|own| own.is_unified);
        self.floor(
            "floor-limits",
            "floor-default in cgroups with these limits, by hand",
            if is_unified {
                "floor-limits"
            } else {
                "floor-limits-v1"
            },
        );
        if let (Err(why), Some(case)) = (&self.place.cgroup, self.cases.last_mut()) {
            (case.timed, case.report) = (None, None);
            case.missing = Some(why.clone());
        }
        let mut limited = vec!["run"];
        limited.extend(bundle::LIMITS);
        limited.push("--rootfs");
        let program = self.binary("stage0");
        self.add(Draft {
            name: "limits",
            about: "stage0 run with --memory, --cpus and --pids",
            role: Role::Product,
            every: 1,
            equals: None,
            program,
            line: &|program, payload| rooted(program, &limited, payload),
        });
    }

    /// A thousand binds. The kernel takes longer for each the more there are.
    fn binds(&mut self) {
        let source = self.place.source();
        let mut words: Words = Vec::new();
        for target in place::bind_targets() {
            let target = Path::new("/").join(target).into();
            words.extend(["--ro-bind".into(), source.clone().into(), target]);
        }
        for (name, about, program, role, equals) in [
            (
                "floor-binds",
                "the calls of fly with 1,000 --ro-bind, by hand",
                "floor-binds",
                Role::Floor,
                None,
            ),
            (
                "binds",
                "fly with 1,000 --ro-bind",
                "fly",
                Role::Product,
                Some("floor-binds"),
            ),
        ] {
            let program = self.binary(program);
            self.add(Draft {
                name,
                about,
                role,
                every: SLOW,
                equals,
                program,
                line: &|program, payload| rooted(program, &words, payload),
            });
        }
    }

    fn floor(&mut self, name: &str, about: &'static str, program: &str) {
        let program = self.binary(program);
        self.add(Draft {
            name,
            about,
            role: Role::Floor,
            every: 1,
            equals: None,
            program,
            line: &|program, payload| rooted(program, NOTHING, payload),
        });
    }

    fn product(
        &mut self,
        name: &str,
        about: &'static str,
        program: &str,
        equals: &'static str,
        words: &[&str],
    ) {
        let program = self.binary(program);
        self.add(Draft {
            name,
            about,
            role: Role::Product,
            every: 1,
            equals: Some(equals),
            program,
            line: &|program, payload| rooted(program, words, payload),
        });
    }

    /// Somebody else's floors must do the same work as ours.
    fn other_floors(&mut self) {
        for (kind, path) in &self.options.floors {
            let (name, equals) = match kind.as_str() {
                "fly" => ("other-fly", "floor-fly"),
                "confine" => ("other-confine", "floor-confine"),
                "pod" => ("other-pod", "floor-pod"),
                _ => ("other-default", "floor-default"),
            };
            self.add(Draft {
                name,
                about: "somebody else's floor",
                role: Role::Floor,
                every: 1,
                equals: Some(equals),
                program: Some(path.clone()),
                line: &|program, payload| rooted(program, NOTHING, payload),
            });
        }
    }

    fn small_peers(&mut self) {
        // bubblewrap has no option for a sysfs: people bind the host's, with
        // the cgroup file systems that are mounted below it. The lean form
        // binds one that has nothing below, and sees what `bare` sees.
        self.bubblewrap("bwrap", "bubblewrap", Path::new("/sys"));
        let sysfs = self.place.sysfs();
        self.bubblewrap(
            "bwrap-lean",
            "bubblewrap with a sysfs of the harness's own",
            &sysfs,
        );
        self.peer(
            "unshare",
            "util-linux unshare + chroot",
            SLOWER,
            "unshare",
            &|program, payload| {
                rooted(
                    program,
                    &["-m", "-p", "-i", "-u", "--fork", "chroot"],
                    payload,
                )
            },
        );
        self.peer(
            "chroot",
            "coreutils chroot",
            SLOWER,
            "chroot",
            &|program, payload| rooted(program, NOTHING, payload),
        );
    }

    fn bubblewrap(&mut self, name: &str, about: &'static str, sysfs: &Path) {
        self.peer(name, about, SLOWER, "bwrap", &|program, payload| {
            let mut words: Words = vec![program.into()];
            words.extend(["--unshare-pid", "--unshare-ipc", "--unshare-uts"].map(Into::into));
            words.extend(["--new-session", "--die-with-parent"].map(Into::into));
            words.extend(["--hostname", "pod", "--cap-add", "ALL", "--bind"].map(Into::into));
            words.extend([payload.root.clone().into(), "/".into()]);
            words.extend(["--proc", "/proc", "--ro-bind"].map(Into::into));
            words.extend([sysfs.into(), "/sys".into()]);
            words.extend(["--dev", "/dev", "--tmpfs", "/dev/shm", "--"].map(Into::into));
            words.extend(payload.words.iter().map(Into::into));
            words
        });
    }

    fn runtimes(&mut self) -> Result<(), String> {
        let state = self.place.state();
        let run = |program: &Path, extra: &[&str], bundle: &Path| {
            let name = program.file_name().unwrap_or_default();
            let mut words: Words = vec![program.into()];
            words.extend(["--root".into(), state.join(name).into()]);
            words.extend(extra.iter().map(Into::into));
            words.extend(["run", "--bundle"].map(Into::into));
            // Of its own: they may still clear up behind each other.
            let id = format!("kickstage-bench-{}", name.to_string_lossy());
            words.extend([bundle.into(), id.into()]);
            words
        };
        self.peer(
            "crun",
            "crun without cgroups",
            SLOW,
            "crun",
            &|program, payload| run(program, &["--cgroup-manager=disabled"], &payload.bundle),
        );
        self.peer(
            "crun-cgroup",
            "crun with cgroups",
            SLOW,
            "crun",
            &|program, payload| run(program, &["--cgroup-manager=cgroupfs"], &payload.bundle),
        );
        self.peer(
            "crun-limits",
            "crun with the same limits and filter",
            SLOW,
            "crun",
            &|program, payload| run(program, &["--cgroup-manager=cgroupfs"], &payload.limited),
        );
        let inside = |error| format!("prepare a mount namespace for crun: {error}");
        if let Some(namespace) = place::without_mixed_cgroups().map_err(inside)? {
            let again = || namespace.try_clone().map_err(inside);
            // It refuses even where it is told to leave cgroups alone.
            for case in self
                .cases
                .iter_mut()
                .filter(|case| case.name.starts_with("crun"))
            {
                enter(&mut case.timed, again()?);
                enter(&mut case.report, again()?);
            }
        }
        self.peer(
            "runc",
            "runc with cgroups",
            SLOW,
            "runc",
            &|program, payload| run(program, NOTHING, &payload.bundle),
        );
        self.peer(
            "runc-limits",
            "runc with the same limits and filter",
            SLOW,
            "runc",
            &|program, payload| run(program, NOTHING, &payload.limited),
        );
        Ok(())
    }

    fn peer(
        &mut self,
        name: &str,
        about: &'static str,
        every: usize,
        program: &str,
        line: Line<'_>,
    ) {
        let program = installed(program);
        self.add(Draft {
            name,
            about,
            role: Role::Peer,
            every,
            equals: None,
            program,
            line,
        });
    }

    fn binary(&self, name: &str) -> Option<PathBuf> {
        let path = self.place.programs().join(name);
        // Launchers look beside themselves: an absolute path for everybody.
        path.canonicalize().ok()
    }

    fn add(&mut self, draft: Draft<'_>) {
        let Draft {
            name,
            about,
            role,
            every,
            equals,
            program,
            line,
        } = draft;
        let mut case = Case {
            name: name.to_owned(),
            about,
            role,
            every,
            equals,
            timed: None,
            report: None,
            missing: None,
            version: None,
        };
        match program {
            Some(program) => {
                let command = |payload| {
                    let words = line(&program, payload);
                    let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
                    Command::new(&words, &ENVIRONMENT.map(str::as_bytes))
                };
                match (command(&self.place.noop), command(&self.place.report)) {
                    (Ok(timed), Ok(report)) => {
                        case.timed = Some(timed);
                        case.report = (role != Role::Payload).then_some(report);
                    }
                    (Err(error), _) | (_, Err(error)) => case.missing = Some(error.to_string()),
                }
                if role == Role::Peer {
                    case.version = version(&program);
                }
            }
            None if role == Role::Peer => case.missing = Some("not installed".into()),
            None => {
                let folder = self.options.binaries.display();
                case.missing = Some(format!("not in {folder} (cargo build --release)"));
            }
        }
        self.cases.push(case);
    }
}

fn enter(command: &mut Option<Command>, namespace: File) {
    *command = command.take().map(|command| command.inside(namespace));
}

/// `PROGRAM WORDS ROOTFS PAYLOAD`.
fn rooted(program: &Path, words: &[impl Clone + Into<OsString>], payload: &Payload) -> Words {
    let mut line: Words = vec![program.into()];
    line.extend(words.iter().cloned().map(Into::into));
    line.push(payload.root.clone().into());
    line.extend(payload.words.iter().map(Into::into));
    line
}

/// Where a program is installed.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// The first line of `PROGRAM --version`.
fn version(program: &Path) -> Option<String> {
    let output = process::Command::new(program)
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}
