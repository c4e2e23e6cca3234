//! Rows of a packed matrix as f32: those that tokens name, and those of a range.

use super::{Packed, layout::Layout};
use crate::{
    Result, binds,
    gpu::Constant,
    kernels,
    ops::{embedding::Tokens, expect, require},
    params,
    tensor::Tensor,
};

kernels! {
    /// Looks packed rows up and adds positions.
    EMBED_PACKED = "embed_packed";
    /// Writes rows as f32.
    PACKED_UNPACK = "packed_unpack";
}

/// `table[id] (+ positions[past + t])` for every token, like [`crate::ops::embedding::embed`]: `[batch, context, width]`,
/// from `table [vocabulary, width]` and `positions [places, width]`.
///
/// # Errors
/// [`crate::Error::Shape`] when the tables' widths differ or a position is past its table.
pub fn embed(tokens: &Tokens, table: &Packed, positions: Option<&Tensor>, past: usize) -> Result<Tensor> {
    let (gpu, ids) = (table.gpu(), &tokens.ids);
    let (batch, context, width) = (ids.shape()[0], ids.shape()[1], table.width());
    if let Some(positions) = positions {
        expect("embed", "the position table", positions, &[positions.shape()[0], width])?;
        require(past + context <= positions.shape()[0], "embed", || {
            format!("position {} is past the table's {}", past + context - 1, positions.shape()[0])
        })?;
    }
    let out = Tensor::empty_f32(gpu, &[batch, context, width])?;
    let blocks = Layout::blocks(width);
    let count = batch * context * blocks;
    for piece in table.pieces() {
        let variant = EMBED_PACKED
            .set("format", Constant::File(piece.layout.names().1))
            .set("POSITIONS", positions.is_some())
            .set("SEGMENTS", tokens.segments.is_some());
        let positions = positions.map_or(piece.bind(), Tensor::bind);
        let starts = tokens.segments.as_ref().unwrap_or(ids).bind();
        let binds = binds![
            ids: ids.bind(), weights: piece.bind(), positions: positions, starts: starts, out: out.bind(),
        ];
        let params = params![
            count: count, k: width, row_quads: piece.row_quads(width), blocks: blocks,
            first: piece.first, held: piece.rows, context: context, past: past,
        ];
        gpu.run(&variant, binds, params, gpu.flat_grid(count))?;
    }
    Ok(out)
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
