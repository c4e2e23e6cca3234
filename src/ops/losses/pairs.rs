//! Log-sigmoid losses over pairs: the reward model's, and DPO's (Rafailov et al. 2023).

use super::{Loss, expect, require, total};
use crate::{Result, binds, gpu::readback::Readback, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// Terms and slopes of each pair.
    PAIR_LOSS = "pair_loss";
}

/// How pairs are compared.
#[derive(Clone, Copy)]
pub struct Pairs<'a> {
    /// Factor of the difference: 1 for rewards, usually 0.1 for DPO.
    pub beta: f32,
    /// `[pairs, 2]`: the reference's numbers, subtracted first, for DPO.
    pub reference: Option<&'a Tensor>,
    /// `[pairs]`: the minimum difference wanted for each pair.
    pub margins: Option<&'a Tensor>,
    /// Coefficient of `(x_chosen + x_rejected)^2`, which keeps rewards centred on zero.
    pub centring: f32,
}

impl<'a> Pairs<'a> {
    /// The reward model's loss: `-log sigmoid(r_chosen - r_rejected)`.
    pub const REWARD: Self = Self { beta: 1.0, reference: None, margins: None, centring: 0.0 };

    /// DPO's loss with the reference's summed log-probabilities `[pairs, 2]`.
    pub fn dpo(beta: f32, reference: &'a Tensor) -> Self {
        Self { beta, reference: Some(reference), ..Self::REWARD }
    }
}

/// Mean over the pairs of `-log sigmoid(beta [(x_c - ref_c) - (x_r - ref_r)] - margin) + centring (x_c + x_r)^2`, for
/// `x [pairs, 2]` (or its elements in this order): chosen, then rejected; rewards, or summed log-probabilities for DPO.
///
/// # Errors
/// [`crate::Error::Shape`] when a tensor is not of this shape.
pub fn pair_loss(tape: &Tape, x: &Tensor, how: Pairs<'_>) -> Result<Loss> {
    let (op, gpu, pairs) = ("pair_loss", tape.gpu(), x.elements() / 2);
    require(pairs > 0 && x.elements() % 2 == 0, op, || format!("{:?} is not pairs", x.shape()))?;
    if let Some(reference) = how.reference {
        expect(op, "the reference", &reference.reshape(&[reference.elements()])?, &[2 * pairs])?;
    }
    if let Some(margins) = how.margins {
        expect(op, "the margins", margins, &[pairs])?;
    }
    let (terms, slopes) = (Tensor::empty_f32(gpu, &[pairs, 5])?, Tensor::empty_f32(gpu, &[pairs, 2])?);
    let binds = binds![
        x: x.bind(), reference: how.reference.unwrap_or(x).bind(), margins: how.margins.unwrap_or(x).bind(),
        terms: terms.bind(), slopes: slopes.bind(),
    ];
    let variant = PAIR_LOSS.set("REFERENCE", how.reference.is_some()).set("MARGINS", how.margins.is_some());
    let params = params![count: pairs, beta: how.beta, centring: how.centring, factor: 1.0 / pairs as f32];
    gpu.run(&variant, binds, params, gpu.flat_grid(pairs))?;
    total(tape, x, &terms, slopes)
}

/// Means over the pairs.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Statistics {
    /// The loss; ln 2 when chosen and rejected are indistinguishable.
    pub loss: f32,
    /// Reward of the chosen minus reward of the rejected. A reward is `beta (x - reference)`.
    pub gap: f32,
    /// Share of pairs in which the chosen has the greater reward.
    pub accuracy: f32,
    /// Reward of the chosen.
    pub chosen: f32,
    /// Reward of the rejected.
    pub rejected: f32,
}

impl Statistics {
    /// The statistics in [`Loss::totals`].
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub async fn of(totals: Readback) -> Result<Self> {
        let numbers = totals.numbers::<f32>().await?;
        let at = |column: usize| numbers.get(column).copied().unwrap_or(f32::NAN);
        Ok(Self { loss: at(0), gap: at(1), accuracy: at(2), chosen: at(3), rejected: at(4) })
    }
}
