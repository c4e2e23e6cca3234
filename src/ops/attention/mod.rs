//! Causal attention over fused queries, keys and values, which never builds a T x T matrix, except in [`attention_map`].

mod blocks;
pub mod variants;

use self::variants as kernels;
use super::{expect, require};
use crate::{
    Result, binds,
    gpu::{Bind, Param},
    params,
    tape::Tape,
    tensor::Tensor,
};

crate::kernels! {
    /// Probabilities of every query over all keys.
    ATTENTION_MAP = "attention_map";
}

/// How many heads a row of qkv holds, and how wide each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads, each shared by `query / key_value` query heads.
    pub key_value: usize,
    /// Width of one head.
    pub dim: usize,
}

impl Heads {
    /// Width of a row of queries, keys and values.
    pub fn qkv_width(&self) -> usize {
        (self.query + 2 * self.key_value) * self.dim
    }

    /// The factor of the scores, `1 / sqrt(dim)`.
    pub fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }
}

/// What the forward kernel writes.
pub struct Forward {
    /// `[batch, context, query * dim]`
    pub out: Tensor,
    /// `[batch, query, context]`: log-sum-exp of each query's scores.
    pub lse: Tensor,
}

/// The parameters of all kernels that include `lib/attention.wgsl`.
fn parameters(context: usize, heads: Heads) -> [(&'static str, Param); 5] {
    let Heads { query, key_value, dim } = heads;
    *params![context: context, heads: query, kv_heads: key_value, scale: heads.scale(), vectors: dim / 4]
}

pub(super) fn check(qkv: &Tensor, heads: Heads) -> Result<()> {
    require(qkv.shape().len() == 3 && qkv.width() == heads.qkv_width(), "attention", || {
        format!("qkv {:?} is not [batch, context, {}] for {heads:?}", qkv.shape(), heads.qkv_width())
    })
}

fn check_variant(spec: &kernels::AttentionVariant, qkv: &Tensor, heads: Heads) -> Result<()> {
    check(qkv, heads)?;
    require(spec.takes(heads.dim), "attention", || {
        format!("{} has no block for heads as wide as in {heads:?}", spec.name)
    })
}

/// Checks the shape of the `segments` of the rows of `x [batch, context, ..]`.
pub(super) fn check_segments(x: &Tensor, segments: Option<&Tensor>) -> Result<()> {
    match segments {
        Some(segments) => expect("attention", "the segments", segments, &x.shape()[..2]),
        None => Ok(()),
    }
}

/// Each token of `qkv [batch, context, (query + 2 key_value) * dim]` attends to itself and the tokens before it:
/// `[batch, context, query * dim]`. With `segments [batch, context]` of u32, the token at `t` sees only the positions
/// `segments[t]..=t` of its row; along a row they must never decrease or exceed `t` (see
/// [`super::embedding::Tokens::with_segments`]).
///
/// # Errors
/// [`crate::Error::Shape`] when the width of qkv does not match `heads`.
pub fn attention(tape: &Tape, qkv: &Tensor, heads: Heads, segments: Option<&Tensor>) -> Result<Tensor> {
    let Forward { out, lse } = forward(qkv, heads, segments)?;
    let (qkv_kept, out_kept, segments) = (qkv.clone(), out.clone(), segments.cloned());
    tape.push(&[qkv], &out, move |gradients, gradient| {
        let grad_qkv = backward(&qkv_kept, &out_kept, &lse, &gradient, heads, segments.as_ref())?;
        gradients.give(&qkv_kept, grad_qkv)
    });
    Ok(out)
}

/// The forward kernel, by the variant that is fastest on this adapter, over
/// `qkv [batch, context, (query + 2 key_value) * dim]` with `segments [batch, context]`.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn forward(qkv: &Tensor, heads: Heads, segments: Option<&Tensor>) -> Result<Forward> {
    check(qkv, heads)?;
    forward_with(kernels::choose(qkv.gpu(), heads, qkv.shape()[1], qkv.dtype()), qkv, heads, segments)
}

