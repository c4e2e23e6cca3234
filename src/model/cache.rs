//! Keys and values of the tokens seen so far.

use super::Config;
use crate::{
    Error, Result,
    gpu::{Bind, Gpu},
    ops::kv::decode::{Cached, Precision},
    tensor::Tensor,
};

/// The cache of a whole model. All rows of a batch have the same length; shorter texts are padded on the left and begin
/// later ([`Cache::begin_at`]). Its memory grows as it fills.
pub struct Cache {
    /// One per block: keys and values `[batch, kv_heads, capacity, dim]`.
    pub layers: Vec<Cached>,
    /// Tokens in the cache.
    pub length: usize,
    /// Maximum number of tokens that it will ever hold.
    pub limit: usize,
    gpu: Gpu,
    /// Sequences, key and value heads, width of a head.
    shape: [usize; 3],
    precision: Precision,
    blocks: usize,
    capacity: usize,
    /// `[batch]`, on the host and on the GPU.
    starts: Option<(Vec<u32>, Tensor)>,
}

/// Number of tokens that memory is allocated for at first.
const FIRST: usize = 256;

/// `capacity` doubled until it holds `wanted`, but no more than `limit` unless `wanted` is more.
pub(super) fn grown(mut capacity: usize, wanted: usize, limit: usize) -> usize {
    while capacity < wanted {
        capacity *= 2;
    }
    capacity.min(limit).max(wanted)
}

impl Cache {
    /// An empty cache for `batch` sequences of up to `limit` tokens.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, config: &Config, batch: usize, limit: usize) -> Result<Self> {
        Self::with_precision(gpu, config, batch, limit, Precision::Single)
    }

    /// [`Cache::new`] with a given precision.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn with_precision(
        gpu: &Gpu,
        config: &Config,
        batch: usize,
        limit: usize,
        precision: Precision,
    ) -> Result<Self> {
        let shape = [batch, config.kv_heads, config.head_dim()];
        let (layers, gpu) = (Vec::new(), gpu.clone());
        let blocks = config.layers;
        let mut cache = Self { layers, length: 0, limit, gpu, shape, precision, blocks, capacity: 0, starts: None };
        cache.reserve(1)?;
        Ok(cache)
    }

    /// Makes sequence `z` begin at position `starts[z]`; what is before it is padding to the length of the
    /// others. Its tokens do not see the padding, and their positions count from the start, so each sequence
    /// decodes as it would alone.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] unless there is a start for every sequence and the cache is still empty.
    pub fn begin_at(&mut self, starts: &[u32]) -> Result<()> {
        if starts.len() != self.shape[0] || self.length > 0 {
            let reason = format!("{} starts for {} sequences of {} tokens", starts.len(), self.shape[0], self.length);
            return Err(Error::shape("cache", reason));
        }
        self.starts = Some((starts.to_vec(), Tensor::from_u32(&self.gpu, &[starts.len()], starts)?));
        Ok(())
    }

    /// Where each sequence begins: `[batch]`.
    pub(super) fn starts(&self) -> Option<Tensor> {
        self.starts.as_ref().map(|(_, tensor)| tensor.clone())
    }

    /// Where the text of each of the next `new` tokens begins: `[batch, new]`. Padding counts as a separate text.
    pub(super) fn segments(&self, new: usize) -> Result<Option<Tensor>> {
        let Some((starts, _)) = &self.starts else { return Ok(None) };
        let of_row =
            |&start: &u32| (self.length..self.length + new).map(move |t| if t < start as usize { 0 } else { start });
        let all: Vec<u32> = starts.iter().flat_map(of_row).collect();
        Tensor::from_u32(&self.gpu, &[starts.len(), new], &all).map(Some)
    }

    /// Makes room for `tokens` tokens by doubling the memory until they fit.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn reserve(&mut self, tokens: usize) -> Result<()> {
        if tokens <= self.capacity {
            return Ok(());
        }
        let capacity = grown(self.capacity.max(FIRST), tokens, self.limit);
        let [batch, heads, dim] = self.shape;
        // Layer by layer, so that old and new memory coexist for only one layer at a time.
        for index in 0..self.blocks {
            let next = Cached::new(&self.gpu, [batch, heads, capacity, dim], self.precision)?;
            if index < self.layers.len() {
                self.move_rows(index, &next);
                self.layers[index] = next;
            } else {
                self.layers.push(next);
            }
        }
        let before = std::mem::replace(&mut self.capacity, capacity);
        self.gpu.submit()?;
        if before > 0 {
            // Nothing else needs buffers of that size.
            self.gpu.trim();
        }
        Ok(())
    }

    fn move_rows(&self, index: usize, next: &Cached) {
        let [batch, heads, _] = self.shape;
        let layer = &self.layers[index];
        for (from, to) in [(&layer.keys, &next.keys), (&layer.values, &next.values)] {
            let row = from.width() as u64 * 4;
            for head in 0..(batch * heads) as u64 {
                let part = |bind: Bind<'_>, capacity: usize| {
                    (bind.offset + head * capacity as u64 * row, bind.storage.clone())
                };
                let size = self.length as u64 * row;
                if size == 0 {
                    continue;
                }
                let ((start, source), (end, target)) =
                    (part(from.bind(), self.capacity), part(to.bind(), next.shape[2]));
                let bind = |storage, offset| Bind { storage, offset, size };
                self.gpu.copy(bind(&source, start), bind(&target, end));
            }
        }
    }
}
