//! What a list of samples says.

/// Percentiles of samples, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many samples.
    pub count: usize,
    /// The least.
    pub least: u64,
    /// The median.
    pub p50: u64,
    /// 9 of 10 are not above.
    pub p90: u64,
    /// 99 of 100 are not above.
    pub p99: u64,
    /// Samples of more than three medians.
    pub outliers: usize,
}

impl Summary {
    /// Summarises `samples`.
    #[must_use]
    pub fn of(samples: &[u64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let p50 = percentile(&sorted, 50);
        Self {
            count: sorted.len(),
            least: percentile(&sorted, 0),
            p50,
            p90: percentile(&sorted, 90),
            p99: percentile(&sorted, 99),
            outliers: sorted.iter().filter(|sample| **sample > 3 * p50).count(),
        }
    }
}

/// The nearest-rank percentile of a sorted list; 0 of an empty one.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// A ratio of medians, and how far it moved during the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Median by median.
    pub value: f64,
    /// The least of the same ratio, taken for each tenth of the run.
    pub low: f64,
    /// The greatest.
    pub high: f64,
}

/// Parts of a run that are compared with each other.
const PARTS: usize = 10;

impl Ratio {
    /// The ratio of two cases that were measured in the same rounds; `None` if
    /// one of them was not.
    #[must_use]
    pub fn of(numerator: &[u64], denominator: &[u64]) -> Option<Self> {
        let value = divide(Summary::of(numerator).p50, Summary::of(denominator).p50)?;
        let mut ratio = Self {
            value,
            low: value,
            high: value,
        };
        let part = |samples: &[u64], index: usize| {
            let from = samples.len() * index / PARTS;
            let to = samples.len() * (index + 1) / PARTS;
            Summary::of(samples.get(from..to).unwrap_or_default()).p50
        };
        for index in 0..PARTS {
            if let Some(value) = divide(part(numerator, index), part(denominator, index)) {
                ratio.low = ratio.low.min(value);
                ratio.high = ratio.high.max(value);
            }
        }
        Some(ratio)
    }
}

fn divide(numerator: u64, denominator: u64) -> Option<f64> {
    (numerator > 0 && denominator > 0).then(|| numerator as f64 / denominator as f64)
}

/// How the median moved from the first third of a run to the last, as a
/// factor: far from 1, the machine was not quiet.
#[must_use]
pub fn drift(samples: &[u64]) -> f64 {
    let third = samples.len() / 3;
    let first = Summary::of(samples.get(..third).unwrap_or_default()).p50;
    let last = Summary::of(samples.get(samples.len() - third..).unwrap_or_default()).p50;
    divide(last, first).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<u64> = (1..=100).rev().collect();
        let summary = Summary::of(&samples);
        assert_eq!(
            (summary.least, summary.p50, summary.p90, summary.p99),
            (1, 50, 90, 99)
        );
        assert_eq!(summary.outliers, 0);
        assert_eq!(Summary::of(&[]), Summary::default());
        assert_eq!(Summary::of(&[7]).p99, 7);
    }

    #[test]
    fn a_ratio_tells_how_far_it_moved() {
        let even = [100; 20];
        let mut moved = [100; 20];
        moved[..2].fill(150);
        let ratio = Ratio::of(&moved, &even).unwrap();
        assert!((ratio.value - 1.0).abs() < 1e-9);
        assert!((ratio.high - 1.5).abs() < 1e-9);
        assert_eq!(Ratio::of(&even, &[]), None);
    }

    #[test]
    fn drift_is_last_by_first() {
        let samples: Vec<u64> = [100; 10].into_iter().chain([200; 10]).collect();
        assert!((drift(&samples) - 2.0).abs() < 1e-9);
    }
}
