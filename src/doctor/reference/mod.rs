//! One oracle per kernel: the formula as a plain loop in f64. `gradients.rs` proves the backward ones by finite
//! differences; the kernels are then held against them, by the tests and by `wgpt doctor`.

pub mod attention;
pub mod cache;
pub mod compare;
pub mod lora;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod optimizer;
pub mod paged;
pub mod pointwise;
pub mod position;
pub mod rlhf;
pub mod sample;
