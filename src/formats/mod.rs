//! How tensors are stored in files: number formats, blocks of quantised values, GGUF files.

mod format;
mod rows;

pub mod blocks;
pub mod gguf;

pub use blocks::{dequantise, quantise};
pub use format::Format;
pub use gguf::GgufFile;
pub use rows::Rows;
