//! Runs the tests: options, jobs, time limits, skips, the count at the end.
//!
//! A run can't pass by accident: without programs, without a test, with an
//! unexpected skip or with leftovers it fails.

use std::{
    collections::VecDeque,
    env,
    ffi::OsString,
    fs, io,
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Group, Test, isolate, requirement::Requirement, signals, sys};

/// The variable that names the directory of fly, stage1-init, stage0, probe.
pub const PROGRAMS: &str = "KICKSTAGE_BIN";
/// The variable that tells a test its own directory.
pub const TEMPORARY: &str = "KICKSTAGE_TEST_DIR";
/// The variable that names the cache of roots and kernels (`target`).
pub const CACHE: &str = "KICKSTAGE_CACHE";
/// How a line of a test's output begins that is shown also if the test passes.
pub const SHOWN: &str = "shown: ";
/// Set inside the guest.
pub const IN_GUEST: &str = "KICKSTAGE_IN_GUEST";

/// The directory of a run, in the one for temporary files; its pid follows.
const FOLDER: &str = "kickstage-tests.";

/// Where a test leaves the name of the requirement that it skips for.
pub(crate) const SKIP_NOTE: &str = ".skip";

/// The suite: its groups, and the skips that are known.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// All groups.
    pub groups: &'static [Group],
    /// Which test may skip, and only for want of what. A skip that is not
    /// here fails the run; so does one whose requirement the machine has.
    pub skips: &'static [(&'static str, Requirement)],
    /// Where cargo puts what it builds; the default of [`CACHE`].
    pub target: &'static str,
}

struct Options {
    filter: Option<String>,
    group: Option<String>,
    list: bool,
    jobs: usize,
    guest: bool,
}

const USAGE: &str = "blackbox [FILTER] [--group GROUP] [--jobs N] [--list] [--guest]
  FILTER        only tests whose name holds it
  --group GROUP only the tests of one group
  --jobs N      how many at a time (default 2)
  --list        prints the names and stops
  --guest       only the tests that also run in the guest (it passes this itself)
The variable KICKSTAGE_BIN names the directory of fly, stage1-init, stage0 and probe.";

fn options(mut arguments: env::ArgsOs) -> Result<Options, String> {
    let mut options = Options {
        filter: None,
        group: None,
        list: false,
        jobs: 2,
        guest: false,
    };
    let text = |value: Option<OsString>, name: &str| {
        value
            .and_then(|value| value.into_string().ok())
            .ok_or_else(|| format!("{name} needs a value"))
    };
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--list") => options.list = true,
            Some("--guest") => options.guest = true,
            Some("--group") => options.group = Some(text(arguments.next(), "--group")?),
            Some("--jobs") => {
                let value = text(arguments.next(), "--jobs")?;
                options.jobs = value
                    .parse()
                    .ok()
                    .filter(|jobs| (1..=64).contains(jobs))
                    .ok_or_else(|| format!("--jobs {value}: not a number from 1 to 64"))?;
            }
            Some(word) if !word.starts_with('-') && options.filter.is_none() => {
                options.filter = Some(word.to_owned());
            }
            _ => return Err(format!("unknown argument {}", argument.display())),
        }
    }
    Ok(options)
}

/// The program's body; its value is the exit code.
#[must_use]
pub fn main(suite: &Suite) -> i32 {
    signals::default_signals();
    let mut arguments = env::args_os();
    arguments.next();
    if env::args_os()
        .nth(1)
        .is_some_and(|word| word == isolate::ARGUMENT)
    {
        let name = env::args().nth(2).unwrap_or_default();
        return match select(suite, |_, full| full == name).first() {
            Some(job) => isolate::run(job.test),
            None => isolate::FAILED,
        };
    }
    let options = options(arguments).map_err(|message| format!("{message}\n{USAGE}"));
    match options.and_then(|options| run(suite, &options)) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("blackbox: {message}");
            2
        }
    }
}

/// A test to run.
#[derive(Clone, Copy)]
struct Job {
    group: &'static Group,
    test: &'static Test,
}

impl Job {
    fn name(&self) -> String {
        format!("{}::{}", self.group.name, self.test.name)
    }
}

fn select(suite: &Suite, mut wanted: impl FnMut(&Group, &str) -> bool) -> Vec<Job> {
    let jobs = suite
        .groups
        .iter()
        .flat_map(|group| group.tests.iter().map(move |test| Job { group, test }));
    jobs.filter(|job| wanted(job.group, &job.name())).collect()
}

/// How many tests run in the guest.
#[must_use]
pub fn guest_tests(suite: &Suite) -> usize {
    select(suite, |group, _| group.in_guest).len()
}

