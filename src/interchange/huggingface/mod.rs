//! Hugging Face model folders: config.json, model.safetensors or its shards, tokenizer.json.

mod config;
mod folder;
mod names;
mod save;

pub use config::is_foreign;
pub use folder::Folder;
pub use save::save;

pub(super) use folder::format;
