//! Attention probabilities for display only; the other kernels never store them.

use super::Heads;
use crate::{Result, binds, kernels, ops::require, params, tensor::Tensor};

kernels! {
    /// Probabilities of every query over all keys.
    ATTENTION_MAP = "attention_map";
}

/// The attention probabilities of one text's `qkv [1, context, (query + 2 key_value) * dim]`, already rotated if the model
/// rotates: `[query, context, context]`. Row `t` of a head says how token `t` attends to each token, and sums to 1.
///
/// # Errors
/// [`crate::Error::Shape`], also for several texts at once.
pub fn attention_map(qkv: &Tensor, heads: Heads) -> Result<Tensor> {
    super::check(qkv, heads)?;
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
