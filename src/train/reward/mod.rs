//! The reward model: a scalar head on the last token of each answer, learned from what people prefer.
//!
//! A step takes some comparisons; their texts are packed into rows, all texts of a comparison in the same micro-batch,
//! and the rewards of texts that were judged together meet in the loss. At the end the head is scaled so that reference
//! texts have rewards of mean 0 and standard deviation 1, which leaves every order as it is.

#[cfg(not(target_family = "wasm"))]
pub mod data;
#[cfg(not(target_family = "wasm"))]
pub mod evaluation;
#[cfg(not(target_family = "wasm"))]
mod judge;
#[cfg(not(target_family = "wasm"))]
pub mod reader;
mod recipe;
#[cfg(not(target_family = "wasm"))]
pub mod rows;
#[cfg(not(target_family = "wasm"))]
mod task;

#[cfg(not(target_family = "wasm"))]
pub use data::{Comparison, Data, Label};
#[cfg(not(target_family = "wasm"))]
pub use evaluation::Evaluation;
#[cfg(not(target_family = "wasm"))]
pub use judge::{RewardModel, rewards};
#[cfg(not(target_family = "wasm"))]
pub use reader::Reader;
pub use recipe::{Objective, Recipe};
#[cfg(not(target_family = "wasm"))]
pub use task::{Normalised, Reward};
