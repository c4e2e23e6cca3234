//! The forward pass, the same for training, evaluation and decoding.

use super::{
    cache::Cache,
    config::{Activation, Config, Norm as NormKind, Positions},
    parameters,
    source::Source,
};
use crate::{
    Error, Result,
    formats::Rows,
    gpu::Gpu,
    ops::{
        activation, attention,
        attention::{Cached, Heads},
        cross_entropy::{self, Loss, Targets},
        dropout,
        elementwise::add,
        embedding::{self, Tokens},
        head_norm,
        linear::{Fuse, linear},
        norm, rope,
    },
    tape::Tape,
    tensor::Tensor,
};

/// A weight and, where the configuration has them, a bias.
#[derive(Clone)]
struct Affine {
    weight: Tensor,
    bias: Option<Tensor>,
}

#[derive(Clone)]
struct Block {
    norm1: Affine,
    qkv: Affine,
    head_norm: Option<head_norm::Weights>,
    out: Affine,
    norm2: Affine,
    up: Affine,
    down: Affine,
}

/// How a forward pass runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// Probability of dropping an activation.
    pub dropout: f32,
    /// Chooses the dropout masks of this pass.
    pub dropout_key: u32,
    /// Blocks keep nothing and are run again in the backward pass.
    pub checkpoint: bool,
}

/// A GPT on a GPU.
pub struct Gpt {
    config: Config,
    embed: Tensor,
    position: Option<Tensor>,
    rope_table: Option<Tensor>,
    blocks: Vec<Block>,
    norm: Affine,
    head: Option<Tensor>,
    parameters: Vec<(String, Tensor)>,
}

impl Gpt {
    /// A new model, its weights drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, config: &Config, seed: u64) -> Result<Self> {
        let mut stream = 0;
        Self::build(gpu, config, |spec| {
            stream += 1;
            Ok(spec.values(seed, stream))
        })
    }

    /// A model whose weights come from `values`, by name and shape.
    ///
    /// # Errors
    /// [`Error::Config`], and those of `values`.
    pub fn build(
        gpu: &Gpu,
        config: &Config,
        mut values: impl FnMut(&parameters::Spec) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        config.validate()?;
        let mut all = Vec::new();
        for spec in parameters::specs(config) {
            all.push((spec.name.clone(), Tensor::from_f32(gpu, &spec.shape, &values(&spec)?)?));
            gpu.submit()?;
        }
        let find = |name: String| all.iter().find(|(other, _)| *other == name).map(|(_, tensor)| tensor.clone());
        let need = |name: String| {
            find(name.clone()).ok_or_else(|| Error::Config(format!("the model has no parameter '{name}'")))
        };
        let affine = |name: String| {
            Ok::<_, Error>(Affine { weight: need(format!("{name}.weight"))?, bias: find(format!("{name}.bias")) })
        };
        let head_weights = |index| {
            let part = |name| need(format!("blocks.{index}.attention.{name}.weight"));
            Ok::<_, Error>(head_norm::Weights { query: part("q_norm")?, key: part("k_norm")? })
        };
        let block = |index| {
            let part = |name| affine(format!("blocks.{index}.{name}"));
            Ok::<_, Error>(Block {
                norm1: part("norm1")?,
                qkv: part("attention.qkv")?,
                head_norm: config.qk_norm.then(|| head_weights(index)).transpose()?,
                out: part("attention.out")?,
                norm2: part("norm2")?,
                up: part("mlp.up")?,
                down: part("mlp.down")?,
            })
        };
        let position = match config.positions {
            Positions::Learned => find("position.weight".into()),
            Positions::Sinusoidal => {
                let values = parameters::sinusoidal(config.context, config.width);
                Some(Tensor::from_f32(gpu, &[config.context, config.width], &values)?)
            }
            Positions::Rotary => None,
        };
        let rotary = config.positions == Positions::Rotary;
        let divisor = |i, frequency| config.rope_scaling.as_ref().map_or(1.0, |scaling| scaling.divisor(i, frequency));
        let rope_table =
            rotary.then(|| rope::table(gpu, config.context, config.head_dim(), config.rope_theta, divisor));
        Ok(Self {
            config: config.clone(),
            embed: need("embed.weight".into())?,
            position,
            rope_table: rope_table.transpose()?,
            blocks: (0..config.layers).map(block).collect::<Result<_>>()?,
            norm: affine("norm".into())?,
            head: find("head.weight".into()),
            parameters: all,
        })
    }

    /// A model of f32 weights from wherever they lie.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::OutOfMemory`], and those of the source.
    pub fn from_source(gpu: &Gpu, source: &dyn Source) -> Result<Self> {
        Self::build(gpu, source.config(), |spec| {
            let values = source.parameter(&spec.name)?.iter().flat_map(Rows::to_f32).collect();
            source.done(&spec.name);
            Ok(values)
        })
    }

    /// The shape of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every parameter by name, in a fixed order.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// Number of trained numbers.
    pub fn size(&self) -> usize {
        self.parameters.iter().map(|(_, tensor)| tensor.elements()).sum()
    }

    /// Asks `tape` for the gradient of every parameter.
    pub fn watch(&self, tape: &Tape) {
        for (_, tensor) in &self.parameters {
            tape.watch(tensor);
        }
    }

    /// The final hidden states `[batch, context, width]` of `tokens`. With a cache the tokens follow those in it, and
    /// it grows by them.
    ///
    /// # Errors
    /// [`Error::Shape`] when the tokens run past the context.
    pub fn forward(&self, tape: &Tape, tokens: &Tokens, pass: Pass, mut cache: Option<&mut Cache>) -> Result<Tensor> {
        let past = cache.as_ref().map_or(0, |cache| cache.length);
        let new = tokens.ids.shape()[1];
        let room = cache.as_ref().map_or(self.config.context, |cache| cache.capacity.min(self.config.context));
        if past + new > room {
            return Err(Error::shape("gpt", format!("{past} + {new} tokens do not fit a context of {room}")));
        }
        let mut x = embedding::embed(tape, tokens, &self.embed, self.position.as_ref(), past)?;
        x = dropout::dropout(tape, &x, pass.dropout, site(pass, 0))?;
        for (index, block) in self.blocks.iter().enumerate() {
            let runner = Runner {
                config: self.config.clone(),
                block: block.clone(),
                table: self.rope_table.clone(),
                pass,
                index,
                past,
            };
            x = match cache.as_mut() {
                Some(cache) => runner.run(tape, &x, Some(&cache.layers[index]))?,
                None if pass.checkpoint && tape.is_recording() => {
                    tape.checkpoint(&x, &block.leaves(), move |tape, x| runner.run(tape, x, None))?
                }
                None => runner.run(tape, &x, None)?,
            };
        }
        if let Some(cache) = cache {
            cache.length += new;
        }
        normalise(tape, &self.config, &x, &self.norm)
    }

    /// The loss of the final hidden states against `targets`; see [`cross_entropy::head_loss`].
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn loss(&self, tape: &Tape, hidden: &Tensor, targets: &Targets, factor: f32) -> Result<Loss> {
        cross_entropy::head_loss(tape, hidden, self.head_weight(), targets, factor)
    }

    /// Scores of every token of the vocabulary: `[.., vocabulary]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn logits(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        linear(tape, hidden, self.head_weight(), Fuse::default())
    }

    fn head_weight(&self) -> &Tensor {
        self.head.as_ref().unwrap_or(&self.embed)
    }
}

