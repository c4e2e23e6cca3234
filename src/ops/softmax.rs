//! Softmax over the innermost dimension.

use super::{expect, rows::Plan};
use crate::{Result, binds, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// Softmax of each row.
    SOFTMAX = "softmax";
    /// Its gradient.
    SOFTMAX_BACKWARD = "softmax_backward";
}

/// `exp(x) / sum(exp(x))` over the innermost dimension of `x [.., width]`, in its shape.
///
/// # Errors
/// Returns the driver's errors.
pub fn softmax(tape: &Tape, x: &Tensor) -> Result<Tensor> {
    let out = forward(x, Plan::choose(tape.gpu(), x.height(), x.width()))?;
    let (input, y) = (x.clone(), out.clone());
    tape.push(&[x], &out, move |gradients, gradient| {
        let plan = Plan::choose(y.gpu(), y.height(), y.width());
        let grad_x = backward(&y, &gradient, plan)?;
        gradients.give(&input, grad_x)
    });
    Ok(out)
}

/// The forward kernel over `x [.., width]` with a given plan.
///
/// # Errors
/// Returns the driver's errors.
pub fn forward(x: &Tensor, plan: Plan) -> Result<Tensor> {
    let gpu = x.gpu();
    let out = Tensor::empty_f32(gpu, x.shape())?;
    let params = params![rows: x.height(), width: x.width()];
    gpu.run(
        &plan.variant(&SOFTMAX, x.width()),
        binds![x: x.bind(), out: out.bind()],
        params,
        plan.grid(gpu, x.height()),
    )?;
    Ok(out)
}

/// The gradient with respect to softmax's input, from its output `y [.., width]` and `grad_out` in y's shape.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes differ.
pub fn backward(y: &Tensor, grad_out: &Tensor, plan: Plan) -> Result<Tensor> {
    expect("softmax_backward", "the gradient", grad_out, y.shape())?;
    let gpu = y.gpu();
    let grad_x = Tensor::empty_f32(gpu, y.shape())?;
    let binds = binds![y: y.bind(), grad_out: grad_out.bind(), grad_x: grad_x.bind()];
    let params = params![rows: y.height(), width: y.width()];
    gpu.run(&plan.variant(&SOFTMAX_BACKWARD, y.width()), binds, params, plan.grid(gpu, y.height()))?;
    Ok(grad_x)
}
