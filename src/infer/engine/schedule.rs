//! Decides which requests run and which wait. First come, first served: all running requests
//! came before all waiting ones.
//!
//! A text enters when there are pages for all of it; then every step reads a chunk of it, and computes one token of
//! every text that has already been read. When there is no page for a token, the youngest text yields: its pages are
//! freed, it returns to the front of the queue, and its tokens so far are read again later. The oldest text never
//! yields, and alone it has all pages, so there is always progress.

use std::collections::VecDeque;

use super::{
    pages::PageTable,
    sequence::{End, Sequence},
};
use crate::ops::packed::product::FEW;

/// How many chunks are read at once while no text waits for its next token; weights are unpacked once for all of them.
const LONGER: usize = 4;

/// Tokens of a running sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The index of the sequence among the running ones.
    pub index: usize,
    /// How many of its unread tokens are computed.
    pub count: usize,
}

/// What one forward pass computes.
#[derive(Debug)]
pub(super) struct Batch {
    pub adapter: usize,
    pub parts: Vec<Part>,
}

/// Counts of what happened to requests.
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
    pub page_table: PageTable,
    pub waiting: VecDeque<Sequence>,
    /// Running sequences, in order of arrival.
    pub running: Vec<Sequence>,
    pub tally: Tally,
    /// Maximum number of sequences running at once.
    sequences: usize,
    /// Maximum number of prompt tokens per step.
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
        Self { page_table: PageTable::new(pages), waiting, running, tally: Tally::default(), sequences, chunk }
    }

    /// Admits waiting sequences in order, as long as there are places and pages. One page is left over for each running
    /// sequence, or these would soon preempt the new one.
    pub fn admit(&mut self) {
        while self.running.len() < self.sequences {
            let Some(mut next) = self.waiting.pop_front() else { return };
            if !next.enter(&mut self.page_table, self.running.len()) {
                self.waiting.push_front(next);
                return;
            }
            match next.start() {
                Some(false) => {
                    next.leave(&mut self.page_table);
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

    /// Gives every running sequence a page for its next token; if there is none, the youngest sequence yields.
    pub fn grow(&mut self) {
        let mut index = 0;
        while let Some(sequence) = self.running.get_mut(index) {
            if sequence.has_room() {
                index += 1;
            } else if let Some(page) = self.page_table.take() {
                sequence.pages.push(page);
            } else if let Some(mut youngest) = self.running.pop() {
                youngest.leave(&mut self.page_table);
                self.waiting.push_front(youngest);
                self.tally.preempted += 1;
            }
        }
    }

    /// The passes of a step: for each adapter, one token of every sequence that has been read, few enough for the
    /// kernels for few rows; then the next chunk of prompts, in order of arrival. A pass never holds both, so that a
    /// text's next token is computed by the same kernels whatever else is read. While no text waits for its next
    /// token, chunks are longer.
    pub fn batches(&self) -> Vec<Batch> {
        let (mut decoding, mut reading): (Vec<Batch>, Vec<Batch>) = (Vec::new(), Vec::new());
        let alone = self.running.iter().all(|sequence| sequence.unread() > 1);
        let mut left = if alone { LONGER * self.chunk } else { self.chunk };
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

    /// Removes the running sequences that ended, given by index.
    pub fn remove(&mut self, ends: &[(usize, End)]) {
        for &(index, end) in ends {
            self.running[index].leave(&mut self.page_table);
            self.tally.count(end);
        }
        let mut index = 0;
        self.running.retain(|_| {
            index += 1;
            !ends.iter().any(|(ended, _)| *ended == index - 1)
        });
    }

    /// Fails every sequence for the same reason, and forgets the content of all pages.
    pub fn fail(&mut self, reason: &str) {
        for mut sequence in self.running.drain(..).chain(self.waiting.drain(..)) {
            let end = sequence.fail(reason.to_string());
            self.tally.count(end);
        }
        self.page_table = PageTable::new(self.page_table.count());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::{End, FEW, LONGER, Schedule, Sequence};
    use crate::{
        infer::engine::request::{Event, Request},
        ops::kv::paged::PAGE,
    };

    type Heard = Arc<Mutex<Vec<Event>>>;

    fn sequence(prompt: usize, adapter: usize) -> (Sequence, Heard) {
        let heard = Heard::default();
        let kept = heard.clone();
        let prompt = (0..prompt as u32).map(|i| i * 3 + prompt as u32).collect();
        let request = Request::new(prompt, 5, move |event| {
            kept.lock().expect("events").push(event);
            true
        });
        (Sequence::new(request, adapter), heard)
    }

    /// A step without a model: marks tokens as read, and every text that has been read generates a 7.
    fn step(schedule: &mut Schedule) -> Vec<Vec<(usize, usize)>> {
        schedule.admit();
        schedule.grow();
        let batches = schedule.batches();
        for part in batches.iter().flat_map(|batch| &batch.parts) {
            let sequence = &mut schedule.running[part.index];
            assert!(sequence.pages.len() * PAGE >= sequence.read + part.count, "what is read has a page");
            sequence.advance(&mut schedule.page_table, part.count);
            if sequence.unread() == 0 {
                sequence.tokens.push(7);
            }
        }
        batches.iter().map(|batch| batch.parts.iter().map(|part| (part.index, part.count)).collect()).collect()
    }

    #[test]
    fn a_long_prompt_stops_nobody() {
        let mut schedule = Schedule::new(40, 4, 10);
        schedule.waiting.push_back(sequence(3, 0).0);
        assert_eq!(step(&mut schedule), [[(0, 3)]], "alone");
        schedule.waiting.push_back(sequence(25, 0).0);
        schedule.waiting.push_back(sequence(8, 0).0);
        assert_eq!(step(&mut schedule), [[(0, 1)], [(1, 10)]], "one token of the first, a chunk of the second");
        assert_eq!(step(&mut schedule), [[(0, 1)], [(1, 10)]]);
        assert_eq!(step(&mut schedule), [vec![(0, 1)], vec![(1, 5), (2, 5)]], "first come, first served");
        assert_eq!(step(&mut schedule), [vec![(0, 1), (1, 1)], vec![(2, 3)]]);
        let mut schedule = Schedule::new(40, 4, 10);
        schedule.waiting.push_back(sequence(100, 0).0);
        assert_eq!(step(&mut schedule), [[(0, 10 * LONGER)]], "nobody waits");
    }

    #[test]
    fn adapters_have_separate_passes_and_passes_have_few_rows() {
        let mut schedule = Schedule::new(400, 3 * FEW, 1000);
        for index in 0..2 * FEW + 1 {
            schedule.waiting.push_back(sequence(1, index % 2).0);
        }
        let parts: Vec<usize> = step(&mut schedule).iter().map(Vec::len).collect();
        assert_eq!(parts, [FEW, FEW, 1]);
        let adapters: Vec<usize> = schedule.batches().iter().map(|batch| batch.adapter).collect();
        assert_eq!(adapters, [0, 1, 0]);
    }

    #[test]
    fn the_youngest_yields_and_comes_back_first() {
        let mut schedule = Schedule::new(3, 4, 100);
        for _ in 0..3 {
            schedule.waiting.push_back(sequence(PAGE - 1, 0).0);
        }
        step(&mut schedule);
        assert_eq!((schedule.running.len(), schedule.waiting.len()), (2, 1), "each that runs may want a page");
        for _ in 0..4 {
            step(&mut schedule);
        }
        assert_eq!((schedule.running.len(), schedule.tally.preempted), (1, 1));
        assert_eq!(schedule.waiting.front().map(|first| first.generated().len()), Some(2), "it goes on from there");
        schedule.remove(&[(0, End::Finished)]);
        step(&mut schedule);
        assert_eq!((schedule.running[0].generated().len(), schedule.running.len()), (3, 1));
        assert_eq!(schedule.tally.finished, 1);
    }

    #[test]
    fn everyone_is_told_of_a_failure() {
        let mut schedule = Schedule::new(8, 2, 100);
        let heard: Vec<Heard> = (0..4)
            .map(|_| {
                let (sequence, heard) = sequence(40, 0);
                schedule.waiting.push_back(sequence);
                heard
            })
            .collect();
        step(&mut schedule);
        schedule.fail("the GPU device was lost");
        for heard in heard {
            let last = heard.lock().expect("events").last().cloned();
            assert!(matches!(last, Some(Event::Failed(reason)) if reason.contains("lost")));
        }
        assert_eq!((schedule.running.len(), schedule.waiting.len(), schedule.page_table.available()), (0, 0, 8));
        assert_eq!(schedule.tally.failed, 4);
    }
}
