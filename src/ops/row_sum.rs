//! Weighted sums of rows, which turn log-probabilities of tokens into those of texts.
//! Each row times a number, which is their gradient.

use super::{require, rows::Plan};
use crate::{Result, binds, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// Sums of each row.
    WEIGHTED_ROW_SUM = "weighted_row_sum";
    /// Multiplies each row by its own factor.
    SCALE_ROWS = "scale_rows";
}

/// `out[row] = sum over columns of weights * x`, for `weights [rows, width]` and `x` with as many elements: `[rows]`.
/// Weights are a mask of ones and zeros for sums, or 1 / count of each row for means; where they are 0, `x` may
/// hold anything.
///
/// # Errors
/// [`crate::Error::Shape`] when the numbers of elements differ.
pub fn weighted_row_sum(tape: &Tape, x: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let out = forward(x, weights, Plan::choose(tape.gpu(), weights.height(), weights.width()))?;
    let (x_kept, weights) = (x.clone(), weights.clone());
    tape.push(&[x], &out, move |gradients, gradient| {
        let (slot, accumulate) = gradients.slot(&x_kept)?;
        scale_rows(&weights, &gradient, &slot, accumulate)
    });
    Ok(out)
}

/// The forward kernel with a given plan: `[rows]`, from `weights [rows, width]` and as many elements of `x`.
///
/// # Errors
/// [`crate::Error::Shape`] when the numbers of elements differ.
pub fn forward(x: &Tensor, weights: &Tensor, plan: Plan) -> Result<Tensor> {
    let (gpu, rows, width) = (x.gpu(), weights.height(), weights.width());
    require(rows > 0 && x.elements() == weights.elements(), "weighted_row_sum", || {
        format!("x {:?}, weights {:?}", x.shape(), weights.shape())
    })?;
    let out = Tensor::empty_f32(gpu, &[rows])?;
    let binds = binds![x: x.bind(), weights: weights.bind(), out: out.bind()];
    gpu.run(&plan.variant(&WEIGHTED_ROW_SUM, width), binds, params![rows: rows, width: width], plan.grid(gpu, rows))?;
    Ok(out)
}

/// `out (+)= x * factors[row]` for `factors [rows]`, where `x` is cut into as many rows; `out` has as many elements as `x`.
///
/// # Errors
/// [`crate::Error::Shape`] when the sizes do not match.
pub fn scale_rows(x: &Tensor, factors: &Tensor, out: &Tensor, accumulate: bool) -> Result<()> {
    let (gpu, count, rows) = (x.gpu(), x.elements(), factors.elements());
    require(rows > 0 && count % rows == 0 && out.elements() == count, "scale_rows", || {
        format!("x {:?}, {rows} factors, out {:?}", x.shape(), out.shape())
    })?;
    let params = params![count: count, width: count / rows, accumulate: accumulate];
    let binds = binds![x: x.bind(), factors: factors.bind(), out: out.bind()];
    gpu.run(&SCALE_ROWS.plain(), binds, params, gpu.flat_grid(count))
}
