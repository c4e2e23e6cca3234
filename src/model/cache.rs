//! Keys and values of the tokens seen so far.

use super::Config;
use crate::{Result, gpu::Gpu, ops::attention::Cached, tensor::Tensor};

/// The cache of a whole model. All rows of a batch have the same length.
pub struct Cache {
    /// One per block.
    pub layers: Vec<Cached>,
    /// Tokens in the cache.
    pub length: usize,
    /// Tokens that fit.
    pub capacity: usize,
}

impl Cache {
    /// An empty cache for `batch` sequences of up to `capacity` tokens.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, config: &Config, batch: usize, capacity: usize) -> Result<Self> {
        let shape = [batch, config.kv_heads, capacity, config.head_dim()];
        let layer = |_| Ok(Cached { keys: Tensor::zeros(gpu, &shape)?, values: Tensor::zeros(gpu, &shape)? });
        Ok(Self { layers: (0..config.layers).map(layer).collect::<Result<_>>()?, length: 0, capacity })
    }
}
