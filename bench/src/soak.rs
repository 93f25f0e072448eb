//! Many starts in a row: whether anything has grown of what the kernel keeps, or the state
//! directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
    thread,
    time::Duration,
};

use crate::{
    budget::{Line, Verdict},
    machine::{meminfo, number},
    measure::{Command, Spawner},
    place::Place,
};

/// How often it is looked, after the first tenth, in which caches and pools fill.
const LOOKS: usize = 10;
/// How long the kernel may take to free what the last starts have left.
const SETTLE: Duration = Duration::from_millis(500);
/// The name of a pod that is registered, and of the one that is killed.
const NAME: &str = "soak";
/// Of so many starts each but the first few is of its own kind.
const TURN: usize = 20;

/// What is put before `--rootfs`, by the start's place in its turn; plain starts otherwise.
const KINDS: [&[&str]; 6] = [
    &["run", "--ephemeral"],
    &["run", "--memory", "64M", "--cpus", "1", "--pids", "64"],
    &["run", "--name", NAME],
    &["run", "--net=none"],
    &["run", "--private-users"],
    &["run", "--stage1=fly"],
];

/// Something that could grow.
struct Kind {
    name: &'static str,
    unit: &'static str,
    look: fn(&Path) -> io::Result<u64>,
    /// What others on the machine may add meanwhile; and what may be added for each hundred
    /// starts: less than one thing of each kind of start.
    allowed: (u64, u64),
}

const LOOKED_AT: [Kind; 12] = [
    Kind::of("memory in use", " KB", |_| used(), (32 << 10, 1)),
    Kind::of("slab", " KB", |_| meminfo("Slab"), (2 << 10, 1)),
    Kind::of("kernel stacks", " KB", |_| meminfo("KernelStack"), (512, 1)),
    Kind::of(
        "page tables",
        " KB",
        |_| meminfo("PageTables"),
        (1 << 10, 1),
    ),
    Kind::of("per processor", " KB", |_| meminfo("Percpu"), (512, 1)),
    Kind::of("shared memory", " KB", |_| meminfo("Shmem"), (1 << 10, 1)),
    Kind::of(
        "open files",
        "",
        |_| first("/proc/sys/fs/file-nr"),
        (256, 1),
    ),
    Kind::of("inodes", "", |_| first("/proc/sys/fs/inode-nr"), (512, 1)),
    Kind::of(
        "dentries",
        "",
        |_| first("/proc/sys/fs/dentry-state"),
        (512, 1),
    ),
    Kind::of("mounts", "", |_| mounts(), (0, 0)),
    Kind::of("cgroups", "", |_| cgroups(), (4, 0)),
    Kind::of("state directory", "", entries, (0, 0)),
];

impl Kind {
    const fn of(
        name: &'static str,
        unit: &'static str,
        look: fn(&Path) -> io::Result<u64>,
        allowed: (u64, u64),
    ) -> Self {
        Self {
            name,
            unit,
            look,
            allowed,
        }
    }

    /// Judges what was seen in the course of `starts`.
    fn judge(&self, seen: &[u64], starts: usize) -> Line {
        let (first, last) = ends(seen);
        let (always, each) = self.allowed;
        let most = always + each * starts as u64 / 100;
        let unit = self.unit;
        let seen: Vec<_> = seen.iter().map(u64::to_string).collect();
        Line {
            text: self.name.into(),
            found: format!("{first} -> {last}{unit}"),
            limit: format!("<= +{most}{unit}   ({})", seen.join(" ")),
            ratio: None,
            verdict: if last <= first + most {
                Verdict::Pass
            } else {
                Verdict::Miss
            },
        }
    }
}

/// The least of the first looks and of the last ones: others on the machine make it more for
/// a moment, a leak makes it more for ever.
fn ends(seen: &[u64]) -> (u64, u64) {
    let some = seen.len().div_ceil(3);
    let least = |looks: &[u64]| looks.iter().min().copied().unwrap_or_default();
    let (first, last) = (seen.get(..some), seen.get(seen.len() - some..));
    (least(first.unwrap_or(seen)), least(last.unwrap_or(seen)))
}

/// Makes `starts` starts in a row, and as many more in tenths before the first look.
///
/// # Errors
/// A program of ours does not run, or the kernel does not tell.
pub fn lines(
    binaries: &Path,
    place: &Place,
    starts: usize,
    spawner: &mut Spawner,
) -> io::Result<Vec<Line>> {
    let soak = Soak {
        stage0: binaries.join("stage0").canonicalize()?,
        state: place.state().join("soak"),
        root: place.noop.root.to_string_lossy().into_owned(),
    };
    let mut seen = [const { Vec::new() }; LOOKED_AT.len()];
    let each = starts.div_ceil(LOOKS);
    for tenth in 0..=LOOKS {
        for number in 0..each {
            soak.start(tenth * each + number, spawner)?;
        }
        soak.settle()?;
        for (kind, seen) in LOOKED_AT.iter().zip(&mut seen) {
            let look = (kind.look)(&soak.state);
            seen.push(look.map_err(|error| io::Error::other(format!("{}: {error}", kind.name)))?);
        }
        eprint!("\r{} of {} starts ", (tenth + 1) * each, (LOOKS + 1) * each);
    }
    eprintln!();
    let lines = LOOKED_AT.iter().zip(&seen);
    Ok(lines
        .map(|(kind, seen)| kind.judge(seen, each * LOOKS))
        .collect())
}

