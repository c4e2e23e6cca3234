//! Keys and values of many texts in pages of one pool, and forward passes over some tokens of each.

use super::{
    Config,
    block::{BlockPass, KvSource, normalise},
    cache::grown,
    gpt::{Gpt, Pass},
};
use crate::{
    Error, Result,
    gpu::{Bind, Gpu},
    ops::{
        embedding::{self, Tokens},
        gather::{RowIndex, gather},
        kv::{
            decode::Precision,
            paged::{self, PAGE, Paged, Rows, Run},
        },
    },
    tape::Tape,
    tensor::{DType, Tensor},
};

/// The pools of a whole model; page `n` of every layer belongs to the same tokens. Their memory grows as they fill.
pub struct Pages {
    /// One per block: keys and values `[capacity, kv_heads, PAGE, dim]`.
    layers: Vec<Paged>,
    gpu: Gpu,
    /// Key and value heads, width of a head.
    shape: [usize; 2],
    precision: Precision,
    blocks: usize,
    capacity: usize,
    limit: usize,
}

/// Number of pages that memory is allocated for at first.
const FIRST: usize = 32;

impl Pages {
    /// Empty pools for up to `limit` pages of [`PAGE`] tokens, or as many as the adapter can bind if that is fewer.
    pub fn new(gpu: &Gpu, config: &Config, limit: usize, precision: Precision) -> Self {
        let shape = [config.kv_heads, config.head_dim()];
        let limit = limit.min(paged::most_pages(gpu, shape[0], shape[1], precision));
        let (layers, blocks) = (Vec::new(), config.layers);
        Self { layers, gpu: gpu.clone(), shape, precision, blocks, capacity: 0, limit }
    }

    /// The maximum number of pages that there will ever be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Makes room for the pages with numbers below `pages` by doubling the memory until they fit.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Shape`] past the limit.
    pub fn reserve(&mut self, pages: usize) -> Result<()> {
        if pages <= self.capacity {
            return Ok(());
        }
        if pages > self.limit {
            return Err(Error::shape("pages", format!("{pages} pages of at most {}", self.limit)));
        }
        let capacity = grown(self.capacity.max(FIRST), pages, self.limit);
        // Layer by layer, so that old and new memory coexist for only one layer at a time.
        for index in 0..self.blocks {
            let next = Paged::new(&self.gpu, [capacity, self.shape[0], self.shape[1]], self.precision)?;
            match self.layers.get_mut(index) {
                Some(layer) => {
                    for (from, to) in [(&layer.keys, &next.keys), (&layer.values, &next.values)] {
                        let (from, to) = (from.bind(), to.bind());
                        self.gpu.copy(from, Bind { size: from.size, ..to });
                    }
                    *layer = next;
                }
                None => self.layers.push(next),
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
}

impl Gpt {
    /// Reads the tokens `ids` of `runs`, one run after the other, into their pages, and returns the final
    /// hidden states at the last token of each run: `[runs, width]`. This model must have read the earlier
    /// tokens in a text's pages before.
    ///
    /// # Errors
    /// [`Error::Shape`] when ids and runs differ in number of tokens, or positions run past the context or the pages.
    pub fn read(&self, ids: &[u32], runs: &[Run<'_>], pages: &mut Pages) -> Result<Tensor> {
        let (gpu, config) = (pages.gpu.clone(), &self.config);
        let count: usize = runs.iter().map(|run| run.count).sum();
        let longest = runs.iter().map(|run| run.first + run.count).max().unwrap_or(0);
        if count != ids.len() || count == 0 || longest > config.context {
            let reason = format!("{} tokens for {count} places up to {longest} of {}", ids.len(), config.context);
            return Err(Error::shape("gpt", reason));
        }
        let greatest = runs.iter().flat_map(|run| &run.pages[..(run.first + run.count).div_ceil(PAGE)]).max();
        pages.reserve(greatest.map_or(0, |page| *page as usize + 1))?;
        let (tape, heads) = (Tape::off(&gpu), config.attention_heads());
        let rows = Rows::new(&gpu, heads, runs)?;
        let mut x = self.embed_places(&tape, &gpu, ids, runs)?.reshape(&[1, count, config.width])?;
        // To the training kernels, fresh texts are one row of segments, if it is no longer than a row may be.
        let fresh = runs.iter().all(|run| run.first == 0) && count <= config.context;
        let segments = fresh.then(|| segments(&gpu, runs)).transpose()?;
        for (index, layer) in pages.layers.iter().enumerate() {
            let block_pass = BlockPass { segments: segments.clone(), ..self.block_pass(index, Pass::default()) };
            x = block_pass.run(&tape, &x, Some(KvSource::Pages(layer, &rows)))?;
        }
        if runs.len() < count {
            let ends = runs.iter().scan(0, |end, run| {
                *end += run.count as u32;
                Some(*end - 1)
            });
            x = gather(&tape, &x, &RowIndex::new(&gpu, &ends.collect::<Vec<_>>(), false)?)?;
        }
        normalise(&tape, config, &x.reshape(&[runs.len(), config.width])?, &self.norm, DType::F32)
    }

    /// Embeddings `[tokens, 1, width]` of tokens at arbitrary positions: each token stands at the last position of a text of
    /// its own, which begins early enough to give the token its own position.
    fn embed_places(&self, tape: &Tape, gpu: &Gpu, ids: &[u32], runs: &[Run<'_>]) -> Result<Tensor> {
        let tokens = Tokens::new(gpu, ids, ids.len(), 1, false)?;
        let Some(table) = &self.position else { return embedding::embed(tape, &tokens, &self.embed, None, 0) };
        let last = self.config.context - 1;
        let positions = runs.iter().flat_map(|run| run.first..run.first + run.count);
        let starts: Vec<u32> = positions.map(|position| (last - position) as u32).collect();
        let tokens = tokens.within(Tensor::from_u32(gpu, &[ids.len(), 1], &starts)?);
        embedding::embed(tape, &tokens, &self.embed, Some(table), last)
    }
}

/// Where each token's text begins when the texts follow one another: `[1, tokens]`.
fn segments(gpu: &Gpu, runs: &[Run<'_>]) -> Result<Tensor> {
    let mut starts = Vec::new();
    for run in runs {
        starts.extend(std::iter::repeat_n(starts.len() as u32, run.count));
    }
    Tensor::from_u32(gpu, &[1, starts.len()], &starts)
}
