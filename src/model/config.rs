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
    /// GELU in its tanh form (GPT-2).
    Gelu,
    /// SwiGLU (Llama).
    Swiglu,
}

/// How rotary angles are stretched for longer contexts than a model was first trained on. Every kind works on the
/// frequencies `theta^(-2i/D)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RopeScaling {
    /// Divides every frequency by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3: frequencies of long waves are divided by the factor, those of short waves are kept, with a ramp between.
    Llama3 {
        /// The divisor of long waves.
        factor: f64,
        /// Waves longer than `original_context / low_freq_factor` are long.
        low_freq_factor: f64,
        /// Waves shorter than `original_context / high_freq_factor` are short.
        high_freq_factor: f64,
        /// The context of the first training.
        original_context: usize,
    },
    /// A divisor for each frequency: `head width / 2` of them, as GGUF files store it.
    Factors(Vec<f32>),
}

impl RopeScaling {
    /// The divisor of frequency number `i`, whose value is `frequency` (radians per position).
    pub fn divisor(&self, i: usize, frequency: f64) -> f64 {
        match self {
            Self::Linear { factor } => *factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let wave = std::f64::consts::TAU / frequency;
                // Turns within the first context.
                let turns = *original_context as f64 / wave;
                if turns < *low_freq_factor {
                    *factor
                } else if turns > *high_freq_factor {
                    1.0
                } else {
                    let smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    1.0 / ((1.0 - smooth) / factor + smooth)
                }
            }
            Self::Factors(factors) => factors.get(i).map_or(1.0, |factor| f64::from(*factor)),
        }
    }

    fn validate(&self, half: usize) -> Result<()> {
        let fine = match self {
            Self::Linear { factor } => factor.is_finite() && *factor > 0.0,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let numbers = [factor, low_freq_factor, high_freq_factor];
                numbers.iter().all(|number| number.is_finite() && **number > 0.0)
                    && low_freq_factor < high_freq_factor
                    && *original_context > 0
            }
            Self::Factors(factors) => factors.len() == half && factors.iter().all(|f| f.is_finite() && *f > 0.0),
        };
        if fine { Ok(()) } else { Err(Error::Config(format!("rope_scaling {self:?} makes no sense"))) }
    }
}

/// The largest size of anything in a configuration; keeps products of three sizes far from overflow.
const MOST: usize = 1 << 20;

/// The shape of a model. Saved as `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Number of distinct tokens.
    pub vocabulary: usize,
    /// Maximum length of a sequence.
    pub context: usize,
    /// Number of transformer blocks.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; equal to `heads` without grouped queries.
    pub kv_heads: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Width of one head if it is not `width / heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Width inside the feed-forward layer.
    pub hidden: usize,
    /// How positions enter the model.
    pub positions: Positions,
    /// Base of the rotary angles.
    pub rope_theta: f64,
    /// How the rotary angles are stretched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Kind of normalisation.
    pub norm: Norm,
    /// Added to the variance.
    pub norm_epsilon: f32,
    /// Kind of feed-forward layer.
    pub activation: Activation,
    /// Whether linear layers and LayerNorm have biases.
    pub bias: bool,
    /// Whether queries, keys and values have biases even if nothing else has (Qwen2).
    #[serde(default)]
    pub qkv_bias: bool,
    /// Whether queries and keys are normalised head by head before the rotation, by RMSNorm (Qwen3).
    #[serde(default)]
    pub qk_norm: bool,
    /// Whether the head shares the embedding's weight.
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
            head_dim: None,
            hidden: 4 * width,
            positions: Positions::Learned,
            rope_theta: 10_000.0,
            rope_scaling: None,
            norm: Norm::Layer,
            norm_epsilon: 1e-5,
            activation: Activation::Gelu,
            bias: true,
            qkv_bias: false,
            qk_norm: false,
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
        self.head_dim.unwrap_or(self.width / self.heads.max(1))
    }

    /// Numbers of rows of queries, keys and values in the weight of `attention.qkv`.
    pub fn qkv_rows(&self) -> [usize; 3] {
        [self.heads, self.kv_heads, self.kv_heads].map(|heads| heads * self.head_dim())
    }

    /// Refuses a configuration that cannot be built.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and what would work.
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
        if let Some((name, size)) = sizes.iter().find(|(_, size)| *size > MOST) {
            return Err(Error::Config(format!("{name} is {size}; wgpt allows {MOST}")));
        }
        if self.head_dim.is_none() && self.width % self.heads != 0 {
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
                "a head is {dim} wide (width {}, {} heads); it must be a multiple of 4, at most 256",
                self.width, self.heads
            )));
        }
        if dim == 0 || !(self.rope_theta.is_finite() && self.rope_theta > 0.0 && self.norm_epsilon >= 0.0) {
            let (theta, epsilon) = (self.rope_theta, self.norm_epsilon);
            return Err(Error::Config(format!(
                "head_dim {dim}, rope_theta {theta}, norm_epsilon {epsilon}: too small"
            )));
        }
        if let Some(scaling) = &self.rope_scaling {
            scaling.validate(dim / 2)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, RopeScaling};

    #[test]
    fn heads_must_divide_the_width() {
        let error = Config::gpt2(65, 64, 4, 5, 128).validate().expect_err("5 does not divide 128").to_string();
        assert!(error.contains("5 heads do not divide the width 128; 4 would"), "{error}");
    }

    #[test]
    fn older_files_are_read() {
        let config = Config::gpt2(65, 64, 4, 4, 128);
        let mut value = serde_json::to_value(&config).expect("JSON");
        for name in ["qkv_bias", "qk_norm"] {
            value.as_object_mut().expect("an object").remove(name).expect("a newer field");
        }
        assert!(value.get("head_dim").is_none() && value.get("rope_scaling").is_none());
        assert_eq!(serde_json::from_value::<Config>(value).expect("a configuration"), config);
    }

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        let scaling =
            RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
        assert_eq!((scaling.divisor(0, 1.0), scaling.divisor(63, 1e-6)), (1.0, 8.0));
        let between = scaling.divisor(30, 2.0 * std::f64::consts::TAU / 8192.0);
        assert!((between - 1.0 / ((2.0 / 3.0) / 8.0 + 1.0 / 3.0)).abs() < 1e-12, "{between}");
        let config = Config { rope_scaling: Some(RopeScaling::Factors(vec![1.0; 3])), ..Config::llama(9, 8, 1, 1, 8) };
        assert!(config.validate().is_err(), "three divisors for four frequencies");
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let error = Config { layers: 1 << 60, ..Config::gpt2(65, 64, 4, 4, 128) }.validate().unwrap_err().to_string();
        assert!(error.contains("layers is 1152921504606846976"), "{error}");
    }
}
