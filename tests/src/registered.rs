//! Registered pods: a state directory of the test's own, and what is asked about it.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    command::{Output, Run, Running},
    compare,
    json::Value,
    lock,
    pod::PROBE,
    requirement::controller,
    roots, sys,
};

/// The folders of all states.
pub const FOLDERS: [&str; 6] = [
    "embryo",
    "prepare",
    "prepared",
    "run",
    "exited-garbage",
    "garbage",
];

/// A state directory on a tmpfs, and a root for its pods. What is mounted is unmounted
/// with it.
#[derive(Debug)]
pub struct Registry {
    path: PathBuf,
    /// The root of its pods.
    pub root: PathBuf,
}

/// A pod that runs, as a child of the test.
#[derive(Debug)]
pub struct Registered {
    /// Its name.
    pub uuid: String,
    /// Its stage0.
    pub running: Running,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// Without a pod.
    ///
    /// # Panics
    /// If nothing can be mounted.
    #[must_use]
    pub fn new() -> Self {
        let path = roots::directory("state");
        sys::mount_tmpfs(path.to_str().expect("UTF-8"), "mode=0755").expect("a tmpfs");
        Self {
            path,
            root: roots::probe(),
        }
    }

    /// The state directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of a pod in the folder of a state.
    #[must_use]
    pub fn place(&self, folder: &str, uuid: &str) -> PathBuf {
        self.path.join("pods").join(folder).join(uuid)
    }

    /// A command of stage0 about its pods.
    #[must_use]
    pub fn command(&self, command: &str) -> Run {
        Run::ours("stage0")
            .env("KICKSTAGE_STATE_DIR", &self.path)
            .arg(command)
    }

    /// The same, carried out.
    #[must_use]
    pub fn ask(&self, command: &str, words: &[&str]) -> Output {
        self.command(command).args(words).output()
    }

    /// `run` or `prepare` of one probe.
    #[must_use]
    pub fn pod(&self, command: &str, options: &[&str], probe: &[&str]) -> Run {
        self.command(command)
            .args(options)
            .arg("--rootfs")
            .arg(&self.root)
            .args(["--", PROBE])
            .args(probe)
    }

    /// A pod that runs until SIGTERM, in the foreground, and is kept then.
    #[must_use]
    pub fn start(&self, options: &[&str]) -> Registered {
        self.start_probe(options, &["catch", "TERM"])
    }

