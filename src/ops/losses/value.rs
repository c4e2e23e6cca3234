//! Squared errors of values: PPO's clipped value loss, and the reward model's loss on ratings.

use super::{Loss, RowWeights, expect, require, total};
use crate::{Result, binds, gpu::readback::Readback, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// Terms and slopes of each row.
    VALUE_LOSS = "value_loss";
}

/// Weighted mean of `0.5 max((v - R)^2, (clip(v, v_old - c, v_old + c) - R)^2)`, all `[rows]`; `clip` is `(v_old, c)`.
///
/// # Errors
/// [`crate::Error::Shape`] when a tensor is not `[rows]`.
pub fn value_loss(
    tape: &Tape,
    values: &Tensor,
    returns: &Tensor,
    weights: &RowWeights,
    clip: Option<(&Tensor, f32)>,
) -> Result<Loss> {
    squared(tape, values, returns, weights, clip, 0.5)
}

/// Weighted mean of `(values - targets)^2`, all `[rows]`.
///
/// # Errors
/// [`crate::Error::Shape`] when a tensor is not `[rows]`.
pub fn squared_error(tape: &Tape, values: &Tensor, targets: &Tensor, weights: &RowWeights) -> Result<Loss> {
    squared(tape, values, targets, weights, None, 1.0)
}

fn squared(
    tape: &Tape,
    values: &Tensor,
    returns: &Tensor,
    weights: &RowWeights,
    clip: Option<(&Tensor, f32)>,
    factor: f32,
) -> Result<Loss> {
    let (op, gpu, rows) = ("value_loss", tape.gpu(), values.elements());
    require(rows > 0, op, || "there are no values".to_string())?;
    let (old_values, bound) = clip.unwrap_or((values, 0.0));
    expect(op, "the values", values, &[rows])?;
    expect(op, "the old values", old_values, &[rows])?;
    expect(op, "the returns", returns, &[rows])?;
    expect(op, "the weights", &weights.weights, &[rows])?;
    let (terms, slopes) = (Tensor::empty_f32(gpu, &[rows, 4])?, Tensor::empty_f32(gpu, &[rows])?);
    let binds = binds![
        values: values.bind(), old_values: old_values.bind(), returns: returns.bind(), weights: weights.weights.bind(),
        terms: terms.bind(), slopes: slopes.bind(),
    ];
    let params = params![count: rows, clip: bound, factor: factor];
    gpu.run(&VALUE_LOSS.set("CLIP", clip.is_some()), binds, params, gpu.flat_grid(rows))?;
    total(tape, values, &terms, slopes)
}

/// Means over the counted rows.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Statistics {
    /// The loss.
    pub loss: f32,
    /// Share of rows whose clipped loss was the larger one.
    pub clip_fraction: f32,
    /// Squared error without clipping.
    pub squared_error: f32,
    /// Mean value.
    pub mean: f32,
}

impl Statistics {
    /// The statistics in [`Loss::totals`].
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn of(totals: Readback) -> Result<Self> {
        let numbers = totals.numbers::<f32>().await?;
        let at = |column: usize| numbers.get(column).copied().unwrap_or(f32::NAN);
        Ok(Self { loss: at(0), clip_fraction: at(1), squared_error: at(2), mean: at(3) })
    }
}
