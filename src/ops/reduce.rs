//! Sums: columns, scalars, squares. Without atomics, so the order of additions never changes.

use super::{
    expect, require,
    rows::{by_elements, elements, stored},
};
use crate::{Result, binds, gpu::Gpu, kernels, params, tensor::Tensor};

kernels! {
    /// Sums of columns, over rows.
    COLUMN_SUM = "column_sum";
    /// One sum over all elements.
    SUM = "sum";
    /// Sums of squares by block.
    SQUARE_SUM = "square_sum";
}

/// Minimum number of rows that one invocation sums when the work is cut into chunks. Chunks keep the GPU busy, because
/// there is only one invocation for four columns.
const CHUNK_ROWS: usize = 32;
/// Maximum number of rows summed without chunks, and of chunks as long as no chunk has more rows than this.
const MOST_ROWS: usize = 256;
/// Lanes of the one-workgroup sums.
const SUM_LANES: u32 = 256;
/// Elements per block of [`square_sums`].
pub const SQUARE_BLOCK: usize = 16384;

/// `out[columns] (+)= sum over rows of x[rows, columns]`, in chunks of rows if there are many.
///
/// # Errors
/// [`crate::Error::Shape`] when `out` does not have as many columns as `x`.
pub fn column_sum(x: &Tensor, out: &Tensor, accumulate: bool) -> Result<()> {
    let columns = out.elements();
    require(columns > 0 && x.elements() % columns == 0, "column_sum", || {
        format!("{:?} has no {columns} columns", x.shape())
    })?;
    let rows = x.elements() / columns;
    if rows <= MOST_ROWS {
        return column_sum_pass(x, out, rows, columns, rows, accumulate);
    }
    let chunk = chunk_rows(rows);
    let partial = Tensor::empty_f32(x.gpu(), &[rows.div_ceil(chunk), columns])?;
    column_sum_pass(x, &partial, rows, columns, chunk, false)?;
    column_sum(&partial, out, accumulate)
}

/// Rows per chunk: few, so that there are many chunks, but not more chunks than one more pass can sum.
pub(super) fn chunk_rows(rows: usize) -> usize {
    rows.div_ceil(MOST_ROWS).clamp(CHUNK_ROWS, MOST_ROWS)
}

fn column_sum_pass(
    x: &Tensor,
    out: &Tensor,
    rows: usize,
    width: usize,
    chunk_rows: usize,
    accumulate: bool,
) -> Result<()> {
    let (gpu, each) = (x.gpu(), elements(width));
    let (columns, count) = (width / each, out.elements() / each);
    let params = params![count: count, rows: rows, columns: columns, chunk_rows: chunk_rows, accumulate: accumulate];
    gpu.run(
        &by_elements(COLUMN_SUM.set("x_element", stored(x.dtype(), width)), width),
        binds![x: x.bind(), out: out.bind()],
        params,
        gpu.flat_grid(count),
    )
}

/// `factor * sum of x[first + stride i]`, `i < count`, over the elements of `x` in order, or its square root if `root`:
/// `[1]`.
///
/// # Errors
/// [`crate::Error::Shape`] when the range is not within `x`.
pub fn sum(x: &Tensor, count: usize, first: usize, stride: usize, factor: f32, root: bool) -> Result<Tensor> {
    let inside = count == 0 || first + stride * (count - 1) < x.elements();
    require(inside, "sum", || format!("{count} elements by {stride} from {first} of {:?}", x.shape()))?;
    let gpu = x.gpu();
    let out = Tensor::empty_f32(gpu, &[1])?;
    let variant = SUM.set("LANES", SUM_LANES).set("ROWS", 1).set("ROOT", root);
    let params = params![count: count, first: first, stride: stride, factor: factor];
    gpu.run(&variant, binds![x: x.bind(), out: out.bind()], params, [1, 1, 1])?;
    Ok(out)
}

/// The number of blocks that [`square_sums`] writes for a tensor.
pub fn square_blocks(x: &Tensor) -> Result<usize> {
    Ok(x.flat_pieces()?.iter().map(|piece| piece.elements().div_ceil(SQUARE_BLOCK)).sum())
}

/// Writes the sum of squares of each block of `x`, of any shape, to `sums [slots]` from `slot` on; returns the next
/// free slot.
///
/// # Errors
/// Returns the driver's errors.
pub fn square_sums(x: &Tensor, sums: &Tensor, mut slot: usize) -> Result<usize> {
    let gpu = x.gpu();
    let variant = SQUARE_SUM.set("LANES", 64).set("ROWS", 1);
    for piece in x.flat_pieces()? {
        let blocks = piece.elements().div_ceil(SQUARE_BLOCK);
        let params = params![count: piece.elements(), slot: slot];
        gpu.run(&variant, binds![x: piece.bind4(), sums: sums.bind()], params, [blocks as u32, 1, 1])?;
        slot += blocks;
    }
    Ok(slot)
}

/// The norm of all `tensors` together, `factor sqrt(sum of squares)`, as `[1]`.
///
/// # Errors
/// Returns the driver's errors.
pub fn global_norm(gpu: &Gpu, tensors: &[&Tensor], factor: f32) -> Result<Tensor> {
    let mut blocks = 0;
    for tensor in tensors {
        blocks += square_blocks(tensor)?;
    }
    let sums = Tensor::empty_f32(gpu, &[blocks.max(1)])?;
    let mut slot = 0;
    for tensor in tensors {
        slot = square_sums(tensor, &sums, slot)?;
    }
    expect("global_norm", "the sums", &sums, &[slot.max(1)])?;
    sum(&sums, slot, 0, 1, factor * factor, true)
}
