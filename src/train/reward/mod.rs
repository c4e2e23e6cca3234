//! The reward model: a scalar head on the last token of each answer, learned from what people prefer.
//!
//! A step takes some comparisons; their texts are packed into rows, all texts of a comparison in the same micro-batch,
//! and the rewards of texts that were judged together meet in the loss. At the end the head is scaled so that reference
//! texts have rewards of mean 0 and standard deviation 1, which leaves every order as it is.

pub mod data;
pub mod evaluation;
mod judge;
pub mod reader;
pub mod rows;
mod task;

use serde::{Deserialize, Serialize};

pub use data::{Comparison, Data, Label, Objective};
pub use evaluation::Evaluation;
pub use judge::{RewardModel, rewards};
pub use reader::Reader;
pub use task::{Normalised, Reward};

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
