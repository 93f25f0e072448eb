//! The init of a container beside those of others: how large it is, what it holds
//! while it waits for one program, how often it wakes up meanwhile, and what it
//! costs around a program that ends at once.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command as Process, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    budget::{Line, Verdict},
    measure::{Command, Spawner},
    run,
    statistics::Summary,
    table::micros,
};

/// Names that `stage1-init` is called by; the first is its own.
const MODES: [&str; 4] = ["stage1-init", "tini", "dumb-init", "catatonit"];
/// The programs of others, by the name of their file.
const PEERS: [&str; 3] = ["tini-static", "dumb-init", "catatonit"];

/// How often each is started.
const ROUNDS: usize = 400;
/// Starts before any that counts.
const WARM_UP: usize = 20;
/// Between two starts.
const SETTLE: Duration = Duration::from_micros(200);
/// How long they have for their own start before anybody counts.
const START: Duration = Duration::from_millis(300);
/// How long wake-ups are counted: 12 times that is a minute.
const IDLE: Duration = Duration::from_secs(5);

/// How many apps the pods have whose pid 1 is looked at.
const PODS: [usize; 2] = [1, 50];
/// How often each of them is started.
const STARTS: usize = 5;
/// How long the wake-ups of each are counted.
const POD_IDLE: Duration = Duration::from_secs(1);
/// In /proc/PID/status: how often it has gone to sleep.
const SWITCHES: &str = "voluntary_ctxt_switches:";

/// Bytes that it may hold while it waits.
const MOST_RESIDENT: u64 = 64 << 10;
/// Nanoseconds that it may cost more than vfork + exec.
const MOST_NANOSECONDS: u64 = 80_000;

/// What was found out.
#[derive(Debug, Default)]
pub struct Inits {
    /// Ours, judged.
    pub lines: Vec<Line>,
    /// A line for each of them, for people.
    pub table: Vec<String>,
}

/// An init, ready to be started.
struct Init {
    name: String,
    path: PathBuf,
    is_ours: bool,
}

/// What was measured of one.
struct Figures {
    size: u64,
    resident: u64,
    wake_ups: u64,
    cost: u64,
}

/// Measures all of them; `folder` is on the tmpfs, where copies of them are put, so
/// that no file system makes a difference.
///
/// # Errors
/// Ours does not run.
pub fn measure(binaries: &Path, folder: &Path, spawner: &mut Spawner) -> io::Result<Inits> {
    let mut found = Inits::default();
    let mut inits = Vec::new();
    for name in MODES {
        let path = copy(&binaries.join("stage1-init"), &folder.join("ours"), name)?;
        let name = match name {
            "stage1-init" => name.to_owned(),
            other => format!("as {other}"),
        };
        inits.push(Init {
            name,
            path,
            is_ours: true,
        });
    }
    // It starts a program and waits for it, nothing else: what any init costs.
    inits.push(Init {
        name: "floor-init".into(),
        path: copy(&binaries.join("floor-init"), folder, "floor-init")?,
        is_ours: false,
    });
    let (others, missing) = peers(folder)?;
    inits.extend(others);
    let noop = copy(&binaries.join("noop"), folder, "noop")?;
    // tini warns at every start that it is not pid 1.
    let output = fs::File::create(folder.join("output"))?;
    let costs = run::exchanged(&output, || costs(&inits, &noop, spawner))?;
    let waiting = waiting(&inits)?;
    found.table.push(format!(
        "{:<14} {:>9} {:>9} {:>12} {:>9}",
        "", "bytes", "RSS KB", "wake-ups/min", "cost us"
    ));
    for ((init, cost), (resident, wake_ups)) in inits.iter().zip(costs).zip(waiting) {
        let figures = Figures {
            size: fs::metadata(&init.path)?.len(),
            resident,
            wake_ups,
            cost,
        };
        found.table.push(format!(
            "{:<14} {:>9} {:>9} {:>12} {:>9}",
            init.name,
            figures.size,
            figures.resident >> 10,
            figures.wake_ups,
            micros(figures.cost)
        ));
        if init.is_ours {
            found.lines.extend(judge(&init.name, &figures));
        }
    }
    for apps in PODS {
        let (resident, wake_ups) = some_pods(binaries, folder, apps)?;
        let name = format!("pod of {apps}");
        let kilobytes = resident >> 10;
        found.table.push(format!(
            "{name:<14} {:>9} {kilobytes:>9} {wake_ups:>12}",
            ""
        ));
        found.lines.extend(judge_waiting(&name, resident, wake_ups));
    }
    found.table.extend(missing);
    Ok(found)
}

