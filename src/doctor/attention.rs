//! Checks attention forward, backward and over a cache.

use super::{
    Doctor, Work,
    reference::{attention as oracle, position},
};
use crate::{
    Result,
    ops::{
        attention::{
            self, Heads,
            variants::{AttentionVariant, Kind, VARIANTS},
        },
        kv::decode::{self, Cached, Precision},
        rope,
    },
    random,
    tensor::Tensor,
};

/// Batch, context, heads, key-value heads, width.
const SIZES: &[[usize; 5]] = &[
    [1, 1, 1, 1, 4],
    [2, 7, 3, 1, 8],
    [2, 33, 4, 2, 12],
    [1, 37, 2, 1, 256],
    [1, 70, 2, 2, 64],
    [2, 150, 6, 2, 32],
    [1, 41, 2, 1, 128],
    [1, 45, 1, 1, 80],
    [1, 300, 4, 1, 16],
];

/// The width at which every variant is checked, since it is timed there too: each width is another kernel to compile.
const TIMED: usize = 32;

/// Whether a variant, which is number `turn` of those that fit, is checked at a size. Storage has nothing to do with
/// widths, so a few are enough in f16, and narrow heads are not divided in more ways than wide ones.
fn takes(doctor: &Doctor<'_>, spec: &AttentionVariant, (turn, size): (usize, usize), dim: usize) -> bool {
    if doctor.notes_only() || dim == TIMED {
        return true;
    }
    if !doctor.thorough {
        return !doctor.half() && turn == size;
    }
    match (dim, doctor.half(), spec.kind) {
        // Rows that do not fit into registers take a driver in software half a minute to compile.
        (256.., half, Kind::Rows { .. }) => !half,
        (64.., false, _) | (64.., true, Kind::Blocks { .. }) => true,
        _ => (turn + size) % 3 == 0,
    }
}

pub(super) async fn check(doctor: &mut Doctor<'_>) -> Result<()> {
    let mut segmented = 0;
    for (size, &[batch, context, query, key_value, dim]) in SIZES.iter().enumerate() {
        let heads = Heads { query, key_value, dim };
        let sizes = oracle::Sizes { batch, context, heads: query, kv_heads: key_value, dim };
        let (qkv, grad) = (doctor.data(batch * context * sizes.row()), doctor.data(batch * context * query * dim));
        let (out, lse) = oracle::attention(sizes, &qkv);
        let grad_qkv = oracle::attention_backward(sizes, &qkv, &grad);
        let qkv = doctor.store(&[batch, context, sizes.row()], &qkv)?;
        let grad = doctor.store(&[batch, context, query * dim], &grad)?;
        let what = format!("{sizes:?}");
        let fitting: Vec<_> = VARIANTS.iter().filter(|spec| spec.fits(doctor.gpu.capabilities(), dim)).collect();
        for (turn, spec) in fitting.iter().enumerate() {
            if !takes(doctor, spec, (turn, size % fitting.len()), dim) {
                continue;
            }
            let forward = attention::forward_with(spec, &qkv, heads, None)?;
            doctor.compare(("attention_forward", spec.name), &what, &forward.out, &out, context + dim).await?;
            doctor.compare(("attention_forward", spec.name), &what, &forward.lse, &lse, context + dim).await?;
            let actual = attention::backward_with(spec, &qkv, &forward.out, &forward.lse, &grad, heads, None)?;
            doctor.compare(("attention_backward", spec.name), &what, &actual, &grad_qkv, context + dim).await?;
        }
        // Every variant, but not every width, because each means more kernels to compile.
        let several = (batch > 1 || context > 64) && dim != TIMED;
        if doctor.notes_only() || several && (doctor.thorough || !doctor.half()) {
            segments(doctor, sizes, segmented).await?;
            segmented += 1;
        }
        // Caches have their own f16 form, checked with f32 activations.
        if !doctor.half() {
            cached(doctor, sizes, size).await?;
        }
    }
    time(doctor)
}

