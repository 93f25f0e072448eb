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

/// The numbers below `count`, each once, in the order of round `number`, which is the
/// same in each run.
///
/// The kernel ends what a start leaves (namespaces, cgroups) behind its back, at the
/// expense of the start that follows. In one order, or in turns of it, that would be
/// the same case each time.
#[must_use]
pub fn shuffled(number: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut state = number as u64;
    for last in (1..count).rev() {
        // SplitMix64, and the range by the upper half of a product.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        let chosen = (u128::from(word) * (last as u128 + 1)) >> 64;
        order.swap(last, usize::try_from(chosen).unwrap_or(last));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_follows_each_other_one_equally_often() {
        const CASES: usize = 5;
        const ROUNDS: usize = 2_000;
        let mut follows = [[0; CASES]; CASES];
        for number in 0..ROUNDS {
            let order = shuffled(number, CASES);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
            for pair in order.windows(2) {
                follows[pair[0]][pair[1]] += 1;
            }
        }
        // In each round 4 of the 20 pairs.
        for (index, others) in follows.iter().enumerate() {
            for (other, count) in others
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
            {
                assert!(
                    (340..460).contains(count),
                    "{other} behind {index}: {count}"
                );
            }
        }
        assert_eq!(shuffled(3, 0), []);
    }

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
