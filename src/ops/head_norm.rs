//! RMSNorm of each query and key head, which Qwen3 applies before the rotation.

use super::{
    attention::Heads,
    expect, reduce, require,
    rows::{Plan, stored},
};
use crate::{Result, binds, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// The forward pass.
    HEAD_NORM = "head_norm";
    /// The gradient of its input.
    HEAD_NORM_BACKWARD = "head_norm_backward";
    /// The gradients of its weights, by chunks of tokens.
    HEAD_NORM_BACKWARD_WEIGHT = "head_norm_backward_weight";
}

/// Tokens summed by one invocation of the weights' gradient; each has several heads.
const CHUNK_TOKENS: usize = 16;

/// The weights of the query heads and of the key heads.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[D]`: shared by all query heads.
    pub query: Tensor,
    /// `[D]`: shared by all key heads.
    pub key: Tensor,
}

/// `x / sqrt(mean(x^2) + epsilon) * weight` over each query and key head of `qkv [batch, context, (heads + 2 kv_heads) D]`, in
/// its shape.
///
/// # Errors
/// [`crate::Error::Shape`] when the widths disagree.
pub fn head_norm(tape: &Tape, qkv: &Tensor, weights: &Weights, heads: Heads, epsilon: f32) -> Result<Tensor> {
    let plan = Plan::choose(tape.gpu(), qkv.elements() / heads.dim, heads.dim);
    let (out, rstds) = forward(qkv, weights, heads, epsilon, plan)?;
    let (x, kept) = (qkv.clone(), weights.clone());
    let (need_x, need_weights) = (tape.tracks(qkv), tape.tracks(&weights.query) || tape.tracks(&weights.key));
    tape.push(&[qkv, &weights.query, &weights.key], &out, move |gradients, gradient| {
        if need_weights {
            let (query, key) = (gradients.slot(&kept.query)?, gradients.slot(&kept.key)?);
            backward_weights(&x, &rstds, &gradient, heads, (&query.0, query.1), (&key.0, key.1))?;
        }
        if need_x {
            let plan = Plan::choose(x.gpu(), x.elements() / heads.dim, heads.dim);
            let grad_x = backward(&x, &kept, &rstds, &gradient, heads, plan)?;
            gradients.give(&x, grad_x)?;
        }
        Ok(())
    });
    Ok(out)
}

/// The forward kernel with a given plan: the normalised `qkv [.., (heads + 2 kv_heads) D]`, and 1 / root mean square of
/// each head, `[rows (heads + 2 kv_heads)]`.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn forward(qkv: &Tensor, weights: &Weights, heads: Heads, epsilon: f32, plan: Plan) -> Result<(Tensor, Tensor)> {
    require(qkv.width() == heads.qkv_width(), "head_norm", || format!("qkv {:?} is not {heads:?}", qkv.shape()))?;
    expect("head_norm", "the query weight", &weights.query, &[heads.dim])?;
    expect("head_norm", "the key weight", &weights.key, &[heads.dim])?;
    let gpu = qkv.gpu();
    let rows = qkv.elements() / heads.dim;
    let out = Tensor::empty(gpu, qkv.shape(), qkv.dtype())?;
    let rstds = Tensor::empty_f32(gpu, &[rows])?;
    let binds = binds![
        x: qkv.bind(), query_weight: weights.query.bind(), key_weight: weights.key.bind(), out: out.bind(),
        rstds: rstds.bind(),
    ];
    let params = params![
        rows: rows, width: heads.dim, heads: heads.query + 2 * heads.key_value, query: heads.query,
        normed: heads.query + heads.key_value, epsilon: epsilon,
    ];
    gpu.run(
        &plan.variant(&HEAD_NORM, heads.dim).set("element", stored(qkv.dtype(), heads.dim)),
        binds,
        params,
        plan.grid(gpu, rows),
    )?;
    Ok((out, rstds))
}

/// The gradient of `qkv [.., (heads + 2 kv_heads) D]` with a given plan, from what [`forward`] returned for each head
/// and `grad_out` in qkv's shape.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn backward(
    qkv: &Tensor,
    weights: &Weights,
    rstds: &Tensor,
    grad_out: &Tensor,
    heads: Heads,
    plan: Plan,
) -> Result<Tensor> {
    expect("head_norm_backward", "the gradient", grad_out, qkv.shape())?;
    let gpu = qkv.gpu();
    let rows = qkv.elements() / heads.dim;
    require(grad_out.dtype() == qkv.dtype(), "head_norm_backward", || {
        format!("qkv is {:?}, the gradient {:?}", qkv.dtype(), grad_out.dtype())
    })?;
    let grad_x = Tensor::empty(gpu, qkv.shape(), qkv.dtype())?;
    let binds = binds![
        x: qkv.bind(), query_weight: weights.query.bind(), key_weight: weights.key.bind(), rstds: rstds.bind(),
        grad_out: grad_out.bind(), grad_x: grad_x.bind(),
    ];
    let params = params![
        rows: rows, width: heads.dim, heads: heads.query + 2 * heads.key_value, query: heads.query,
        normed: heads.query + heads.key_value,
    ];
    gpu.run(
        &plan.variant(&HEAD_NORM_BACKWARD, heads.dim).set("element", stored(qkv.dtype(), heads.dim)),
        binds,
        params,
        plan.grid(gpu, rows),
    )?;
    Ok(grad_x)
}

/// Writes (or adds) the gradients of the two weights, `[D]` each, from `qkv [.., (heads + 2 kv_heads) D]`, what
/// [`forward`] gave for each head, and `grad_out` in qkv's shape.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn backward_weights(
    qkv: &Tensor,
    rstds: &Tensor,
    grad_out: &Tensor,
    heads: Heads,
    (grad_query, add_query): (&Tensor, bool),
    (grad_key, add_key): (&Tensor, bool),
) -> Result<()> {
    let gpu = qkv.gpu();
    let (tokens, width) = (qkv.height(), heads.dim);
    let chunks = tokens.div_ceil(CHUNK_TOKENS);
    let query_sums = Tensor::empty_f32(gpu, &[chunks, width])?;
    let key_sums = Tensor::empty_f32(gpu, &[chunks, width])?;
    let binds = binds![
        x: qkv.bind(), rstds: rstds.bind(), grad_out: grad_out.bind(), query_sums: query_sums.bind(),
        key_sums: key_sums.bind(),
    ];
    let count = chunks * width;
    let params = params![
        count: count, tokens: tokens, width: width, heads: heads.query + 2 * heads.key_value, query: heads.query,
        normed: heads.query + heads.key_value, chunk_tokens: CHUNK_TOKENS,
    ];
    let variant = HEAD_NORM_BACKWARD_WEIGHT.set("element", qkv.dtype().scalar());
    gpu.run(&variant, binds, params, gpu.flat_grid(count))?;
    reduce::column_sum(&query_sums, grad_query, add_query)?;
    reduce::column_sum(&key_sums, grad_key, add_key)
}