/// The programs of others, and what is to be said of those that are not there.
fn peers(folder: &Path) -> io::Result<(Vec<Init>, Vec<String>)> {
    let (mut inits, mut missing) = (Vec::new(), Vec::new());
    for name in PEERS {
        match find(name) {
            Some(file) => inits.push(Init {
                name: name.into(),
                path: copy(&file, &folder.join("peers"), name)?,
                is_ours: false,
            }),
            None => missing.push(format!("{name:<14} missing: it is not in $PATH")),
        }
    }
    Ok((inits, missing))
}

/// What [`pod`] finds, of some of them: where its stack begins in a page is a matter of
/// luck, and makes a page more or less, so this is the median; of the wake-ups the most.
fn some_pods(binaries: &Path, folder: &Path, apps: usize) -> io::Result<(u64, u64)> {
    let mut found = Vec::new();
    for _ in 0..STARTS {
        found.push(pod(binaries, folder, apps)?);
    }
    found.sort_unstable();
    let (resident, _) = found.get(STARTS / 2).copied().unwrap_or_default();
    let wake_ups = found.iter().map(|(_, wake_ups)| *wake_ups).max();
    Ok((resident, wake_ups.unwrap_or_default()))
}

/// What pid 1 of a pod of so many apps holds in bytes while they sleep, and how often a
/// minute it wakes up.
fn pod(binaries: &Path, folder: &Path, apps: usize) -> io::Result<(u64, u64)> {
    let root = folder.join("pod");
    fs::create_dir_all(root.join("bin"))?;
    fs::copy(binaries.join("probe"), root.join("bin/probe"))?;
    let mut words = vec!["/bin/probe", "sleep", "60000"];
    for _ in 1..apps {
        words.extend(["---", "/bin/probe", "sleep", "60000"]);
    }
    let stage0 = Process::new(binaries.join("stage0"))
        .args(["run", "--rootfs"])
        .arg(&root)
        .arg("--")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let stage0 = Running(stage0);
    thread::sleep(START);
    let id = stage0.0.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
    let first = children.split_whitespace().next();
    let first: u32 = first
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| io::Error::other("the pod does not run"))?;
    let before = field(first, "status", SWITCHES)?;
    let since = Instant::now();
    thread::sleep(POD_IDLE);
    let more = field(first, "status", SWITCHES)?.saturating_sub(before);
    let resident = field(first, "smaps_rollup", "Rss:")? << 10;
    Ok((resident, a_minute(more, since.elapsed())))
}

/// Three lines of the budget; the size is in another one, for the file is the same.
fn judge(name: &str, figures: &Figures) -> Vec<Line> {
    let mut lines = judge_waiting(name, figures.resident, figures.wake_ups);
    lines.push(line(
        format!("{name}: cost"),
        format!("{} us", micros(figures.cost)),
        format!("<= {} us", MOST_NANOSECONDS / 1000),
        figures.cost <= MOST_NANOSECONDS,
    ));
    lines
}

