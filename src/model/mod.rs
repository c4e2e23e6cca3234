//! The GPT: configuration, parameters, forward pass, and the cache for decoding.

pub mod attention_map;
mod block;
pub mod build;
pub mod cache;
pub mod config;
pub mod gpt;
pub mod heads;
pub mod lora;
pub mod paged;
pub mod parameters;
pub mod source;

pub use config::Config;
pub use gpt::Gpt;
pub use source::Source;

use crate::{
    Error, Result,
    ops::{cross_entropy::Targets, embedding::Tokens},
    tape::Tape,
    tensor::Tensor,
};

/// A model that [`Trainer`](crate::train::trainer::Trainer) can train on batches of text: [`Gpt`], or your own.
pub trait Model {
    /// What is trained, by name, in a fixed order.
    fn parameters(&self) -> &[(String, Tensor)];

    /// What the model makes of `tokens [rows, context]`: for every token a row `[rows, context, ..]` that [`Model::loss`]
    /// takes, such as hidden states or logits.
    ///
    /// # Errors
    /// [`Error::Shape`] for tokens that do not fit the model.
    fn forward(&self, tape: &Tape, tokens: &Tokens, pass: gpt::Pass) -> Result<Tensor>;

    /// The mean loss of the targets that count: one element. Its gradients are multiplied by `factor`, the loss is not.
    ///
    /// # Errors
    /// [`Error::Shape`] where `output` and `targets` do not fit each other.
    fn loss(&self, tape: &Tape, output: &Tensor, targets: &Targets, factor: f32) -> Result<Tensor>;

    /// Asks `tape` for the gradient of every parameter.
    fn watch(&self, tape: &Tape) {
        self.parameters().iter().for_each(|(_, parameter)| tape.watch(parameter));
    }

    /// Gives every matrix a copy in f16 that [`Model::forward`] computes with from now on (mixed precision).
    ///
    /// # Errors
    /// [`Error::Config`] for a model that is trained in f32 only.
    fn mix(&mut self) -> Result<()> {
        Err(Error::Config("this model is trained in f32 only".to_string()))
    }

    /// The copies in f16 of [`Model::parameters`], which the optimizer keeps up to date; empty unless the model is mixed.
    fn halves(&self) -> &[Tensor] {
        &[]
    }
}
