//! The language-model head in chunks of the vocabulary, shared by cross entropy and token log-probabilities.

use super::{
    expect,
    matmul::{Epilogue, Shape, matmul},
    require,
    rows::Plan,
    weight::Weight,
};
use crate::{
    Result, binds, kernels, params,
    tape::{Gradients, Tape},
    tensor::Tensor,
};

kernels! {
    /// Running log-sum-exp, score of the target, and loss or entropy of each row.
    CROSS_ENTROPY = "cross_entropy";
    /// Turns logits into their gradient, in place.
    CROSS_ENTROPY_BACKWARD = "cross_entropy_backward";
}

/// Maximum bytes of logits in memory at once; larger vocabularies are cut into chunks.
const LOGITS_BYTES: usize = 64 << 20;

/// How the scores `x = scale * logits` are read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// 1 / temperature.
    pub scale: f32,
    /// Whether the last column of the statistics holds the entropy instead of the loss.
    pub entropy: bool,
}

impl Reading {
    /// Cross entropy at temperature 1.
    pub const LOSS: Self = Self { scale: 1.0, entropy: false };
}

/// The derivative of a result with respect to each row's cross entropy: `factor`, times `rows[row]` if given.
#[derive(Clone, Copy)]
pub struct Slope<'a> {
    /// The factor that all rows share.
    pub factor: f32,
    /// `[rows]`
    pub rows: Option<&'a Tensor>,
}

/// A pass over the vocabulary, and what its backward pass needs.
pub(super) struct Head {
    /// `[.., in]`
    x: Tensor,
    /// `[vocabulary, in]`
    weight: Weight,
    need_x: bool,
    /// The same as f32, where its gradient is wanted.
    need_weight: Option<Tensor>,
    /// `[rows]`
    ids: Tensor,
    reading: Reading,
    /// The vocabulary: (first, count).
    chunks: Vec<(usize, usize)>,
    /// The logits `[rows, vocabulary]` if one chunk holds them all; several chunks are computed again.
    kept: Option<Tensor>,
    /// `[rows, 4]`; see `cross_entropy.wgsl`.
    pub stats: Tensor,
}

impl Head {
    /// Computes the statistics of the scores `x weight^T` of every row against the target `ids [rows]`, for `x [..,
    /// in]` and `weight [vocabulary, in]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when rows or widths disagree.
    pub fn read(
        tape: &Tape,
        op: &'static str,
        x: &Tensor,
        weight: Weight,
        ids: &Tensor,
        reading: Reading,
    ) -> Result<Self> {
        let (gpu, rows) = (tape.gpu(), x.height());
        expect(op, "the targets", ids, &[rows])?;
        require(rows > 0 && weight.width() == x.width(), op, || {
            format!("x {:?}, the head's weight [{}, {}]", x.shape(), weight.rows(), weight.width())
        })?;
        let chunks = chunks(&weight, rows);
        let stats = Tensor::empty_f32(gpu, &[rows, 4])?;
        let mut kept = None;
        for &(first, held) in &chunks {
            let logits = chunk_logits(x, &weight, first, held)?;
            accumulate(&logits, ids, &stats, first, reading, Plan::choose(gpu, rows, held))?;
            kept = Some(logits);
        }
        if chunks.len() > 1 {
            kept = None;
        }
        let (need_x, need_weight) = (tape.tracks(x), weight.tracked(tape));
        Ok(Self { x: x.clone(), weight, need_x, need_weight, ids: ids.clone(), reading, chunks, kept, stats })
    }

    /// The tensors that may get a gradient.
    pub fn inputs(&self) -> Vec<Tensor> {
        [self.x.clone()].into_iter().chain(self.need_weight.clone()).collect()
    }

    /// Adds the gradients of `x` and of the weight.
    ///
    /// # Errors
    /// Returns the driver's errors.
    pub fn backward(mut self, gradients: &mut Gradients, slope: Slope<'_>) -> Result<()> {
        let (x, weight, rows) = (&self.x, &self.weight, self.x.height());
        for (first, held) in self.chunks {
            let logits = self.kept.take().map_or_else(|| chunk_logits(x, weight, first, held), Ok)?;
            let plan = Plan::choose(x.gpu(), rows, held);
            backward(&logits, &self.ids, &self.stats, first, self.reading, slope, plan)?;
            if self.need_x {
                let (slot, accumulate) = gradients.slot(x)?;
                let epilogue = Epilogue { accumulate, ..Epilogue::default() };
                let piece = weight.operand_rows(x, first, held)?;
                matmul(Shape::new(rows, x.width(), held), &logits, &piece, &slot, epilogue)?;
            }
            if let Some(weight) = &self.need_weight {
                // The first chunk decides whether the whole gradient is overwritten or added to.
                let (slot, accumulate) = gradients.slot_part(weight, first != 0)?;
                let epilogue = Epilogue { accumulate, ..Epilogue::default() };
                let piece = slot.rows(first, held)?;
                matmul(Shape::new(held, x.width(), rows).trans_a(), &logits, x, &piece, epilogue)?;
            }
        }
        Ok(())
    }
}

/// Cuts the vocabulary into chunks that can be bound and whose logits stay small: (first, count).
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
    matmul(shape, x, &weight.operand_rows(x, first, held)?, &logits, Epilogue::default())?;
    Ok(logits)
}

/// Adds one chunk of `logits [rows, held]` (ids from `first` on) for `targets [rows]` to `stats [rows, 4]`.
///
/// # Errors
/// [`crate::Error::Shape`].
pub fn accumulate(
    logits: &Tensor,
    targets: &Tensor,
    stats: &Tensor,
    first: usize,
    reading: Reading,
    plan: Plan,
) -> Result<()> {
    let (gpu, rows) = (logits.gpu(), logits.height());
    expect("cross_entropy", "the statistics", stats, &[rows, 4])?;
    let binds = binds![logits: logits.bind(), targets: targets.bind(), stats: stats.bind()];
    let params = params![rows: rows, width: logits.width(), first: first, scale: reading.scale];
    let variant = plan.variant(&CROSS_ENTROPY, logits.width()).set("ENTROPY", reading.entropy);
    gpu.run(&variant, binds, params, plan.grid(gpu, rows))
}

/// Turns one chunk of `logits [rows, held]` (ids from `first` on) into the gradient of `slope` times their rows' cross
/// entropy, in place, with a given plan, from `targets [rows]` and `stats [rows, 4]`.
///
/// # Errors
/// [`crate::Error::Shape`] when the slopes are not one per row.
pub fn backward(
    logits: &Tensor,
    targets: &Tensor,
    stats: &Tensor,
    first: usize,
    reading: Reading,
    slope: Slope<'_>,
    plan: Plan,
) -> Result<()> {
    let (gpu, rows) = (logits.gpu(), logits.height());
    if let Some(slopes) = slope.rows {
        let len = slopes.elements();
        require(len == rows, "cross_entropy_backward", || format!("{len} slopes of {:?}", logits.shape()))?;
    }
    let binds = binds![
        targets: targets.bind(), stats: stats.bind(), slopes: slope.rows.unwrap_or(stats).bind(), logits: logits.bind(),
    ];
    let factor = reading.scale * slope.factor;
    let params = params![rows: rows, width: logits.width(), first: first, scale: reading.scale, factor: factor];
    let variant = plan.variant(&CROSS_ENTROPY_BACKWARD, logits.width()).set("BY_ROW", slope.rows.is_some());
    gpu.run(&variant, binds, params, plan.grid(gpu, rows))
}
