//! The architectures that other programs support, and which of them a configuration belongs to.

use crate::{
    Error, Result,
    model::{
        Config,
        config::{Activation, Norm, Positions},
    },
};

/// An architecture that other programs support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Learned positions, LayerNorm, GELU, biases everywhere.
    Gpt2,
    /// Rotary positions, RMSNorm, SwiGLU, biases everywhere or nowhere.
    Llama,
    /// Llama with biases on queries, keys and values.
    Qwen2,
    /// Llama with normalised query and key heads.
    Qwen3,
}

impl Family {
    /// The family of `config`.
    ///
    /// # Errors
    /// [`Error::Config`] for a combination of features that no other program supports.
    pub fn of(config: &Config) -> Result<Self> {
        let parts = (config.positions, config.norm, config.activation);
        let heads = config.kv_heads == config.heads && config.head_dim() * config.heads == config.width;
        let gpt2 = parts == (Positions::Learned, Norm::Layer, Activation::Gelu) && heads && !config.qk_norm;
        let llama = parts == (Positions::Rotary, Norm::Rms, Activation::Swiglu);
        match (config.bias, config.qkv_bias, config.qk_norm) {
            _ if gpt2 => Ok(Self::Gpt2),
            (true, _, false) | (false, false, false) if llama => Ok(Self::Llama),
            (false, true, false) if llama => Ok(Self::Qwen2),
            (false, false, true) if llama => Ok(Self::Qwen3),
            _ => Err(Error::Config(format!(
                "only GPT-2, Llama, Qwen2 and Qwen3 can be saved for other programs; this model has {:?} positions, \
                 {:?} norms, {:?}, bias {}, qkv_bias {}, qk_norm {}, {} heads for {} keys",
                config.positions,
                config.norm,
                config.activation,
                config.bias,
                config.qkv_bias,
                config.qk_norm,
                config.heads,
                config.kv_heads
            ))),
        }
    }

    /// `config` in the form this family requires: GPT-2 without biases becomes GPT-2 with biases of 0.
    pub fn completed(self, config: &Config) -> Config {
        let bias = config.bias || self == Self::Gpt2;
        Config { bias, qkv_bias: config.qkv_bias && !bias, ..config.clone() }
    }
}
