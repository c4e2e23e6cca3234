//! Ratings in a SQLite database, and their way from and to JSONL files.
//!
//! What a rating is, and what training reads of it, is in [`wgpt::feedback`]. A [`Store`] keeps ratings, safe under several
//! writing processes; its tables are described in [`schema`].

pub mod agreement;
pub mod export;
pub mod import;
pub mod schema;
mod store;

pub use store::{Store, now};
