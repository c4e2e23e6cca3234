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
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 0 }
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
        Ok(())
    }

    /// The token for draw number `counter`. Equal scores are ordered by id, so the choice is a function of its inputs.
    pub fn choose(&self, logits: &[f32], counter: u64) -> u32 {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let better = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if self.temperature == 0.0 {
            return order.into_iter().min_by(better).unwrap_or(0);
        }
        order.sort_unstable_by(better);
        if self.top_k > 0 {
            order.truncate(self.top_k);
        }
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
        let kept = nucleus.map_or(weights.len(), |last| last + 1);
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
}

/// The `count` most likely tokens with their log-probabilities.
pub fn top(logits: &[f32], count: usize) -> Vec<Candidate> {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|logit| f64::from(logit - greatest).exp()).sum();
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_unstable_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
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
        assert_eq!(greedy.choose(&[0.1, 2.0, 2.0, -1.0], 7), 1);
    }

    #[test]
    fn limits_hold_and_frequencies_follow_probabilities() {
        let logits = [1.0f32, 3.0, 2.0, 0.0];
        let of = |sampling: Sampling| {
            let mut counts = [0usize; 4];
            (0..4000).for_each(|counter| counts[sampling.choose(&logits, counter) as usize] += 1);
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
    }
}