/// [`forward`] with a given variant.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn forward_with(
    spec: &kernels::AttentionVariant,
    qkv: &Tensor,
    heads: Heads,
    segments: Option<&Tensor>,
) -> Result<Forward> {
    check_variant(spec, qkv, heads)?;
    check_segments(qkv, segments)?;
    let (gpu, batch, context) = (qkv.gpu(), qkv.shape()[0], qkv.shape()[1]);
    let out = Tensor::empty(gpu, &[batch, context, heads.query * heads.dim], qkv.dtype())?;
    let lse = Tensor::empty_f32(gpu, &[batch, heads.query, context])?;
    let kernel = spec.forward(heads).segmented(segments.is_some());
    let grid = kernel.grid(context, heads.query, batch);
    gpu.run(
        &kernel.variant.set("element", qkv.dtype().vec4()),
        binds![qkv: qkv.bind(), starts: segments.unwrap_or(qkv).bind(), out: out.bind(), lse: lse.bind()],
        &parameters(context, heads),
        grid,
    )?;
    Ok(Forward { out, lse })
}

/// The gradient of `qkv [batch, context, (query + 2 key_value) * dim]`, in its shape, by recomputation from the saved
/// `out [batch, context, query * dim]` and `lse [batch, query, context]`, for `grad_out` in out's shape.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn backward(
    qkv: &Tensor,
    out: &Tensor,
    lse: &Tensor,
    grad_out: &Tensor,
    heads: Heads,
    segments: Option<&Tensor>,
) -> Result<Tensor> {
    check(qkv, heads)?;
    let spec = kernels::choose(qkv.gpu(), heads, qkv.shape()[1], qkv.dtype());
    backward_with(spec, qkv, out, lse, grad_out, heads, segments)
}

/// [`backward`] with a given variant.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn backward_with(
    spec: &kernels::AttentionVariant,
    qkv: &Tensor,
    out: &Tensor,
    lse: &Tensor,
    grad_out: &Tensor,
    heads: Heads,
    segments: Option<&Tensor>,
) -> Result<Tensor> {
    check_variant(spec, qkv, heads)?;
    check_segments(qkv, segments)?;
    let (gpu, batch, context) = (qkv.gpu(), qkv.shape()[0], qkv.shape()[1]);
    let delta = Tensor::empty_f32(gpu, lse.shape())?;
    let grad_qkv = Tensor::empty(gpu, qkv.shape(), qkv.dtype())?;
    require(out.dtype() == qkv.dtype() && grad_out.dtype() == qkv.dtype(), "attention_backward", || {
        format!("qkv is {:?}, out {:?}, its gradient {:?}", qkv.dtype(), out.dtype(), grad_out.dtype())
    })?;
    let run = |kernel: kernels::Planned, binds: &[(&'static str, Bind)], heads_in_grid: usize| {
        let grid = kernel.grid(context, heads_in_grid, batch);
        gpu.run(&kernel.variant.set("element", qkv.dtype().vec4()), binds, &parameters(context, heads), grid)
    };
    let binds = binds![out: out.bind(), grad_out: grad_out.bind(), delta: delta.bind()];
    run(spec.delta(heads), binds, heads.query)?;
    let binds = binds![
        qkv: qkv.bind(), grad_out: grad_out.bind(), lse: lse.bind(), delta: delta.bind(),
        starts: segments.unwrap_or(qkv).bind(), grad_qkv: grad_qkv.bind(),
    ];
    run(spec.backward_q(heads).segmented(segments.is_some()), binds, heads.query)?;
    run(spec.backward_kv(heads).segmented(segments.is_some()), binds, heads.key_value)?;
    Ok(grad_qkv)
}

/// The attention probabilities of one text's `qkv [1, context, (query + 2 key_value) * dim]`, already rotated if the model
/// rotates: `[query, context, context]`. Row `t` of a head says how token `t` attends to each token, and sums to 1.
/// For display only; the other kernels never store them.
///
/// # Errors
/// [`crate::Error::Shape`], also for several texts at once.
pub fn attention_map(qkv: &Tensor, heads: Heads) -> Result<Tensor> {
    check(qkv, heads)?;
    require(qkv.shape()[0] == 1 && heads.dim % 4 == 0, "attention_map", || {
        format!("{:?} for {heads:?}: give one text, and heads whose width is a multiple of 4", qkv.shape())
    })?;
    let (gpu, context) = (qkv.gpu(), qkv.shape()[1]);
    let out = Tensor::empty_f32(gpu, &[heads.query, context, context])?;
    let params = params![context: context, heads: heads.query, kv_heads: heads.key_value, scale: heads.scale()];
    let grid = [context as u32, heads.query as u32, 1];
    gpu.run(&ATTENTION_MAP.set("D", heads.dim as u32), binds![qkv: qkv.bind(), out: out.bind()], params, grid)?;
    Ok(out)
}
