//! Supervised fine-tuning: conversations in the model's chat template, with loss only on what the assistant says.

use std::path::Path;

use super::{Settings, settings::Common, supervised::NextToken};
use crate::{
    Error, Result,
    interchange::TextCodec,
    text::{
        Batch, chat,
        conversations::{self, Mistake, Mistakes},
        packing::{Examples, Packing},
        spans,
    },
};

/// The conversations of a file as tokens, and what was wrong with the others.
#[derive(Debug, Default)]
pub struct Data {
    /// The conversations that can be learned from.
    pub examples: Examples,
    /// What was left out.
    pub mistakes: Mistakes,
    /// How many were cut at the window's end, and the number of the first record.
    pub truncated: (usize, u64),
}

impl Data {
    /// Reads `path` and encodes every conversation with the model's chat template. A conversation longer than `context`
    /// keeps its beginning, and is left out if no answer begins there. `progress` is called with the number of records
    /// read.
    ///
    /// # Errors
    /// [`Error::Data`] with every mistake if nothing is left, [`Error::Template`], [`Error::Io`].
    pub fn load(path: &Path, codec: &TextCodec, context: usize, progress: impl FnMut(u64) + Send) -> Result<Self> {
        chat::on_large_stack(|| Self::read(path, codec, context, progress))
    }

    fn read(path: &Path, codec: &TextCodec, context: usize, mut progress: impl FnMut(u64)) -> Result<Self> {
        let TextCodec { tokenizer, conventions } = codec;
        let template = conventions.chat(tokenizer)?;
        let mut data = Self::default();
        let (examples, truncated) = (&mut data.examples, &mut data.truncated);
        conversations::read(path, &mut data.mistakes, |turns, line, mistakes| {
            progress(line);
            let mut example = match spans::encode_turns(tokenizer, &template, &conventions.stops, turns) {
                Ok(example) => example,
                Err((mistake, words)) => {
                    mistakes.add(mistake, line, words);
                    return Ok(());
                }
            };
            let length = example.ids.len();
            // The last token is only a target. The first is never a target, so an answer must come after it.
            let cut = length > context + 1;
            if cut {
                example.ids.truncate(context + 1);
                example.said.truncate(context + 1);
            }
            if !example.said.iter().skip(1).any(|said| *said) {
                mistakes.add(Mistake::TooLong, line, format!("{length} tokens"));
                return Ok(());
            }
            if cut {
                *truncated = (truncated.0 + 1, if truncated.0 == 0 { line } else { truncated.1 });
            }
            examples.push(&example);
            Ok(())
        })?;
        if data.examples.is_empty() {
            let found: Vec<_> = data.mistakes.found().iter().map(ToString::to_string).collect();
            let reason = if found.is_empty() { "there is none in the file".to_string() } else { found.join("; ") };
            return Err(Error::data(path, format!("no conversation to learn from: {reason}")));
        }
        Ok(data)
    }

    /// What happened to the conversations that are not used as they stand, one line each.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<_> = self.mistakes.found().iter().map(ToString::to_string).collect();
        if let (count @ 1.., line) = self.truncated {
            remarks.push(format!(
                "{count} cut at the window's end (first in {} {line}): their last turns are not learned",
                self.mistakes.unit()
            ));
        }
        remarks
    }
}

/// Packed conversations.
pub struct Sft {
    examples: Examples,
    train: Packing,
    held_out: Option<Packing>,
    prompt: (Vec<u32>, Vec<u32>),
}

impl Sft {
    /// Holds out a share of the conversations and packs both parts. Answers end with the model's stop tokens.
    pub fn new(examples: Examples, codec: &TextCodec, settings: &Settings) -> Self {
        let Settings { common: Common { seed, .. }, context, val_fraction, .. } = *settings;
        let (train, held_out) = examples.split(val_fraction, seed);
        let first = held_out.first().or(train.first()).map_or(0, |index| *index as usize);
        let mut prompt = examples.prompt(first);
        if prompt.is_empty() {
            prompt.push(0);
        }
        let pack = |members| Packing::new(&examples, members, context, seed);
        Self {
            train: pack(train),
            held_out: (!held_out.is_empty()).then(|| pack(held_out)),
            prompt: (prompt, codec.conventions.stops.clone()),
            examples,
        }
    }

    /// The number of steps that take every conversation `epochs` times; the last step may run on into the next epoch.
    pub fn steps(&mut self, settings: &Settings, epochs: usize) -> u64 {
        self.train.rows_of(&self.examples, epochs).div_ceil(settings.batch * settings.accumulate) as u64
    }
}

impl NextToken for Sft {
    const STAGE: &'static str = "sft";

    fn batches(&mut self, settings: &Settings, step: u64) -> Result<Vec<Batch>> {
        let Settings { batch, accumulate, .. } = *settings;
        let first = step as usize * accumulate * batch;
        Ok((0..accumulate).map(|micro| self.train.batch(&self.examples, first + micro * batch, batch)).collect())
    }

    /// The held-out conversations, packed once, in batches of the same size; the last batch may repeat some.
    fn held_out(&mut self, settings: &Settings) -> Option<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        let Settings { batch, val_batches, .. } = *settings;
        let (examples, packing) = (&self.examples, self.held_out.as_mut()?);
        let batches = packing.rows_of(examples, 1).div_ceil(batch).min(val_batches);
        Some(Box::new((0..batches).map(move |index| Ok(packing.batch(examples, index * batch, batch)))))
    }

    fn prompt(&self) -> (Vec<u32>, Vec<u32>) {
        self.prompt.clone()
    }
}
