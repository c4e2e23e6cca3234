//! Human feedback as data: ratings, and the training samples derived from them.
//!
//! A [`Rating`] is one person's [`Verdict`] on the answers to one [`Prompt`]. Training reads [`Preference`]s,
//! [`BestOf`]s and [`Scored`]s from a [`RatingSource`], always with counts of what was left out and why. A database of
//! ratings is a source (`wgpt_server::feedback::Store`), and so is anything else that implements the trait.
#![warn(clippy::indexing_slicing)]

mod answered;
mod lines;
mod prompt;
mod rating;
mod read;
mod samples;
pub mod tally;
pub mod transcript;

pub use answered::{Answered, answered};
pub use lines::{Task, task};
pub use prompt::Prompt;
pub use rating::{Answer, LARGEST_SCORE, MOST_ANSWERS, Rating, Verdict};
pub use read::{Records, read};
pub use samples::{BestOf, LeftOut, Preference, RatingSource, Samples, Scored, Stored, preferences_of};
pub use tally::{Mistake, Refusal, Tally};
