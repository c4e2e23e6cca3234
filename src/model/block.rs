//! One block of the transformer, as a chain of recorded operations and as the few fused dispatches that decode a token.

use std::cell::RefCell;

use super::config::{Activation, Config, Norm as NormKind};
use crate::{
    Result,
    ops::{
        activation,
        attention::{self, Heads, attention_map},
        elementwise::{add, dropout},
        head_norm,
        kv::{
            decode::{self, Cached},
            paged::{self, Paged, Rows},
        },
        linear::{Fuse, linear},
        lora::Adapter,
        norm,
        packed::{
            Packed,
            product::{self, FEW, Fused, product},
        },
        rope,
        weight::Weight,
    },
    tape::Tape,
    tensor::{DType, Tensor},
};

/// How a forward pass runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// Probability of dropping an activation.
    pub dropout: f32,
    /// Determines the dropout masks of this pass.
    pub dropout_key: u32,
    /// Whether blocks keep nothing and are run again in the backward pass.
    pub checkpoint: bool,
    /// Whether adapters are left out, which gives the frozen model that they were attached to, bit for bit.
    pub reference: bool,
}

/// The weight of a normalisation and, if the configuration has biases, its bias.
#[derive(Clone)]
pub(super) struct Scale {
    /// `[width]`
    pub weight: Tensor,
    /// `[width]`
    pub bias: Option<Tensor>,
}

/// A linear layer, with a bias if the configuration has biases, and with an adapter if one was attached.
#[derive(Clone)]
pub(super) struct Affine {
    /// `[out, in]`
    pub weight: Weight,
    /// `[out]`
    pub bias: Option<Tensor>,
    /// `[rank, in]` and `[out, rank]`
    pub adapter: Option<Adapter>,
}

impl Affine {
    /// What is fused into its product.
    fn fuse(&self) -> Fuse<'_> {
        Fuse { bias: self.bias.as_ref(), adapter: self.adapter.as_ref(), ..Fuse::default() }
    }
}

/// The parameters of one block; `dim` is the width of a head.
#[derive(Clone)]
pub(super) struct Block {
    /// `[width]`, before attention.
    pub norm1: Scale,
    /// `[(heads + 2 kv_heads) dim, width]`
    pub qkv: Affine,
    /// `[dim]` for queries and for keys.
    pub head_norm: Option<head_norm::Weights>,
    /// `[width, heads dim]`
    pub out: Affine,
    /// `[width]`, before the MLP.
    pub norm2: Scale,
    /// `[hidden, width]`; with SwiGLU `[2 hidden, width]`, gates first.
    pub up: Affine,
    /// `[width, hidden]`
    pub down: Affine,
}

impl Block {
    /// The matrices of its layers.
    pub fn weights(&mut self) -> [&mut Weight; 4] {
        [&mut self.qkv.weight, &mut self.out.weight, &mut self.up.weight, &mut self.down.weight]
    }

    /// The block without its adapters.
    pub fn without_adapters(&self) -> Self {
        let mut block = self.clone();
        for layer in [&mut block.qkv, &mut block.out, &mut block.up, &mut block.down] {
            layer.adapter = None;
        }
        block
    }

    /// The tensors that may get a gradient.
    pub fn leaves(&self) -> Vec<Tensor> {
        let scales = [&self.norm1, &self.norm2].map(|scale| [Some(scale.weight.clone()), scale.bias.clone()]);
        let layers = [&self.qkv, &self.out, &self.up, &self.down].map(|layer| {
            let trained = match &layer.weight {
                Weight::Plain(master) | Weight::Mixed { master, .. } => Some(master.clone()),
                Weight::Packed(_) => None,
            };
            [trained, layer.bias.clone()]
        });
        let adapters = [&self.qkv, &self.out, &self.up, &self.down].map(|layer| layer.adapter.as_ref());
        let adapters = adapters.into_iter().flatten().flat_map(|adapter| [adapter.a.clone(), adapter.b.clone()]);
        let heads = self.head_norm.iter().flat_map(|weights| [weights.query.clone(), weights.key.clone()]);
        scales
            .into_iter()
            .flatten()
            .chain(layers.into_iter().flatten())
            .flatten()
            .chain(heads)
            .chain(adapters)
            .collect()
    }
}

impl Config {
    /// How a row holds queries, keys and values.
    pub(super) fn attention_heads(&self) -> Heads {
        Heads { query: self.heads, key_value: self.kv_heads, dim: self.head_dim() }
    }

