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

/// Updates `weight` and the moments `m` and `v` in place; `norm` is the global gradient norm.
///
/// # Errors
/// Those of the driver.
pub fn adamw(step: Step, weight: &Tensor, gradient: &Tensor, m: &Tensor, v: &Tensor, norm: &Tensor) -> Result<()> {
    let gpu = weight.gpu();
    let pieces = weight.flat_pieces()?.into_iter().zip(gradient.flat_pieces()?);
    for ((weight, gradient), (m, v)) in pieces.zip(m.flat_pieces()?.into_iter().zip(v.flat_pieces()?)) {
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
