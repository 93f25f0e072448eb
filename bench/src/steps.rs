//! Where the time of a start goes, as the product itself reports it.

use crate::{
    cases::Case,
    measure::{self, Command, Spawner},
    place::Place,
    run::captured,
    statistics::Summary,
    table::micros,
};

/// Starts that are looked at.
const STARTS: usize = 100;

/// One line a step of `stage0 run --timings=json`, with the median of many
/// starts; the harness passes its own stamp, so that the first step begins at
/// the call that spawns.
///
/// # Errors
/// A start failed, or its report can't be read.
pub fn table(cases: &[Case], place: &Place, spawner: &mut Spawner) -> Result<Vec<String>, String> {
    let Some(program) = cases
        .iter()
        .find(|case| case.name == "default")
        .and_then(|case| case.timed.as_ref())
        .map(Command::program)
    else {
        return Ok(vec!["`default` is not among the cases".into()]);
    };
    let root = place.noop.root.to_string_lossy().into_owned();
    let words = [
        &program,
        "run",
        "--timings=json",
        "--rootfs",
        &root,
        "/noop",
    ];
    let mut names: Vec<String> = Vec::new();
    let mut samples: Vec<Vec<u64>> = Vec::new();
    for _ in 0..STARTS {
        let stamp = format!("STAGE0_T0={}", measure::now());
        let variables = [stamp.as_bytes()];
        let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
        let command = Command::new(&words, &variables).map_err(|error| error.to_string())?;
        let report = captured(&command, place, spawner)?;
        for (index, (name, nanoseconds)) in steps(&report).into_iter().enumerate() {
            if index == names.len() {
                names.push(name);
                samples.push(Vec::with_capacity(STARTS));
            }
            if let Some(samples) = samples.get_mut(index) {
                samples.push(nanoseconds);
            }
        }
    }
    let lines = names.iter().zip(&samples);
    let lines =
        lines.map(|(name, samples)| format!("{:>8}  {name}", micros(Summary::of(samples).p50)));
    Ok(lines.collect())
}

/// The pairs of `"step":"NAME","us":NUMBER` in a report, in nanoseconds.
fn steps(report: &str) -> Vec<(String, u64)> {
    let entries = report.split("{\"step\":\"").skip(1);
    entries
        .filter_map(|entry| {
            let (name, rest) = entry.split_once("\",\"us\":")?;
            let number: String = rest
                .chars()
                .take_while(|character| character.is_ascii_digit() || *character == '.')
                .collect();
            Some((name.to_owned(), nanoseconds(&number)?))
        })
        .collect()
}

/// Microseconds with at most three digits behind the point.
fn nanoseconds(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: u64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    Some(whole.parse::<u64>().ok()? * 1000 + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_report() {
        let report = r#"{"program":"stage0","steps":[{"step":"seal /a b","us":37.4},{"step":"x","us":5}],"total_us":1.0}"#;
        assert_eq!(
            steps(report),
            [("seal /a b".to_owned(), 37_400), ("x".to_owned(), 5_000)]
        );
    }
}
