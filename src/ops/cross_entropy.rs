//! The language-model head and its loss in one: logits exist for one chunk of the vocabulary at a time.

use super::{
    expect, flat_grid,
    matmul::{Epilogue, Shape, matmul},
    reduce, require,
    rows::Plan,
    weight::Weight,
};
use crate::{Result, binds, gpu::Gpu, kernels, params, tape::Tape, tensor::Tensor};

kernels! {
    /// Running log-sum-exp and target logit of each row.
    CROSS_ENTROPY = "cross_entropy";
    /// Logits to their gradient, in place.
    CROSS_ENTROPY_BACKWARD = "cross_entropy_backward";
}

/// The target id of a position that is not scored.
pub const IGNORED: u32 = u32::MAX;

/// Logits in memory at once, in bytes; a larger vocabulary is cut into chunks.
const LOGITS_BYTES: usize = 64 << 20;

/// Targets and how many of them are scored.
#[derive(Clone)]
pub struct Targets {
    /// `[rows]` of u32.
    pub ids: Tensor,
    /// Number of targets that are not [`IGNORED`].
    pub scored: usize,
}

impl Targets {
    /// Uploads target ids.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, ids: &[u32]) -> Result<Self> {
        let scored = ids.iter().filter(|&&id| id != IGNORED).count();
        Ok(Self { ids: Tensor::from_u32(gpu, &[ids.len()], ids)?, scored })
    }
}

/// What [`head_loss`] computes.
pub struct Loss {
    /// Mean negative log-likelihood over the scored targets, 0 without any: one element.
    pub mean: Tensor,
    /// `[rows, 4]`; the last column is each row's loss.
    pub stats: Tensor,
}

/// Cross entropy of `x weight^T` against `targets`, for `x [.., in]`, `weight [vocabulary, in]`.
///
/// `factor` scales the gradient, not the reported mean (1 / number of accumulated micro-batches). With one chunk the
/// logits are kept for the backward pass, with more they are computed again.
///
/// # Errors
/// [`crate::Error::Shape`] when rows or widths disagree.
pub fn head_loss(tape: &Tape, x: &Tensor, weight: impl Into<Weight>, targets: &Targets, factor: f32) -> Result<Loss> {
    let (gpu, rows, weight) = (tape.gpu(), x.height(), weight.into());
    expect("cross_entropy", "the targets", &targets.ids, &[rows])?;
    require(weight.width() == x.width(), "cross_entropy", || {
        format!("x {:?}, the head's weight [{}, {}]", x.shape(), weight.rows(), weight.width())
    })?;
    let chunks = chunks(&weight, rows);
    let stats = Tensor::empty_f32(gpu, &[rows, 4])?;
    let mut kept = None;
    for &(first, held) in &chunks {
        let logits = chunk_logits(x, &weight, first, held)?;
        accumulate(&logits, &targets.ids, &stats, first, Plan::choose(gpu, rows, held))?;
        kept = Some(logits);
    }
    let mean_factor = if targets.scored == 0 { 0.0 } else { 1.0 / targets.scored as f32 };
    let mean = reduce::sum(&stats, rows, 3, 4, mean_factor, false)?;
    if chunks.len() > 1 {
        kept = None;
    }
    let (need_x, need_weight) = (tape.tracks(x), weight.tracked(tape));
    let inputs: Vec<_> = [x.clone()].into_iter().chain(need_weight.clone()).collect();
    let (x, ids, stats_kept) = (x.clone(), targets.ids.clone(), stats.clone());
    tape.push(&inputs.iter().collect::<Vec<_>>(), &mean, move |gradients, _| {
        for (first, held) in chunks {
            let logits = kept.take().map_or_else(|| chunk_logits(&x, &weight, first, held), Ok)?;
            backward(&logits, &ids, &stats_kept, first, mean_factor * factor)?;
            if need_x {
                let (slot, accumulate) = gradients.slot(&x)?;
                let epilogue = Epilogue { accumulate, ..Epilogue::default() };
                let piece = weight.plain_rows(first, held)?;
                matmul(Shape::new(rows, x.width(), held), &logits, &piece, &slot, epilogue)?;
            }
            if let Some(weight) = &need_weight {
                // The first chunk decides whether the whole gradient is new or added to.
                let (slot, accumulate) = gradients.slot_part(weight, first != 0)?;
                let epilogue = Epilogue { accumulate, ..Epilogue::default() };
                let piece = slot.rows(first, held)?;
                matmul(Shape::new(held, x.width(), rows).trans_a(), &logits, &x, &piece, epilogue)?;
            }
        }
        Ok(())
    });
    Ok(Loss { mean, stats })
}

/// The vocabulary in chunks that can be bound and whose logits stay small: (first, count).
fn chunks(weight: &Weight, rows: usize) -> Vec<(usize, usize)> {
    let most = (LOGITS_BYTES / (rows * 4) / 64 * 64).max(64);
    let pieces = weight.row_pieces();
    let cut = |&(first, held): &(usize, usize)| {
        (0..held).step_by(most).map(move |start| (first + start, most.min(held - start))).collect::<Vec<_>>()
    };
    pieces.iter().flat_map(cut).collect()
}

fn chunk_logits(x: &Tensor, weight: &Weight, first: usize, held: usize) -> Result<Tensor> {
    let logits = Tensor::empty_f32(x.gpu(), &[x.height(), held])?;
    let shape = Shape::new(x.height(), held, x.width()).trans_b();
    matmul(shape, x, &weight.plain_rows(first, held)?, &logits, Epilogue::default())?;
    Ok(logits)
}

/// Takes one chunk of logits (ids from `first` on) into `stats [rows, 4]`.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn accumulate(logits: &Tensor, targets: &Tensor, stats: &Tensor, first: usize, plan: Plan) -> Result<()> {
    let (gpu, rows) = (logits.gpu(), logits.height());
    expect("cross_entropy", "the statistics", stats, &[rows, 4])?;
    let binds = binds![logits: logits.bind(), targets: targets.bind(), stats: stats.bind()];
    let params = params![rows: rows, width: logits.width(), first: first];
    gpu.run(&plan.variant(&CROSS_ENTROPY), binds, params, plan.grid(gpu, rows))
}

/// Turns one chunk of logits into their gradient, in place.
///
/// # Errors
/// Those of the driver.
pub fn backward(logits: &Tensor, targets: &Tensor, stats: &Tensor, first: usize, factor: f32) -> Result<()> {
    let (gpu, count) = (logits.gpu(), logits.elements());
    let binds = binds![targets: targets.bind(), stats: stats.bind(), logits: logits.bind()];
    let params = params![count: count, width: logits.width(), first: first, factor: factor];
    gpu.run(&CROSS_ENTROPY_BACKWARD.plain(), binds, params, flat_grid(gpu, count))
}
