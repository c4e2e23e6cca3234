//! LayerNorm and RMSNorm over the innermost dimension.

use super::{
    expect, reduce,
    rows::{self, Plan},
};
use crate::{
    Result, binds,
    gpu::Gpu,
    kernels, params,
    tape::Tape,
    tensor::{DType, Tensor},
};

kernels! {
    /// The forward pass.
    NORM = "norm";
    /// The gradient of its input.
    NORM_BACKWARD = "norm_backward";
    /// The gradients of its weight and bias, by chunks of rows.
    NORM_BACKWARD_WEIGHT = "norm_backward_weight";
}

/// LayerNorm (subtracts the mean) or RMSNorm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `(x - mean) / sqrt(variance + epsilon) * weight + bias`
    Layer,
    /// `x / sqrt(mean(x^2) + epsilon) * weight`
    RootMeanSquare,
}

impl Kind {
    fn centers(self) -> bool {
        self == Self::Layer
    }
}

/// The factors and offsets of the normalised elements.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// `[width]`: the factors.
    pub weight: &'a Tensor,
    /// `[width]`: the offsets, if any.
    pub bias: Option<&'a Tensor>,
}

/// What the forward kernel writes.
pub struct Forward {
    /// The normalised rows: `[.., width]`.
    pub out: Tensor,
    /// (mean, 1 / standard deviation) of each row: `[rows, 2]`.
    pub stats: Tensor,
}

/// Normalises the rows of `x [.., width]`, which are f32; the result, in x's shape, is stored as `dtype`.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn norm(tape: &Tape, kind: Kind, x: &Tensor, weights: Weights<'_>, epsilon: f32, dtype: DType) -> Result<Tensor> {
    let Weights { weight, bias } = weights;
    let plan = Plan::choose(tape.gpu(), x.height(), x.width());
    let Forward { out, stats } = forward(kind, x, weights, epsilon, dtype, plan)?;
    let (x_kept, weight_kept, bias_kept) = (x.clone(), weight.clone(), bias.cloned());
    let (need_x, need_weight) = (tape.tracks(x), tape.tracks(weight));
    let inputs: Vec<_> = [x, weight].into_iter().chain(bias).collect();
    tape.push(&inputs, &out, move |gradients, gradient| {
        if need_weight {
            let (grad_weight, add_weight) = gradients.slot(&weight_kept)?;
            let grad_bias = bias_kept.as_ref().map(|bias| gradients.slot(bias)).transpose()?;
            backward_weight(&x_kept, &stats, &gradient, (&grad_weight, add_weight), grad_bias)?;
        }
        if need_x {
            let (grad_x, accumulate) = gradients.slot(&x_kept)?;
            let plan = Plan::choose(x_kept.gpu(), x_kept.height(), x_kept.width());
            backward(kind, &x_kept, &weight_kept, &stats, &gradient, (&grad_x, accumulate), plan)?;
        }
        Ok(())
    });
    Ok(out)
}

/// The forward kernel over `x [.., width]` with a given plan.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn forward(
    kind: Kind,
    x: &Tensor,
    weights: Weights<'_>,
    epsilon: f32,
    dtype: DType,
    plan: Plan,
) -> Result<Forward> {
    let Weights { weight, bias } = weights;
    expect("norm", "the weight", weight, &[x.width()])?;
    if let Some(bias) = bias {
        expect("norm", "the bias", bias, &[x.width()])?;
    }
    let gpu = x.gpu();
    let out = Tensor::empty(gpu, x.shape(), dtype)?;
    let stats = Tensor::empty_f32(gpu, &[x.height(), 2])?;
    let variant = plan.variant(&NORM, x.width()).set("CENTER", kind.centers()).set("BIAS", bias.is_some());
    let variant = variant.set("out_element", rows::stored(dtype, x.width()));
    let binds = binds![
        x: x.bind(), weight: weight.bind(), bias: bias.unwrap_or(weight).bind(), out: out.bind(), stats: stats.bind(),
    ];
    let params = params![rows: x.height(), width: x.width(), epsilon: epsilon];
    gpu.run(&variant, binds, params, plan.grid(gpu, x.height()))?;
    Ok(Forward { out, stats })
}

/// Writes (or adds) the gradient of `x [.., width]` with a given plan, from `weight [width]`, `stats [rows, 2]` and
/// `grad_out` in x's shape, which is also that of `grad_x`.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn backward(
    kind: Kind,
    x: &Tensor,
    weight: &Tensor,
    stats: &Tensor,
    grad_out: &Tensor,
    (grad_x, accumulate): (&Tensor, bool),
    plan: Plan,
) -> Result<()> {
    expect("norm_backward", "the gradient", grad_out, x.shape())?;
    let variant = plan.variant(&NORM_BACKWARD, x.width()).set("CENTER", kind.centers());
    let variant = variant.set("grad_out_element", rows::stored(grad_out.dtype(), x.width()));
    let binds = binds![
        x: x.bind(), weight: weight.bind(), stats: stats.bind(), grad_out: grad_out.bind(), grad_x: grad_x.bind(),
    ];
    let params = params![rows: x.height(), width: x.width(), accumulate: accumulate];
    x.gpu().run(&variant, binds, params, plan.grid(x.gpu(), x.height()))
}

/// Writes (or adds) the gradients of weight and bias, `[width]` each, from `x [.., width]`, `stats [rows, 2]` and
/// `grad_out` in x's shape.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn backward_weight(
    x: &Tensor,
    stats: &Tensor,
    grad_out: &Tensor,
    (grad_weight, add_weight): (&Tensor, bool),
    grad_bias: Option<(Tensor, bool)>,
) -> Result<()> {
    let gpu: &Gpu = x.gpu();
    let (height, width) = (x.height(), x.width());
    let chunk_rows = reduce::chunk_rows(height);
    let chunks = height.div_ceil(chunk_rows);
    let weight_sums = Tensor::empty_f32(gpu, &[chunks, width])?;
    let bias_sums = Tensor::empty_f32(gpu, &[if grad_bias.is_some() { chunks } else { 1 }, width])?;
    let binds = binds![
        x: x.bind(), stats: stats.bind(), grad_out: grad_out.bind(),
        weight_sums: weight_sums.bind(), bias_sums: bias_sums.bind(),
    ];
    let columns = width / rows::elements(width);
    let count = chunks * columns;
    let params = params![count: count, rows: height, columns: columns, chunk_rows: chunk_rows];
    let variant = NORM_BACKWARD_WEIGHT.set("BIAS", grad_bias.is_some());
    let variant = rows::by_elements(variant.set("grad_out_element", rows::stored(grad_out.dtype(), width)), width);
    gpu.run(&variant, binds, params, gpu.flat_grid(count))?;
    reduce::column_sum(&weight_sums, grad_weight, add_weight)?;
    if let Some((grad_bias, accumulate)) = grad_bias {
        reduce::column_sum(&bias_sums, &grad_bias, accumulate)?;
    }
    Ok(())
}
