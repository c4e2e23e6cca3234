//! What a reward model is told to learn.

use serde::{Deserialize, Serialize};

/// What people said, and so what is learned.
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

/// What a reward model learns, beside what all runs are told.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// What people said.
    pub objective: Objective,
    /// By how much the chosen of a pair should lead at least.
    pub margin: f32,
    /// Coefficient of `(r_chosen + r_rejected)^2`, which keeps rewards of pairs round 0.
    pub centring: f32,
    /// How often every comparison is learned from.
    pub epochs: usize,
    /// Most tokens of a micro-batch, unless one comparison takes more.
    pub tokens: usize,
}

impl Recipe {
    /// One epoch without margin or centring, by 4096 tokens.
    pub fn new(objective: Objective) -> Self {
        Self { objective, margin: 0.0, centring: 0.0, epochs: 1, tokens: 4096 }
    }
}
