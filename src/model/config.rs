//! One configuration for the GPT-2 family and the Llama family.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How a token's position enters the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// A trained table, added to the embedding (GPT-2).
    Learned,
    /// Fixed sines and cosines, added to the embedding (Vaswani et al. 2017).
    Sinusoidal,
    /// Queries and keys are rotated (Llama).
    Rotary,
}

/// The normalisation before each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// LayerNorm (GPT-2).
    Layer,
    /// RMSNorm (Llama).
    Rms,
}

/// The activation of the feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// GELU by tanh (GPT-2).
    Gelu,
    /// SwiGLU (Llama).
    Swiglu,
}

/// The shape of a model. Saved as `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Distinct tokens.
    pub vocabulary: usize,
    /// Longest sequence.
    pub context: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; equal to `heads` without grouped queries.
    pub kv_heads: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Width inside the feed-forward layer.
    pub hidden: usize,
    /// How positions enter.
    pub positions: Positions,
    /// Base of the rotary angles.
    pub rope_theta: f64,
    /// Kind of normalisation.
    pub norm: Norm,
    /// Added to the variance.
    pub norm_epsilon: f32,
    /// Kind of feed-forward layer.
    pub activation: Activation,
    /// Linear layers and LayerNorm have biases.
    pub bias: bool,
    /// The head shares the embedding's weight.
    pub tied: bool,
}

impl Config {
    /// The GPT-2 family: learned positions, LayerNorm, GELU, tied head.
    pub fn gpt2(vocabulary: usize, context: usize, layers: usize, heads: usize, width: usize) -> Self {
        Self {
            vocabulary,
            context,
            layers,
            heads,
            kv_heads: heads,
            width,
            hidden: 4 * width,
            positions: Positions::Learned,
            rope_theta: 10_000.0,
            norm: Norm::Layer,
            norm_epsilon: 1e-5,
            activation: Activation::Gelu,
            bias: true,
            tied: true,
        }
    }

    /// The Llama family: rotary positions, RMSNorm, SwiGLU, untied head, no biases. The hidden width is two thirds of
    /// four times the width, rounded up to a multiple of 32.
    pub fn llama(vocabulary: usize, context: usize, layers: usize, heads: usize, width: usize) -> Self {
        Self {
            hidden: (8 * width).div_ceil(3).next_multiple_of(32),
            positions: Positions::Rotary,
            norm: Norm::Rms,
            activation: Activation::Swiglu,
            bias: false,
            tied: false,
            ..Self::gpt2(vocabulary, context, layers, heads, width)
        }
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// Refuses what cannot be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and what would do.
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("vocabulary", self.vocabulary),
            ("context", self.context),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("width", self.width),
            ("hidden", self.hidden),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(Error::Config(format!("{name} is 0")));
        }
        if self.width % self.heads != 0 {
            let reason = format!("{} heads do not divide the width {}", self.heads, self.width);
            let near = (1..=self.heads).rev().find(|heads| self.width % heads == 0).unwrap_or(1);
            return Err(Error::Config(format!("{reason}; {near} would")));
        }
        if self.heads % self.kv_heads != 0 {
            let reason = format!("{} key-value heads do not divide {} heads", self.kv_heads, self.heads);
            return Err(Error::Config(reason));
        }
        let dim = self.head_dim();
        if dim % 4 != 0 || dim > 256 {
            return Err(Error::Config(format!(
                "a head is {dim} wide (width {} / heads {}); it must be a multiple of 4, at most 256",
                self.width, self.heads
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn heads_must_divide_the_width() {
        let error = Config::gpt2(65, 64, 4, 5, 128).validate().expect_err("5 does not divide 128").to_string();
        assert!(error.contains("5 heads do not divide the width 128; 4 would"), "{error}");
    }
}
