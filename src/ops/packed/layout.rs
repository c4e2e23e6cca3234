//! How packed weights are laid out in GPU memory: rows of 16-byte vectors, in blocks of 32 or 256 elements.
//!
//! Quantised values keep the bits of the file. Two things change: formats whose blocks are not whole vectors keep their
//! quantised values and their scales in separate planes of a row (`shaders/lib/weights_*.wgsl` have the details), and
//! the symmetric Q4_0 and Q5_0 are rewritten as `d * q + m` with the same value, so that one kernel serves both kinds.

use half::f16;

use crate::formats::Format;

/// A kind of packed row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Plain f32.
    F32,
    /// Plain f16.
    F16,
    /// Plain bf16.
    BF16,
    /// Q8_0.
    Q8,
    /// Q4_0 and Q4_1.
    Q4,
    /// Q5_0 and Q5_1.
    Q5,
    /// Q4_K.
    Q4K,
    /// Q5_K.
    Q5K,
    /// Q6_K.
    Q6K,
}

/// Bytes per vector.
const QUAD: usize = 16;

impl Layout {
    /// Every layout.
    pub const ALL: [Self; 9] =
        [Self::F32, Self::F16, Self::BF16, Self::Q8, Self::Q4, Self::Q5, Self::Q4K, Self::Q5K, Self::Q6K];

    /// The layout that holds `format`.
    pub fn of(format: Format) -> Self {
        match format {
            Format::F32 => Self::F32,
            Format::F16 => Self::F16,
            Format::BF16 => Self::BF16,
            Format::Q8_0 => Self::Q8,
            Format::Q4_0 | Format::Q4_1 => Self::Q4,
            Format::Q5_0 | Format::Q5_1 => Self::Q5,
            Format::Q4K => Self::Q4K,
            Format::Q5K => Self::Q5K,
            Format::Q6K => Self::Q6K,
        }
    }

    /// The layout's name, and the shader file that unpacks it.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::F32 => ("f32", "lib/weights_f32.wgsl"),
            Self::F16 => ("f16", "lib/weights_f16.wgsl"),
            Self::BF16 => ("bf16", "lib/weights_bf16.wgsl"),
            Self::Q8 => ("q8", "lib/weights_q8.wgsl"),
            Self::Q4 => ("q4", "lib/weights_q4.wgsl"),
            Self::Q5 => ("q5", "lib/weights_q5.wgsl"),
            Self::Q4K => ("q4_k", "lib/weights_q4_k.wgsl"),
            Self::Q5K => ("q5_k", "lib/weights_q5_k.wgsl"),
            Self::Q6K => ("q6_k", "lib/weights_q6_k.wgsl"),
        }
    }

    /// Blocks of 32 elements in a row; the last one may be padded with zeros.
    pub fn blocks(width: usize) -> usize {
        width.div_ceil(32)
    }

    /// Vectors in a row of `width` elements.
    pub fn row_quads(self, width: usize) -> usize {
        let (blocks, fourths) = (Self::blocks(width), Self::blocks(width).div_ceil(4));
        match self {
            Self::F32 => blocks * 8,
            Self::F16 | Self::BF16 => blocks * 4,
            Self::Q8 => blocks * 2 + fourths,
            Self::Q4 => blocks + fourths,
            Self::Q5 => blocks + 2 * fourths,
            Self::Q4K => width / 256 * 9,
            Self::Q5K => width / 256 * 11,
            Self::Q6K => width / 256 * 14,
        }
    }

    /// Lays out one row of `format`, which [`Layout::of`] maps to this layout. `out` must hold zeros.
    ///
    /// # Panics
    /// If `row` or `out` does not have the size of a row.
    pub fn pack(format: Format, width: usize, row: &[u8], out: &mut [u8]) {
        let blocks = Self::blocks(width);
        let scales = |quads: usize| quads * QUAD;
        match format {
            Format::F32 | Format::F16 | Format::BF16 | Format::Q4K | Format::Q5K => {
                out[..row.len()].copy_from_slice(row);
            }
            Format::Q6K => {
                for (block, out) in row.as_chunks::<210>().0.iter().zip(out.as_chunks_mut::<{ 14 * QUAD }>().0) {
                    out[..210].copy_from_slice(block);
                }
            }
            Format::Q8_0 => {
                let (quants, pairs) = out.split_at_mut(scales(2 * blocks));
                for (i, block) in row.as_chunks::<34>().0.iter().enumerate() {
                    quants[32 * i..][..32].copy_from_slice(&block[2..]);
                    pairs[4 * i..][..2].copy_from_slice(&block[..2]);
                }
            }
            Format::Q4_0 | Format::Q4_1 => {
                let (quants, pairs) = out.split_at_mut(scales(blocks));
                for (i, block) in row.chunks_exact(format.block_bytes()).enumerate() {
                    let (pair, rest) = pair_of(format, block);
                    quants[16 * i..][..16].copy_from_slice(rest);
                    pairs[4 * i..][..4].copy_from_slice(&pair);
                }
            }
            Format::Q5_0 | Format::Q5_1 => {
                let (quants, rest) = out.split_at_mut(scales(blocks));
                let (fifths, pairs) = rest.split_at_mut(scales(blocks.div_ceil(4)));
                for (i, block) in row.chunks_exact(format.block_bytes()).enumerate() {
                    let (pair, rest) = pair_of(format, block);
                    fifths[4 * i..][..4].copy_from_slice(&rest[..4]);
                    quants[16 * i..][..16].copy_from_slice(&rest[4..]);
                    pairs[4 * i..][..4].copy_from_slice(&pair);
                }
            }
        }
    }
}

/// The (d, m) of a block and the rest of the block. `d * (q - z)` is `d * q + m` with `m = -z * d`, which is exact in
/// f16 because z is a power of two (for every d below 4096).
fn pair_of(format: Format, block: &[u8]) -> ([u8; 4], &[u8]) {
    let offset = match format {
        Format::Q4_0 => -8.0,
        Format::Q5_0 => -16.0,
        _ => return ([block[0], block[1], block[2], block[3]], &block[4..]),
    };
    let d = f16::from_le_bytes([block[0], block[1]]);
    let [low, high] = f16::from_f32(d.to_f32() * offset).to_le_bytes();
    ([block[0], block[1], low, high], &block[2..])
}
