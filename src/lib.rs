//! wgpt: a GPT that learns to talk, on any GPU.

pub mod error;
pub mod io;
pub mod random;
pub mod text;
pub mod trusted;

pub use error::{Error, Result};
