//! Rotary position embedding (Su et al. 2021), pairs `(i, i + D/2)` as in the Llama family.

use super::require;
use crate::{
    Result, binds,
    gpu::Gpu,
    kernels,
    ops::attention::{self, Heads},
    params,
    tape::Tape,
    tensor::Tensor,
};

kernels! {
    /// Rotates queries and keys.
    ROPE = "rope";
}

/// `[positions, D/2, 2]`: cosine and sine of `position * theta^(-2i/D) / divisor(i, theta^(-2i/D))`, computed in f64,
/// because the drivers' own sines are only accurate to 2^-11.
///
/// # Errors
/// [`crate::Error::OutOfMemory`].
pub fn table(
    gpu: &Gpu,
    positions: usize,
    dim: usize,
    theta: f64,
    divisor: impl Fn(usize, f64) -> f64,
) -> Result<Tensor> {
    let half = dim / 2;
    let frequency = |i: usize| theta.powf(-2.0 * i as f64 / dim as f64);
    let frequencies: Vec<f64> = (0..half).map(|i| frequency(i) / divisor(i, frequency(i))).collect();
    let mut values = Vec::with_capacity(positions * half * 2);
    for position in 0..positions {
        for frequency in &frequencies {
            let angle = position as f64 * frequency;
            values.extend([angle.cos() as f32, angle.sin() as f32]);
        }
    }
    Tensor::from_f32(gpu, &[positions, half, 2], &values)
}

/// Rotates the query and key heads of `qkv [batch, context, (heads + 2 kv_heads) D]`, in its shape, by a [`table`]. Row
/// `t` has position `past + t`, less its segment's start if `segments [batch, context]` are given. Relative angles
/// would be the same without that, but this way packing does not even change the rounding, and no angle occurs that the
/// model has not seen.
///
/// # Errors
/// [`crate::Error::Shape`] when positions run past the table or the widths disagree.
pub fn rope(
    tape: &Tape,
    qkv: &Tensor,
    table: &Tensor,
    heads: Heads,
    past: usize,
    segments: Option<&Tensor>,
) -> Result<Tensor> {
    let context = qkv.shape()[1];
    require(qkv.width() == heads.qkv_width() && heads.dim % 2 == 0, "rope", || {
        format!("qkv {:?} does not hold {heads:?}", qkv.shape())
    })?;
    require(past + context <= table.shape()[0], "rope", || {
        format!("position {} is past the table's {}", past + context - 1, table.shape()[0])
    })?;
    attention::check_segments(qkv, segments)?;
    let out = rotate(qkv, table, heads, past, segments, 1.0)?;
    let (input, table, segments) = (qkv.clone(), table.clone(), segments.cloned());
    tape.push(&[qkv], &out, move |gradients, gradient| {
        let grad = rotate(&gradient, &table, heads, past, segments.as_ref(), -1.0)?;
        gradients.give(&input, grad)
    });
    Ok(out)
}

fn rotate(
    x: &Tensor,
    table: &Tensor,
    heads: Heads,
    past: usize,
    segments: Option<&Tensor>,
    direction: f32,
) -> Result<Tensor> {
    let gpu = x.gpu();
    let out = Tensor::empty(gpu, x.shape(), x.dtype())?;
    let variant = ROPE.set("SEGMENTS", segments.is_some()).set("element", x.dtype().scalar());
    let count = x.elements() / 2;
    let params = params![
        count: count, half_dim: heads.dim / 2, rotated_heads: heads.query + heads.key_value,
        all_heads: heads.query + 2 * heads.key_value, context: x.shape()[1], past: past, direction: direction,
    ];
    let binds = binds![x: x.bind(), table: table.bind(), starts: segments.unwrap_or(x).bind(), out: out.bind()];
    gpu.run(&variant, binds, params, gpu.flat_grid(count))?;
    Ok(out)
}
