//! What a reward model learns, and how.

use serde::{Deserialize, Serialize};

/// The kind of human judgement, which decides what is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// One of two is better: `-log sigmoid(r_chosen - r_rejected - margin)`.
    Pairs,
    /// One of several is the best: `-log softmax(r)[best]`.
    Best,
    /// Each has a score: the squared error of rewards against scores scaled to mean 0 and standard deviation 1.
    Scores,
}

/// What a reward model learns, besides the settings that all runs share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The kind of human judgement.
    pub objective: Objective,
    /// The lead that the chosen answer of a pair should at least have.
    pub margin: f32,
    /// Coefficient of `(r_chosen + r_rejected)^2`, which keeps the rewards of pairs around 0.
    pub centring: f32,
    /// How often each comparison is learned from.
    pub epochs: usize,
    /// Maximum number of tokens in a micro-batch, unless one comparison takes more.
    pub tokens: usize,
}

impl Recipe {
    /// One epoch without margin or centring, with 4096 tokens per micro-batch.
    pub fn new(objective: Objective) -> Self {
        Self { objective, margin: 0.0, centring: 0.0, epochs: 1, tokens: 4096 }
    }
}
