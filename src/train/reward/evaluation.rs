//! How well rewards agree with human judgements.

use serde::Serialize;

use super::data::{Comparison, Label};
use crate::train::interval::wilson;

/// Number of bins of predicted probability.
pub const BINS: usize = 10;

/// Predictions whose probability is in the same tenth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Number of predictions.
    pub count: usize,
    /// Their mean probability.
    pub predicted: f64,
    /// The share that came true.
    pub observed: f64,
}

/// The results on held-out comparisons. Rewards are those of training, before they are normalised: only then is the
/// softmax of rewards the probability of being the best.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of comparisons of two or more answers. For scores: pairs of answers to the same prompt whose scores
    /// differ.
    pub comparisons: usize,
    /// How many of them give the best answer alone the greatest reward.
    pub correct: usize,
    /// Their share; `None` without comparisons.
    pub accuracy: Option<f64>,
    /// Wilson's 95 % confidence interval of the accuracy. It treats comparisons as independent, which those of one
    /// prompt are not quite.
    pub interval: Option<(f64, f64)>,
    /// The accuracy of guessing: the mean of 1 / number of answers.
    pub chance: Option<f64>,
    /// Mean of `-log softmax(rewards)[best]`; for pairs, `-log sigmoid(r_chosen - r_rejected)`.
    pub log_loss: Option<f64>,
    /// Mean squared error of rewards against scaled scores, if there are scores.
    pub squared_error: Option<f64>,
    /// For every answer, the predicted probability of being the best, in tenths, against how often it was the best.
    pub calibration: Vec<Bin>,
    /// Mean distance between predicted and observed over the bins, weighted by their counts.
    pub calibration_error: Option<f64>,
    /// Mean of the rewards.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
}

/// Mean and (biased) standard deviation.
pub fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, (values.map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt())
}

impl Evaluation {
    /// Evaluates `rewards` of the texts of `comparisons`. Scores are scaled by `scale`, (mean, deviation), before
    /// rewards are compared with them.
    pub fn of(comparisons: &[&Comparison], rewards: &[Vec<f32>], scale: (f64, f64)) -> Self {
        let mut tables: Vec<(Vec<f64>, usize)> = Vec::new();
        let (mut scored, mut errors): (Vec<(u32, f64, f64)>, Vec<f64>) = (Vec::new(), Vec::new());
        for (comparison, rewards) in comparisons.iter().zip(rewards) {
            let rewards: Vec<f64> = rewards.iter().map(|reward| f64::from(*reward)).collect();
            match comparison.label {
                Label::Best(best) => tables.push((rewards, best)),
                Label::Score(score) => {
                    let reward = rewards.first().copied().unwrap_or(f64::NAN);
                    errors.push((reward - (score - scale.0) / scale.1).powi(2));
                    scored.push((comparison.prompt, score, reward));
                }
            }
        }
        scored.sort_by_key(|(prompt, ..)| *prompt);
        for answers in scored.chunk_by(|a, b| a.0 == b.0) {
            for (index, (_, score, reward)) in answers.iter().enumerate() {
                let worse = answers[..index].iter().filter(|(_, other, _)| other != score);
                tables.extend(worse.map(|(_, other, low)| (vec![*reward, *low], usize::from(other > score))));
            }
        }
        let all = rewards.iter().flatten().map(|reward| f64::from(*reward));
        let (mean, deviation) = moments(all);
        let squared_error = (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64);
        Self { squared_error, mean, deviation, ..Self::of_tables(&tables) }
    }

    /// Evaluates tables of rewards, each with the index of the best.
    fn of_tables(tables: &[(Vec<f64>, usize)]) -> Self {
        let (mut correct, mut log_loss, mut chance) = (0, 0.0, 0.0);
        let mut calibration = vec![Bin::default(); BINS];
        for (rewards, best) in tables {
            let most = rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = rewards.iter().map(|reward| (reward - most).exp()).sum();
            correct += usize::from((0..rewards.len()).all(|i| i == *best || rewards[i] < rewards[*best]));
            log_loss += sum.ln() - (rewards[*best] - most);
            chance += 1.0 / rewards.len() as f64;
            for (index, reward) in rewards.iter().enumerate() {
                let probability = (reward - most).exp() / sum;
                let bin = &mut calibration[((probability * BINS as f64) as usize).min(BINS - 1)];
                bin.count += 1;
                bin.predicted += probability;
                bin.observed += f64::from(u8::from(index == *best));
            }
        }
        let predictions: usize = calibration.iter().map(|bin| bin.count).sum();
        for bin in calibration.iter_mut().filter(|bin| bin.count > 0) {
            bin.predicted /= bin.count as f64;
            bin.observed /= bin.count as f64;
        }
        let apart = |bin: &Bin| bin.count as f64 * (bin.predicted - bin.observed).abs();
        let error = calibration.iter().map(apart).sum::<f64>() / predictions.max(1) as f64;
        let count = tables.len();
        let mean = |sum: f64| (count > 0).then(|| sum / count as f64);
        Self {
            comparisons: count,
            correct,
            accuracy: mean(correct as f64),
            interval: (count > 0).then(|| wilson(correct, count)),
            chance: mean(chance),
            log_loss: mean(log_loss),
            calibration,
            calibration_error: (count > 0).then_some(error),
            ..Self::default()
        }
    }

    /// The number that validations report: the error on scores, or the log-loss.
    pub fn loss(&self) -> f64 {
        self.squared_error.or(self.log_loss).unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_choices_and_scores() {
        let of = |prompt, label, count| Comparison { prompt, texts: vec![vec![1]; count], label };
        let pair = of(0, Label::Best(0), 2);
        let low = (0.25f32 / 0.75).ln();
        let rewards = [vec![0.0, low], vec![0.0, low], vec![0.0, low], vec![low, 0.0]];
        let found = Evaluation::of(&[&pair; 4], &rewards, (0.0, 1.0));
        assert_eq!((found.comparisons, found.correct, found.chance), (4, 3, Some(0.5)));
        // Three of four at a predicted three quarters: perfectly calibrated.
        assert!(found.calibration_error.unwrap() < 1e-6, "{found:?}");
        assert_eq!((found.calibration[7].count, found.calibration[2].count), (4, 4));
        let entropy = -(0.75f64 * 0.75f64.ln() + 0.25 * 0.25f64.ln());
        assert!((found.log_loss.unwrap() - entropy).abs() < 1e-6);

        let four = of(0, Label::Best(2), 4);
        let found = Evaluation::of(&[&four], &[vec![0.0; 4]], (0.0, 1.0));
        assert_eq!((found.correct, found.chance), (0, Some(0.25)), "a tie is no right answer");
        assert!((found.log_loss.unwrap() - 4f64.ln()).abs() < 1e-12);

        let scores = [(0, 1.0), (0, 5.0), (1, 3.0), (0, 1.0)].map(|(prompt, score)| of(prompt, Label::Score(score), 1));
        let all: Vec<_> = scores.iter().collect();
        let found = Evaluation::of(&all, &[vec![-1.0], vec![0.5], vec![0.0], vec![2.0]], (3.0, 2.0));
        assert_eq!((found.comparisons, found.correct), (2, 1), "one pair in order, one not, equal scores are none");
        assert!((found.squared_error.unwrap() - (0.0 + 0.25 + 0.0 + 9.0) / 4.0).abs() < 1e-9);
        assert_eq!(Evaluation::of(&[], &[], (0.0, 1.0)).accuracy, None);
    }
}
