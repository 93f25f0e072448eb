//! The budget: what a start may cost, as ratios taken in one run, and how
//! large the programs may be.

use std::{fs, path::Path};

use crate::{
    statistics::{Ratio, Summary},
    table,
};

/// Whether a line of the budget is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Pass,
    /// It is not.
    Miss,
    /// One side was not measured.
    Unknown,
}

/// A line of the budget, judged.
#[derive(Clone, Debug)]
pub struct Line {
    /// What is compared, in words.
    pub text: String,
    /// What was found, in words.
    pub found: String,
    /// What is allowed, in words.
    pub limit: String,
    /// The ratio itself.
    pub ratio: Option<Ratio>,
    /// The judgement: by the median.
    pub verdict: Verdict,
}

/// Whether none of them is missed.
#[must_use]
pub fn is_kept(lines: &[Line]) -> bool {
    lines.iter().all(|line| line.verdict != Verdict::Miss)
}

/// At most this many times the other case.
struct AtMost {
    case: &'static str,
    floors: [&'static str; 2],
    limit: f64,
}

/// At least this many times faster than the other case; how many times the case's floor is
/// stands beside that.
struct Faster {
    case: &'static str,
    floor: &'static str,
    than: &'static str,
    limit: f64,
}

const AT_MOST: [AtMost; 5] = [
    AtMost {
        case: "fly",
        floors: ["floor-fly", "other-fly"],
        limit: 1.15,
    },
    AtMost {
        case: "confine",
        floors: ["floor-confine", "other-confine"],
        limit: 1.15,
    },
    AtMost {
        case: "binds",
        floors: ["floor-binds", "other-binds"],
        limit: 1.20,
    },
    AtMost {
        case: "bare",
        floors: ["floor-pod", "other-pod"],
        limit: 1.25,
    },
    AtMost {
        case: "default",
        floors: ["floor-default", "other-default"],
        limit: 1.15,
    },
];

const FASTER: [Faster; 4] = [
    Faster {
        case: "bare",
        floor: "floor-pod",
        than: "bwrap",
        limit: 4.0,
    },
    Faster {
        case: "bare",
        floor: "floor-pod",
        than: "crun",
        limit: 6.0,
    },
    Faster {
        case: "limits",
        floor: "floor-limits",
        than: "crun-limits",
        limit: 10.0,
    },
    Faster {
        case: "limits",
        floor: "floor-limits",
        than: "runc-limits",
        limit: 25.0,
    },
];

/// Nanoseconds that limits by cgroups of version 1 may add to a default start.
const MOST_BY_LIMITS: u64 = 350_000;

/// What limits by cgroups of version 2 may add, of what the bare calls do.
const MOST_OF_BARE_LIMITS: f64 = 1.15;

/// Bytes that each program may have, stripped and static.
const SIZES: [(&str, u64); 7] = [
    ("fly", 80 << 10),
    ("fly-full", 96 << 10),
    ("fly-seccomp", 40 << 10),
    ("stage1-init", 48 << 10),
    ("stage1-machine", 48 << 10),
    ("stage0", 160 << 10),
    ("stage0-full", 384 << 10),
];

/// Judges the ratios; `samples` gives those of a case, or nothing. With `is_unified` limits
/// are those of version 2.
pub fn ratios<'s>(samples: impl Fn(&str) -> &'s [u64], is_unified: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    for AtMost {
        case,
        floors,
        limit,
    } in AT_MOST
    {
        for floor in floors {
            let ratio = Ratio::of(samples(case), samples(floor));
            // Somebody else's floor is there or it is not.
            if ratio.is_none() && floor.starts_with("other") {
                continue;
            }
            lines.push(Line {
                text: format!("{case} / {floor}"),
                found: found(ratio),
                limit: format!("<= {limit:.2}"),
                ratio,
                verdict: verdict(ratio, |value| value <= limit),
            });
        }
    }
    for Faster {
        case,
        floor,
        than,
        limit,
    } in FASTER
    {
        let ratio = Ratio::of(samples(than), samples(case));
        let bare = Ratio::of(samples(than), samples(floor));
        lines.push(Line {
            text: format!("{than} / {case}"),
            found: match bare {
                Some(bare) => format!("{}; the bare calls: {:.2}", found(ratio), bare.value),
                None => found(ratio),
            },
            limit: format!(">= {limit:.2}"),
            ratio,
            verdict: verdict(ratio, |value| value >= limit),
        });
    }
    let p50 = |case| {
        let summary = Summary::of(samples(case));
        (summary.count > 0).then_some(summary.p50)
    };
    let added = |limited, without| Some(p50(limited)?.saturating_sub(p50(without)?));
    let limited = added("limits", "default");
    let bare = added("floor-limits", "floor-default");
    lines.push(if is_unified {
        limits_of_version_2(limited, bare)
    } else {
        limits(limited, bare)
    });
    lines
}

