//! Model folders of Hugging Face: config.json, model.safetensors or shards of it, tokenizer.json.

mod config;
mod folder;
mod names;
mod save;

pub use config::is_foreign;
pub use folder::Folder;
pub use save::save;

pub(super) use folder::format;