/// Where each token's segment begins in rows of `context` tokens: lengths drawn from 1 to `longest`.
fn random_segments(seed: u64, batch: usize, context: usize, longest: u64) -> Vec<u32> {
    let mut starts = Vec::with_capacity(batch * context);
    for z in 0..batch as u64 {
        let (mut start, mut length) = (0, 1 + random::below(seed, z, 0, longest) as usize);
        for t in 0..context {
            if t == start + length {
                (start, length) = (t, 1 + random::below(seed, z, t as u64, longest) as usize);
            }
            starts.push(start as u32);
        }
    }
    starts
}

/// Several texts per row: of one token each, short ones, and some longer than tiles and workgroups.
async fn segments(doctor: &mut Doctor<'_>, sizes: oracle::Sizes, size: usize) -> Result<()> {
    let oracle::Sizes { batch, context, heads: query, kv_heads: key_value, dim } = sizes;
    let heads = Heads { query, key_value, dim };
    for longest in [1, 5, 90] {
        let starts = random_segments(7, batch, context, longest);
        let (qkv, grad) = (doctor.data(batch * context * sizes.row()), doctor.data(batch * context * query * dim));
        let (out, lse) = oracle::attention_segments(sizes, &qkv, &starts);
        let grad_qkv = oracle::attention_segments_backward(sizes, &qkv, &starts, &grad);
        let qkv = doctor.store(&[batch, context, sizes.row()], &qkv)?;
        let grad = doctor.store(&[batch, context, query * dim], &grad)?;
        let starts = Some(Tensor::from_u32(doctor.gpu, &[batch, context], &starts)?);
        let what = format!("{sizes:?} in segments of up to {longest}");
        for (turn, spec) in VARIANTS.iter().enumerate().filter(|(_, spec)| spec.fits(doctor.gpu.capabilities(), dim)) {
            if !doctor.takes(turn + size, 4) {
                continue;
            }
            let forward = attention::forward_with(spec, &qkv, heads, starts.as_ref())?;
            doctor.compare(("attention_forward", spec.name), &what, &forward.out, &out, context + dim).await?;
            doctor.compare(("attention_forward", spec.name), &what, &forward.lse, &lse, context + dim).await?;
            let actual =
                attention::backward_with(spec, &qkv, &forward.out, &forward.lse, &grad, heads, starts.as_ref())?;
            doctor.compare(("attention_backward", spec.name), &what, &actual, &grad_qkv, context + dim).await?;
        }
    }
    Ok(())
}

/// Attention through a cache: a prompt of all but two tokens, then one token at a time.
async fn cached(doctor: &mut Doctor<'_>, sizes: oracle::Sizes, size: usize) -> Result<()> {
    let oracle::Sizes { batch, context, heads: query, kv_heads: key_value, dim } = sizes;
    let heads = Heads { query, key_value, dim };
    let qkv = doctor.data(batch * context * sizes.row());
    // Queries and keys are rotated when they are appended to the cache.
    let (all, rotated) = (query + 2 * key_value, query + key_value);
    let rotary = position::Rotary { heads: all, rotated, dim, context, past: 0, theta: 10_000.0 };
    let (out, _) = oracle::attention(sizes, &position::rope(rotary, &qkv, 1.0));
    let table = rope::table(doctor.gpu, context, dim, 10_000.0, |_, _| 1.0)?;
    // Rows `first..first + count` of every sequence.
    let rows = |values: &[f64], width: usize, first: usize, count: usize| -> Vec<f64> {
        (0..batch).flat_map(|z| values[(z * context + first) * width..][..count * width].to_vec()).collect()
    };
    let prompt = context.saturating_sub(2).max(1);
    let variants = decode::VARIANTS.iter().filter(|spec| spec.fits(doctor.gpu.capabilities()));
    let both = variants.flat_map(|spec| [(spec, Precision::Single), (spec, Precision::Half)]);
    for (turn, (spec, precision)) in both.enumerate() {
        // The last size goes to the variant that splits its 300 positions.
        if !doctor.takes(turn + size, 6) {
            continue;
        }
        let cache = Cached::new(doctor.gpu, [batch, key_value, context + 3, dim], precision)?;
        let chunks = std::iter::once((0, prompt)).chain((prompt..context).map(|first| (first, 1)));
        for (first, count) in chunks {
            let new = doctor.upload(&[batch, count, sizes.row()], &rows(&qkv, sizes.row(), first, count))?;
            let q = decode::append(&new, Some(&table), heads, &cache, first, None)?;
            let actual = decode::attend_with(*spec, &q, heads, &cache, first, None)?;
            let expected = rows(&out, query * dim, first, count);
            let what = format!("{sizes:?} past {first}");
            if precision == Precision::Half {
                let row = ("attention_decode f16", spec.name);
                doctor.compare_mean(row, &what, &actual, &expected, 1e-6).await?;
                continue;
            }
            doctor.compare(("attention_decode", spec.name), &what, &actual, &expected, context + dim).await?;
        }
        starts(doctor, *spec, sizes, &qkv).await?;
    }
    Ok(())
}

