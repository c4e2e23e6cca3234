//! How each token of a text attends to the others, layer by layer.

use std::cell::RefCell;

use super::{
    block::{BlockPass, KvSource, normalise},
    gpt::{Gpt, Pass},
};
use crate::{
    Error, Result,
    gpu::Gpu,
    ops::embedding::{self, Tokens},
    tape::Tape,
    tensor::{DType, Tensor},
};

/// What the model computes for a text.
pub struct Maps {
    /// The final hidden states: `[1, context, width]`.
    pub hidden: Tensor,
    /// One per block, `[heads, context, context]`: row `t` of a head says how token `t` attends to each token, and sums to 1.
    pub attention: Vec<Tensor>,
}

impl Gpt {
    /// Reads the text `ids` and keeps the attention probabilities of every layer: `layers * heads * context^2` numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are no tokens or more than the context, [`Error::OutOfMemory`].
    pub fn maps(&self, gpu: &Gpu, ids: &[u32]) -> Result<Maps> {
        if ids.is_empty() || ids.len() > self.config.context {
            let reason = format!("{} tokens: give 1 to {}, the model's context", ids.len(), self.config.context);
            return Err(Error::shape("maps", reason));
        }
        let (tape, maps) = (Tape::off(gpu), RefCell::default());
        let tokens = Tokens::new(gpu, ids, 1, ids.len(), false)?;
        let mut x = embedding::embed(&tape, &tokens, &self.embed, self.position.as_ref(), 0)?;
        for index in 0..self.blocks.len() {
            let block_pass = BlockPass::new(self, index, Pass::default());
            x = block_pass.run(&tape, &x, Some(KvSource::Maps(&maps)))?;
        }
        Ok(Maps { hidden: normalise(&tape, &self.config, &x, &self.norm, DType::F32)?, attention: maps.into_inner() })
    }
}
