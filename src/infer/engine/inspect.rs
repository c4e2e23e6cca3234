//! How the model reads a text: what each token attends to, and which tokens are expected next.

use super::Engine;
use crate::{
    Error, Result,
    infer::sampler::{Candidate, top},
    ops::{
        gather::{RowIndex, gather},
        packed::product::FEW,
    },
    tape::Tape,
};

/// Maximum number of tokens of an inspected text; attention maps grow with its square.
pub const LONGEST: usize = 256;

/// A text as the model reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// `[layers, heads, tokens, tokens]`: row `t` of a head says how token `t` attends to each token, and sums to 1.
    pub attention: Vec<f32>,
    /// Number of blocks of the model.
    pub layers: usize,
    /// Number of query heads per block.
    pub heads: usize,
    /// Number of tokens of the text.
    pub tokens: usize,
    /// For each token, the likeliest next tokens at temperature 1, best first.
    pub next: Vec<Vec<Candidate>>,
}

impl Engine {
    /// Reads `tokens` independently of all running requests; reports `top_candidates` candidates after each token.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty text, one longer than [`LONGEST`] tokens or the context, and tokens outside the
    /// vocabulary; the driver's errors.
    pub async fn inspect(&mut self, tokens: &[u32], top_candidates: usize) -> Result<Inspection> {
        let most = LONGEST.min(self.model().config().context);
        if tokens.is_empty() || tokens.len() > most {
            let reason = format!("{} tokens to look into: give 1 to {most}", tokens.len());
            return Err(Error::Usage(reason));
        }
        self.check_tokens(tokens)?;
        let (gpu, model, count) = (&self.gpu, self.model(), tokens.len());
        let (tape, config) = (Tape::off(gpu), model.config());
        let maps = model.maps(gpu, tokens)?;
        let hidden = maps.hidden.reshape(&[count, config.width])?;
        let mut next = Vec::with_capacity(count);
        if top_candidates > 0 {
            // A few rows at a time, because the scores of each take a row as wide as the vocabulary.
            let rows: Vec<u32> = (0..count as u32).collect();
            for rows in rows.chunks(FEW) {
                let some = gather(&tape, &hidden, &RowIndex::new(gpu, rows, false)?)?;
                let scores = model.logits(&tape, &some)?.to_f32().await?;
                next.extend(scores.chunks_exact(config.vocabulary).map(|row| top(row, top_candidates, 1.0)));
            }
        } else {
            next.resize(count, Vec::new());
        }
        let mut attention = Vec::with_capacity(config.layers * config.heads * count * count);
        for map in maps.attention {
            attention.extend(map.to_f32().await?);
        }
        Ok(Inspection { attention, layers: config.layers, heads: config.heads, tokens: count, next })
    }
}
