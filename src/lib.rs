//! wgpt: a GPT that learns to talk, on any GPU.

// Both end the program where nobody reads: see cli::output.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod arena;
pub mod assets;
pub mod content;
pub mod conversation;
pub mod doctor;
pub mod error;
pub mod feedback;
pub mod formats;
pub mod gpu;
pub mod hash;
pub mod infer;
pub mod interchange;
pub mod io;
pub mod model;
pub mod ops;
pub mod optim;
pub mod parallel;
pub mod random;
pub mod report;
pub mod tape;
pub mod tensor;
pub mod text;
pub mod train;
mod trusted;

pub use wgpu;

pub use error::{Error, Result};
