//! The GPT: configuration, parameters, forward pass, and the cache for decoding.

mod block;
pub mod build;
pub mod cache;
pub mod config;
pub mod gpt;
pub mod heads;
pub mod lora;
pub mod origin;
pub mod paged;
pub mod parameters;
mod trainable;

pub use build::Source;
pub use config::Config;
pub use gpt::Gpt;
pub use trainable::Model;
