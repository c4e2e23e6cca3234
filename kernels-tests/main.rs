//! Every kernel against its oracle, the oracles against finite differences, and training steps as a whole.

mod broken_files;
mod device;
mod fixtures;
mod gguf;
mod gradients;
mod interchange;
mod kernels;
mod oracle_fixtures;
mod oracles;
mod packing;
mod structure;
mod support;
mod tokens;
mod training;
