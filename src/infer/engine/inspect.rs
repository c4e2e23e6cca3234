//! What the model makes of a text: where each token looks, and what it expects next.

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

/// Most tokens of an inspected text: maps grow with their square.
pub const LONGEST: usize = 256;

/// A text from the inside.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// `[layers, heads, tokens, tokens]`: row `t` of a head says what token `t` looks at, and sums to 1.
    pub attention: Vec<f32>,
    /// Blocks of the model.
    pub layers: usize,
    /// Query heads of a block.
    pub heads: usize,
    /// Tokens of the text.
    pub tokens: usize,
    /// After each token the likeliest next ones, best first, at temperature 1.
    pub next: Vec<Vec<Candidate>>,
}

impl Engine {
    /// Reads `tokens` apart from everything that runs; `top` candidates are told after each.
    ///
    /// # Errors
    /// [`Error::Usage`] for an empty text, one of more than [`LONGEST`] tokens or more than the context, and tokens that there
    /// are not; those of the driver.
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
            // A few rows at a time: scores of all would take a row of the vocabulary each.
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
