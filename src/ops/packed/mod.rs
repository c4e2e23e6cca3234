//! Weights that stay quantised (or in half precision) in GPU memory, and operations on them.

pub mod layout;
pub mod product;
pub mod rows;
pub mod variants;

use layout::Layout;

use super::require;
use crate::{
    Result,
    formats::Rows,
    gpu::{Bind, Gpu},
    tensor::{DType, Tensor},
};

/// A matrix of packed rows, whole or in pieces: parts of a fused layer may have different formats, and adapters limit
/// the size of a binding. Clones share the memory.
#[derive(Clone, Debug)]
pub struct Packed {
    pieces: Vec<Piece>,
    rows: usize,
    width: usize,
}

/// Consecutive rows in one layout.
#[derive(Clone, Debug)]
pub struct Piece {
    /// `[rows, words]`: the rows, as words; `[rows, width]` of f32 for a [view](Packed::view).
    pub words: Tensor,
    /// How they are laid out.
    pub layout: Layout,
    /// The index of the first row in the matrix.
    pub first: usize,
    /// The number of rows.
    pub rows: usize,
}

/// Bytes laid out on the host at a time.
const CHUNK: usize = 1 << 20;

impl Packed {
    /// Whether rows of this width can be packed: everything is loaded four elements at a time.
    pub fn can_hold(width: usize) -> bool {
        width % 4 == 0
    }

    /// Uploads a matrix given as `parts`, in row order.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the parts differ in width or cannot be packed; [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, parts: &[Rows<'_>]) -> Result<Self> {
        let width = parts.first().map_or(0, |part| part.width);
        require(width > 0 && Self::can_hold(width) && parts.iter().all(|part| part.width == width), "pack", || {
            let widths: Vec<_> = parts.iter().map(|part| part.width).collect();
            format!("rows of {widths:?} elements: give one width, a multiple of 4")
        })?;
        let (mut pieces, mut first) = (Vec::new(), 0);
        let mut rest = parts;
        while let Some(part) = rest.first() {
            let layout = Layout::of(part.format);
            let run = rest.iter().take_while(|part| Layout::of(part.format) == layout).count();
            first = upload(gpu, layout, width, &rest[..run], first, &mut pieces)?;
            rest = &rest[run..];
        }
        Ok(Self { pieces, rows: first, width })
    }

    /// An f32 matrix `[rows, width]` seen as packed rows, without a copy; `None` if the width is not in whole blocks or the
    /// matrix exceeds one binding.
    pub fn view(plain: &Tensor) -> Option<Self> {
        let &[rows, width] = plain.shape() else { return None };
        if width % 32 != 0 || width == 0 || plain.bytes() > plain.gpu().capabilities().binding {
            return None;
        }
        let piece = Piece { words: plain.clone(), layout: Layout::F32, first: 0, rows };
        Some(Self { pieces: vec![piece], rows, width })
    }

    /// Number of rows: outputs of the layer.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements per row: inputs of the layer.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The pieces in row order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        self.pieces[0].words.gpu()
    }

    /// Bytes in GPU memory.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.words.bytes()).sum()
    }
}

impl Piece {
    /// Vectors per row of `width` elements.
    pub fn row_quads(&self, width: usize) -> usize {
        self.layout.row_quads(width)
    }

    /// The buffer range to bind.
    pub fn bind(&self) -> Bind<'_> {
        self.words.bind4()
    }
}

/// Uploads parts of one layout as pieces of at most one binding each; returns the index of the row after them.
fn upload(
    gpu: &Gpu,
    layout: Layout,
    width: usize,
    parts: &[Rows<'_>],
    first: usize,
    pieces: &mut Vec<Piece>,
) -> Result<usize> {
    let row_bytes = layout.row_quads(width) * 16;
    let most = (gpu.capabilities().binding.min(gpu.capabilities().buffer) as usize / row_bytes).max(1);
    let total: usize = parts.iter().map(|part| part.rows).sum();
    let mut rows = parts.iter().flat_map(|part| {
        let stored = part.format.row_bytes(width);
        part.bytes.chunks_exact(stored).map(move |row| (part.format, row))
    });
    for start in (0..total).step_by(most) {
        let held = most.min(total - start);
        let words = Tensor::empty(gpu, &[held, row_bytes / 4], DType::U32)?;
        let at_once = (CHUNK / row_bytes).clamp(1, held);
        let mut bytes = vec![0u8; at_once * row_bytes];
        for from in (0..held).step_by(at_once) {
            let count = at_once.min(held - from);
            let bytes = &mut bytes[..count * row_bytes];
            bytes.fill(0);
            for (out, (format, row)) in bytes.chunks_exact_mut(row_bytes).zip(rows.by_ref()) {
                Layout::pack(format, width, row, out);
            }
            let size = bytes.len() as u64;
            let bind = words.bind();
            gpu.upload(Bind { offset: bind.offset + (from * row_bytes) as u64, size, ..bind }, bytes);
        }
        pieces.push(Piece { words, layout, first: first + start, rows: held });
    }
    Ok(first + total)
}
