//! One growing sequence: its tokens, and the cache of their keys and values.

use crate::{
    Error, Result,
    gpu::Gpu,
    model::{Gpt, cache::Cache, gpt::Pass},
    ops::{embedding::Tokens, kv::decode::Precision},
    tape::Tape,
    tensor::Tensor,
};

/// Prompt tokens per forward pass.
const PROMPT_CHUNK: usize = 512;

/// A model partway through a text.
pub struct Session<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) model: &'a Gpt,
    cache: Cache,
    tokens: Vec<u32>,
    shifts: usize,
    /// How many of the first tokens are kept when the window is full.
    pub keep: usize,
}

impl<'a> Session<'a> {
    /// An empty session over the model's whole context.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(gpu: &'a Gpu, model: &'a Gpt) -> Result<Self> {
        Self::with_precision(gpu, model, Precision::Single)
    }

    /// [`Session::new`] with keys and values of a given precision.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_precision(gpu: &'a Gpu, model: &'a Gpt, precision: Precision) -> Result<Self> {
        let cache = Cache::with_precision(gpu, model.config(), 1, model.config().context, precision)?;
        Ok(Self { gpu, model, cache, tokens: Vec::new(), shifts: 0, keep: 0 })
    }

    /// How many tokens the model sees at a time.
    pub fn window(&self) -> usize {
        self.model.config().context
    }

    /// The tokens that the cache holds.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many times older tokens were dropped because the window was full.
    pub fn shifts(&self) -> usize {
        self.shifts
    }

    /// Makes `tokens` the session's text and returns the scores of the next token, `[1, vocabulary]`. The beginning
    /// that both texts share is not read again.
    ///
    /// # Errors
    /// [`Error::Usage`] without tokens; the driver's errors.
    pub async fn become_text(&mut self, tokens: &[u32], progress: impl FnMut(usize, usize)) -> Result<Tensor> {
        let same = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        // The last token is read again, because its scores are not kept.
        let same = same.min(tokens.len().saturating_sub(1));
        self.tokens.truncate(same);
        self.cache.length = same;
        self.advance(&tokens[same..], progress).await
    }

    /// Reads `new` tokens and returns the scores of the next token, `[1, vocabulary]`. `progress` is called with the
    /// number of tokens of a long text read so far, and their total.
    ///
    /// If they do not fit the window, the first [`Session::keep`] tokens and the newest half of the window are read
    /// again, and the rest is forgotten.
    ///
    /// # Errors
    /// [`Error::Usage`] without tokens; the driver's errors.
    pub async fn advance(&mut self, new: &[u32], mut progress: impl FnMut(usize, usize)) -> Result<Tensor> {
        let window = self.window();
        self.tokens.extend_from_slice(new);
        if self.tokens.len() > window {
            let newest = self.tokens.len() - (window / 2).max(1);
            let keep = self.keep.min(window / 4).min(newest);
            self.tokens.drain(keep..newest);
            self.cache.length = 0;
            self.shifts += 1;
        }
        // All at once, so that a long prompt does not leave outgrown caches behind.
        self.cache.reserve(self.tokens.len())?;
        let unread = &self.tokens[self.cache.length..];
        let (tape, all) = (Tape::off(self.gpu), unread.len());
        let (mut hidden, mut done) = (None, 0);
        for chunk in unread.chunks(PROMPT_CHUNK) {
            let inputs = Tokens::new(self.gpu, chunk, 1, chunk.len(), false)?;
            hidden = Some(self.model.forward(&tape, &inputs, Pass::default(), Some(&mut self.cache))?);
            if all > PROMPT_CHUNK {
                // So that the reported progress has really happened.
                self.gpu.finish().await?;
                done += chunk.len();
                progress(done, all);
            }
        }
        let hidden = hidden.ok_or_else(|| Error::Usage("no tokens to read".to_string()))?;
        self.model.logits(&tape, &hidden.last_row()?)
    }
}