    fn norm_kind(&self) -> norm::Kind {
        match self.norm {
            NormKind::Layer => norm::Kind::Layer,
            NormKind::Rms => norm::Kind::RootMeanSquare,
        }
    }
}

/// Applies the configuration's normalisation to `x [.., width]`, in x's shape; the result is stored as `dtype`.
pub(super) fn normalise(tape: &Tape, config: &Config, x: &Tensor, scale: &Scale, dtype: DType) -> Result<Tensor> {
    let weights = norm::Weights { weight: &scale.weight, bias: scale.bias.as_ref() };
    norm::norm(tape, config.norm_kind(), x, weights, config.norm_epsilon, dtype)
}

/// The key of one dropout site in a pass.
pub(super) fn site(pass: Pass, site: u32) -> u32 {
    pass.dropout_key.wrapping_add(site.wrapping_mul(0x9e37_79b9))
}

/// Where attention finds the tokens before those of this pass.
#[derive(Clone, Copy)]
pub(super) enum KvSource<'a> {
    /// In a cache whose sequences all have the same length.
    Cache(&'a Cached),
    /// In pages, where each text has its own length.
    Pages(&'a Paged, &'a Rows),
    /// Nowhere: the pass covers whole texts. The attention probabilities are collected here,
    /// `[heads, context, context]` per block.
    Maps(&'a RefCell<Vec<Tensor>>),
}

/// One block of one forward pass: everything it needs to run once, or again.
pub(super) struct BlockPass {
    pub config: Config,
    pub block: Block,
    /// `[context, dim / 2, 2]`: the angles of rotary positions.
    pub table: Option<Tensor>,
    pub pass: Pass,
    pub index: usize,
    pub past: usize,
    /// `[batch, context]`: where each token's text begins.
    pub segments: Option<Tensor>,
    /// `[batch]`: where each sequence of the cache begins.
    pub starts: Option<Tensor>,
    /// How activations are stored between layers; the residual stream is f32.
    pub dtype: DType,
}

impl BlockPass {
    /// `x + attention(norm1(x))`, then `x + mlp(norm2(x))`, for `x [batch, context, width]`, in its shape.
    pub fn run(&self, tape: &Tape, x: &Tensor, memory: Option<KvSource<'_>>) -> Result<Tensor> {
        let (config, block) = (&self.config, &self.block);
        if let Some(memory @ (KvSource::Cache(_) | KvSource::Pages(..))) = memory
            && x.height() <= FEW
            && !tape.is_recording()
            && let Some(weights) = block.packed()
        {
            return self.step(&weights, x, memory);
        }
        let heads = config.attention_heads();
        let normal = normalise(tape, config, x, &block.norm1, self.dtype)?;
        let mut qkv = linear(tape, &normal, &block.qkv.weight, block.qkv.fuse())?;
        if let Some(weights) = &block.head_norm {
            qkv = head_norm::head_norm(tape, &qkv, weights, heads, config.norm_epsilon)?;
        }
        let mixed = match memory {
            Some(memory) => self.remembering(tape, &qkv, memory)?,
            None => attention::attention(tape, &self.rotate(tape, &qkv)?, heads, self.segments.as_ref())?,
        };
        let x = self.project(tape, x, &mixed, &block.out, 1)?;

        let normal = normalise(tape, config, &x, &block.norm2, self.dtype)?;
        let gelu = config.activation == Activation::Gelu;
        let mut inner = linear(tape, &normal, &block.up.weight, Fuse { gelu, ..block.up.fuse() })?;
        if !gelu {
            inner = activation::swiglu(tape, &inner)?;
        }
        self.project(tape, &x, &inner, &block.down, 2)
    }

    fn rotate(&self, tape: &Tape, qkv: &Tensor) -> Result<Tensor> {
        match &self.table {
            Some(table) => {
                rope::rope(tape, qkv, table, self.config.attention_heads(), self.past, self.segments.as_ref())
            }
            None => Ok(qkv.clone()),
        }
    }

    /// Attention that also fills `memory`: `qkv [batch, context, (heads + 2 kv_heads) dim]` to `[batch, context, heads dim]`.
    /// At the start of a text nothing is in it yet, and the training kernels suffice, which share keys and values between
    /// queries.
    fn remembering(&self, tape: &Tape, qkv: &Tensor, memory: KvSource<'_>) -> Result<Tensor> {
        let heads = self.config.attention_heads();
        let fresh = match memory {
            KvSource::Cache(cache) => {
                let q = decode::append(qkv, self.table.as_ref(), heads, cache, self.past, self.segments.as_ref())?;
                if self.past > 0 || qkv.height() <= FEW {
                    return decode::attend(&q, heads, cache, self.past, self.starts.as_ref());
                }
                self.rotate(tape, qkv)?
            }
            KvSource::Pages(pool, rows) => {
                let q = paged::append(qkv, self.table.as_ref(), heads, pool, rows)?;
                // Segments mean that all texts of the pass begin in it.
                if self.segments.is_none() || qkv.height() <= FEW {
                    return paged::attend(&q, heads, pool, rows, self.config.context);
                }
                self.rotate(tape, qkv)?
            }
            KvSource::Maps(maps) => {
                let turned = self.rotate(tape, qkv)?;
                maps.borrow_mut().push(attention_map(&turned, heads)?);
                turned
            }
        };
        attention::attention(tape, &fresh, heads, self.segments.as_ref())
    }

    /// Adds `inner W^T + b` to the residual stream `x [batch, context, width]`, for `inner [batch, context, in]`, with
    /// dropout if there is any.
    fn project(&self, tape: &Tape, x: &Tensor, inner: &Tensor, affine: &Affine, place: u32) -> Result<Tensor> {
        if self.pass.dropout == 0.0 {
            return linear(tape, inner, &affine.weight, Fuse { residual: Some(x), ..affine.fuse() });
        }
        let branch = linear(tape, inner, &affine.weight, affine.fuse())?;
        let key = site(self.pass, self.index as u32 * 2 + place);
        add(tape, x, &dropout(tape, &branch, self.pass.dropout, key)?)
    }

    /// [`BlockPass::run`] for few tokens, in six dispatches: norm, product, bias and activation are one kernel.
    fn step(&self, weights: &[Packed; 4], x: &Tensor, memory: KvSource<'_>) -> Result<Tensor> {
        let (config, block) = (&self.config, &self.block);
        let [qkv_weight, out_weight, up_weight, down_weight] = weights;
        let heads = config.attention_heads();
        let fused = |x: &Tensor, weight: &Packed, scale: &Scale, bias: Option<&Tensor>, activation| {
            let (kind, epsilon) = (config.norm_kind(), config.norm_epsilon);
            let norm = product::Norm { kind, weight: &scale.weight, bias: scale.bias.as_ref(), epsilon };
            product(x, weight, Fused { norm: Some(norm), bias, activation, residual: None })
        };
        let add = |x: &Tensor, inner: &Tensor, weight: &Packed, bias: Option<&Tensor>| {
            product(inner, weight, Fused { bias, residual: Some(x), ..Fused::default() })
        };
        let mut qkv = fused(x, qkv_weight, &block.norm1, block.qkv.bias.as_ref(), product::Activation::None)?;
        if let Some(weights) = &block.head_norm {
            qkv = head_norm::head_norm(&Tape::off(x.gpu()), &qkv, weights, heads, config.norm_epsilon)?;
        }
        let mixed = self.remembering(&Tape::off(x.gpu()), &qkv, memory)?;
        let x = add(x, &mixed, out_weight, block.out.bias.as_ref())?;
        let whole = up_weight.pieces().len() == 1;
        let activation = match config.activation {
            Activation::Gelu => product::Activation::Gelu,
            Activation::Swiglu if whole => product::Activation::Swiglu,
            Activation::Swiglu => product::Activation::None,
        };
        let mut inner = fused(&x, up_weight, &block.norm2, block.up.bias.as_ref(), activation)?;
        if config.activation == Activation::Swiglu && !whole {
            inner = activation::swiglu(&Tape::off(x.gpu()), &inner)?;
        }
        add(&x, &inner, down_weight, block.down.bias.as_ref())
    }
}

impl Block {
    /// The weights of the four layers as packed rows; `None` unless all can be seen that way and none has an adapter.
    fn packed(&self) -> Option<[Packed; 4]> {
        let alone = |layer: &Affine| layer.adapter.is_none().then(|| layer.weight.packed()).flatten();
        let [qkv, out, up, down] = [&self.qkv, &self.out, &self.up, &self.down].map(alone);
        Some([qkv?, out?, up?, down?])
    }
}
