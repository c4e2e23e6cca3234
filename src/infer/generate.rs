//! One sequence, token by token, over a cache of keys and values.

use super::sampler::Sampling;
use crate::{
    Error, Result,
    gpu::Gpu,
    model::{Gpt, cache::Cache, gpt::Pass},
    ops::embedding::Tokens,
    tape::Tape,
    tensor::Tensor,
};

/// Prompt tokens per forward pass.
const PROMPT_CHUNK: usize = 256;

/// What was generated.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    /// The new tokens.
    pub tokens: Vec<u32>,
    /// Whether generation ended because the context was full.
    pub full: bool,
}

/// One generated token and the scores that it was chosen from.
pub struct Step<'a> {
    /// The token.
    pub id: u32,
    /// Scores of the whole vocabulary.
    pub logits: &'a [f32],
}

/// Continues `prompt` by up to `count` tokens. `each` sees every token and says whether to go on.
///
/// When the context is full the window slides: the last half of it is read again, and generation goes on.
///
/// # Errors
/// [`Error::Usage`] for an empty prompt; those of the driver.
pub async fn generate(
    gpu: &Gpu,
    model: &Gpt,
    prompt: &[u32],
    count: usize,
    sampling: &Sampling,
    mut each: impl FnMut(Step<'_>) -> bool,
) -> Result<Generated> {
    sampling.validate()?;
    if prompt.is_empty() {
        return Err(Error::Usage("the prompt is empty: give at least one token to continue".to_string()));
    }
    let window = model.config().context;
    let mut all = prompt.to_vec();
    let mut cache = Cache::new(gpu, model.config(), 1, window)?;
    let mut generated = Generated::default();
    // The tokens that the cache does not hold, from here on.
    let mut unread = all.len().saturating_sub(window);
    for index in 0..count {
        if cache.length + (all.len() - unread) > window {
            cache.length = 0;
            unread = all.len() - (window / 2).max(1);
            generated.full = true;
        }
        let logits = read(gpu, model, &mut cache, &all[unread..]).await?;
        unread = all.len();
        let id = sampling.choose(&logits, index as u64);
        all.push(id);
        generated.tokens.push(id);
        if !each(Step { id, logits: &logits }) {
            break;
        }
    }
    Ok(generated)
}

/// Runs `tokens` through the model and returns the scores after the last one.
async fn read(gpu: &Gpu, model: &Gpt, cache: &mut Cache, tokens: &[u32]) -> Result<Vec<f32>> {
    let tape = Tape::off(gpu);
    let mut hidden = None;
    for chunk in tokens.chunks(PROMPT_CHUNK) {
        let inputs = Tokens::new(gpu, chunk, 1, chunk.len(), false)?;
        hidden = Some(model.forward(&tape, &inputs, Pass::default(), Some(cache))?);
    }
    let hidden = hidden.ok_or_else(|| Error::Usage("no tokens to read".to_string()))?;
    let (rows, width) = (hidden.height(), hidden.width());
    let last = Tensor::empty_f32(gpu, &[1, width])?;
    let from = hidden.bind();
    let row = u64::from(u32::try_from(width * 4).unwrap_or(u32::MAX));
    let source = crate::gpu::Bind { offset: from.offset + (rows as u64 - 1) * row, size: row, ..from };
    gpu.copy(source, last.bind());
    model.logits(&tape, &last)?.to_f32().await
}
