//! The language-model head fused with its loss: logits exist for one chunk of the vocabulary at a time.

use super::{
    head::{Head, Reading, Slope},
    reduce,
    weight::Weight,
};
use crate::{Result, gpu::Gpu, tape::Tape, tensor::Tensor};

/// The target id of a position that is not scored.
pub const IGNORED: u32 = u32::MAX;

/// Targets and how many of them are scored.
#[derive(Clone)]
pub struct Targets {
    /// `[rows]` of u32.
    pub ids: Tensor,
    /// Number of targets that are not [`IGNORED`].
    pub scored: usize,
}

impl Targets {
    /// Uploads target ids.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, ids: &[u32]) -> Result<Self> {
        let scored = ids.iter().filter(|&&id| id != IGNORED).count();
        Ok(Self { ids: Tensor::from_u32(gpu, &[ids.len()], ids)?, scored })
    }
}

/// What [`head_loss`] computes.
pub struct Loss {
    /// `[1]`: mean negative log-likelihood over the scored targets, 0 if there are none.
    pub mean: Tensor,
    /// `[rows, 4]`; the last column is each row's loss.
    pub stats: Tensor,
}

/// Cross entropy of `x weight^T` against `targets [rows]`, for `x [.., in]`, `weight [vocabulary, in]`.
///
/// `factor` scales the gradient (by 1 / number of accumulated micro-batches), not the reported mean. A single chunk of
/// logits is kept for the backward pass; several are computed again.
///
/// # Errors
/// [`crate::Error::Shape`] when rows or widths disagree.
pub fn head_loss(tape: &Tape, x: &Tensor, weight: impl Into<Weight>, targets: &Targets, factor: f32) -> Result<Loss> {
    let head = Head::read(tape, "cross_entropy", x, weight.into(), &targets.ids, Reading::LOSS)?;
    let stats = head.stats.clone();
    let mean_factor = if targets.scored == 0 { 0.0 } else { 1.0 / targets.scored as f32 };
    let mean = reduce::sum(&stats, x.height(), 3, 4, mean_factor, false)?;
    let inputs = head.inputs();
    tape.push(&inputs.iter().collect::<Vec<_>>(), &mean, move |gradients, _| {
        head.backward(gradients, Slope { factor: mean_factor * factor, rows: None })
    });
    Ok(Loss { mean, stats })
}
