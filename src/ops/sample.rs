//! Chooses the next token of every row on the GPU, so that only eight bytes per row go to the host.

use super::{expect, require, rows::Plan};
use crate::{
    Result, binds, kernels, params,
    tensor::{DType, Tensor},
};

kernels! {
    /// Chooses one token per row of scores.
    SAMPLE = "sample";
    /// Makes tokens that occurred before less likely.
    PENALISE = "penalise";
}

/// How to choose among the scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Divides the scores; 0 takes the greatest score.
    pub temperature: f32,
    /// Keeps only this many of the greatest scores; 0 for all.
    pub top_k: usize,
    /// Keeps only the greatest scores that make up this share of the probability; 1 for all.
    pub top_p: f32,
    /// Keeps only tokens at least this probable relative to the best; 0 for all.
    pub min_p: f32,
}

/// The largest factor of the scores. At a lower temperature than its inverse only the greatest score is ever chosen, and with an
/// infinite factor its distance to itself would be no number.
const SHARPEST: f32 = 1e30;

/// How rows are divided: they are few and wide, and a lane must not loop over too much of a row (see [`Plan::fits`]).
pub const PLAN: Plan = Plan::plain("256x1", 256, 1);

/// A token for every row of `logits [rows, vocabulary]`: `[rows, 2]`, the id and the bits of its log-probability (f32)
/// at this temperature (1 for temperature 0) before any cut-off. `keys [rows]` are the random keys of the draws.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn sample(logits: &Tensor, keys: &Tensor, rule: Rule) -> Result<Tensor> {
    let (gpu, rows, width) = (logits.gpu(), logits.height(), logits.width());
    expect("sample", "the keys", keys, &[rows])?;
    require(width > 0 && width < 1 << 24, "sample", || format!("{width} scores a row: give 1 to 2^24 - 1"))?;
    let out = Tensor::empty(gpu, &[rows, 2], DType::U32)?;
    let draw = rule.temperature > 0.0;
    let variant = SAMPLE
        .set("LANES", PLAN.lanes)
        .set("ROWS", PLAN.rows)
        .set("DRAW", draw)
        .set("TOP_K", draw && rule.top_k > 0 && rule.top_k < width)
        .set("TOP_P", draw && rule.top_p < 1.0);
    let params = params![
        rows: rows, width: width, sharpness: if draw { (1.0 / rule.temperature).min(SHARPEST) } else { 1.0 },
        top_k: rule.top_k, top_p: rule.top_p.max(f32::MIN_POSITIVE), min_p: rule.min_p,
    ];
    let binds = binds![logits: logits.bind(), keys: keys.bind(), out: out.bind()];
    gpu.run(&variant, binds, params, PLAN.grid(gpu, rows))?;
    Ok(out)
}

/// Divides positive scores of the tokens `ids [rows, n]` by `penalty` and multiplies the others, in place in
/// `logits [rows, vocabulary]`. No id may occur twice in a row; `u32::MAX` means no id.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn penalise(logits: &Tensor, ids: &Tensor, penalty: f32) -> Result<()> {
    let (gpu, per_row) = (logits.gpu(), ids.width());
    expect("penalise", "the ids", ids, &[logits.height(), per_row])?;
    let binds = binds![ids: ids.bind(), logits: logits.bind()];
    let params = params![count: ids.elements(), per_row: per_row, width: logits.width(), penalty: penalty];
    gpu.run(&PENALISE.plain(), binds, params, gpu.flat_grid(ids.elements()))
}
