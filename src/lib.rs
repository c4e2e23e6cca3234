//! wgpt: a GPT that learns to talk, on any GPU.

pub mod arena;
pub mod cli;
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
pub mod random;
pub mod serve;
pub mod tape;
pub mod tensor;
pub mod text;
pub mod train;
pub mod trusted;

pub use error::{Error, Result};
