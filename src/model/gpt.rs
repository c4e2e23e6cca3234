//! The forward pass, the same for training, evaluation and decoding.

use std::cell::RefCell;

pub use super::block::Pass;
use super::{
    block::{Affine, Block, BlockPass, KvSource, Scale, normalise, site},
    cache::Cache,
    config::Config,
    lora::Lora,
    trainable::Model,
};
use crate::{
    Error, Result,
    gpu::Gpu,
    ops::{
        cross_entropy::{self, Loss, Targets},
        elementwise::dropout,
        embedding::{self, Tokens},
        linear::{Fuse, linear},
        token_logprobs::{self, TokenLogprobs},
        weight::Weight,
    },
    tape::Tape,
    tensor::{DType, Tensor},
};

/// A GPT on a GPU; `dim` is the width of a head.
pub struct Gpt {
    pub(super) config: Config,
    /// `[vocabulary, width]`
    pub(super) embed: Weight,
    /// `[context, width]`: learned or sinusoidal positions.
    pub(super) position: Option<Tensor>,
    /// `[context, dim / 2, 2]`: the angles of rotary positions.
    pub(super) rope_table: Option<Tensor>,
    pub(super) blocks: Vec<Block>,
    /// `[width]`, after the last block.
    pub(super) norm: Scale,
    /// `[vocabulary, width]`; none where it is the embedding.
    pub(super) head: Option<Weight>,
    /// What is trained, in the shapes of [`parameters::specs`](super::parameters::specs), or of the adapters.
    pub(super) parameters: Vec<(String, Tensor)>,
    /// The parameters' f16 copies, in their shapes; empty unless the model is mixed.
    pub(super) halves: Vec<Tensor>,
    pub(super) bytes: u64,
    pub(super) lora: Option<Lora>,
}

/// What the model computes for a text.
pub struct Maps {
    /// The final hidden states: `[1, context, width]`.
    pub hidden: Tensor,
    /// One per block, `[heads, context, context]`: row `t` of a head says how token `t` attends to each token, and sums to 1.
    pub attention: Vec<Tensor>,
}

impl Gpt {
    /// The shape of the model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes of its weights in GPU memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The trained tensors by name, in a fixed order: the adapters if the model has them, otherwise every f32 parameter
    /// (which is all of them in a trainable model).
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// f16 copies of [`Gpt::parameters`], which an optimizer must keep up to date; empty unless the model is mixed.
    pub fn halves(&self) -> &[Tensor] {
        &self.halves
    }

    /// The shape and base of its adapters, if it has any.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// Every weight by name, in the order in which a forward pass uses them.
    pub fn weights(&self) -> Vec<(String, Weight)> {
        let mut all = vec![("embed.weight".to_string(), self.embed.clone())];
        let plain = |tensor: &Tensor| Weight::Plain(tensor.clone());
        all.extend(self.position.iter().map(|position| ("position.weight".to_string(), plain(position))));
        let scale = |name: String, scale: &Scale| {
            let bias = scale.bias.iter().map(|bias| (format!("{name}.bias"), plain(bias)));
            std::iter::once((format!("{name}.weight"), plain(&scale.weight))).chain(bias).collect::<Vec<_>>()
        };
        let affine = |name: String, layer: &Affine| {
            let bias = layer.bias.iter().map(|bias| (format!("{name}.bias"), plain(bias)));
            let adapter = layer.adapter.iter().flat_map(|adapter| [("lora_a", &adapter.a), ("lora_b", &adapter.b)]);
            let adapter = adapter.map(|(part, tensor)| (format!("{name}.{part}"), plain(tensor)));
            std::iter::once((format!("{name}.weight"), layer.weight.clone()))
                .chain(bias)
                .chain(adapter)
                .collect::<Vec<_>>()
        };
        for (index, block) in self.blocks.iter().enumerate() {
            let name = |part: &str| format!("blocks.{index}.{part}");
            all.extend(scale(name("norm1"), &block.norm1));
            all.extend(affine(name("attention.qkv"), &block.qkv));
            if let Some(weights) = &block.head_norm {
                all.push((name("attention.q_norm.weight"), plain(&weights.query)));
                all.push((name("attention.k_norm.weight"), plain(&weights.key)));
            }
            all.extend(affine(name("attention.out"), &block.out));
            all.extend(scale(name("norm2"), &block.norm2));
            all.extend(affine(name("mlp.up"), &block.up));
            all.extend(affine(name("mlp.down"), &block.down));
        }
        all.extend(scale("norm".to_string(), &self.norm));
        all.extend(self.head.iter().map(|head| ("head.weight".to_string(), head.clone())));
        all
    }

    /// Number of trained elements.
    pub fn size(&self) -> usize {
        self.parameters.iter().map(|(_, tensor)| tensor.elements()).sum()
    }

