//! Files: atomic writes, safetensors, checkpoints, metrics and curves.
//!
//! Everything that must survive a crash goes through [`atomic`]: a reader sees the old content or the new, never a mix.
//! Nothing here knows tensors, kernels or tokenizers; weights come and go as `f32` slices.

pub mod atomic;
pub mod checkpoint;
pub mod metrics;
pub mod tensors;