/// Sequences that begin later must give results as if their first tokens were not there.
async fn starts(doctor: &mut Doctor<'_>, spec: decode::DecodeVariant, sizes: oracle::Sizes, qkv: &[f64]) -> Result<()> {
    let oracle::Sizes { batch, context, heads: query, kv_heads: key_value, dim } = sizes;
    let heads = Heads { query, key_value, dim };
    let cache = Cached::new(doctor.gpu, [batch, key_value, context, dim], Precision::Single)?;
    let firsts: Vec<u32> = (0..batch as u32).map(|z| (context as u32 / 3 + z).min(context as u32 - 1)).collect();
    let starts = Tensor::from_u32(doctor.gpu, &[batch], &firsts)?;
    let new = doctor.upload(&[batch, context, sizes.row()], qkv)?;
    let q = decode::append(&new, None, heads, &cache, 0, None)?;
    let actual = decode::attend_with(spec, &q, heads, &cache, 0, Some(&starts))?;
    let mut expected = vec![0.0; batch * context * query * dim];
    for (z, first) in firsts.iter().map(|first| *first as usize).enumerate() {
        let rows = z * context + first..(z + 1) * context;
        let alone = oracle::Sizes { batch: 1, context: context - first, ..sizes };
        let (out, _) = oracle::attention(alone, &qkv[rows.start * sizes.row()..rows.end * sizes.row()]);
        expected[rows.start * query * dim..rows.end * query * dim].copy_from_slice(&out);
    }
    let what = format!("{sizes:?} from {firsts:?}");
    doctor.compare(("attention_decode", spec.name), &what, &actual, &expected, context + dim).await
}

fn time(doctor: &mut Doctor<'_>) -> Result<()> {
    let (batch, context, heads) = (4, 256, Heads { query: 4, key_value: 4, dim: TIMED });
    let values: Vec<f64> = (0..batch * context * heads.qkv_width()).map(|i| (i % 97) as f64 / 97.0 - 0.4).collect();
    let qkv = doctor.store(&[batch, context, heads.qkv_width()], &values)?;
    let grad = doctor.store(&[batch, context, 128], &values[..batch * context * 128])?;
    // Forward takes two products of context^2 / 2 dot products each, backward five.
    let product = (batch * heads.query * context * context * heads.dim) as f64;
    for spec in VARIANTS.iter().filter(|spec| spec.fits(doctor.gpu.capabilities(), heads.dim)) {
        let forward = attention::forward_with(spec, &qkv, heads, None)?;
        let (x, grad) = (qkv.clone(), grad.clone());
        let call = move || attention::forward_with(spec, &x, heads, None).map(|_| ());
        doctor.time(("attention_forward", spec.name), Work::Flops(2.0 * product), call);
        let x = qkv.clone();
        let call =
            move || attention::backward_with(spec, &x, &forward.out, &forward.lse, &grad, heads, None).map(|_| ());
        doctor.time(("attention_backward", spec.name), Work::Flops(5.0 * product), call);
    }
    Ok(())
}
