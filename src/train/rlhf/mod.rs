//! The host's part of reinforcement learning from human feedback (lm-human-preferences; Ziegler et al. 2019): between
//! the passes of the model there are only a few numbers per token.

pub mod advantages;
pub mod kl;
pub mod response;
