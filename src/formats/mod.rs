//! How tensors are stored in files: number formats, blocks of quantised values, GGUF files.

mod format;

pub mod blocks;
pub mod gguf;

use std::borrow::Cow;

pub use blocks::{dequantise, quantise};
pub use format::Format;
pub use gguf::GgufFile;

/// A matrix as it is stored in a file.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    /// How its elements are stored.
    pub format: Format,
    /// Number of rows; 1 for a vector. For tensors with more dimensions, the product of all but the innermost.
    pub rows: usize,
    /// Elements per row, a multiple of the block size.
    pub width: usize,
    /// `rows * format.row_bytes(width)` bytes.
    pub bytes: Cow<'a, [u8]>,
}

impl Rows<'_> {
    /// Total number of elements.
    pub fn elements(&self) -> usize {
        self.rows * self.width
    }

    /// All elements as f32, row by row.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.elements()];
        dequantise(self.format, &self.bytes, &mut values);
        values
    }
}
