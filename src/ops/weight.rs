//! A weight matrix, trained or frozen.

use super::packed::{Packed, rows::unpack};
use crate::{
    Result,
    tape::Tape,
    tensor::{DType, Tensor},
};

/// A matrix `[out, in]` as a layer holds it.
#[derive(Clone, Debug)]
pub enum Weight {
    /// f32 `[out, in]`; can be trained.
    Plain(Tensor),
    /// A trained f32 matrix and its f16 copy, with which f16 activations are multiplied; see [`crate::optim`].
    Mixed {
        /// `[out, in]`: the matrix that is trained and saved.
        master: Tensor,
        /// `[out, in]`: the master rounded to f16; the optimizer keeps it up to date.
        half: Tensor,
    },
    /// Stored as in its file, or quantised at load; frozen.
    Packed(Packed),
}

impl From<&Tensor> for Weight {
    fn from(plain: &Tensor) -> Self {
        Self::Plain(plain.clone())
    }
}

impl From<&Weight> for Weight {
    fn from(weight: &Weight) -> Self {
        weight.clone()
    }
}

impl Weight {
    /// Outputs of the layer.
    pub fn rows(&self) -> usize {
        match self {
            Self::Plain(plain) | Self::Mixed { master: plain, .. } => plain.shape()[0],
            Self::Packed(packed) => packed.rows(),
        }
    }

    /// Inputs of the layer.
    pub fn width(&self) -> usize {
        match self {
            Self::Plain(plain) | Self::Mixed { master: plain, .. } => plain.width(),
            Self::Packed(packed) => packed.width(),
        }
    }

    /// Bytes in GPU memory.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Plain(plain) => plain.bytes(),
            Self::Mixed { master, half } => master.bytes() + half.bytes(),
            Self::Packed(packed) => packed.bytes(),
        }
    }

    /// The whole matrix as f32 `[out, in]`: itself, or a temporary that should not be kept.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn plain(&self) -> Result<Tensor> {
        match self {
            Self::Plain(plain) | Self::Mixed { master: plain, .. } => Ok(plain.clone()),
            Self::Packed(packed) => unpack(packed, 0, packed.rows()),
        }
    }

    /// What `x [.., in]` is multiplied by, `[out, in]`: the f16 copy if there is one and `x` is f16, [`Weight::plain`]
    /// otherwise.
    ///
    /// # Errors
    /// As [`Weight::plain`].
    pub fn operand(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Mixed { half, .. } if x.dtype() == DType::F16 => Ok(half.clone()),
            _ => self.plain(),
        }
    }

    /// Rows `first..first + count` of [`Weight::operand`]: `[count, in]`.
    ///
    /// # Errors
    /// As [`Weight::plain_rows`].
    pub fn operand_rows(&self, x: &Tensor, first: usize, count: usize) -> Result<Tensor> {
        match self {
            Self::Mixed { half, .. } if x.dtype() == DType::F16 => half.rows(first, count),
            _ => self.plain_rows(first, count),
        }
    }

    /// Rows `first..first + count` as f32 `[count, in]`; see [`Weight::plain`].
    ///
    /// # Errors
    /// As [`Tensor::rows`] and [`unpack`].
    pub fn plain_rows(&self, first: usize, count: usize) -> Result<Tensor> {
        match self {
            Self::Plain(plain) | Self::Mixed { master: plain, .. } => plain.rows(first, count),
            Self::Packed(packed) => unpack(packed, first, count),
        }
    }

    /// Cuts the rows so that [`Weight::plain_rows`] can take every piece: (first, count).
    pub fn row_pieces(&self) -> Vec<(usize, usize)> {
        match self {
            Self::Plain(plain) | Self::Mixed { master: plain, .. } => plain.row_pieces(),
            Self::Packed(packed) => vec![(0, packed.rows())],
        }
    }

    /// The matrix as packed rows without a copy, if that is possible.
    pub fn packed(&self) -> Option<Packed> {
        match self {
            Self::Plain(plain) | Self::Mixed { master: plain, .. } => Packed::view(plain),
            Self::Packed(packed) => Some(packed.clone()),
        }
    }

    /// The tensor whose gradient `tape` will compute, if any.
    pub fn tracked(&self, tape: &Tape) -> Option<Tensor> {
        match self {
            Self::Plain(plain) | Self::Mixed { master: plain, .. } if tape.tracks(plain) => Some(plain.clone()),
            _ => None,
        }
    }
}
