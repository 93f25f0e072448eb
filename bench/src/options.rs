//! The command line.

use std::{ffi::OsString, path::PathBuf};

/// What the caller wants.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rounds of the fast cases.
    pub rounds: usize,
    /// Only cases whose name contains one of these; all if empty.
    pub only: Vec<String>,
    /// Where the JSON goes.
    pub json: Option<PathBuf>,
    /// Floors of somebody else: the name of ours that it is held beside
    /// (`fly`, `pod`, `default`), and the program.
    pub floors: Vec<(String, PathBuf)>,
    /// The folder of the programs.
    pub binaries: PathBuf,
    /// Keep everything on this processor.
    pub pin: Option<usize>,
    /// Microseconds of sleep after each start, while the kernel clears up what
    /// the last one has left (namespaces are freed later, by its threads).
    pub settle: u64,
    /// Let idle processors sleep, as they do without the harness.
    pub asleep: bool,
    /// Print where the time of a default start goes, step by step.
    pub steps: bool,
    /// Measure nothing, but make so many starts in a row and tell what has grown.
    pub soak: Option<usize>,
}

/// Rounds by default: about a minute in all.
const ROUNDS: usize = 2000;
/// Fewer starts in a row than this would not be all kinds of them between two looks.
const LEAST_SOAK: usize = 200;
/// Rounds of `--quick`.
const QUICK: usize = 300;

const HELP: &str = "\
kickstage-bench [OPTIONS]
Measures starts, spawn to reaped, against floor programs and other launchers.
Exit code: 0, 1 if a ratio of the budget is missed, 2 if the work is not equal
or a case does not run.

  --quick            fewer rounds: a look, not a figure to quote
  --rounds N         rounds of the fast cases (default 2000); the slow ones get a part
  --only NAME        only cases whose name contains NAME, inits, pods, networks; may be repeated
  --floor NAME=PATH  hold another floor program beside ours; NAME is fly, confine, pod or default
  --json FILE        write all samples, the machine and the versions to FILE
  --pin CPU          keep everything on one processor
  --settle US        microseconds of sleep after each start (default 300)
  --asleep           let idle processors sleep, which are kept awake otherwise
  --steps            also print what each step of a default start costs
  --soak N           nothing of that: N starts in a row, and what has grown meanwhile of
                     what the kernel keeps; drops its caches (vm.drop_caches) between
  --binaries DIR     where the programs are (default: $KICKSTAGE_BIN, else target/release)
  --help             this text
";

impl Options {
    /// Reads the arguments; `None` if only help was wanted.
    ///
    /// # Errors
    /// Names the argument that is wrong.
    pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Option<Self>, String> {
        let mut options = Self {
            rounds: ROUNDS,
            only: Vec::new(),
            json: None,
            floors: Vec::new(),
            binaries: std::env::var_os("KICKSTAGE_BIN")
                .map_or_else(|| PathBuf::from("target/release"), PathBuf::from),
            pin: None,
            settle: 300,
            asleep: false,
            steps: false,
            soak: None,
        };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let argument = argument.to_string_lossy().into_owned();
            let mut value = || {
                let value = arguments.next();
                value.ok_or_else(|| format!("{argument} needs a value (see --help)"))
            };
            match argument.as_str() {
                "--help" => {
                    print!("{HELP}");
                    return Ok(None);
                }
                // What `cargo bench` passes on.
                "--bench" => {}
                "--quick" => options.rounds = QUICK,
                "--asleep" => options.asleep = true,
                "--steps" => options.steps = true,
                "--rounds" => options.rounds = number(&argument, &value()?)?,
                "--soak" => options.soak = Some(number(&argument, &value()?)?),
                "--pin" => options.pin = Some(number(&argument, &value()?)?),
                "--settle" => options.settle = number(&argument, &value()?)?,
                "--only" => options.only.push(value()?.to_string_lossy().into_owned()),
                "--json" => options.json = Some(value()?.into()),
                "--binaries" => options.binaries = value()?.into(),
                "--floor" => options.floors.push(floor(&value()?)?),
                _ => return Err(format!("{argument}: no such option (see --help)")),
            }
        }
        if options.rounds == 0 {
            return Err("--rounds needs at least 1".into());
        }
        if options.soak.is_some_and(|starts| starts < LEAST_SOAK) {
            return Err(format!("--soak needs at least {LEAST_SOAK}"));
        }
        if options.soak.is_some() && (options.json.is_some() || !options.only.is_empty()) {
            return Err("--soak measures nothing: not with --json or --only".into());
        }
        Ok(Some(options))
    }

    /// Whether the case `name` is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

fn number<T: std::str::FromStr>(option: &str, value: &OsString) -> Result<T, String> {
    let value = value.to_string_lossy();
    value
        .parse()
        .map_err(|_| format!("{option}: {value} is not a number that fits"))
}

fn floor(value: &OsString) -> Result<(String, PathBuf), String> {
    let value = value.to_string_lossy();
    match value.split_once('=') {
        Some((name @ ("fly" | "confine" | "pod" | "default"), path)) if !path.is_empty() => {
            Ok((name.to_owned(), path.into()))
        }
        _ => Err(format!(
            "--floor {value}: must be NAME=PATH with NAME one of fly, confine, pod, default"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Option<Options>, String> {
        Options::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn reads_floors_and_numbers() {
        let options = parse(&["--floor", "pod=/x", "--rounds", "7"])
            .unwrap()
            .unwrap();
        assert_eq!(options.floors, [("pod".to_owned(), PathBuf::from("/x"))]);
        assert_eq!(options.rounds, 7);
    }

    #[test]
    fn names_what_is_wrong() {
        assert!(parse(&["--floor", "x=/y"]).unwrap_err().contains("x=/y"));
        assert!(parse(&["--rounds"]).unwrap_err().contains("--rounds"));
        assert!(parse(&["--what"]).unwrap_err().contains("--what"));
    }
}
