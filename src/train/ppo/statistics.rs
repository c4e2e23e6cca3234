//! The numbers of a step.

use std::collections::HashSet;

use serde::Serialize;

use super::learner::{Episode, Outcome, TrainSample};
use crate::train::rlhf::advantages::{episode_kl, explained_variance, moments};

/// The numbers of a step: means over its episodes, or over the tokens of their answers; those of the losses are means
/// over its updates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Steps done before it.
    pub step: u64,
    /// The score that counted; if scores are normalised, in deviations of the reference's scores.
    pub score: f64,
    /// Its standard deviation over the episodes.
    pub score_deviation: f64,
    /// The judge's score.
    pub raw_score: f64,
    /// The gold judge's score, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gold: Option<f64>,
    /// The KL divergence from the reference: the sum of log pi - log ref over an answer, in nats.
    pub kl: f64,
    /// The coefficient of the KL penalty in this step.
    pub beta: f64,
    /// The entropy of a token's distribution, in nats.
    pub entropy: f64,
    /// The policy's loss.
    pub policy_loss: f32,
    /// How far the policy moved from the one that sampled: half the squared log-ratio.
    pub approx_kl: f32,
    /// Share of tokens whose ratio was clipped.
    pub clip_fraction: f32,
    /// Mean ratio of the first update, which should be 1.
    pub first_ratio: f32,
    /// Clip fraction of the first update, which should be 0.
    pub first_clip_fraction: f32,
    /// The value loss.
    pub value_loss: f32,
    /// Share of values that were clipped.
    pub value_clip_fraction: f32,
    /// How much of the returns' variance the values explain.
    pub explained_variance: f32,
    /// Gradient norm before clipping.
    pub gradient_norm: f32,
    /// The learning rate.
    pub learning_rate: f32,
    /// Number of tokens in an answer.
    pub response_length: f64,
    /// Share of answers that a stop token ended.
    pub stopped: f64,
    /// Share of repeated sequences of four tokens.
    pub repetition: f64,
    /// Largest difference between a log-probability when it was sampled and when it was read for training.
    pub sampling_gap: f64,
    /// Share of episodes that were learned from: with GRPO, not those in groups of equal rewards.
    pub used: f64,
}

/// Scores of a step's episodes, in their order.
pub(super) struct Scores {
    /// The judge's scores.
    pub raw: Vec<f32>,
    /// Normalised, and including the cost of a missing stop token.
    pub counted: Vec<f32>,
}

/// The statistics before the updates: everything that needs the episodes.
pub(super) fn of_episodes(step: u64, episodes: &[Episode], scores: &Scores, samples: &[TrainSample]) -> Statistics {
    let count = episodes.len().max(1) as f64;
    let mean = |value: &dyn Fn(&Episode, &TrainSample) -> f64| {
        episodes.iter().zip(samples).map(|(episode, sample)| value(episode, sample)).sum::<f64>() / count
    };
    let flat = |column: fn(&TrainSample) -> &Vec<f32>| samples.iter().flat_map(column).copied().collect::<Vec<f32>>();
    let (score, variance) = moments(&scores.counted);
    let gaps = episodes.iter().zip(samples).flat_map(|(episode, sample)| {
        let pairs = episode.answer.logprobs.iter().zip(&sample.rollout.logprobs);
        pairs.map(|(sampled, read)| f64::from((sampled - read).abs()))
    });
    Statistics {
        step,
        score,
        score_deviation: variance.sqrt(),
        raw_score: moments(&scores.raw).0,
        gold: None,
        kl: mean(&|_, sample| episode_kl(&sample.rollout.logprobs, &sample.rollout.reference)),
        beta: 0.0,
        entropy: moments(&flat(|sample| &sample.rollout.entropies)).0,
        policy_loss: 0.0,
        approx_kl: 0.0,
        clip_fraction: 0.0,
        first_ratio: 1.0,
        first_clip_fraction: 0.0,
        value_loss: 0.0,
        value_clip_fraction: 0.0,
        explained_variance: explained_variance(&flat(|sample| &sample.rollout.values), &flat(|sample| &sample.returns)),
        gradient_norm: 0.0,
        learning_rate: 0.0,
        response_length: mean(&|episode, _| episode.answer.tokens.len() as f64),
        stopped: mean(&|episode, _| if episode.answer.stopped { 1.0 } else { 0.0 }),
        repetition: mean(&|episode, _| repetition(&episode.answer.tokens)),
        // NaN counts as the largest.
        sampling_gap: gaps.fold(0.0, |most, gap| if gap > most || gap.is_nan() { gap } else { most }),
        used: mean(&|_, sample| if sample.counts { 1.0 } else { 0.0 }),
    }
}

/// Adds the means over the updates.
pub(super) fn with_updates(statistics: Statistics, updates: &[Outcome]) -> Statistics {
    let mean = |value: fn(&Outcome) -> f32| updates.iter().map(value).sum::<f32>() / updates.len().max(1) as f32;
    let Some(first) = updates.first() else { return statistics };
    Statistics {
        policy_loss: mean(|update| update.policy.loss),
        approx_kl: mean(|update| update.policy.approx_kl),
        clip_fraction: mean(|update| update.policy.clip_fraction),
        first_ratio: first.policy.ratio,
        first_clip_fraction: first.policy.clip_fraction,
        value_loss: mean(|update| update.value.loss),
        value_clip_fraction: mean(|update| update.value.clip_fraction),
        gradient_norm: mean(|update| update.norm),
        ..statistics
    }
}

/// The share of an answer's sequences of four tokens that occurred earlier in it; 0 for an answer of fewer than four
/// tokens.
pub fn repetition(tokens: &[u32]) -> f64 {
    let distinct: HashSet<_> = tokens.windows(4).collect();
    let all = tokens.windows(4).count();
    if all == 0 { 0.0 } else { 1.0 - distinct.len() as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::repetition;

    #[test]
    fn repetition_is_a_share() {
        assert_eq!(repetition(&[1, 2, 3]), 0.0);
        assert_eq!(repetition(&[1, 2, 3, 4, 5, 6, 7]), 0.0);
        assert_eq!(repetition(&[7; 13]), 0.9);
        assert_eq!(repetition(&[1, 2, 1, 2, 1, 2, 1]), 0.5);
    }
}
