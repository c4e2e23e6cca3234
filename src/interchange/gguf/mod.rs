//! Models in GGUF files: converts metadata to a configuration and names to parameters, and back.

mod config;
mod model;
mod names;
mod save;
mod vocabulary;

pub use model::Model;
pub use save::{save, write};
pub use vocabulary::{remarks, tokenizer, vocabulary};