/// What limits add to a default start, in nanoseconds, by the medians of one run, and what
/// the bare calls add to its floor; by cgroups of version 1.
fn limits(added: Option<u64>, bare: Option<u64>) -> Line {
    let text = |nanoseconds| format!("{} us", table::micros(nanoseconds).trim());
    Line {
        text: "limits: added to a default start".into(),
        found: match (added.map(text), bare.map(text)) {
            (None, _) => "not measured".into(),
            (Some(added), None) => added,
            (Some(added), Some(bare)) => format!("{added} (the bare calls: {bare})"),
        },
        limit: format!("<= {} us", MOST_BY_LIMITS / 1000),
        ratio: None,
        verdict: match added {
            None => Verdict::Unknown,
            Some(..=MOST_BY_LIMITS) => Verdict::Pass,
            Some(_) => Verdict::Miss,
        },
    }
}

/// The same where version 2 has them, beside what the bare calls add to their floor.
fn limits_of_version_2(added: Option<u64>, bare: Option<u64>) -> Line {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let ratio = added
        .zip(bare)
        .map(|(added, bare)| (added, bare, added as f64 / bare.max(1) as f64));
    Line {
        text: "limits: added to a default start / by the bare calls to its floor".into(),
        found: match ratio {
            Some((added, bare, ratio)) => {
                let [added, bare] = [added, bare].map(table::micros);
                format!("{ratio:.3} ({} / {} us)", added.trim(), bare.trim())
            }
            None => "not measured".into(),
        },
        limit: format!("<= {MOST_OF_BARE_LIMITS:.2}"),
        ratio: None,
        verdict: match ratio {
            None => Verdict::Unknown,
            Some((.., ..=MOST_OF_BARE_LIMITS)) => Verdict::Pass,
            Some(_) => Verdict::Miss,
        },
    }
}

/// Judges the sizes of the programs in `binaries`.
#[must_use]
pub fn sizes(binaries: &Path) -> Vec<Line> {
    let line = |(name, limit): (&str, u64)| {
        let size = fs::metadata(binaries.join(name))
            .ok()
            .map(|data| data.len());
        let verdict = match size {
            Some(size) if size <= limit => Verdict::Pass,
            Some(_) => Verdict::Miss,
            None => Verdict::Unknown,
        };
        Line {
            text: format!("size of {name}"),
            found: size.map_or_else(|| "missing".into(), |size| format!("{size} bytes")),
            limit: format!("<= {limit}"),
            ratio: None,
            verdict,
        }
    };
    SIZES.into_iter().map(line).collect()
}

fn found(ratio: Option<Ratio>) -> String {
    match ratio {
        Some(Ratio { value, low, high }) => format!("{value:.3} ({low:.2} to {high:.2})"),
        None => "not measured".into(),
    }
}

fn verdict(ratio: Option<Ratio>, kept: impl Fn(f64) -> bool) -> Verdict {
    match ratio {
        Some(ratio) if kept(ratio.value) => Verdict::Pass,
        Some(_) => Verdict::Miss,
        None => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_by_the_median() {
        let samples = |case: &str| -> &[u64] {
            match case {
                "fly" | "bare" => &[120; 10],
                "floor-fly" | "floor-pod" => &[100; 10],
                "bwrap" => &[700; 10],
                "crun" => &[600; 10],
                "default" | "floor-default" => &[1_000_000; 10],
                "limits" => &[1_340_000; 10],
                "floor-limits" => &[1_280_000; 10],
                _ => &[],
            }
        };
        use Verdict::{Miss, Pass, Unknown};
        let ratios_of = |is_unified| -> Vec<_> {
            let lines = ratios(samples, is_unified).into_iter();
            lines.map(|line| line.verdict).collect()
        };
        let both = [
            Miss, Unknown, Unknown, Pass, Pass, Pass, Miss, Unknown, Unknown,
        ];
        // 340 us by version 1; by version 2 they are compared with the 280 of the floor.
        assert_eq!(ratios_of(false), [&both[..], &[Pass]].concat());
        assert_eq!(ratios_of(true), [&both[..], &[Miss]].concat());
    }
}
