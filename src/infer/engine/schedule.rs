//! Who runs and who waits. First come, first served: everything that runs came before everything that waits.
//!
//! A text enters when there are pages for all of it; then every step reads a chunk of it, beside one token of every text that
//! is read already. When there is no page for a token, the youngest text yields: its pages are freed, it goes back to the
//! queue's front, and what it said is read again later. The oldest never yields, and alone it has all pages, so work always
//! goes on.

use std::collections::VecDeque;

use super::{
    pages::Book,
    sequence::{End, Sequence},
};
use crate::ops::packed::product::FEW;

/// Tokens of a running sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its index among the running ones.
    pub index: usize,
    /// How many of its unread tokens.
    pub count: usize,
}

/// What one pass computes.
#[derive(Debug)]
pub(super) struct Batch {
    pub adapter: usize,
    pub parts: Vec<Part>,
}

/// What happened to those that came and went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    pub finished: u64,
    pub cancelled: u64,
    pub failed: u64,
    pub preempted: u64,
}

pub(super) struct Schedule {
    pub book: Book,
    pub waiting: VecDeque<Sequence>,
    /// By arrival.
    pub running: Vec<Sequence>,
    pub tally: Tally,
    /// Most running at once.
    sequences: usize,
    /// Most prompt tokens of a step.
    chunk: usize,
}

impl Tally {
    pub fn count(&mut self, end: End) {
        match end {
            End::Finished => self.finished += 1,
            End::Cancelled => self.cancelled += 1,
            End::Failed => self.failed += 1,
        }
    }
}

impl Schedule {
    pub fn new(pages: usize, sequences: usize, chunk: usize) -> Self {
        let (waiting, running) = (VecDeque::new(), Vec::new());
        Self { book: Book::new(pages), waiting, running, tally: Tally::default(), sequences, chunk }
    }

    /// Lets those in that wait, in order, as long as there are places and pages. One page for each that runs is left over, or
    /// those would soon want theirs back.
    pub fn admit(&mut self) {
        while self.running.len() < self.sequences {
            let Some(mut next) = self.waiting.pop_front() else { return };
            if !next.enter(&mut self.book, self.running.len()) {
                self.waiting.push_front(next);
                return;
            }
            match next.start() {
                Some(false) => {
                    next.leave(&mut self.book);
                    self.tally.count(End::Cancelled);
                    continue;
                }
                Some(true) => {
                    self.tally.prompt_tokens += next.prompt as u64;
                    self.tally.cached_tokens += next.read as u64;
                }
                None => {}
            }
            self.running.push(next);
        }
    }

    /// Gives every running sequence a page for its next token; where there is none, the youngest yields.
    pub fn grow(&mut self) {
        let mut index = 0;
        while let Some(sequence) = self.running.get_mut(index) {
            if sequence.has_room() {
                index += 1;
            } else if let Some(page) = self.book.take() {
                sequence.pages.push(page);
            } else if let Some(mut youngest) = self.running.pop() {
                youngest.leave(&mut self.book);
                self.waiting.push_front(youngest);
                self.tally.preempted += 1;
            }
        }
    }

    /// The passes of a step: of each adapter one token of every sequence that is read, few enough for the kernels of few
    /// rows, then the next chunk of prompts. A pass never holds both, so that a text's next token is computed by the same
    /// kernels whatever is read beside it.
    pub fn batches(&self) -> Vec<Batch> {
        let (mut decoding, mut reading): (Vec<Batch>, Vec<Batch>) = (Vec::new(), Vec::new());
        let mut left = self.chunk;
        for (index, sequence) in self.running.iter().enumerate() {
            let unread = sequence.unread();
            let (batches, count, most) =
                if unread == 1 { (&mut decoding, 1, FEW) } else { (&mut reading, unread.min(left), usize::MAX) };
            if count == 0 {
                continue;
            }
            if unread > 1 {
                left -= count;
            }
            let part = Part { index, count };
            let open = |batch: &&mut Batch| batch.adapter == sequence.adapter && batch.parts.len() < most;
            match batches.iter_mut().find(open) {
                Some(batch) => batch.parts.push(part),
                None => batches.push(Batch { adapter: sequence.adapter, parts: vec![part] }),
            }
        }
        decoding.into_iter().chain(reading).collect()
    }

    /// Takes out the running sequences that ended; `ends` are by index.
    pub fn remove(&mut self, ends: &[(usize, End)]) {
        for &(index, end) in ends {
            self.running[index].leave(&mut self.book);
            self.tally.count(end);
        }
        let mut index = 0;
        self.running.retain(|_| {
            index += 1;
            !ends.iter().any(|(ended, _)| *ended == index - 1)
        });
    }

    /// Everyone fails for the same reason, and nothing is known of any page.
    pub fn fail(&mut self, reason: &str) {
        for mut sequence in self.running.drain(..).chain(self.waiting.drain(..)) {
            let end = sequence.fail(reason.to_string());
            self.tally.count(end);
        }
        self.book = Book::new(self.book.count());
    }
}
