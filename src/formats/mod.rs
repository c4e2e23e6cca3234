//! How tensors are stored in files: number formats, blocks of quantised values, GGUF files.

mod format;

pub mod blocks;
pub mod gguf;

use std::borrow::Cow;

pub use blocks::{dequantise, quantise};
pub use format::Format;
pub use gguf::GgufFile;

/// A matrix as it lies in a file.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    /// How its elements are stored.
    pub format: Format,
    /// How many rows; 1 for a vector. A tensor of more dimensions counts all but the innermost here.
    pub rows: usize,
    /// Elements per row, in whole blocks.
    pub width: usize,
    /// `rows * format.row_bytes(width)` bytes.
    pub bytes: Cow<'a, [u8]>,
}

impl Rows<'_> {
    /// Elements in all.
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
