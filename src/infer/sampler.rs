//! Chooses the next token from its scores.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    ops::sample::{self, Rule},
    random,
    tensor::Tensor,
};

/// The random stream of sampled tokens.
const SAMPLE_STREAM: u64 = u64::from_le_bytes(*b"sampling");

/// How to choose the next token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Scores are divided by this; 0 takes the best token.
    pub temperature: f32,
    /// Keeps only this many of the best tokens; 0 for all.
    pub top_k: usize,
    /// Keeps only the smallest set of best tokens with this much probability; 1 for all.
    pub top_p: f32,
    /// Keeps only tokens at least this probable relative to the best; 0 for all.
    pub min_p: f32,
    /// Scores of the last [`RECENT`] tokens are divided by this if positive, and multiplied by it otherwise; 1 for no
    /// penalty (Keskar et al. 2019).
    pub repetition_penalty: f32,
    /// Seed of the draws.
    pub seed: u64,
}

/// How many tokens the repetition penalty looks back.
pub const RECENT: usize = 64;

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

/// A token with its log-probability over all tokens, at the requested temperature (at 1 if that is 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

impl Sampling {
    /// Refuses settings that describe no distribution.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn validate(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::setting("temperature", self.temperature, "give 0 or more"));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::setting("top_p", self.top_p, "give more than 0 and at most 1"));
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return Err(Error::setting("min_p", self.min_p, "give 0 to 1"));
        }
        if !(0.01..=100.0).contains(&self.repetition_penalty) {
            let penalty = self.repetition_penalty;
            return Err(Error::setting("repetition_penalty", penalty, "give 0.01 to 100; 1 is none"));
        }
        Ok(())
    }

    /// The rule by which the kernel chooses.
    fn rule(&self) -> Rule {
        Rule { temperature: self.temperature, top_k: self.top_k, top_p: self.top_p, min_p: self.min_p }
    }

    /// The random key of draw number `counter`.
    pub fn key(&self, counter: u64) -> u32 {
        random::bits(self.seed, SAMPLE_STREAM, counter) as u32
    }

    /// The next token of every text, from `logits [texts, vocabulary]`, which penalties change in place. Of equal
    /// scores the lowest id is taken, so the choice is a function of its inputs. The scores stay on the GPU.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NotNumbers`] for scores that are not numbers, and the driver's errors.
    pub async fn choose(&self, logits: &Tensor, texts: &[&[u32]], keys: &[u32]) -> Result<Vec<Candidate>> {
        let chosen = Self::candidates(&self.draw(logits, texts, keys)?.to_u32().await?);
        match chosen.iter().any(|chosen| chosen.logprob.is_nan()) {
            true => Err(Error::NotNumbers { what: "scores", origin: None }),
            false => Ok(chosen),
        }
    }

    /// [`Sampling::choose`] without waiting: `[texts, 2]`, for [`Sampling::candidates`].
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn draw(&self, logits: &Tensor, texts: &[&[u32]], keys: &[u32]) -> Result<Tensor> {
        let gpu = logits.gpu();
        if self.repetition_penalty != 1.0 {
            let ids: Vec<u32> = texts.iter().flat_map(|text| recent(text)).collect();
            sample::penalise(logits, &Tensor::from_u32(gpu, &[texts.len(), RECENT], &ids)?, self.repetition_penalty)?;
        }
        sample::sample(logits, &Tensor::from_u32(gpu, &[keys.len()], keys)?, self.rule())
    }

    /// What [`Sampling::draw`] chose; a log-probability of NaN means that scores were not numbers.
    pub fn candidates(pairs: &[u32]) -> Vec<Candidate> {
        pairs.chunks_exact(2).map(|pair| Candidate { id: pair[0], logprob: f32::from_bits(pair[1]) }).collect()
    }
}

/// The distinct tokens among the last [`RECENT`], padded with `u32::MAX`.
fn recent(text: &[u32]) -> Vec<u32> {
    let distinct: BTreeSet<_> = text[text.len().saturating_sub(RECENT)..].iter().copied().collect();
    let missing = RECENT - distinct.len();
    distinct.into_iter().chain(std::iter::repeat_n(u32::MAX, missing)).collect()
}

/// The `count` most likely tokens at a temperature (at 1 if it is 0).
pub fn top(logits: &[f32], count: usize, temperature: f32) -> Vec<Candidate> {
    let sharpness = if temperature > 0.0 { 1.0 / f64::from(temperature) } else { 1.0 };
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scaled = |logit: f32| f64::from(logit - greatest) * sharpness;
    let total: f64 = logits.iter().map(|&logit| scaled(logit).exp()).sum();
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let better = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if (1..order.len()).contains(&count) {
        order.select_nth_unstable_by(count - 1, better);
        order.truncate(count);
    }
    order.sort_unstable_by(better);
    let candidate = |id: u32| Candidate { id, logprob: (scaled(logits[id as usize]) - total.ln()) as f32 };
    order.into_iter().take(count).map(candidate).collect()
}

/// The log-probability of a token at temperature 1.
pub fn logprob(logits: &[f32], id: u32) -> f32 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|logit| f64::from(logit - greatest).exp()).sum();
    (f64::from(logits[id as usize] - greatest) - total.ln()) as f32
}

#[cfg(test)]
mod tests {
    use super::{RECENT, logprob, recent, top};

    #[test]
    fn the_likeliest_come_first_and_share_one() {
        let all = top(&[1.0, 3.0, 2.0, 3.0], 4, 0.5);
        assert_eq!(all.iter().map(|candidate| candidate.id).collect::<Vec<_>>(), [1, 3, 2, 0]);
        assert!((all.iter().map(|candidate| candidate.logprob.exp()).sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(top(&[1.0, 3.0, 2.0, 3.0], 2, 0.5), all[..2]);
        let plain = top(&[1.0, 3.0, 2.0, 3.0], 4, 1.0);
        assert!(plain.iter().all(|one| one.logprob == logprob(&[1.0, 3.0, 2.0, 3.0], one.id)));
        assert!((all[0].logprob - all[2].logprob - 2.0).abs() < 1e-6, "the temperature halves");
    }

    #[test]
    fn recent_tokens_are_distinct() {
        let text: Vec<u32> = (0..200).map(|i| i % 3 + i / 190).collect();
        let ids = recent(&text);
        assert_eq!((ids.len(), &ids[..4]), (RECENT, &[0, 1, 2, 3][..]));
        assert!(ids[4..].iter().all(|&id| id == u32::MAX) && recent(&[]).len() == RECENT);
    }
}
