//! Packs whole conversations into rows of equal length, each conversation as its own segment.
#![expect(clippy::indexing_slicing, reason = "windows and rows that this module has cut itself")]

use super::{
    batches::{Batch, IGNORED},
    spans::Example,
    tokenizer::Hasher,
};
use crate::random;

/// Flag of a token that is trained on; token ids are smaller.
const SAID: u32 = 1 << 31;

/// Number of rows that stay open for further conversations; older ones are considered full.
const OPEN: usize = 256;

/// Tokenised conversations, stored one after the other.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    tokens: Vec<u32>,
    ends: Vec<usize>,
}

impl Examples {
    /// Adds a conversation.
    pub fn push(&mut self, example: &Example) {
        let mark = |(id, said): (&u32, &bool)| id | if *said { SAID } else { 0 };
        self.tokens.extend(example.ids.iter().zip(&example.said).map(mark));
        self.ends.push(self.tokens.len());
    }

    /// Number of conversations.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Total number of tokens.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Number of tokens that are trained on.
    pub fn said(&self) -> usize {
        self.tokens.iter().filter(|token| *token & SAID != 0).count()
    }

    /// The tokens before the first answer of conversation `index`.
    pub fn prompt(&self, index: usize) -> Vec<u32> {
        self.get(index).iter().take_while(|token| *token & SAID == 0).copied().collect()
    }

    /// A hash of everything that is trained on.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Hasher::default();
        for index in 0..self.len() {
            hasher.add(bytemuck::cast_slice(self.get(index)));
        }
        hasher.finish()
    }

    fn get(&self, index: usize) -> &[u32] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.tokens[start..self.ends[index]]
    }

    /// Number of positions it takes in a row; its last token is only a target, never an input.
    fn length(&self, index: usize) -> usize {
        self.get(index).len() - 1
    }

    /// Splits the conversations into a training part and a held-out part of share `fraction`, chosen by `seed`. If
    /// `fraction` is above 0, at least one conversation is held out, and at most all but one.
    pub fn split(&self, fraction: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
        let mut order = shuffled((0..self.len() as u32).collect(), seed, HELD_OUT, 0);
        let wanted = if fraction > 0.0 { ((self.len() as f64 * fraction).round() as usize).max(1) } else { 0 };
        let held = order.split_off(self.len() - wanted.min(self.len().saturating_sub(1)));
        (order, held)
    }
}

const HELD_OUT: u64 = u64::from_le_bytes(*b"held out");
const ORDER: u64 = u64::from_le_bytes(*b"epoch of");

/// `order`, shuffled by random numbers of (seed, stream, round).
pub fn shuffled(mut order: Vec<u32>, seed: u64, stream: u64, round: u64) -> Vec<u32> {
    random::shuffle(&mut order, seed, stream, round);
    order
}

/// Packed rows for any number of epochs: a function of the conversations, their order, the context and the seed.
#[derive(Clone, Debug)]
pub struct Packing {
    members: Vec<u32>,
    context: usize,
    seed: u64,
    /// The conversations of each row, epoch after epoch.
    rows: Vec<Vec<u32>>,
    /// Number of rows up to the end of each epoch.
    epochs: Vec<usize>,
}

impl Packing {
    /// Packs `members` of the examples once. Each must be at most `context` + 1 tokens long.
    pub fn new(examples: &Examples, members: Vec<u32>, context: usize, seed: u64) -> Self {
        let mut packing = Self { members, context, seed, rows: Vec::new(), epochs: Vec::new() };
        packing.extend(examples);
        packing
    }

    /// Number of rows in the first `epochs` epochs.
    pub fn rows_of(&mut self, examples: &Examples, epochs: usize) -> usize {
        while self.epochs.len() < epochs {
            self.extend(examples);
        }
        epochs.checked_sub(1).map_or(0, |last| self.epochs[last])
    }

    /// Adds an epoch: packs all conversations by first fit, in a new random order.
    fn extend(&mut self, examples: &Examples) {
        let order = shuffled(self.members.clone(), self.seed, ORDER, self.epochs.len() as u64);
        let smallest = order.iter().map(|&index| examples.length(index as usize)).min().unwrap_or(0);
        // (row, positions left)
        let mut open: Vec<(usize, usize)> = Vec::new();
        for index in order {
            let length = examples.length(index as usize);
            let place = open.iter().position(|(_, left)| *left >= length).unwrap_or_else(|| {
                if open.len() == OPEN {
                    open.remove(0);
                }
                open.push((self.rows.len(), self.context));
                self.rows.push(Vec::new());
                open.len() - 1
            });
            self.rows[open[place].0].push(index);
            open[place].1 -= length;
            if open[place].1 < smallest {
                open.remove(place);
            }
        }
        self.epochs.push(self.rows.len());
    }

