//! Flat kernels: fill, scale-and-add, sum of two tensors.

use super::{expect, flat_grid};
use crate::{Result, binds, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// `out = value`
    FILL = "fill";
    /// `out (+)= factor * x`
    SCALE = "scale";
    /// `out = a + b`
    ADD = "add";
}

/// Sets every element of `out` to `value`.
///
/// # Errors
/// Returns the driver's errors.
pub fn fill(out: &Tensor, value: f32) -> Result<()> {
    let gpu = out.gpu();
    for piece in out.flat_pieces()? {
        let count = piece.vectors();
        let variant = FILL.set("element", out.dtype().vec4());
        gpu.run(&variant, binds![out: piece.bind4()], params![count: count, value: value], flat_grid(gpu, count))?;
    }
    Ok(())
}

/// `out = factor * x`, or `out += factor * x`, for as many elements, in whatever shapes.
///
/// # Errors
/// [`crate::Error::Shape`] when the numbers of elements differ.
pub fn copy(x: &Tensor, out: &Tensor, factor: f32, accumulate: bool) -> Result<()> {
    let gpu = out.gpu();
    expect("scale", "the source", &x.reshape(&[x.elements()])?, &[out.elements()])?;
    let variant = SCALE.set("x_element", x.dtype().vec4()).set("out_element", out.dtype().vec4());
    // Pieces are sized for the larger of the two types, so that both are cut alike.
    let (x, out) = (x.reshape(&[x.elements()])?, out.reshape(&[out.elements()])?);
    let widest = if x.dtype().bytes() > out.dtype().bytes() { &x } else { &out };
    for (first, held) in widest.row_pieces() {
        let (x, out) = (x.rows(first, held)?, out.rows(first, held)?);
        let count = out.vectors();
        let params = params![count: count, factor: factor, accumulate: accumulate];
        gpu.run(&variant, binds![x: x.bind4(), out: out.bind4()], params, flat_grid(gpu, count))?;
    }
    Ok(())
}

/// `a + b` in f32, elementwise; both have the same shape, and `b` may be f16.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes differ.
pub fn add(tape: &Tape, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    expect("add", "the second operand", b, a.shape())?;
    let gpu = tape.gpu();
    let out = Tensor::empty_f32(gpu, a.shape())?;
    let count = out.vectors();
    let binds = binds![a: a.bind4(), b: b.bind4(), out: out.bind4()];
    gpu.run(&ADD.set("b_element", b.dtype().vec4()), binds, params![count: count], flat_grid(gpu, count))?;
    let (kept_a, kept_b) = (tape.tracks(a).then(|| a.clone()), tape.tracks(b).then(|| b.clone()));
    tape.push(&[a, b], &out, move |gradients, gradient| match (kept_a, kept_b) {
        (Some(a), Some(b)) => {
            let (slot, accumulate) = gradients.slot(&a)?;
            copy(&gradient, &slot, 1.0, accumulate)?;
            gradients.give(&b, gradient)
        }
        (Some(only), None) | (None, Some(only)) => gradients.give(&only, gradient),
        (None, None) => Ok(()),
    });
    Ok(out)
}
