//! Models in GGUF files: converts metadata to a configuration and names to parameters, and back.

mod config;
mod model;
mod names;
mod save;
#[expect(clippy::indexing_slicing, reason = "it writes tokenizers that were checked when they were read")]
mod vocabulary;

pub use model::Model;
pub use save::{save, write};
pub use vocabulary::{assumed, remarks, tokenizer, vocabulary};