fn run(suite: &Suite, options: &Options) -> Result<i32, String> {
    let in_guest = options.guest;
    let jobs = select(suite, |group, name| {
        options
            .group
            .as_ref()
            .is_none_or(|wanted| wanted == group.name)
            && options
                .filter
                .as_ref()
                .is_none_or(|part| name.contains(part))
            && (!in_guest || group.in_guest)
    });
    if jobs.is_empty() {
        return Err("no test has such a name: nothing was tested".to_owned());
    }
    if options.list {
        for job in &jobs {
            println!("{}", job.name());
        }
        return Ok(0);
    }
    check_machine()?;
    // Roots are for all users, whatever the caller's habit is.
    sys::mask(0o022);
    let cache = env::var_os(CACHE).map_or_else(|| PathBuf::from(suite.target), PathBuf::from);
    // SAFETY of the environment: no thread runs yet.
    sys::set_environment(CACHE, cache.as_os_str());
    prepare(&jobs)?;
    let counts = Counts::default();
    remove_stale();
    let folder = env::temp_dir().join(format!("{FOLDER}{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let programs = copy_programs(&folder).map_err(|error| format!("can't copy: {error}"))?;
    // As above.
    sys::set_environment(PROGRAMS, programs.as_os_str());
    run_all(suite, &jobs, options.jobs, &folder, &counts);
    let removed = fs::remove_dir_all(&folder);
    let (passed, failed, skipped) = counts.read();
    if let Err(error) = &removed {
        println!(
            "FAIL  the directory of the tests remains: {}: {error}",
            folder.display()
        );
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    let good = failed == 0 && passed > 0 && removed.is_ok() && passed + skipped == jobs.len();
    Ok(i32::from(!good))
}

/// The programs under test.
const PROGRAM_NAMES: [&str; 14] = [
    "fly",
    "fly-full",
    "stage0-full",
    "fly-seccomp",
    "kickstage-initramfs",
    "stage0-image",
    "stage1-init",
    "stage1-machine",
    "stage0",
    "probe",
    "examples/chroot_runner",
    "examples/confined_runner",
    "examples/small_init",
    "examples/keeper",
];

/// Copies the programs to where every user can reach them: a checkout may lie in
/// a directory that only its owner may enter, and some tests start them as
/// somebody else.
fn copy_programs(folder: &Path) -> io::Result<PathBuf> {
    let open = || fs::Permissions::from_mode(0o755);
    let from = PathBuf::from(env::var_os(PROGRAMS).expect("it was checked"));
    let to = folder.join("programs");
    fs::create_dir(&to)?;
    for path in [folder, &to] {
        fs::set_permissions(path, open())?;
    }
    for name in PROGRAM_NAMES {
        let copy = to.join(base(name));
        fs::copy(built(&from, name), &copy)?;
        fs::set_permissions(copy, open())?;
    }
    Ok(to)
}

fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Where a program is: as it is built, or beside the others in a copy, which is what
/// a guest is given.
fn built(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    if path.is_file() {
        return path;
    }
    folder.join(base(name))
}

/// Root and the programs: the tests start pods, and a suite that skips
/// everything for want of them would be a suite that passes.
fn check_machine() -> Result<(), String> {
    if !sys::is_root() {
        return Err("the tests start pods: run them as root".to_owned());
    }
    let folder = env::var_os(PROGRAMS)
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .ok_or(
            "KICKSTAGE_BIN is not set to the absolute path of target/release (run `make test`)",
        )?;
    for program in PROGRAM_NAMES {
        let path = built(&folder, program);
        if !path.is_file() {
            return Err(format!("{} is missing (run `make test`)", path.display()));
        }
    }
    Ok(())
}

/// Removes what a run that was killed has left behind.
fn remove_stale() {
    for entry in fs::read_dir(env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(FOLDER)?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Best effort: it may be another user's.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes, once for all tests and outside of their namespaces, what they need.
fn prepare(jobs: &[Job]) -> Result<(), String> {
    let mut done = Vec::new();
    for need in jobs.iter().flat_map(|job| job.group.needs) {
        if done.contains(need) || !need.present() {
            continue;
        }
        done.push(*need);
        let start = Instant::now();
        let made = match need {
            Requirement::DebianRoot => crate::roots::make_debian(),
            Requirement::Guest => crate::guest::make(),
            _ => Ok(false),
        };
        match made {
            Ok(true) => println!("made  {need} in {:.1} s", start.elapsed().as_secs_f64()),
            Ok(false) => {}
            Err(error) => return Err(format!("can't make {need}: {error}")),
        }
    }
    Ok(())
}

#[derive(Default)]
struct Counts {
    passed: AtomicUsize,
    failed: AtomicUsize,
    skipped: AtomicUsize,
}

impl Counts {
    fn read(&self) -> (usize, usize, usize) {
        (
            self.passed.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
            self.skipped.load(Ordering::Relaxed),
        )
    }
}

fn run_all(suite: &Suite, jobs: &[Job], threads: usize, folder: &Path, counts: &Counts) {
    let queue: Mutex<VecDeque<(usize, Job)>> =
        Mutex::new(jobs.iter().copied().enumerate().collect());
    let printing = Mutex::new(());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no thread panics").pop_front();
                    let Some((index, job)) = next else {
                        return;
                    };
                    let start = Instant::now();
                    let verdict =
                        judge(suite, &job, run_one(&job, &folder.join(index.to_string())));
                    let time = start.elapsed().as_secs_f64();
                    let _line = printing.lock().expect("no thread panics");
                    let (word, counter) = match &verdict {
                        Verdict::Passed(_) => ("ok  ", &counts.passed),
                        Verdict::Failed(_) => ("FAIL", &counts.failed),
                        Verdict::Skipped(_) => ("skip", &counts.skipped),
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    println!("{word}  {:<60} {time:8.3} s", job.name());
                    match verdict {
                        Verdict::Passed(text) if text.is_empty() => {}
                        Verdict::Passed(text) => println!("{}", indent(&text)),
                        Verdict::Failed(text) => println!("{}", indent(&text)),
                        Verdict::Skipped(requirement) => println!("      needs {requirement}"),
                    }
                }
            });
        }
    });
}

