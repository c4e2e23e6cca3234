//! Losses over one number per token or per text: each is one node, whose forward pass also computes the slopes.

pub mod choice;
pub mod pairs;
pub mod policy;
pub mod value;

use super::{
    expect, reduce, require,
    row_sum::{self, scale_rows},
    rows::Plan,
};
use crate::{Result, gpu::Gpu, tape::Tape, tensor::Tensor};

/// The weight of each row in a mean: 1 / number of counted rows, or 0.
#[derive(Clone)]
pub struct RowWeights {
    /// `[rows]`, f32.
    pub weights: Tensor,
    /// Number of rows that count.
    pub counted: usize,
}

impl RowWeights {
    /// Weights for the mean over the rows that `counts` selects. If it selects none, the mean is 0, not NaN.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn mean(gpu: &Gpu, counts: &[bool]) -> Result<Self> {
        Self::share(gpu, counts, counts.iter().filter(|counts| **counts).count())
    }

    /// Weights for these rows' part of a mean over `total` rows, most of which may be in other micro-batches. The parts
    /// add up to the mean over all, however the rows are split.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn share(gpu: &Gpu, counts: &[bool], total: usize) -> Result<Self> {
        let each = if total == 0 { 0.0 } else { 1.0 / total as f32 };
        let weights: Vec<f32> = counts.iter().map(|counts| if *counts { each } else { 0.0 }).collect();
        let counted = counts.iter().filter(|counts| **counts).count();
        Ok(Self { weights: Tensor::from_f32(gpu, &[counts.len()], &weights)?, counted })
    }

    /// The weighted mean of one number per row, `x [rows]`, for reports: `[1]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when there is not one number per row.
    pub fn average(&self, x: &Tensor) -> Result<Tensor> {
        let rows = self.weights.elements();
        row_sum::forward(x, &self.weights.reshape(&[1, rows])?, Plan::choose(x.gpu(), 1, rows))
    }
}

/// A loss and its statistics, still on the GPU.
pub struct Loss {
    /// `[1]`: where a tape's backward pass starts, or a part of [`weighted_sum`].
    pub mean: Tensor,
    /// `[columns]`: the loss and the other sums, for the loss's own `Statistics`. Start the copy early, wait for it
    /// late.
    pub totals: Tensor,
}

/// Sums `terms [rows, columns]`, whose first column is the loss, over the rows; `slopes` is the loss's gradient in `x`.
fn total(tape: &Tape, x: &Tensor, terms: &Tensor, slopes: Tensor) -> Result<Loss> {
    let totals = Tensor::empty_f32(tape.gpu(), &[terms.width()])?;
    reduce::column_sum(terms, &totals, false)?;
    let mean = totals.rows(0, 1)?;
    let x_kept = x.clone();
    tape.push(&[x], &mean, move |gradients, gradient| {
        let (slot, accumulate) = gradients.slot(&x_kept)?;
        scale_rows(&slopes, &gradient, &slot, accumulate)
    });
    Ok(Loss { mean, totals })
}

/// `sum of factor * loss` over losses `[1]` as one loss `[1]`, from which a backward pass over several losses starts.
///
/// # Errors
/// [`crate::Error::Shape`] when a loss is not one element, or there are none.
pub fn weighted_sum(tape: &Tape, losses: &[(&Tensor, f32)]) -> Result<Tensor> {
    require(!losses.is_empty(), "weighted_sum", || "no loss was given".to_string())?;
    let out = Tensor::empty_f32(tape.gpu(), &[1])?;
    for (index, (loss, factor)) in losses.iter().enumerate() {
        expect("weighted_sum", "a loss", loss, &[1])?;
        loss.scale_into(&out, *factor, index > 0)?;
    }
    let inputs: Vec<_> = losses.iter().map(|(loss, _)| *loss).collect();
    let tracked = losses.iter().filter(|(loss, _)| tape.tracks(loss));
    let parts: Vec<_> = tracked.map(|(loss, factor)| ((*loss).clone(), *factor)).collect();
    tape.push(&inputs, &out, move |gradients, gradient| {
        for (loss, factor) in parts {
            let (slot, accumulate) = gradients.slot(&loss)?;
            gradient.scale_into(&slot, factor, accumulate)?;
        }
        Ok(())
    });
    Ok(out)
}