    /// The same with another probe, which says `waiting`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_probe(&self, options: &[&str], probe: &[&str]) -> Registered {
        let file = roots::fresh("uuid");
        let words = [
            &["--keep", "--uuid-file-save", file.to_str().expect("UTF-8")],
            options,
        ]
        .concat();
        let running = self
            .pod("run", &words, probe)
            .limit(Duration::from_secs(100))
            .start();
        running.wait_for("waiting");
        let uuid = fs::read_to_string(file).expect("a uuid");
        let uuid = uuid.trim_end().to_owned();
        let control = self.place("run", &uuid).join("pid");
        wait_until("its pid is told", || control.exists());
        if !options.iter().any(|option| option.starts_with("--ready")) {
            let ready = self.place("run", &uuid).join("ready");
            wait_until("it is ready", || ready.exists());
        }
        Registered { uuid, running }
    }

    /// A pod that runs until SIGTERM, detached: its uuid.
    #[must_use]
    pub fn detach(&self, options: &[&str]) -> String {
        let words = [&["--detach"], options].concat();
        let output = self.pod("run", &words, &["catch", "TERM"]).output();
        output.code(0).quiet();
        one_line(&output)
    }

    /// A prepared pod: its uuid.
    #[must_use]
    pub fn prepare(&self, options: &[&str], probe: &[&str]) -> String {
        let output = self.pod("prepare", options, probe).output();
        output.code(0).quiet();
        one_line(&output)
    }

    /// One that has ended, with this code.
    #[must_use]
    pub fn exited(&self, code: &str) -> String {
        let file = roots::fresh("uuid");
        let file = file.to_str().expect("UTF-8");
        let output = self
            .pod(
                "run",
                &["--keep", "--uuid-file-save", file],
                &["exit", code],
            )
            .output();
        output.code(code.parse().expect("a number"));
        let uuid = fs::read_to_string(file).expect("a uuid");
        uuid.trim_end().to_owned()
    }

    /// What `status` prints of a pod for programs.
    #[must_use]
    pub fn status(&self, uuid: &str) -> Value {
        let output = self.ask("status", &["--format=json", uuid]);
        output.code(0).quiet();
        Value::read(&output.stdout)
    }

    /// The state of a pod.
    #[must_use]
    pub fn state(&self, uuid: &str) -> String {
        let status = self.status(uuid);
        status.get("state").text().expect("a state").to_owned()
    }

    /// The pods that `list` prints for programs: uuid and state.
    #[must_use]
    pub fn list(&self) -> Vec<(String, String)> {
        let output = self.ask("list", &["--format=json"]);
        output.code(0).quiet();
        let list = Value::read(&output.stdout);
        let text = |pod: &Value, key| pod.get(key).text().expect("a text").to_owned();
        let pods = list.list().iter();
        pods.map(|pod| (text(pod, "uuid"), text(pod, "state")))
            .collect()
    }

    /// The pods in the folder of a state.
    #[must_use]
    pub fn in_folder(&self, folder: &str) -> Vec<String> {
        compare::names(self.path.join("pods").join(folder))
    }

    /// All that is in the folders.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let names = |folder: &&str| {
            let folder = (*folder).to_owned();
            let names = self.in_folder(&folder).into_iter();
            names
                .map(move |name| format!("{folder}/{name}"))
                .collect::<Vec<_>>()
        };
        FOLDERS.iter().flat_map(names).collect()
    }

    /// Collects all that does not live; nothing is left.
    ///
    /// # Panics
    /// If something is.
    #[track_caller]
    pub fn collected(&self) {
        // Who has told the end of a pod holds its lock until its own end; what is locked is
        // not collected.
        wait_until("nobody holds what has ended", || {
            let ended = self.in_folder("exited-garbage");
            ended.iter().all(|uuid| {
                let lock = self.place("exited-garbage", uuid).join("lock");
                fs::File::open(lock).map_or(true, |file| lock::for_reading(&file).is_ok())
            })
        });
        self.ask("gc", &["--grace-period=0"])
            .code(0)
            .quiet()
            .printed("");
        assert_eq!(self.left(), Vec::<String>::new());
        for link in [self.mount_namespace(), self.shared_init()] {
            let link = fs::symlink_metadata(link);
            assert!(link.is_err(), "a link is left");
        }
    }

    /// The link to an empty mount namespace that the launcher of a detached pod has.
    #[must_use]
    pub fn mount_namespace(&self) -> PathBuf {
        self.path.join("pods/mount-namespace")
    }

    /// Waits until somebody holds that namespace.
    pub fn wait_for_namespace(&self) {
        let link = self.mount_namespace();
        wait_until("the link leads somewhere", || fs::metadata(&link).is_ok());
    }

    /// The process that holds it.
    ///
    /// # Panics
    /// If none does.
    #[must_use]
    pub fn holder(&self) -> i32 {
        let link = fs::read_link(self.mount_namespace()).expect("a link");
        let pid = link.iter().nth(2).expect("its process");
        pid.to_string_lossy().parse().expect("a pid")
    }

    /// The link beside it, which tells of a copy of pid 1's program.
    #[must_use]
    pub fn shared_init(&self) -> PathBuf {
        self.path.join("pods/stage1-init")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Who is still using it has failed already.
        let _ = sys::unmount(self.path.to_str().unwrap_or_default());
    }
}

impl Registered {
    /// Stops it from outside; it ends with 0.
    #[track_caller]
    pub fn end(self) {
        self.running.signal(libc::SIGTERM);
        self.running.finish().code(0);
    }
}

/// A parent of the test's own for cgroups, in which gc may not leave a thing.
#[derive(Debug)]
pub struct Parent {
    /// As the option takes it.
    pub path: String,
    places: Vec<PathBuf>,
}

impl Default for Parent {
    fn default() -> Self {
        Self::new()
    }
}

impl Parent {
    /// Makes it in the hierarchy of each controller.
    ///
    /// # Panics
    /// Without controllers.
    #[must_use]
    pub fn new() -> Self {
        let own = roots::fresh("cgroup").display().to_string();
        let own = own.replace('/', "-").replace("kickstage", "");
        let path = format!("/limits-{}", own.trim_matches('-'));
        let mut places: Vec<PathBuf> = ["memory", "cpu", "pids"]
            .iter()
            .map(|name| controller(name).expect("the requirement").0)
            .map(|mount| mount.join(path.trim_start_matches('/')))
            .collect();
        places.sort();
        places.dedup();
        for place in &places {
            fs::create_dir(place).expect("a cgroup");
        }
        Self { path, places }
    }

    /// What is below it.
    #[must_use]
    pub fn pods(&self) -> Vec<PathBuf> {
        let entries = self.places.iter().flat_map(|place| {
            let entries = fs::read_dir(place).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.path())
                .filter(|path| path.is_dir())
        });
        entries.collect()
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        for path in self.pods().iter().chain(&self.places) {
            for _ in 0..500 {
                if fs::remove_dir(path).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// The only line of what was printed.
///
/// # Panics
/// If it is none.
#[must_use]
#[track_caller]
pub fn one_line(output: &Output) -> String {
    let line = output.stdout.strip_suffix('\n').unwrap_or_default();
    assert!(
        !line.is_empty() && !line.contains('\n'),
        "{}",
        output.everything()
    );
    line.to_owned()
}

/// Waits until it `holds`, for 10 seconds at most.
///
/// # Panics
/// If it does not.
#[track_caller]
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "not so: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a process is there, and no zombie.
#[must_use]
pub fn lives(pid: impl AsRef<OsStr>) -> bool {
    let path = Path::new("/proc").join(pid.as_ref()).join("stat");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}
