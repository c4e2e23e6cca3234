//! One sequence that grows: its tokens, and the cache that has read them.

use crate::{
    Error, Result,
    gpu::{Bind, Gpu},
    model::{Gpt, cache::Cache, gpt::Pass},
    ops::embedding::Tokens,
    tape::Tape,
    tensor::Tensor,
};

/// Prompt tokens per forward pass.
const PROMPT_CHUNK: usize = 256;

/// A model in the middle of a text.
pub struct Session<'a> {
    gpu: &'a Gpu,
    model: &'a Gpt,
    cache: Cache,
    tokens: Vec<u32>,
    shifts: usize,
    /// How many of the first tokens survive when the window is full.
    pub keep: usize,
}

impl<'a> Session<'a> {
    /// An empty session over the model's whole context.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(gpu: &'a Gpu, model: &'a Gpt) -> Result<Self> {
        let cache = Cache::new(gpu, model.config(), 1, model.config().context)?;
        Ok(Self { gpu, model, cache, tokens: Vec::new(), shifts: 0, keep: 0 })
    }

    /// The tokens that the cache holds.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How often older tokens were dropped because the window was full.
    pub fn shifts(&self) -> usize {
        self.shifts
    }

    /// Makes the session's text `tokens` and returns the scores of what comes next. What is already there is not read
    /// again.
    ///
    /// # Errors
    /// [`Error::Usage`] without tokens; those of the driver.
    pub async fn become_text(&mut self, tokens: &[u32], progress: impl FnMut(usize, usize)) -> Result<Vec<f32>> {
        let same = self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        // The last token is read again: its scores are not kept.
        let same = same.min(tokens.len().saturating_sub(1));
        self.tokens.truncate(same);
        self.cache.length = same;
        self.advance(&tokens[same..], progress).await
    }

    /// Reads `new` tokens and returns the scores of what comes next. `progress` hears how many of them are read.
    ///
    /// When they do not fit the window, the first [`Session::keep`] tokens and the newest half of the window are read
    /// again, and the rest is forgotten.
    ///
    /// # Errors
    /// [`Error::Usage`] without tokens; those of the driver.
    pub async fn advance(&mut self, new: &[u32], mut progress: impl FnMut(usize, usize)) -> Result<Vec<f32>> {
        let window = self.model.config().context;
        self.tokens.extend_from_slice(new);
        if self.tokens.len() > window {
            let newest = self.tokens.len() - (window / 2).max(1);
            let keep = self.keep.min(window / 4).min(newest);
            self.tokens.drain(keep..newest);
            self.cache.length = 0;
            self.shifts += 1;
        }
        let unread = &self.tokens[self.cache.length..];
        let (tape, all) = (Tape::off(self.gpu), unread.len());
        let (mut hidden, mut done) = (None, 0);
        for chunk in unread.chunks(PROMPT_CHUNK) {
            let inputs = Tokens::new(self.gpu, chunk, 1, chunk.len(), false)?;
            hidden = Some(self.model.forward(&tape, &inputs, Pass::default(), Some(&mut self.cache))?);
            if all > PROMPT_CHUNK {
                // So that what the progress says has happened.
                self.gpu.finish()?;
                done += chunk.len();
                progress(done, all);
            }
        }
        let hidden = hidden.ok_or_else(|| Error::Usage("no tokens to read".to_string()))?;
        self.model.logits(&tape, &last_row(self.gpu, &hidden)?)?.to_f32().await
    }
}

/// The last row of `[.., width]`: `[1, width]`.
fn last_row(gpu: &Gpu, hidden: &Tensor) -> Result<Tensor> {
    let (rows, width) = (hidden.height() as u64, hidden.width());
    let last = Tensor::empty_f32(gpu, &[1, width])?;
    let (from, row) = (hidden.bind(), last.bytes());
    gpu.copy(Bind { offset: from.offset + (rows - 1) * row, size: row, ..from }, last.bind());
    Ok(last)
}