/// The key of one dropout site in a pass.
fn site(pass: Pass, site: u32) -> u32 {
    pass.dropout_key.wrapping_add(site.wrapping_mul(0x9e37_79b9))
}

fn normalise(tape: &Tape, config: &Config, x: &Tensor, affine: &Affine) -> Result<Tensor> {
    let kind = match config.norm {
        NormKind::Layer => norm::Kind::Layer,
        NormKind::Rms => norm::Kind::RootMeanSquare,
    };
    norm::norm(tape, kind, x, &affine.weight, affine.bias.as_ref(), config.norm_epsilon)
}

impl Block {
    fn leaves(&self) -> Vec<Tensor> {
        let parts = [&self.norm1, &self.qkv, &self.out, &self.norm2, &self.up, &self.down];
        let affine = parts.into_iter().flat_map(|part| [Some(part.weight.clone()), part.bias.clone()]).flatten();
        let heads = self.head_norm.iter().flat_map(|weights| [weights.query.clone(), weights.key.clone()]);
        affine.chain(heads).collect()
    }
}

/// One block of one forward pass: everything it needs to run once, or again.
struct Runner {
    config: Config,
    block: Block,
    table: Option<Tensor>,
    pass: Pass,
    index: usize,
    past: usize,
}

impl Runner {
    /// `x + attention(norm1(x))`, then `x + mlp(norm2(x))`.
    fn run(&self, tape: &Tape, x: &Tensor, cache: Option<&Cached>) -> Result<Tensor> {
        let (config, block) = (&self.config, &self.block);
        let heads = Heads { query: config.heads, key_value: config.kv_heads, dim: config.head_dim() };
        let normal = normalise(tape, config, x, &block.norm1)?;
        let bias = |affine: &Affine| affine.bias.clone();
        let mut qkv =
            linear(tape, &normal, &block.qkv.weight, Fuse { bias: bias(&block.qkv).as_ref(), ..Fuse::default() })?;
        if let Some(weights) = &block.head_norm {
            qkv = head_norm::head_norm(tape, &qkv, weights, heads, config.norm_epsilon)?;
        }
        if let Some(table) = &self.table {
            qkv = rope::rope(tape, &qkv, table, heads, self.past)?;
        }
        let mixed = match cache {
            Some(layer) => attention::decode(&qkv, heads, layer, self.past)?,
            None => attention::attention(tape, &qkv, heads)?,
        };
        let x = self.project(tape, x, &mixed, &block.out, 1)?;

        let normal = normalise(tape, config, &x, &block.norm2)?;
        let gelu = config.activation == Activation::Gelu;
        let fuse = Fuse { bias: block.up.bias.as_ref(), gelu, residual: None };
        let mut inner = linear(tape, &normal, &block.up.weight, fuse)?;
        if !gelu {
            inner = activation::swiglu(tape, &inner)?;
        }
        self.project(tape, &x, &inner, &block.down, 2)
    }

    /// Adds `inner W^T + b` to the residual stream, through dropout if there is any.
    fn project(&self, tape: &Tape, x: &Tensor, inner: &Tensor, affine: &Affine, place: u32) -> Result<Tensor> {
        let bias = affine.bias.as_ref();
        if self.pass.dropout == 0.0 {
            return linear(tape, inner, &affine.weight, Fuse { bias, gelu: false, residual: Some(x) });
        }
        let branch = linear(tape, inner, &affine.weight, Fuse { bias, ..Fuse::default() })?;
        let key = site(self.pass, self.index as u32 * 2 + place);
        add(tape, x, &dropout::dropout(tape, &branch, self.pass.dropout, key)?)
    }
}
