//! Names, shapes and initial values of a model's parameters.

use super::config::{Activation, Config, Norm, Positions};
use crate::random;

/// How a parameter is initialised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// Uniform between minus and plus this bound.
    Uniform(f32),
    /// Every element has the same value.
    Constant(f32),
}

/// The description of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterSpec {
    /// Its name in checkpoints.
    pub name: String,
    /// Its shape; linear weights are `[out, in]`.
    pub shape: Vec<usize>,
    /// Its initial values.
    pub init: Init,
}

/// The number of elements in the parameters of a model with `config`.
pub fn count(config: &Config) -> usize {
    specs(config).iter().map(|spec| spec.shape.iter().product::<usize>()).sum()
}

/// Every parameter of a model with `config`, in a fixed order.
///
/// Weights are initialised as in GPT-2: N(0, 0.02), projections into the residual stream N(0, 0.02 / sqrt(2 layers)),
/// biases 0, norms 1.
pub fn specs(config: &Config) -> Vec<ParameterSpec> {
    let mut specs = Vec::new();
    let mut add = |name: String, shape: &[usize], init| specs.push(ParameterSpec { name, shape: shape.to_vec(), init });
    let deviation = Init::Normal(0.02);
    let projection = Init::Normal(0.02 / (2.0 * config.layers as f32).sqrt());
    let (width, dim) = (config.width, config.head_dim());
    let norm_bias = config.bias && config.norm == Norm::Layer;

    add("embed.weight".into(), &[config.vocabulary, width], deviation);
    if config.positions == Positions::Learned {
        add("position.weight".into(), &[config.context, width], deviation);
    }
    let up = if config.activation == Activation::Swiglu { 2 * config.hidden } else { config.hidden };
    for block in 0..config.layers {
        let layers: [(&str, usize, usize, Init); 4] = [
            ("attention.qkv", (config.heads + 2 * config.kv_heads) * dim, width, deviation),
            ("attention.out", width, config.heads * dim, projection),
            ("mlp.up", up, width, deviation),
            ("mlp.down", width, config.hidden, projection),
        ];
        for (index, (layer, features, inputs, init)) in layers.into_iter().enumerate() {
            if index % 2 == 0 {
                let norm = format!("blocks.{block}.norm{}", index / 2 + 1);
                add(format!("{norm}.weight"), &[width], Init::Constant(1.0));
                if norm_bias {
                    add(format!("{norm}.bias"), &[width], Init::Constant(0.0));
                }
            }
            add(format!("blocks.{block}.{layer}.weight"), &[features, inputs], init);
            if layer == "attention.qkv" && config.qk_norm {
                for norm in ["q_norm", "k_norm"] {
                    add(format!("blocks.{block}.attention.{norm}.weight"), &[dim], Init::Constant(1.0));
                }
            }
            if config.bias || config.qkv_bias && layer == "attention.qkv" {
                add(format!("blocks.{block}.{layer}.bias"), &[features], Init::Constant(0.0));
            }
        }
    }
    add("norm.weight".into(), &[width], Init::Constant(1.0));
    if norm_bias {
        add("norm.bias".into(), &[width], Init::Constant(0.0));
    }
    if !config.tied {
        add("head.weight".into(), &[config.vocabulary, width], deviation);
    }
    specs
}

impl ParameterSpec {
    /// The initial values, drawn from random stream `stream` of `seed`.
    pub fn values(&self, seed: u64, stream: u64) -> Vec<f32> {
        let elements: usize = self.shape.iter().product();
        match self.init {
            Init::Constant(value) => vec![value; elements],
            Init::Normal(deviation) => {
                (0..elements as u64).map(|counter| deviation * random::normal(seed, stream, counter)).collect()
            }
            Init::Uniform(bound) => {
                let value = |counter| (random::uniform(seed, stream, counter) * 2.0 - 1.0) as f32 * bound;
                (0..elements as u64).map(value).collect()
            }
        }
    }
}

/// Fixed position vectors `[context, width]`: `sin(p / 10000^(2i/width))` in even, `cos` in odd columns (Vaswani et
/// al. 2017).
pub fn sinusoidal(context: usize, width: usize) -> Vec<f32> {
    let value = |position: usize, column: usize| {
        let angle = position as f64 / 10_000f64.powf((column / 2 * 2) as f64 / width as f64);
        if column % 2 == 0 { angle.sin() as f32 } else { angle.cos() as f32 }
    };
    (0..context * width).map(|index| value(index / width, index % width)).collect()
}
