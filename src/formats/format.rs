//! The number formats of tensors in files, by their ggml names.

use std::fmt;

/// How a tensor's elements are stored.
///
/// A row is stored as whole blocks of [`Format::block`] elements; F32, F16 and BF16 have blocks of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// `d * q`, q a signed 8-bit integer.
    Q8_0,
    /// `d * (q - 8)`, 4-bit q.
    Q4_0,
    /// `d * q + m`, 4-bit q.
    Q4_1,
    /// `d * (q - 16)`, 5-bit q.
    Q5_0,
    /// `d * q + m`, 5-bit q.
    Q5_1,
    /// `d * scale * q - dmin * min`, 4-bit q, 6-bit scale and min for each 32 of 256 elements.
    Q4K,
    /// Like Q4K, with 5-bit q.
    Q5K,
    /// `d * scale * (q - 32)`, 6-bit q, 8-bit scale for each 16 of 256 elements.
    Q6K,
}

impl Format {
    /// Every format, from the most exact to the coarsest.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q6K,
        Self::Q5K,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q4K,
        Self::Q4_1,
        Self::Q4_0,
    ];

    /// Elements per block.
    pub fn block(self) -> usize {
        self.layout().0
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.layout().1
    }

    /// The name that ggml uses, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        self.layout().3
    }

    /// The format with this name, ignoring case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// The format's type number in GGUF files.
    pub fn gguf_type(self) -> u32 {
        self.layout().2
    }

    /// The format with this type number in GGUF files; [`None`] for those that wgpt does not read.
    pub fn from_gguf_type(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.gguf_type() == id)
    }

    /// Bytes of a row of `width` elements; `width` must be a multiple of the block size.
    pub fn row_bytes(self, width: usize) -> usize {
        debug_assert!(width % self.block() == 0, "a row of {width} is no whole blocks of {self}");
        width / self.block() * self.block_bytes()
    }

    /// Whether elements share a scale, so that only whole blocks can be read and written.
    pub fn is_quantised(self) -> bool {
        self.block() > 1
    }

    /// Elements per block, bytes per block, type number in GGUF files, name.
    fn layout(self) -> (usize, usize, u32, &'static str) {
        match self {
            Self::F32 => (1, 4, 0, "F32"),
            Self::F16 => (1, 2, 1, "F16"),
            Self::BF16 => (1, 2, 30, "BF16"),
            Self::Q8_0 => (32, 34, 8, "Q8_0"),
            Self::Q4_0 => (32, 18, 2, "Q4_0"),
            Self::Q4_1 => (32, 20, 3, "Q4_1"),
            Self::Q5_0 => (32, 22, 6, "Q5_0"),
            Self::Q5_1 => (32, 24, 7, "Q5_1"),
            Self::Q4K => (256, 144, 12, "Q4_K"),
            Self::Q5K => (256, 176, 13, "Q5_K"),
            Self::Q6K => (256, 210, 14, "Q6_K"),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_come_back() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(&format.name().to_lowercase()), Some(format));
            assert_eq!(Format::from_gguf_type(format.gguf_type()), Some(format));
            assert_eq!(format.row_bytes(512), 512 / format.block() * format.block_bytes());
        }
        assert_eq!(Format::from_gguf_type(9), None);
    }
}
