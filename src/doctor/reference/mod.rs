//! One oracle per kernel: the formula as a plain loop in f64. `gradients.rs` verifies the backward ones with finite
//! differences; the tests and `wgpt doctor` then compare the kernels with them.

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
