//! The gold score: the mean score of answers to prompts that no stage trains on, by a judge that no model sees.

use serde::{Deserialize, Serialize};

use wgpt::random;

/// Number of times that the questions are drawn again, with replacement.
const RESAMPLES: u64 = 2000;
/// The random stream of these draws.
const STREAM: u64 = u64::from_le_bytes(*b"gold boo");

/// A mean over questions with its 95 % interval, by the percentile bootstrap over questions (Efron 1979).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gold {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

impl Gold {
    /// The mean of one score per question; [`None`] for no question.
    pub fn of(scores: &[f64], seed: u64) -> Option<Self> {
        let count = scores.len();
        let mean = |sum: f64| sum / count as f64;
        let resampled = |round: u64| {
            let draw = |index| scores[random::below(seed, STREAM, round << 32 | index, count as u64) as usize];
            mean((0..count as u64).map(draw).sum())
        };
        let mut means: Vec<f64> = if count == 0 { return None } else { (0..RESAMPLES).map(resampled).collect() };
        means.sort_by(f64::total_cmp);
        let quantile = |share: f64| means[((means.len() - 1) as f64 * share).round() as usize];
        Some(Self { mean: mean(scores.iter().sum()), low: quantile(0.025), high: quantile(0.975) })
    }

    /// The mean gain from `before` to `after`, which are of the same questions in the same order.
    pub fn gain(before: &[f64], after: &[f64], seed: u64) -> Option<Self> {
        let gains: Vec<f64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
        Self::of(&gains, seed)
    }

    /// As numbers, such as `0.62 (0.58 to 0.66)`.
    pub fn plain(&self) -> String {
        let Self { mean, low, high } = self;
        format!("{mean:.3} ({low:.3} to {high:.3})")
    }

    /// In hundredths with a `unit`, such as `62 % (58 to 66)`.
    pub fn words(&self, unit: &str) -> String {
        let Self { mean, low, high } = self;
        format!("{:.0} {unit} ({:.0} to {:.0})", 100.0 * mean, 100.0 * low, 100.0 * high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_as_wide_as_the_number_of_questions_allows() {
        let scores: Vec<f64> = (0..400).map(|index| f64::from(index % 5 < 2)).collect();
        let gold = Gold::of(&scores, 1).unwrap();
        // 0.4 plus or minus 1.96 deviations of sqrt(0.4 0.6 / 400).
        assert!(
            (gold.mean - 0.4).abs() < 1e-12 && (gold.low - 0.352).abs() < 0.006 && (gold.high - 0.448).abs() < 0.006
        );
        assert_eq!(Gold::of(&[], 1), None);
        assert_eq!(Gold { mean: 0.4, low: 0.352, high: 0.448 }.words("%"), "40 % (35 to 45)");
        // Pairs that all gain the same have no spread, however much the questions differ.
        let better: Vec<f64> = scores.iter().map(|score| score + 0.25).collect();
        assert_eq!(Gold::gain(&scores, &better, 1), Some(Gold { mean: 0.25, low: 0.25, high: 0.25 }));
    }
}
