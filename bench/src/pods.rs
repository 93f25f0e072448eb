//! Registered pods: what it costs to release one that is warm, and what many of them cost.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
    time::{Duration, Instant},
};

use crate::{
    budget::{Line, Verdict},
    machine::meminfo,
    measure::{Command, Spawner, Start},
    place::{Payload, Place, TRUE},
    statistics::{Summary, shuffled},
    table::micros,
};

/// How many warm pods are released.
const WARM: usize = 300;
/// How many pods run at once, if there is room for them.
const MANY: usize = 1000;
/// Room that each of them may take before they are not even tried.
const ROOM: u64 = 1 << 20;
/// How many starts are compared.
const STARTS: usize = 100;
/// How often 100 are started by one thread and by two.
const TOGETHER: usize = 12;
/// How often they are listed.
const LISTS: usize = 20;

/// What a warm start may be of vfork and exec alone: of a static no-op, and of the
/// distribution's.
const MOST_WARM: f64 = 3.0;
const MOST_WARM_DYNAMIC: f64 = 1.5;
/// Bytes of the plan of a pod with one program, about.
const PLAN: usize = 3000;
/// How long the kernel may free what a start has left.
const SETTLE: Duration = Duration::from_millis(2);
/// What a start may be with many pods of one without.
const MOST_WITH_MANY: f64 = 1.2;
/// Bytes that a pod may take of what is available.
const MOST_MEMORY: u64 = 350 << 10;
/// Nanoseconds that a list of many may take.
const MOST_LIST: u64 = 10_000_000;
/// The least share of what the floor gains by two at a time.
const LEAST_GAIN: f64 = 0.95;

/// Pods below a state directory on the tmpfs.
struct Pods<'p> {
    stage0: PathBuf,
    floor: PathBuf,
    /// The floor of a warm pod: what parks it, and what lets it go.
    park: PathBuf,
    release: PathBuf,
    state: PathBuf,
    noop: &'p Payload,
    report: &'p Payload,
}

/// Measures all of it.
///
/// # Errors
/// A program of ours does not run.
pub fn lines(binaries: &Path, place: &Place, spawner: &mut Spawner) -> io::Result<Vec<Line>> {
    let pods = Pods {
        stage0: binaries.join("stage0").canonicalize()?,
        floor: binaries.join("floor-default").canonicalize()?,
        park: binaries.join("floor-warm").canonicalize()?,
        release: binaries.join("floor-release").canonicalize()?,
        state: place.state().join("pods"),
        noop: &place.noop,
        report: &place.report,
    };
    let mut lines = vec![pods.warm(&place.noop.root, "/noop", MOST_WARM, spawner)?];
    lines.push(match &place.dynamic {
        Ok(root) => pods.warm(root, TRUE, MOST_WARM_DYNAMIC, spawner)?,
        Err(why) => Line {
            text: format!("run-prepared of a warm {TRUE}"),
            found: why.clone(),
            limit: String::new(),
            ratio: None,
            verdict: Verdict::Unknown,
        },
    });
    lines.push(pods.at_a_time()?);
    lines.extend(pods.many(spawner)?);
    pods.end_all()?;
    Ok(lines)
}

/// Nobody would find them when the tmpfs has gone with their directories.
impl Drop for Pods<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end_all() {
            eprintln!("kickstage-bench: end the pods: {error}");
        }
    }
}

