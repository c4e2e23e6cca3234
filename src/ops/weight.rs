//! A weight matrix, trained or only computed with.

use super::packed::{Packed, unpack::unpack};
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
    /// f32, which is trained, and its copy in f16, which activations in f16 are multiplied by; see [`crate::optim`].
    Mixed {
        /// `[out, in]`: what is trained and saved.
        master: Tensor,
        /// `[out, in]`: the master rounded; the optimizer keeps it so.
        half: Tensor,
    },
    /// As its file stores it, or quantised at load; frozen.
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

    /// All of it as f32 `[out, in]`: itself, or a temporary that should not be kept.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn plain(&self) -> Result<Tensor> {
        match self {
            Self::Plain(plain) | Self::Mixed { master: plain, .. } => Ok(plain.clone()),
            Self::Packed(packed) => unpack(packed, 0, packed.rows()),
        }
    }

    /// What `x [.., in]` is multiplied by, `[out, in]`: the f16 copy for activations in f16 where there is one,
    /// [`Weight::plain`] otherwise.
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

    /// Its rows cut so that [`Weight::plain_rows`] can take every piece: (first, count).
    pub fn row_pieces(&self) -> Vec<(usize, usize)> {
        match self {
            Self::Plain(plain) | Self::Mixed { master: plain, .. } => plain.row_pieces(),
            Self::Packed(packed) => vec![(0, packed.rows())],
        }
    }

    /// It as packed rows without a copy, where it can be seen so.
    pub fn packed(&self) -> Option<Packed> {
        match self {
            Self::Plain(plain) | Self::Mixed { master: plain, .. } => Packed::view(plain),
            Self::Packed(packed) => Some(packed.clone()),
        }
    }

    /// The tensor whose gradient `tape` will be asked for, if there is one.
    pub fn tracked(&self, tape: &Tape) -> Option<Tensor> {
        match self {
            Self::Plain(plain) | Self::Mixed { master: plain, .. } if tape.tracks(plain) => Some(plain.clone()),
            _ => None,
        }
    }
}