    /// The final hidden states `[batch, context, width]` of `tokens`. With a cache, the tokens follow those in it and
    /// are added to it. A mixed model without a cache gives f16 hidden states.
    ///
    /// # Errors
    /// [`Error::Shape`] when the tokens run past the context, or when both segments and a cache are given.
    pub fn forward(&self, tape: &Tape, tokens: &Tokens, pass: Pass, mut cache: Option<&mut Cache>) -> Result<Tensor> {
        let past = cache.as_ref().map_or(0, |cache| cache.length);
        let new = tokens.ids.shape()[1];
        let room = cache.as_ref().map_or(self.config.context, |cache| cache.limit.min(self.config.context));
        if past + new > room {
            return Err(Error::shape("gpt", format!("{past} + {new} tokens do not fit a context of {room}")));
        }
        if let Some(cache) = cache.as_mut() {
            cache.reserve(past + new)?;
        }
        let starts = cache.as_ref().and_then(|cache| cache.starts());
        if cache.is_some() && tokens.segments.is_some() {
            return Err(Error::shape(
                "gpt",
                "a cache holds one text per sequence: segments are for passes without one",
            ));
        }
        let padded = cache.as_ref().map(|cache| cache.segments(new)).transpose()?.flatten();
        let padded = padded.map(|segments| tokens.within(segments));
        let tokens = padded.as_ref().unwrap_or(tokens);
        // With a cache, a mixed model computes with its f32 weights: caches have their own precision.
        let dtype = if cache.is_none() && !self.halves.is_empty() { DType::F16 } else { DType::F32 };
        let mut x = embedding::embed(tape, tokens, &self.embed, self.position.as_ref(), past)?;
        x = dropout(tape, &x, pass.dropout, site(pass, 0))?;
        for index in 0..self.blocks.len() {
            let (segments, starts) = (tokens.segments.clone(), starts.clone());
            let block_pass = BlockPass { past, segments, starts, dtype, ..self.block_pass(index, pass) };
            let leaves = block_pass.block.leaves();
            x = match cache.as_mut() {
                Some(cache) => block_pass.run(tape, &x, Some(KvSource::Cache(&cache.layers[index])))?,
                None if pass.checkpoint && tape.is_recording() => {
                    tape.checkpoint(&x, &leaves, move |tape, x| block_pass.run(tape, x, None))?
                }
                None => block_pass.run(tape, &x, None)?,
            };
        }
        if let Some(cache) = cache {
            cache.length += new;
        }
        normalise(tape, &self.config, &x, &self.norm, dtype)
    }

    /// Reads the text `ids` and keeps the attention probabilities of every layer: `layers * heads * context^2` numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are no tokens or more than the context, [`Error::OutOfMemory`].
    pub fn maps(&self, gpu: &Gpu, ids: &[u32]) -> Result<Maps> {
        if ids.is_empty() || ids.len() > self.config.context {
            let reason = format!("{} tokens: give 1 to {}, the model's context", ids.len(), self.config.context);
            return Err(Error::shape("maps", reason));
        }
        let (tape, maps) = (Tape::off(gpu), RefCell::default());
        let tokens = Tokens::new(gpu, ids, 1, ids.len(), false)?;
        let mut x = embedding::embed(&tape, &tokens, &self.embed, self.position.as_ref(), 0)?;
        for index in 0..self.blocks.len() {
            let block_pass = self.block_pass(index, Pass::default());
            x = block_pass.run(&tape, &x, Some(KvSource::Maps(&maps)))?;
        }
        Ok(Maps { hidden: normalise(&tape, &self.config, &x, &self.norm, DType::F32)?, attention: maps.into_inner() })
    }

    /// Block `index`, set up for whole texts.
    pub(super) fn block_pass(&self, index: usize, pass: Pass) -> BlockPass {
        let block = &self.blocks[index];
        BlockPass {
            config: self.config.clone(),
            block: if pass.reference { block.without_adapters() } else { block.clone() },
            table: self.rope_table.clone(),
            pass,
            index,
            past: 0,
            segments: None,
            starts: None,
            dtype: DType::F32,
        }
    }

    /// The loss of the final hidden states `[.., width]` against `targets [rows]`, one for each of them; see
    /// [`cross_entropy::head_loss`].
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn loss(&self, tape: &Tape, hidden: &Tensor, targets: &Targets, factor: f32) -> Result<Loss> {
        cross_entropy::head_loss(tape, hidden, self.head_weight(), targets, factor)
    }

    /// Log-probabilities `[rows]` of `targets [rows]` given as many final hidden states `[.., width]`; see
    /// [`token_logprobs::token_logprobs`].
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn token_logprobs(
        &self,
        tape: &Tape,
        hidden: &Tensor,
        targets: &Targets,
        temperature: f32,
    ) -> Result<TokenLogprobs> {
        token_logprobs::token_logprobs(tape, hidden, self.head_weight(), targets, temperature)
    }

    /// Scores of every token of the vocabulary, from the final hidden states `[.., width]`: `[.., vocabulary]`.
    ///
    /// # Errors
    /// [`Error::Shape`].
    pub fn logits(&self, tape: &Tape, hidden: &Tensor) -> Result<Tensor> {
        linear(tape, hidden, self.head_weight(), Fuse::default())
    }

    fn head_weight(&self) -> &Weight {
        self.head.as_ref().unwrap_or(&self.embed)
    }
}

impl Model for Gpt {
    fn parameters(&self) -> &[(String, Tensor)] {
        self.parameters()
    }

    fn forward(&self, tape: &Tape, tokens: &Tokens, pass: Pass) -> Result<Tensor> {
        self.forward(tape, tokens, pass, None)
    }

    fn loss(&self, tape: &Tape, hidden: &Tensor, targets: &Targets, factor: f32) -> Result<Tensor> {
        Ok(self.loss(tape, hidden, targets, factor)?.mean)
    }

    fn mix(&mut self) -> Result<()> {
        self.mix()
    }

    fn weights(&self) -> Vec<(String, Weight)> {
        self.weights()
    }

    fn halves(&self) -> &[Tensor] {
        self.halves()
    }
}
