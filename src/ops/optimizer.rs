//! The optimizer's kernel.

use super::flat_grid;
use crate::{Result, binds, kernels, params, tensor::Tensor};

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
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay.
    pub decay: f32,
    /// `1 - beta1^step`
    pub correction1: f32,
    /// `1 - beta2^step`
    pub correction2: f32,
    /// Gradients are scaled down to this global norm; 0 leaves them.
    pub max_norm: f32,
}

/// What a step changes, and the gradient: tensors of one size.
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
}

/// Updates weights and moments in place; `norm` is the global gradient norm.
///
/// # Errors
/// Those of the driver.
pub fn adamw(step: Step, state: &State, norm: &Tensor) -> Result<()> {
    let gpu = state.weight.gpu();
    let [weights, gradients, m, v] = [&state.weight, &state.gradient, &state.m, &state.v].map(Tensor::flat_pieces);
    for ((weight, gradient), (m, v)) in weights?.iter().zip(&gradients?).zip(m?.iter().zip(&v?)) {
        let count = weight.vectors();
        let binds = binds![
            gradient: gradient.bind4(), norm: norm.bind(), weight: weight.bind4(), m: m.bind4(), v: v.bind4(),
        ];
        let params = params![
            count: count, lr: step.lr, beta1: step.beta1, beta2: step.beta2, epsilon: step.epsilon, decay: step.decay,
            correction1: step.correction1, correction2: step.correction2, max_norm: step.max_norm,
        ];
        gpu.run(&ADAMW.plain(), binds, params, flat_grid(gpu, count))?;
    }
    Ok(())
}