/// What is started.
struct Soak {
    stage0: PathBuf,
    state: PathBuf,
    root: String,
}

impl Soak {
    /// One start, of the kind whose turn it is.
    fn start(&self, number: usize, spawner: &mut Spawner) -> io::Result<()> {
        match number % TURN {
            0 => self.warm(spawner),
            1 => self.killed(number),
            turn => {
                let before = turn.checked_sub(2).and_then(|turn| KINDS.get(turn));
                self.run(before.unwrap_or(&&["run"][..]), &["/noop"], spawner)
            }
        }
    }

    fn run(&self, before: &[&str], behind: &[&str], spawner: &mut Spawner) -> io::Result<()> {
        let stage0 = self.stage0.to_string_lossy();
        let mut words = vec![&*stage0];
        words.extend(before);
        if !behind.is_empty() {
            words.extend(["--rootfs", &self.root, "--"]);
        }
        words.extend(behind);
        let state = format!("KICKSTAGE_STATE_DIR={}", self.state.display());
        match spawner.start(&Command::new(&words, &[&state])?)?.status {
            0 => Ok(()),
            status => Err(io::Error::other(format!("{words:?}: status {status}"))),
        }
    }

    fn process(&self, words: &[&str]) -> Process {
        let mut process = Process::new(&self.stage0);
        process.args(words).env("KICKSTAGE_STATE_DIR", &self.state);
        process
    }

    /// A pod that is parked, and released.
    fn warm(&self, spawner: &mut Spawner) -> io::Result<()> {
        let words = ["prepare", "--warm", "--rootfs", &self.root, "--", "/noop"];
        let output = self.process(&words).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!("{words:?}: {}", output.status)));
        }
        let uuid = String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned();
        self.run(&["run-prepared", &uuid], &[], spawner)
    }

    /// A registered pod whose launcher is killed at some instant of its start, which is
    /// another one each time.
    fn killed(&self, number: usize) -> io::Result<()> {
        let words = ["run", "--name", NAME, "--rootfs", &self.root, "--", "/noop"];
        let mut child = self.process(&words).stderr(Stdio::null()).spawn()?;
        thread::sleep(Duration::from_micros(
            number as u64 / TURN as u64 * 37 % 1500,
        ));
        // It may have ended.
        let _ = child.kill();
        child.wait()?;
        self.collect()
    }

    /// Whatever is left of pods is removed.
    fn collect(&self) -> io::Result<()> {
        let words = ["gc", "--grace-period=0"];
        let output = self.process(&words).output()?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_owned();
        Err(io::Error::other(format!(
            "{words:?}: {}: {text}",
            output.status
        )))
    }

    /// Lets the kernel free what it has not freed yet, and what it keeps only as long as
    /// nobody wants the memory (proc_sys_vm(5), drop_caches).
    fn settle(&self) -> io::Result<()> {
        thread::sleep(SETTLE);
        self.collect()?;
        fs::write("/proc/sys/vm/drop_caches", "2")?;
        thread::sleep(SETTLE);
        Ok(())
    }
}

/// Memory that is not available, in KB.
fn used() -> io::Result<u64> {
    Ok(meminfo("MemTotal")?.saturating_sub(meminfo("MemAvailable")?))
}

/// The first number of a file.
fn first(path: &str) -> io::Result<u64> {
    number(&fs::read_to_string(path)?)
}

fn mounts() -> io::Result<u64> {
    Ok(fs::read_to_string("/proc/self/mountinfo")?.lines().count() as u64)
}

/// Those of all hierarchies, also those that are about to go (cgroups(7), /proc/cgroups).
fn cgroups() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/cgroups")?;
    let counts = text
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(2));
    counts.map(|count| number(count.unwrap_or_default())).sum()
}

/// Files and directories below `path`.
fn entries(path: &Path) -> io::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        count += 1;
        if entry.file_type()?.is_dir() {
            count += entries(&entry.path())?;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(allowed: (u64, u64), seen: &[u64]) -> Verdict {
        Kind::of("x", "", |_| Ok(0), allowed)
            .judge(seen, 1000)
            .verdict
    }

    #[test]
    fn what_grows_with_the_starts_is_a_miss() {
        let one_of_twenty: Vec<_> = (0..=10).map(|look| 7000 + look * 5).collect();
        assert_eq!(verdict((10, 1), &one_of_twenty), Verdict::Miss);
        assert_eq!(
            verdict((0, 0), &[3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4]),
            Verdict::Miss
        );
    }

    #[test]
    fn what_comes_and_goes_is_none() {
        assert_eq!(
            verdict((0, 0), &[3, 9, 3, 3, 50, 3, 3, 3, 9, 3, 900]),
            Verdict::Pass
        );
        assert_eq!(
            verdict((0, 0), &[9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1]),
            Verdict::Pass
        );
    }

    #[test]
    fn the_kernel_tells_all_of_it() {
        for kind in &LOOKED_AT {
            let look = (kind.look)(Path::new("/proc/self/ns"));
            assert!(look.is_ok_and(|look| look > 0), "{}", kind.name);
        }
    }
}
