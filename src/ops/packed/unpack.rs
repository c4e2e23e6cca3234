//! Packed rows as plain f32.

use super::{Packed, layout::Layout};
use crate::{Result, binds, gpu::Constant, kernels, ops::require, params, tensor::Tensor};

kernels! {
    /// Writes rows as f32.
    PACKED_UNPACK = "packed_unpack";
}

/// Rows `first..first + count` as f32: `[count, width]`.
///
/// # Errors
/// [`crate::Error::Shape`] for rows past the end; [`crate::Error::OutOfMemory`].
pub fn unpack(weights: &Packed, first: usize, count: usize) -> Result<Tensor> {
    let (gpu, width) = (weights.gpu(), weights.width());
    require(first + count <= weights.rows(), "unpack", || {
        format!("rows {first}..{} of {}", first + count, weights.rows())
    })?;
    let out = Tensor::empty_f32(gpu, &[count, width])?;
    let blocks = Layout::blocks(width);
    for (start, held) in out.row_pieces() {
        let piece_out = out.rows(start, held)?;
        for piece in weights.pieces() {
            let (from, to) = (piece.first.max(first + start), (piece.first + piece.rows).min(first + start + held));
            if from >= to {
                continue;
            }
            let rows = to - from;
            let params = params![
                count: rows * blocks, k: width, row_quads: piece.row_quads(width), blocks: blocks,
                start: from - piece.first, out_start: from - first - start,
            ];
            let variant = PACKED_UNPACK.set("format", Constant::File(piece.layout.names().1));
            let binds = binds![weights: piece.bind(), out: piece_out.bind()];
            gpu.run(&variant, binds, params, gpu.flat_grid(rows * blocks))?;
        }
    }
    Ok(out)
}
