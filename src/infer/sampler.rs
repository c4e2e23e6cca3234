//! The next token from its scores.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, random};

/// The random stream of sampled tokens.
const SAMPLE_STREAM: u64 = u64::from_le_bytes(*b"sampling");

/// How to choose the next token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Scores are divided by this; 0 takes the best token.
    pub temperature: f32,
    /// Only the best this many tokens; 0 for all.
    pub top_k: usize,
    /// Only the smallest set of best tokens with this much probability; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this probable, relative to the best; 0 for all.
    pub min_p: f32,
    /// Scores of the last [`RECENT`] tokens are divided by this if positive, else multiplied; 1 for none (Keskar et al.
    /// 2019).
    pub repetition_penalty: f32,
    /// Seed of the draws.
    pub seed: u64,
}

/// Tokens that the repetition penalty looks back on.
pub const RECENT: usize = 64;

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }
}

/// A token with its log-probability at temperature 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

impl Sampling {
    /// Refuses what no distribution has.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn validate(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::Usage(format!("--temperature {}: give 0 or more", self.temperature)));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Error::Usage(format!("--top-p {}: give more than 0 and at most 1", self.top_p)));
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return Err(Error::Usage(format!("--min-p {}: give 0 to 1", self.min_p)));
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            let reason = format!("--repetition-penalty {}: give more than 0; 1 is none", self.repetition_penalty);
            return Err(Error::Usage(reason));
        }
        Ok(())
    }

    /// The token for draw number `counter` after `text`; penalties change `logits`. Equal scores are ordered by id, so
    /// the choice is a function of its inputs.
    pub fn choose(&self, logits: &mut [f32], text: &[u32], counter: u64) -> u32 {
        self.penalise(logits, text);
        let logits = &*logits;
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let better = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if self.temperature == 0.0 {
            return order.into_iter().min_by(better).unwrap_or(0);
        }
        if self.top_k > 0 && self.top_k < order.len() {
            order.select_nth_unstable_by(self.top_k - 1, better);
            order.truncate(self.top_k);
        }
        order.sort_unstable_by(better);
        let best = order.first().map_or(0.0, |&id| f64::from(logits[id as usize]));
        let weight = |id: &u32| ((f64::from(logits[*id as usize]) - best) / f64::from(self.temperature)).exp();
        let weights: Vec<f64> = order.iter().map(weight).collect();
        let total: f64 = weights.iter().sum();
        // The nucleus ends with the token that reaches top_p.
        let mut mass = 0.0;
        let nucleus = weights.iter().position(|weight| {
            mass += weight / total;
            mass >= f64::from(self.top_p)
        });
        let likely = weights.partition_point(|weight| *weight >= f64::from(self.min_p));
        let kept = nucleus.map_or(weights.len(), |last| last + 1).min(likely).max(1);
        let share: f64 = weights[..kept].iter().sum();
        let mut point = random::uniform(self.seed, SAMPLE_STREAM, counter) * share;
        for (id, weight) in order.iter().zip(&weights[..kept]) {
            point -= weight;
            if point < 0.0 {
                return *id;
            }
        }
        order.get(kept.saturating_sub(1)).copied().unwrap_or(0)
    }

    fn penalise(&self, logits: &mut [f32], text: &[u32]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let recent: std::collections::BTreeSet<_> = text[text.len().saturating_sub(RECENT)..].iter().collect();
        for &id in recent {
            if let Some(logit) = logits.get_mut(id as usize) {
                let penalty = self.repetition_penalty;
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }
}

/// The `count` most likely tokens with their log-probabilities.
pub fn top(logits: &[f32], count: usize) -> Vec<Candidate> {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|logit| f64::from(logit - greatest).exp()).sum();
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let better = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if (1..order.len()).contains(&count) {
        order.select_nth_unstable_by(count - 1, better);
        order.truncate(count);
    }
    order.sort_unstable_by(better);
    let candidate =
        |id: u32| Candidate { id, logprob: (f64::from(logits[id as usize] - greatest) - total.ln()) as f32 };
    order.into_iter().take(count).map(candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::{Sampling, top};

    #[test]
    fn greedy_takes_the_best_and_the_first_of_equals() {
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        assert_eq!(greedy.choose(&mut [0.1, 2.0, 2.0, -1.0], &[], 7), 1);
    }

    #[test]
    fn limits_hold_and_frequencies_follow_probabilities() {
        let logits = [1.0f32, 3.0, 2.0, 0.0];
        let of = |sampling: Sampling| {
            let mut counts = [0usize; 4];
            (0..4000).for_each(|counter| counts[sampling.choose(&mut logits.clone(), &[], counter) as usize] += 1);
            counts
        };
        let free = of(Sampling::default());
        for (count, candidate) in top(&logits, 4).iter().map(|candidate| (free[candidate.id as usize], candidate)) {
            let expected = f64::from(candidate.logprob).exp() * 4000.0;
            assert!((count as f64 - expected).abs() < 5.0 * expected.sqrt() + 5.0, "{count} for {expected}");
        }
        let two = of(Sampling { top_k: 2, ..Sampling::default() });
        assert!(two[0] == 0 && two[3] == 0 && two[1] > two[2] && two[2] > 0);
        let nucleus = of(Sampling { top_p: 0.6, ..Sampling::default() });
        assert_eq!(nucleus, [0, 4000, 0, 0]);
        let likely = of(Sampling { min_p: 0.2, ..Sampling::default() });
        assert!(likely[0] == 0 && likely[3] == 0 && likely[2] > 0, "exp(-1) is over a fifth, exp(-2) is not");
    }

    #[test]
    fn repeated_tokens_lose() {
        let greedy = Sampling { temperature: 0.0, repetition_penalty: 2.0, ..Sampling::default() };
        assert_eq!(greedy.choose(&mut [1.0, 3.0, 2.0, -1.0], &[1, 3], 0), 2);
        assert_eq!(greedy.choose(&mut [-3.0, -1.0, -1.9], &[1], 0), 2, "a negative score gets worse too");
    }
}