/// Two of them: of what waits.
fn judge_waiting(name: &str, resident: u64, wake_ups: u64) -> Vec<Line> {
    vec![
        line(
            format!("{name}: RSS"),
            format!("{} KB", resident >> 10),
            format!("<= {} KB", MOST_RESIDENT >> 10),
            resident <= MOST_RESIDENT,
        ),
        line(
            format!("{name}: wake-ups"),
            format!("{wake_ups} a minute"),
            "0".into(),
            wake_ups == 0,
        ),
    ]
}

fn line(text: String, found: String, limit: String, kept: bool) -> Line {
    Line {
        text,
        found,
        limit,
        ratio: None,
        verdict: if kept { Verdict::Pass } else { Verdict::Miss },
    }
}

/// By how much the median of each is above that of the program alone. The inits
/// take turns, so that what disturbs the machine disturbs all of them.
fn costs(inits: &[Init], noop: &Path, spawner: &mut Spawner) -> io::Result<Vec<u64>> {
    let noop = noop.to_string_lossy().into_owned();
    let mut commands = vec![Command::new(std::slice::from_ref(&noop), &[])?];
    for init in inits {
        let words = [init.path.to_string_lossy().into_owned(), noop.clone()];
        commands.push(Command::new(&words, &[])?);
    }
    let mut samples = vec![Vec::with_capacity(ROUNDS); commands.len()];
    for round in 0..ROUNDS + WARM_UP {
        for turn in 0..commands.len() {
            let index = (round + turn) % commands.len();
            let Some((command, samples)) = commands.get(index).zip(samples.get_mut(index)) else {
                continue;
            };
            let start = spawner.start(command)?;
            if start.status != 0 {
                return Err(io::Error::other(format!("{} failed", command.text())));
            }
            if round >= WARM_UP {
                samples.push(start.nanoseconds);
            }
            thread::sleep(SETTLE);
        }
    }
    let medians: Vec<u64> = samples
        .iter()
        .map(|samples| Summary::of(samples).p50)
        .collect();
    let alone = medians.first().copied().unwrap_or(0);
    let above = medians.iter().skip(1);
    Ok(above.map(|median| median.saturating_sub(alone)).collect())
}

/// Starts each around a program that sleeps; what it holds in bytes, and how often a
/// minute it wakes up.
fn waiting(inits: &[Init]) -> io::Result<Vec<(u64, u64)>> {
    // By its path: the floor does not search.
    let sleep = find("sleep").ok_or_else(|| io::Error::other("there is no sleep in $PATH"))?;
    let mut running = Vec::new();
    for init in inits {
        let child = Process::new(&init.path)
            .arg(&sleep)
            .arg("60")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        running.push(Running(child));
    }
    thread::sleep(START);
    let count = |child: &Running| field(child.0.id(), "status", SWITCHES);
    let since = Instant::now();
    let before: Vec<_> = running.iter().map(count).collect();
    thread::sleep(IDLE);
    let passed = since.elapsed();
    let mut found = Vec::new();
    for (child, before) in running.iter().zip(before) {
        let (before, after) = (before?, count(child)?);
        let wake_ups = a_minute(after.saturating_sub(before), passed);
        let kilobytes = field(child.0.id(), "smaps_rollup", "Rss:")?;
        found.push((kilobytes << 10, wake_ups));
    }
    Ok(found)
}

/// So many in this time, a minute; rounded: 5 in 5.001 seconds are 60.
fn a_minute(count: u64, passed: Duration) -> u64 {
    let passed = passed.as_millis().max(1);
    let rounded = (u128::from(count) * 60_000 + passed / 2) / passed;
    u64::try_from(rounded).unwrap_or(u64::MAX)
}

/// Ends with this value: the signal is passed on.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            // SAFETY: no pointers; the child is not reaped yet.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let _ = self.0.wait();
    }
}

/// A number of a file of /proc.
fn field(pid: u32, file: &str, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no {name} in /proc/PID/{file}")))
}

fn copy(file: &Path, folder: &Path, name: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let copy = folder.join(name);
    fs::copy(file, &copy)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
    Ok(copy)
}

/// Where in `$PATH` a program is.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
