//! wgpt: a GPT that learns to talk, on any GPU.

// Both end the program where nobody reads: see cli::output.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod arena;
#[cfg(not(target_family = "wasm"))]
pub mod cli;
pub mod content;
pub mod conversation;
pub mod doctor;
pub mod error;
#[cfg(not(target_family = "wasm"))]
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
#[cfg(not(target_family = "wasm"))]
pub mod serve;
#[cfg(not(target_family = "wasm"))]
pub mod signals;
pub mod tape;
pub mod tensor;
pub mod text;
pub mod train;
pub mod trusted;

pub use error::{Error, Result};
