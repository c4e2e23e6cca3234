//! The loss of a model, without learning.

use std::collections::VecDeque;

use crate::{
    Result,
    gpu::Gpu,
    model::{Model, gpt::Pass},
    ops::cross_entropy::Targets,
    tape::Tape,
    text::batches::Batch,
    train::trainer,
};

/// Number of batches recorded ahead of the one that is read.
const AHEAD: usize = 4;

/// The mean loss over `batches`, each weighted by its number of tokens; `progress` is called with the number of batches
/// done.
///
/// # Errors
/// Returns the errors of the batches and of the driver.
pub async fn mean_loss(
    gpu: &Gpu,
    model: &impl Model,
    batches: impl Iterator<Item = Result<Batch>>,
    progress: impl FnMut(usize),
) -> Result<f64> {
    let (total, tokens) = sum_of_losses(gpu, model, batches, progress).await?;
    Ok(total / tokens.max(1) as f64)
}

/// The sum of the losses of all scored tokens in `batches`, and the number of those tokens; `progress` is called with
/// the number of batches done.
///
/// # Errors
/// Same as [`mean_loss`].
pub async fn sum_of_losses(
    gpu: &Gpu,
    model: &impl Model,
    batches: impl Iterator<Item = Result<Batch>>,
    mut progress: impl FnMut(usize),
) -> Result<(f64, usize)> {
    let tape = Tape::off(gpu);
    let (mut total, mut tokens, mut done) = (0.0, 0, 0);
    let mut ahead = VecDeque::new();
    let mut batches = batches.fuse();
    loop {
        if let Some(batch) = batches.next().transpose()? {
            let inputs = trainer::tokens(gpu, &batch, false)?;
            let targets = Targets::new(gpu, &batch.targets)?;
            let output = model.forward(&tape, &inputs, Pass::default())?;
            let loss = model.loss(&tape, &output, &targets, 1.0)?;
            ahead.push_back((loss.read(), targets.scored));
            gpu.submit()?;
            if ahead.len() < AHEAD {
                continue;
            }
        }
        let Some((loss, scored)) = ahead.pop_front() else { break };
        total += f64::from(loss.numbers::<f32>().await?[0]) * scored as f64;
        tokens += scored;
        done += 1;
        progress(done);
    }
    Ok((total, tokens))
}