impl Pods<'_> {
    fn words(&self, words: &[&str]) -> Vec<String> {
        let stage0 = self.stage0.to_string_lossy().into_owned();
        let words = words.iter().map(|word| (*word).to_owned());
        std::iter::once(stage0).chain(words).collect()
    }

    /// Carries out a command of stage0; returns what it prints.
    fn ask(&self, words: &[&str]) -> io::Result<String> {
        let output = Process::new(&self.stage0)
            .args(words)
            .env("KICKSTAGE_STATE_DIR", &self.state)
            .stderr(Stdio::inherit())
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().into());
        }
        Err(io::Error::other(format!("{words:?}: {}", output.status)))
    }

    fn start(&self, words: &[&str], spawner: &mut Spawner) -> io::Result<u64> {
        let state = format!("KICKSTAGE_STATE_DIR={}", self.state.display());
        let command = Command::new(&self.words(words), &[state])?;
        let start = spawner.start(&command)?;
        succeeded(&format!("{words:?}"), &start)
    }

    /// `run-prepared` of a parked pod with `program` beside the program alone and the calls
    /// that let its floor go, in turn: the same files, seen from the same root.
    fn warm(
        &self,
        root: &Path,
        program: &str,
        most: f64,
        spawner: &mut Spawner,
    ) -> io::Result<Line> {
        let alone = Command::new(&[program], &[])?.below(root)?;
        let root = root.to_string_lossy().into_owned();
        let mut samples = [const { Vec::new() }; 3];
        for number in 0..WARM {
            // Not all of them at once: that is another figure.
            let uuid = self.ask(&["prepare", "--warm", "--rootfs", &root, "--", program])?;
            let states = self.park(&root, program)?;
            for index in shuffled(number, samples.len()) {
                std::thread::sleep(SETTLE);
                let nanoseconds = match index {
                    0 => succeeded(program, &spawner.start(&alone)?)?,
                    1 => self.start(&["run-prepared", &uuid], spawner)?,
                    _ => {
                        let words = std::iter::once(&self.release).chain(&states);
                        let words: Vec<_> = words.map(|path| path.as_os_str().as_bytes()).collect();
                        let start = spawner.start(&Command::new(&words, &[])?)?;
                        succeeded("floor-release", &start)?
                    }
                };
                if let Some(list) = samples.get_mut(index) {
                    list.push(nanoseconds);
                }
            }
        }
        let [alone, ours, bare] = samples.map(|list| Summary::of(&list).p50);
        let (ratio, floor) = (quotient(ours, alone), quotient(bare, alone));
        Ok(line(
            &format!("run-prepared of a warm {program} / vfork and exec of it"),
            format!(
                "{ratio:.3} ({} us; the bare calls: {floor:.3})",
                micros(ours).trim()
            ),
            format!("<= {most:.2}"),
            ratio <= most,
        ))
    }

    /// Parks the floor's pod in a directory with the files that ours has; the paths that
    /// this has one after the other.
    fn park(&self, root: &str, program: &str) -> io::Result<[PathBuf; 3]> {
        let states = self.state.with_file_name("floor");
        let paths = ["prepared", "run", "garbage"].map(|state| states.join(state).join("pod"));
        let [prepared, run, garbage] = &paths;
        for parent in [run, garbage].into_iter().filter_map(|path| path.parent()) {
            fs::create_dir_all(parent)?;
        }
        fs::create_dir_all(prepared.join("status"))?;
        for (name, bytes) in [("control", 0), ("pid", 5), ("plan", PLAN), ("lock", 0)] {
            fs::write(prepared.join(name), vec![b'p'; bytes])?;
        }
        let status = Process::new(&self.park)
            .arg(prepared)
            .args([root, program])
            .status()?;
        if status.success() {
            return Ok(paths);
        }
        Err(io::Error::other(format!("floor-warm: {status}")))
    }

    /// The wall time of many starts, one at a time and two at a time.
    fn at_a_time(&self) -> io::Result<Line> {
        let root = self.noop.root.to_string_lossy().into_owned();
        let ours = self.words(&["run", "--rootfs", &root, "/noop"]);
        let floor = self.floor.to_string_lossy().into_owned();
        let floor = vec![floor, root, "/noop".into()];
        // The best of several, in turn: what else the machine does makes each worse.
        let mut best = [[Duration::MAX; 2]; 2];
        for _ in 0..TOGETHER {
            for (best, words) in best.iter_mut().zip([&ours, &floor]) {
                for (best, threads) in best.iter_mut().zip([1, 2]) {
                    *best = (*best).min(together(words, threads)?);
                }
            }
        }
        let [ours, floor] = best.map(|[one, two]| one.as_secs_f64() / two.as_secs_f64());
        Ok(line(
            "100 starts, two at a time: gain / the floor's gain",
            format!("{:.3} ({ours:.2} / {floor:.2})", ours / floor),
            format!(">= {LEAST_GAIN:.2}"),
            ours / floor >= LEAST_GAIN,
        ))
    }

    /// A thousand pods.
    fn many(&self, spawner: &mut Spawner) -> io::Result<Vec<Line>> {
        if available()? < MANY as u64 * ROOM {
            return Ok(vec![Line {
                text: format!("{MANY} pods at once"),
                found: "too little memory here".into(),
                limit: String::new(),
                ratio: None,
                verdict: Verdict::Unknown,
            }]);
        }
        let root = self.report.root.to_string_lossy().into_owned();
        let detach = [
            "run", "--detach", "--rootfs", &root, "--", "/probe", "catch", "TERM",
        ];
        let noop = self.noop.root.to_string_lossy().into_owned();
        let single = ["run", "--rootfs", &noop, "/noop"];
        let mut starts = || {
            let times = (0..STARTS).map(|_| self.start(&single, spawner));
            times.collect::<io::Result<Vec<_>>>()
        };
        let mut without = starts()?;
        let memory = available()?;
        for _ in 0..MANY {
            self.ask(&detach)?;
        }
        let memory = memory.saturating_sub(available()?) / MANY as u64;
        let with = starts()?;
        let list = self.list_all()?;
        self.end_all()?;
        // On both sides of them: what else the machine does changes within these seconds.
        without.extend(starts()?);
        let [with, without] = [with, without].map(|list| Summary::of(&list).p50);
        let ratio = quotient(with, without);
        Ok(vec![
            line(
                "a start with 1,000 pods / without",
                format!("{ratio:.3}"),
                format!("<= {MOST_WITH_MANY:.2}"),
                ratio <= MOST_WITH_MANY,
            ),
            line(
                "memory of each of 1,000 pods, by MemAvailable",
                format!("{} KB", memory >> 10),
                format!("<= {} KB", MOST_MEMORY >> 10),
                memory <= MOST_MEMORY,
            ),
            line(
                "list of 1,000 pods",
                format!("{} us", micros(list).trim()),
                format!("<= {} us", MOST_LIST / 1000),
                list <= MOST_LIST,
            ),
        ])
    }

    /// How long a list of all takes.
    fn list_all(&self) -> io::Result<u64> {
        let mut lists = Vec::new();
        for _ in 0..LISTS {
            let begun = Instant::now();
            let shown = self.ask(&["list", "--no-legend", "--full"])?;
            lists.push(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
            if shown.lines().count() != MANY {
                return Err(io::Error::other("list does not show all pods"));
            }
        }
        Ok(Summary::of(&lists).p50)
    }

    /// Ends all pods, and takes away what is left of them.
    fn end_all(&self) -> io::Result<()> {
        let shown = self.ask(&["list", "--no-legend", "--full"])?;
        let uuids: Vec<_> = shown
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        if uuids.is_empty() {
            return Ok(());
        }
        let words = |first: &[&'static str]| [first, &uuids].concat();
        self.ask(&words(&["stop"]))?;
        self.ask(&words(&["rm", "--force"]))?;
        let left = self.ask(&["list", "--no-legend"])?;
        if left.is_empty() {
            return Ok(());
        }
        Err(io::Error::other(format!("pods are left: {left}")))
    }
}

/// The time that `what` took, if it ended with 0.
fn succeeded(what: &str, start: &Start) -> io::Result<u64> {
    match start.status {
        0 => Ok(start.nanoseconds),
        status => Err(io::Error::other(format!("{what}: status {status}"))),
    }
}

/// Starts `words` 100 times, by so many threads.
fn together(words: &[String], threads: usize) -> io::Result<Duration> {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    (0..STARTS / threads).try_for_each(|_| {
                        let (program, rest) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
                        let status = Process::new(program).args(rest).status()?;
                        if status.success() {
                            return Ok(());
                        }
                        Err(io::Error::other(format!("{words:?}: {status}")))
                    })
                })
            })
            .collect();
        runs.into_iter().try_for_each(|run| {
            run.join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread of the harness")))
        })
    })?;
    Ok(begun.elapsed())
}

/// What is available, in bytes.
fn available() -> io::Result<u64> {
    Ok(meminfo("MemAvailable")? << 10)
}

#[allow(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
fn quotient(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}

fn line(text: &str, found: String, limit: String, kept: bool) -> Line {
    Line {
        text: text.into(),
        found,
        limit,
        ratio: None,
        verdict: if kept { Verdict::Pass } else { Verdict::Miss },
    }
}
