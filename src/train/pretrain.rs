//! Pretraining: next-token prediction on plain text.

use super::{Settings, settings::Common, supervised::NextToken};
use crate::{
    Result,
    text::{Batch, Split, batches},
};

/// The random stream of training batches.
const BATCH_STREAM: u64 = u64::from_le_bytes(*b"pretrain");

/// Random windows of a text.
pub struct Pretrain {
    /// The text's tokens.
    pub split: Split,
}

impl NextToken for Pretrain {
    const STAGE: &'static str = "pretrain";

    fn batches(&mut self, settings: &Settings, step: u64) -> Result<Vec<Batch>> {
        let Settings { common: Common { seed, .. }, batch, context, accumulate, .. } = *settings;
        (0..accumulate as u64)
            .map(|micro| {
                let counter = step * accumulate as u64 + micro;
                batches::random_batch(&self.split.train, seed, BATCH_STREAM, counter, batch, context)
            })
            .collect()
    }

    fn held_out(&mut self, settings: &Settings) -> Option<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        let Settings { common: Common { seed, .. }, val_batches, batch, context, .. } = *settings;
        let windows = || batches::validation_windows(&self.split.val, seed, val_batches, batch, context);
        (!self.split.val.is_empty()).then(|| Box::new(windows()) as _)
    }

    /// Starts with the first token of the held-out text or, if nothing is held out, of the other.
    fn prompt(&self) -> (Vec<u32>, Vec<u32>) {
        let first = self.split.val.slice(0, 1).or_else(|_| self.split.train.slice(0, 1));
        (first.unwrap_or_default(), Vec::new())
    }
}