fn indent(text: &str) -> String {
    let lines: Vec<String> = text
        .trim_end()
        .lines()
        .map(|line| format!("      | {line}"))
        .collect();
    lines.join("\n")
}

/// How a test's process ended.
struct Ending {
    status: Option<ExitStatus>,
    output: String,
    skip: Option<String>,
}

enum Verdict {
    /// With the lines that it shows.
    Passed(String),
    Failed(String),
    Skipped(Requirement),
}

fn judge(suite: &Suite, job: &Job, ending: io::Result<Ending>) -> Verdict {
    let ending = match ending {
        Ok(ending) => ending,
        Err(error) => return Verdict::Failed(format!("could not be run: {error}")),
    };
    let Some(status) = ending.status else {
        let limit = job.group.limit;
        return Verdict::Failed(format!(
            "{}ran longer than {limit} s: killed",
            ending.output
        ));
    };
    match (status.code(), ending.skip) {
        (Some(isolate::PASSED), None) => Verdict::Passed(shown(&ending.output)),
        (Some(isolate::SKIPPED), Some(note)) => skipped(suite, job, &note),
        (Some(_), _) => Verdict::Failed(ending.output),
        (None, _) => {
            let signal = status.signal().unwrap_or(0);
            Verdict::Failed(format!("{}ended by signal {signal}", ending.output))
        }
    }
}

/// What a test that passes shows: its lines behind [`SHOWN`].
fn shown(output: &str) -> String {
    let lines = output.lines().filter_map(|line| line.strip_prefix(SHOWN));
    lines.map(|line| format!("{line}\n")).collect()
}

fn skipped(suite: &Suite, job: &Job, note: &str) -> Verdict {
    let name = job.name();
    let known = suite.skips.iter().find(|(test, requirement)| {
        (*test == name || (test.strip_suffix("::*") == Some(job.group.name)))
            && format!("{requirement:?}") == note
    });
    match known {
        Some((_, requirement)) if !requirement.present() => Verdict::Skipped(*requirement),
        Some((_, requirement)) => Verdict::Failed(format!("skipped although it has {requirement}")),
        None => Verdict::Failed(format!(
            "skipped for {note}, which is not in the table of skips"
        )),
    }
}

/// Runs one test in its own process tree and its own directory.
fn run_one(job: &Job, folder: &Path) -> io::Result<Ending> {
    fs::create_dir(folder)?;
    let log_path = folder.with_extension("log");
    let log = fs::File::create(&log_path)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(isolate::ARGUMENT)
        .arg(job.name())
        .env(TEMPORARY, folder)
        // The place of a failed check is enough.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    sys::before_exec(&mut command, sys::die_with_parent);
    let mut child = command.spawn()?;
    let status = wait_until(
        &mut child,
        Instant::now() + Duration::from_secs(job.group.limit),
    )?;
    let skip = fs::read_to_string(folder.join(SKIP_NOTE)).ok();
    let mut output = String::from_utf8_lossy(&fs::read(&log_path)?).into_owned();
    let removed = remove(folder);
    fs::remove_file(&log_path)?;
    let mut ending = Ending {
        status,
        output: String::new(),
        skip,
    };
    if let Err(error) = removed {
        output.push_str(&format!("the test's directory can't be removed: {error}\n"));
        // A status that counts as failed, whatever the test said.
        ending.status = Some(ExitStatus::from_raw(1 << 8));
    }
    ending.output = output;
    Ok(ending)
}

/// Waits for the child; kills it (and with it all of its processes, whose pid
/// namespace ends) when the time is over: then `None`.
fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// Removes a test's directory; its processes and mounts end a moment after
/// the process that was waited for.
fn remove(folder: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match fs::remove_dir_all(folder) {
            Err(_) if tries < 500 => {
                tries += 1;
                thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}
