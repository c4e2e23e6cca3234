//! Ratings in a SQLite database, and their import from data files and export to JSONL.
//!
//! Ratings, and the samples that training reads from them, are defined in [`wgpt::feedback`]. A [`Store`] keeps
//! ratings, safe with several writing processes; its tables are described in [`schema`].

pub mod agreement;
pub mod export;
pub mod import;
pub mod schema;
mod store;
mod thread;

pub use store::{Store, now};
pub use thread::StoreThread;
