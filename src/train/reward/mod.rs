//! The reward model: a scalar head on the last token of each answer, learned from human preferences.
//!
//! A step takes some comparisons; their texts are packed into rows, all texts of a comparison in the same micro-batch,
//! and the loss compares the rewards of texts that were judged together. At the end, the head is scaled so that
//! reference texts have rewards of mean 0 and standard deviation 1, which does not change any order.

pub mod data;
pub mod evaluation;
mod judge;
pub mod reader;
mod recipe;
pub mod rows;
mod task;

pub use data::{Comparison, Data, Label};
pub use evaluation::Evaluation;
pub use judge::{Ensemble, RewardModel, rewards};
pub use reader::Reader;
pub use recipe::{Objective, Recipe};
pub use task::{Normalised, Reward};
