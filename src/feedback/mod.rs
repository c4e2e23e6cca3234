//! What people think of answers: ratings in a SQLite database, and the samples that training makes of them.
//!
//! A [`Rating`] is one person's [`Verdict`] on the answers to one [`Prompt`]. A [`Store`] keeps them, safe under
//! several writing processes. Training reads [`Preference`]s, [`BestOf`]s and [`Scored`]s back ([`Store::preferences`]
//! and its neighbours), always with counts of what was left out and why. [`import`](import::import) and
//! [`export`](export::export) speak JSONL. The tables are described in [`schema`]. Nothing here talks to a terminal.

pub mod agreement;
mod answered;
pub mod export;
pub mod import;
mod lines;
mod prompt;
mod rating;
mod samples;
pub mod schema;
mod store;
pub mod tally;
mod transcript;

pub use answered::answered;
pub use lines::{Task, task};
pub use prompt::Prompt;
pub use rating::{Answer, MOST_ANSWERS, Rating, Verdict};
pub use samples::{BestOf, LeftOut, Preference, Samples, Scored, preferences_of};
pub use store::{Store, Stored, now};
pub use tally::{Mistake, Refusal, Tally};
