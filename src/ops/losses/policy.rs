//! The clipped surrogate loss of PPO (Schulman et al. 2017) and, with a KL term, of GRPO (Shao et al. 2024).

use super::{Loss, RowWeights, expect, require, total};
use crate::{Result, binds, gpu::readback::Readback, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// Terms and slopes of each token.
    POLICY_LOSS = "policy_loss";
}

/// What the log-probabilities of tokens are compared with, one token per row.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// `[rows]`: log-probabilities when the tokens were sampled.
    pub old_logprobs: &'a Tensor,
    /// `[rows]`: how much better than expected each token turned out.
    pub advantages: &'a Tensor,
    /// `[rows]`: which tokens count: those in the responses.
    pub weights: &'a RowWeights,
    /// Ratios count only within `1 - clip..1 + clip`; usually 0.2.
    pub clip: f32,
    /// The reference's log-probabilities `[rows]`, and the coefficient of `exp(d) - d - 1` with `d = log ref - log pi`.
    pub reference: Option<(&'a Tensor, f32)>,
}

/// Weighted mean (over the rows of [`Policy::weights`]) of
/// `max(-A ratio, -A clip(ratio, 1 - c, 1 + c)) + beta (exp(d) - d - 1)` with `ratio = exp(logprobs - old_logprobs)`,
/// for `logprobs [rows]`.
///
/// Log-ratios and `d` are clamped to +-20; clamped values have no gradient. With means over all tokens of a batch this
/// is GRPO with token-normalised means; without a reference it is PPO's loss.
///
/// # Errors
/// [`crate::Error::Shape`] when a tensor is not `[rows]`.
pub fn policy_loss(tape: &Tape, logprobs: &Tensor, policy: Policy<'_>) -> Result<Loss> {
    let (op, gpu, rows) = ("policy_loss", tape.gpu(), logprobs.elements());
    require(rows > 0, op, || "there are no tokens".to_string())?;
    expect(op, "the log-probabilities", logprobs, &[rows])?;
    expect(op, "the old log-probabilities", policy.old_logprobs, &[rows])?;
    expect(op, "the advantages", policy.advantages, &[rows])?;
    expect(op, "the weights", &policy.weights.weights, &[rows])?;
    let (reference, beta) = policy.reference.unwrap_or((logprobs, 0.0));
    expect(op, "the reference's log-probabilities", reference, &[rows])?;
    let (terms, slopes) = (Tensor::empty_f32(gpu, &[rows, 5])?, Tensor::empty_f32(gpu, &[rows])?);
    let binds = binds![
        logprobs: logprobs.bind(), old_logprobs: policy.old_logprobs.bind(), advantages: policy.advantages.bind(),
        reference: reference.bind(), weights: policy.weights.weights.bind(), terms: terms.bind(), slopes: slopes.bind(),
    ];
    let variant = POLICY_LOSS.set("REFERENCE", policy.reference.is_some());
    gpu.run(&variant, binds, params![count: rows, clip: policy.clip, beta: beta], gpu.flat_grid(rows))?;
    total(tape, logprobs, &terms, slopes)
}

/// Means over the counted tokens.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Statistics {
    /// The loss, with its KL term.
    pub loss: f32,
    /// `0.5 (log ratio)^2`: how far the policy has moved since it sampled.
    pub approx_kl: f32,
    /// Share of tokens whose clipped loss was the larger one.
    pub clip_fraction: f32,
    /// Mean ratio; 1 before the first step.
    pub ratio: f32,
    /// `exp(d) - d - 1`, an estimate of KL(policy, reference); 0 without a reference.
    pub reference_kl: f32,
}

impl Statistics {
    /// The statistics in [`Loss::totals`].
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn of(totals: Readback) -> Result<Self> {
        let numbers = totals.numbers::<f32>().await?;
        let at = |column: usize| numbers.get(column).copied().unwrap_or(f32::NAN);
        Ok(Self { loss: at(0), approx_kl: at(1), clip_fraction: at(2), ratio: at(3), reference_kl: at(4) })
    }
}
