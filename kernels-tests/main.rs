//! Every kernel against its oracle, the oracles against finite differences, and training steps as a whole.

mod adapters;
mod broken_files;
mod device;
mod dpo;
mod fixtures;
mod gguf;
mod gradients;
mod interchange;
mod kernels;
mod lora;
mod oracle_fixtures;
mod oracles;
mod packing;
mod ppo;
mod reward;
mod rlhf;
mod rlhf_gradients;
mod rlhf_ops;
mod smollm2;
mod structure;
mod support;
mod tokens;
mod training;
