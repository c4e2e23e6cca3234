//! Files: atomic writes, safetensors, checkpoints, metrics and curves.
//!
//! Everything that must survive a crash goes through [`atomic`]: a reader sees the old content or the new, never a mix.
//! This module does not depend on tensors, kernels or tokenizers; weights are passed as `f32` slices.
#![warn(clippy::indexing_slicing)]

pub mod atomic;
pub mod checkpoint;
pub mod lock;
pub mod metrics;
pub mod tensors;
