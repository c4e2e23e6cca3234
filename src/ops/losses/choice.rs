//! The reward model's loss when people choose the best of n: softmax cross entropy over n rewards (Ziegler et al. 2019).

use super::require;
use crate::{
    Result,
    ops::{
        cross_entropy::Targets,
        head::{self, Reading, Slope},
        reduce,
        row_sum::scale_rows,
        rows::Plan,
    },
    tape::Tape,
    tensor::Tensor,
};

/// Mean over the questions of `-log softmax(rewards)[best]`, as `[1]`, for `rewards [questions, n]` (or its elements in
/// this order) and the index of each question's best answer, `best [questions]`. Questions whose best is ignored do not
/// count.
///
/// # Errors
/// [`crate::Error::Shape`] when the number of rewards is not a multiple of the number of questions.
pub fn choice_loss(tape: &Tape, rewards: &Tensor, best: &Targets) -> Result<Tensor> {
    let (gpu, questions, count) = (tape.gpu(), best.ids.elements(), rewards.elements());
    require(questions > 0 && count % questions == 0, "choice_loss", || {
        format!("{:?} is no table of {questions} questions", rewards.shape())
    })?;
    let table = rewards.reshape(&[questions, count / questions])?;
    let stats = Tensor::empty_f32(gpu, &[questions, 4])?;
    let plan = Plan::choose(gpu, questions, table.width());
    head::accumulate(&table, &best.ids, &stats, 0, Reading::LOSS, plan)?;
    let factor = if best.scored == 0 { 0.0 } else { 1.0 / best.scored as f32 };
    let mean = reduce::sum(&stats, questions, 3, 4, factor, false)?;
    let (ids, rewards_kept) = (best.ids.clone(), rewards.clone());
    tape.push(&[rewards], &mean, move |gradients, gradient| {
        // The kernel works in place, and the rewards may be used elsewhere too.
        let slopes = Tensor::empty_f32(table.gpu(), table.shape())?;
        table.scale_into(&slopes, 1.0, false)?;
        head::backward(&slopes, &ids, &stats, 0, Reading::LOSS, Slope { factor, rows: None }, plan)?;
        let (slot, accumulate) = gradients.slot(&rewards_kept)?;
        scale_rows(&slopes, &gradient, &slot, accumulate)
    });
    Ok(mean)
}
