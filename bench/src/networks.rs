//! Network namespaces: what one from the pool adds to a start, and a new one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
    time::{Duration, Instant},
};

use crate::{
    budget::{Line, Verdict},
    measure::{Command, Spawner},
    place::Place,
    statistics::Summary,
    table::micros,
};

/// How many are kept.
const SIZE: usize = 4;
/// Rounds at most: they wait for the pool.
const ROUNDS: usize = 1000;
/// Nanoseconds that one from the pool may add to a start.
const MOST: u64 = 30_000;

/// A pool below a state directory on the tmpfs.
struct Pool {
    stage0: PathBuf,
    state: PathBuf,
}

/// Measures starts with the host's network, one from the pool and a new one, in turn.
///
/// # Errors
/// A program of ours does not run.
pub fn lines(
    binaries: &Path,
    place: &Place,
    rounds: usize,
    spawner: &mut Spawner,
) -> io::Result<Vec<Line>> {
    let pool = Pool {
        stage0: binaries.join("stage0").canonicalize()?,
        state: place.state().join("networks"),
    };
    pool.resize(SIZE)?;
    let root = place.noop.root.to_string_lossy().into_owned();
    let command = |network: &str| {
        let stage0 = pool.stage0.to_string_lossy();
        let words = [&stage0, "run", network, "--rootfs", &root, "/noop"].map(str::to_owned);
        let state = format!("KICKSTAGE_STATE_DIR={}", pool.state.display());
        Command::new(&words, &[state])
    };
    let commands = [
        command("--net=host")?,
        command("--net=pool")?,
        command("--net=none")?,
    ];
    let mut samples = [const { Vec::new() }; 3];
    for round in 0..rounds.min(ROUNDS) {
        for index in 0..commands.len() {
            // Each is first in turn, and finds the kernel as quiet.
            let index = (round + index) % commands.len();
            pool.wait()?;
            let start = spawner.start(&commands[index])?;
            if start.status != 0 {
                return Err(io::Error::other(format!("status {}", start.status)));
            }
            samples[index].push(start.nanoseconds);
        }
    }
    let [host, pooled, new] = samples.map(|samples| Summary::of(&samples).p50);
    let added = |other: u64| other.saturating_sub(host);
    Ok(vec![Line {
        text: "--net=pool: added to a start with --net=host".into(),
        found: format!(
            "{} us (a new one: {} us)",
            micros(added(pooled)).trim(),
            micros(added(new)).trim()
        ),
        limit: format!("<= {} us", MOST / 1000),
        ratio: None,
        verdict: if added(pooled) <= MOST {
            Verdict::Pass
        } else {
            Verdict::Miss
        },
    }])
}

impl Pool {
    fn resize(&self, size: usize) -> io::Result<()> {
        let status = Process::new(&self.stage0)
            .args(["pool", "--networks", &size.to_string()])
            .env("KICKSTAGE_STATE_DIR", &self.state)
            .stdin(Stdio::null())
            .status()?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("pool --networks: {status}")))
    }

    /// Waits until it is full, and the kernel has freed what was used.
    fn wait(&self) -> io::Result<()> {
        let begun = Instant::now();
        loop {
            std::thread::sleep(Duration::from_millis(2));
            let names = fs::read_dir(self.state.join("pods/networks"))?;
            let names = names.flatten().map(|entry| entry.file_name());
            let count = names
                .filter(|name| name.to_string_lossy().contains('-'))
                .count();
            if count == SIZE {
                return Ok(());
            }
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::other("the pool is not filled again"));
            }
        }
    }
}

/// Nobody would find its processes when the tmpfs has gone with their directory.
impl Drop for Pool {
    fn drop(&mut self) {
        if let Err(error) = self.resize(0) {
            eprintln!("kickstage-bench: end the pool of networks: {error}");
        }
    }
}
