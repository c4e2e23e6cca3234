//! SwiGLU and GELU. When GELU directly follows a product, its forward pass is an epilogue of matmul.

use super::{expect, require};
use crate::{Result, binds, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// `silu(gate) * up`
    SWIGLU = "swiglu";
    /// Its gradient.
    SWIGLU_BACKWARD = "swiglu_backward";
    /// GELU by itself.
    GELU = "gelu";
    /// The gradient of GELU.
    GELU_BACKWARD = "gelu_backward";
}

/// `silu(gate) * up` for rows that hold gate, then up: `[.., 2 width] -> [.., width]` (Shazeer 2020).
///
/// # Errors
/// [`crate::Error::Shape`] when the innermost dimension is odd.
pub fn swiglu(tape: &Tape, x: &Tensor) -> Result<Tensor> {
    require(x.width() % 2 == 0, "swiglu", || format!("{:?} has an odd width", x.shape()))?;
    let gpu = tape.gpu();
    let mut shape = x.shape().to_vec();
    let width = x.width() / 2;
    shape[x.shape().len() - 1] = width;
    let out = Tensor::empty(gpu, &shape, x.dtype())?;
    let count = out.elements();
    let params = params![count: count, width: width];
    let variant = SWIGLU.set("element", x.dtype().scalar());
    gpu.run(&variant, binds![x: x.bind(), out: out.bind()], params, gpu.flat_grid(count))?;
    let input = x.clone();
    tape.push(&[x], &out, move |gradients, gradient| {
        let grad_x = swiglu_backward(&input, &gradient)?;
        gradients.give(&input, grad_x)
    });
    Ok(out)
}

/// The gradient of [`swiglu`]'s input `x [.., 2 width]`, in its shape, from `grad_out [.., width]`.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn swiglu_backward(x: &Tensor, grad_out: &Tensor) -> Result<Tensor> {
    let (gpu, count, width) = (x.gpu(), grad_out.elements(), x.width() / 2);
    require(count * 2 == x.elements() && x.dtype() == grad_out.dtype(), "swiglu_backward", || {
        format!("{:?} of {:?} and {:?} of {:?}", x.shape(), x.dtype(), grad_out.shape(), grad_out.dtype())
    })?;
    let grad_x = Tensor::empty(gpu, x.shape(), x.dtype())?;
    let binds = binds![x: x.bind(), grad_out: grad_out.bind(), grad_x: grad_x.bind()];
    let variant = SWIGLU_BACKWARD.set("element", x.dtype().scalar());
    gpu.run(&variant, binds, params![count: count, width: width], gpu.flat_grid(count))?;
    Ok(grad_x)
}

/// `gelu(x)` in a new tensor of x's shape, without recording a backward pass; callers that record one use
/// [`gelu_backward`].
///
/// # Errors
/// [`crate::Error::OutOfMemory`].
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    let (gpu, count, out) = (x.gpu(), x.vectors(), Tensor::empty_f32(x.gpu(), x.shape())?);
    gpu.run(&GELU.plain(), binds![x: x.bind4(), out: out.bind4()], params![count: count], gpu.flat_grid(count))?;
    Ok(out)
}

/// `grad_out * gelu'(x)`, where `x` holds the values before the activation; all have the same shape.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes differ.
pub fn gelu_backward(x: &Tensor, grad_out: &Tensor) -> Result<Tensor> {
    expect("gelu_backward", "the gradient", grad_out, x.shape())?;
    let (gpu, count) = (x.gpu(), x.vectors());
    let grad_x = Tensor::empty(gpu, x.shape(), x.dtype())?;
    let binds = binds![x: x.bind4(), grad_out: grad_out.bind4(), grad_x: grad_x.bind4()];
    let variant = GELU_BACKWARD.set("element", x.dtype().vec4()).set("grad_element", grad_out.dtype().vec4());
    gpu.run(&variant, binds, params![count: count], gpu.flat_grid(count))?;
    Ok(grad_x)
}
