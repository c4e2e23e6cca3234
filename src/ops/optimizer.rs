//! The optimizer's kernel.

use crate::{
    Result, binds, kernels, params,
    tensor::{DType, Tensor},
};

kernels! {
    /// One AdamW step.
    ADAMW = "adamw";
}

/// The numbers of one AdamW step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the square root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub decay: f32,
    /// `1 - beta1^step`
    pub correction1: f32,
    /// `1 - beta2^step`
    pub correction2: f32,
    /// Gradients with a larger global norm are scaled down to this one; 0 turns clipping off.
    pub max_norm: f32,
    /// 1 / scale of the gradients in runs that scale them.
    pub unscale: Option<f32>,
}

/// What a step changes, and the gradient; all tensors have the same number of elements, in any shape.
#[derive(Clone, Debug)]
pub struct State {
    /// The parameters.
    pub weight: Tensor,
    /// Their gradient.
    pub gradient: Tensor,
    /// First moments.
    pub m: Tensor,
    /// Second moments.
    pub v: Tensor,
    /// The parameters rounded to f16, if such a copy is kept.
    pub half: Option<Tensor>,
}

/// Updates weights and moments in place; `norm [1]` is the global norm of the unscaled gradients. Nothing changes if that is
/// not finite, so that a run that fails still has the weights it failed with.
///
/// # Errors
/// Returns the driver's errors.
pub fn adamw(step: Step, state: &State, norm: &Tensor) -> Result<()> {
    let gpu = state.weight.gpu();
    let [weights, gradient, m, v] =
        [&state.weight, &state.gradient, &state.m, &state.v].map(|tensor| tensor.reshape(&[tensor.elements()]));
    let (weights, gradient, m, v) = (weights?, gradient?, m?, v?);
    let half = state.half.as_ref().map(|half| half.reshape(&[half.elements()])).transpose()?;
    let stored = half.as_ref().map_or(DType::F32, Tensor::dtype);
    let variant = ADAMW.set("HALF", half.is_some()).set("half_element", stored.vec4());
    let variant = variant.set("SCALED", step.unscale.is_some());
    // An unused binding still needs a buffer; a writable one must differ from all others.
    let spare = if half.is_none() { Some(Tensor::empty_f32(gpu, &[4])?) } else { None };
    for (first, held) in weights.row_pieces() {
        let part = |tensor: &Tensor| tensor.rows(first, held);
        let (weight, gradient, m, v) = (part(&weights)?, part(&gradient)?, part(&m)?, part(&v)?);
        let half = half.as_ref().map(part).transpose()?;
        let count = weight.vectors();
        let binds = binds![
            gradient: gradient.bind4(), norm: norm.bind(), weight: weight.bind4(), m: m.bind4(), v: v.bind4(),
            half: half.as_ref().or(spare.as_ref()).unwrap_or(&m).bind4(),
        ];
        let params = params![
            count: count, lr: step.lr, beta1: step.beta1, beta2: step.beta2, epsilon: step.epsilon, decay: step.decay,
            correction1: step.correction1, correction2: step.correction2, max_norm: step.max_norm,
            unscale: step.unscale.unwrap_or(1.0),
        ];
        gpu.run(&variant, binds, params, gpu.flat_grid(count))?;
    }
    Ok(())
}
