//! Element by element: the sum of two tensors, and dropout with a counter-based mask: the backward pass draws the same mask
//! again instead of storing it.

use super::expect;
use crate::{
    Error, Result, binds, kernels, params,
    tape::Tape,
    tensor::{DType, Tensor},
};

kernels! {
    /// `out = a + b`
    ADD = "add";
    /// Zeroes elements at random and scales the rest.
    DROPOUT = "dropout";
}

/// `a + b` in f32, elementwise; both have the same shape, and `b` may be f16.
///
/// # Errors
/// [`Error::Shape`] when the shapes differ.
pub fn add(tape: &Tape, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    expect("add", "the second operand", b, a.shape())?;
    let gpu = tape.gpu();
    let out = Tensor::empty_f32(gpu, a.shape())?;
    let count = out.vectors();
    let binds = binds![a: a.bind4(), b: b.bind4(), out: out.bind4()];
    gpu.run(&ADD.set("b_element", b.dtype().vec4()), binds, params![count: count], gpu.flat_grid(count))?;
    let (kept_a, kept_b) = (tape.tracks(a).then(|| a.clone()), tape.tracks(b).then(|| b.clone()));
    tape.push(&[a, b], &out, move |gradients, gradient| match (kept_a, kept_b) {
        (Some(a), Some(b)) => {
            let (slot, accumulate) = gradients.slot(&a)?;
            gradient.scale_into(&slot, 1.0, accumulate)?;
            gradients.give(&b, gradient)
        }
        (Some(only), None) | (None, Some(only)) => gradients.give(&only, gradient),
        (None, None) => Ok(()),
    });
    Ok(out)
}

/// Zeroes each element of `x`, of any shape, with probability `rate` and divides the others by `1 - rate`. `key` determines
/// the mask.
///
/// # Errors
/// [`Error::Config`] unless `0 <= rate < 1`.
pub fn dropout(tape: &Tape, x: &Tensor, rate: f32, key: u32) -> Result<Tensor> {
    if rate == 0.0 {
        return Ok(x.clone());
    }
    if !(0.0..1.0).contains(&rate) {
        return Err(Error::Config(format!("dropout {rate} is not in 0..1")));
    }
    let out = mask(x, rate, key, x.dtype())?;
    let input = x.clone();
    tape.push(&[x], &out, move |gradients, gradient| {
        let grad_x = mask(&gradient, rate, key, input.dtype())?;
        gradients.give(&input, grad_x)
    });
    Ok(out)
}

fn mask(x: &Tensor, rate: f32, key: u32, dtype: DType) -> Result<Tensor> {
    let (gpu, count) = (x.gpu(), x.vectors());
    let out = Tensor::empty(gpu, x.shape(), dtype)?;
    let variant = DROPOUT.set("x_element", x.dtype().vec4()).set("out_element", dtype.vec4());
    let threshold = (f64::from(rate) * 4_294_967_296.0) as u32;
    let params = params![count: count, key: key, threshold: threshold, keep_scale: 1.0 / (1.0 - rate)];
    gpu.run(&variant, binds![x: x.bind4(), out: out.bind4()], params, gpu.flat_grid(count))?;
    Ok(out)
}
