//! AdamW.

/// The numbers of a step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub decay: f64,
    /// The step's number, counted from 1.
    pub step: i32,
    /// Maximum gradient norm; 0 for no limit.
    pub max_norm: f64,
}

/// Updates `weight`, `m` and `v` (PyTorch's AdamW after `clip_grad_norm_` with the given global norm).
pub fn adamw(s: Step, weight: &mut [f64], m: &mut [f64], v: &mut [f64], gradient: &[f64], norm: f64) {
    let clip = if s.max_norm > 0.0 { (s.max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
    for i in 0..weight.len() {
        let g = gradient[i] * clip;
        m[i] = s.beta1 * m[i] + (1.0 - s.beta1) * g;
        v[i] = s.beta2 * v[i] + (1.0 - s.beta2) * g * g;
        weight[i] -= s.lr * s.decay * weight[i];
        let (m, v) = (m[i] / (1.0 - s.beta1.powi(s.step)), v[i] / (1.0 - s.beta2.powi(s.step)));
        weight[i] -= s.lr * m / (v.sqrt() + s.epsilon);
    }
}
