//! What a trainer needs of a model.

use super::block::Pass;
use crate::{
    Error, Result,
    ops::{cross_entropy::Targets, embedding::Tokens, weight::Weight},
    tape::Tape,
    tensor::Tensor,
};

/// A model that [`Trainer`](crate::train::trainer::Trainer) can train on batches of text: [`Gpt`](crate::model::Gpt), or
/// your own.
pub trait Model {
    /// The trained tensors by name, in a fixed order.
    fn parameters(&self) -> &[(String, Tensor)];

    /// The model's output for `tokens [rows, context]`: for every token a row, `[rows, context, ..]`, that [`Model::loss`]
    /// takes, such as hidden states or logits.
    ///
    /// # Errors
    /// [`Error::Shape`] for tokens that do not fit the model.
    fn forward(&self, tape: &Tape, tokens: &Tokens, pass: Pass) -> Result<Tensor>;

    /// The mean loss over the scored targets, as one element. Gradients are multiplied by `factor`, the loss is not.
    ///
    /// # Errors
    /// [`Error::Shape`] when `output` and `targets` do not match.
    fn loss(&self, tape: &Tape, output: &Tensor, targets: &Targets, factor: f32) -> Result<Tensor>;

    /// Makes `tape` compute the gradient of every parameter.
    fn watch(&self, tape: &Tape) {
        self.parameters().iter().for_each(|(_, parameter)| tape.watch(parameter));
    }

    /// Gives every matrix an f16 copy, with which [`Model::forward`] computes from now on (mixed precision).
    ///
    /// # Errors
    /// [`Error::Config`] for a model that can only be trained in f32.
    fn mix(&mut self) -> Result<()> {
        Err(Error::Config("this model is trained in f32 only".to_string()))
    }

    /// Every tensor that the output depends on, trained or not, by which the cause of numbers that are not finite is found.
    fn weights(&self) -> Vec<(String, Weight)> {
        self.parameters().iter().map(|(name, tensor)| (name.clone(), Weight::Plain(tensor.clone()))).collect()
    }

    /// The f16 copies of [`Model::parameters`], which the optimizer keeps up to date; empty unless the model is mixed.
    fn halves(&self) -> &[Tensor] {
        &[]
    }
}