    /// `count` rows from row `first` on; further epochs are packed as they are reached. The unused rest of a row is
    /// padding: it has no targets, and each of its tokens is its own segment, which is cheapest for attention.
    pub fn batch(&mut self, examples: &Examples, first: usize, count: usize) -> Batch {
        while self.rows.len() < first + count && !self.members.is_empty() {
            self.extend(examples);
        }
        let mut starts = Vec::with_capacity(count * self.context);
        let mut batch =
            Batch { inputs: Vec::new(), targets: Vec::new(), starts: None, rows: count, context: self.context };
        for row in &self.rows[first..first + count] {
            let mut begin = 0;
            for &index in row {
                let tokens = examples.get(index as usize);
                batch.inputs.extend(tokens[..tokens.len() - 1].iter().map(|token| token & !SAID));
                let target = |token: &u32| if token & SAID == 0 { IGNORED } else { token & !SAID };
                batch.targets.extend(tokens[1..].iter().map(target));
                starts.extend(std::iter::repeat_n(begin, tokens.len() - 1));
                begin += tokens.len() as u32 - 1;
            }
            let padding = self.context - begin as usize;
            batch.inputs.extend(std::iter::repeat_n(0, padding));
            batch.targets.extend(std::iter::repeat_n(IGNORED, padding));
            starts.extend(begin..self.context as u32);
        }
        batch.starts = Some(starts);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Examples {
        let mut examples = Examples::default();
        for index in 0..40u32 {
            let length = 2 + index as usize * 7 % 9;
            let said = (0..length).map(|t| t * 2 >= length).collect();
            examples.push(&Example { ids: vec![index + 1; length], said });
        }
        examples
    }

    #[test]
    fn every_conversation_is_whole_once_an_epoch() {
        let examples = examples();
        let mut packing = Packing::new(&examples, (0..40).collect(), 10, 3);
        let one = packing.rows_of(&examples, 1);
        let two = packing.rows_of(&examples, 2);
        let needed = examples.tokens() - examples.len();
        assert!(one * 10 < needed * 5 / 4, "{one} rows for {needed} positions");
        for (first, count) in [(0, one), (one, two - one)] {
            let batch = packing.batch(&examples, first, count);
            let starts = batch.starts.clone().unwrap();
            let mut counts = [0; 41];
            for (i, id) in batch.inputs.iter().enumerate() {
                counts[*id as usize] += 1;
                let row = i / 10 * 10;
                // A segment holds one conversation, and its targets are the tokens of that conversation.
                assert_eq!(batch.inputs[row + starts[i] as usize], *id);
                assert!([*id, IGNORED].contains(&batch.targets[i]) && (*id > 0 || batch.targets[i] == IGNORED));
            }
            (0..40).for_each(|index| assert_eq!(counts[index + 1], examples.length(index), "conversation {index}"));
            let learned = batch.targets.iter().filter(|&&id| id != IGNORED).count();
            assert_eq!(learned, examples.said(), "no first token is said here");
        }
        let batch = |seed| Packing::new(&examples, (0..40).collect(), 10, seed).batch(&examples, one, 4);
        assert_eq!(batch(3), packing.batch(&examples, one, 4), "the same seed gives the same rows");
        assert_ne!(batch(3).inputs, batch(4).inputs);
        assert_ne!(packing.batch(&examples, 0, 4).inputs, packing.batch(&examples, one, 4).inputs, "reshuffled");
    }

    #[test]
    fn some_are_held_out() {
        let examples = examples();
        let (train, held) = examples.split(0.1, 5);
        assert_eq!((train.len(), held.len()), (36, 4));
        assert!(held.iter().all(|index| !train.contains(index)));
        assert_eq!(examples.split(0.0, 5).1.len(), 0);
        assert_eq!(examples.split(0.001, 5).1.len(), 1);
        assert_eq!(examples.prompt(1).len(), 5);
    }
}
