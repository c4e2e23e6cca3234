//! Attention forward, backward and over a cache.

use super::{Doctor, Work, reference::attention as oracle};
use crate::{
    Result,
    ops::{
        attention::{self, Cached, Heads},
        attention_variants::VARIANTS,
    },
};

/// batch, context, heads, key-value heads, width.
const SIZES: &[[usize; 5]] =
    &[[1, 1, 1, 1, 4], [2, 7, 3, 1, 8], [2, 33, 4, 2, 12], [1, 70, 2, 2, 64], [1, 19, 6, 2, 32], [1, 9, 1, 1, 128]];

pub(super) async fn check(doctor: &mut Doctor<'_>) -> Result<()> {
    for &[batch, context, query, key_value, dim] in SIZES {
        let heads = Heads { query, key_value, dim };
        let sizes = oracle::Sizes { batch, context, heads: query, kv_heads: key_value, dim };
        let (qkv, grad) = (doctor.data(batch * context * sizes.row()), doctor.data(batch * context * query * dim));
        let (out, lse) = oracle::attention(sizes, &qkv);
        let grad_qkv = oracle::attention_backward(sizes, &qkv, &grad);
        let qkv = doctor.upload(&[batch, context, sizes.row()], &qkv)?;
        let grad = doctor.upload(&[batch, context, query * dim], &grad)?;
        let what = format!("{sizes:?}");
        for spec in VARIANTS.iter().filter(|spec| spec.fits(doctor.gpu.capabilities())) {
            let forward = attention::forward_with(spec, &qkv, heads)?;
            doctor.compare(("attention_forward", spec.name), &what, &forward.out, &out, context + dim).await?;
            doctor.compare(("attention_forward", spec.name), &what, &forward.lse, &lse, context + dim).await?;
            let actual = attention::backward_with(spec, &qkv, &forward.out, &forward.lse, &grad, heads)?;
            doctor.compare(("attention_backward", spec.name), &what, &actual, &grad_qkv, context + dim).await?;
        }
        decode(doctor, sizes).await?;
    }
    time(doctor)
}

/// The same attention through a cache: a prompt of all but two tokens, then one token at a time.
async fn decode(doctor: &mut Doctor<'_>, sizes: oracle::Sizes) -> Result<()> {
    let oracle::Sizes { batch, context, heads: query, kv_heads: key_value, dim } = sizes;
    let heads = Heads { query, key_value, dim };
    let qkv = doctor.data(batch * context * sizes.row());
    let (out, _) = oracle::attention(sizes, &qkv);
    let capacity = context + 3;
    let cache = Cached {
        keys: doctor.poisoned(&[batch, key_value, capacity, dim])?,
        values: doctor.poisoned(&[batch, key_value, capacity, dim])?,
    };
    // Rows first..first + count of every sequence.
    let rows = |values: &[f64], width: usize, first: usize, count: usize| -> Vec<f64> {
        (0..batch).flat_map(|z| values[(z * context + first) * width..][..count * width].to_vec()).collect()
    };
    let prompt = context.saturating_sub(2).max(1);
    let chunks = std::iter::once((0, prompt)).chain((prompt..context).map(|first| (first, 1)));
    for (first, count) in chunks {
        let new = doctor.upload(&[batch, count, sizes.row()], &rows(&qkv, sizes.row(), first, count))?;
        let actual = attention::decode(&new, heads, &cache, first)?;
        let expected = rows(&out, query * dim, first, count);
        let what = format!("{sizes:?} past {first}");
        doctor.compare(("attention_decode", "lanes"), &what, &actual, &expected, context + dim).await?;
    }
    Ok(())
}

fn time(doctor: &mut Doctor<'_>) -> Result<()> {
    let (batch, context, heads) = (4, 256, Heads { query: 4, key_value: 4, dim: 32 });
    let values: Vec<f64> = (0..batch * context * heads.qkv_width()).map(|i| (i % 97) as f64 / 97.0 - 0.4).collect();
    let qkv = doctor.upload(&[batch, context, heads.qkv_width()], &values)?;
    let grad = doctor.upload(&[batch, context, 128], &values[..batch * context * 128])?;
    // Two products of context^2 / 2 dot products each, forward; five, backward.
    let product = (batch * heads.query * context * context * heads.dim) as f64;
    for spec in VARIANTS.iter().filter(|spec| spec.fits(doctor.gpu.capabilities())) {
        let forward = attention::forward_with(spec, &qkv, heads)?;
        let call = || attention::forward_with(spec, &qkv, heads).map(|_| ());
        doctor.time(("attention_forward", spec.name), Work::Flops(2.0 * product), call)?;
        let call = || attention::backward_with(spec, &qkv, &forward.out, &forward.lse, &grad, heads).map(|_| ());
        doctor.time(("attention_backward", spec.name), Work::Flops(5.0 * product), call)?;
    }
    Ok(())
}
