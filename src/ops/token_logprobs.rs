//! Log-probabilities of given tokens, and the entropy of their distributions.

use super::{
    cross_entropy::Targets,
    expect,
    head::{Head, Reading, Slope},
    require,
    weight::Weight,
};
use crate::{Result, binds, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// Turns statistics of the scores into log-probability and entropy.
    TOKEN_LOGPROBS = "token_logprobs";
}

/// What [`token_logprobs`] computes.
pub struct TokenLogprobs {
    /// `[rows]`: log-probability of each row's target, 0 if it is ignored. Gradients flow through it.
    pub logprobs: Tensor,
    /// `[rows]`: entropy of each row's distribution in nats, 0 if the target is ignored. No gradient.
    pub entropies: Tensor,
}

/// Log-probability of each of `targets [rows]` under `softmax(x weight^T / temperature)`, for `x [.., in]` (hidden
/// states) and `weight [vocabulary, in]` (a model's head), and the entropy of that distribution.
///
/// The vocabulary is processed in chunks, as in [`super::cross_entropy::head_loss`]. Sampling must use the same
/// temperature and no cut-offs, or ratios and KL belong to other distributions.
///
/// # Errors
/// [`crate::Error::Shape`] when rows or widths disagree, or the temperature is not positive.
pub fn token_logprobs(
    tape: &Tape,
    x: &Tensor,
    weight: impl Into<Weight>,
    targets: &Targets,
    temperature: f32,
) -> Result<TokenLogprobs> {
    require(temperature.is_finite() && temperature > 0.0, "token_logprobs", || {
        format!("the temperature is {temperature}, it must be positive")
    })?;
    let reading = Reading { scale: 1.0 / temperature, entropy: true };
    let head = Head::read(tape, "token_logprobs", x, weight.into(), &targets.ids, reading)?;
    let result = finish(&head.stats, &targets.ids)?;
    let inputs = head.inputs();
    tape.push(&inputs.iter().collect::<Vec<_>>(), &result.logprobs, move |gradients, gradient| {
        // A log-probability is minus its row's cross entropy.
        head.backward(gradients, Slope { factor: -1.0, rows: Some(&gradient) })
    });
    Ok(result)
}

/// The result, from the statistics `[rows, 4]` of the whole vocabulary, read with `entropy`, for the targets
/// `ids [rows]`.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn finish(stats: &Tensor, ids: &Tensor) -> Result<TokenLogprobs> {
    let (gpu, rows) = (stats.gpu(), ids.elements());
    expect("token_logprobs", "the statistics", stats, &[rows, 4])?;
    let (logprobs, entropies) = (Tensor::empty_f32(gpu, &[rows])?, Tensor::empty_f32(gpu, &[rows])?);
    let binds =
        binds![targets: ids.bind(), stats: stats.bind(), logprobs: logprobs.bind(), entropies: entropies.bind()];
    gpu.run(&TOKEN_LOGPROBS.plain(), binds, params![count: rows], gpu.flat_grid(rows))?;
    Ok(TokenLogprobs { logprobs, entropies })
}
